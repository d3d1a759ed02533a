"""The state of the Helm release, compared with the release that the spec asks for."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from cilium_hybrid.api.v1alpha1 import Spec
from cilium_hybrid.api.versions import CiliumVersion
from cilium_hybrid.plan.observation import Observation, PoolConfig, Revision
from cilium_hybrid.plan.values import digest, helm_values
from cilium_hybrid.rules.change import Running

RELEASE: Final = "cilium"
NAMESPACE: Final = "kube-system"
APPLIED: Final = frozenset({"deployed", "superseded"})
"""The Helm statuses of a revision that was applied completely."""


class ReleaseState(StrEnum):
    """The state of the release."""

    ABSENT = "Absent"
    NOT_OWNED = "NotOwned"
    FOREIGN = "Foreign"
    PENDING = "Pending"
    FAILED = "Failed"
    OUT_OF_SYNC = "OutOfSync"
    IN_SYNC = "InSync"


@dataclass(frozen=True, slots=True)
class DesiredRelease:
    """The release that the spec asks for.

    `mirror` is where every image comes from; the digest of the values includes it through the agents' digest.
    """

    chart_ref: str
    chart_version: str
    pinned_digest: str | None
    values: dict[str, Any]
    values_digest: str
    mirror: str | None = None


def desired_release(spec: Spec, observation: Observation) -> DesiredRelease:
    """Return the release that the spec asks for in this cluster."""
    values = helm_values(spec, initial_series(observation))
    return DesiredRelease(spec.chart.ref, spec.version, spec.chart.digest, values, digest(values), spec.registry_mirror)


def released_digest(observation: Observation) -> str | None:
    """Return the digest of the configuration that a new agent would run, read from the DaemonSet."""
    return None if observation.agent_set is None else observation.agent_set.config_digest


def spec_digest(desired: DesiredRelease) -> str:
    """Return a digest of the desired release, which identifies a release that failed."""
    return digest([desired.chart_ref, desired.chart_version, desired.pinned_digest, desired.values_digest])


def initial_series(observation: Observation) -> str | None:
    """Return the minor version first installed in this cluster, X.Y; None if Cilium was never installed."""
    version = initial_version(observation)
    return None if version is None else CiliumVersion.parse(version).series


def initial_version(observation: Observation) -> str | None:
    """Return the chart version first installed: from the record, else from the oldest revision that Helm has."""
    if observation.record is not None:
        return observation.record.initial_version
    if not observation.installed:
        return None
    revisions = observation.revisions
    # `helm uninstall --keep-history` leaves the revisions of an earlier installation.
    first = max((index + 1 for index, r in enumerate(revisions) if r.status == "uninstalled"), default=0)
    return next((r.chart_version for r in revisions[first:] if r.managed and r.status in APPLIED), None)


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


def release_state(observation: Observation, desired: DesiredRelease) -> ReleaseState:
    """Return the state of the release."""
    newest = observation.newest
    if newest is None or not observation.installed:
        return ReleaseState.ABSENT
    if not newest.managed:
        return ReleaseState.FOREIGN if is_managed(observation) else ReleaseState.NOT_OWNED
    if newest.status.startswith("pending") or newest.status == "uninstalling":
        return ReleaseState.PENDING
    if newest.status != "deployed":
        return ReleaseState.FAILED
    return ReleaseState.IN_SYNC if is_release(newest, desired) else ReleaseState.OUT_OF_SYNC


def is_managed(observation: Observation) -> bool:
    """Whether there is no release, or the operator made at least one of its revisions."""
    return not observation.installed or any(revision.managed for revision in observation.revisions)


def is_release(newest: Revision, desired: DesiredRelease) -> bool:
    """Whether a revision is the desired release."""
    same = newest.chart_version == desired.chart_version and newest.values_digest == desired.values_digest
    if desired.pinned_digest is not None:
        same = same and newest.chart_digest == desired.pinned_digest
    # Another chart reference is a change: its content is unknown until it is fetched.
    return same and newest.ref_digest == digest(desired.chart_ref)


def spec_is_unchanged(observation: Observation, desired: DesiredRelease) -> bool:
    """Whether the spec still asks for the operator's last release; if so, a foreign revision is left alone."""
    last = next((revision for revision in reversed(observation.revisions) if revision.managed), None)
    if last is None:
        return False
    # An intermediate step of an upgrade has another version than the spec.
    return last.spec_digest == spec_digest(desired) if last.spec_digest else is_release(last, desired)


def running(observation: Observation, released: PoolConfig | None = None) -> Running:
    """Return the facts that a new spec must not contradict: from the cluster, else from the record.

    `cilium-config` counts even if Helm's revisions are missing, because only an uninstall removes it.
    """
    deployed, record, pool = last_deployed(observation), observation.record, observation.pool
    version = deployed.chart_version if deployed is not None and deployed.managed else None
    ran = frozenset(r.chart_version for r in observation.revisions if r.managed and r.status in APPLIED)
    if pool is not None and pool.pod_cidrs:
        return Running(version, pool.pod_cidrs, pool.mask_size, "ConfigMap kube-system/cilium-config", ran)
    if record is not None and observation.installed:
        return Running(version, record.pod_cidrs, record.mask_size, "ConfigMap kube-system/cilium-hybrid-applied", ran)
    if released is not None and deployed is not None:
        source = f"revision {deployed.number} of Helm release {RELEASE}"
        return Running(version, released.pod_cidrs, released.mask_size, source, ran)
    return Running(version, ran=ran)
