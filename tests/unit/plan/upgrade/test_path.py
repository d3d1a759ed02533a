from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders import (
    DIGEST,
    OTHER_DIGEST,
    REF,
    VERSION,
    a_foreign_revision,
    a_record,
    a_spec,
    a_step_of,
    an_observation,
)
from cilium_hybrid.api.conditions import Reason
from cilium_hybrid.api.status import PlanPhase, PlanStep, Status
from cilium_hybrid.api.v1alpha1 import Spec
from cilium_hybrid.api.versions import CiliumVersion
from cilium_hybrid.plan.observation import Observation
from cilium_hybrid.plan.release import desired_release, is_release
from cilium_hybrid.plan.upgrade.path import UpgradePath, find_upgrade_path, plan_digest
from strategies import GENERATIONS, versions

REGISTRY = (VERSION, "1.17.15-1", "1.18.3-0", "1.18.8-1", "1.19.4-1")
GENERATION = 3
TWO_MINORS = a_spec(version="1.19.4-1")


def released(spec: Spec, *revisions: str) -> Observation:
    """A cluster in which these versions were released one after the other, on the way to what the spec asks for."""
    made = [a_step_of(spec, version, number, status="superseded") for number, version in enumerate(revisions[:-1], 1)]
    return an_observation(*made, a_step_of(spec, revisions[-1], len(revisions)), record=a_record())


def route_of(
    spec: Spec,
    observation: Observation | None = None,
    available: Sequence[str] | None = REGISTRY,
    *,
    previous: Status | None = None,
    generation: int = GENERATION,
) -> UpgradePath:
    found = None if available is None else [CiliumVersion.parse(version) for version in available]
    return find_upgrade_path(spec, observation or released(spec, VERSION), previous or Status(), generation, found)


def told(upgrade_path: UpgradePath) -> Status:
    """A status that tells of a plan."""
    steps = tuple(PlanStep(version=version, phase=PlanPhase.PENDING) for version in upgrade_path.versions)
    return Status(plan=steps, plan_digest=upgrade_path.digest)


def via(*found: str, **digests: str) -> dict[str, Any]:
    steps = [{"version": version} | ({"digest": digests["digest"]} if digests else {}) for version in found]
    return {"upgrade": {"via": steps}}


@pytest.mark.parametrize(
    ("spec", "observation", "versions", "left"),
    [
        pytest.param(a_spec(), an_observation(), [VERSION], [], id="an install"),
        pytest.param(a_spec(), an_observation(a_foreign_revision()), [VERSION], [], id="somebody else's Cilium"),
        pytest.param(
            a_spec(),
            an_observation(a_step_of(a_spec(), "1.16.19-1", status="failed")),
            [VERSION],
            [],
            id="an install that failed",
        ),
        pytest.param(
            a_spec(),
            an_observation(a_step_of(a_spec(), "1.16.19-1", status="uninstalled")),
            [VERSION],
            [],
            id="an uninstall that left its history",
        ),
        pytest.param(a_spec(), None, [VERSION], [], id="in sync"),
        pytest.param(a_spec(masquerade=False), released(a_spec(), VERSION), [VERSION], [], id="a configuration"),
        pytest.param(a_spec(version="1.17.9-1"), None, ["1.17.9-1"], ["1.17.9-1"], id="a build up"),
        pytest.param(a_spec(version="1.17.8-0"), None, ["1.17.8-0"], ["1.17.8-0"], id="a patch down"),
        pytest.param(
            a_spec(version="1.18.8-1"),
            None,
            ["1.17.15-1", "1.18.8-1"],
            ["1.17.15-1", "1.18.8-1"],
            id="one minor, the newest patch of this one first",
        ),
        pytest.param(
            TWO_MINORS,
            None,
            ["1.17.15-1", "1.18.8-1", "1.19.4-1"],
            ["1.17.15-1", "1.18.8-1", "1.19.4-1"],
            id="two minors",
        ),
        pytest.param(
            TWO_MINORS,
            released(TWO_MINORS, VERSION, "1.17.15-1"),
            ["1.18.8-1", "1.19.4-1"],
            ["1.18.8-1", "1.19.4-1"],
            id="two minors, from the newest patch on",
        ),
        pytest.param(
            a_spec(version="1.19.4-1", **via("1.17.9-1", "1.18.3-0")),
            None,
            ["1.17.9-1", "1.18.3-0", "1.19.4-1"],
            ["1.17.9-1", "1.18.3-0", "1.19.4-1"],
            id="by hand",
        ),
        pytest.param(a_spec(version="1.16.19-1"), None, ["1.16.19-1"], ["1.16.19-1"], id="a minor down"),
        pytest.param(
            a_spec(version="1.18.8-1", chart={"ref": REF, "digest": DIGEST}),
            None,
            ["1.18.8-1"],
            ["1.18.8-1"],
            id="a chart named by its digest, beside which none is trusted",
        ),
        pytest.param(
            a_spec(version="1.18.8-1", chart={"ref": "/charts/cilium"}),
            None,
            ["1.18.8-1"],
            ["1.18.8-1"],
            id="a chart on disk, beside which there is none",
        ),
        pytest.param(
            a_spec(version="1.18.8-1"),
            an_observation(a_step_of(a_spec(), VERSION), a_foreign_revision(2)),
            ["1.17.15-1", "1.18.8-1"],
            ["1.17.15-1", "1.18.8-1"],
            id="from what was released last by the operator, whatever somebody else did",
        ),
    ],
)
def test_the_way_to_a_version(
    spec: Spec, observation: Observation | None, versions: list[str], left: list[str]
) -> None:
    upgrade_path = route_of(spec, observation)

    assert (list(upgrade_path.versions), list(upgrade_path.left)) == (versions, left)
    assert upgrade_path.next.chart_version == (left[0] if left else spec.version)
    assert (upgrade_path.refusal, upgrade_path.unknown) == (None, False)


