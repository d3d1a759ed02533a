from dataclasses import replace
from typing import Any

import pytest

from builders import EARLIER, NODE
from cilium_hybrid.adapters.kube import pod_facts
from cilium_hybrid.adapters.kube.pod_facts import OtherPod
from cilium_hybrid.plan.observation import AgentPod, CiliumOperator, CiliumPod, ForeignPod, UnplacedAgent
from cilium_hybrid.plan.values import CONFIG_DIGEST

CREATED, SINCE = "2026-03-01T11:00:00Z", "2026-03-01T12:00:00Z"


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        pytest.param({"spec": {"nodeName": NODE}}, ForeignPod("kube-system/aws-node-x", NODE), id="scheduled"),
        pytest.param({"spec": {}}, None, id="not scheduled yet"),
        pytest.param({"spec": {"nodeName": NODE}, "status": {"phase": "Failed"}}, None, id="failed"),
    ],
)
def test_a_pod_of_another_cni(raw: dict[str, Any], expected: ForeignPod | None) -> None:
    assert pod_facts.foreign_pod({"metadata": {"namespace": "kube-system", "name": "aws-node-x"}} | raw) == expected


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        pytest.param({"spec": {"nodeName": NODE}}, NODE, id="running"),
        pytest.param({"spec": {"nodeName": NODE}, "status": {"phase": "Pending"}}, NODE, id="starting"),
        pytest.param({"spec": {}}, "", id="not scheduled yet"),
        pytest.param({"spec": {"nodeName": NODE}, "status": {"phase": "Failed"}}, None, id="evicted"),
    ],
)
def test_node_and_workload_of_other_cilium_pods(raw: dict[str, Any], expected: str | None) -> None:
    named = {"name": "cilium-operator-x", "labels": {"app.kubernetes.io/name": "cilium-operator"}}
    found = pod_facts.cilium_pod({"metadata": named} | raw)
    pod = None if expected is None else CiliumPod("cilium-operator-x", expected, "Deployment cilium-operator")

    assert (found and found.pod) == pod
    assert pod_facts.cilium_pod({"metadata": named | {"deletionTimestamp": CREATED}} | raw) is None


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        pytest.param({"conditions": [{"type": "Ready", "status": "True"}]}, "", id="Ready"),
        pytest.param(
            {"conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "none"}]},
            "Unschedulable: none",
            id="unschedulable",
        ),
        pytest.param({"conditions": [{"type": "PodScheduled", "status": "True"}]}, "", id="scheduled"),
        pytest.param(
            {"containerStatuses": [{"state": {"waiting": {"reason": "ErrImagePull", "message": "no such image"}}}]},
            "ErrImagePull: no such image",
            id="image is missing",
        ),
        pytest.param(
            {"containerStatuses": [{"state": {"running": {}}, "lastState": {"terminated": {"exitCode": 2}}}]},
            "CrashLoopBackOff: Error, exit code 2",
            id="crashed and restarted",
        ),
    ],
)
def test_failure_message_of_other_cilium_pods(status: dict[str, Any], expected: str) -> None:
    named = {"name": "cilium-operator-x", "labels": {"app.kubernetes.io/name": "cilium-operator"}}
    pod = pod_facts.cilium_pod({"metadata": named, "spec": {}, "status": status})

    assert pod is not None
    assert pod.pod.failure_message == expected


def a_raw_pod(status: Any = None, **metadata: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": "cilium-x"} | metadata,
        "spec": {"nodeName": NODE},
        "status": status or {"conditions": [{"type": "Ready", "status": "True"}]},
    }


def an_unscheduled_pod(scheduled: str | None, key: str = "metadata.name") -> dict[str, Any]:
    """A pod of a DaemonSet that is not scheduled to its node yet."""
    term = {"matchFields": [{"key": key, "operator": "In", "values": [NODE]}]}
    affinity = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}}
    condition = {"type": "PodScheduled", "status": scheduled, "reason": "Unschedulable", "message": "Too many pods"}
    return {
        "metadata": {"name": "cilium-x", "uid": "uid-x", "annotations": {CONFIG_DIGEST: "sha256:x"}},
        "spec": {"affinity": affinity},
        "status": {"phase": "Pending", "conditions": [condition] if scheduled else []},
    }


