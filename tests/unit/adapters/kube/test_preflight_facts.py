from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from builders import EARLIER, NODE, a_revision
from cilium_hybrid.adapters.kube.preflight_facts import (
    AGENT_APP,
    CHECK_APP,
    VALIDATOR_APP,
    CheckDaemonSet,
    CheckPod,
    ValidatorDeployment,
    check_daemon_set,
    merge_pod,
    observe_preflight,
    pod,
    scheduled_pods,
    validator_deployment,
)
from cilium_hybrid.plan.observation import AgentPod, PolicyValidator, PreflightObservation, PreflightPod, UnplacedAgent

CREATED = "2026-03-01T11:00:00Z"
HELM = {"meta.helm.sh/release-name": "cilium-preflight"}
READY = {"type": "Ready", "status": "True", "lastTransitionTime": CREATED}


def a_raw_pod(app: str, *, status: Any = None, spec: Any = None, **metadata: Any) -> dict[str, Any]:
    owners = [{"kind": "Node", "uid": "not a controller"}, {"uid": "7", "controller": True}]
    made = {"name": "x", "labels": {"k8s-app": app}, "creationTimestamp": CREATED, "ownerReferences": owners}
    return {"metadata": made | metadata, "spec": spec or {"nodeName": NODE}, "status": status or {}}


def terminated(code: int, message: str | None = None, **more: Any) -> dict[str, Any]:
    return {"terminated": {"exitCode": code} | ({} if message is None else {"message": message}) | more}


def check_pod(raw: dict[str, Any]) -> PreflightPod:
    found = pod(raw)
    assert isinstance(found, CheckPod)
    return found.pod


@pytest.mark.parametrize("app", [CHECK_APP, VALIDATOR_APP])
def test_a_preflight_pod_has_its_owner_and_creation_time(app: str) -> None:
    ready = PreflightPod("x", NODE, ready=True, ready_since=EARLIER)
    terminating = a_raw_pod(app, status={"conditions": [READY]}, deletionTimestamp=CREATED)

    assert pod(a_raw_pod(app, status={"conditions": [READY]})) == CheckPod(ready, app, "7", EARLIER, terminating=False)
    assert pod(terminating) == CheckPod(ready, app, "7", EARLIER, terminating=True)
    assert pod(a_raw_pod(app, ownerReferences=None)) == CheckPod(
        PreflightPod("x", NODE, ready=False), app, "", EARLIER, terminating=False
    )


def test_a_pod_with_the_agent_label_is_an_agent() -> None:
    assert pod(a_raw_pod("cilium")) == AgentPod("x", NODE, ready=False, config_digest=None, created_at=EARLIER)
    assert pod(a_raw_pod("cilium", spec={"containers": []})) is None


def affinity(*terms: Any) -> dict[str, Any]:
    return {
        "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}}
    }


FIELD = {"key": "metadata.name", "operator": "In", "values": [NODE]}


@pytest.mark.parametrize(
    ("spec", "node"),
    [
        pytest.param({"nodeName": NODE}, NODE, id="scheduled"),
        pytest.param(affinity({"matchFields": [FIELD]}), NODE, id="not scheduled yet"),
        pytest.param(
            affinity({"matchExpressions": []}, {"matchFields": [{"key": "x"}, FIELD]}), NODE, id="among other terms"
        ),
        pytest.param(affinity({"matchFields": [FIELD]}) | {"nodeName": "mi-2"}, "mi-2", id="scheduled to another node"),
        pytest.param(affinity({"matchExpressions": [FIELD]}), "", id="match expression instead of field"),
        pytest.param({"affinity": {"podAffinity": {}}}, "", id="no node affinity"),
        pytest.param({"containers": []}, "", id="no affinity"),
    ],
)
def test_the_node_of_a_pod_is_known_before_it_is_scheduled(spec: dict[str, Any], node: str) -> None:
    assert check_pod(a_raw_pod(CHECK_APP, spec=spec)).node == node


def test_only_scheduled_pods_that_do_not_terminate_are_returned() -> None:
    unscheduled = a_raw_pod(CHECK_APP, spec=affinity({"matchFields": [FIELD]}))
    raw = [unscheduled, a_raw_pod(CHECK_APP), a_raw_pod(VALIDATOR_APP), a_raw_pod(CHECK_APP, deletionTimestamp="x")]
    pods = [found for item in raw if isinstance(found := pod(item), CheckPod)]

    assert [(found.node, found.workload) for found in scheduled_pods(pods)] == [
        (NODE, "DaemonSet cilium-pre-flight-check"),
        (NODE, "Deployment cilium-pre-flight-check"),
    ]


