from collections.abc import Mapping
from typing import Any

import pytest

from cilium_hybrid.api.conditions import Reason
from cilium_hybrid.rules.rendered.objects import only_known_objects_are_made, pods_reach_into_the_node_as_ciliums_do
from cilium_hybrid.rules.rendered.rules import (
    MANIFEST_RULES,
    objects_of_the_cloud_half_are_left_alone,
    workloads_stay_on_hybrid_nodes,
)
from cilium_hybrid.rules.rule import all_violations

CLOUD_RULES = (workloads_stay_on_hybrid_nodes, objects_of_the_cloud_half_are_left_alone)
LABEL = "eks.amazonaws.com/compute-type"
HYBRID = {"key": LABEL, "operator": "In", "values": ["hybrid"]}
LINUX = {"key": "kubernetes.io/os", "operator": "In", "values": ["linux"]}


def required(*terms: Mapping[str, Any]) -> dict[str, Any]:
    by_node = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": list(terms)}}
    return {"affinity": {"nodeAffinity": by_node}}


def term(*expressions: Mapping[str, Any]) -> dict[str, Any]:
    return {"matchExpressions": list(expressions)}


def a_workload(pod: Mapping[str, Any] | None, kind: str = "DaemonSet") -> dict[str, Any]:
    spec: Any = {"template": {"spec": pod}}
    if kind == "Pod":
        spec = pod
    if kind == "CronJob":
        spec = {"jobTemplate": {"spec": spec}}
    return {"kind": kind, "metadata": {"name": "cilium"}, "spec": spec}


def refused(*manifests: Mapping[str, Any]) -> list[str]:
    violations = all_violations(CLOUD_RULES, manifests)
    assert {broken.reason for broken in violations} <= {Reason.RENDER_REFUSED}
    return [broken.path for broken in violations]


@pytest.mark.parametrize(
    "pod",
    [
        pytest.param(required(term(HYBRID)), id="the affinity of the AWS guide"),
        pytest.param(required(term(LINUX, HYBRID)), id="together with another expression"),
        pytest.param(required(term(HYBRID), term(LINUX, HYBRID)), id="in every one of the terms"),
        pytest.param({"nodeSelector": {LABEL: "hybrid"}}, id="a node selector"),
        pytest.param(
            {"nodeSelector": {LABEL: "hybrid"}} | required(term(LINUX)), id="both, one of them with the label"
        ),
    ],
)
def test_a_workload_that_stays_on_hybrid_nodes_is_accepted(pod: dict[str, Any]) -> None:
    assert refused(a_workload(pod)) == []


