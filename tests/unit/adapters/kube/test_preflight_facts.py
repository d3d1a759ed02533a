from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from builders import EARLIER, NODE, a_revision
from cilium_hybrid.adapters.kube.preflight_facts import (
    OF_THE_AGENTS,
    OF_THE_CHECK,
    OF_THE_VALIDATOR,
    CheckPod,
    CheckSet,
    ValidatorSet,
    check_set,
    placed_pods,
    pod,
    pod_after,
    preflight_of,
    validator_set,
)
from cilium_hybrid.plan.observation import AgentPod, PolicyValidator, PreflightObservation, PreflightPod, UnplacedAgent

MADE = "2026-03-01T11:00:00Z"
OURS = {"meta.helm.sh/release-name": "cilium-preflight"}
READY = {"type": "Ready", "status": "True", "lastTransitionTime": MADE}


def a_raw_pod(app: str, *, status: Any = None, spec: Any = None, **metadata: Any) -> dict[str, Any]:
    owners = [{"kind": "Node", "uid": "no controller"}, {"uid": "7", "controller": True}]
    made = {"name": "x", "labels": {"k8s-app": app}, "creationTimestamp": MADE, "ownerReferences": owners}
    return {"metadata": made | metadata, "spec": spec or {"nodeName": NODE}, "status": status or {}}


def ended(code: int, message: str | None = None, **more: Any) -> dict[str, Any]:
    return {"terminated": {"exitCode": code} | ({} if message is None else {"message": message}) | more}


def seen(raw: dict[str, Any]) -> PreflightPod:
    found = pod(raw)
    assert isinstance(found, CheckPod)
    return found.pod


@pytest.mark.parametrize("app", [OF_THE_CHECK, OF_THE_VALIDATOR])
def test_a_pod_of_the_preflight_tells_whose_it_is(app: str) -> None:
    well = PreflightPod("x", NODE, ready=True, ready_since=EARLIER)
    terminating = a_raw_pod(app, status={"conditions": [READY]}, deletionTimestamp=MADE)

    assert pod(a_raw_pod(app, status={"conditions": [READY]})) == CheckPod(well, app, "7", EARLIER, terminating=False)
    assert pod(terminating) == CheckPod(well, app, "7", EARLIER, terminating=True)
    assert pod(a_raw_pod(app, ownerReferences=None)) == CheckPod(
        PreflightPod("x", NODE, ready=False), app, "", EARLIER, terminating=False
    )


def test_a_pod_of_the_agents_is_an_agent() -> None:
    assert pod(a_raw_pod("cilium")) == AgentPod("x", NODE, ready=False, config_digest=None)
    assert pod(a_raw_pod("cilium", spec={"containers": []})) is None


def affinity(*terms: Any) -> dict[str, Any]:
    return {
        "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}}
    }


FIELD = {"key": "metadata.name", "operator": "In", "values": [NODE]}


@pytest.mark.parametrize(
    ("spec", "node"),
    [
        pytest.param({"nodeName": NODE}, NODE, id="it is there"),
        pytest.param(affinity({"matchFields": [FIELD]}), NODE, id="it waits for its node"),
        pytest.param(
            affinity({"matchExpressions": []}, {"matchFields": [{"key": "x"}, FIELD]}), NODE, id="among other terms"
        ),
        pytest.param(affinity({"matchFields": [FIELD]}) | {"nodeName": "mi-2"}, "mi-2", id="it is there after all"),
        pytest.param(affinity({"matchExpressions": [FIELD]}), "", id="a label of that name"),
        pytest.param({"affinity": {"podAffinity": {}}}, "", id="it goes anywhere"),
        pytest.param({"containers": []}, "", id="no affinity"),
    ],
)
def test_a_pod_belongs_to_its_node_before_it_is_there(spec: dict[str, Any], node: str) -> None:
    assert seen(a_raw_pod(OF_THE_CHECK, spec=spec)).node == node


def test_only_those_that_are_on_a_node_are_told_of_where_they_should_not_be() -> None:
    waits = a_raw_pod(OF_THE_CHECK, spec=affinity({"matchFields": [FIELD]}))
    raw = [waits, a_raw_pod(OF_THE_CHECK), a_raw_pod(OF_THE_VALIDATOR), a_raw_pod(OF_THE_CHECK, deletionTimestamp="x")]
    pods = [found for one in raw if isinstance(found := pod(one), CheckPod)]

    assert [(one.node, one.workload) for one in placed_pods(pods)] == [
        (NODE, "DaemonSet cilium-pre-flight-check"),
        (NODE, "Deployment cilium-pre-flight-check"),
    ]