@pytest.mark.parametrize("app", [AGENT_APP, CHECK_APP, VALIDATOR_APP])
def test_the_pull_error_of_a_pod_is_kept(app: str) -> None:
    def waiting_pod(**waiting: str) -> AgentPod | UnplacedAgent | CheckPod | None:
        return pod(a_raw_pod(app, status={"containerStatuses": [{"state": {"waiting": waiting}}]}))

    attempt = waiting_pod(reason="ErrImagePull", message="no such image")
    back_off = waiting_pod(reason="ImagePullBackOff", message='Back-off pulling image "x"')
    assert attempt is not None
    assert back_off is not None

    assert attempt != back_off
    assert merge_pod(attempt, back_off) == attempt


def test_pods_of_another_kind_are_not_merged() -> None:
    agent, check = pod(a_raw_pod(AGENT_APP)), pod(a_raw_pod(CHECK_APP))
    assert agent is not None
    assert check is not None

    assert (merge_pod(agent, check), merge_pod(check, agent)) == (check, agent)


UNSCHEDULED = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/7 nodes\n fit"}


@pytest.mark.parametrize(
    ("status", "failure_message"),
    [
        pytest.param({}, "", id="scheduler has not tried yet"),
        pytest.param({"conditions": [UNSCHEDULED]}, "Unschedulable: 0/7 nodes fit", id="unschedulable"),
        pytest.param(
            {"conditions": [{"type": "PodScheduled", "status": "False"}]},
            "Unschedulable: no node found",
            id="unschedulable without a message",
        ),
        pytest.param({"conditions": [UNSCHEDULED | {"status": "True"}]}, "", id="scheduled"),
        pytest.param(
            {"containerStatuses": [{"state": {"waiting": {"reason": "ErrImagePull", "message": "no such image"}}}]},
            "ErrImagePull: no such image",
            id="image is missing",
        ),
        pytest.param({"phase": "Failed", "reason": "Evicted", "message": "no disk"}, "Evicted: no disk", id="evicted"),
    ],
)
def test_failure_message_of_a_preflight_pod(status: dict[str, Any], failure_message: str) -> None:
    assert check_pod(a_raw_pod(CHECK_APP, status=status)).failure_message == failure_message


@pytest.mark.parametrize(
    ("containers", "message"),
    [
        pytest.param({}, "", id="no container"),
        pytest.param({"containerStatuses": [{"state": {"running": {}}}]}, "", id="running"),
        pytest.param({"containerStatuses": [{"state": terminated(0, "done")}]}, "", id="exit code 0"),
        pytest.param({"containerStatuses": [{"state": terminated(1, " no\n way ")}]}, "no way", id="failed"),
        pytest.param(
            {"containerStatuses": [{"state": {"running": {}}, "lastState": terminated(1, "no way")}]},
            "no way",
            id="failed and restarted",
        ),
        pytest.param(
            {"containerStatuses": [{"state": terminated(0), "lastState": terminated(1, "before")}]},
            "before",
            id="succeeded after a failure",
        ),
        pytest.param(
            {"containerStatuses": [{"state": terminated(2, "now"), "lastState": terminated(1, "before")}]},
            "now",
            id="failed twice",
        ),
        pytest.param(
            {"containerStatuses": [{"state": terminated(137, reason="OOMKilled")}]},
            "OOMKilled, exit code 137",
            id="killed",
        ),
        pytest.param({"containerStatuses": [{"state": terminated(1, "")}]}, "Error, exit code 1", id="no message"),
        pytest.param(
            {
                "initContainerStatuses": [{"state": terminated(1, "first")}],
                "containerStatuses": [{"state": terminated(1, "second")}],
            },
            "first",
            id="before it began",
        ),
    ],
)
@pytest.mark.parametrize("app", [CHECK_APP, VALIDATOR_APP])
def test_termination_message_of_a_failed_container(app: str, containers: dict[str, Any], message: str) -> None:
    assert check_pod(a_raw_pod(app, status=containers)).termination_message == message


@pytest.mark.parametrize(
    ("app", "length"),
    [pytest.param(CHECK_APP, 200, id="check"), pytest.param(VALIDATOR_APP, 4096, id="validator")],
)
def test_termination_messages_are_truncated_and_the_validator_keeps_the_end(app: str, length: int) -> None:
    status = {"containerStatuses": [{"state": terminated(1, "policy " * 1000 + "z")}]}
    message = check_pod(a_raw_pod(app, status=status)).termination_message

    assert len(message) == length
    assert message.endswith("z") == (app == VALIDATOR_APP)


