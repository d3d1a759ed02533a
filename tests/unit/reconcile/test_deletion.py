from datetime import timedelta

from builders import NOW, REF, a_cilium_node, a_raw_spec, an_observation, condition
from cilium_hybrid.api.conditions import ConditionType, Reason
from cilium_hybrid.api.v1alpha1 import FINALIZER
from cilium_hybrid.ports import UninstallFailedError
from unit.world import World, an_installed_world


def test_deleting_a_resource_that_is_not_held_leaves_cilium_as_it_runs() -> None:
    world = an_installed_world()
    world.cluster.delete()
    world.settle()

    assert world.history == [(1, "deployed", True)]


def test_deleting_a_resource_that_is_held_uninstalls_and_then_lets_go() -> None:
    world = an_installed_world(deletionPolicy="Uninstall")
    has_finalizer = tuple(world.cluster.finalizers)
    world.cluster.delete()
    world.settle()
    waiting = world.ready, tuple(world.cluster.finalizers)
    world.cluster.end_pods()
    world.settle()

    assert has_finalizer == waiting[1] == (FINALIZER,)
    assert world.releases.revisions == []
    assert waiting[0].reason is Reason.DELETING
    assert world.reconcile() is None
    assert world.cluster.finalizers == ()


def test_what_was_installed_first_is_known_to_the_next_install() -> None:
    world = an_installed_world(deletionPolicy="Uninstall")
    world.cluster.delete()
    world.cluster.end_pods()
    world.settle()
    world.charts.publish(REF, "1.18.8-1")
    world.cluster.edit(a_raw_spec(version="1.18.8-1"))
    world.settle()

    assert world.releases.applied[1]["upgradeCompatibility"] == "1.17"


def test_a_later_install_may_use_other_pools_once_the_blocks_of_the_one_before_are_gone() -> None:
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
    assert "spec.ipam.maskSize: cannot be 26" in refused.message
    assert before == 0
    assert [revision.status for revision in world.releases.revisions] == ["deployed"]


def test_an_uninstall_that_fails_is_told_and_tried_again() -> None:
    world = an_installed_world(deletionPolicy="Uninstall")
    world.releases.fault = UninstallFailedError("a hook failed")
    world.cluster.delete()
    due = world.settle()
    said = world.ready
    world.clock.advance(seconds=5)
    world.settle()

    assert due is not None
    assert (due - NOW).total_seconds() == 5
    assert (said.status, said.reason) == ("False", Reason.DELETION_BLOCKED)
    assert "a hook failed (tried once" in said.message
    assert world.releases.revisions == []


def test_a_deletion_that_is_blocked_can_be_let_go_of() -> None:
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
    world.cluster.end_pods()
    world.settle()

    assert world.releases.revisions == []
    assert world.cluster.finalizers == ()


def test_a_resource_that_is_not_to_be_uninstalled_is_never_held() -> None:
    world = an_installed_world()
    before = tuple(world.cluster.finalizers)
    world.cluster.edit(a_raw_spec(deletionPolicy="Uninstall"))
    world.settle()
    has_finalizer = tuple(world.cluster.finalizers)
    world.cluster.edit(a_raw_spec())
    world.settle()

    assert (before, has_finalizer, tuple(world.cluster.finalizers)) == ((), (FINALIZER,), ())


def test_a_restart_in_the_middle_of_a_deletion_goes_on() -> None:
    world = an_installed_world(deletionPolicy="Uninstall")
    world.cluster.delete()
    world.reconcile()
    world.restart()
    world.cluster.end_pods()
    world.settle()

    assert world.releases.revisions == []
    assert world.cluster.finalizers == ()


def test_a_finalizer_that_cannot_be_taken_off_is_not_tried_again_at_once() -> None:
    world = an_installed_world(deletionPolicy="Uninstall")
    world.cluster.delete()
    world.cluster.end_pods()
    world.reconcile()
    world.cluster.refuses_finalizers = "forbidden"
    due = world.settle()
    for _ in range(3):
        world.reconcile()
    said, tries = world.ready, world.cluster.refused
    world.cluster.refuses_finalizers = None
    world.clock.advance(seconds=5)
    world.settle()

    assert due == NOW + timedelta(seconds=5)
    assert tries == 1
    assert (said.reason, "forbidden (tried once" in said.message) == (Reason.DELETION_BLOCKED, True)
    assert world.cluster.finalizers == ()


def test_a_policy_that_came_with_a_broken_spec_counts_at_the_deletion() -> None:
    world = an_installed_world()
    world.cluster.edit(a_raw_spec(deletionPolicy="Uninstall", mask_size=26))
    world.settle()
    world.cluster.delete()
    world.settle()
    world.cluster.end_pods()
    world.settle()

    assert world.releases.revisions == []
    assert world.cluster.finalizers == ()


def test_somebody_elses_cilium_outlives_a_resource_that_asked_for_its_uninstall() -> None:
    world = World()
    world.releases.upgrade_by_hand()
    world.cluster.edit(a_raw_spec(deletionPolicy="Uninstall"))
    world.settle()
    said, has_finalizer = world.ready, tuple(world.cluster.finalizers)
    world.cluster.delete()
    world.settle()

    assert (said.reason, has_finalizer) == (Reason.RELEASE_NOT_OWNED, (FINALIZER,))
    assert world.history == [(1, "deployed", False)]
    assert world.cluster.finalizers == ()


def test_the_status_still_tells_the_chart_while_the_resource_is_being_deleted() -> None:
    world = an_installed_world(deletionPolicy="Uninstall")
    world.cluster.records.clear()
    world.cluster.delete()
    world.reconcile()

    assert world.status.release is not None
    assert world.status.release.chart == REF
