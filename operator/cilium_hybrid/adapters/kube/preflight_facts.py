"""From raw objects of a preflight to facts. Somebody else's of the same names are none of its own."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from cilium_hybrid.adapters.kube.facts import (
    agent_after,
    agent_pod,
    condition,
    moment,
    node_of,
    observed,
    ready_since,
    without_a_node,
)
from cilium_hybrid.adapters.kube.pod_failure import failure_message, short, told_on
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

OF_RELEASE: Final = "meta.helm.sh/release-name"
"""Helm's annotation on whatever it made."""
OF_THE_AGENTS: Final = "cilium"
OF_THE_CHECK: Final = CHECK
OF_THE_VALIDATOR: Final = f"{CHECK}-deployment"
"""The labels `k8s-app` of pods."""

_MOST_WORDS: Final = 4096
"""In characters, as much as a kubelet keeps of what a container said last."""


@dataclass(frozen=True, slots=True)
class CheckSet:
    """The DaemonSet."""

    uid: str
    observed: bool


@dataclass(frozen=True, slots=True)
class ValidatorSet:
    """The Deployment, without its pod."""

    validator: PolicyValidator
    made_at: datetime


@dataclass(frozen=True, slots=True)
class CheckPod:
    """A pod of a preflight; `owner` is the uid of the DaemonSet or of the ReplicaSet that made it."""

    pod: PreflightPod
    app: str
    owner: str
    made_at: datetime
    terminating: bool
    placed: bool = True
    """Whether it is on its node, rather than waits for it."""


def pod(raw: Raw) -> AgentPod | UnplacedAgent | CheckPod | None:
    """A pod of the agents or of a preflight; None for an agent that the scheduler has not looked at yet."""
    app = str(raw["metadata"]["labels"]["k8s-app"])
    return agent_pod(raw) if app == OF_THE_AGENTS else _check_pod(raw, app)


def pod_after(
    before: AgentPod | UnplacedAgent | CheckPod, now: AgentPod | UnplacedAgent | CheckPod
) -> AgentPod | UnplacedAgent | CheckPod:
    """A pod that was seen before: its trouble is told on."""
    if isinstance(before, CheckPod) and isinstance(now, CheckPod):
        return replace(
            now, pod=replace(now.pod, failure_message=told_on(before.pod.failure_message, now.pod.failure_message))
        )
    return now if isinstance(before, CheckPod) or isinstance(now, CheckPod) else agent_after(before, now)


def placed_pods(pods: Iterable[CheckPod]) -> Iterator[CiliumPod]:
    """Those that are on a node, somebody else's too."""
    for one in pods:
        if one.placed and not one.terminating:
            kind = "Deployment" if one.app == OF_THE_VALIDATOR else "DaemonSet"
            yield CiliumPod(one.pod.name, one.pod.node, f"{kind} {CHECK}")


def check_set(raw: Raw) -> CheckSet | None:
    """The DaemonSet; None for one that Helm did not make for a preflight."""
    return CheckSet(str(raw["metadata"]["uid"]), observed(raw)) if is_of_a_preflight(raw) else None


def validator_set(raw: Raw) -> ValidatorSet | None:
    """The Deployment; None for one that Helm did not make for a preflight."""
    if not is_of_a_preflight(raw):
        return None
    ready = int((raw.get("status") or {}).get("readyReplicas", 0))
    validator = PolicyValidator(int(raw["spec"].get("replicas", 1)), ready, observed(raw))
    return ValidatorSet(validator, moment(raw["metadata"]["creationTimestamp"]))


def is_of_a_preflight(raw: Raw) -> bool:
    """Whether Helm made an object for release `cilium-preflight`."""
    return bool((raw["metadata"].get("annotations") or {}).get(OF_RELEASE) == PREFLIGHT)


def preflight_of(
    records: Iterable[Revision], checks: CheckSet | None, validators: ValidatorSet | None, pods: Iterable[CheckPod]
) -> PreflightObservation:
    """All of it together. Pods of another preflight, which may still be on their way out, are none of its own."""
    staying = sorted((one for one in pods if not one.terminating), key=lambda one: (one.made_at, one.pod.name))
    return PreflightObservation(
        release=max(records, key=lambda record: record.number, default=None),
        nodes_observed=None if checks is None else checks.observed,
        pods={one.pod.node: one.pod for one in staying if checks is not None and one.owner == checks.uid},
        validator=None if validators is None else _validator(validators, staying),
    )


def _validator(validators: ValidatorSet, pods: Iterable[CheckPod]) -> PolicyValidator:
    # Its ReplicaSet, whose uid its pod names, is not watched: what is older than the Deployment is another one's.
    own = [one.pod for one in pods if one.app == OF_THE_VALIDATOR and one.made_at >= validators.made_at]
    return replace(validators.validator, pod=own[-1] if own else None)


def _check_pod(raw: Raw, app: str) -> CheckPod:
    metadata, status, ready = raw["metadata"], raw.get("status") or {}, condition(raw, "Ready")
    words = _last_words(status)
    owners = (owner["uid"] for owner in metadata.get("ownerReferences") or [] if owner.get("controller"))
    pod = PreflightPod(
        name=str(metadata["name"]),
        node=node_of(raw.get("spec") or {}),
        ready=ready.get("status") == "True",
        ready_since=ready_since(ready),
        failure_message=failure_message(status) or without_a_node(raw),
        # The log of the validator names each policy that it refuses.
        last_words=" ".join(words.split())[-_MOST_WORDS:] if app == OF_THE_VALIDATOR else short(words),
    )
    made_at = moment(metadata["creationTimestamp"])
    placed = bool((raw.get("spec") or {}).get("nodeName"))
    return CheckPod(pod, app, str(next(owners, "")), made_at, "deletionTimestamp" in metadata, placed)


def _last_words(status: Raw) -> str:
    """What a container that failed said last; empty where none did."""
    for container in [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]:
        for state in (container.get("state") or {}, container.get("lastState") or {}):
            ended = state.get("terminated") or {}
            if ended.get("exitCode"):
                return str(ended.get("message") or f"{ended.get('reason') or 'Error'}, exit code {ended['exitCode']}")
    return ""
