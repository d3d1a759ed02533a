from collections.abc import Mapping
from typing import Any

import pytest

from cilium_hybrid.api.conditions import Reason
from cilium_hybrid.rules.rendered.objects import objects_are_allowed, pods_have_no_extra_node_access
from cilium_hybrid.rules.rendered.rules import (
    MANIFEST_RULES,
    agents_are_rendered,
    cloud_node_components_are_not_changed,
    workloads_run_only_on_hybrid_nodes,
)
from cilium_hybrid.rules.rule import all_violations

CLOUD_RULES = (workloads_run_only_on_hybrid_nodes, cloud_node_components_are_not_changed)
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
        pytest.param(required(term(HYBRID), term(LINUX, HYBRID)), id="in all terms"),
        pytest.param({"nodeSelector": {LABEL: "hybrid"}}, id="a node selector"),
        pytest.param(
            {"nodeSelector": {LABEL: "hybrid"}} | required(term(LINUX)), id="a node selector and another affinity"
        ),
    ],
)
def test_a_workload_on_hybrid_nodes_only_is_accepted(pod: dict[str, Any]) -> None:
    assert refused(a_workload(pod)) == []


@pytest.mark.parametrize(
    "pod",
    [
        pytest.param(None, id="no pod spec"),
        pytest.param({}, id="no affinity"),
        pytest.param({"affinity": None, "nodeSelector": None}, id="a null affinity"),
        pytest.param({"nodeSelector": {"kubernetes.io/os": "linux"}}, id="another node selector"),
        pytest.param({"nodeSelector": {LABEL: "auto"}}, id="a node selector for cloud nodes"),
        pytest.param({"affinity": {"nodeAffinity": {}}}, id="an empty affinity"),
        pytest.param(required(), id="no terms"),
        pytest.param(required({}), id="an empty term"),
        pytest.param(required(term(LINUX)), id="another label"),
        pytest.param(required(term(HYBRID), term(LINUX)), id="only in one of two terms"),
        pytest.param(required(term(HYBRID | {"operator": "NotIn"})), id="not hybrid"),
        pytest.param(required(term(HYBRID | {"values": ["hybrid", "auto"]})), id="hybrid or another"),
        pytest.param(required(term({"key": LABEL, "operator": "Exists"})), id="any value"),
        pytest.param(
            {"affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [term(HYBRID)]}}},
            id="a preference",
        ),
        pytest.param({"affinity": {"podAffinity": {"x": []}}}, id="pod affinity"),
    ],
)
def test_a_workload_that_could_run_on_a_cloud_node_is_refused(pod: dict[str, Any] | None) -> None:
    assert refused(a_workload(pod)) == ["DaemonSet cilium"]


@pytest.mark.parametrize(
    "kind",
    ["CronJob", "DaemonSet", "Deployment", "Job", "Pod", "ReplicaSet", "ReplicationController", "StatefulSet"],
)
def test_all_kinds_with_pods_are_validated(kind: str) -> None:
    assert refused(a_workload({}, kind)) == [f"{kind} cilium"]
    assert refused(a_workload(required(term(HYBRID)), kind)) == []


def test_kinds_without_pods_need_no_affinity() -> None:
    assert refused({"kind": "ConfigMap", "metadata": {"name": "cilium-config"}, "data": {}}, {"kind": "Secret"}) == []


@pytest.mark.parametrize("name", ["aws-node", "kube-proxy"])
def test_cloud_node_components_are_refused(name: str) -> None:
    assert refused({"kind": "ConfigMap", "metadata": {"name": name}}) == [f"ConfigMap {name}"]


def test_a_manifest_without_metadata() -> None:
    assert refused({"kind": "Pod", "metadata": None}) == ["Pod None"]


def test_rules_about_cloud_nodes_come_first() -> None:
    reaching = (objects_are_allowed, pods_have_no_extra_node_access)

    assert (*CLOUD_RULES, *reaching, agents_are_rendered) == MANIFEST_RULES


@pytest.mark.parametrize(
    ("kind", "name", "namespace", "found"),
    [
        ("DaemonSet", "cilium", None, []),
        ("DaemonSet", "cilium", "kube-system", []),
        ("DaemonSet", "cilium", "other", ["DaemonSet kube-system/cilium"]),
        ("DaemonSet", "cilium-envoy", "kube-system", ["DaemonSet kube-system/cilium"]),
        ("Deployment", "cilium", "kube-system", ["DaemonSet kube-system/cilium"]),
    ],
)
def test_a_chart_without_agents_would_remove_those_that_run(
    kind: str, name: str, namespace: str | None, found: list[str]
) -> None:
    rendered = {"kind": kind, "metadata": {"name": name} | ({} if namespace is None else {"namespace": namespace})}

    assert [violation.path for violation in agents_are_rendered([rendered])] == found
    assert [violation.path for violation in agents_are_rendered([a_list(rendered)])] == found
    assert [violation.path for violation in agents_are_rendered([])] == ["DaemonSet kube-system/cilium"]


def test_workloads_are_reported_before_cloud_node_components() -> None:
    bad = a_workload({})

    assert refused({"kind": "Secret", "metadata": {"name": "aws-node"}}, bad) == ["DaemonSet cilium", "Secret aws-node"]


def a_list(*items: Mapping[str, Any], kind: str = "List") -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": kind, "items": list(items)}


@pytest.mark.parametrize(
    ("manifest", "expected"),
    [
        pytest.param(a_list(), [], id="an empty list"),
        pytest.param(a_list(a_workload(required(term(HYBRID)))), [], id="a valid workload"),
        pytest.param(a_list(a_workload({}, "Pod")), ["Pod cilium"], id="a workload without an affinity"),
        pytest.param(a_list(a_workload({}), kind="DaemonSetList"), ["DaemonSet cilium"], id="a list of one kind"),
        pytest.param(a_list(a_list(a_workload({}))), ["DaemonSet cilium"], id="a list in a list"),
        pytest.param(
            a_list({"kind": "ConfigMap", "metadata": {"name": "aws-node"}}),
            ["ConfigMap aws-node"],
            id="a cloud node component",
        ),
        pytest.param({"kind": "List", "items": None}, [], id="without items"),
        pytest.param({"kind": "List", "items": ["oops", None]}, [], id="items of wrong types"),
        pytest.param(
            {"kind": "ConfigMap", "metadata": {"name": "x"}, "items": [a_workload({})]},
            ["DaemonSet cilium"],
            id="a list of another kind",
        ),
        pytest.param(a_workload({}) | {"items": []}, ["DaemonSet cilium"], id="a workload with items"),
        pytest.param(
            {"kind": "PodList", "items": [{"metadata": {"name": "x"}, "spec": {}}]},
            ["Pod x"],
            id="items without a kind",
        ),
    ],
)
def test_items_of_a_list_are_validated(manifest: dict[str, Any], expected: list[str]) -> None:
    assert refused(manifest) == expected


@pytest.mark.parametrize(
    "pod",
    [
        pytest.param("oops", id="a string as pod spec"),
        pytest.param(["oops"], id="a list as pod spec"),
        pytest.param({"affinity": "oops"}, id="a string as affinity"),
        pytest.param({"affinity": {"nodeAffinity": []}}, id="a list as node affinity"),
        pytest.param({"nodeSelector": "oops"}, id="a string as node selector"),
        pytest.param(required(term(HYBRID), "oops"), id="a string as term"),  # type: ignore[arg-type] # odd
        pytest.param(required({"matchExpressions": "oops"}), id="a string as expressions"),
        pytest.param(required({"matchExpressions": [None]}), id="null as expression"),
    ],
)
def test_wrong_types_are_refused(pod: Any) -> None:
    assert refused(a_workload(pod)) == ["DaemonSet cilium"]
