"""The reconciler and what others change: their revisions, their edits, and suspend."""

from typing import Any

import pytest

from builders import REF, a_raw_spec, condition
from cilium_hybrid.api.conditions import ConditionType, Reason
from cilium_hybrid.api.status import HistoryAction, Phase
from cilium_hybrid.api.v1alpha1 import FINALIZER
from cilium_hybrid.ports import ApplyFailedError, ClusterUnavailableError, PortError, StaleError
from cilium_hybrid.reconcile.reconciler import RETRY_AFTER_STALE
from unit.world import World, an_installed_world


def numbers(world: World) -> list[int]:
    return [revision.number for revision in world.releases.revisions]


def test_a_foreign_release_is_not_changed() -> None:
    world = World()
    world.releases.upgrade_by_hand()
    world.cluster.edit(a_raw_spec())
    world.settle()
    world.cluster.edit(a_raw_spec(masquerade=False))
    due = world.settle()

    assert due is None
    assert world.ready.reason is Reason.RELEASE_NOT_OWNED
    assert world.status.release is None
    assert numbers(world) == [1]


def test_a_foreign_revision_is_kept_until_the_annotation_asks_for_another() -> None:
    world = an_installed_world()
    world.releases.upgrade_by_hand()
    for _ in range(3):
        world.settle()
        world.clock.advance(hours=1)
    world.cluster.edit(a_raw_spec(masquerade=False))
    world.settle()
    ready, kept = world.ready, numbers(world)
    world.cluster.request("1")
    world.settle()

    assert (ready.status, ready.reason) == ("False", Reason.FOREIGN_REVISION)
    assert kept == [1, 2]
    assert numbers(world) == [1, 2, 3]
    assert world.releases.newest.managed


def test_a_restart_does_not_replace_a_foreign_revision() -> None:
    world = an_installed_world()
    world.releases.upgrade_by_hand()
    world.settle()
    world.restart()
    world.settle()

    assert numbers(world) == [1, 2]


def test_a_new_resource_does_not_replace_a_foreign_revision() -> None:
    world = an_installed_world()
    world.cluster.delete()
    world.releases.upgrade_by_hand()
    world.cluster.edit(a_raw_spec())
    world.settle()

    assert world.ready.reason is Reason.FOREIGN_REVISION
    assert numbers(world) == [1, 2]


def test_a_value_of_the_annotation_replaces_only_one_foreign_revision() -> None:
    """A GitOps tool may set the same value again and again."""
    world = an_installed_world()
    world.releases.upgrade_by_hand()
    world.cluster.request("1")
    world.settle()
    world.releases.upgrade_by_hand()
    world.restart()
    world.settle()

    assert numbers(world) == [1, 2, 3, 4]
    assert not world.releases.newest.managed
    assert world.ready.reason is Reason.FOREIGN_REVISION


def test_a_spec_that_changed_while_the_operator_was_down_keeps_a_foreign_revision() -> None:
    world = an_installed_world()
    world.releases.upgrade_by_hand()
    world.cluster.edit(a_raw_spec(masquerade=False))
    world.settle()

    assert numbers(world) == [1, 2]
    assert world.ready.reason is Reason.FOREIGN_REVISION


@pytest.mark.parametrize(
    "error",
    [
        pytest.param(ClusterUnavailableError("no answer"), id="the API server is unavailable"),
        pytest.param(ApplyFailedError("a webhook refused it"), id="the release fails"),
        pytest.param(StaleError("killed"), id="Helm is killed"),
    ],
)
@pytest.mark.parametrize("restarts", [False, True], ids=["the same process", "another process"])
def test_a_change_after_a_foreign_revision_is_retried_after_a_failure(error: PortError, restarts: bool) -> None:
    world = an_installed_world()
    world.releases.upgrade_by_hand()
    world.settle()
    world.releases.fault = error
    world.cluster.edit(a_raw_spec(masquerade=False))
    world.cluster.request("1")
    world.reconcile()
    world.reconcile()
    kept = numbers(world)
    if restarts:
        world.restart()
    world.clock.advance(seconds=5)
    world.settle()

    assert kept == [1, 2]
    assert numbers(world) == [1, 2, 3]
    assert world.releases.newest.managed


def test_the_annotation_is_remembered_until_the_spec_is_valid() -> None:
    world = an_installed_world()
    world.releases.upgrade_by_hand()
    world.settle()
    world.cluster.edit(a_raw_spec(mask_size=26))
    world.cluster.request("1")
    world.settle()
    refused, kept = world.ready, numbers(world)
    world.cluster.edit(a_raw_spec(masquerade=False))
    world.settle()

    assert (refused.reason, kept) == (Reason.MASK_CHANGED, [1, 2])
    assert numbers(world) == [1, 2, 3]
    assert world.releases.newest.managed


def test_a_reverted_change_keeps_a_foreign_revision() -> None:
    world = an_installed_world()
    world.releases.upgrade_by_hand()
    world.cluster.edit(a_raw_spec(masquerade=False, suspend=True))
    world.settle()
    world.cluster.edit(a_raw_spec())
    world.settle()

    assert world.ready.reason is Reason.FOREIGN_REVISION
    assert numbers(world) == [1, 2]


