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
TIMEOUT = timedelta(minutes=10)
STARTED = NOW - timedelta(minutes=1)
RELEASE = a_revision(made_at=STARTED)
MISSING = a_preflight_pod(SECOND, ready=False)
RUNNING, PASSED, FAILED = PreflightResult.RUNNING, PreflightResult.PASSED, PreflightResult.FAILED
POLICY = "level=error msg=\"Validating CiliumNetworkPolicy 'a/b': unexpected validation error: no\""


def validate(
    preflight: PreflightObservation,
    *,
    nodes: int = 2,
    previous: PreflightProgress | None = None,
    now: datetime = NOW,
) -> PreflightEvaluation:
    observation = replace(a_healthy_observation(a_revision(), nodes=nodes), preflight=preflight)
    return evaluate_preflight(observation, previous, TIMEOUT, now)


def running(*pods: PreflightPod, **more: Any) -> PreflightObservation:
    return a_preflight(*pods, **{"release": RELEASE, **more})


BOTH = a_preflight_pod(FIRST), a_preflight_pod(SECOND)


def test_the_values_make_the_preflight_alone_and_keep_it_to_hybrid_nodes() -> None:
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


def test_every_taint_of_the_nodes_is_tolerated_but_that_of_a_silent_one() -> None:
    silent, own, usual = "node.kubernetes.io/unreachable", "example.com/edge", "node.kubernetes.io/not-ready"
    nodes = [a_node(FIRST, taints=(own, usual)), a_node(SECOND, ready="Unknown", taints=(silent, own))]
    tolerations = preflight_values(a_spec(), taints_of(an_observation(nodes=nodes)))["preflight"]["tolerations"]

    assert {"key": own, "operator": "Exists"} in tolerations
    assert {"key": usual, "operator": "Exists"} in tolerations
    assert silent not in [one["key"] for one in tolerations]
    assert len(tolerations) == len({one["key"] for one in tolerations})


def test_images_are_pulled_as_those_of_the_agents() -> None:
    image, secrets = {"repository": "mirror/cilium", "useDigest": False}, [{"name": "mirror"}]
    plain = preflight_values(a_spec())
    values = preflight_values(a_spec(values={"image": image, "imagePullSecrets": secrets}))

    assert values == plain | {"imagePullSecrets": secrets, "preflight": plain["preflight"] | {"image": image}}


def test_the_secrets_of_the_spec_pull_the_preflight_too() -> None:
    named = [{"name": "mirror"}, {"name": "other"}]

    assert preflight_values(a_spec(imagePullSecrets=named)) == preflight_values(a_spec()) | {"imagePullSecrets": named}


@pytest.mark.parametrize(
    "values",
    [
        pytest.param({"debug": {"enabled": True}, "hubble": {"relay": {"enabled": True}}}, id="other values"),
        pytest.param({"image": None, "imagePullSecrets": None}, id="nothing said of images"),
        pytest.param({"operator": {"image": {"repository": "x"}}, "extraConfig": {"a": "b"}}, id="another image"),
    ],
)
def test_no_other_value_of_the_users_reaches_the_preflight(values: dict[str, Any]) -> None:
    assert preflight_values(a_spec(values=values)) == preflight_values(a_spec())


@pytest.mark.parametrize(
    ("preflight", "there"),
    [
        pytest.param(PreflightObservation(), False, id="nothing"),
        pytest.param(PreflightObservation(release=RELEASE), True, id="a release without objects"),
        pytest.param(PreflightObservation(nodes_observed=False), True, id="a DaemonSet without a release"),
        pytest.param(PreflightObservation(validator=a_validator()), True, id="a Deployment without a release"),
    ],
)
def test_anything_that_is_left_of_a_preflight_is_seen(preflight: PreflightObservation, there: bool) -> None:
    assert preflight.there == there


def test_it_passes_with_a_ready_pod_beside_every_ready_agent_and_every_policy_validated() -> None:
    verdict = validate(running(*BOTH))

    assert (verdict.result, verdict.ready, verdict.expected, verdict.findings) == (PASSED, 2, 2, ())


