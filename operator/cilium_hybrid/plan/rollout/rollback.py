"""The way back from a rejected revision: to which revision, if to any."""

from collections.abc import Sequence
from dataclasses import dataclass

from cilium_hybrid.api.versions import CiliumVersion
from cilium_hybrid.plan.classify import installation
from cilium_hybrid.plan.observation import Observation, Revision
from cilium_hybrid.plan.record import Record, Rejected
from cilium_hybrid.plan.running import APPLIED


@dataclass(frozen=True, slots=True)
class WayBack:
    """The revision to restore; if there is none, `refusal` says why."""

    target: Revision | None
    refusal: str = ""


def find_way_back(observation: Observation, record: Record, rejected: Rejected) -> WayBack:
    """Return the newest verified revision of the operator's that is older than the rejected one.

    Its agents must be at most one minor version older than any agent: Cilium tests no other rollback. The revision may
    be gone from Helm's history, since the payload of the last verified one is kept.
    """
    present = installation(observation)
    target = _newest_verified(present, record, rejected)
    if target is None:
        return WayBack(None, "there is no verified revision to roll back to")
    foreign = [found.number for found in present if not found.managed and found.number > target.number]
    if foreign:
        refusal = f"revision {foreign[-1]}, which this operator did not make, is newer than revision {target.number}"
        return WayBack(None, refusal)
    newest_agent = newest_agent_version(observation) or _chart_version(present, rejected.revision)
    version = _parse(target.chart_version)
    if version is None or (newest_agent is not None and not _is_one_step(newest_agent, version)):
        refusal = f"revision {target.number} (Cilium {target.chart_version}) is more than one minor version older"
        return WayBack(None, f"{refusal} than the agents")
    return WayBack(target)


def newest_agent_version(observation: Observation) -> CiliumVersion | None:
    """Return the newest version that an agent runs, None if none is known."""
    versions = (_parse(agent.version) for agent in observation.agents.values() if agent.version)
    return max((version for version in versions if version is not None), default=None)


def _newest_verified(present: Sequence[Revision], record: Record, rejected: Rejected) -> Revision | None:
    for revision in reversed(present):
        if revision.number >= rejected.revision or not revision.managed or revision.status not in APPLIED:
            continue
        if not revision.rejected and (revision.verified or revision.number == record.verified):
            return revision
    number, version = record.verified, record.verified_version
    if number is None or not version or not present or number >= present[0].number:
        return None
    # Helm has pruned it; the kept payload has everything but its labels.
    return Revision(number, "superseded", present[0].created_at, managed=True, chart_version=version, verified=True)


def _chart_version(present: Sequence[Revision], number: int) -> CiliumVersion | None:
    return next((_parse(revision.chart_version) for revision in present if revision.number == number), None)


def _is_one_step(agent: CiliumVersion, target: CiliumVersion) -> bool:
    return agent.major == target.major and agent.minor - target.minor <= 1


def _parse(text: str | None) -> CiliumVersion | None:
    try:
        return None if text is None else CiliumVersion.parse(text)
    except ValueError:
        return None
