"""What runs in the cluster, which a new spec must not contradict: versions, pools and the size of a node block."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from cilium_hybrid.api.versions import CiliumVersion
from cilium_hybrid.plan.observation import Observation, PoolConfig, Revision
from cilium_hybrid.rules.change import Running
from cilium_hybrid.rules.cidrs import address_range, canonical_cidr

APPLIED: Final = frozenset({"deployed", "superseded"})
"""The Helm statuses of a revision that was applied completely."""

_CONFIG_MAP: Final = "ConfigMap kube-system/cilium-config"
_RECORD: Final = "ConfigMap kube-system/cilium-hybrid-applied"


def initial_series(observation: Observation) -> str | None:
    """Return the minor version that ran first in this cluster, X.Y; None if Cilium never ran."""
    version = initial_version(observation)
    return None if version is None else _series(version)


def initial_version(observation: Observation) -> str | None:
    """Return the chart version that ran first: from the record, else from the values that run, else from the history.

    The values that run have only its minor, for which X.Y.0 stands. Helm prunes old revisions, so they come before the
    oldest one that it still has. A revision of which no pod has run does not count.
    """
    record = observation.record
    if record is not None and record.initial_version is not None:
        return record.initial_version
    if not observation.installed or (record is not None and not has_run(observation)):
        return None
    revisions = observation.revisions
    # `helm uninstall --keep-history` leaves the revisions of an earlier installation.
    first = max((index + 1 for index, r in enumerate(revisions) if r.status == "uninstalled"), default=0)
    oldest = next((r.chart_version for r in revisions[first:] if r.managed and r.status in APPLIED), None)
    last, newest = last_managed(observation), observation.newest
    if last is None and record is None and newest is not None and newest.managed:
        # An uninstall that was interrupted leaves no other trace of what ran.
        last = newest
    payload = None if last is None else observation.payloads.get(last.number)
    first_of_minor = _version(f"{payload.initial_series}.0") if payload is not None else None
    if first_of_minor is None or (oldest is not None and _series(oldest) == _series(first_of_minor)):
        return oldest
    return first_of_minor


def has_run(observation: Observation) -> bool:
    """Whether any part of Cilium runs, or a revision of this history was seen running."""
    operator = observation.cilium_operator
    return (
        any(revision.verified for revision in observation.revisions)
        or (operator is not None and operator.available > 0)
        or any(agent.ready for agent in observation.agents.values())
    )


def last_deployed(observation: Observation) -> Revision | None:
    """Return the newest revision that was applied completely: what runs, or should run."""
    if not observation.installed:
        return None
    return next((r for r in reversed(observation.revisions) if r.status in APPLIED), None)


def last_managed(observation: Observation) -> Revision | None:
    """Return the newest revision of the operator that was applied completely."""
    if not observation.installed:
        return None
    return next((r for r in reversed(observation.revisions) if r.managed and r.status in APPLIED), None)


def running(observation: Observation, wanted: Iterable[str] = ()) -> Running:
    """Return the versions, pools and mask that a new spec must not contradict; `wanted` are the pools of a spec.

    The pools that run are those of `cilium-config`, those of the last deployed revision, those of the record while the
    operator's Helm applies them or if `cilium-config` is missing, and any other known pool from which a CiliumNode has
    a block. Each is named once, in this order and in canonical form. If only CiliumNodes are left of Cilium, none runs.
    """
    deployed = last_deployed(observation)
    sources = [(_CONFIG_MAP, observation.pool), _released(observation, deployed), _recorded(observation, deployed)]
    found = [(name, pool) for name, pool in sources if pool is not None and pool.pod_cidrs]
    pools = _union(cidr for _, pool in found for cidr in pool.pod_cidrs)
    if found:
        recorded = () if observation.record is None else observation.record.pod_cidrs
        # A CIDR that overlaps one that runs has not been applied: Cilium's operator does not start with both.
        taken = [found for found in map(address_range, pools) if found is not None]
        others = [cidr for cidr in _union([*recorded, *wanted]) if not _overlaps(cidr, taken)]
        pools = (*pools, *_with_blocks(observation, others, taken))
    return Running(
        version=_running_version(observation, deployed),
        pod_cidrs=pools,
        mask_size=next((pool.mask_size for _, pool in found if pool.mask_size is not None), None),
        source=found[0][0] if found else _CONFIG_MAP,
        ran=frozenset(r.chart_version for r in observation.revisions if r.managed and r.status in APPLIED),
    )


def _running_version(observation: Observation, deployed: Revision | None) -> str | None:
    """Return the chart version of what runs; that of a revision of someone else is in its payload."""
    if deployed is None or deployed.managed:
        return None if deployed is None else deployed.chart_version
    payload = observation.payloads.get(deployed.number)
    return None if payload is None else _version(payload.chart_version)


def _series(version: str) -> str:
    return CiliumVersion.parse(version).series


def _version(text: str) -> str | None:
    """Return the version if it is one that rules can compare."""
    try:
        return str(CiliumVersion.parse(text))
    except ValueError:
        return None


def _released(observation: Observation, deployed: Revision | None) -> tuple[str, PoolConfig | None]:
    if deployed is None or (payload := observation.payloads.get(deployed.number)) is None:
        return "", None
    return f"revision {deployed.number} of Helm release cilium", payload.pool


def _recorded(observation: Observation, deployed: Revision | None) -> tuple[str, PoolConfig | None]:
    """Return the pools of the record, which are written before Helm is called, so they may not have been applied."""
    record, newest = observation.record, observation.newest
    if record is None or newest is None or not observation.installed:
        return _RECORD, None
    in_flight = newest.managed and (newest.status.startswith("pending") or newest.status == "uninstalling")
    ran = deployed is not None or record.verified is not None
    if in_flight or (ran and (observation.pool is None or not observation.pool.pod_cidrs)):
        return _RECORD, PoolConfig(record.pod_cidrs, record.mask_size)
    return _RECORD, None


def _union(cidrs: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(canonical_cidr(cidr) for cidr in cidrs))


def _with_blocks(observation: Observation, cidrs: Sequence[str], taken: Sequence[tuple[int, int]]) -> Iterator[str]:
    """Yield the CIDRs, all outside the ranges in `taken`, from which a CiliumNode has a block."""
    if not cidrs:
        return
    texts = (text for cilium_node in observation.cilium_nodes.values() for text in cilium_node.pod_cidrs)
    found = {address_range(text) for text in texts}
    # There are thousands of blocks, almost all of which are in `taken`.
    blocks = [b for b in found if b is not None and not any(first <= b[0] and b[1] <= last for first, last in taken)]
    yield from (cidr for cidr in cidrs if _overlaps(cidr, blocks))


def _overlaps(cidr: str, ranges: Sequence[tuple[int, int]]) -> bool:
    found = address_range(cidr)
    return found is not None and any(first <= found[1] and found[0] <= last for first, last in ranges)
