"""Rules against the live cluster, and which facts protect pod addresses when other records are lost."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from cilium_hybrid.api.v1alpha1 import GROUP, KIND, NAME, VERSION
from e2e.command import run
from e2e.site import NODES, Site
from testbed.operator import ROOT
from testbed.processes import CommandError, wait_until

API_VERSION = f"{GROUP}/{VERSION}"
FIX_BEFORE_THE_INSTALL = "use 25 or less, or set maxPods of the kubelet to 60 or less"
SERVICES = "10.250.0.0/16"
CRD = ROOT / "crds" / "ciliumhybrids.ciliumhybrid.io.yaml"


@pytest.fixture(autouse=True)
def clean(site: Site) -> Iterator[None]:
    yield
    if not site.operator.alive:
        site.operator.start()
    site.clean()
    if site.cluster.get("crd", "ciliumnodes.cilium.io"):
        site.cluster.kubectl("delete", "ciliumnodes", "--all")


def _ipam(*cidrs: str, mask: int = 25) -> dict[str, Any]:
    return {"ipam": {"podCIDRs": list(cidrs), "maskSize": mask}}


def _installed(site: Site, **changes: Any) -> None:
    site.apply(**changes)
    site.wait_for("InSync", ready="True")


def _valid(site: Site) -> tuple[str, str]:
    condition = site.condition("Valid")
    return ("", "") if condition is None else (condition["status"], condition["message"])


def _nothing_was_installed(site: Site) -> bool:
    return not site.revisions() and site.cluster.get("daemonset", "cilium", "kube-system") is None


@pytest.mark.parametrize(
    ("cidr", "words"),
    [
        pytest.param("10.200.0.0/16", "address of node mi-0000000000000001", id="a hybrid node"),
        pytest.param("192.168.0.0/24", "address of node ip-", id="a cloud node"),
        pytest.param(SERVICES, f"{SERVICES}, ServiceCIDR kubernetes", id="the Service CIDR"),
    ],
)
def test_addresses_in_use_are_refused_as_pod_cidr(site: Site, cidr: str, words: str) -> None:
    site.apply(**_ipam(cidr))
    ready = site.wait_for("PodCIDROverlap", ready="False")

    assert words in ready["message"]
    assert "use a CIDR that nothing else uses" in ready["message"]
    assert _nothing_was_installed(site)


def test_a_pod_of_a_cloud_node_in_the_pod_cidr_blocks_the_install(site: Site) -> None:
    cloud = next(node for node in site.cluster.objects("nodes") if node["metadata"]["name"].startswith("ip-"))
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "in-the-way", "namespace": "default"},
        "spec": {
            "nodeName": cloud["metadata"]["name"],
            "tolerations": [{"operator": "Exists"}],
            "containers": [{"name": "x", "image": "registry.example/x"}],
        },
    }
    site.cluster.apply(json.dumps(pod))
    address: str = wait_until(
        lambda: site.cluster.get("pod", "in-the-way", "default")["status"].get("podIP"),
        timeout=20,
        what="the pod has an IP",
    )
    octets = address.split(".")
    site.apply(**_ipam(f"{octets[0]}.{octets[1]}.{octets[2]}.0/24"))
    ready = site.wait_for("PodCIDROverlap", ready="False")
    site.cluster.kubectl("delete", "pod", "in-the-way", "--now")

    assert f"{address}, address of pod default/in-the-way" in ready["message"]
    assert _nothing_was_installed(site)


def test_another_cni_on_a_hybrid_node_blocks_the_install(site: Site) -> None:
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "calico-node-x", "namespace": "default", "labels": {"k8s-app": "calico-node"}},
        "spec": {
            "nodeName": "mi-0000000000000002",
            "hostNetwork": True,
            "tolerations": [{"operator": "Exists"}],
            "containers": [{"name": "x", "image": "registry.example/x"}],
        },
    }
    site.cluster.apply(json.dumps(pod))
    site.apply()
    ready = site.wait_for("ForeignCNI", ready="False")
    nothing = _nothing_was_installed(site)
    site.cluster.kubectl("delete", "pod", "calico-node-x", "--now")
    site.wait_for("InSync", ready="True")

    assert "default/calico-node-x on mi-0000000000000002" in ready["message"]
    assert nothing


def test_a_kernel_that_is_too_old_blocks_the_install(site: Site) -> None:
    site.cluster.add_node("mi-with-old-kernel", kernel="4.18.0-553.el8_10.x86_64")
    site.apply(version="1.18.8-1")
    ready = site.wait_for("KernelTooOld", ready="False")
    nothing = _nothing_was_installed(site)
    site.cluster.remove_node("mi-with-old-kernel")
    site.wait_for("InSync", ready="True")

    assert "mi-with-old-kernel (4.18.0-553.el8_10.x86_64) has an older kernel" in ready["message"]
    assert nothing


def test_a_recreated_resource_keeps_the_mask_size_of_the_cluster(site: Site) -> None:
    _installed(site)
    agents = site.agents()
    site.cluster.kubectl("delete", "ciliumhybrid", "default", "--timeout=60s")
    site.apply(**_ipam("10.85.0.0/16", mask=26))
    ready = site.wait_for("MaskChanged", ready="False")
    site.apply(**_ipam("10.85.0.0/16", mask=25))
    site.wait_for("InSync", ready="True")

    assert "Invalid value: 26: cannot change from 25" in ready["message"]
    assert site.agents() == agents
    assert site.revisions() == [(1, "deployed")]


def test_the_operator_enforces_the_rules_if_the_crd_has_lost_them(site: Site) -> None:
    _installed(site)
    agents = site.agents()
    definition = yaml.safe_load(CRD.read_text())
    site.cluster.apply(json.dumps(_without_rules(definition)))
    try:
        wait_until(
            lambda: _accepts(site, _ipam("10.86.0.0/16", mask=26)),
            timeout=20,
            what="the API server no longer has the rules",
        )
        site.wait_for("PodCIDRRemoved", ready="False")
        _, message = _valid(site)
    finally:
        site.cluster.apply(CRD.read_text())
    site.cluster.kubectl("delete", "ciliumhybrid", "default", "--timeout=60s")

    assert "10.85.0.0/16 is in use (ConfigMap kube-system/cilium-config)" in message
    assert "Invalid value: 26: cannot change from 25" in message
    assert site.agents() == agents
    assert site.revisions() == [(1, "deployed")]


def _accepts(site: Site, changes: dict[str, Any]) -> bool:
    try:
        site.apply(**changes)
    except CommandError:
        return False
    return True


def _without_rules(node: Any) -> Any:
    if isinstance(node, dict):
        return {key: _without_rules(value) for key, value in node.items() if key != "x-kubernetes-validations"}
    return [_without_rules(item) for item in node] if isinstance(node, list) else node


def test_node_blocks_protect_the_mask_size_after_an_uninstall(site: Site) -> None:
    _installed(site, deletionPolicy="Uninstall")
    site.cluster.kubectl("delete", "ciliumhybrid", "default", "--timeout=60s")
    site.cluster.kubectl("delete", "configmap", "-n", "kube-system", "cilium-hybrid-applied")
    site.apply(**_ipam("10.85.0.0/16", mask=26))
    ready = site.wait_for("MaskChanged", ready="False")
    nothing = _nothing_was_installed(site)
    site.cluster.kubectl("delete", "ciliumnodes", "--all")
    site.wait_for("InSync", ready="True")

    assert "is a /25; use 25, or delete the CiliumNodes" in ready["message"]
    assert nothing


def test_the_deployed_revision_protects_the_mask_size_without_record_and_configuration(site: Site) -> None:
    _installed(site)
    agents = site.agents()
    site.operator.stop()
    site.cluster.kubectl("delete", "configmap", "-n", "kube-system", "cilium-hybrid-applied", "cilium-config")
    site.cluster.kubectl("delete", "ciliumhybrid", "default", "--timeout=60s")
    site.apply(**_ipam("10.85.0.0/16", mask=26))
    site.operator.start()
    ready = site.wait_for("MaskChanged", ready="False")

    assert "all node blocks are /25 (revision 1 of Helm release cilium); use 25" in ready["message"]
    assert site.agents() == agents


def test_an_overlap_after_the_install_is_only_a_warning(site: Site) -> None:
    _installed(site)
    site.cluster.add_node("ip-added-later", hybrid=False, address="10.85.200.1")
    wait_until(
        lambda: "ip-added-later" in _valid(site)[1],
        timeout=20,
        what="condition Valid has the warning",
        needs=[site.operator],
    )
    valid = _valid(site)
    site.apply(masquerade=False)
    ready = site.wait_for("InSync", ready="True")
    site.apply(**_ipam("10.85.0.0/16", "10.200.0.0/16"))
    refused = site.wait_for("PodCIDROverlap", ready="False")
    site.cluster.remove_node("ip-added-later")

    assert valid[0] == "True"
    assert "1 warning, see condition Valid" in ready["message"]
    assert refused["message"].startswith("spec.ipam.podCIDRs[1]: 10.200.0.0/16 contains addresses in use")
    assert site.revisions()[-1] == (2, "deployed")


def test_a_chart_from_a_registry_that_is_not_allowed_is_refused(site: Site) -> None:
    site.operator.stop()
    site.operator.env = {**site.operator.env, "CILIUM_HYBRID_CHART_REGISTRIES": "public.ecr.aws/eks"}
    site.operator.start()
    site.apply()
    ready = site.wait_for("ChartRefused", ready="False")
    site.operator.stop()
    del site.operator.env["CILIUM_HYBRID_CHART_REGISTRIES"]
    site.operator.start()
    site.wait_for("InSync", ready="True")

    assert "is not in an allowed registry (public.ecr.aws/eks)" in ready["message"]


def test_a_node_block_smaller_than_max_pods_is_a_warning_before_and_after_the_install(site: Site) -> None:
    spec = site.spec(**_ipam("10.85.0.0/16", mask=26))
    manifest = {"apiVersion": API_VERSION, "kind": KIND, "metadata": {"name": NAME}, "spec": spec}
    planned = run(site.cluster.env | site.registry.env, "plan", "-", stdin=json.dumps(manifest))
    site.apply(spec)
    ready = site.wait_for("InSync", ready="True")
    written = [status["status"]["conditions"] for run_of_writes in site.written() for status in run_of_writes]
    messages = {condition["message"] for conditions in written for condition in conditions}

    warning = "spec.ipam.maskSize: /26 leaves 60 pod addresses on a node, fewer than the maxPods of the kubelet on "
    nodes = f"{NODES[0]} (110), {NODES[1]} (110) and 3 more"
    assert "warning: spec.ipam.maskSize: InvalidSpec: /26 leaves 60 pod addresses on a node" in planned.out
    assert nodes in planned.out
    assert f"spec is valid; 1 warning: {warning}{nodes}; {FIX_BEFORE_THE_INSTALL}" in messages
    assert _valid(site) == (
        "True",
        f"spec is valid; 1 warning: {warning}{nodes}; set maxPods of the kubelet to 60 or less",
    )
    assert "1 warning, see condition Valid" in ready["message"]