def test_a_revision_created_during_a_reconciliation_is_observed_first() -> None:
    world = an_installed_world()
    world.cluster.edit(a_raw_spec(masquerade=False))
    world.cluster.meanwhile.append(world.releases.upgrade_by_hand)
    due = world.reconcile()
    world.settle()

    assert due == world.clock.now() + RETRY_AFTER_STALE
    assert numbers(world) == [1, 2]
    assert world.ready.reason is Reason.FOREIGN_REVISION


@pytest.mark.parametrize(
    "edit",
    [
        pytest.param(lambda world: world.cluster.edit(a_raw_spec(suspend=True)), id="an edit"),
        pytest.param(lambda world: world.cluster.delete(), id="a deletion"),
    ],
)
def test_a_resource_changed_during_a_reconciliation_is_read_again_first(edit: Any) -> None:
    world = World()
    world.cluster.edit(a_raw_spec())
    world.cluster.meanwhile.append(lambda: edit(world))
    world.settle()
    world.settle()

    assert world.releases.revisions == []


SUSPENDED = a_raw_spec(suspend=True)


def test_nothing_changes_while_suspended() -> None:
    world = an_installed_world()
    world.cluster.edit(SUSPENDED | {"masquerade": False})
    due = world.settle()
    ready, phase = world.ready, world.status.phase
    kept = numbers(world)
    world.cluster.edit(a_raw_spec(masquerade=False))
    world.settle()

    assert due is None
    assert (ready.status, ready.reason, phase) == ("True", Reason.SUSPENDED, Phase.SUSPENDED)
    assert kept == [1]
    assert numbers(world) == [1, 2]


def test_nothing_is_installed_while_suspended() -> None:
    world = World()
    world.cluster.edit(SUSPENDED)
    world.settle()

    assert world.releases.revisions == []
    assert (world.ready.status, world.ready.reason) == ("False", Reason.SUSPENDED)


def test_a_pending_revision_stays_pending_while_suspended() -> None:
    world = an_installed_world()
    world.releases.upgrade_by_hand(status="pending-upgrade")
    world.cluster.edit(SUSPENDED)
    world.settle()

    assert world.releases.newest.status == "pending-upgrade"


def test_cilium_is_installed_again_after_a_foreign_uninstall() -> None:
    world = an_installed_world()
    world.releases.uninstall_by_hand()
    world.settle()

    assert [(revision.number, revision.managed) for revision in world.releases.revisions] == [(1, True)]


def test_an_uninstalled_release_with_kept_history_does_not_restrict_a_new_spec() -> None:
    world = an_installed_world()
    world.charts.publish(REF, "1.18.8-1")
    world.releases.uninstall_by_hand(keep_history=True)
    world.cluster.delete_all_pods()
    world.cluster.edit(a_raw_spec(version="1.18.8-1", pod_cidrs=["10.99.0.0/16"], mask_size=26))
    world.reconcile()
    reported = world.ready
    world.settle()

    assert reported.reason is Reason.INSTALLING
    assert world.history == [(1, "superseded", True), (2, "deployed", True)]
    assert world.releases.applied[2]["upgradeCompatibility"] == "1.17"


def test_an_invalid_spec_is_reported_while_suspended() -> None:
    world = an_installed_world()
    world.cluster.edit(a_raw_spec(suspend=True, mask_size=26))
    world.settle()
    valid = condition(world.status, ConditionType.VALID)

    assert valid is not None
    assert (valid.status, valid.reason) == ("False", Reason.MASK_CHANGED)
    assert world.ready.reason is Reason.SUSPENDED


@pytest.mark.parametrize(
    ("edit", "status", "reason"),
    [
        pytest.param({}, "True", Reason.IN_SYNC, id="the spec is deployed"),
        pytest.param({"masquerade": False}, "False", Reason.SUSPENDED, id="the spec is not deployed"),
    ],
)
def test_released_is_reported_while_suspended(edit: dict[str, Any], status: str, reason: Reason) -> None:
    world = an_installed_world()
    world.cluster.edit(SUSPENDED | edit)
    world.settle()
    released = condition(world.status, ConditionType.RELEASED)

    assert released is not None
    assert (released.status, released.reason) == (status, reason)


@pytest.mark.parametrize(
    "edit",
    [pytest.param({}, id="suspended"), pytest.param({"mask_size": 26}, id="suspended and invalid")],
)
def test_the_finalizer_follows_the_spec_only_after_it_is_resumed(edit: dict[str, Any]) -> None:
    world = an_installed_world()
    world.cluster.edit(a_raw_spec(suspend=True, deletionPolicy="Uninstall", **edit))
    world.settle()
    while_suspended = tuple(world.cluster.finalizers)
    world.cluster.edit(a_raw_spec(deletionPolicy="Uninstall", **edit))
    world.settle()

    assert (while_suspended, tuple(world.cluster.finalizers)) == ((), (FINALIZER,))


def test_a_release_after_a_foreign_revision_is_a_change_in_the_history() -> None:
    world = an_installed_world()
    world.releases.upgrade_by_hand()
    world.settle()
    world.clock.advance(seconds=1)
    world.cluster.edit(a_raw_spec(masquerade=False))
    world.cluster.request("1")
    world.settle()
    entry = world.status.history[-1]

    assert (entry.revision, entry.action, entry.result) == (3, HistoryAction.CONFIGURE, "Succeeded")
    assert entry.from_version != ""