@pytest.mark.parametrize(
    ("spec", "unknown"),
    [
        pytest.param(a_spec(version="1.18.8-1"), True, id="a minor up"),
        pytest.param(a_spec(version="1.18.8-1", **via("1.17.15-1")), False, id="by hand"),
        pytest.param(a_spec(version="1.17.15-1"), False, id="a patch"),
        pytest.param(a_spec(version="1.16.19-1"), False, id="a minor down"),
        pytest.param(a_spec(), False, id="nothing"),
        pytest.param(a_spec(version="1.18.8-1", chart={"ref": REF, "digest": DIGEST}), False, id="a digest"),
        pytest.param(a_spec(version="1.18.8-1", chart={"ref": "/charts/cilium"}), False, id="a chart on disk"),
    ],
)
def test_the_registry_is_asked_only_where_its_versions_matter(spec: Spec, unknown: bool) -> None:
    upgrade_path = route_of(spec, available=None)

    assert upgrade_path.unknown == unknown
    assert (upgrade_path.versions == ()) == unknown
    assert upgrade_path.refusal is None


@pytest.mark.parametrize(
    ("spec", "available", "words"),
    [
        pytest.param(TWO_MINORS, ["1.17.15-1"], "1.18 may not be skipped and the registry has no version", id="none"),
        pytest.param(TWO_MINORS, ["1.18.8"], "of the form X.Y.Z-N, only 1.18.8", id="none of the same kind"),
        pytest.param(
            a_spec(version="1.19.4-1", chart={"ref": REF, "digest": DIGEST}), REGISTRY, "1.18 may not be", id="a digest"
        ),
        pytest.param(a_spec(version="1.19.4-1", **via("1.17.15-1")), REGISTRY, "skips 1.18", id="by hand"),
    ],
)
def test_where_a_minor_would_be_skipped_there_is_no_way(spec: Spec, available: Sequence[str], words: str) -> None:
    upgrade_path = route_of(spec, available=available)

    assert upgrade_path.refusal is not None
    assert upgrade_path.refusal.reason is Reason.VERSION_UNSUPPORTED
    assert words in upgrade_path.refusal.message
    assert (upgrade_path.versions, upgrade_path.left, upgrade_path.digest, upgrade_path.unknown) == ((), (), "", False)


def test_each_step_has_its_own_digest_and_the_goal_that_of_the_spec() -> None:
    chart = {"ref": REF, "digest": OTHER_DIGEST}
    spec = a_spec(version="1.19.4-1", chart=chart, **via("1.17.15-1", "1.18.8-1", digest=DIGEST))
    first, last = route_of(spec), route_of(spec, released(spec, VERSION, "1.17.15-1", "1.18.8-1"))

    assert (first.next.pinned_digest, first.present.pinned_digest) == (DIGEST, None)
    assert (last.next.pinned_digest, last.present.pinned_digest, last.goal.pinned_digest) == (
        OTHER_DIGEST,
        DIGEST,
        OTHER_DIGEST,
    )


def test_what_is_present_is_the_same_spec_at_the_version_that_runs() -> None:
    upgrade_path, run = route_of(TWO_MINORS), a_step_of(TWO_MINORS, VERSION)

    assert is_release(run, upgrade_path.present)
    assert not is_release(run, route_of(a_spec(version="1.19.4-1", masquerade=False)).present)
    assert upgrade_path.goal == desired_release(TWO_MINORS, released(TWO_MINORS, VERSION))


