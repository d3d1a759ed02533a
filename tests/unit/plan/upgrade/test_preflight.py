from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders import (
    EARLIER,
    NODE,
    NOW,
    a_healthy_observation,
    a_node,
    a_preflight,
    a_preflight_pod,
    a_revision,
    a_spec,
    a_validator,
    an_agent,
    an_observation,
)
from cilium_hybrid.api.status import PreflightResult
from cilium_hybrid.plan.observation import Observation, PreflightObservation, PreflightPod
from cilium_hybrid.plan.upgrade.preflight import (
    PreflightEvaluation,
    PreflightProgress,
    evaluate_preflight,
    preflight_values,
    taints_of,
)
from cilium_hybrid.rules.rendered.rules import HYBRID_LABEL
from strategies import preflight_observations

FIRST, SECOND, THIRD = (f"mi-{number:016}" for number in (1, 2, 3))
TIMEOUT = 600.0
STARTED = NOW - timedelta(minutes=1)
RELEASE = a_revision(created_at=STARTED)
MISSING = a_preflight_pod(SECOND, ready=False)
RUNNING, PASSED, FAILED = PreflightResult.RUNNING, PreflightResult.PASSED, PreflightResult.FAILED
POLICY = "level=error msg=\"Validating CiliumNetworkPolicy 'a/b': unexpected validation error: no\""


def evaluate(
    preflight: PreflightObservation,
    *,
    nodes: int = 2,
    previous: PreflightProgress | None = None,
    elapsed: float = 0.0,
) -> PreflightEvaluation:
    observation = replace(a_healthy_observation(a_revision(), nodes=nodes), preflight=preflight)
    return evaluate_preflight(observation, previous, TIMEOUT, elapsed)


def running(*pods: PreflightPod, **more: Any) -> PreflightObservation:
    return a_preflight(*pods, **{"release": RELEASE, **more})


BOTH = a_preflight_pod(FIRST), a_preflight_pod(SECOND)


def test_the_values_enable_only_the_preflight_on_hybrid_nodes() -> None:
    values = preflight_values(a_spec())

    assert {**values["preflight"], "tolerations": []} == {
        "enabled": True,
        "nodeSelector": {HYBRID_LABEL: "hybrid"},
        "tolerations": [],
    }
    assert (values["agent"], values["operator"], values["envoy"], values["hubble"]) == (
        False,
        *({"enabled": False},) * 3,
    )


def test_every_taint_of_hybrid_nodes_is_tolerated_except_unreachable() -> None:
    unreachable, own, usual = "node.kubernetes.io/unreachable", "example.com/edge", "node.kubernetes.io/not-ready"
    nodes = [a_node(FIRST, taints=(own, usual)), a_node(SECOND, ready="Unknown", taints=(unreachable, own))]
    tolerations = preflight_values(a_spec(), taints_of(an_observation(nodes=nodes)))["preflight"]["tolerations"]

    assert {"key": own, "operator": "Exists"} in tolerations
    assert {"key": usual, "operator": "Exists"} in tolerations
    assert unreachable not in [toleration["key"] for toleration in tolerations]
    assert len(tolerations) == len({toleration["key"] for toleration in tolerations})


def test_images_are_pulled_like_those_of_the_agents() -> None:
    image, secrets = {"repository": "mirror/cilium", "useDigest": False}, [{"name": "mirror"}]
    plain = preflight_values(a_spec())
    values = preflight_values(a_spec(values={"image": image, "imagePullSecrets": secrets}))

    assert values == plain | {"imagePullSecrets": secrets, "preflight": plain["preflight"] | {"image": image}}


def test_the_preflight_uses_the_pull_secrets_of_the_spec() -> None:
    named = [{"name": "mirror"}, {"name": "other"}]

    assert preflight_values(a_spec(imagePullSecrets=named)) == preflight_values(a_spec()) | {"imagePullSecrets": named}


def test_the_preflight_connects_to_the_api_server_as_the_agents_do() -> None:
    spec = a_spec(apiServer={"host": "api.internal", "port": 6443})

    assert preflight_values(spec) == preflight_values(a_spec()) | {
        "k8sServiceHost": "api.internal",
        "k8sServicePort": 6443,
    }


@pytest.mark.parametrize(
    "values",
    [
        pytest.param({"debug": {"enabled": True}, "hubble": {"relay": {"enabled": True}}}, id="other values"),
        pytest.param({"image": None, "imagePullSecrets": None}, id="null for images"),
        pytest.param({"operator": {"image": {"repository": "x"}}, "extraConfig": {"a": "b"}}, id="another image"),
    ],
)
def test_no_other_user_value_reaches_the_preflight(values: dict[str, Any]) -> None:
    assert preflight_values(a_spec(values=values)) == preflight_values(a_spec())


