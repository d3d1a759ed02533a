"""Warnings about the cluster are in condition Valid, and never block."""

from collections.abc import Callable, Mapping
from dataclasses import replace

import pytest

from builders import NODE, a_node, condition
from cilium_hybrid.api.conditions import ConditionType, Reason
from unit.world import OTHER_NODE, World, a_new_world, an_empty_world, an_installed_world


def valid(world: World) -> tuple[str, str]:
    found = condition(world.status, ConditionType.VALID)
    assert found is not None
    return found.status, found.message


def set_max_pods(world: World, max_pods: Mapping[str, int]) -> None:
    for name, number in max_pods.items():
        world.cluster.nodes[name] = replace(a_node(name), max_pods=number)


def test_a_node_block_smaller_than_max_pods_is_a_warning_before_the_install() -> None:
    world = an_empty_world(mask_size=26)
    set_max_pods(world, {"mi-1": 110, "mi-2": 60})
    world.reconcile()
    status, message = valid(world)

    assert status == "True"
    assert message.startswith("spec is valid; 1 warning: spec.ipam.maskSize: /26 leaves 60 pod addresses on a node")
    assert "fewer than the maxPods of the kubelet on mi-1 (110); use 25 or less" in message


def test_a_node_block_smaller_than_max_pods_is_a_warning_after_the_install() -> None:
    world = an_installed_world(mask_size=26)
    set_max_pods(world, {NODE: 110, OTHER_NODE: 250})
    world.settle()
    status, message = valid(world)

    assert (status, world.ready.status, world.ready.reason) == ("True", "True", Reason.IN_SYNC)
    assert "1 warning, see condition Valid" in world.ready.message
    assert f"on {NODE} (110), {OTHER_NODE} (250); set maxPods of the kubelet to 60 or less" in message


@pytest.mark.parametrize("make", [an_empty_world, a_new_world], ids=["no node", "nodes without maxPods"])
def test_without_a_known_max_pods_the_default_is_assumed_once(make: Callable[..., World]) -> None:
    world = make(mask_size=26)
    world.reconcile()
    _, message = valid(world)

    assert message.count("spec.ipam.maskSize") == 1
    assert "default maxPods (110)" in message


def test_lowering_max_pods_clears_the_warning() -> None:
    world = an_installed_world(mask_size=26)
    before = valid(world)
    set_max_pods(world, {NODE: 60, OTHER_NODE: 60})
    world.settle()

    assert "1 warning" in before[1]
    assert valid(world) == ("True", "spec is valid")
