from dataclasses import replace
from itertools import pairwise
from random import Random

import pytest
from hypothesis import assume, given, reject
from hypothesis import strategies as st

from cilium_hybrid.api.conditions import Reason
from cilium_hybrid.api.versions import CiliumVersion
from cilium_hybrid.plan.upgrade.steps import Steps, find_steps
from cilium_hybrid.rules.rule import Violation

AWS = "1.18.8-1 1.16.9-3 1.17.9-9 1.19.4-0 1.17.9-10 2.18.9-0 1.18.7-4 1.19.6-0 1.17.9-0 1.17.8-12"
PLAIN = "1.18.4 1.17.9 1.18.12 1.19.6 1.17.18"
MISSING = "because 1.18 may not be skipped and the registry has no version of it"


def read(text: str) -> tuple[CiliumVersion, ...]:
    return tuple(CiliumVersion.parse(word) for word in text.split())


def found(running: str, wanted: str, available: str = AWS, via: str = "") -> Steps | Violation:
    return find_steps(CiliumVersion.parse(running), CiliumVersion.parse(wanted), read(available), read(via))


@pytest.mark.parametrize(
    ("running", "wanted", "available", "expected"),
    [
        pytest.param("1.17.9-0", "1.17.9-0", AWS, "", id="nothing to do"),
        pytest.param("1.17.9-0", "1.17.9-9", AWS, "1.17.9-9", id="a newer build, though there is a newer one yet"),
        pytest.param("1.17.9", "1.17.9-0", AWS, "1.17.9-0", id="the first build after the plain version"),
        pytest.param("1.17.9-10", "1.17.2-0", AWS, "1.17.2-0", id="an older patch"),
        pytest.param("1.17.9-10", "1.17.9", AWS, "1.17.9", id="back to the plain version"),
        pytest.param("1.17.9-0", "1.17.15-0", "", "1.17.15-0", id="a patch needs no list"),
        pytest.param("1.17.9-0", "1.18.8-1", AWS, "1.17.9-10 1.18.8-1", id="the newest patch before the next minor"),
        pytest.param("1.17.9-10", "1.18.8-1", AWS, "1.18.8-1", id="from the newest patch at once"),
        pytest.param("1.17.11-0", "1.18.8-1", AWS, "1.18.8-1", id="what runs is newer than all in the registry"),
        pytest.param("1.17.9-10", "1.18.7-4", AWS, "1.18.7-4", id="the wanted one need not be the newest"),
        pytest.param("1.17.9-0", "1.18.1-0", "", "1.18.1-0", id="the next minor, of a registry without a list"),
        pytest.param("1.17.9-0", "1.19.4-0", AWS, "1.17.9-10 1.18.8-1 1.19.4-0", id="two minors up"),
        pytest.param("1.18.8-1", "1.19.6-0", AWS, "1.19.6-0", id="the rest of the way"),
        pytest.param(
            "1.16.9-0", "1.19.6-0", AWS, "1.16.9-3 1.17.9-10 1.18.8-1 1.19.6-0", id="three minors, builds are numbers"
        ),
        pytest.param("1.18.8-1", "1.17.2-0", AWS, "1.17.2-0", id="one minor down"),
        pytest.param(
            "1.17.9", "1.19.6", f"{AWS} {PLAIN}", "1.17.18 1.18.12 1.19.6", id="a plain version by plain ones"
        ),
        pytest.param(
            "1.17.9", "1.19.6-0", f"{AWS} {PLAIN}", "1.17.9-10 1.18.8-1 1.19.6-0", id="from a plain one to a build"
        ),
        pytest.param("1.17.9-0", "1.18.12", AWS, "1.18.12", id="no patch of the wanted kind is no step"),
        pytest.param("1.17.9-0", "1.18.8-1", "2.17.99-0 0.17.99-0", "1.18.8-1", id="other majors are no step"),
    ],
)
def test_the_steps(running: str, wanted: str, available: str, expected: str) -> None:
    assert found(running, wanted, available) == Steps(read(expected))


