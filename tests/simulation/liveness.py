"""The end of a history: actors and faults stop, and the operator must come to rest with a reason that fits."""

from collections.abc import Iterator, Mapping, Sequence
from ipaddress import IPv4Network
from typing import TYPE_CHECKING, Any, Final

from cilium_hybrid.api.conditions import Reason
from cilium_hybrid.api.durations import duration
from simulation.fresh import Installed, comparable, fresh_install
from simulation.ledger import spec_of
from simulation.objects import Badness, StoredRevision, pool_of
from simulation.reasons import ANY_OWNER, FITS, WAITS, not_owned
from simulation.restarts import is_evidence, never_settles

if TYPE_CHECKING:
    from simulation.world import World

PATIENCE: Final = 7200.0
STEP: Final = 60.0
QUIET_SECONDS: Final = 120.0
"""The operator rests if it did nothing for so long: longer than an agent starts and soaks."""
QUIET_WHILE_AGENTS_FAIL: Final = 400.0
"""As above: longer than an agent takes to exit twice."""
QUIET: Final = 2
"""So many reconciliations in a row write nothing once the operator rests."""


def settle(world: "World") -> None:
    """Let the history end, and note what is wrong with its end."""
    world.faults.clear()
    limit = world.timeline.now + PATIENCE + _durations(world)
    while not world.violations:
        world.advance(STEP)
        if _rests(world):
            break
        if world.timeline.now > limit:
            if not _flaps(world):
                world.violated("comes_to_rest", _describe(world))
            return
    if not world.violations:
        world.coverage.ends[_reason(world)] += 1
        _check_end(world)


def _flaps(world: "World") -> bool:
    """Return whether agents crash a moment after they have settled, again and again."""
    return _crash_late(world) and not never_settles(Badness.CRASH_LATE, world.ledger.limits.soak)


def _crash_late(world: "World") -> bool:
    template = world.controllers.template
    return template is not None and template.badness is Badness.CRASH_LATE


def _durations(world: "World") -> float:
    resource = world.users.resource
    spec = None if resource is None else spec_of(resource.spec)
    if spec is None:
        return 0.0
    rollout, preflight = spec.upgrade.rollout, spec.upgrade.preflight
    once = sum(duration(text).total_seconds() for text in (rollout.soak, rollout.progress_deadline, preflight.timeout))
    return once * 6


def conditions(world: "World") -> Mapping[str, Mapping[str, Any]]:
    """Return the conditions of the status, by type."""
    resource = world.users.resource
    found = () if resource is None else resource.status.get("conditions", ())
    return {condition["type"]: condition for condition in found}


def _reason(world: "World") -> str:
    ready = conditions(world).get("Ready")
    if world.users.resource is None:
        return "deleted"
    return "no status" if ready is None else str(ready["reason"])


def _describe(world: "World") -> str:
    ready = conditions(world).get("Ready", {})
    return f"{_reason(world)}: {ready.get('message', '')}"[:400]


def _rests(world: "World") -> bool:
    """Return whether the status is final, and the operator does nothing any more."""
    leader = world.leader
    if leader is None or leader.busy or leader.quiet < QUIET or not world.api_up or world.timeline.outages:
        return False
    nodes = [node for node in world.machines.nodes.values() if node.labelled and node.reachable]
    failing = not world.controllers.operator_current or any(not pod.ready for node in nodes for pod in node.pods)
    failing = failing or (world.helm.running is not None and any(not node.pods for node in nodes))
    # At the deadline, a node whose agent fails is set aside.
    while_failing = max(QUIET_WHILE_AGENTS_FAIL, world.ledger.limits.deadline + QUIET_SECONDS)
    if world.timeline.now - world.acted_at < (while_failing if failing else QUIET_SECONDS):
        return False
    if 0 <= world.timeline.now - world.timeline.outage_ended_at < QUIET_SECONDS:
        return False
    if world.users.resource is None:
        return world.preflight.release is None or not world.preflight.release.managed
    found = conditions(world)
    ready = found.get("Ready")
    if ready is None or world.users.resource.status.get("observedGeneration") != world.users.resource.generation:
        return False
    if "Stalled" in found or ready["reason"] == Reason.SUSPENDED:
        return True
    if ready["status"] == "True":
        # A node that joins, and a rollout that goes on behind it, come to an end of their own.
        return ready["reason"] != Reason.NODES_JOINING and "rollout" not in world.users.resource.status
    waits = WAITS.get(ready["reason"])
    return waits is not None and waits(world)


JUDGED_AFTER: Final = 600.0
MANY_EXITS: Final = 4
UNCHANGING: Final = frozenset({Reason.IN_SYNC, Reason.NO_HYBRID_NODES, Reason.SUSPENDED, Reason.INVALID_SPEC})
"""Reasons with which the status does not change any more."""


def _check_end(world: "World") -> None:
    reason = _reason(world)
    fits = FITS.get(reason)
    if (fits is not None and not fits(world)) or (reason not in ANY_OWNER and not_owned(world)):
        world.violated("the_reason_fits", _describe(world))
    if any(_unjudged(world, 1)):
        # Some exits do not count, because the API server was away or the operator suspended.
        world.advance(JUDGED_AFTER)
    for violation in (*_pools_that_run(world), *_unjudged(world, MANY_EXITS)):
        world.violated(violation)
    if reason == Reason.IN_SYNC:
        _check_in_sync(world)
    writes, version, agents = world.writes, _version(world), _agents(world)
    before, template = _uids(world), world.controllers.template
    pods = [pod for node in world.machines.nodes.values() for pod in node.pods]
    rolling = template is not None and template.rolling and any(pod.template.digest != template.digest for pod in pods)
    for process in world.processes:
        process.wake()
    world.advance(STEP)
    changed = world.writes != writes or (reason in UNCHANGING and _version(world) != version)
    # An agent that crashes again and again, also an outdated one, changes the status each time.
    pods = [pod for node in world.machines.nodes.values() for pod in node.pods]
    crash_late = any(pod.template.badness is Badness.CRASH_LATE for pod in pods)
    # With strategy RollingUpdate, the DaemonSet controller had pods to replace: also while the operator is suspended.
    rolled = rolling and _uids(world) != before
    if changed and not (crash_late and _agents(world) != agents) and not rolled:
        world.violated("rest_writes_nothing", _describe(world))


