from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders import (
    DIGEST,
    NODE,
    OTHER_DIGEST,
    REF,
    VERSION,
    a_foreign_revision,
    a_record,
    a_spec,
    a_step_of,
    an_agent,
    an_observation,
)
from cilium_hybrid.api.conditions import Reason
from cilium_hybrid.api.status import PlanPhase, PlanStep, Status
from cilium_hybrid.api.v1alpha1 import Spec
from cilium_hybrid.api.versions import CiliumVersion
from cilium_hybrid.plan.observation import Observation, ReleasePayload
from cilium_hybrid.plan.release import desired_release, is_release
from cilium_hybrid.plan.upgrade.path import UpgradePath, find_upgrade_path, plan_digest
from strategies import versions

REGISTRY = (VERSION, "1.17.15-1", "1.18.3-0", "1.18.8-1", "1.19.4-1")
TWO_MINORS = a_spec(version="1.19.4-1")


def released(spec: Spec, *revisions: str) -> Observation:
    """A cluster in which these versions were released one after the other, on the way to the spec's version."""
    made = [a_step_of(spec, version, number, status="superseded") for number, version in enumerate(revisions[:-1], 1)]
    return an_observation(*made, a_step_of(spec, revisions[-1], len(revisions)), record=a_record())


BEFORE_UPGRADE = "1.16.19-1"


def path_of(
    spec: Spec,
    observation: Observation | None = None,
    available: Sequence[str] | None = REGISTRY,
    *,
    previous: Status | None = None,
) -> UpgradePath:
    found = None if available is None else [CiliumVersion.parse(version) for version in available]
    observation = observation or released(spec, BEFORE_UPGRADE, VERSION)
    return find_upgrade_path(spec, observation, previous or Status(), found)


def status_of(upgrade_path: UpgradePath) -> Status:
    """A status that stores the plan."""
    steps = tuple(PlanStep(version=version, phase=PlanPhase.PENDING) for version in upgrade_path.versions)
    return Status(plan=steps, plan_digest=upgrade_path.digest)


def via(*found: str, **digests: str) -> dict[str, Any]:
    steps = [{"version": version} | ({"digest": digests["digest"]} if digests else {}) for version in found]
    return {"upgrade": {"via": steps}}


@pytest.mark.parametrize(
    ("spec", "observation", "versions", "remaining"),
    [
        pytest.param(a_spec(), an_observation(), [VERSION], [], id="an install"),
        pytest.param(
            a_spec(),
            an_observation(a_foreign_revision()),
            [VERSION],
            [],
            id="a Cilium that the operator did not install",
        ),
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
            id="one minor version up, through the newest patch of the running one",
        ),
        pytest.param(
            TWO_MINORS,
            None,
            ["1.17.15-1", "1.18.8-1", "1.19.4-1"],
            ["1.17.15-1", "1.18.8-1", "1.19.4-1"],
            id="two minor versions up",
        ),
        pytest.param(
            TWO_MINORS,
            released(TWO_MINORS, VERSION, "1.17.15-1"),
            ["1.18.8-1", "1.19.4-1"],
            ["1.18.8-1", "1.19.4-1"],
            id="two minor versions up, from the newest patch",
        ),
        pytest.param(
            a_spec(version="1.19.4-1", **via("1.17.9-1", "1.18.3-0")),
            None,
            ["1.17.9-1", "1.18.3-0", "1.19.4-1"],
            ["1.17.9-1", "1.18.3-0", "1.19.4-1"],
            id="spec.upgrade.via",
        ),
        pytest.param(a_spec(version="1.16.19-1"), None, ["1.16.19-1"], ["1.16.19-1"], id="a minor version down"),
        pytest.param(
            a_spec(version="1.18.8-1", chart={"ref": REF, "digest": DIGEST}),
            None,
            ["1.18.8-1"],
            ["1.18.8-1"],
            id="a chart pinned by digest",
        ),
        pytest.param(
            a_spec(version="1.18.8-1", chart={"ref": "/charts/cilium"}),
            None,
            ["1.18.8-1"],
            ["1.18.8-1"],
            id="a chart on disk",
        ),
        pytest.param(
            a_spec(version="1.18.8-1"),
            an_observation(a_step_of(a_spec(), VERSION), a_foreign_revision(2)),
            ["1.17.15-1", "1.18.8-1"],
            ["1.17.15-1", "1.18.8-1"],
            id="from the operator's last release, below a foreign revision",
        ),
    ],
)
def test_the_versions_of_a_path(
    spec: Spec, observation: Observation | None, versions: list[str], remaining: list[str]
) -> None:
    upgrade_path = path_of(spec, observation)

    assert (list(upgrade_path.versions), list(upgrade_path.remaining)) == (versions, remaining)
    assert upgrade_path.next.chart_version == (remaining[0] if remaining else spec.version)
    assert (upgrade_path.refusal, upgrade_path.needs_versions) == (None, False)