@pytest.mark.parametrize(
    ("spec", "run", "enters"),
    [
        pytest.param(TWO_MINORS, VERSION, False, id="the newest patch first"),
        pytest.param(TWO_MINORS, "1.17.15-1", True, id="a minor"),
        pytest.param(a_spec(version="1.16.19-1"), VERSION, False, id="a minor down"),
        pytest.param(a_spec(), VERSION, False, id="in sync"),
    ],
)
def test_which_step_enters_a_minor(spec: Spec, run: str, enters: bool) -> None:
    assert route_of(spec, released(spec, run)).enters_minor == enters


@pytest.mark.parametrize(
    ("run", "left"),
    [
        pytest.param([VERSION], ["1.17.15-1", "1.18.8-1", "1.19.4-1"], id="at its beginning"),
        pytest.param([VERSION, "1.17.15-1"], ["1.18.8-1", "1.19.4-1"], id="after a step"),
        pytest.param([VERSION, "1.17.15-1", "1.18.8-1"], ["1.19.4-1"], id="after two"),
        pytest.param([VERSION, "1.17.15-1", "1.18.8-1", "1.19.4-1"], [], id="at its end"),
    ],
)
@pytest.mark.parametrize(
    "available", [None, (), (*REGISTRY, "1.17.16-0", "1.18.9-0")], ids=["not asked", "empty", "newer ones"]
)
def test_a_plan_goes_on_as_it_began_whatever_the_registry_has(
    run: list[str], left: list[str], available: Sequence[str] | None
) -> None:
    began = route_of(TWO_MINORS)
    upgrade_path = route_of(TWO_MINORS, released(TWO_MINORS, *run), available, previous=told(began))

    assert (upgrade_path.versions, list(upgrade_path.left), upgrade_path.digest) == (began.versions, left, began.digest)
    assert not upgrade_path.unknown
    assert upgrade_path.refusal is None


def test_a_plan_of_one_step_is_kept_too() -> None:
    began = route_of(a_spec(version="1.18.8-1"), available=["1.18.8-1"])
    upgrade_path = route_of(a_spec(version="1.18.8-1"), available=REGISTRY, previous=told(began))

    assert (upgrade_path.versions, upgrade_path.left, upgrade_path.digest) == (
        ("1.18.8-1",),
        ("1.18.8-1",),
        began.digest,
    )


@pytest.mark.parametrize(
    ("spec", "generation"),
    [
        pytest.param(TWO_MINORS, GENERATION + 1, id="another generation"),
        pytest.param(a_spec(version="1.19.4-1", masquerade=False), GENERATION, id="another configuration"),
        pytest.param(a_spec(version="1.19.5-0"), GENERATION, id="another version"),
    ],
)
def test_the_plan_of_another_spec_is_none_of_this_one(spec: Spec, generation: int) -> None:
    began = route_of(TWO_MINORS)
    upgrade_path = route_of(spec, released(TWO_MINORS, VERSION), None, previous=told(began), generation=generation)

    assert upgrade_path.unknown
    assert upgrade_path.versions == ()


GOALS = st.sampled_from(
    [desired_release(spec, an_observation()) for spec in (a_spec(), TWO_MINORS, a_spec(masquerade=False))]
)
PLANS = st.lists(st.sampled_from(REGISTRY), max_size=3)


@given(GENERATIONS, PLANS, GOALS, GENERATIONS, PLANS, GOALS)
def test_a_digest_is_of_one_plan_alone(
    generation: int, plan: list[str], goal: Any, other_generation: int, other_plan: list[str], other_goal: Any
) -> None:
    same = (generation, plan, goal) == (other_generation, other_plan, other_goal)

    assert (plan_digest(generation, plan, goal) == plan_digest(other_generation, other_plan, other_goal)) == same


SMALL = st.builds(CiliumVersion, st.just(1), st.integers(14, 20), st.integers(0, 3), st.none() | st.integers(0, 1))


@given(SMALL, SMALL, st.lists(SMALL | versions(), max_size=12), st.lists(SMALL, max_size=4))
def test_no_minor_is_skipped_whatever_the_registry_holds(
    run: CiliumVersion, target: CiliumVersion, available: list[CiliumVersion], by_hand: list[CiliumVersion]
) -> None:
    spec = a_spec(version=str(target), **via(*map(str, by_hand)))
    walked, observation, previous = [run], released(spec, str(run)), Status()
    while True:
        upgrade_path = find_upgrade_path(spec, observation, previous, GENERATION, available)
        if upgrade_path.refusal is not None or not upgrade_path.left:
            break
        walked.append(CiliumVersion.parse(upgrade_path.next.chart_version))
        observation, previous = released(spec, *map(str, walked)), told(upgrade_path)

    assert (upgrade_path.refusal is None) == (walked[-1] == target)
    assert len(walked) == 1 or upgrade_path.refusal is None
    assert all(abs(after.minor - before.minor) <= 1 for before, after in pairwise(walked))
    assert walked == sorted(walked) or len(walked) == 2
