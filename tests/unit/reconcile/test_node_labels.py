"""Rollouts group nodes by the label of spec.upgrade.rollout.groupBy, which may be edited at any time."""

from dataclasses import replace
from typing import Any

import pytest

from builders import NODE, a_node, a_raw_spec
from cilium_hybrid.api.upgrade import DEFAULT_GROUP
from unit.world import OTHER_NODE, World, an_installed_world

BY_RACK = {"rollout": {"groupBy": "example.com/rack"}}


def a_labelled_world(**spec: Any) -> World:
    """A cluster whose zones and racks are in a different order."""
    world = an_installed_world(**spec)
    for name, zone, rack in ((NODE, "a", "2"), (OTHER_NODE, "b", "1")):
        world.cluster.nodes[name] = replace(a_node(name), labels={DEFAULT_GROUP: zone, "example.com/rack": rack})
    return world


def first_restarted(world: World) -> list[str]:
    """Release what the spec asks for, and return the pods that are restarted first."""
    world.settle()
    world.cluster.start_operator()
    world.reconcile()
    return world.cluster.deleted_pods[:1]


@pytest.mark.parametrize(
    ("upgrade", "expected"),
    [pytest.param({}, NODE, id="by zone, the default"), pytest.param(BY_RACK, OTHER_NODE, id="by rack")],
)
def test_a_changed_group_label_takes_effect_in_the_next_rollout(upgrade: Any, expected: str) -> None:
    world = a_labelled_world()
    world.cluster.edit(a_raw_spec(masquerade=False, upgrade=upgrade))

    assert first_restarted(world) == [world.cluster.observe().agents[expected].name]


def test_removing_the_group_label_restores_the_default() -> None:
    world = a_labelled_world(upgrade=BY_RACK)
    world.cluster.edit(a_raw_spec(masquerade=False))

    assert first_restarted(world) == [world.cluster.observe().agents[NODE].name]


@pytest.mark.parametrize("group_by", [7, None, {}], ids=repr)
def test_an_invalid_group_label_is_ignored(group_by: Any) -> None:
    world = a_labelled_world()
    world.cluster.edit(a_raw_spec(upgrade={"rollout": {"groupBy": group_by}}))
    world.settle()

    assert world.cluster.node_labels == {DEFAULT_GROUP}