@pytest.mark.parametrize(
    ("preflight", "exists"),
    [
        pytest.param(PreflightObservation(), False, id="nothing"),
        pytest.param(PreflightObservation(release=RELEASE), True, id="a release without objects"),
        pytest.param(PreflightObservation(nodes_observed=False), True, id="a DaemonSet without a release"),
        pytest.param(PreflightObservation(validator=a_validator()), True, id="a Deployment without a release"),
    ],
)
def test_any_remaining_part_of_a_preflight_counts_as_existing(preflight: PreflightObservation, exists: bool) -> None:
    assert preflight.exists == exists


def test_it_passes_with_a_ready_pod_beside_every_ready_agent_and_all_policies_validated() -> None:
    evaluation = evaluate(running(*BOTH))

    assert (evaluation.result, evaluation.ready, evaluation.expected, evaluation.findings) == (PASSED, 2, 2, ())


@pytest.mark.parametrize(
    ("preflight", "found"),
    [
        pytest.param(PreflightObservation(), "Helm release cilium-preflight does not exist", id="nothing exists"),
        pytest.param(
            running(*BOTH, release=replace(RELEASE, status="pending-install")),
            "Helm release cilium-preflight is pending-install",
            id="Helm is still installing",
        ),
        pytest.param(
            running(*BOTH, nodes_observed=False),
            "DaemonSet cilium-pre-flight-check: not observed by its controller yet",
            id="the DaemonSet is not observed yet",
        ),
        pytest.param(
            running(a_preflight_pod(FIRST)), f"node {SECOND}: has no preflight pod", id="a node without a pod"
        ),
        pytest.param(
            running(a_preflight_pod(FIRST), MISSING),
            f"node {SECOND}: pod cilium-pre-flight-check-{SECOND}: not Ready",
            id="a pod that is not Ready",
        ),
        pytest.param(
            running(a_preflight_pod(FIRST), replace(MISSING, failure_message="ErrImagePull: no such image")),
            f"node {SECOND}: pod cilium-pre-flight-check-{SECOND}: ErrImagePull: no such image",
            id="a pod without its image",
        ),
        pytest.param(
            running(a_preflight_pod(FIRST), replace(MISSING, termination_message="no disk")),
            f"node {SECOND}: pod cilium-pre-flight-check-{SECOND}: container terminated: no disk",
            id="a pod that restarted",
        ),
        pytest.param(
            running(*BOTH, validator=None), "Deployment cilium-pre-flight-check: has no pod", id="no validator"
        ),
        pytest.param(
            running(*BOTH, validator=a_validator(ready=0)),
            "Deployment cilium-pre-flight-check: has no pod",
            id="a validator without a pod",
        ),
        pytest.param(
            running(*BOTH, validator=a_validator(observed=False, pod=a_preflight_pod())),
            f"policies were not validated: pod cilium-pre-flight-check-{NODE}: not Ready",
            id="a validator that is not observed yet",
        ),
        pytest.param(
            running(*BOTH, validator=a_validator(ready=0, replicas=0)),
            "Deployment cilium-pre-flight-check: has no pod",
            id="a validator scaled to zero",
        ),
        pytest.param(
            running(*BOTH, validator=a_validator(ready=0, pod=a_preflight_pod(failure_message="Unschedulable: 0/3"))),
            f"policies were not validated: pod cilium-pre-flight-check-{NODE}: Unschedulable: 0/3",
            id="a validator without a node",
        ),
        pytest.param(
            running(
                *BOTH,
                validator=a_validator(
                    ready=0, pod=a_preflight_pod(failure_message="CrashLoopBackOff", termination_message=POLICY)
                ),
            ),
            "CiliumNetworkPolicy a/b: no",
            id="a policy that is not valid",
        ),
    ],
)
def test_a_missing_check_fails_with_its_cause_after_the_timeout(preflight: PreflightObservation, found: str) -> None:
    at = PreflightProgress(3, 0.0, None if preflight.release is None else preflight.release.created_at)

    assert evaluate(preflight, previous=at, elapsed=TIMEOUT - 1).result is RUNNING
    assert evaluate(preflight, previous=at, elapsed=TIMEOUT).result is FAILED
    assert evaluate(preflight, previous=at, elapsed=TIMEOUT).findings[0] == found


