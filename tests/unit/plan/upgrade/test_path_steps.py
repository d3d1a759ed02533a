from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from random import Random

import pytest
from hypothesis import assume, given, reject
from hypothesis import strategies as st

from cilium_hybrid.api.conditions import Reason
from cilium_hybrid.api.versions import CiliumVersion
from cilium_hybrid.plan.upgrade.path import Versions, find_steps
from cilium_hybrid.rules.rule import Violation
from cilium_hybrid.rules.version_steps import version_step_violation

AWS = "1.18.8-1 1.16.9-3 1.17.9-9 1.19.4-0 1.17.9-10 2.18.9-0 1.18.7-4 1.19.6-0 1.17.9-0 1.17.8-12"
PLAIN = "1.18.4 1.17.9 1.18.12 1.19.6 1.17.18"


def read(text: str) -> tuple[CiliumVersion, ...]:
    return tuple(CiliumVersion.parse(word) for word in text.split())


def steps(start: str, target: str, available: str = AWS, via: str = "") -> Versions | Violation:
    """Return the steps in a cluster that ran the target before, so that one minor version down is allowed."""
    parsed = CiliumVersion.parse(start), CiliumVersion.parse(target)
    return find_steps(*parsed, read(available), read(via), ran={target})


@pytest.mark.parametrize(
    ("start", "target", "available", "expected"),
    [
        pytest.param("1.17.9-0", "1.17.9-0", AWS, "", id="nothing to do"),
        pytest.param("1.17.9-0", "1.17.9-9", AWS, "1.17.9-9", id="a newer build that is not the newest"),
        pytest.param("1.17.9", "1.17.9-0", AWS, "1.17.9-0", id="from the upstream version to its first build"),
        pytest.param("1.17.9-10", "1.17.2-0", AWS, "1.17.2-0", id="an older patch"),
        pytest.param("1.17.9-10", "1.17.9", AWS, "1.17.9", id="back to the upstream version"),
        pytest.param("1.17.9-0", "1.17.15-0", "", "1.17.15-0", id="a patch needs no list"),
        pytest.param("1.17.9-0", "1.18.8-1", AWS, "1.17.9-10 1.18.8-1", id="the newest patch before the next minor"),
        pytest.param("1.17.9-10", "1.18.8-1", AWS, "1.18.8-1", id="directly from the newest patch"),
        pytest.param(
            "1.17.11-0", "1.18.8-1", AWS, "1.18.8-1", id="the running version is newer than all in the registry"
        ),
        pytest.param("1.17.9-10", "1.18.7-4", AWS, "1.18.7-4", id="the target need not be the newest"),
        pytest.param("1.17.9-0", "1.18.1-0", "", "1.18.1-0", id="the next minor, without a list of versions"),
        pytest.param("1.17.9-0", "1.19.4-0", AWS, "1.17.9-10 1.18.8-1 1.19.4-0", id="two minors up"),
        pytest.param("1.18.8-1", "1.19.6-0", AWS, "1.19.6-0", id="the rest of the path"),
        pytest.param(
            "1.16.9-0", "1.19.6-0", AWS, "1.16.9-3 1.17.9-10 1.18.8-1 1.19.6-0", id="three minors, builds are numbers"
        ),
        pytest.param("1.18.8-1", "1.17.2-0", AWS, "1.17.2-0", id="one minor down"),
        pytest.param(
            "1.17.9",
            "1.19.6",
            f"{AWS} {PLAIN}",
            "1.17.18 1.18.12 1.19.6",
            id="an upstream version through upstream versions",
        ),
        pytest.param(
            "1.17.9",
            "1.19.6-0",
            f"{AWS} {PLAIN}",
            "1.17.9-10 1.18.8-1 1.19.6-0",
            id="from an upstream version to an AWS build",
        ),
        pytest.param("1.17.9-0", "1.18.12", AWS, "1.18.12", id="no patch of the target's kind"),
        pytest.param("1.17.9-0", "1.18.8-1", "2.17.99-0 0.17.99-0", "1.18.8-1", id="other major versions are ignored"),
    ],
)
def test_steps_by_newest_patches(start: str, target: str, available: str, expected: str) -> None:
    assert steps(start, target, available) == read(expected)