def waiting(reason: str, message: str = "", last: str | None = None) -> dict[str, Any]:
    container: dict[str, Any] = {"state": {"waiting": {"reason": reason, "message": message}}}
    if last is not None:
        container["lastState"] = {"terminated": {"message": last, "exitCode": 1}}
    return container


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        pytest.param(a_raw_pod(), AgentPod("cilium-x", NODE, True, None), id="Ready"),
        pytest.param(
            a_raw_pod(annotations={CONFIG_DIGEST: "sha256:1"}),
            AgentPod("cilium-x", NODE, True, "sha256:1"),
            id="with a configuration digest",
        ),
        pytest.param(
            a_raw_pod(deletionTimestamp=SINCE),
            AgentPod("cilium-x", NODE, True, None, terminating=True),
            id="terminating",
        ),
        pytest.param(a_raw_pod({"phase": "Pending"}), AgentPod("cilium-x", NODE, False, None), id="starting"),
        pytest.param({"metadata": {"name": "cilium-x"}}, None, id="no spec"),
        pytest.param({"metadata": {"name": "cilium-x"}, "spec": {"nodeName": ""}}, None, id="empty node name"),
        pytest.param(
            an_unscheduled_pod("False"),
            UnplacedAgent(NODE, "Unschedulable: Too many pods", "cilium-x", "uid-x", "sha256:x"),
            id="unschedulable",
        ),
        pytest.param(an_unscheduled_pod(None), None, id="scheduler has not tried yet"),
        pytest.param(an_unscheduled_pod("False", key="metadata.uid"), None, id="affinity to another field"),
    ],
)
def test_an_agent_pod(raw: dict[str, Any], expected: AgentPod | UnplacedAgent | None) -> None:
    assert pod_facts.agent_pod(raw) == expected


def scheduled_agent(raw: dict[str, Any]) -> AgentPod:
    """The fact of an agent that is scheduled."""
    pod = pod_facts.agent_pod(raw)
    assert isinstance(pod, AgentPod)
    return pod


def test_failure_and_crash_message_of_an_agent() -> None:
    crashed = waiting("CrashLoopBackOff", last="kernel too old")
    waiting_agent = scheduled_agent(a_raw_pod({"containerStatuses": [crashed]}))
    restarted = scheduled_agent(a_raw_pod({"containerStatuses": [crashed | RUNS]}))
    ready = {"conditions": [{"type": "Ready", "status": "True"}], "containerStatuses": [crashed | RUNS]}
    ready_again = scheduled_agent(a_raw_pod(ready))

    assert (waiting_agent.failure_message, waiting_agent.crash_message) == ("CrashLoopBackOff: kernel too old",) * 2
    assert (restarted.failure_message, restarted.crash_message) == ("", "CrashLoopBackOff: kernel too old")
    assert (ready_again.failure_message, ready_again.crash_message) == ("", "")


RUNS = {"state": {"running": {"startedAt": "2026-03-01T11:00:00Z"}}}


@pytest.mark.parametrize(
    ("containers", "started"),
    [
        pytest.param([RUNS], True, id="running"),
        pytest.param([RUNS, waiting("ContainerCreating")], False, id="one container is not running yet"),
        pytest.param([], False, id="no containers"),
    ],
)
def test_whether_all_containers_of_an_agent_started(containers: list[Any], started: bool) -> None:
    pod = scheduled_agent(a_raw_pod({"conditions": [], "containerStatuses": containers}))

    assert pod.started is started
    assert pod.ready_since is None


def test_the_time_since_which_an_agent_is_ready() -> None:
    ready = {"type": "Ready", "status": "True", "lastTransitionTime": "2026-03-01T11:00:00Z"}
    pod = scheduled_agent(a_raw_pod({"conditions": [ready]}))

    assert pod.ready_since == EARLIER


def test_identity_exits_and_age_of_an_agent() -> None:
    crashed = RUNS | {"restartCount": 3, "lastState": {"terminated": {"exitCode": 1, "reason": "Error"}}}
    pod = scheduled_agent(a_raw_pod({"containerStatuses": [crashed]}, uid="u-1", creationTimestamp=CREATED))

    assert (pod.uid, pod.exits, pod.created_at) == ("u-1", 3, EARLIER)


REFUSED = waiting("ErrImagePull", "x: not found")
BACK_OFF = waiting("ImagePullBackOff", 'Back-off pulling image "x"')
TIMEOUT = waiting("ErrImagePull", "dial tcp: i/o timeout")


