"""The record: what it says, what it said if it was lost, and what it should say now."""

from collections.abc import Sequence
from dataclasses import replace

from cilium_hybrid.plan.classify import classify, installation
from cilium_hybrid.plan.observation import Observation, Revision
from cilium_hybrid.plan.record import Record, Rejected, RestartedNode, RolloutRecord
from cilium_hybrid.plan.release import DesiredRelease
from cilium_hybrid.plan.rollout.persistence import persisted
from cilium_hybrid.plan.running import has_run, initial_version, running
from cilium_hybrid.plan.values import digest


def known_record(observation: Observation) -> Record:
    """Return the record of this installation: the one that was read, or what else is known if it was lost."""
    record, release = observation.record, classify(observation)
    if release.absent:
        return _of_new_installation(record or Record())
    if record is not None:
        return _of_present_installation(observation, record)
    present = installation(observation)
    if not any(revision.managed for revision in present):
        return Record()
    runs = running(observation)
    verified = next((r for r in reversed(present) if r.managed and r.verified), None)
    return Record(
        initial_version=initial_version(observation),
        pod_cidrs=runs.pod_cidrs,
        mask_size=runs.mask_size,
        verified=None if verified is None else verified.number,
        verified_version="" if verified is None else verified.chart_version,
        rejected=_marked_as_rejected(present),
        rebuilt=True,
        suspects_due=True,
    )


def present_record(
    observation: Observation, record: Record, rollout: RolloutRecord | None, known: tuple[DesiredRelease, ...]
) -> Record:
    """Return what the record should say of the newest revision, which is the operator's and deployed.

    `known` are the releases that the spec asks for, one of which may be the newest revision.
    """
    newest, runs = observation.newest, running(observation)
    if newest is None or not newest.deployed:
        return record
    before = (record.chart_ref,) if record.revision == newest.number else ()
    refs = (*before, *(desired.chart_ref for desired in known), record.chart_ref)
    return replace(
        record,
        initial_version=record.initial_version or (newest.chart_version if has_run(observation) else None),
        pod_cidrs=runs.pod_cidrs or record.pod_cidrs,
        mask_size=record.mask_size if runs.mask_size is None else runs.mask_size,
        revision=newest.number,
        chart_ref=next((ref for ref in refs if ref and digest(ref) == newest.ref_digest), ""),
        chart_version=newest.chart_version,
        rollout=rollout,
    )


def is_recorded(observation: Observation, record: Record, *, progressing: bool) -> bool:
    """Whether the record that was read says the same.

    Times of a rollout count in whole minutes while it is `progressing`, and not at all once it has ended or stopped.
    """
    read = observation.record
    if read is None or replace(read, rollout=None) != replace(record, rollout=None):
        return False
    if read.rollout is None or record.rollout is None:
        return read.rollout is record.rollout
    if progressing:
        return persisted(read.rollout) == persisted(record.rollout)
    return _without_times(read.rollout) == _without_times(record.rollout)


def retried(record: Record, value: str) -> Record:
    """Return the record after a person asked for a retry: what failed before is no longer held against a revision.

    The restarted nodes stay known, so that the same nodes are tried again and no others. Those that only may have been
    restarted, before the record was lost, are not waited for any more.
    """
    rollout = record.rollout
    if rollout is not None:
        nodes = {name: node for name, node in rollout.nodes.items() if not node.suspect}
        casualties = tuple(name for name in rollout.casualties if name not in rollout.uncertain)
        certain = replace(rollout, nodes=nodes, casualties=casualties, uncertain=())
        rollout = replace(without_evidence(certain), replaced=(), idle_for=0.0)
    return replace(record, handled=value, rejected=None, rollout=rollout)


def without_evidence(rollout: RolloutRecord) -> RolloutRecord:
    """Return the state of a rollout in which what has failed so far says nothing about the next revision."""
    operator = rollout.cilium_operator
    return replace(
        rollout,
        nodes={name: _without_evidence(node) for name, node in rollout.nodes.items()},
        cilium_operator=replace(operator, ignored_exits=operator.exits, image_failing_for=None),
    )


def _of_new_installation(record: Record) -> Record:
    """Forget the numbers of an earlier installation; its first version and its pools stay known."""
    return Record(
        initial_version=record.initial_version,
        pod_cidrs=record.pod_cidrs,
        mask_size=record.mask_size,
        handled=record.handled,
        resource_version=record.resource_version,
    )


def _of_present_installation(observation: Observation, record: Record) -> Record:
    """Forget numbers that the present installation has not reached: they belong to one that was uninstalled."""
    newest = observation.newest
    if newest is None or record.revision <= newest.number:
        return record
    return _of_new_installation(record)


def _marked_as_rejected(present: Sequence[Revision]) -> Rejected | None:
    """Return the newest rejected revision, unless its release was applied again, or another one verified since."""
    later: list[Revision] = []
    for revision in reversed(present):
        if not revision.managed or revision.rolled_back_to is not None:
            continue
        if revision.rejected:
            tried_again = any(found.verified or found.spec_digest == revision.spec_digest for found in later)
            message = f"revision {revision.number} was rejected"
            return None if tried_again else Rejected(revision.number, revision.spec_digest, message)
        later.append(revision)
    return None


def _without_times(rollout: RolloutRecord) -> RolloutRecord:
    """Leave out what keeps changing while a rollout is stopped: an agent may fail again and again."""
    nodes = {
        name: replace(
            _without_evidence(node),
            connected_for=None,
            exits=0,
            ignored_exits=0,
            sandbox_failures=0,
            last_sandbox_failures=0,
            sandbox_quiet_for=0.0,
        )
        for name, node in rollout.nodes.items()
    }
    operator = replace(rollout.cilium_operator, exits=0, ignored_exits=0, image_failing_for=None)
    still = replace(rollout, nodes=nodes, cilium_operator=operator, idle_for=0.0, steady_for=None)
    return persisted(still)


def _without_evidence(node: RestartedNode) -> RestartedNode:
    return replace(
        node,
        elapsed=0.0,
        ready_for=None,
        image_failing_for=None,
        ignored_exits=node.exits,
        sandbox_failures=node.last_sandbox_failures,
    )