@pytest.mark.parametrize(
    ("preflight", "found"),
    [
        pytest.param(PreflightObservation(), "Helm release cilium-preflight is not there", id="nothing is there"),
        pytest.param(
            running(*BOTH, release=replace(RELEASE, status="pending-install")),
            "Helm release cilium-preflight is pending-install",
            id="Helm is at work",
        ),
        pytest.param(
            running(*BOTH, nodes_observed=False),
            "DaemonSet cilium-pre-flight-check: its controller has not seen it",
            id="the controller is behind",
        ),
        pytest.param(
            running(a_preflight_pod(FIRST)), f"node {SECOND}: it has no preflight pod", id="a node without a pod"
        ),
        pytest.param(
            running(a_preflight_pod(FIRST), MISSING),
            f"node {SECOND}: pod cilium-pre-flight-check-{SECOND}: it is not Ready",
            id="a pod that is not Ready",
        ),
        pytest.param(
            running(a_preflight_pod(FIRST), replace(MISSING, failure_message="ErrImagePull: no such image")),
            f"node {SECOND}: pod cilium-pre-flight-check-{SECOND}: ErrImagePull: no such image",
            id="a pod without its image",
        ),
        pytest.param(
            running(a_preflight_pod(FIRST), replace(MISSING, last_words="no disk")),
            f"node {SECOND}: pod cilium-pre-flight-check-{SECOND}: its container ended: no disk",
            id="a pod that was restarted",
        ),
        pytest.param(
            running(*BOTH, validator=None), "Deployment cilium-pre-flight-check: it has no pod", id="no validator"
        ),
        pytest.param(
            running(*BOTH, validator=a_validator(ready=0)),
            "Deployment cilium-pre-flight-check: it has no pod",
            id="a validator without a pod",
        ),
        pytest.param(
            running(*BOTH, validator=a_validator(observed=False, pod=a_preflight_pod())),
            f"policies were not validated: pod cilium-pre-flight-check-{NODE}: it is not Ready",
            id="a validator whose controller is behind",
        ),
        pytest.param(
            running(*BOTH, validator=a_validator(ready=0, replicas=0)),
            "Deployment cilium-pre-flight-check: it has no pod",
            id="a validator that was scaled to nothing",
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
                    ready=0, pod=a_preflight_pod(failure_message="CrashLoopBackOff", last_words=POLICY)
                ),
            ),
            "CiliumNetworkPolicy a/b: no",
            id="a policy that is not valid",
        ),
    ],
)
def test_what_is_missing_runs_till_its_time_is_over_and_is_then_named(
    preflight: PreflightObservation, found: str
) -> None:
    at = PreflightProgress(3, NOW, None if preflight.release is None else preflight.release.made_at)

    assert validate(preflight, previous=at, now=NOW + TIMEOUT - timedelta(seconds=1)).result is RUNNING
    assert validate(preflight, previous=at, now=NOW + TIMEOUT).result is FAILED
    assert validate(preflight, previous=at, now=NOW + TIMEOUT).findings[0] == found


@pytest.mark.parametrize(
    ("preflight", "expected"),
    [
        pytest.param(running(), [], id="time may cure it"),
        pytest.param(
            running(a_preflight_pod(FIRST), replace(MISSING, failure_message="ErrImagePull")),
            [f"node {SECOND}: pod cilium-pre-flight-check-{SECOND}: ErrImagePull"],
            id="a pod in trouble",
        ),
        pytest.param(
            running(*BOTH, validator=a_validator(ready=0, pod=a_preflight_pod(last_words=POLICY))),
            ["CiliumNetworkPolicy a/b: no"],
            id="a policy that is not valid",
        ),
        pytest.param(
            running(*BOTH, release=replace(RELEASE, status="failed")),
            ["Helm release cilium-preflight is failed"],
            id="a release that Helm could not make",
        ),
    ],
)
def test_while_it_runs_only_what_more_than_time_explains_is_told(
    preflight: PreflightObservation, expected: list[str]
) -> None:
    verdict = validate(preflight)

    assert verdict.result is RUNNING
    assert list(verdict.findings) == expected


