"""The release that the spec asks for, and whether a Helm revision is that release."""

from dataclasses import dataclass
from typing import Any, Final

from cilium_hybrid.api.v1alpha1 import Spec
from cilium_hybrid.plan.observation import Observation, Revision
from cilium_hybrid.plan.running import initial_series
from cilium_hybrid.plan.values import digest, helm_values

RELEASE: Final = "cilium"
NAMESPACE: Final = "kube-system"


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


def release_digest(desired: DesiredRelease) -> str:
    """Return the digest by which a release is known, whatever revision or generation it belongs to.

    How the DaemonSet controller replaces pods is no part of it: that says nothing about whether the release works.
    """
    values = {key: value for key, value in desired.values.items() if key != "updateStrategy"}
    return digest([digest(desired.chart_ref), desired.chart_version, desired.pinned_digest, digest(values)])


def is_release(revision: Revision, desired: DesiredRelease) -> bool:
    """Whether a revision is the desired release."""
    same = revision.chart_version == desired.chart_version and revision.values_digest == desired.values_digest
    if desired.pinned_digest is not None:
        same = same and revision.chart_digest == desired.pinned_digest
    # Another chart reference is a change: its content is unknown until it is fetched.
    return same and revision.ref_digest == digest(desired.chart_ref)
