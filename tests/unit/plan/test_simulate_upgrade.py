import signal
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest

from builders import DIGEST, NOW, REF, VERSION, a_preflight, a_spec, an_observation
from cilium_hybrid.api.conditions import Reason
from cilium_hybrid.api.v1alpha1 import Spec
from cilium_hybrid.api.versions import CiliumVersion
from cilium_hybrid.plan.observation import Observation, Revision
from cilium_hybrid.plan.record import Rejected
from cilium_hybrid.plan.release import desired_release, release_digest
from cilium_hybrid.plan.simulate import SimulatedStepKind, Simulation, simulate
from cilium_hybrid.rules.supported_minors import minor_of
from unit.upgrading import NEXT, PATCH, STEPS, UP, cluster, recorded

PREFLIGHT, UPGRADE, APPROVAL = SimulatedStepKind.PREFLIGHT, SimulatedStepKind.UPGRADE, SimulatedStepKind.APPROVAL
RELEASED = dict(desired_release(a_spec(), an_observation()).values)
REGISTRY = [CiliumVersion.parse(version) for version in STEPS]
DOWN = a_spec(version="1.16.19-1")


def simulated(
    spec: Spec,
    observation: Observation | None = None,
    available: Sequence[CiliumVersion] = REGISTRY,
    *,
    has_finalizer: bool = False,
) -> Simulation:
    observation = observation or cluster(DOWN.version, VERSION)
    return simulate(spec, observation, RELEASED, NOW, has_finalizer=has_finalizer, available=available)


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
            id="one approval for all steps",
        ),
        pytest.param(
            a_spec(masquerade=False, upgrade={"approval": "Manual"}),
            [APPROVAL, SimulatedStepKind.CONFIGURE],
            id="approval of a configuration change",
        ),
        pytest.param(
            a_spec(version=PATCH, deletionPolicy="Uninstall"),
            [SimulatedStepKind.ADD_FINALIZER, PREFLIGHT, UPGRADE],
            id="the finalizer is added first",
        ),
    ],
)
def test_the_steps_of_an_upgrade(spec: Spec, expected: list[SimulatedStepKind]) -> None:
    found = simulated(spec)

    assert kinds(found) == expected
    assert (found.end.reason, found.end.stalled) == (Reason.IN_SYNC, False)


def test_each_step_has_its_number_and_notes() -> None:
    upgrades = [step for step in simulated(UP).steps if step.kind is UPGRADE]
    messages = [f"deploying Cilium {version}, step {number} of 3" for number, version in enumerate(STEPS, 1)]

    assert [step.message.partition(";")[0] for step in upgrades] == messages
    notes = [minor_of(CiliumVersion.parse(version)).notes for version in ("1.18.8-1", "1.19.4-1")]
    assert [step.notes for step in upgrades] == [(), *notes]


def test_a_configuration_change_is_part_of_the_first_step() -> None:
    upgrades = [step for step in simulated(a_spec(version=NEXT, masquerade=False)).steps if step.kind is UPGRADE]

    assert [step.changed for step in upgrades] == [("enableIPv4Masquerade (changed)",), ()]


def test_a_downgrade_has_no_notes() -> None:
    (_, down) = simulated(DOWN).steps

    assert down.message == "deploying Cilium 1.16.19-1; the agent restarts on 1 hybrid node"
    assert down.notes == ()


def test_the_preflight_names_its_version() -> None:
    first, *_ = simulated(a_spec(version=PATCH)).steps

    assert first.message == f"checking Cilium {PATCH} on every node with a Ready agent"


def test_a_missing_upgrade_path_is_reported() -> None:
    found = simulated(UP, available=REGISTRY[:1])

    assert found.steps == ()
    assert (found.end.reason, found.end.stalled) == (Reason.VERSION_UNSUPPORTED, True)
    assert "spec.upgrade.via" in found.end.message


def test_an_upgrade_to_a_pinned_chart() -> None:
    found = simulated(a_spec(version=NEXT, chart={"ref": REF, "digest": DIGEST}))

    assert kinds(found) == [PREFLIGHT, UPGRADE]
    assert found.end.reason is Reason.IN_SYNC


def test_removing_a_leftover_preflight_check_is_not_a_step() -> None:
    found = simulated(UP, replace(cluster(VERSION), preflight=a_preflight()))

    assert kinds(found) == [PREFLIGHT, UPGRADE] * 3


@pytest.fixture
def time_limit() -> Iterator[None]:
    """Fail the test if the simulation never ends."""

    def fail(*_: Any) -> None:
        raise AssertionError("the simulation does not end")

    before = signal.signal(signal.SIGALRM, fail)
    signal.setitimer(signal.ITIMER_REAL, 5)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.usefixtures("time_limit")
@pytest.mark.parametrize("rolled_back", [False, True], ids=["before the rollback", "after the rollback"])
def test_the_simulation_of_a_rejected_release_ends(rolled_back: bool) -> None:
    spec = a_spec(version=PATCH)
    digest = release_digest(desired_release(spec, cluster(VERSION)))
    rejected = Rejected(2, digest, "the new agent fails on a (Crash)")
    observation = cluster(VERSION, PATCH, spec=spec, record=replace(recorded(verified=1), rejected=rejected))
    if rolled_back:
        restored = replace(observation.revisions[0], number=3, status="deployed", rolled_back_to=1)
        observation = replace(observation, revisions=(*observation.revisions, restored))
    found = simulated(spec, observation)

    assert found.end.reason is (Reason.ROLLED_BACK if rolled_back else Reason.ROLLING_BACK)


@pytest.mark.usefixtures("time_limit")
def test_a_foreign_revision_ends_a_simulation() -> None:
    observation = cluster(VERSION)
    foreign = Revision(2, "deployed", NOW, manager="terraform")

    found = simulated(UP, replace(observation, revisions=(*observation.revisions, foreign)))

    assert (found.steps, found.end.reason) == ((), Reason.FOREIGN_REVISION)
