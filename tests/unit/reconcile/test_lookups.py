from dataclasses import replace

from builders import POOL, a_raw_spec, condition
from cilium_hybrid.api.conditions import ConditionType, Reason
from cilium_hybrid.plan.observation import Lookups
from cilium_hybrid.rules.cluster_facts import parse_address_ranges
from unit.world import World, a_new_world, an_installed_world

CONFLICT = Lookups(parse_address_ranges([("address of pod kube-system/coredns-0", "10.85.3.4")]))


def status_of(world: World, kind: ConditionType) -> tuple[str, Reason, str]:
    found = condition(world.status, kind)
    assert found is not None
    return found.status, found.reason, found.message


def test_a_pod_on_a_cloud_node_with_an_address_in_the_pool_blocks_the_install() -> None:
    world = a_new_world()
    world.cluster.lookup_result = CONFLICT
    due = world.settle()
    refused = world.ready
    before = list(world.releases.revisions)
    world.cluster.lookup_result = Lookups()
    world.settle()
    soon = list(world.releases.revisions)
    assert due is not None
    world.clock.advance_to(due)
    world.settle()

    assert (refused.status, refused.reason) == ("False", Reason.POD_CIDR_OVERLAP)
    assert "10.85.3.4, address of pod kube-system/coredns-0" in refused.message
    assert (before, soon) == ([], [])
    assert world.history == [(1, "deployed", True)]


def test_lookups_are_valid_for_a_minute() -> None:
    world = a_new_world()
    world.cluster.lookup_result = CONFLICT
    for _ in range(5):
        world.reconcile()
    at_once = len(world.cluster.lookup_requests)
    world.clock.advance(seconds=60)
    world.reconcile()

    assert at_once == 1
    assert len(world.cluster.lookup_requests) == 2


def test_nothing_is_looked_up_for_a_change_that_does_not_depend_on_it() -> None:
    world = an_installed_world()
    before = len(world.cluster.lookup_requests)
    world.cluster.edit(a_raw_spec(masquerade=False))
    world.settle()

    assert before == 1
    assert len(world.cluster.lookup_requests) == 1
    assert len(world.releases.revisions) == 2


def test_an_appended_cidr_is_looked_up_before_it_is_deployed() -> None:
    world = an_installed_world()
    world.cluster.lookup_result = Lookups(parse_address_ranges([("address of pod a/b", "10.86.0.9")]))
    world.cluster.edit(a_raw_spec(pod_cidrs=[POOL, "10.86.0.0/16"]))
    world.settle()

    assert len(world.releases.revisions) == 1
    assert status_of(world, ConditionType.VALID)[:2] == ("False", Reason.POD_CIDR_OVERLAP)


def test_a_failed_lookup_changes_nothing() -> None:
    world = a_new_world()
    world.cluster.meanwhile = [lambda: setattr(world.cluster, "outage", "no answer")]
    world.reconcile()
    world.reconcile()
    world.cluster.outage = None
    world.settle()

    assert world.history == [(1, "deployed", True)]


def test_helms_record_protects_the_pools_if_everything_else_is_lost() -> None:
    world = an_installed_world()
    world.cluster.records.clear()
    world.cluster.delete_all_pods()
    world.cluster.edit(a_raw_spec(mask_size=26))
    world.settle()

    assert status_of(world, ConditionType.VALID)[:2] == ("False", Reason.MASK_CHANGED)
    assert "revision 1 of Helm release cilium" in status_of(world, ConditionType.VALID)[2]
    assert world.history == [(1, "deployed", True)]


def test_an_overlap_with_a_running_pool_is_a_warning() -> None:
    world = an_installed_world()
    used = parse_address_ranges([("address of node cloud-1", "10.85.9.9")])
    world.cluster.edit(a_raw_spec(masquerade=False))
    world.settle()
    world.cluster.start_operator()
    world.cluster.roll_out()
    world.cluster.rest = replace(world.cluster.rest, taken=used)
    world.settle()

    status, reason, message = status_of(world, ConditionType.VALID)
    assert (status, reason) == ("True", Reason.ACCEPTED)
    assert "1 warning: spec.ipam.podCIDRs[0]: 10.85.0.0/16 contains addresses in use" in message
    assert (world.ready.status, world.ready.reason) == ("True", Reason.IN_SYNC)
    assert "(1 warning, see condition Valid)" in world.ready.message
