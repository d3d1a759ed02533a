"""The preflight before a change of version: its values, and whether it passed. Nothing of `cilium` is touched by it."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from cilium_hybrid.api.status import MAX_FINDINGS, PreflightResult
from cilium_hybrid.api.v1alpha1 import Spec
from cilium_hybrid.plan.observation import (
    AGENT_TAINT,
    CORDONED,
    HybridNode,
    Observation,
    PolicyValidator,
    PreflightObservation,
    PreflightPod,
)
from cilium_hybrid.plan.upgrade.validator_log import refused_policies
from cilium_hybrid.plan.values import pull_secrets
from cilium_hybrid.rules.rendered.rules import HYBRID_LABEL, HYBRID_VALUE
from cilium_hybrid.rules.rule import one_line

PREFLIGHT: Final = "cilium-preflight"
"""The Helm release."""
CHECK: Final = "cilium-pre-flight-check"
"""Its DaemonSet and its Deployment."""
_SILENT: Final = "node.kubernetes.io/unreachable"
_USUAL_TAINTS: Final = (
    AGENT_TAINT,
    "node.kubernetes.io/disk-pressure",
    "node.kubernetes.io/memory-pressure",
    "node.kubernetes.io/network-unavailable",
    "node.kubernetes.io/not-ready",
    "node.kubernetes.io/pid-pressure",
    CORDONED,
)
"""What a node with an agent may have at any time."""


@dataclass(frozen=True, slots=True)
class PreflightProgress:
    """The most checks that were ready at once, and since when; the next judgement's memory.

    `release` is when the release was made that was judged: of another one, nothing is remembered.
    """

    done: int
    at: datetime
    release: datetime | None


@dataclass(frozen=True, slots=True)
class PreflightEvaluation:
    """How far the preflight is: nodes that are ready of those expected, and what is in the way, a sentence each."""

    result: PreflightResult
    ready: int
    expected: int
    findings: tuple[str, ...]
    progress: PreflightProgress
    deadline: datetime


@dataclass(frozen=True, slots=True)
class _Finding:
    """What is in the way; `known` is whether it is more than time."""

    text: str
    known: bool


def taints_of(observation: Observation) -> frozenset[str]:
    """The keys of every taint that a hybrid node has."""
    return frozenset(key for node in observation.nodes.values() for key in node.taints)


def preflight_values(spec: Spec, taints: Collection[str] = ()) -> dict[str, Any]:
    """The whole values of release `cilium-preflight`; `taints` are the keys of those that hybrid nodes have.

    Of the user's only what an image is pulled by: with the others the chart renders objects of release `cilium` as
    well, and Helm refuses, or takes them away with the preflight. The chart has an image of its own for the preflight,
    with the same keys; it pulls the one that the agents will run. The parts of `tls` are for 1.17.0 to 1.17.3, that of
    Envoy is for 1.18.1 to 1.18.5. The chart tolerates every taint: the one pod that validates policies could be placed
    on a node that does not report, and would never start there.
    """
    image, secrets = spec.values.get("image"), spec.values.get("imagePullSecrets")
    named = pull_secrets(spec) or ({"imagePullSecrets": secrets} if isinstance(secrets, list) else {})
    return {
        "agent": False,
        "envoy": {"enabled": False},
        "hubble": {"enabled": False},
        "operator": {"enabled": False},
        # The chart adds the label to its own affinity, to the nodes where an agent pod is.
        "preflight": {
            "enabled": True,
            "nodeSelector": {HYBRID_LABEL: HYBRID_VALUE},
            "tolerations": [
                {"key": key, "operator": "Exists"} for key in sorted({*_USUAL_TAINTS, *taints} - {_SILENT})
            ],
            **({"image": image} if isinstance(image, Mapping) else {}),
        },
        "tls": {
            "readSecretsOnlyFromSecretsNamespace": False,
            "secretSync": {"enabled": False},
            "secretsNamespace": {"create": False},
        },
        **named,
    }


def evaluate_preflight(
    observation: Observation, previous: PreflightProgress | None, timeout: timedelta, now: datetime
) -> PreflightEvaluation:
    """Passed: every connected node with a Ready agent has a Ready preflight pod, and the policies were validated.

    A node that is away, or whose agent is not Ready, is not waited for: a broken agent must not block its own repair.
    The policies are validated by a pod that runs beside an agent pod; where no connected node has one, nobody can
    validate them and nobody enforces them, so the preflight passes with nothing expected. `timeout` counts since
    progress: a check more is ready than ever before. `previous` is what the verdict before this one remembered.
    """
    preflight = observation.preflight
    expected = [name for name, node in observation.nodes.items() if _is_expected(observation, node)]
    ready = sum(_is_ready(preflight.pods.get(name)) for name in expected)
    validated = _is_validated(preflight.validator)
    findings = list(_findings(observation, expected))
    progress = _progress(preflight, previous, ready + validated, now)
    if not findings:
        result = PreflightResult.PASSED
    elif now - progress.at < timeout:
        result = PreflightResult.RUNNING
        # That a pod is not Ready yet is no finding before its time is over.
        findings = [finding for finding in findings if finding.known]
    else:
        result = PreflightResult.FAILED
    return PreflightEvaluation(result, ready, len(expected), _told(findings), progress, progress.at + timeout)


def _is_expected(observation: Observation, node: HybridNode) -> bool:
    agent = observation.agents.get(node.name)
    return node.ready != "Unknown" and agent is not None and agent.ready


def _is_ready(pod: PreflightPod | None) -> bool:
    return pod is not None and pod.ready


def _is_validated(validator: PolicyValidator | None) -> bool:
    return validator is not None and validator.observed and validator.ready >= max(validator.replicas, 1)


def _can_validate(observation: Observation) -> bool:
    """Whether the validator has a place: the chart wants it beside an agent pod, whatever the state of that."""
    return any(node.ready != "Unknown" and name in observation.agents for name, node in observation.nodes.items())


def _progress(
    preflight: PreflightObservation, previous: PreflightProgress | None, done: int, now: datetime
) -> PreflightProgress:
    """The memory carried on; without one, as after a restart, what the cluster tells of the release and its pods."""
    made = None if preflight.release is None else preflight.release.made_at
    if previous is not None and previous.release == made:
        return PreflightProgress(done, now, made) if done > previous.done else previous
    pods = [*preflight.pods.values()]
    if preflight.validator is not None and preflight.validator.pod is not None:
        pods.append(preflight.validator.pod)
    # The clocks of nodes may be wrong: nothing is later than now, nor earlier than the release.
    moments = [min(pod.ready_since, now) for pod in pods if pod.ready and pod.ready_since is not None]
    return PreflightProgress(done, now if made is None else max([min(made, now), *moments]), made)


def _findings(observation: Observation, expected: list[str]) -> Iterator[_Finding]:
    """All that is missing, policies before nodes, and of the nodes first those whose cause is known."""
    preflight, release = observation.preflight, observation.preflight.release
    if release is None or release.status != "deployed":
        says = "is not there" if release is None else f"is {release.status}"
        yield _Finding(f"Helm release {PREFLIGHT} {says}", known=release is not None and release.status == "failed")
    if not preflight.nodes_observed:
        yield _Finding(f"DaemonSet {CHECK}: its controller has not seen it", known=False)
    if not _is_validated(preflight.validator) and _can_validate(observation):
        yield from _of_the_validator(preflight.validator)
    missing = [name for name in expected if not _is_ready(preflight.pods.get(name))]
    of_nodes = [_of_a_node(name, preflight.pods.get(name)) for name in sorted(missing)]
    yield from sorted(of_nodes, key=lambda finding: not finding.known)


def _of_the_validator(validator: PolicyValidator | None) -> Iterator[_Finding]:
    pod = None if validator is None else validator.pod
    if pod is None:
        yield _Finding(f"Deployment {CHECK}: it has no pod", known=False)
        return
    refused = list(refused_policies(pod.last_words))
    for policy in refused:
        yield _Finding(policy, known=True)
    if not refused:
        yield _Finding(f"policies were not validated: {_cause(pod)}", known=_is_known(pod))


def _of_a_node(name: str, pod: PreflightPod | None) -> _Finding:
    if pod is None:
        return _Finding(f"node {name}: it has no preflight pod", known=False)
    return _Finding(f"node {name}: {_cause(pod)}", known=_is_known(pod))


def _is_known(pod: PreflightPod) -> bool:
    return bool(pod.failure_message or pod.last_words)


def _cause(pod: PreflightPod) -> str:
    if pod.failure_message or not pod.last_words:
        return f"pod {pod.name}: {pod.failure_message or 'it is not Ready'}"
    return f"pod {pod.name}: its container ended: {pod.last_words}"


def _told(findings: list[_Finding]) -> tuple[str, ...]:
    more = len(findings) - MAX_FINDINGS
    told = [one_line(finding.text) for finding in findings[:MAX_FINDINGS]]
    return (*told, f"and {more} more") if more > 0 else tuple(told)
