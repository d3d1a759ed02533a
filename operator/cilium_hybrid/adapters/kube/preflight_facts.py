"""Convert raw objects of the preflight to facts. Objects of the same names that Helm did not create are ignored."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from cilium_hybrid.adapters.kube.facts import find_raw_condition, observed, parse_time, ready_since, terminating
from cilium_hybrid.adapters.kube.pod_facts import agent_pod, merge_agent, scheduling_failure, target_node
from cilium_hybrid.adapters.kube.pod_failure import failure_message, keep_pull_error, shorten
from cilium_hybrid.plan.observation import (
    AgentPod,
    CiliumPod,
    PolicyValidator,
    PreflightObservation,
    PreflightPod,
    Revision,
    UnplacedAgent,
)
from cilium_hybrid.plan.upgrade.preflight import CHECK, PREFLIGHT

Raw = Mapping[str, Any]

HELM_RELEASE_ANNOTATION: Final = "meta.helm.sh/release-name"
"""Helm's annotation on every object that it creates."""
AGENT_APP: Final = "cilium"
CHECK_APP: Final = CHECK
VALIDATOR_APP: Final = f"{CHECK}-deployment"
"""Values of the label `k8s-app` of pods."""

_MAX_TERMINATION_MESSAGE: Final = 4096
"""In characters: the most that a kubelet keeps of a container's termination message."""


@dataclass(frozen=True, slots=True)
class CheckDaemonSet:
    """The DaemonSet of the preflight."""

    uid: str
    observed: bool


@dataclass(frozen=True, slots=True)
class ValidatorDeployment:
    """The Deployment of the policy validator, without its pod."""

    validator: PolicyValidator
    created_at: datetime


@dataclass(frozen=True, slots=True)
class CheckPod:
    """A pod of a preflight; `owner` is the uid of the DaemonSet or the ReplicaSet that created it."""

    pod: PreflightPod
    app: str
    owner: str
    created_at: datetime
    terminating: bool
    scheduled: bool = True
    """Whether it is bound to its node; otherwise it waits for the scheduler."""


def pod(raw: Raw) -> AgentPod | UnplacedAgent | CheckPod | None:
    """Return the fact of an agent or preflight pod; None for an agent that the scheduler has not tried to schedule."""
    app = str(raw["metadata"]["labels"]["k8s-app"])
    return agent_pod(raw) if app == AGENT_APP else _check_pod(raw, app)


def merge_pod(
    before: AgentPod | UnplacedAgent | CheckPod, now: AgentPod | UnplacedAgent | CheckPod
) -> AgentPod | UnplacedAgent | CheckPod:
    """Return the new fact of a pod with the most detailed message of a failing image pull."""
    if isinstance(before, CheckPod) and isinstance(now, CheckPod):
        message = keep_pull_error(before.pod.failure_message, now.pod.failure_message)
        return replace(now, pod=replace(now.pod, failure_message=message))
    return now if isinstance(before, CheckPod) or isinstance(now, CheckPod) else merge_agent(before, now)


def scheduled_pods(pods: Iterable[CheckPod]) -> Iterator[CiliumPod]:
    """Return the pods that are bound to a node, including those that Helm did not create."""
    for check in pods:
        if check.scheduled and not check.terminating:
            kind = "Deployment" if check.app == VALIDATOR_APP else "DaemonSet"
            yield CiliumPod(check.pod.name, check.pod.node, f"{kind} {CHECK}")


def check_daemon_set(raw: Raw) -> CheckDaemonSet | None:
    """Return the fact of the DaemonSet; None if Helm did not create it for a preflight."""
    return CheckDaemonSet(str(raw["metadata"]["uid"]), observed(raw)) if belongs_to_preflight(raw) else None


def validator_deployment(raw: Raw) -> ValidatorDeployment | None:
    """Return the fact of the Deployment; None if Helm did not create it for a preflight."""
    if not belongs_to_preflight(raw):
        return None
    ready = int((raw.get("status") or {}).get("readyReplicas", 0))
    validator = PolicyValidator(int(raw["spec"].get("replicas", 1)), ready, observed(raw))
    return ValidatorDeployment(validator, parse_time(raw["metadata"]["creationTimestamp"]))


def belongs_to_preflight(raw: Raw) -> bool:
    """Return whether Helm created an object for release `cilium-preflight`."""
    return bool((raw["metadata"].get("annotations") or {}).get(HELM_RELEASE_ANNOTATION) == PREFLIGHT)


def observe_preflight(
    revisions: Iterable[Revision],
    checks: CheckDaemonSet | None,
    deployment: ValidatorDeployment | None,
    pods: Iterable[CheckPod],
) -> PreflightObservation:
    """Combine the facts of a preflight. Pods of an earlier preflight that still terminate are left out."""
    live = sorted((pod for pod in pods if not pod.terminating), key=lambda pod: (pod.created_at, pod.pod.name))
    return PreflightObservation(
        release=max(revisions, key=lambda revision: revision.number, default=None),
        nodes_observed=None if checks is None else checks.observed,
        pods={pod.pod.node: pod.pod for pod in live if checks is not None and pod.owner == checks.uid},
        validator=None if deployment is None else _validator(deployment, live),
    )


def _validator(deployment: ValidatorDeployment, pods: Iterable[CheckPod]) -> PolicyValidator:
    # The pod names its ReplicaSet, which is not watched: a pod older than the Deployment belongs to an earlier one.
    own = [pod.pod for pod in pods if pod.app == VALIDATOR_APP and pod.created_at >= deployment.created_at]
    return replace(deployment.validator, pod=own[-1] if own else None)


def _check_pod(raw: Raw, app: str) -> CheckPod:
    metadata, status, ready = raw["metadata"], raw.get("status") or {}, find_raw_condition(raw, "Ready")
    spec, message = raw.get("spec") or {}, _termination_message(status)
    owners = (owner["uid"] for owner in metadata.get("ownerReferences") or [] if owner.get("controller"))
    pod = PreflightPod(
        name=str(metadata["name"]),
        node=target_node(spec),
        ready=ready.get("status") == "True",
        ready_since=ready_since(ready),
        failure_message=failure_message(status) or scheduling_failure(raw),
        # The log of the validator names each policy that it rejects.
        termination_message=(
            " ".join(message.split())[-_MAX_TERMINATION_MESSAGE:] if app == VALIDATOR_APP else shorten(message)
        ),
    )
    created_at, scheduled = parse_time(metadata["creationTimestamp"]), bool(spec.get("nodeName"))
    return CheckPod(pod, app, str(next(owners, "")), created_at, terminating(raw), scheduled)


def _termination_message(status: Raw) -> str:
    """Return the termination message of the first container that failed; empty if none did."""
    for container in [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]:
        for state in (container.get("state") or {}, container.get("lastState") or {}):
            terminated = state.get("terminated") or {}
            if terminated.get("exitCode"):
                reason = f"{terminated.get('reason') or 'Error'}, exit code {terminated['exitCode']}"
                return str(terminated.get("message") or reason)
    return ""
