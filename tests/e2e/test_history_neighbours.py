"""Who else handles the pod network: nothing is created beside another CNI or another Cilium."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from e2e.history import edit, findings, install, wait_for_message
from e2e.site import NODES, Site
from testbed.processes import wait_until

NODE_CONFIGS = "ciliumnodeconfigs.cilium.io"
NODE_CONFIGS_CRD = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": NODE_CONFIGS},
    "spec": {
        "group": "cilium.io",
        "scope": "Namespaced",
        "names": {"kind": "CiliumNodeConfig", "plural": "ciliumnodeconfigs", "singular": "ciliumnodeconfig"},
        "versions": [
            {
                "name": "v2",
                "served": True,
                "storage": True,
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
            }
        ],
    },
}


@pytest.fixture(scope="module", autouse=True)
def node_configs(bare_site: Site) -> None:
    """The CRD of CiliumNodeConfigs, which the operator looks for only now and then."""
    bare_site.cluster.apply(json.dumps(NODE_CONFIGS_CRD))
    path = "/apis/cilium.io/v2/ciliumnodeconfigs"
    wait_until(lambda: bare_site.cluster.request("GET", path), timeout=30, what="CiliumNodeConfigs are served")


@pytest.fixture(autouse=True)
def clean(site: Site) -> Iterator[None]:
    yield
    for namespace in ("networking", "kube-flannel"):
        site.cluster.kubectl("delete", "namespace", namespace, "--ignore-not-found", "--timeout=60s")
    site.cluster.kubectl("delete", "ciliumnodeconfigs", "-n", "kube-system", "--all")
    if not site.revisions():
        site.cluster.kubectl("delete", "daemonset", "-n", "kube-system", "cilium", "--ignore-not-found")
    site.restore()


def _daemon_set(namespace: str, name: str, container: str, selector: dict[str, str]) -> str:
    labels = {"app": name}
    spec: dict[str, Any] = {
        "hostNetwork": True,
        "tolerations": [{"operator": "Exists"}],
        "nodeSelector": selector,
        "terminationGracePeriodSeconds": 0,
        "containers": [{"name": container, "image": f"registry.example/{name}:v1"}],
    }
    daemon_set = {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": spec},
        },
    }
    manifests: list[Any] = [{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}, daemon_set]
    return "\n---\n".join(json.dumps(manifest) for manifest in manifests[namespace == "kube-system" :])


def _created(site: Site) -> list[str]:
    """Return what the operator, or its Helm, has created in kube-system beside its own record."""
    names = [
        f"{kind}/{found['metadata']['name']}"
        for kind in ("daemonsets", "deployments", "configmaps", "secrets")
        for found in site.cluster.objects(kind, "kube-system")
    ]
    return [name for name in names if "cilium" in name]


@pytest.mark.parametrize(
    ("namespace", "name", "container", "selector", "reason", "words"),
    [
        pytest.param(
            "networking",
            "cilium",
            "cilium-agent",
            {},
            "ReleaseNotOwned",
            "another Cilium runs, which this operator did not create: DaemonSet networking/cilium",
            id="Cilium in another namespace",
        ),
        pytest.param(
            "kube-flannel",
            "kube-flannel-ds",
            "kube-flannel",
            {"kubernetes.io/arch": "arm64"},
            "ForeignCNI",
            "DaemonSet kube-flannel/kube-flannel-ds (flannel)",
            id="flannel that may run on hybrid nodes",
        ),
        pytest.param(
            "kube-flannel",
            "kube-flannel-ds",
            "kube-flannel",
            {},
            "ForeignCNI",
            "DaemonSet kube-flannel/kube-flannel-ds (flannel)",
            id="flannel that runs on hybrid nodes",
        ),
    ],
)
def test_nothing_is_installed_beside_another_cni(
    site: Site, namespace: str, name: str, container: str, selector: dict[str, str], reason: str, words: str
) -> None:
    before = _created(site)
    site.cluster.apply(_daemon_set(namespace, name, container, selector))
    site.apply()
    site.wait_for(reason, ready="False")
    wait_for_message(site, words)
    created = _created(site)
    site.cluster.kubectl("delete", "namespace", namespace, "--timeout=60s")
    site.wait_for("InSync", ready="True")

    assert created == before


def test_cilium_without_a_release_is_left_alone(site: Site) -> None:
    site.cluster.apply(_daemon_set("kube-system", "cilium", "cilium-agent", {}))
    before = _created(site)
    site.apply()
    ready = site.wait_for("ReleaseNotOwned", ready="False")
    created = _created(site)
    site.cluster.kubectl("delete", "daemonset", "-n", "kube-system", "cilium")
    site.wait_for("InSync", ready="True")

    assert "DaemonSet kube-system/cilium, without a Helm release" in ready["message"]
    assert created == before


def _node_config(name: str, **keys: str) -> str:
    spec = {
        "nodeSelector": {"matchLabels": {"rack": "a"}},
        "defaults": {k.replace("_", "-"): v for k, v in keys.items()},
    }
    metadata = {"name": name, "namespace": "kube-system"}
    return json.dumps({"apiVersion": "cilium.io/v2", "kind": "CiliumNodeConfig", "metadata": metadata, "spec": spec})


def test_a_node_config_that_sets_an_owned_key_is_a_finding_and_blocks_nothing(site: Site) -> None:
    before = install(site)
    site.cluster.apply(_node_config("rack-a", enable_ipv4_masquerade="false", debug="true"))
    words = "CiliumNodeConfig kube-system/rack-a (enable-ipv4-masquerade) override"
    what = "the CiliumNodeConfig is reported"
    wait_until(lambda: words in findings(site), timeout=90, what=what, needs=[site.operator])
    edit(site, {"debug": {"enabled": True}})
    site.wait_for("InSync", ready="True", timeout=90)

    assert site.restarted(before) == set(NODES)
    site.cluster.kubectl("delete", "ciliumnodeconfig", "-n", "kube-system", "rack-a")
    wait_until(lambda: words not in findings(site), timeout=30, what="the finding is gone", needs=[site.operator])


def test_a_node_config_that_sets_ipam_blocks_the_next_rollout(site: Site) -> None:
    before = install(site)
    site.cluster.apply(_node_config("rack-a", cluster_pool_ipv4_mask_size="26", ipam="kubernetes"))
    what = "the CiliumNodeConfig is reported"
    wait_until(lambda: "rack-a" in findings(site), timeout=90, what=what, needs=[site.operator])
    edit(site, {"debug": {"enabled": True}})
    ready = site.wait_for("RolloutStalled", ready="False")
    revisions, restarted = site.revisions(), site.restarted(before)
    site.cluster.kubectl("delete", "ciliumnodeconfig", "-n", "kube-system", "rack-a")
    site.wait_for("InSync", ready="True", timeout=90)

    assert "CiliumNodeConfig kube-system/rack-a (cluster-pool-ipv4-mask-size, ipam)" in ready["message"]
    assert restarted == set()
    assert revisions == [(1, "deployed")]
    assert site.restarted(before) == set(NODES)