@pytest.mark.parametrize(
    ("spec", "needed"),
    [
        pytest.param(a_spec(version="1.18.8-1"), True, id="a minor version up"),
        pytest.param(a_spec(version="1.18.8-1", **via("1.17.15-1")), False, id="spec.upgrade.via"),
        pytest.param(a_spec(version="1.17.15-1"), False, id="a patch"),
        pytest.param(a_spec(version="1.16.19-1"), False, id="a minor version down"),
        pytest.param(a_spec(), False, id="nothing"),
        pytest.param(a_spec(version="1.18.8-1", chart={"ref": REF, "digest": DIGEST}), False, id="a digest"),
        pytest.param(a_spec(version="1.18.8-1", chart={"ref": "/charts/cilium"}), False, id="a chart on disk"),
    ],
)
def test_the_registrys_versions_are_listed_only_if_they_matter(spec: Spec, needed: bool) -> None:
    upgrade_path = path_of(spec, available=None)

    assert upgrade_path.needs_versions == needed
    assert (upgrade_path.versions == ()) == needed
    assert upgrade_path.refusal is None


@pytest.mark.parametrize(
    ("spec", "available", "words"),
    [
        pytest.param(TWO_MINORS, ["1.17.15-1"], "must not skip 1.18, and the registry has no 1.18 version", id="none"),
        pytest.param(TWO_MINORS, ["1.18.8"], "of the form X.Y.Z-N (only 1.18.8)", id="none of the same kind"),
        pytest.param(
            a_spec(version="1.19.4-1", chart={"ref": REF, "digest": DIGEST}),
            REGISTRY,
            "must not skip 1.18",
            id="a digest",
        ),
        pytest.param(a_spec(version="1.19.4-1", **via("1.17.15-1")), REGISTRY, "skips 1.18", id="spec.upgrade.via"),
    ],
)
def test_a_path_that_skips_a_minor_version_is_refused(spec: Spec, available: Sequence[str], words: str) -> None:
    upgrade_path = path_of(spec, available=available)

    assert upgrade_path.refusal is not None
    assert upgrade_path.refusal.reason is Reason.VERSION_UNSUPPORTED
    assert words in upgrade_path.refusal.message
    assert (upgrade_path.versions, upgrade_path.remaining, upgrade_path.digest, upgrade_path.needs_versions) == (
        (),
        (),
        "",
        False,
    )


def test_each_step_has_its_own_digest_and_the_target_that_of_the_spec() -> None:
    chart = {"ref": REF, "digest": OTHER_DIGEST}
    spec = a_spec(version="1.19.4-1", chart=chart, **via("1.17.15-1", "1.18.8-1", digest=DIGEST))
    first, last = path_of(spec), path_of(spec, released(spec, VERSION, "1.17.15-1", "1.18.8-1"))

    assert (first.next.pinned_digest, first.current.pinned_digest) == (DIGEST, None)
    assert (last.next.pinned_digest, last.current.pinned_digest, last.target.pinned_digest) == (
        OTHER_DIGEST,
        DIGEST,
        OTHER_DIGEST,
    )


def test_current_is_the_same_spec_at_the_version_that_runs() -> None:
    upgrade_path, run = path_of(TWO_MINORS), a_step_of(TWO_MINORS, VERSION)

    assert is_release(run, upgrade_path.current)
    assert not is_release(run, path_of(a_spec(version="1.19.4-1", masquerade=False)).current)
    assert upgrade_path.target == desired_release(TWO_MINORS, released(TWO_MINORS, VERSION))


@pytest.mark.parametrize(
    ("spec", "run", "enters"),
    [
        pytest.param(TWO_MINORS, VERSION, False, id="the newest patch first"),
        pytest.param(TWO_MINORS, "1.17.15-1", True, id="a minor"),
        pytest.param(a_spec(version="1.16.19-1"), VERSION, False, id="a minor version down"),
        pytest.param(a_spec(), VERSION, False, id="in sync"),
    ],
)
def test_which_step_enters_a_minor_version(spec: Spec, run: str, enters: bool) -> None:
    assert path_of(spec, released(spec, BEFORE_UPGRADE, run)).enters_minor == enters


@pytest.mark.parametrize(
    ("run", "remaining"),
    [
        pytest.param([VERSION], ["1.17.15-1", "1.18.8-1", "1.19.4-1"], id="before the first step"),
        pytest.param([VERSION, "1.17.15-1"], ["1.18.8-1", "1.19.4-1"], id="after the first step"),
        pytest.param([VERSION, "1.17.15-1", "1.18.8-1"], ["1.19.4-1"], id="after the second step"),
        pytest.param([VERSION, "1.17.15-1", "1.18.8-1", "1.19.4-1"], [], id="after the last step"),
    ],
)
@pytest.mark.parametrize(
    "available", [None, (), (*REGISTRY, "1.17.16-0", "1.18.9-0")], ids=["not listed", "empty", "newer versions"]
)
def test_a_plan_in_progress_ignores_new_versions_in_the_registry(
    run: list[str], remaining: list[str], available: Sequence[str] | None
) -> None:
    began = path_of(TWO_MINORS)
    upgrade_path = path_of(TWO_MINORS, released(TWO_MINORS, *run), available, previous=status_of(began))

    assert (upgrade_path.versions, list(upgrade_path.remaining), upgrade_path.digest) == (
        began.versions,
        remaining,
        began.digest,
    )
    assert not upgrade_path.needs_versions
    assert upgrade_path.refusal is None