@pytest.mark.parametrize(
    ("containers", "failing"),
    [
        pytest.param([REFUSED, BACK_OFF, BACK_OFF], [True, True, True], id="the error is kept between two attempts"),
        pytest.param([REFUSED, TIMEOUT, BACK_OFF], [True, False, False], id="now the registry does not answer"),
        pytest.param([BACK_OFF, REFUSED], [False, True], id="the cause is not known at first"),
        pytest.param([REFUSED, RUNS], [True, False], id="pulled"),
    ],
)
def test_an_image_that_the_registry_refuses_is_remembered_between_two_attempts(
    containers: list[Any], failing: list[bool]
) -> None:
    labels = {"app.kubernetes.io/name": "cilium-operator"}
    statuses = [{"containerStatuses": [container]} for container in containers]
    agents = [scheduled_agent(a_raw_pod(status)) for status in statuses]
    others = [pod_facts.cilium_pod(a_raw_pod(status, labels=labels)) for status in statuses]
    agent, other = agents[0], others[0]
    assert other is not None
    seen = [(agent.image_failing, other.image_failing)]
    for next_agent, next_other in zip(agents[1:], others[1:], strict=True):
        merged = pod_facts.merge_agent(agent, next_agent)
        assert isinstance(merged, AgentPod)
        assert next_other is not None
        agent, other = merged, pod_facts.merge_cilium_pod(other, next_other)
        seen.append((agent.image_failing, other.image_failing))

    assert seen == [(expected, expected) for expected in failing]


def test_nothing_of_a_replaced_pod_is_merged_into_its_successor() -> None:
    before = scheduled_agent(a_raw_pod({"containerStatuses": [REFUSED]}, uid="old"))
    now = scheduled_agent(a_raw_pod({"containerStatuses": [BACK_OFF]}, uid="new"))

    assert pod_facts.merge_agent(before, now) == now


@pytest.mark.parametrize(
    ("image", "version"),
    [
        ("quay.io/cilium/cilium:v1.18.6", "1.18.6"),
        ("public.ecr.aws/eks/cilium/cilium:v1.18.8-1", "1.18.8-1"),
        ("registry.example.com:5000/cilium:1.17.4@sha256:0123", "1.17.4"),
        ("registry.example.com:5000/cilium@sha256:0123", None),
        ("quay.io/cilium/cilium-ci:latest", None),
        ("quay.io/cilium/cilium:v1.17.5-eksbuild.1", None),
        ("", None),
    ],
)
def test_the_version_of_an_agent_is_in_the_tag_of_its_image(image: str, version: str | None) -> None:
    raw = a_raw_pod()
    raw["spec"]["containers"] = [{"name": "other", "image": "x:v1.0.0"}, {"name": "cilium-agent", "image": image}]

    assert scheduled_agent(raw).version == version


def test_terminating_agents_are_listed_by_node_and_are_no_present_agent() -> None:
    present = scheduled_agent(a_raw_pod(uid="new", name="cilium-new"))
    old = [scheduled_agent(a_raw_pod(uid=uid, name=f"cilium-{uid}", deletionTimestamp=SINCE)) for uid in "ab"]
    unplaced = UnplacedAgent("mi-2", "Unschedulable: Too many pods")
    pods = [*old, present, unplaced]

    assert pod_facts.terminating_agents(pods) == {NODE: frozenset("ab")}
    assert pod_facts.agents_by_node(pods) == {NODE: present}
    assert pod_facts.unplaced_agents(pods) == {"mi-2": unplaced.cause}


OPERATOR = CiliumOperator(2, 1, observed=True)


def an_operator_pod(name: str, template: str, *, message: str = "", **more: Any) -> OtherPod:
    return OtherPod(CiliumPod(name, NODE, "Deployment cilium-operator", message), template, **more)


@pytest.mark.parametrize(
    ("template", "pods", "expected"),
    [
        pytest.param("new", [], OPERATOR, id="no pods"),
        pytest.param(
            "new",
            [
                an_operator_pod("b", "new", exits=1, message="CrashLoopBackOff: x"),
                an_operator_pod("a", "new", exits=2, message="CrashLoopBackOff: y", image_failing=True),
                an_operator_pod("c", "old", ready=True, exits=9, message="z"),
            ],
            replace(
                OPERATOR,
                exits=2,
                image_failing=True,
                failure_message="CrashLoopBackOff: y",
                outdated_available=True,
            ),
            id="the new template fails and the old one is available",
        ),
        pytest.param("new", [an_operator_pod("a", "old", exits=3)], OPERATOR, id="only an old pod, not ready"),
        pytest.param(
            "",
            [an_operator_pod("a", "old", exits=3, ready=True)],
            replace(OPERATOR, outdated_available=True),
            id="no ReplicaSet of the present template yet",
        ),
        pytest.param(
            "new",
            [OtherPod(CiliumPod("e", NODE, "DaemonSet cilium-envoy"), ready=True, exits=4)],
            OPERATOR,
            id="another workload",
        ),
    ],
)
def test_the_cilium_operator_shows_the_failures_of_its_present_template(
    template: str, pods: list[OtherPod], expected: CiliumOperator
) -> None:
    assert pod_facts.with_pods(OPERATOR, template, pods) == expected