@pytest.mark.parametrize(
    ("running", "wanted", "via", "expected"),
    [
        pytest.param("1.17.9-0", "1.18.8-1", "1.17.9-9", "1.17.9-9 1.18.8-1", id="another patch than the newest"),
        pytest.param(
            "1.17.9-0", "1.19.6-0", "1.18.7-4", "1.18.7-4 1.19.6-0", id="without a patch of the present minor"
        ),
        pytest.param("1.17.9-0", "1.17.9-10", "1.17.9-9", "1.17.9-9 1.17.9-10", id="within a minor"),
        pytest.param("1.17.9-0", "1.19.6-0", "1.18.12", "1.18.12 1.19.6-0", id="of the other kind"),
        pytest.param("1.17.9-9", "1.18.8-1", "1.17.9-9", "1.18.8-1", id="its first step is done"),
        pytest.param("1.18.7-4", "1.19.6-0", "1.16.1 1.18.7-3", "1.19.6-0", id="all of it lies behind"),
        pytest.param("1.19.6-0", "1.19.6-0", "1.18.8-1", "", id="nothing to do"),
        pytest.param("1.18.8-1", "1.17.9-9", "1.17.9-9", "1.17.9-9", id="down again with the way up still written"),
        pytest.param("1.18.8-1", "1.18.7-4", "1.19.4-0", "1.18.7-4", id="down again, before what was next"),
    ],
)
def test_steps_by_hand(running: str, wanted: str, via: str, expected: str) -> None:
    assert found(running, wanted, via=via) == Steps(read(expected))


@pytest.mark.parametrize(
    ("running", "wanted", "available", "message", "fix"),
    [
        pytest.param(
            "1.17.9-0",
            "1.19.6-0",
            "1.17.9-10 1.19.6-0",
            f"cannot go from 1.17.9-0 to 1.19.6-0, {MISSING}",
            "name a version of 1.18 in spec.upgrade.via",
            id="a minor is missing",
        ),
        pytest.param(
            "1.17.9-0",
            "1.19.6-0",
            "1.18.4 1.18.12",
            f"cannot go from 1.17.9-0 to 1.19.6-0, {MISSING} of the form X.Y.Z-N, only 1.18.12",
            "name a version of 1.18 in spec.upgrade.via",
            id="a minor has no build",
        ),
        pytest.param(
            "1.17.9",
            "1.19.6",
            AWS,
            f"cannot go from 1.17.9 to 1.19.6, {MISSING} of the form X.Y.Z, only 1.18.8-1",
            "name a version of 1.18 in spec.upgrade.via",
            id="a minor has builds alone",
        ),
        pytest.param(
            "1.17.9-0",
            "1.9999.0",
            "",
            f"cannot go from 1.17.9-0 to 1.9999.0, {MISSING}",
            "name a version of 1.18 in spec.upgrade.via",
            id="the first of many is named",
        ),
        pytest.param(
            "1.19.6-0",
            "1.17.9-0",
            AWS,
            "cannot go from 1.19.6-0 to 1.17.9-0, because at most one minor release down is tested, which is 1.18",
            "write a version of 1.18",
            id="two minors down",
        ),
        pytest.param(
            "1.19.6-0",
            "2.0.0",
            AWS,
            "cannot go from 1.19.6-0 to 2.0.0, because no step between major releases is tested",
            "write 1.19.6-0",
            id="another major",
        ),
    ],
)
def test_no_steps(running: str, wanted: str, available: str, message: str, fix: str) -> None:
    assert found(running, wanted, available) == Violation(Reason.VERSION_UNSUPPORTED, "spec.version", message, fix)


@pytest.mark.parametrize(
    ("via", "message", "fix"),
    [
        pytest.param(
            "1.18.8-1 1.17.9-9",
            "1.18.8-1 stands before 1.17.9-9, which is not newer",
            "write the older version first",
            id="not ascending",
        ),
        pytest.param(
            "1.18.8-1 1.18.8-1",
            "1.18.8-1 stands before 1.18.8-1, which is not newer",
            "write the older version first",
            id="twice the same",
        ),
        pytest.param(
            "1.17.9-9",
            "the step from 1.17.9-9 to 1.19.6-0 skips 1.18",
            "add a version of 1.18",
            id="a minor is skipped before the wanted one",
        ),
        pytest.param(
            "1.16.9-0",
            "the step from 1.17.9-0 to 1.19.6-0 skips 1.18",
            "add a version of 1.18",
            id="a minor is skipped, for all of it lies behind",
        ),
        pytest.param(
            "1.18.8-1 1.19.6-0",
            "1.19.6-0 is not older than spec.version, which is 1.19.6-0",
            "take it out",
            id="the wanted one itself",
        ),
        pytest.param(
            "1.18.8-1 1.20.0-0",
            "1.20.0-0 is not older than spec.version, which is 1.19.6-0",
            "take it out",
            id="beyond the wanted one",
        ),
        pytest.param(
            "2.18.8-1 1.18.8-1",
            "2.18.8-1 is of another major release than 1.19.6-0",
            "take it out",
            id="of a later major",
        ),
        pytest.param(
            "0.18.8-1 1.18.8-1",
            "0.18.8-1 is of another major release than 1.19.6-0",
            "take it out",
            id="of an earlier major",
        ),
    ],
)
def test_steps_by_hand_that_cannot_be_gone(via: str, message: str, fix: str) -> None:
    violation = Violation(Reason.VERSION_UNSUPPORTED, "spec.upgrade.via", message, fix)

    assert found("1.17.9-0", "1.19.6-0", via=via) == violation