def test_a_plan_of_one_step_is_kept() -> None:
    began = path_of(a_spec(version="1.18.8-1"), available=["1.18.8-1"])
    upgrade_path = path_of(a_spec(version="1.18.8-1"), available=REGISTRY, previous=status_of(began))

    assert (upgrade_path.versions, upgrade_path.remaining, upgrade_path.digest) == (
        ("1.18.8-1",),
        ("1.18.8-1",),
        began.digest,
    )


@pytest.mark.parametrize(
    "spec",
    [
        pytest.param(a_spec(version="1.19.4-1", masquerade=False), id="another configuration"),
        pytest.param(a_spec(version="1.19.5-0"), id="another version"),
    ],
)
def test_the_plan_of_another_spec_is_discarded(spec: Spec) -> None:
    began = path_of(TWO_MINORS)
    upgrade_path = path_of(spec, released(TWO_MINORS, VERSION), None, previous=status_of(began))

    assert upgrade_path.needs_versions
    assert upgrade_path.versions == ()


def test_a_plan_outlives_an_edit_that_changes_nothing_of_the_release() -> None:
    began = path_of(TWO_MINORS)
    spec = a_spec(version="1.19.4-1", upgrade={"rollout": {"soak": "5m", "strategy": "RollingUpdate"}})

    assert path_of(spec, available=None, previous=status_of(began)).digest == began.digest


@pytest.mark.parametrize(
    ("version", "remaining"),
    [
        pytest.param("1.17.9", ["1.17.15-1", "1.18.8-1", "1.19.4-1"], id="the running minor"),
        pytest.param("1.18.8", ["1.18.8-1", "1.19.4-1"], id="one minor ahead"),
        pytest.param("1.20.0", ["1.19.4-1"], id="ahead of the target, which stays"),
        pytest.param(None, ["1.17.15-1", "1.18.8-1", "1.19.4-1"], id="unknown"),
    ],
)
def test_no_step_leads_to_an_older_minor_than_an_agent_runs(version: str | None, remaining: list[str]) -> None:
    observation = replace(released(TWO_MINORS, VERSION), agents={NODE: an_agent(version=version)})

    assert list(path_of(TWO_MINORS, observation).remaining) == remaining


def test_a_path_starts_at_the_version_of_a_foreign_revision() -> None:
    revisions = (a_step_of(TWO_MINORS, VERSION), a_foreign_revision(2))
    observation = an_observation(*revisions, record=a_record(), payloads={2: ReleasePayload(chart_version="1.18.8-1")})

    assert path_of(TWO_MINORS, observation).remaining == ("1.19.4-1",)


TARGETS = st.sampled_from(
    [desired_release(spec, an_observation()) for spec in (a_spec(), TWO_MINORS, a_spec(masquerade=False))]
)
PLANS = st.lists(st.sampled_from(REGISTRY), max_size=3)


@given(PLANS, TARGETS, PLANS, TARGETS)
def test_different_plans_have_different_digests(
    plan: list[str], target: Any, other_plan: list[str], other_target: Any
) -> None:
    same = (plan, target) == (other_plan, other_target)

    assert (plan_digest(plan, target) == plan_digest(other_plan, other_target)) == same


SMALL = st.builds(CiliumVersion, st.just(1), st.integers(14, 20), st.integers(0, 3), st.none() | st.integers(0, 1))


@given(SMALL, SMALL, st.lists(SMALL | versions(), max_size=12), st.lists(SMALL, max_size=4))
def test_no_minor_version_is_skipped_whatever_the_registry_has(
    run: CiliumVersion, target: CiliumVersion, available: list[CiliumVersion], via_versions: list[CiliumVersion]
) -> None:
    spec = a_spec(version=str(target), **via(*map(str, via_versions)))
    released_versions, observation, previous = [run], released(spec, str(run)), Status()
    while True:
        upgrade_path = find_upgrade_path(spec, observation, previous, available)
        if upgrade_path.refusal is not None or not upgrade_path.remaining:
            break
        released_versions.append(CiliumVersion.parse(upgrade_path.next.chart_version))
        observation, previous = released(spec, *map(str, released_versions)), status_of(upgrade_path)

    assert (upgrade_path.refusal is None) == (released_versions[-1] == target)
    assert len(released_versions) == 1 or upgrade_path.refusal is None
    assert all(abs(after.minor - before.minor) <= 1 for before, after in pairwise(released_versions))
    assert released_versions == sorted(released_versions) or len(released_versions) == 2
