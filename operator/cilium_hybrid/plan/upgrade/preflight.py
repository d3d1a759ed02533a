"""The preflight check before a change of the version: its values and its result. It leaves release `cilium` alone."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
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
from cilium_hybrid.plan.upgrade.validator_log import invalid_policies
from cilium_hybrid.plan.values import api_server, pull_secrets
from cilium_hybrid.rules.rendered.rules import HYBRID_LABEL, HYBRID_VALUE
from cilium_hybrid.rules.rule import one_line

PREFLIGHT: Final = "cilium-preflight"
"""Name of the Helm release."""
CHECK: Final = "cilium-pre-flight-check"
"""Name of its DaemonSet and of its Deployment."""
_UNREACHABLE: Final = "node.kubernetes.io/unreachable"
_USUAL_TAINTS: Final = (
    AGENT_TAINT,
    "node.kubernetes.io/disk-pressure",
    "node.kubernetes.io/memory-pressure",
    "node.kubernetes.io/network-unavailable",
    "node.kubernetes.io/not-ready",
    "node.kubernetes.io/pid-pressure",
    CORDONED,
)
"""Taints that a node with an agent may get at any time."""


@dataclass(frozen=True, slots=True)
class PreflightProgress:
    """The highest number of checks that were ready at once, and for how many seconds; the next evaluation needs it.

    `release_created_at` identifies the release that was evaluated: for another one, nothing is remembered. It is never
    compared with a clock.
    """

    ready: int
    waited: float
    release_created_at: datetime | None


@dataclass(frozen=True, slots=True)
class PreflightEvaluation:
    """The result so far: how many of the expected nodes are ready, and what is missing, a sentence each.

    `remaining`: in how many seconds the check fails without progress.
    """

    result: PreflightResult
    ready: int
    expected: int
    findings: tuple[str, ...]
    progress: PreflightProgress
    remaining: float


@dataclass(frozen=True, slots=True)
class _Finding:
    """What is missing; `known`: it has a known cause, and not only needs more time."""

    text: str
    known: bool


def taints_of(observation: Observation) -> frozenset[str]:
    """Return the keys of all taints of hybrid nodes."""
    return frozenset(key for node in observation.nodes.values() for key in node.taints)


def preflight_values(spec: Spec, taints: Collection[str] = ()) -> dict[str, Any]:
    """Return all values of release `cilium-preflight`; `taints` are the keys of the taints of hybrid nodes.

    Only the values for pulling images come from the user: with others, the chart also renders objects of release
    `cilium`, so that Helm refuses the release, or deletes them together with the preflight. The chart has a separate
    image value for the preflight with the same keys; here it is the image that the agents will run. The values below
    `tls` are needed for 1.17.0 to 1.17.3, that of Envoy for 1.18.1 to 1.18.5. By default the chart tolerates every
    taint: the single pod that validates policies could be scheduled on a disconnected node, where it never starts.
    """
    image, secrets = spec.values.get("image"), spec.values.get("imagePullSecrets")
    pull = pull_secrets(spec) or ({"imagePullSecrets": secrets} if isinstance(secrets, list) else {})
    return {
        "agent": False,
        "envoy": {"enabled": False},
        "hubble": {"enabled": False},
        "operator": {"enabled": False},
        # The chart combines the selector with its own affinity to nodes that have an agent pod.
        "preflight": {
            "enabled": True,
            "nodeSelector": {HYBRID_LABEL: HYBRID_VALUE},
            "tolerations": [
                {"key": key, "operator": "Exists"} for key in sorted({*_USUAL_TAINTS, *taints} - {_UNREACHABLE})
            ],
            **({"image": image} if isinstance(image, Mapping) else {}),
        },
        "tls": {
            "readSecretsOnlyFromSecretsNamespace": False,
            "secretSync": {"enabled": False},
            "secretsNamespace": {"create": False},
        },
        **api_server(spec),
        **pull,
    }


def evaluate_preflight(
    observation: Observation, previous: PreflightProgress | None, timeout: float, elapsed: float
) -> PreflightEvaluation:
    """Evaluate the preflight check.

    It passes if every connected node with a Ready agent has a Ready preflight pod, and all policies were validated.
    Disconnected nodes and those whose agent is not Ready are not expected: a broken agent must not block its repair.
    The policies are validated by a pod that runs beside an agent pod. If no connected node has an agent pod, nothing
    can validate or enforce them, so the check passes without it. `timeout`, in seconds, counts from the last progress,
    which is a higher number of ready checks than before. `previous` is the progress that the previous evaluation
    returned, `elapsed` seconds that count ago.
    """
    preflight = observation.preflight
    expected = [name for name, node in observation.nodes.items() if _is_expected(observation, node)]
    ready = sum(_is_ready(preflight.pods.get(name)) for name in expected)
    validated = _is_validated(preflight.validator)
    findings = list(_findings(observation, expected))
    progress = _progress(preflight, previous, ready + validated, elapsed)
    if not findings:
        result = PreflightResult.PASSED
    elif progress.waited < timeout:
        result = PreflightResult.RUNNING
        # Before the timeout, a pod that is not Ready yet is no finding.
        findings = [finding for finding in findings if finding.known]
    else:
        result = PreflightResult.FAILED
    return PreflightEvaluation(result, ready, len(expected), _messages(findings), progress, timeout - progress.waited)


def _is_expected(observation: Observation, node: HybridNode) -> bool:
    agent = observation.agents.get(node.name)
    return node.ready != "Unknown" and agent is not None and agent.ready


def _is_ready(pod: PreflightPod | None) -> bool:
    return pod is not None and pod.ready


def _is_validated(validator: PolicyValidator | None) -> bool:
    return validator is not None and validator.observed and validator.ready >= max(validator.replicas, 1)


def _can_validate(observation: Observation) -> bool:
    """Whether the validator can be scheduled: it needs a node with an agent pod, Ready or not."""
    return any(node.ready != "Unknown" and name in observation.agents for name, node in observation.nodes.items())


def _progress(
    preflight: PreflightObservation, previous: PreflightProgress | None, ready: int, elapsed: float
) -> PreflightProgress:
    created = None if preflight.release is None else preflight.release.created_at
    if previous is None or previous.release_created_at != created or ready > previous.ready:
        return PreflightProgress(ready, 0.0, created)
    return PreflightProgress(previous.ready, previous.waited + elapsed, created)


def _findings(observation: Observation, expected: list[str]) -> Iterator[_Finding]:
    """Yield everything that is missing: policies before nodes, and nodes with a known cause first."""
    preflight, release = observation.preflight, observation.preflight.release
    if release is None or release.status != "deployed":
        state = "does not exist" if release is None else f"is {release.status}"
        yield _Finding(f"Helm release {PREFLIGHT} {state}", known=release is not None and release.status == "failed")
    if not preflight.nodes_observed:
        yield _Finding(f"DaemonSet {CHECK}: not observed by its controller yet", known=False)
    if not _is_validated(preflight.validator) and _can_validate(observation):
        yield from _validator_findings(preflight.validator)
    missing = [name for name in expected if not _is_ready(preflight.pods.get(name))]
    of_nodes = [_node_finding(name, preflight.pods.get(name)) for name in sorted(missing)]
    yield from sorted(of_nodes, key=lambda finding: not finding.known)


def _validator_findings(validator: PolicyValidator | None) -> Iterator[_Finding]:
    pod = None if validator is None else validator.pod
    if pod is None:
        yield _Finding(f"Deployment {CHECK}: has no pod", known=False)
        return
    invalid = list(invalid_policies(pod.termination_message))
    for policy in invalid:
        yield _Finding(policy, known=True)
    if not invalid:
        yield _Finding(f"policies were not validated: {_cause(pod)}", known=_is_known(pod))


def _node_finding(name: str, pod: PreflightPod | None) -> _Finding:
    if pod is None:
        return _Finding(f"node {name}: has no preflight pod", known=False)
    return _Finding(f"node {name}: {_cause(pod)}", known=_is_known(pod))


def _is_known(pod: PreflightPod) -> bool:
    return bool(pod.failure_message or pod.termination_message)


def _cause(pod: PreflightPod) -> str:
    if pod.failure_message or not pod.termination_message:
        return f"pod {pod.name}: {pod.failure_message or 'not Ready'}"
    return f"pod {pod.name}: container terminated: {pod.termination_message}"


def _messages(findings: list[_Finding]) -> tuple[str, ...]:
    more = len(findings) - MAX_FINDINGS
    messages = [one_line(finding.text) for finding in findings[:MAX_FINDINGS]]
    return (*messages, f"and {more} more") if more > 0 else tuple(messages)