def test_a_minor_skipped_at_the_first_step_by_hand() -> None:
    violation = found("1.17.9-0", "1.20.0-0", via="1.19.6-0")

    assert isinstance(violation, Violation)
    assert violation.message == "the step from 1.17.9-0 to 1.19.6-0 skips 1.18"


MINORS = range(15, 20)


def versions(minors: st.SearchStrategy[int]) -> st.SearchStrategy[CiliumVersion]:
    return st.builds(CiliumVersion, st.just(1), minors, st.integers(0, 3), st.none() | st.integers(0, 11))


def both_kinds(version: CiliumVersion) -> tuple[CiliumVersion, CiliumVersion]:
    return version, replace(version, build=0 if version.build is None else None)


VERSIONS = versions(st.sampled_from(MINORS))
LISTS = st.lists(VERSIONS, max_size=20).map(tuple)
OF_EACH_MINOR = st.tuples(*(versions(st.just(minor)).map(both_kinds) for minor in MINORS)).map(
    lambda pairs: tuple(version for pair in pairs for version in pair)
)
VIA = st.just(()) | st.lists(VERSIONS, max_size=4, unique=True).map(lambda via: tuple(sorted(via)))


def or_reject(result: Steps | Violation) -> tuple[CiliumVersion, ...]:
    return result.versions if isinstance(result, Steps) else reject()


@given(VERSIONS, VERSIONS, LISTS, VIA)
def test_no_minor_is_skipped_and_the_way_ends_in_the_wanted_version(
    running: CiliumVersion, wanted: CiliumVersion, available: tuple[CiliumVersion, ...], via: tuple[CiliumVersion, ...]
) -> None:
    steps = or_reject(find_steps(running, wanted, available, via))
    way = (running, *steps)

    assert way[-1] == wanted
    assert all(abs(after.minor - step.minor) <= 1 for step, after in pairwise(way))
    assert all(step < after for step, after in pairwise(way)) or way == (running, wanted)


@given(VERSIONS, VERSIONS, LISTS, VIA)
def test_the_steps_from_each_step_are_the_rest(
    running: CiliumVersion, wanted: CiliumVersion, available: tuple[CiliumVersion, ...], via: tuple[CiliumVersion, ...]
) -> None:
    steps = or_reject(find_steps(running, wanted, available, via))

    for index, step in enumerate(steps):
        assert find_steps(step, wanted, available, via) == Steps(steps[index + 1 :])


@given(VERSIONS, VERSIONS, OF_EACH_MINOR, LISTS)
def test_each_minor_is_left_from_the_newest_patch_of_the_wanted_kind(
    running: CiliumVersion, wanted: CiliumVersion, some: tuple[CiliumVersion, ...], more: tuple[CiliumVersion, ...]
) -> None:
    steps = or_reject(find_steps(running, wanted, some + more))
    kind = [version for version in some + more if (version.build is None) == (wanted.build is None)]

    for step, after in pairwise((running, *steps)):
        if step.minor < after.minor:
            assert all(version <= step for version in kind if version.minor == step.minor)
    assert all(step in kind for step in steps[:-1])


@given(VERSIONS, VERSIONS, LISTS)
def test_there_is_no_way_up_only_where_a_minor_between_is_missing(
    running: CiliumVersion, wanted: CiliumVersion, available: tuple[CiliumVersion, ...]
) -> None:
    assume(running <= wanted)
    between = set(range(running.minor + 1, wanted.minor))
    to_be_had = {version.minor for version in available if (version.build is None) == (wanted.build is None)}

    assert isinstance(find_steps(running, wanted, available), Steps) == (between <= to_be_had)


@given(VERSIONS, VERSIONS, LISTS, st.randoms(use_true_random=False))
def test_the_order_of_the_registry_is_of_no_matter(
    running: CiliumVersion, wanted: CiliumVersion, available: tuple[CiliumVersion, ...], random: Random
) -> None:
    shuffled = random.sample(available, len(available))

    assert find_steps(running, wanted, shuffled) == find_steps(running, wanted, available)