def a_raw_workload(*, annotations: Any = HELM, spec: Any = None, **status: Any) -> dict[str, Any]:
    metadata = {"uid": "7", "generation": 2, "annotations": annotations, "creationTimestamp": CREATED}
    return {"metadata": metadata, "spec": spec or {}, "status": status}


@pytest.mark.parametrize(("observed", "expected"), [(2, True), (1, False)], ids=["observed", "not observed yet"])
def test_workloads_of_a_preflight(observed: int, expected: bool) -> None:
    raw = a_raw_workload(observedGeneration=observed, readyReplicas=1, spec={"replicas": 3})

    assert check_daemon_set(raw) == CheckDaemonSet("7", expected)
    assert validator_deployment(raw) == ValidatorDeployment(PolicyValidator(3, 1, expected), EARLIER)


def test_a_new_deployment_has_one_replica_that_is_not_ready() -> None:
    assert validator_deployment(a_raw_workload()) == ValidatorDeployment(PolicyValidator(1, 0, observed=False), EARLIER)


@pytest.mark.parametrize(
    "annotations", [None, {}, {"meta.helm.sh/release-name": "cilium"}], ids=["none", "empty", "another release"]
)
def test_objects_that_helm_did_not_create_for_a_preflight_are_ignored(annotations: Any) -> None:
    assert check_daemon_set(a_raw_workload(annotations=annotations)) is None
    assert validator_deployment(a_raw_workload(annotations=annotations)) is None


def a_check(name: str, *, owner: str = "7", later: int = 0, terminating: bool = False) -> CheckPod:
    created_at = EARLIER + timedelta(seconds=later)
    return CheckPod(PreflightPod(name, NODE, ready=True), CHECK_APP, owner, created_at, terminating)


def a_validator_pod(name: str, *, later: int = 0, terminating: bool = False) -> CheckPod:
    return replace(a_check(name, owner="a ReplicaSet", later=later, terminating=terminating), app=VALIDATOR_APP)


CHECKS = CheckDaemonSet("7", observed=True)
DEPLOYMENT = ValidatorDeployment(PolicyValidator(1, 1, observed=True), EARLIER)


def pod_names(preflight: PreflightObservation) -> tuple[list[str], str | None]:
    """Return the names of the check pods, and that of the validator's pod."""
    validator_pod = None if preflight.validator is None else preflight.validator.pod
    return [pod.name for pod in preflight.pods.values()], None if validator_pod is None else validator_pod.name


def test_without_objects_there_is_no_preflight() -> None:
    assert observe_preflight((), None, None, ()) == PreflightObservation()


def test_a_complete_preflight() -> None:
    pods = [a_check("check"), a_validator_pod("validator")]
    found = observe_preflight([a_revision()], CHECKS, DEPLOYMENT, pods)

    assert found == PreflightObservation(
        a_revision(),
        nodes_observed=True,
        pods={NODE: PreflightPod("check", NODE, ready=True)},
        validator=PolicyValidator(1, 1, observed=True, pod=PreflightPod("validator", NODE, ready=True)),
    )


def test_the_newest_revision_is_the_release() -> None:
    assert observe_preflight([a_revision(2), a_revision(10), a_revision(9)], None, None, ()).release == a_revision(10)


@pytest.mark.parametrize(
    ("pods", "expected"),
    [
        pytest.param([a_check("old", owner="6")], ([], None), id="earlier DaemonSet"),
        pytest.param([a_check("old", terminating=True)], ([], None), id="terminating"),
        pytest.param([a_check("new", later=2), a_check("old", later=1)], (["new"], None), id="two pods of one node"),
        pytest.param([a_validator_pod("old", later=-1)], ([], None), id="earlier Deployment"),
        pytest.param(
            [a_validator_pod("new", later=2), a_validator_pod("old")],
            ([], "new"),
            id="two pods of the Deployment",
        ),
        pytest.param([a_validator_pod("old", terminating=True)], ([], None), id="terminating validator"),
    ],
)
def test_only_pods_of_this_preflight_count(pods: list[CheckPod], expected: tuple[list[str], str | None]) -> None:
    assert pod_names(observe_preflight((), CHECKS, DEPLOYMENT, pods)) == expected
    assert pod_names(observe_preflight((), None, None, pods)) == ([], None)