@pytest.mark.parametrize(
    ("preflight", "expected"),
    [
        pytest.param(running(), [], id="no known cause"),
        pytest.param(
            running(a_preflight_pod(FIRST), replace(MISSING, failure_message="ErrImagePull")),
            [f"node {SECOND}: pod cilium-pre-flight-check-{SECOND}: ErrImagePull"],
            id="a failing pod",
        ),
        pytest.param(
            running(*BOTH, validator=a_validator(ready=0, pod=a_preflight_pod(termination_message=POLICY))),
            ["CiliumNetworkPolicy a/b: no"],
            id="a policy that is not valid",
        ),
        pytest.param(
            running(*BOTH, release=replace(RELEASE, status="failed")),
            ["Helm release cilium-preflight is failed"],
            id="a release that Helm could not install",
        ),
    ],
)
def test_while_it_runs_only_known_causes_are_reported(preflight: PreflightObservation, expected: list[str]) -> None:
    evaluation = evaluate(preflight)

    assert evaluation.result is RUNNING
    assert list(evaluation.findings) == expected


def test_policies_come_before_nodes_and_known_causes_before_unknown_ones() -> None:
    log = f"{POLICY} {POLICY.replace('a/b', 'c/d')}"
    pods = a_preflight_pod(FIRST, ready=False), a_preflight_pod(THIRD, ready=False, failure_message="ErrImagePull")
    preflight = running(*pods, validator=a_validator(ready=0, pod=a_preflight_pod(termination_message=log)))
    evaluation = evaluate(preflight, nodes=3, previous=PreflightProgress(9, TIMEOUT, STARTED))

    assert evaluation.findings == (
        "CiliumNetworkPolicy a/b: no",
        "CiliumNetworkPolicy c/d: no",
        f"node {THIRD}: pod cilium-pre-flight-check-{THIRD}: ErrImagePull",
        f"node {FIRST}: pod cilium-pre-flight-check-{FIRST}: not Ready",
        f"node {SECOND}: has no preflight pod",
    )


@pytest.mark.parametrize(("nodes", "named", "last"), [(10, 10, None), (11, 10, "and 1 more"), (25, 10, "and 15 more")])
def test_at_most_ten_findings_are_reported(nodes: int, named: int, last: str | None) -> None:
    findings = evaluate(running(), nodes=nodes, previous=PreflightProgress(9, TIMEOUT, STARTED)).findings

    assert sum(finding.startswith("node ") for finding in findings) == named
    assert findings[named:] == (() if last is None else (last,))


@pytest.mark.parametrize(
    ("node", "agents", "expected"),
    [
        pytest.param(a_node(SECOND, ready="Unknown"), [an_agent(SECOND)], 1, id="a disconnected node"),
        pytest.param(a_node(SECOND), [an_agent(SECOND, ready=False)], 1, id="a node whose agent is not Ready"),
        pytest.param(a_node(SECOND), [], 1, id="a node without an agent"),
        pytest.param(a_node(SECOND, ready="False"), [an_agent(SECOND)], 2, id="a connected node that is not Ready"),
    ],
)
def test_only_connected_nodes_with_a_ready_agent_are_expected(node: Any, agents: list[Any], expected: int) -> None:
    observation = an_observation(
        nodes=[a_node(FIRST), node], agents=[an_agent(FIRST), *agents], preflight=running(a_preflight_pod(FIRST))
    )
    evaluation = evaluate_preflight(observation, None, TIMEOUT, 0.0)

    assert (evaluation.ready, evaluation.expected) == (1, expected)
    assert (evaluation.result is PASSED) == (expected == 1)


@pytest.mark.parametrize(
    ("observation", "result"),
    [
        pytest.param(an_observation(), PASSED, id="no node at all"),
        pytest.param(
            an_observation(nodes=[a_node(ready="Unknown")], agents=[an_agent()]),
            PASSED,
            id="all nodes are disconnected",
        ),
        pytest.param(an_observation(nodes=[a_node()]), PASSED, id="no agent pod to run beside"),
        pytest.param(
            an_observation(nodes=[a_node()], agents=[an_agent(ready=False)]),
            RUNNING,
            id="beside an agent that is not Ready",
        ),
    ],
)
def test_if_nothing_can_validate_policies_nothing_is_expected(
    observation: Observation, result: PreflightResult
) -> None:
    nowhere = running(validator=a_validator(ready=0, pod=a_preflight_pod("", ready=False)))
    evaluation = evaluate_preflight(replace(observation, preflight=nowhere), None, TIMEOUT, 0.0)
    validated = evaluate_preflight(replace(observation, preflight=running()), None, TIMEOUT, 0.0)

    assert (evaluation.result, evaluation.ready, evaluation.expected) == (result, 0, 0)
    assert validated.result is PASSED


