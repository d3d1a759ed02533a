"""What must hold when the operator restarts agents, and when it rejects a revision for what happens to them."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from simulation.ledger import Restart
from simulation.objects import Badness, Pod
from simulation.writes import Write

if TYPE_CHECKING:
    from simulation.world import World

ILL_AFTER: Final = 120.0
MIN_IMAGE_SECONDS: Final = 29.0
CRASHES_WITHIN: Final = 10.0
"""Seconds in which an agent that crashes after a moment has done so."""
CUTS_WITHIN: Final = 10.0
"""Seconds in which an agent that cuts off its node has done so, also after the node is back."""
NEVER_SETTLE: Final = frozenset(
    {Badness.CRASH, Badness.NEVER_READY, Badness.IMAGE_MISSING, Badness.PANICS_KERNEL, Badness.DOES_NOT_FIT}
)
"""Agents of these releases never get Ready."""


def deletes_only_settled_outdated_agents(world: "World", write: Write) -> Iterator[str]:
    """A restarted agent is outdated, and healthy or ill: never one that was not Ready for a moment."""
    if write.kind != "delete_pod" or write.pod is None:
        return
    observed, pod = write.process.observed, write.pod
    shown = next((found for found in observed.agents.values() if found.uid == pod.uid), None)
    template = world.controllers.template
    if shown is None:
        yield f"restarted {pod.node}, whose agent it does not see"
        return
    if template is not None and shown.config_digest == template.digest and observed.agent_set is not None:
        yield f"restarted {pod.node}, whose agent is up to date"
    node = observed.nodes.get(pod.node)
    if node is None or node.ready == "Unknown":
        yield f"restarted {pod.node}, which is not connected"
    ready, since = write.process.seen_ready.get(pod.node, (False, 0.0))
    unready_for = 0.0 if ready else world.timeline.now - since
    # A new process, or a lagging watch, sees an agent later than it really fails.
    fails = shown.is_crash_looping or shown.image_failing
    if not shown.ready and not fails and unready_for < ILL_AFTER - 1:
        yield f"restarted {pod.node}, whose agent was not Ready for only {unready_for:.0f} s"


def deletes_only_outdated_pending_agents(world: "World", write: Write) -> Iterator[str]:
    """An agent pod that cannot be scheduled is replaced only if it is outdated."""
    template, pod = world.controllers.template, write.pod
    if write.kind != "delete_pending" or pod is None or template is None:
        return
    if pod.template.digest == template.digest and write.process.observed.agent_set is not None:
        yield f"replaced the pending pod of {pod.node}, which is up to date"


def restarts_are_recorded_first(world: "World", write: Write) -> Iterator[str]:
    """The record names a node as restarted, with the pod that ends, before the pod is deleted."""
    if write.kind != "delete_pod" or write.pod is None or world.record is None:
        # Without a record, it was deleted since it was written.
        return
    known = None if world.record.rollout is None else world.record.rollout.nodes.get(write.pod.node)
    if known is None or known.pod_uid != write.pod.uid:
        yield f"restarted {write.pod.node}, which the record does not say"


def budget_is_kept(world: "World", write: Write) -> Iterator[str]:
    """No more nodes than maxUnavailable are unavailable because the operator restarted their healthy agents."""
    if write.kind != "delete_pod" or write.pod is None or not _is_shown_healthy(write, write.pod):
        return
    shown = write.process.observed.agents
    unavailable = [
        name
        for name, restart in world.ledger.restarts.items()
        if restart.by_operator
        and restart.healthy
        and not _is_given_up(world, restart)
        and not (restart.forgotten and restart.node.ready == "Unknown")
        and (restart.attempt == world.ledger.attempt or not restart.recovered)
        and _still_there(world, restart)
        and _happened(write, restart)
        and name != write.pod.node
        and not ((agent := shown.get(name)) is not None and agent.uid != restart.old_uid and agent.ready)
        and not _settled(world, restart)
    ]
    allowed = world.ledger.limits.max_unavailable
    if len(unavailable) + 1 > allowed:
        yield f"restarted {write.pod.node} while {', '.join(unavailable)} unavailable; maxUnavailable is {allowed}"


def _is_given_up(world: "World", restart: Restart) -> bool:
    """Return whether a node that an earlier configuration lost has missed the deadline with its next agent too."""
    missed = world.timeline.now - restart.at >= world.ledger.limits.deadline - 1
    return missed and restart.first_digest != restart.digest


def others_that_are_not_ready_use_the_budget(world: "World", write: Write) -> Iterator[str]:
    """A healthy agent is restarted only while the budget has room beside every node whose agent is not Ready."""
    if write.kind != "delete_pod" or write.pod is None or not _is_shown_healthy(write, write.pod):
        return
    observed, now = write.process.observed, world.timeline.now
    deadline = world.ledger.limits.deadline
    unready = []
    for name, node in observed.nodes.items():
        agent = observed.agents.get(name)
        ready, since = write.process.seen_ready.get(name, (False, now))
        # Without a pod, or not Ready for the deadline, a node may be set aside.
        if node.ready != "Unknown" and agent is not None and not ready and now - since < deadline:
            unready.append(name)
    allowed = world.ledger.limits.max_unavailable
    if len(unready) + 1 > allowed and unready != [write.pod.node]:
        yield f"restarted {write.pod.node} while {', '.join(unready)} not Ready; maxUnavailable is {allowed}"


def casualties_come_first(world: "World", write: Write) -> Iterator[str]:
    """While a node is lost to an earlier configuration, no healthy agent is restarted."""
    if write.kind != "delete_pod" or write.pod is None or not _is_shown_healthy(write, write.pod):
        return
    template = world.controllers.template
    own = world.ledger.restarts.get(write.pod.node)
    if template is None or _has_forgotten(world, write) or (own is not None and own.first_digest != template.digest):
        # A node that was lost to an earlier configuration is tried first, also if its agent is Ready by now.
        return
    for name, restart in world.ledger.restarts.items():
        lost = restart.by_operator and restart.healthy and not restart.recovered and _still_there(world, restart)
        if _is_taken_over(world, restart):
            continue
        if lost and _happened(write, restart) and restart.first_digest != template.digest and name != write.pod.node:
            yield f"restarted {write.pod.node} while {name} is lost to an earlier configuration"


def _is_taken_over(world: "World", restart: Restart) -> bool:
    """Return whether the next configuration counts a restart, which its process had not seen, as one of its own."""
    rollout, template = None if world.record is None else world.record.rollout, world.controllers.template
    if rollout is None or template is None or rollout.config_digest != template.digest:
        return False
    name = restart.node.name
    known = rollout.nodes.get(name)
    return known is not None and known.pod_uid == restart.old_uid and name not in rollout.casualties


def a_bad_release_stops_at_its_canaries(world: "World", write: Write) -> Iterator[str]:
    """A release whose agents never get Ready reaches only the canaries of one group."""
    if write.kind != "delete_pod" or write.pod is None or not _is_shown_healthy(write, write.pod):
        return
    template, ledger = world.controllers.template, world.ledger
    soak = ledger.limits.soak
    if template is None or not (never_settles(template.badness, soak) or _cuts_uplink(template.badness, soak)):
        return
    canaries = ledger.healthy_restarts.get(ledger.attempt, ())
    if _cuts_uplink(template.badness, soak) and any(_was_healed_unseen(world, name) for name in canaries):
        # It has settled, as far as the API server shows, and its group is open: the others are no canaries.
        return
    restarted = [*(name for name in canaries if not _is_in_an_outage(world, name, write.pod.node)), write.pod.node]
    allowed = ledger.limits.canary + ledger.replaced_canaries
    if len(set(restarted)) > allowed:
        yield f"{template.badness}: restarted {', '.join(restarted)}; {allowed} canaries are allowed"


def _was_healed_unseen(world: "World", name: str) -> bool:
    """Whether a person restored the uplink of a restarted node before the API server knew that its agent had cut it."""
    node, restart = world.machines.nodes.get(name), world.ledger.restarts.get(name)
    return node is not None and restart is not None and (node.healed_unseen_at or 0.0) > restart.at


def _is_in_an_outage(world: "World", name: str, restarted_now: str) -> bool:
    """Whether a restarted node has lost contact, as has another of its zone since, while another zone continues."""
    node, now = world.machines.nodes.get(name), world.machines.nodes.get(restarted_now)
    restart = world.ledger.restarts.get(name)
    if node is None or now is None or restart is None or node.ready != "Unknown" or node.zone == now.zone:
        return False
    restarted = world.ledger.healthy_restarts.get(world.ledger.attempt, ())
    others = (other for other in world.machines.nodes.values() if other.labelled and other.name not in restarted)
    return any(
        other.zone == node.zone and other.unreachable_since is not None and other.unreachable_since >= restart.at
        for other in others
    )


def rejects_only_with_evidence(world: "World", write: Write) -> Iterator[str]:
    """A revision is rejected only if a node that was healthy, and was restarted by it, fails in the same boot."""
    rejected, before = None if write.record is None else write.record.rejected, world.record and world.record.rejected
    if rejected is None or (before is not None and before.revision == rejected.revision):
        return
    revision = world.helm.find(rejected.revision)
    if revision is not None and revision.labels.get("rejected") == str(revision.number):
        # The record was lost, and the label says the same.
        return
    if revision is not None and world.ledger.is_verified(revision):
        yield f"rejected revision {revision.number}, which is verified"
    if revision is not None and revision.labels.get("spec", "") not in {"", rejected.release_digest}:
        yield f"rejected another release than that of revision {revision.number}"
    failing = any(is_evidence(world, restart) for restart in world.ledger.restarts.values())
    if not failing and not _operator_fails(world):
        yield f"rejected revision {rejected.revision} without evidence: {rejected.message}"


def is_evidence(world: "World", restart: Restart) -> bool:
    """Return whether a restarted node shows that the revision fails."""
    node, pod = restart.node, restart.node.pod
    if not restart.healthy or not _still_there(world, restart) or node.boot_id != restart.boot_id or pod is None:
        return False
    if pod.uid == restart.old_uid:
        return False
    now = world.timeline.now
    image = pod.image_failing and now - (pod.image_failing_since or now) >= MIN_IMAGE_SECONDS
    slow = pod.running and not pod.fact.ready and now - restart.at >= world.ledger.limits.deadline - 1
    return pod.exits - pod.unseen_exits > 1 or image or slow or node.sandbox_failures > 1


def _has_forgotten(world: "World", write: Write) -> bool:
    """Return whether the process cannot know of earlier restarts: the record was lost before it started."""
    lost_at = world.ledger.record_lost_at
    return lost_at is not None and lost_at <= write.process.started_at


def never_settles(badness: Badness, soak: float) -> bool:
    """Return whether an agent of such a release is never Ready for the soak time."""
    return badness in NEVER_SETTLE or (badness is Badness.CRASH_LATE and soak >= CRASHES_WITHIN)


def _cuts_uplink(badness: Badness, soak: float) -> bool:
    """Return whether an agent of such a release cuts its node off within the soak time."""
    return badness is Badness.CUTS_UPLINK and soak >= CUTS_WITHIN


def _is_shown_healthy(write: Write, pod: Pod) -> bool:
    """Return whether the process sees the agent of the pod as healthy."""
    shown, node = write.process.observed.agents.get(pod.node), write.process.observed.nodes.get(pod.node)
    return shown is not None and shown.uid == pod.uid and shown.ready and node is not None and node.ready != "Unknown"


def _still_there(world: "World", restart: Restart) -> bool:
    node = world.machines.nodes.get(restart.node.name)
    return node is restart.node and node.labelled and node.uid == restart.node_uid


def _happened(write: Write, restart: Restart) -> bool:
    """Return whether the old pod has ended, or will end in this rollout once the node is connected."""
    node, template = write.process.observed.nodes.get(restart.node.name), write.process.world.controllers.template
    stands = any(pod.uid == restart.old_uid for pod in restart.node.pods)
    same = template is not None and restart.digest == template.digest
    return not stands or same or (node is not None and node.ready != "Unknown")


def _settled(world: "World", restart: Restart) -> bool:
    """Return whether the new agent of a restarted node was shown Ready for the soak."""
    pod = restart.node.pod
    if pod is None or pod.uid == restart.old_uid:
        return False
    # An agent that settled and failed later is not unavailable because of the restart.
    since = pod.shown_ready_at if pod.shown_ready_at is not None else pod.first_ready_at
    return since is not None and world.timeline.now - since >= world.ledger.limits.soak


def _operator_fails(world: "World") -> bool:
    controllers = world.controllers
    wanted = controllers.operator_wanted
    return wanted is not None and not controllers.operator_current and wanted[1] is not Badness.GOOD
