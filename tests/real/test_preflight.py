"""The preflight check with Cilium's own validator, and an upgrade whose operator is killed. In order."""

import json

import pytest

from real.site import NODES, RealSite
from testbed.processes import wait_until

MINORS = ("1.18", "1.19")
POLICIES = "ciliumnetworkpolicies.cilium.io"
# An earlier version of Cilium accepted this: its CRD had no schema.
POLICY = {
    "apiVersion": "cilium.io/v2",
    "kind": "CiliumNetworkPolicy",
    "metadata": {"name": "old", "namespace": "default"},
    "spec": {"endpointSelector": {}, "ingress": [{}], "labels": "not-a-list"},
}
pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def installed(site: RealSite) -> RealSite:
    site.apply(version=site.version("1.18"))
    site.wait_for("InSync", ready="True", timeout=180)
    site.wait_until_verified()
    crd = site.cluster.get("crd", POLICIES)
    for version in crd["spec"]["versions"]:
        version["schema"] = {
            "openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
        }
    site.cluster.kubectl("replace", "-f", "-", stdin=json.dumps(crd))
    wait_until(
        lambda: site.cluster.kubectl("apply", "-f", "-", stdin=json.dumps(POLICY)), timeout=20, what="the old policy"
    )
    return site


def test_a_policy_that_the_next_version_refuses_stops_the_upgrade(installed: RealSite) -> None:
    agents = installed.agents()
    rules = {"rollout": {"soak": "1s"}, "preflight": {"timeout": "45s"}}
    installed.apply(version=installed.version("1.19"), upgrade=rules)
    ready = installed.wait_for("PreflightFailed", timeout=180)

    assert "CiliumNetworkPolicy" in ready["message"]
    assert "old" in ready["message"]
    assert "labels" in ready["message"]
    assert installed.agents() == agents
    assert [number for number, _ in installed.revisions()] == [1]


def test_an_operator_that_is_killed_during_an_upgrade_ends_it_without_a_lost_packet(installed: RealSite) -> None:
    flow = installed.start_flow("across", NODES[0], NODES[1])
    agents = installed.agents()
    installed.cluster.kubectl("delete", POLICIES, "old", "-n", "default")
    installed.reconcile("after the policy was deleted")
    wait_until(lambda: installed.restarted(agents), timeout=180, what="a first agent is restarted")
    installed.operator.kill()
    installed.operator.start()
    installed.wait_for("InSync", ready="True", timeout=240)
    report = flow.settle()

    assert set(installed.running().values()) == {installed.version("1.19")}
    assert [number for number, _ in installed.revisions()] == [1, 2]
    assert (report.lost, report.stream_broken) == (0, "")