@pytest.mark.parametrize(
    ("previous", "pods", "expected"),
    [
        pytest.param(
            PreflightProgress(1, 60.0, STARTED),
            [FIRST],
            PreflightProgress(2, 0.0, STARTED),
            id="one more check is ready",
        ),
        pytest.param(
            PreflightProgress(2, 60.0, STARTED),
            [FIRST],
            PreflightProgress(2, 70.0, STARTED),
            id="as many as before",
        ),
        pytest.param(
            PreflightProgress(3, 60.0, STARTED),
            [FIRST],
            PreflightProgress(3, 70.0, STARTED),
            id="fewer than before",
        ),
        pytest.param(
            PreflightProgress(9, 60.0, EARLIER),
            [FIRST],
            PreflightProgress(2, 0.0, STARTED),
            id="of an earlier preflight",
        ),
        pytest.param(None, [FIRST], PreflightProgress(2, 0.0, STARTED), id="no previous progress"),
    ],
)
def test_progress_is_a_higher_number_of_ready_checks_than_before(
    previous: PreflightProgress | None, pods: list[str], expected: PreflightProgress
) -> None:
    evaluation = evaluate(running(*map(a_preflight_pod, pods)), previous=previous, elapsed=10.0)

    assert evaluation.progress == expected
    assert evaluation.remaining == TIMEOUT - expected.waited


@pytest.mark.parametrize("created_at", [EARLIER, NOW + timedelta(hours=1)], ids=["slow", "fast"])
def test_no_clock_of_the_cluster_matters(created_at: datetime) -> None:
    pod = a_preflight_pod(SECOND, ready=False, ready_since=created_at)
    evaluation = evaluate(running(a_preflight_pod(FIRST), pod, release=replace(RELEASE, created_at=created_at)))

    assert (evaluation.result, evaluation.remaining) == (RUNNING, TIMEOUT)


def test_without_a_release_the_timeout_starts_now_and_continues() -> None:
    first = evaluate(PreflightObservation())
    later = evaluate(PreflightObservation(), previous=first.progress, elapsed=TIMEOUT)

    assert first.progress == PreflightProgress(0, 0.0, None)
    assert later.result is FAILED


def test_a_finding_is_one_line_whatever_the_container_wrote() -> None:
    words = "\x1b[31mfatal\n" * 200
    (finding,) = evaluate(running(a_preflight_pod(FIRST), replace(MISSING, termination_message=words))).findings

    assert "\n" not in finding
    assert "\x1b" not in finding
    assert len(finding) < 2000


@given(
    preflight_observations(),
    st.none() | st.builds(PreflightProgress, st.integers(0, 3), st.floats(0, 900), st.just(STARTED)),
)
def test_an_evaluation_is_consistent(observation: Observation, previous: PreflightProgress | None) -> None:
    evaluation = evaluate_preflight(observation, previous, TIMEOUT, 1.0)
    pods = observation.preflight.pods
    expected = [
        name
        for name, node in observation.nodes.items()
        if node.ready != "Unknown" and name in observation.agents and observation.agents[name].ready
    ]

    assert evaluation.expected == len(expected)
    assert evaluation.ready <= evaluation.expected
    assert evaluation.progress.waited >= 0
    assert len(evaluation.findings) <= 11
    if evaluation.result is PASSED:
        assert evaluation.findings == ()
        assert all(pods[name].ready for name in expected)
    if evaluation.result is FAILED:
        assert evaluation.findings
        assert evaluation.progress.waited >= TIMEOUT


@given(preflight_observations(), st.floats(0, 7200))
def test_it_ends_if_nothing_changes_and_passed_is_final(observation: Observation, later: float) -> None:
    first = evaluate_preflight(observation, None, TIMEOUT, 0.0)
    again = evaluate_preflight(observation, first.progress, TIMEOUT, 0.0)
    after = evaluate_preflight(observation, first.progress, TIMEOUT, later)

    assert again == first
    assert (after.result is PASSED) == (first.result is PASSED)
    assert (after.result is RUNNING) == (first.result is not PASSED and later < first.remaining)


@given(preflight_observations(), st.sampled_from([True, False]))
def test_a_disconnected_node_changes_nothing(observation: Observation, with_pod: bool) -> None:
    nodes = {**observation.nodes, "mi-disconnected": a_node("mi-disconnected", ready="Unknown")}
    agents = {**observation.agents, **({"mi-disconnected": an_agent("mi-disconnected")} if with_pod else {})}
    with_it = replace(observation, nodes=nodes, agents=agents)

    assert evaluate_preflight(with_it, None, TIMEOUT, 0.0) == evaluate_preflight(observation, None, TIMEOUT, 0.0)