@pytest.mark.parametrize(
    ("start", "target", "via", "expected"),
    [
        pytest.param("1.17.9-0", "1.18.8-1", "1.17.9-9", "1.17.9-9 1.18.8-1", id="another patch than the newest"),
        pytest.param(
            "1.17.9-0", "1.19.6-0", "1.18.7-4", "1.18.7-4 1.19.6-0", id="without a patch of the running minor"
        ),
        pytest.param("1.17.9-0", "1.17.9-10", "1.17.9-9", "1.17.9-9 1.17.9-10", id="within a minor"),
        pytest.param("1.17.9-0", "1.19.6-0", "1.18.12", "1.18.12 1.19.6-0", id="a step of the other kind"),
        pytest.param("1.17.9-9", "1.18.8-1", "1.17.9-9", "1.18.8-1", id="the first step is done"),
        pytest.param("1.18.7-4", "1.19.6-0", "1.16.1 1.18.7-3", "1.19.6-0", id="all steps are done"),
        pytest.param("1.19.6-0", "1.19.6-0", "1.18.8-1", "", id="nothing to do"),
        pytest.param(
            "1.18.8-1", "1.17.9-9", "1.17.9-9", "1.17.9-9", id="a downgrade with the steps of the upgrade still in via"
        ),
        pytest.param("1.18.8-1", "1.18.7-4", "1.19.4-0", "1.18.7-4", id="a downgrade before the next step"),
    ],
)
def test_steps_via(start: str, target: str, via: str, expected: str) -> None:
    assert steps(start, target, via=via) == read(expected)


@pytest.mark.parametrize(
    ("start", "target", "available", "missing"),
    [
        pytest.param("1.17.9-0", "1.19.6-0", "1.17.9-10 1.19.6-0", "no 1.18 version", id="a missing minor version"),
        pytest.param(
            "1.17.9-0",
            "1.19.6-0",
            "1.18.4 1.18.12",
            "no 1.18 version of the form X.Y.Z-N (only 1.18.12)",
            id="a minor version without an AWS build",
        ),
        pytest.param(
            "1.17.9",
            "1.19.6",
            AWS,
            "no 1.18 version of the form X.Y.Z (only 1.18.8-1)",
            id="a minor version with AWS builds only",
        ),
        pytest.param("1.17.9-0", "1.9999.0", "", "no 1.18 version", id="the first of many missing minor versions"),
    ],
)
def test_a_missing_minor_version_is_an_error(start: str, target: str, available: str, missing: str) -> None:
    message = f'Invalid value: "{target}": an upgrade from {start} must not skip 1.18, and the registry has {missing}'
    fix = "add a 1.18 version to spec.upgrade.via"

    assert steps(start, target, available) == Violation(Reason.VERSION_UNSUPPORTED, "spec.version", message, fix)


@pytest.mark.parametrize(
    ("start", "target", "ran"),
    [
        pytest.param("1.19.6-0", "1.17.9-0", "1.17.9-0", id="two minor versions down"),
        pytest.param("1.19.6-0", "1.18.8-1", "1.18.7-4", id="one minor version down, to one that never ran"),
        pytest.param("1.19.6-0", "2.0.0", "", id="another major version"),
    ],
)
def test_steps_follow_the_rule_on_version_changes(start: str, target: str, ran: str) -> None:
    parsed = CiliumVersion.parse(start), CiliumVersion.parse(target)
    expected = version_step_violation(*parsed, {ran})

    assert expected is not None
    assert find_steps(*parsed, read(AWS), ran={ran}) == expected


