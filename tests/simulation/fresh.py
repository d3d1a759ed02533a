"""A fresh install of a spec, with which the end of a history is compared."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from cilium_hybrid.api.conditions import Reason
from cilium_hybrid.plan.values import CONFIG_DIGEST
from simulation.objects import Badness, Values
from simulation.world import World

SECONDS = 600.0
STEP = 30.0


@dataclass(frozen=True, slots=True)
class Installed:
    """What a release consists of. `digest` is that of what the agent of a node runs; `reason` is that of the status."""

    version: str
    values: Values
    digest: str | None
    reason: str


def fresh_install(spec: Mapping[str, Any], versions: frozenset[str], *, joins_later: bool = False) -> Installed:
    """Return what a fresh install on one node leads to, from a registry with these versions, with agents that work.

    `joins_later`: the node joins after the spec was applied.
    """
    return _install(json.dumps(spec, sort_keys=True), versions, joins_later=joins_later)


@lru_cache(maxsize=512)
def _install(spec: str, versions: frozenset[str], *, joins_later: bool) -> Installed:
    world = World(lambda _, __: ())
    world.registry.versions = set(versions)
    # The agents work, whatever the same version or the same values would do if they were applied now.
    world.registry.bad_versions = dict.fromkeys(versions, Badness.GOOD)
    if not joins_later:
        world.machines.join(1, "a")
    world.users.apply(json.loads(spec))
    if joins_later:
        world.advance(STEP)
        world.machines.join(1, "a")
    while world.timeline.now < SECONDS and _reason(world) != Reason.IN_SYNC:
        world.advance(STEP)
    running, agent = world.helm.running, next(iter(world.machines.nodes.values())).pod
    digest = None if agent is None else agent.fact.config_digest
    return Installed(running.version if running else "", running.values if running else {}, digest, _reason(world))


def _reason(world: World) -> str:
    resource = world.users.resource
    conditions = () if resource is None else resource.status.get("conditions", ())
    return next((str(found["reason"]) for found in conditions if found["type"] == "Ready"), "")


def comparable(values: Values) -> dict[str, Any]:
    """Return values without what may differ from a fresh install: the first version, pools, and surge on one node."""
    operator = {key: value for key, value in (values.get("operator") or {}).items() if key != "updateStrategy"}
    annotations = {key: value for key, value in values.get("podAnnotations", {}).items() if key != CONFIG_DIGEST}
    ipam = {key: value for key, value in (values.get("ipam") or {}).items() if key != "operator"}
    rest = {key: value for key, value in values.items() if key != "upgradeCompatibility"}
    return {**rest, "operator": operator, "podAnnotations": annotations, "ipam": ipam}
