import signal
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest

from builders import DIGEST, NOW, REF, VERSION, a_preflight, a_spec, an_observation
from cilium_hybrid.api.conditions import Reason
from cilium_hybrid.api.v1alpha1 import Spec
from cilium_hybrid.api.versions import CiliumVersion
from cilium_hybrid.plan.observation import Observation, Rejected, Revision
from cilium_hybrid.plan.release import desired_release, spec_digest
from cilium_hybrid.plan.simulate import SimulatedStepKind, Simulation, simulate
from cilium_hybrid.rules.supported_minors import MINORS
from unit.upgrading import NEXT, PATCH, STEPS, UP, cluster, recorded

PREFLIGHT, UPGRADE, APPROVAL = SimulatedStepKind.PREFLIGHT, SimulatedStepKind.UPGRADE, SimulatedStepKind.APPROVAL
RELEASED = dict(desired_release(a_spec(), an_observation()).values)
REGISTRY = [CiliumVersion.parse(version) for version in STEPS]
DOWN = a_spec(version="1.16.19-1")


def seen(
    spec: Spec,
    observation: Observation | None = None,
    available: Sequence[CiliumVersion] = REGISTRY,
    *,
    has_finalizer: bool = False,
    generation: int = 0,
) -> Simulation:
    observation = observation or cluster(VERSION)
    return simulate(
        spec, observation, RELEASED, NOW, has_finalizer=has_finalizer, generation=generation, available=available
    )


def kinds(found: Simulation) -> list[SimulatedStepKind]:
    return [step.kind for step in found.steps]


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        pytest.param(a_spec(version=PATCH), [PREFLIGHT, UPGRADE], id="a patch"),
        pytest.param(a_spec(version=NEXT), [PREFLIGHT, UPGRADE] * 2, id="a minor"),
        pytest.param(UP, [PREFLIGHT, UPGRADE] * 3, id="two minors"),
        pytest.param(DOWN, [PREFLIGHT, UPGRADE], id="a minor down"),
        pytest.param(
            a_spec(version=NEXT, upgrade={"preflight": {"enabled": False}}), [UPGRADE, UPGRADE], id="no preflight"
        ),
        pytest.param(
            a_spec(version=NEXT, upgrade={"approval": "Manual"}),
            [APPROVAL, PREFLIGHT, UPGRADE, PREFLIGHT, UPGRADE],
            id="one approval of all",
        ),
        pytest.param(
            a_spec(masquerade=False, upgrade={"approval": "Manual"}),
            [APPROVAL, SimulatedStepKind.CONFIGURE],
            id="an approval of a configuration",
        ),
        pytest.param(
            a_spec(version=PATCH, deletionPolicy="Uninstall"),
            [SimulatedStepKind.ADD_FINALIZER, PREFLIGHT, UPGRADE],
            id="held first",
        ),
    ],
)
def test_an_upgrade_is_told_step_by_step(spec: Spec, expected: list[SimulatedStepKind]) -> None:
    found = seen(spec)

    assert kinds(found) == expected
    assert (found.end.reason, found.end.stalled) == (Reason.IN_SYNC, False)


def test_each_step_tells_its_number_and_what_to_know() -> None:
    upgrades = [step for step in seen(UP).steps if step.kind is UPGRADE]
    words = [f"releasing Cilium {version}, step {number} of 3" for number, version in enumerate(STEPS, 1)]

    assert [step.message.partition(";")[0] for step in upgrades] == words
    assert [step.notes for step in upgrades] == [(), MINORS["1.18"].notes, MINORS["1.19"].notes]


def test_a_configuration_that_changes_with_the_version_changes_in_the_first_step() -> None:
    upgrades = [step for step in seen(a_spec(version=NEXT, masquerade=False)).steps if step.kind is UPGRADE]

    assert [step.changed for step in upgrades] == [("enableIPv4Masquerade (changed)",), ()]


def test_down_there_is_nothing_to_know() -> None:
    (_, down) = seen(DOWN).steps

    assert down.message == "releasing Cilium 1.16.19-1; the agent restarts on 1 hybrid node"
    assert down.notes == ()


def test_the_preflight_names_its_version() -> None:
    first, *_ = seen(a_spec(version=PATCH)).steps

    assert first.message == f"checking Cilium {PATCH} on every node with a Ready agent"


def test_where_there_is_no_way_it_says_so() -> None:
    found = seen(UP, available=REGISTRY[:1])

    assert found.steps == ()
    assert (found.end.reason, found.end.stalled) == (Reason.VERSION_UNSUPPORTED, True)
    assert "spec.upgrade.via" in found.end.message


def test_a_chart_that_is_pinned_is_told_as_it_is_pinned() -> None:
    found = seen(a_spec(version=NEXT, chart={"ref": REF, "digest": DIGEST}))

    assert kinds(found) == [PREFLIGHT, UPGRADE]
    assert found.end.reason is Reason.IN_SYNC


def test_a_preflight_that_an_earlier_spec_left_is_no_step() -> None:
    found = seen(UP, replace(cluster(VERSION), preflight=a_preflight()))

    assert kinds(found) == [PREFLIGHT, UPGRADE] * 3


@pytest.fixture
def soon() -> Iterator[None]:
    """The test fails where it goes round in circles."""

    def fail(*_: Any) -> None:
        raise AssertionError("there is no end of it")

    before = signal.signal(signal.SIGALRM, fail)
    signal.setitimer(signal.ITIMER_REAL, 5)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.usefixtures("soon")
@pytest.mark.parametrize("gone_back", [False, True], ids=["it is to be undone", "it is to be claimed"])
def test_what_was_rejected_and_is_not_undone_yet_has_an_end(gone_back: bool) -> None:
    spec = a_spec(version=PATCH)
    rejected = Rejected(2, 7, spec_digest(desired_release(spec, cluster(VERSION))), "the new agent fails on a (Crash)")
    observation = cluster(VERSION, PATCH, spec=spec, record=replace(recorded(verified=1), rejected=rejected))
    if gone_back:
        copy = Revision(3, "deployed", NOW, copies=1)
        observation = replace(observation, revisions=(*observation.revisions, copy))
    found = seen(spec, observation, generation=7)

    assert found.end.reason in {Reason.ROLLING_BACK, Reason.ROLLED_BACK}