@pytest.mark.parametrize(
    ("via", "message", "fix"),
    [
        pytest.param(
            "1.18.8-1 1.17.9-9",
            "1.18.8-1 is before 1.17.9-9, but is not older",
            "list older versions first",
            id="not ascending",
        ),
        pytest.param(
            "1.18.8-1 1.18.8-1",
            "1.18.8-1 is before 1.18.8-1, but is not older",
            "list older versions first",
            id="the same version twice",
        ),
        pytest.param(
            "1.17.9-9",
            "the step from 1.17.9-9 to 1.19.6-0 skips 1.18",
            "add a 1.18 version",
            id="a minor is skipped before the target",
        ),
        pytest.param(
            "1.16.9-0",
            "the step from 1.17.9-0 to 1.19.6-0 skips 1.18",
            "add a 1.18 version",
            id="a minor is skipped because all of via is done",
        ),
        pytest.param(
            "1.18.8-1 1.19.6-0",
            "1.19.6-0 is not older than spec.version (1.19.6-0)",
            "remove it",
            id="the target itself",
        ),
        pytest.param(
            "1.18.8-1 1.20.0-0",
            "1.20.0-0 is not older than spec.version (1.19.6-0)",
            "remove it",
            id="newer than the target",
        ),
        pytest.param(
            "2.18.8-1 1.18.8-1",
            "2.18.8-1 has a different major version than spec.version (1.19.6-0)",
            "remove it",
            id="of a later major",
        ),
        pytest.param(
            "0.18.8-1 1.18.8-1",
            "0.18.8-1 has a different major version than spec.version (1.19.6-0)",
            "remove it",
            id="of an earlier major",
        ),
    ],
)
def test_invalid_via(via: str, message: str, fix: str) -> None:
    violation = Violation(Reason.VERSION_UNSUPPORTED, "spec.upgrade.via", message, fix)

    assert steps("1.17.9-0", "1.19.6-0", via=via) == violation


def test_a_minor_version_skipped_by_the_first_step_of_via() -> None:
    violation = steps("1.17.9-0", "1.20.0-0", via="1.19.6-0")

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


def or_reject(result: Versions | Violation) -> Versions:
    return reject() if isinstance(result, Violation) else result


def find(
    start: CiliumVersion, target: CiliumVersion, available: Sequence[CiliumVersion], via: Sequence[CiliumVersion] = ()
) -> Versions | Violation:
    return find_steps(start, target, available, via, ran={str(target)})


@given(VERSIONS, VERSIONS, LISTS, VIA)
def test_no_minor_version_is_skipped_and_the_last_step_is_the_target(
    start: CiliumVersion, target: CiliumVersion, available: Versions, via: Versions
) -> None:
    path = (start, *or_reject(find(start, target, available, via)))

    assert path[-1] == target
    assert all(abs(after.minor - step.minor) <= 1 for step, after in pairwise(path))
    assert all(step < after for step, after in pairwise(path)) or path == (start, target)


@given(VERSIONS, VERSIONS, LISTS, VIA)
def test_the_steps_from_each_step_are_the_rest(
    start: CiliumVersion, target: CiliumVersion, available: Versions, via: Versions
) -> None:
    found = or_reject(find(start, target, available, via))

    for index, step in enumerate(found):
        assert find(step, target, available, via) == found[index + 1 :]


@given(VERSIONS, VERSIONS, OF_EACH_MINOR, LISTS)
def test_each_minor_version_is_left_from_the_newest_patch_of_the_targets_kind(
    start: CiliumVersion, target: CiliumVersion, some: Versions, more: Versions
) -> None:
    found = or_reject(find(start, target, some + more))
    kind = [version for version in some + more if (version.build is None) == (target.build is None)]

    for step, after in pairwise((start, *found)):
        if step.minor < after.minor:
            assert all(version <= step for version in kind if version.minor == step.minor)
    assert all(step in kind for step in found[:-1])


@given(VERSIONS, VERSIONS, LISTS)
def test_an_upgrade_is_impossible_only_if_a_minor_version_between_is_missing(
    start: CiliumVersion, target: CiliumVersion, available: Versions
) -> None:
    assume(start <= target)
    between = set(range(start.minor + 1, target.minor))
    in_registry = {version.minor for version in available if (version.build is None) == (target.build is None)}

    assert isinstance(find(start, target, available), tuple) == (between <= in_registry)


@given(VERSIONS, VERSIONS, LISTS, st.randoms(use_true_random=False))
def test_the_order_of_the_registrys_list_does_not_matter(
    start: CiliumVersion, target: CiliumVersion, available: Versions, random: Random
) -> None:
    shuffled = random.sample(available, len(available))

    assert find(start, target, shuffled) == find(start, target, available)
