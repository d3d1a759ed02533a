"""What the operator judges against the live cluster, and what it holds to when all else is lost."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from e2e.site import Site
from testbed.operator import ROOT
from testbed.processes import CommandError, wait_until

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
        pytest.param("10.200.0.0/16", "an address of node mi-0000000000000001", id="a hybrid node's"),
        pytest.param("192.168.0.0/24", "an address of node ip-", id="a cloud node's"),
        pytest.param(SERVICES, f"{SERVICES}, the Services' network (ServiceCIDR kubernetes)", id="the Services'"),
    ],
)
def test_addresses_in_use_are_no_pod_cidr(site: Site, cidr: str, words: str) -> None:
    site.apply(**_ipam(cidr))
    ready = site.wait_for("PodCIDROverlap", ready="False")

    assert words in ready["message"]
    assert "take a CIDR that nothing else uses" in ready["message"]
    assert _nothing_was_installed(site)


def test_a_cloud_nodes_pod_inside_the_pool_stops_an_install(site: Site) -> None:
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
        lambda: site.cluster.get("pod", "in-the-way", "default")["status"].get("podIP"), timeout=20, what="it has an IP"
    )
    octets = address.split(".")
    site.apply(**_ipam(f"{octets[0]}.{octets[1]}.{octets[2]}.0/24"))
    ready = site.wait_for("PodCIDROverlap", ready="False")
    site.cluster.kubectl("delete", "pod", "in-the-way", "--now")

    assert f"{address}, the address of pod default/in-the-way" in ready["message"]
    assert _nothing_was_installed(site)


def test_another_cni_on_a_hybrid_node_is_named(site: Site) -> None:
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


def test_a_kernel_that_a_version_does_not_run_on_is_named(site: Site) -> None:
    site.cluster.add_node("mi-of-yesterday", kernel="4.18.0-553.el8_10.x86_64")
    site.apply(version="1.18.8-1")
    ready = site.wait_for("KernelTooOld", ready="False")
    nothing = _nothing_was_installed(site)
    site.cluster.remove_node("mi-of-yesterday")
    site.wait_for("InSync", ready="True")

    assert "mi-of-yesterday (4.18.0-553.el8_10.x86_64) has an older one" in ready["message"]
    assert nothing


def test_a_resource_made_again_keeps_the_mask_of_the_cluster(site: Site) -> None:
    _installed(site)
    agents = site.agents()
    site.cluster.kubectl("delete", "ciliumhybrid", "default", "--timeout=60s")
    site.apply(**_ipam("10.85.0.0/16", mask=26))
    ready = site.wait_for("MaskChanged", ready="False")
    site.apply(**_ipam("10.85.0.0/16", mask=25))
    site.wait_for("InSync", ready="True")

    assert "cannot change from 25 to 26" in ready["message"]
    assert site.agents() == agents
    assert site.revisions() == [(1, "deployed")]


def test_a_definition_that_lost_its_rules_lets_nothing_through(site: Site) -> None:
    _installed(site)
    agents = site.agents()
    definition = yaml.safe_load(CRD.read_text())
    site.cluster.apply(json.dumps(_without_rules(definition)))
    try:
        wait_until(lambda: _takes(site, _ipam("10.86.0.0/16", mask=26)), timeout=20, what="the rules are gone")
        site.wait_for("PodCIDRRemoved", ready="False")
        _, message = _valid(site)
    finally:
        site.cluster.apply(CRD.read_text())
    site.cluster.kubectl("delete", "ciliumhybrid", "default", "--timeout=60s")

    assert "10.85.0.0/16 is in use (ConfigMap kube-system/cilium-config)" in message
    assert "cannot change from 25 to 26" in message
    assert site.agents() == agents
    assert site.revisions() == [(1, "deployed")]


def _takes(site: Site, changes: dict[str, Any]) -> bool:
    try:
        site.apply(**changes)
    except CommandError:
        return False
    return True


def _without_rules(node: Any) -> Any:
    if isinstance(node, dict):
        return {key: _without_rules(value) for key, value in node.items() if key != "x-kubernetes-validations"}
    return [_without_rules(item) for item in node] if isinstance(node, list) else node


def test_blocks_bind_where_nothing_else_is_left(site: Site) -> None:
    _installed(site, deletionPolicy="Uninstall")
    site.cluster.kubectl("delete", "ciliumhybrid", "default", "--timeout=60s")
    site.cluster.kubectl("delete", "configmap", "-n", "kube-system", "cilium-hybrid-applied")
    site.apply(**_ipam("10.85.0.0/16", mask=26))
    ready = site.wait_for("MaskChanged", ready="False")
    nothing = _nothing_was_installed(site)
    site.cluster.kubectl("delete", "ciliumnodes", "--all")
    site.wait_for("InSync", ready="True")

    assert "was cut to /25: write 25, or delete the CiliumNodes" in ready["message"]
    assert nothing


def test_blocks_bind_where_record_and_configuration_are_lost(site: Site) -> None:
    _installed(site)
    agents = site.agents()
    site.operator.stop()
    site.cluster.kubectl("delete", "configmap", "-n", "kube-system", "cilium-hybrid-applied", "cilium-config")
    site.cluster.kubectl("delete", "ciliumhybrid", "default", "--timeout=60s")
    site.apply(**_ipam("10.85.0.0/16", mask=26))
    site.operator.start()
    ready = site.wait_for("MaskChanged", ready="False")

    assert "was cut to /25" in ready["message"]
    assert site.agents() == agents


def test_an_overlap_found_later_is_told_and_stops_nothing(site: Site) -> None:
    _installed(site)
    site.cluster.add_node("ip-of-late", hybrid=False, address="10.85.200.1")
    wait_until(lambda: "ip-of-late" in _valid(site)[1], timeout=20, what="it is told", needs=[site.operator])
    told = _valid(site)
    site.apply(masquerade=False)
    ready = site.wait_for("InSync", ready="True")
    site.apply(**_ipam("10.85.0.0/16", "10.200.0.0/16"))
    refused = site.wait_for("PodCIDROverlap", ready="False")
    site.cluster.remove_node("ip-of-late")

    assert told[0] == "True"
    assert "to be looked at, see condition Valid" in ready["message"]
    assert refused["message"].startswith("spec.ipam.podCIDRs[1]: 10.200.0.0/16 holds addresses that are in use")
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

    assert "none of the registries that the operator allows (public.ecr.aws/eks)" in ready["message"]