@pytest.mark.parametrize(
    "pod",
    [
        pytest.param(None, id="no pod at all"),
        pytest.param({}, id="no affinity"),
        pytest.param({"affinity": None, "nodeSelector": None}, id="null for an affinity"),
        pytest.param({"nodeSelector": {"kubernetes.io/os": "linux"}}, id="another node selector"),
        pytest.param({"nodeSelector": {LABEL: "auto"}}, id="a node selector for cloud nodes"),
        pytest.param({"affinity": {"nodeAffinity": {}}}, id="an empty affinity"),
        pytest.param(required(), id="no terms"),
        pytest.param(required({}), id="an empty term"),
        pytest.param(required(term(LINUX)), id="another label"),
        pytest.param(required(term(HYBRID), term(LINUX)), id="one of two alternatives"),
        pytest.param(required(term(HYBRID | {"operator": "NotIn"})), id="not hybrid"),
        pytest.param(required(term(HYBRID | {"values": ["hybrid", "auto"]})), id="hybrid or another"),
        pytest.param(required(term({"key": LABEL, "operator": "Exists"})), id="any value of the label"),
        pytest.param(
            {"affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [term(HYBRID)]}}},
            id="a preference",
        ),
        pytest.param({"affinity": {"podAffinity": {"x": []}}}, id="affinity to pods"),
    ],
)
def test_a_workload_that_could_run_on_a_cloud_node_is_refused(pod: dict[str, Any] | None) -> None:
    assert refused(a_workload(pod)) == ["DaemonSet cilium"]


@pytest.mark.parametrize(
    "kind",
    ["CronJob", "DaemonSet", "Deployment", "Job", "Pod", "ReplicaSet", "ReplicationController", "StatefulSet"],
)
def test_every_kind_that_makes_pods_is_judged(kind: str) -> None:
    assert refused(a_workload({}, kind)) == [f"{kind} cilium"]
    assert refused(a_workload(required(term(HYBRID)), kind)) == []


def test_other_kinds_are_free() -> None:
    assert refused({"kind": "ConfigMap", "metadata": {"name": "cilium-config"}, "data": {}}, {"kind": "Secret"}) == []


@pytest.mark.parametrize("name", ["aws-node", "kube-proxy"])
def test_what_carries_the_cloud_nodes_is_never_touched(name: str) -> None:
    assert refused({"kind": "ConfigMap", "metadata": {"name": name}}) == [f"ConfigMap {name}"]


def test_a_manifest_without_metadata_is_judged_too() -> None:
    assert refused({"kind": "Pod", "metadata": None}) == ["Pod None"]


def test_what_would_harm_cloud_nodes_is_named_before_what_harms_cilium_alone() -> None:
    reaching = (only_known_objects_are_made, pods_reach_into_the_node_as_ciliums_do)

    assert (*CLOUD_RULES, *reaching) == MANIFEST_RULES


def test_workloads_are_named_before_names_of_the_cloud_half() -> None:
    bad = a_workload({})

    assert refused({"kind": "Secret", "metadata": {"name": "aws-node"}}, bad) == ["DaemonSet cilium", "Secret aws-node"]


def a_list(*items: Mapping[str, Any], kind: str = "List") -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": kind, "items": list(items)}


@pytest.mark.parametrize(
    ("manifest", "expected"),
    [
        pytest.param(a_list(), [], id="an empty one"),
        pytest.param(a_list(a_workload(required(term(HYBRID)))), [], id="all is well in it"),
        pytest.param(a_list(a_workload({}, "Pod")), ["Pod cilium"], id="a workload for cloud nodes"),
        pytest.param(a_list(a_workload({}), kind="DaemonSetList"), ["DaemonSet cilium"], id="a list of one kind"),
        pytest.param(a_list(a_list(a_workload({}))), ["DaemonSet cilium"], id="a list in a list"),
        pytest.param(
            a_list({"kind": "ConfigMap", "metadata": {"name": "aws-node"}}), ["ConfigMap aws-node"], id="a foreign name"
        ),
        pytest.param({"kind": "List", "items": None}, [], id="without items"),
        pytest.param({"kind": "List", "items": ["oops", None]}, [], id="items that are none"),
        pytest.param(
            {"kind": "ConfigMap", "metadata": {"name": "x"}, "items": [a_workload({})]},
            ["DaemonSet cilium"],
            id="a list that calls itself otherwise",
        ),
        pytest.param(
            a_workload({}) | {"items": []}, ["DaemonSet cilium"], id="a workload that calls itself a list as well"
        ),
        pytest.param(
            {"kind": "PodList", "items": [{"metadata": {"name": "x"}, "spec": {}}]},
            ["Pod x"],
            id="items that need no kind",
        ),
    ],
)
def test_what_is_in_a_list_is_judged_too(manifest: dict[str, Any], expected: list[str]) -> None:
    assert refused(manifest) == expected


@pytest.mark.parametrize(
    "pod",
    [
        pytest.param("oops", id="a string for a pod"),
        pytest.param(["oops"], id="a list for a pod"),
        pytest.param({"affinity": "oops"}, id="a string for an affinity"),
        pytest.param({"affinity": {"nodeAffinity": []}}, id="a list for an affinity"),
        pytest.param({"nodeSelector": "oops"}, id="a string for a node selector"),
        pytest.param(required(term(HYBRID), "oops"), id="a string among the terms"),  # type: ignore[arg-type] # odd
        pytest.param(required({"matchExpressions": "oops"}), id="a string for the expressions"),
        pytest.param(required({"matchExpressions": [None]}), id="nothing for an expression"),
    ],
)
def test_what_has_an_odd_shape_is_refused_too(pod: Any) -> None:
    assert refused(a_workload(pod)) == ["DaemonSet cilium"]