def _uids(world: "World") -> Sequence[str]:
    """Return the UIDs of the agent pods."""
    return [pod.uid for node in world.machines.nodes.values() for pod in node.pods]


def _agents(world: "World") -> Sequence[tuple[int, bool]]:
    """Return the exits of each agent, and whether it is Ready."""
    return [(pod.exits, pod.ready) for node in world.machines.nodes.values() for pod in node.pods]


def _pools_that_run(world: "World") -> Iterator[str]:
    """Yield a pool that the status says is applied although it is in no release that ran, and no node has a block."""
    resource, running, config = world.users.resource, world.helm.running, world.controllers.config
    applied = {} if resource is None else resource.status.get("ipam", {}).get("applied") or {}
    pool = None if running is None else pool_of(running.values)
    known = {cidr for found in (pool, config) if found is not None for cidr in found.pod_cidrs}
    for cidr in applied.get("podCIDRs", ()):
        used = any(IPv4Network(block).subnet_of(IPv4Network(cidr)) for block in _blocks(world))
        if running is not None and cidr not in known and not used:
            yield f"applied_pools_run: {cidr} is not in {sorted(known)}"


def _blocks(world: "World") -> Iterator[str]:
    return (block for blocks in world.controllers.blocks.values() for block in blocks)


def _unjudged(world: "World", exits: int) -> Iterator[str]:
    """Yield a restarted node that shows that the newest revision fails, which nobody says."""
    newest, template, ledger = world.helm.newest, world.controllers.template, world.ledger
    resource = world.users.resource
    suspended = resource is None or resource.deleting or resource.spec.get("suspend") is True
    if newest is None or template is None or suspended or newest.status != "deployed" or not newest.ours:
        return
    if not newest.readable:
        return
    if not never_settles(template.badness, ledger.limits.soak):
        # An agent that crashes after it has settled is a finding.
        return
    if ledger.is_verified(newest) or "rollback" in newest.labels or ledger.record_lost_at is not None:
        return
    rejected = ledger.rejection is not None and ledger.rejection.revision == newest.number
    for name, restart in ledger.restarts.items():
        pod = restart.node.pod
        if rejected or pod is None or not restart.by_operator or restart.attempt != ledger.attempt:
            continue
        if not restart.telling or restart.node.ready == "Unknown":
            continue
        if pod.exits - pod.unseen_exits > exits and is_evidence(world, restart):
            yield f"failing_canaries_are_judged: {name} fails, and revision {newest.number} is not rejected"


def _version(world: "World") -> str:
    return "" if world.users.resource is None else world.users.resource.resource_version


def _check_in_sync(world: "World") -> None:
    """Compare with a fresh install: apart from upgradeCompatibility, kept pools and revision numbers, all is equal."""
    resource, running = world.users.resource, world.helm.running
    spec = None if resource is None else spec_of(resource.spec)
    if resource is None or spec is None or running is None:
        world.violated("in_sync_is_in_sync", "there is no spec or no release")
        return
    if world.controllers.template is not None and world.controllers.template.badness is not Badness.GOOD:
        # Whether a bad release is verified or rejected may depend on when its agents start.
        return
    versions = frozenset(world.registry.versions)
    fresh = fresh_install(resource.spec, versions)
    if fresh.reason == Reason.POD_CIDR_OVERLAP:
        # A pool that runs may overlap with nodes that join later, or networks that the spec names later: a warning.
        fresh = fresh_install({**resource.spec, "networks": {}}, versions, joins_later=True)
    for difference in _differences(running, fresh):
        world.violated("in_sync_equals_a_fresh_install", difference)
    pool = pool_of(running.values)
    if missing := [cidr for cidr in spec.ipam.pod_cidrs if pool is None or cidr not in pool.pod_cidrs]:
        world.violated("in_sync_equals_a_fresh_install", f"pod CIDR {missing[0]} is not applied")
    template = world.controllers.template
    expected = None if template is None else template.digest
    if running.values.get("upgradeCompatibility") == fresh.values.get("upgradeCompatibility"):
        expected = fresh.digest
    for node in world.machines.nodes.values():
        pod = node.pod
        up_to_date = pod is not None and pod.fact.ready and pod.fact.config_digest == expected
        if node.labelled and node.ready == "True" and not up_to_date:
            world.violated("in_sync_equals_a_fresh_install", f"{node.name} does not run the release")


def _differences(running: StoredRevision, fresh: Installed) -> Iterator[str]:
    if fresh.reason != Reason.IN_SYNC:
        yield f"a fresh install ends with {fresh.reason}"
        return
    if running.version != fresh.version:
        yield f"version is {running.version} instead of {fresh.version}"
    values, expected = comparable(running.values), comparable(fresh.values)
    if differing := sorted(key for key in {*values, *expected} if values.get(key) != expected.get(key)):
        yield f"values {differing} differ"
