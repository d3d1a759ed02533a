from dataclasses import replace

from builders import MASK, POOL, a_raw_spec, condition
from cilium_hybrid.api.conditions import ConditionType, Reason
from cilium_hybrid.plan.observation import Lookups, PoolConfig
from cilium_hybrid.rules.cluster import all_taken
from unit.world import World, an_asked_world, an_installed_world

IN_THE_WAY = Lookups(all_taken([("the address of pod kube-system/coredns-0", "10.85.3.4")]))


def said(world: World, kind: ConditionType) -> tuple[str, Reason, str]:
    found = condition(world.status, kind)
    assert found is not None
    return found.status, found.reason, found.message


def test_a_pod_of_a_cloud_node_inside_the_pool_stops_the_install_until_it_is_gone() -> None:
    world = an_asked_world()
    world.cluster.answer = IN_THE_WAY
    due = world.settle()
    refused = world.ready
    before = list(world.releases.revisions)
    world.cluster.answer = Lookups()
    world.settle()
    soon = list(world.releases.revisions)
    assert due is not None
    world.clock.advance_to(due)
    world.settle()

    assert (refused.status, refused.reason) == ("False", Reason.POD_CIDR_OVERLAP)
    assert "10.85.3.4, the address of pod kube-system/coredns-0" in refused.message
    assert (before, soon) == ([], [])
    assert world.history == [(1, "deployed", True)]


def test_what_was_looked_up_is_believed_for_a_minute() -> None:
    world = an_asked_world()
    world.cluster.answer = IN_THE_WAY
    for _ in range(5):
        world.reconcile()
    at_once = len(world.cluster.asked)
    world.clock.advance(seconds=60)
    world.reconcile()

    assert at_once == 1
    assert len(world.cluster.asked) == 2


def test_nothing_is_looked_up_where_nothing_is_changed_that_asks_for_it() -> None:
    world = an_installed_world()
    asked = len(world.cluster.asked)
    world.cluster.edit(a_raw_spec(masquerade=False))
    world.settle()

    assert asked == 1
    assert len(world.cluster.asked) == 1
    assert len(world.releases.revisions) == 2


def test_an_appended_cidr_is_looked_up_before_it_is_released() -> None:
    world = an_installed_world()
    world.cluster.answer = Lookups(all_taken([("the address of pod a/b", "10.86.0.9")]))
    world.cluster.edit(a_raw_spec(pod_cidrs=[POOL, "10.86.0.0/16"]))
    world.settle()

    assert len(world.releases.revisions) == 1
    assert said(world, ConditionType.VALID)[:2] == ("False", Reason.POD_CIDR_OVERLAP)


def test_an_api_that_is_away_when_it_is_asked_changes_nothing() -> None:
    world = an_asked_world()
    world.cluster.meanwhile = [lambda: setattr(world.cluster, "away", "no answer")]
    world.reconcile()
    world.reconcile()
    world.cluster.away = None
    world.settle()

    assert world.history == [(1, "deployed", True)]


def test_what_helms_record_says_binds_where_all_else_was_lost() -> None:
    world = an_installed_world()
    world.cluster.records.clear()
    world.cluster.end_pods()
    world.cluster.answer = Lookups(released_pool=PoolConfig((POOL,), MASK))
    world.cluster.edit(a_raw_spec(mask_size=26))
    world.settle()

    assert said(world, ConditionType.VALID)[:2] == ("False", Reason.MASK_CHANGED)
    assert "revision 1 of Helm release cilium" in said(world, ConditionType.VALID)[2]
    assert world.history == [(1, "deployed", True)]


def test_an_overlap_found_with_what_runs_is_told_and_stops_nothing() -> None:
    world = an_installed_world()
    taken = all_taken([("an address of node cloud-1", "10.85.9.9")])
    world.cluster.edit(a_raw_spec(masquerade=False))
    world.settle()
    world.cluster.start_operator()
    world.cluster.roll_out()
    world.cluster.rest = replace(world.cluster.rest, taken=taken)
    world.settle()

    status, reason, message = said(world, ConditionType.VALID)
    assert (status, reason) == ("True", Reason.ACCEPTED)
    assert "to be looked at: spec.ipam.podCIDRs[0]: 10.85.0.0/16 holds addresses that are in use" in message
    assert (world.ready.status, world.ready.reason) == ("True", Reason.IN_SYNC)
    assert "(1 to be looked at, see condition Valid)" in world.ready.message