@pytest.mark.parametrize("app", [OF_THE_AGENTS, OF_THE_CHECK, OF_THE_VALIDATOR])
def test_the_trouble_of_a_pod_is_told_on(app: str) -> None:
    def waits(**waiting: str) -> AgentPod | UnplacedAgent | CheckPod | None:
        return pod(a_raw_pod(app, status={"containerStatuses": [{"state": {"waiting": waiting}}]}))

    tries = waits(reason="ErrImagePull", message="no such image")
    between = waits(reason="ImagePullBackOff", message='Back-off pulling image "x"')
    assert tries is not None
    assert between is not None

    assert tries != between
    assert pod_after(tries, between) == tries


def test_a_pod_of_the_same_name_and_of_another_kind_is_another() -> None:
    agent, check = pod(a_raw_pod(OF_THE_AGENTS)), pod(a_raw_pod(OF_THE_CHECK))
    assert agent is not None
    assert check is not None

    assert (pod_after(agent, check), pod_after(check, agent)) == (check, agent)


UNSCHEDULED = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/7 nodes\n fit"}


@pytest.mark.parametrize(
    ("status", "failure_message"),
    [
        pytest.param({}, "", id="the scheduler has not looked"),
        pytest.param({"conditions": [UNSCHEDULED]}, "Unschedulable: 0/7 nodes fit", id="no node"),
        pytest.param(
            {"conditions": [{"type": "PodScheduled", "status": "False"}]},
            "Unschedulable: it has no node",
            id="no node and no word",
        ),
        pytest.param({"conditions": [UNSCHEDULED | {"status": "True"}]}, "", id="it has one"),
        pytest.param(
            {"containerStatuses": [{"state": {"waiting": {"reason": "ErrImagePull", "message": "no such image"}}}]},
            "ErrImagePull: no such image",
            id="no image",
        ),
        pytest.param({"phase": "Failed", "reason": "Evicted", "message": "no disk"}, "Evicted: no disk", id="evicted"),
    ],
)
def test_a_pod_tells_what_keeps_it(status: dict[str, Any], failure_message: str) -> None:
    assert seen(a_raw_pod(OF_THE_CHECK, status=status)).failure_message == failure_message


@pytest.mark.parametrize(
    ("containers", "words"),
    [
        pytest.param({}, "", id="nothing has run"),
        pytest.param({"containerStatuses": [{"state": {"running": {}}}]}, "", id="it runs"),
        pytest.param({"containerStatuses": [{"state": ended(0, "done")}]}, "", id="it ended well"),
        pytest.param({"containerStatuses": [{"state": ended(1, " no\n way ")}]}, "no way", id="it ended"),
        pytest.param(
            {"containerStatuses": [{"state": {"running": {}}, "lastState": ended(1, "no way")}]},
            "no way",
            id="it was started again",
        ),
        pytest.param(
            {"containerStatuses": [{"state": ended(0), "lastState": ended(1, "before")}]}, "before", id="well after all"
        ),
        pytest.param(
            {"containerStatuses": [{"state": ended(2, "now"), "lastState": ended(1, "before")}]}, "now", id="again"
        ),
        pytest.param(
            {"containerStatuses": [{"state": ended(137, reason="OOMKilled")}]}, "OOMKilled, exit code 137", id="killed"
        ),
        pytest.param({"containerStatuses": [{"state": ended(1, "")}]}, "Error, exit code 1", id="without a word"),
        pytest.param(
            {
                "initContainerStatuses": [{"state": ended(1, "first")}],
                "containerStatuses": [{"state": ended(1, "second")}],
            },
            "first",
            id="before it began",
        ),
    ],
)
@pytest.mark.parametrize("app", [OF_THE_CHECK, OF_THE_VALIDATOR])
def test_a_container_that_failed_leaves_its_last_words(app: str, containers: dict[str, Any], words: str) -> None:
    assert seen(a_raw_pod(app, status=containers)).last_words == words


