"""What the status says of nodes from pass to pass."""

from datetime import timedelta

from builders import NODE, NOW, VERSION, a_node
from cilium_hybrid.api.conditions import Reason
from cilium_hybrid.api.status import UnreadyReason
from unit.world import OTHER_NODE, an_installed_world


def test_a_node_that_fails_is_told_at_once_and_blamed_after_two_minutes() -> None:
    world = an_installed_world()
    world.cluster.lose_agent(NODE)
    due = world.settle()
    at_once = world.ready, world.status.nodes
    world.clock.advance(minutes=2)
    rest = world.settle()

    assert due == NOW + timedelta(minutes=2)
    assert (at_once[0].status, at_once[0].reason) == ("True", Reason.NODES_JOINING)
    assert [(node.name, node.reason) for node in at_once[1].unready] == [(NODE, UnreadyReason.AGENT_NOT_READY)]
    assert (world.ready.status, world.ready.reason) == ("False", Reason.NODES_NOT_READY)
    assert rest is None


def test_a_restart_gives_no_new_two_minutes() -> None:
    world = an_installed_world()
    world.cluster.lose_agent(NODE)
    world.settle()
    world.clock.advance(minutes=5)
    world.settle()
    before = world.status
    world.restart()
    world.settle()

    assert world.status == before
    assert world.ready.reason is Reason.NODES_NOT_READY


def test_a_restart_within_the_two_minutes_does_not_begin_them_anew() -> None:
    world = an_installed_world()
    world.cluster.lose_agent(NODE)
    world.settle()
    world.clock.advance(minutes=1)
    world.restart()

    assert world.settle() == NOW + timedelta(minutes=2)


def test_a_node_that_was_well_meanwhile_has_its_two_minutes_again() -> None:
    world = an_installed_world()
    world.cluster.lose_agent(NODE)
    world.settle()
    world.clock.advance(minutes=5)
    world.cluster.roll_out(NODE)
    world.settle()
    world.cluster.lose_agent(NODE)

    assert world.settle() == NOW + timedelta(minutes=7)
    assert world.ready.reason is Reason.NODES_JOINING


def test_a_node_that_is_no_fault_of_cilium_is_not_said_to_join_for_ever() -> None:
    world = an_installed_world()
    world.cluster.nodes[NODE] = a_node(ready="False", message="no disk")
    due = world.settle()
    at_once = world.ready
    world.clock.advance(days=1)
    world.settle()

    assert due is None
    assert (at_once.status, at_once.reason) == ("True", Reason.IN_SYNC)
    assert at_once.message == f"Cilium {VERSION} runs on 1 of 2 hybrid nodes: {NODE} (NodeNotReady: no disk)"
    assert world.ready == at_once


def test_a_node_that_joins_is_told_before_one_that_is_away() -> None:
    world = an_installed_world()
    world.cluster.nodes[OTHER_NODE] = a_node(OTHER_NODE, ready="Unknown")
    world.cluster.lose_agent(NODE)
    world.settle()

    assert (world.ready.status, world.ready.reason) == ("True", Reason.NODES_JOINING)
    assert NODE in world.ready.message
    assert OTHER_NODE in world.ready.message


def test_what_changed_is_told_once_and_looks_are_not() -> None:
    world = an_installed_world()
    installed = [status_events.reason for status_events in world.cluster.told]
    world.cluster.lose_agent(NODE)
    for _ in range(3):
        world.settle()
    after = [(status_events.reason, status_events.warning) for status_events in world.cluster.told[len(installed) :]]

    assert installed[0] is Reason.INSTALLING
    assert installed[-1] is Reason.IN_SYNC
    assert after == [(Reason.NODES_JOINING, False)]