def test_policies_are_named_before_nodes_and_known_causes_before_unknown_ones() -> None:
    words = f"{POLICY} {POLICY.replace('a/b', 'c/d')}"
    pods = a_preflight_pod(FIRST, ready=False), a_preflight_pod(THIRD, ready=False, failure_message="ErrImagePull")
    preflight = running(*pods, validator=a_validator(ready=0, pod=a_preflight_pod(last_words=words)))
    verdict = validate(preflight, nodes=3, now=NOW + TIMEOUT)

    assert verdict.findings == (
        "CiliumNetworkPolicy a/b: no",
        "CiliumNetworkPolicy c/d: no",
        f"node {THIRD}: pod cilium-pre-flight-check-{THIRD}: ErrImagePull",
        f"node {FIRST}: pod cilium-pre-flight-check-{FIRST}: it is not Ready",
        f"node {SECOND}: it has no preflight pod",
    )


@pytest.mark.parametrize(("nodes", "named", "last"), [(10, 10, None), (11, 10, "and 1 more"), (25, 10, "and 15 more")])
def test_at_most_ten_findings_are_told(nodes: int, named: int, last: str | None) -> None:
    findings = validate(running(), nodes=nodes, now=NOW + TIMEOUT).findings

    assert sum(finding.startswith("node ") for finding in findings) == named
    assert findings[named:] == (() if last is None else (last,))


@pytest.mark.parametrize(
    ("node", "agents", "expected"),
    [
        pytest.param(a_node(SECOND, ready="Unknown"), [an_agent(SECOND)], 1, id="a node that is away"),
        pytest.param(a_node(SECOND), [an_agent(SECOND, ready=False)], 1, id="a node whose agent is not Ready"),
        pytest.param(a_node(SECOND), [], 1, id="a node without an agent"),
        pytest.param(a_node(SECOND, ready="False"), [an_agent(SECOND)], 2, id="a node that is not Ready, and reports"),
    ],
)
def test_only_a_connected_node_with_a_ready_agent_is_waited_for(node: Any, agents: list[Any], expected: int) -> None:
    observation = an_observation(
        nodes=[a_node(FIRST), node], agents=[an_agent(FIRST), *agents], preflight=running(a_preflight_pod(FIRST))
    )
    verdict = evaluate_preflight(observation, None, TIMEOUT, NOW)

    assert (verdict.ready, verdict.expected) == (1, expected)
    assert (verdict.result is PASSED) == (expected == 1)


@pytest.mark.parametrize(
    ("observation", "result"),
    [
        pytest.param(an_observation(), PASSED, id="no node at all"),
        pytest.param(
            an_observation(nodes=[a_node(ready="Unknown")], agents=[an_agent()]), PASSED, id="every node is away"
        ),
        pytest.param(an_observation(nodes=[a_node()]), PASSED, id="no agent pod that it could run beside"),
        pytest.param(
            an_observation(nodes=[a_node()], agents=[an_agent(ready=False)]),
            RUNNING,
            id="beside an agent that is broken",
        ),
    ],
)
def test_where_nobody_can_validate_policies_nothing_is_expected(
    observation: Observation, result: PreflightResult
) -> None:
    nowhere = running(validator=a_validator(ready=0, pod=a_preflight_pod("", ready=False)))
    verdict = evaluate_preflight(replace(observation, preflight=nowhere), None, TIMEOUT, NOW)
    validated = evaluate_preflight(replace(observation, preflight=running()), None, TIMEOUT, NOW)

    assert (verdict.result, verdict.ready, verdict.expected) == (result, 0, 0)
    assert validated.result is PASSED


@pytest.mark.parametrize(
    ("previous", "pods", "expected"),
    [
        pytest.param(
            PreflightProgress(1, STARTED, STARTED),
            [FIRST],
            PreflightProgress(2, NOW, STARTED),
            id="a check more is ready",
        ),
        pytest.param(
            PreflightProgress(2, STARTED, STARTED),
            [FIRST],
            PreflightProgress(2, STARTED, STARTED),
            id="as many as before",
        ),
        pytest.param(
            PreflightProgress(3, STARTED, STARTED),
            [FIRST],
            PreflightProgress(3, STARTED, STARTED),
            id="fewer than before",
        ),
        pytest.param(
            PreflightProgress(9, NOW, EARLIER),
            [FIRST],
            PreflightProgress(2, STARTED, STARTED),
            id="of a preflight before",
        ),
        pytest.param(None, [FIRST], PreflightProgress(2, STARTED, STARTED), id="nothing is remembered"),
    ],
)
def test_progress_is_a_check_more_than_ever_before(
    previous: PreflightProgress | None, pods: list[str], expected: PreflightProgress
) -> None:
    verdict = validate(running(*map(a_preflight_pod, pods)), previous=previous)

    assert verdict.progress == expected
    assert verdict.deadline == expected.at + TIMEOUT