@pytest.mark.parametrize(
    ("app", "length"),
    [pytest.param(OF_THE_CHECK, 200, id="of a check"), pytest.param(OF_THE_VALIDATOR, 4096, id="of the validator")],
)
def test_last_words_are_bounded_and_those_of_the_validator_keep_their_end(app: str, length: int) -> None:
    status = {"containerStatuses": [{"state": ended(1, "policy " * 1000 + "z")}]}
    words = seen(a_raw_pod(app, status=status)).last_words

    assert len(words) == length
    assert words.endswith("z") == (app == OF_THE_VALIDATOR)


def a_raw_workload(*, annotations: Any = OURS, spec: Any = None, **status: Any) -> dict[str, Any]:
    metadata = {"uid": "7", "generation": 2, "annotations": annotations, "creationTimestamp": MADE}
    return {"metadata": metadata, "spec": spec or {}, "status": status}


@pytest.mark.parametrize(("observed", "expected"), [(2, True), (1, False)], ids=["seen", "not seen yet"])
def test_a_workload_of_a_preflight(observed: int, expected: bool) -> None:
    raw = a_raw_workload(observedGeneration=observed, readyReplicas=1, spec={"replicas": 3})

    assert check_set(raw) == CheckSet("7", expected)
    assert validator_set(raw) == ValidatorSet(PolicyValidator(3, 1, expected), EARLIER)


def test_a_new_deployment_has_one_replica_and_none_ready() -> None:
    assert validator_set(a_raw_workload()) == ValidatorSet(PolicyValidator(1, 0, observed=False), EARLIER)


@pytest.mark.parametrize(
    "annotations", [None, {}, {"meta.helm.sh/release-name": "cilium"}], ids=["none", "others", "of another release"]
)
def test_what_helm_did_not_make_for_a_preflight_is_none_of_it(annotations: Any) -> None:
    assert check_set(a_raw_workload(annotations=annotations)) is None
    assert validator_set(a_raw_workload(annotations=annotations)) is None


def a_check(name: str, *, owner: str = "7", later: int = 0, terminating: bool = False) -> CheckPod:
    made_at = EARLIER + timedelta(seconds=later)
    return CheckPod(PreflightPod(name, NODE, ready=True), OF_THE_CHECK, owner, made_at, terminating)


def a_validating_pod(name: str, *, later: int = 0, terminating: bool = False) -> CheckPod:
    return replace(a_check(name, owner="a ReplicaSet", later=later, terminating=terminating), app=OF_THE_VALIDATOR)


CHECKS = CheckSet("7", observed=True)
VALIDATORS = ValidatorSet(PolicyValidator(1, 1, observed=True), EARLIER)


def named(found: PreflightObservation) -> tuple[list[str], str | None]:
    """The names of the pods of its nodes, and that of its validator."""
    own = None if found.validator is None else found.validator.pod
    return [one.name for one in found.pods.values()], None if own is None else own.name


def test_nothing_is_no_preflight() -> None:
    assert preflight_of((), None, None, ()) == PreflightObservation()


def test_a_whole_preflight() -> None:
    pods = [a_check("check"), a_validating_pod("validator")]
    found = preflight_of([a_revision()], CHECKS, VALIDATORS, pods)

    assert found == PreflightObservation(
        a_revision(),
        nodes_observed=True,
        pods={NODE: PreflightPod("check", NODE, ready=True)},
        validator=PolicyValidator(1, 1, observed=True, pod=PreflightPod("validator", NODE, ready=True)),
    )


def test_the_newest_record_is_what_helm_goes_by() -> None:
    assert preflight_of([a_revision(2), a_revision(10), a_revision(9)], None, None, ()).release == a_revision(10)


@pytest.mark.parametrize(
    ("pods", "expected"),
    [
        pytest.param([a_check("old", owner="6")], ([], None), id="of an earlier DaemonSet"),
        pytest.param([a_check("old", terminating=True)], ([], None), id="on its way out"),
        pytest.param([a_check("new", later=2), a_check("old", later=1)], (["new"], None), id="two of one node"),
        pytest.param([a_validating_pod("old", later=-1)], ([], None), id="of an earlier Deployment"),
        pytest.param(
            [a_validating_pod("new", later=2), a_validating_pod("old")],
            ([], "new"),
            id="two of the Deployment",
        ),
        pytest.param([a_validating_pod("old", terminating=True)], ([], None), id="a validator on its way out"),
    ],
)
def test_only_its_own_pods_count(pods: list[CheckPod], expected: tuple[list[str], str | None]) -> None:
    assert named(preflight_of((), CHECKS, VALIDATORS, pods)) == expected
    assert named(preflight_of((), None, None, pods)) == ([], None)
