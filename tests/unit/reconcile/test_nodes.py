"""Nodes in the status over several reconciliations."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest

from builders import NODE, VERSION, a_node, a_raw_spec
from cilium_hybrid.api.conditions import Reason
from cilium_hybrid.api.events import EventReason
from cilium_hybrid.api.status import UnreadyReason
from cilium_hybrid.plan.inputs import Resource
from unit.world import OTHER_NODE, an_installed_world


def test_an_unready_node_is_reported_at_once_and_makes_ready_false_after_two_minutes() -> None:
    world = an_installed_world()
    start = world.clock.now()
    world.cluster.lose_agent(NODE)
    due = world.settle()
    at_once = world.ready, world.status.nodes
    world.clock.advance(minutes=2)
    rest = world.settle()

    assert due == start + timedelta(minutes=2)
    assert (at_once[0].status, at_once[0].reason) == ("True", Reason.NODES_JOINING)
    assert [(node.name, node.reason) for node in at_once[1].unready] == [(NODE, UnreadyReason.AGENT_NOT_READY)]
    assert (world.ready.status, world.ready.reason) == ("False", Reason.NODES_NOT_READY)
    assert rest is None


def test_a_restart_after_the_grace_period_does_not_start_another() -> None:
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


def test_a_restart_within_the_grace_period_does_not_start_it_again() -> None:
    world = an_installed_world()
    start = world.clock.now()
    world.cluster.lose_agent(NODE)
    world.settle()
    world.clock.advance(minutes=1)
    world.restart()

    assert world.settle() == start + timedelta(minutes=2)


def test_a_node_that_was_ready_in_between_has_another_grace_period() -> None:
    world = an_installed_world()
    start = world.clock.now()
    world.cluster.lose_agent(NODE)
    world.settle()
    world.clock.advance(minutes=5)
    world.cluster.roll_out(NODE)
    world.settle()
    world.cluster.lose_agent(NODE)

    assert world.settle() == start + timedelta(minutes=7)
    assert world.ready.reason is Reason.NODES_JOINING


def test_a_not_ready_node_is_not_reported_as_joining() -> None:
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


def test_a_node_whose_kubelet_detects_no_cni_is_joining_for_two_minutes() -> None:
    message = "container runtime network not ready: NetworkReady=false reason:NetworkPluginNotReady"
    world = an_installed_world()
    world.cluster.nodes[NODE] = a_node(ready="False", message=message)
    due = world.settle()
    at_once = world.ready
    world.clock.advance(minutes=2)
    world.settle()

    assert due is not None
    assert (at_once.status, at_once.reason) == ("True", Reason.NODES_JOINING)
    assert (world.ready.status, world.ready.reason) == ("True", Reason.IN_SYNC)


def test_a_joining_node_takes_precedence_over_a_disconnected_one() -> None:
    world = an_installed_world()
    world.cluster.nodes[OTHER_NODE] = a_node(OTHER_NODE, ready="Unknown")
    world.cluster.lose_agent(NODE)
    world.settle()

    assert (world.ready.status, world.ready.reason) == ("True", Reason.NODES_JOINING)
    assert NODE in world.ready.message
    assert OTHER_NODE in world.ready.message


def test_events_are_recorded_once_for_each_change() -> None:
    world = an_installed_world()
    installed = [event.reason for event in world.cluster.events]
    world.cluster.lose_agent(NODE)
    for _ in range(3):
        world.settle()
    after = [(event.reason, event.warning) for event in world.cluster.events[len(installed) :]]

    assert installed == [Reason.INSTALLING, Reason.IN_SYNC, EventReason.INSTALL_SUCCEEDED]
    assert after == [(Reason.NODES_JOINING, False)]


ROLLING_UPDATE: dict[str, Any] = {"upgrade": {"rollout": {"strategy": "RollingUpdate"}}}


def test_with_rolling_update_ready_stays_false_until_every_agent_is_up_to_date() -> None:
    world = an_installed_world(**ROLLING_UPDATE)
    world.cluster.edit(a_raw_spec(masquerade=False, **ROLLING_UPDATE))
    world.settle()
    world.cluster.start_operator()
    summaries = []
    for updated in ([], [NODE], [OTHER_NODE]):
        if updated:
            world.cluster.roll_out(*updated)
        world.settle()
        world.clock.advance(minutes=5)
        world.settle()
        nodes = world.status.nodes
        summaries.append((world.ready.status, world.ready.reason, nodes.summary, nodes.updated, nodes.unready))

    assert summaries == [
        ("False", Reason.ROLLING_OUT, "2/2", "0/2", ()),
        ("False", Reason.ROLLING_OUT, "2/2", "1/2", ()),
        ("True", Reason.IN_SYNC, "2/2", "2/2", ()),
    ]


def test_with_gated_ready_stays_false_until_every_agent_is_up_to_date() -> None:
    world = an_installed_world()
    world.cluster.edit(a_raw_spec(masquerade=False))
    world.settle()
    world.cluster.start_operator()
    summaries = []
    while world.ready.status == "False":
        due = world.reconcile()
        nodes = world.status.nodes
        summaries.append((world.ready.status, world.ready.reason, nodes.summary, nodes.updated))
        if due is not None:
            world.clock.advance_to(due)

    assert ("False", Reason.ROLLING_OUT, "2/2", "0/2") in summaries
    assert ("False", Reason.ROLLING_OUT, "2/2", "1/2") in summaries
    assert summaries[-1] == ("True", Reason.IN_SYNC, "2/2", "2/2")
    assert {reason for status, reason, *_ in summaries if status == "False"} == {Reason.ROLLING_OUT}


def test_an_outdated_agent_that_returns_in_a_settled_generation_has_a_grace_period() -> None:
    world = an_installed_world(**ROLLING_UPDATE)
    world.cluster.nodes[NODE] = a_node(ready="Unknown")
    world.cluster.edit(a_raw_spec(masquerade=False, **ROLLING_UPDATE))
    world.settle()
    world.cluster.start_operator()
    world.cluster.roll_out(OTHER_NODE)
    world.finish()
    settled = world.ready
    world.cluster.nodes[NODE] = a_node()
    world.settle()
    returned = world.ready
    world.clock.advance(minutes=2)
    world.settle()
    overdue = world.ready
    world.cluster.roll_out(NODE)
    world.settle()

    assert (settled.status, settled.reason) == ("True", Reason.NODES_DISCONNECTED)
    assert (returned.status, returned.reason) == ("True", Reason.NODES_JOINING)
    assert returned.message.endswith(f"1 of 2 hybrid nodes: {NODE} (agent runs an outdated configuration)")
    assert (overdue.status, overdue.reason) == ("False", Reason.NODES_NOT_READY)
    assert (world.ready.status, world.ready.reason) == ("True", Reason.IN_SYNC)


def test_a_restart_after_the_grace_period_of_an_outdated_agent_does_not_start_another() -> None:
    world = an_installed_world(**ROLLING_UPDATE)
    world.cluster.nodes[NODE] = a_node(ready="Unknown")
    world.cluster.edit(a_raw_spec(masquerade=False, **ROLLING_UPDATE))
    world.settle()
    world.cluster.start_operator()
    world.cluster.roll_out(OTHER_NODE)
    world.finish()
    world.cluster.nodes[NODE] = a_node()
    world.settle()
    world.clock.advance(minutes=2)
    world.settle()
    before = world.status
    world.restart()
    world.settle()

    assert world.ready.reason is Reason.NODES_NOT_READY
    assert world.status == before


def test_a_grace_period_that_ends_while_the_status_is_written_is_not_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    world = an_installed_world()
    write = world.cluster.write_status

    async def write_slowly(resource: Resource, status: Mapping[str, Any]) -> None:
        world.clock.advance(minutes=3)
        await write(resource, status)

    monkeypatch.setattr(world.cluster, "write_status", write_slowly)
    world.cluster.lose_agent(NODE)
    world.settle()

    assert (world.ready.status, world.ready.reason) == ("False", Reason.NODES_NOT_READY)