@pytest.mark.parametrize(
    ("made_at", "ready_since", "expected"),
    [
        pytest.param(STARTED, [None, None], STARTED, id="no pod says since when"),
        pytest.param(STARTED, [NOW - timedelta(seconds=9), NOW - timedelta(seconds=5)], NOW - timedelta(seconds=5)),
        pytest.param(STARTED, [None, EARLIER], STARTED, id="a node whose clock is slow"),
        pytest.param(STARTED, [NOW + timedelta(hours=1), None], NOW, id="a node whose clock is fast"),
        pytest.param(NOW + timedelta(hours=1), [None, None], NOW, id="an API server whose clock is fast"),
    ],
)
def test_after_a_restart_the_cluster_tells_the_last_progress(
    made_at: datetime, ready_since: list[datetime | None], expected: datetime
) -> None:
    pod, validating = ready_since
    preflight = running(
        a_preflight_pod(FIRST, ready_since=pod),
        a_preflight_pod(SECOND, ready=False, ready_since=NOW),
        release=replace(RELEASE, made_at=made_at),
        validator=a_validator(pod=a_preflight_pod(ready_since=validating)),
    )

    assert validate(preflight).progress == PreflightProgress(2, expected, made_at)


def test_before_the_release_shows_the_clock_begins_now_and_goes_on() -> None:
    first = validate(PreflightObservation())
    later = validate(PreflightObservation(), previous=first.progress, now=NOW + TIMEOUT)

    assert first.progress == PreflightProgress(0, NOW, None)
    assert later.result is FAILED


def test_a_finding_is_one_line_whatever_a_container_wrote() -> None:
    words = "\x1b[31mfatal\n" * 200
    (finding,) = validate(running(a_preflight_pod(FIRST), replace(MISSING, last_words=words))).findings

    assert "\n" not in finding
    assert "\x1b" not in finding
    assert len(finding) < 2000


@given(preflight_observations(), st.none() | st.builds(PreflightProgress, st.integers(0, 3), st.just(STARTED)))
def test_a_verdict_is_consistent(observation: Observation, previous: PreflightProgress | None) -> None:
    verdict = evaluate_preflight(observation, previous, TIMEOUT, NOW)
    pods = observation.preflight.pods
    waited_for = [
        name
        for name, node in observation.nodes.items()
        if node.ready != "Unknown" and name in observation.agents and observation.agents[name].ready
    ]

    assert verdict.expected == len(waited_for)
    assert verdict.ready <= verdict.expected
    assert verdict.progress.at <= NOW
    assert len(verdict.findings) <= 11
    if verdict.result is PASSED:
        assert verdict.findings == ()
        assert all(pods[name].ready for name in waited_for)
    if verdict.result is FAILED:
        assert verdict.findings
        assert verdict.progress.at + TIMEOUT <= NOW


@given(preflight_observations(), st.timedeltas(timedelta(0), timedelta(hours=2)))
def test_it_ends_where_nothing_changes_and_never_turns_from_passed(observation: Observation, later: timedelta) -> None:
    first = evaluate_preflight(observation, None, TIMEOUT, NOW)
    again = evaluate_preflight(observation, first.progress, TIMEOUT, NOW)
    after = evaluate_preflight(observation, first.progress, TIMEOUT, NOW + later)

    assert again == first
    assert (after.result is PASSED) == (first.result is PASSED)
    assert (after.result is RUNNING) == (first.result is not PASSED and NOW + later < first.deadline)


@given(preflight_observations(), st.sampled_from([True, False]))
def test_a_node_that_is_away_changes_nothing(observation: Observation, with_pod: bool) -> None:
    away = {**observation.nodes, "mi-away": a_node("mi-away", ready="Unknown")}
    agents = {**observation.agents, **({"mi-away": an_agent("mi-away")} if with_pod else {})}
    with_it = replace(observation, nodes=away, agents=agents)

    assert evaluate_preflight(with_it, None, TIMEOUT, NOW) == evaluate_preflight(observation, None, TIMEOUT, NOW)
