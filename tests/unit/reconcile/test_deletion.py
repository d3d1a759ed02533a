from datetime import timedelta

from builders import REF, a_cilium_node, a_raw_spec, an_observation, condition
from cilium_hybrid.api.conditions import ConditionType, Reason
from cilium_hybrid.api.v1alpha1 import FINALIZER
from cilium_hybrid.ports import UninstallFailedError
from unit.world import World, an_installed_world


def test_deleting_a_resource_without_the_finalizer_keeps_cilium_running() -> None:
    world = an_installed_world()
    world.cluster.delete()
    world.settle()

    assert world.history == [(1, "deployed", True)]


def test_deleting_a_resource_with_the_finalizer_uninstalls_cilium_first() -> None:
    world = an_installed_world(deletionPolicy="Uninstall")
    has_finalizer = tuple(world.cluster.finalizers)
    world.cluster.delete()
    world.settle()
    waiting = world.ready, tuple(world.cluster.finalizers)
    world.cluster.delete_all_pods()
    world.settle()

    assert has_finalizer == waiting[1] == (FINALIZER,)
    assert world.releases.revisions == []
    assert waiting[0].reason is Reason.DELETING
    assert world.reconcile() is None
    assert world.cluster.finalizers == ()


def test_the_next_install_knows_the_initial_version() -> None:
    world = an_installed_world(deletionPolicy="Uninstall")
    world.cluster.delete()
    world.cluster.delete_all_pods()
    world.settle()
    world.charts.publish(REF, "1.18.8-1")
    world.cluster.edit(a_raw_spec(version="1.18.8-1"))
    world.settle()

    assert world.releases.applied[1]["upgradeCompatibility"] == "1.17"


def test_another_install_may_use_other_pools_once_the_old_node_blocks_are_deleted() -> None:
    world = an_installed_world()
    world.cluster.delete()
    world.releases.uninstall_by_hand()
    world.cluster.rest = an_observation(cilium_nodes=[a_cilium_node()])
    world.cluster.edit(a_raw_spec(pod_cidrs=["10.99.0.0/16"], mask_size=26))
    world.settle()
    refused = condition(world.status, ConditionType.VALID)
    before = len(world.releases.revisions)
    world.cluster.rest = an_observation()
    world.settle()

    assert refused is not None
    assert "10.85.0.0/25 of CiliumNode mi-0000000000000001" in refused.message
    assert "spec.ipam.maskSize: Invalid value: 26: the block of CiliumNode" in refused.message
    assert before == 0
    assert [revision.status for revision in world.releases.revisions] == ["deployed"]


def test_a_failed_uninstall_is_reported_and_retried() -> None:
    world = an_installed_world(deletionPolicy="Uninstall")
    world.releases.fault = UninstallFailedError("a hook failed")
    world.cluster.delete()
    start = world.clock.now()
    due = world.settle()
    ready = world.ready
    world.clock.advance(seconds=5)
    world.settle()

    assert due is not None
    assert (due - start).total_seconds() == 5
    assert (ready.status, ready.reason) == ("False", Reason.DELETION_BLOCKED)
    assert "a hook failed (tried once" in ready.message
    assert world.releases.revisions == []


def test_a_blocked_deletion_can_be_released() -> None:
    world = an_installed_world(deletionPolicy="Uninstall")
    world.releases.fault = UninstallFailedError("a hook failed")
    world.cluster.delete()
    world.settle()
    world.cluster.edit(a_raw_spec(deletionPolicy="Retain"))
    world.settle()

    assert world.cluster.finalizers == ()
    assert world.history == [(1, "deployed", True)]


def test_a_deletion_needs_no_valid_spec() -> None:
    world = an_installed_world(deletionPolicy="Uninstall")
    world.cluster.edit({"deletionPolicy": "Uninstall", "version": 1})
    world.settle()
    world.cluster.delete()
    world.settle()
    world.cluster.delete_all_pods()
    world.settle()

    assert world.releases.revisions == []
    assert world.cluster.finalizers == ()


def test_a_resource_with_retain_never_has_the_finalizer() -> None:
    world = an_installed_world()
    before = tuple(world.cluster.finalizers)
    world.cluster.edit(a_raw_spec(deletionPolicy="Uninstall"))
    world.settle()
    has_finalizer = tuple(world.cluster.finalizers)
    world.cluster.edit(a_raw_spec())
    world.settle()

    assert (before, has_finalizer, tuple(world.cluster.finalizers)) == ((), (FINALIZER,), ())


def test_a_deletion_continues_after_a_restart() -> None:
    world = an_installed_world(deletionPolicy="Uninstall")
    world.cluster.delete()
    world.reconcile()
    world.restart()
    world.cluster.delete_all_pods()
    world.settle()

    assert world.releases.revisions == []
    assert world.cluster.finalizers == ()


def test_removing_the_finalizer_is_retried_after_a_pause() -> None:
    world = an_installed_world(deletionPolicy="Uninstall")
    world.cluster.delete()
    world.cluster.delete_all_pods()
    world.reconcile()
    world.cluster.finalizer_error = "forbidden"
    start = world.clock.now()
    due = world.settle()
    for _ in range(3):
        world.reconcile()
    ready, attempts = world.ready, world.cluster.refused_writes
    world.cluster.finalizer_error = None
    world.clock.advance(seconds=5)
    world.settle()

    assert due == start + timedelta(seconds=5)
    assert attempts == 1
    assert (ready.reason, "forbidden (tried once" in ready.message) == (Reason.DELETION_BLOCKED, True)
    assert world.cluster.finalizers == ()


def test_the_deletion_policy_of_an_invalid_spec_applies_to_its_deletion() -> None:
    world = an_installed_world()
    world.cluster.edit(a_raw_spec(deletionPolicy="Uninstall", mask_size=26))
    world.settle()
    world.cluster.delete()
    world.settle()
    world.cluster.delete_all_pods()
    world.settle()

    assert world.releases.revisions == []
    assert world.cluster.finalizers == ()


def test_a_foreign_release_is_kept_even_with_deletion_policy_uninstall() -> None:
    world = World()
    world.releases.upgrade_by_hand()
    world.cluster.edit(a_raw_spec(deletionPolicy="Uninstall"))
    world.settle()
    ready, has_finalizer = world.ready, tuple(world.cluster.finalizers)
    world.cluster.delete()
    world.settle()

    assert (ready.reason, has_finalizer) == (Reason.RELEASE_NOT_OWNED, (FINALIZER,))
    assert world.history == [(1, "deployed", False)]
    assert world.cluster.finalizers == ()


def test_the_status_keeps_the_chart_during_the_deletion() -> None:
    world = an_installed_world(deletionPolicy="Uninstall")
    world.cluster.records.clear()
    world.cluster.delete()
    world.reconcile()

    assert world.status.release is not None
    assert world.status.release.chart == REF
