from collections.abc import Mapping
from typing import Any

import pytest

from cilium_hybrid.adapters.kube.foreign import foreign_object, node_config
from cilium_hybrid.plan.observation import ForeignObject, NodeConfigOverride

HYBRID_LABEL = "eks.amazonaws.com/compute-type"


def a_daemon_set(
    namespace: str, name: str, *, container: str = "agent", image: str = "registry.example/x/y:1", **pod: Any
) -> Mapping[str, Any]:
    spec = {"containers": [{"name": container, "image": image}], **pod}
    return {"metadata": {"namespace": namespace, "name": name}, "spec": {"template": {"spec": spec}}}


def affinity(*expressions: Mapping[str, Any]) -> Mapping[str, Any]:
    terms = [{"matchExpressions": [expression]} for expression in expressions]
    return {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}}


@pytest.mark.parametrize(
    ("raw", "cni"),
    [
        pytest.param(a_daemon_set("kube-flannel", "kube-flannel-ds"), "flannel", id="flannel by name"),
        pytest.param(
            a_daemon_set("net", "overlay", image="ghcr.io/flannel-io/flannel:v0.27.3"), "flannel", id="flannel by image"
        ),
        pytest.param(a_daemon_set("kube-system", "weave-net"), "Weave Net", id="weave"),
        pytest.param(
            a_daemon_set("x", "y", image="mirror.example:5000/antrea/antrea-agent-ubuntu@sha256:0"),
            "Antrea",
            id="antrea from a mirror, by digest",
        ),
        pytest.param(a_daemon_set("calico-system", "calico-node"), "Calico", id="calico"),
        pytest.param(
            a_daemon_set("kube-system", "weave-net", nodeSelector={"kubernetes.io/os": "linux"}),
            "Weave Net",
            id="a selector that every Linux node has",
        ),
        pytest.param(
            a_daemon_set(
                "kube-system",
                "calico-node",
                affinity=affinity({"key": HYBRID_LABEL, "operator": "In", "values": ["hybrid", "ec2"]}),
            ),
            "Calico",
            id="hybrid nodes among others",
        ),
        pytest.param(
            a_daemon_set(
                "kube-system",
                "calico-node",
                affinity=affinity(
                    {"key": "zone", "operator": "In", "values": ["a"]},
                    {"key": "gpu", "operator": "DoesNotExist"},
                ),
            ),
            "Calico",
            id="one of several terms accepts hybrid nodes",
        ),
        pytest.param(a_daemon_set("cilium", "cilium", container="cilium-agent"), "Cilium", id="Cilium elsewhere"),
        pytest.param(a_daemon_set("kube-system", "cni", container="cilium-agent"), "Cilium", id="Cilium, other name"),
        pytest.param(
            a_daemon_set("cilium", "cilium", container="cilium-agent", nodeSelector={HYBRID_LABEL: "ec2"}),
            "Cilium",
            id="a Cilium on cloud nodes shares the CustomResourceDefinitions",
        ),
    ],
)
def test_another_cni_is_named(raw: Mapping[str, Any], cni: str) -> None:
    metadata = raw["metadata"]
    assert foreign_object(raw) == ForeignObject(f"DaemonSet {metadata['namespace']}/{metadata['name']}", cni)


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(a_daemon_set("kube-system", "cilium", container="cilium-agent"), id="our own release"),
        pytest.param(a_daemon_set("kube-system", "kube-proxy"), id="not a CNI"),
        pytest.param(
            a_daemon_set(
                "kube-system",
                "calico-node",
                affinity=affinity({"key": HYBRID_LABEL, "operator": "NotIn", "values": ["hybrid"]}),
            ),
            id="kept off hybrid nodes by affinity",
        ),
        pytest.param(
            a_daemon_set("kube-system", "calico-node", nodeSelector={HYBRID_LABEL: "ec2"}),
            id="kept off hybrid nodes by a node selector",
        ),
        pytest.param(
            a_daemon_set("kube-system", "calico-node", nodeSelector={"eks.amazonaws.com/nodegroup": "blue"}),
            id="only nodes of a node group",
        ),
        pytest.param({"metadata": {"namespace": "a", "name": "b"}}, id="without a spec"),
    ],
)
def test_other_daemon_sets_are_ignored(raw: Mapping[str, Any]) -> None:
    assert foreign_object(raw) is None


def test_a_cilium_node_config_shows_its_keys() -> None:
    raw = {
        "metadata": {"namespace": "kube-system", "name": "gpu"},
        "spec": {"defaults": {"ipam": "x", "debug": "true"}},
    }

    assert node_config(raw) == NodeConfigOverride("kube-system/gpu", ("debug", "ipam"))
    assert node_config({"metadata": {"namespace": "kube-system", "name": "empty"}}) is None
