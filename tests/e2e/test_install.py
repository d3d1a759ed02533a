"""From one manifest to Ready nodes, and the changes that follow. The tests build on each other, in order."""

from typing import Any

import pytest

from e2e.site import VERSION, Site
from testbed.processes import wait_until

HYBRID = "eks.amazonaws.com/compute-type"


def _cloud_nodes(site: Site) -> set[str]:
    nodes = site.cluster.objects("nodes")
    return {node["metadata"]["name"] for node in nodes if HYBRID not in node["metadata"]["labels"]}


def _eks_workloads(site: Site) -> list[dict[str, Any]]:
    found = [site.cluster.get("daemonset", name, "kube-system") for name in ("aws-node", "kube-proxy")]
    return [{"generation": workload["metadata"]["generation"], "spec": workload["spec"]} for workload in found]


@pytest.fixture(scope="module")
def installed(site: Site) -> Site:
    before = _eks_workloads(site)
    site.apply()
    site.wait_for("InSync", ready="True")

    assert _eks_workloads(site) == before
    return site


def test_one_manifest_makes_every_hybrid_node_ready(installed: Site) -> None:
    status = installed.status()

    assert status["nodes"]["summary"] == "5/5"
    assert status["phase"] == "Ready"
    # The registry is queried outside the reconciliations, so the newest patch is known a moment later.
    version = {key: value for key, value in status["version"].items() if key != "latestPatch"}
    assert version == {"running": VERSION, "target": VERSION, "initial": "1.17"}
    assert installed.cluster.ready_nodes() == 7
    assert installed.cluster.kubectl("wait", "--for=condition=Ready", "ciliumhybrid/default", "--timeout=5s")


def test_ready_summarizes_the_state_in_one_line(installed: Site) -> None:
    header, line, *_ = installed.cluster.kubectl("get", "ciliumhybrid", "-o", "wide").splitlines()

    columns = ["NAME", "VERSION", "TARGET", "NODES", "UPDATED", "READY", "REASON"]
    assert header.split() == [*columns, "AGE", "REVISION", "FREE-BLOCKS", "MESSAGE"]
    assert line.split()[1:7] == [VERSION, VERSION, "5/5", "5/5", "True", "InSync"]
    assert line.split()[8:10] == ["1", "507"]


def test_cloud_nodes_run_no_cilium_pod(installed: Site) -> None:
    pods = installed.cluster.objects("pods", "kube-system", selector="app.kubernetes.io/part-of=cilium")

    assert pods
    assert not _cloud_nodes(installed) & {pod["spec"].get("nodeName") for pod in pods}


def test_the_chart_is_pulled_once(installed: Site) -> None:
    manifests = [path for method, path in installed.registry.requests if method == "GET" and "/manifests/" in path]

    assert len(manifests) == 1, manifests


def test_a_reconciliation_in_sync_writes_nothing(installed: Site) -> None:
    installed.wait_until_verified()
    wait_until(
        lambda: installed.status()["history"][-1].get("rollout") == "Verified",
        timeout=20,
        what="the last status of the install is written",
    )
    reads, writes = len(installed.calls("get", "ciliumhybrids")), len(installed.calls("update", "ciliumhybrids"))
    installed.cluster.kubectl("annotate", "ciliumhybrid", "default", "example.com/poke=1")
    wait_until(lambda: len(installed.calls("get", "ciliumhybrids")) > reads, timeout=20, what="a reconciliation")

    assert installed.wait_for("InSync", ready="True")
    assert len(installed.calls("update", "ciliumhybrids")) == writes
    assert installed.revisions() == [(1, "deployed")]


def test_changes_are_recorded_as_events(installed: Site) -> None:
    describe = installed.cluster.kubectl("describe", "ciliumhybrid", "default")
    events = describe.partition("Events:")[2]

    assert [reason for reason in ("Installing", "InstallSucceeded", "InSync") if reason not in events] == []
    assert len(installed.calls("create", "events")) < len(installed.calls("update", "ciliumhybrids"))


def test_the_audit_log_holds_every_status_that_was_written(installed: Site) -> None:
    (writes,) = installed.written()

    assert len(writes) == len(installed.calls("update", "ciliumhybrids"))
    assert writes[-1]["status"] == installed.status()


def test_a_node_that_joins_later_becomes_ready_without_a_new_revision(installed: Site) -> None:
    installed.cluster.add_node("mi-0000000000000006")
    wait_until(lambda: installed.status()["nodes"]["summary"] == "6/6", timeout=20, what="the new node is Ready")

    assert installed.wait_for("InSync", ready="True")
    assert installed.revisions() == [(1, "deployed")]


def test_an_appended_cidr_restarts_the_cilium_operator_and_no_agent(installed: Site) -> None:
    agents = installed.agents()
    installed.apply(ipam={"podCIDRs": ["10.85.0.0/16", "10.86.0.0/16"], "maskSize": 25})
    installed.wait_for("InSync", ready="True")

    assert installed.revisions() == [(1, "superseded"), (2, "deployed")]
    assert installed.agents() == agents
    config = installed.cluster.get("configmap", "cilium-config", "kube-system")["data"]
    assert config["cluster-pool-ipv4-cidr"].split() == ["10.85.0.0/16", "10.86.0.0/16"]


def test_a_changed_agent_value_restarts_every_agent(installed: Site) -> None:
    agents = installed.agents()
    pools = ["10.85.0.0/16", "10.86.0.0/16"]
    installed.apply(ipam={"podCIDRs": pools, "maskSize": 25}, values={"debug": {"enabled": True}})
    installed.wait_for("InSync", ready="True")

    assert not set(installed.agents().values()) & set(agents.values())
    assert installed.status()["nodes"]["upToDate"] == 6
    assert [(entry["action"], entry["revision"], entry["result"]) for entry in installed.status()["history"]] == [
        ("Install", 1, "Succeeded"),
        ("Configure", 2, "Succeeded"),
        ("Configure", 3, "Succeeded"),
    ]


def test_a_removed_cidr_is_refused_and_changes_nothing(installed: Site) -> None:
    # The CEL rule would refuse it first, so it is removed, as after a restore from a backup.
    rule = "/spec/versions/0/schema/openAPIV3Schema/x-kubernetes-validations"
    installed.cluster.kubectl(
        "patch", "crd", "ciliumhybrids.ciliumhybrid.io", "--type=json", "-p", f'[{{"op":"remove","path":"{rule}"}}]'
    )

    def applied() -> bool:
        installed.apply(ipam={"podCIDRs": ["10.86.0.0/16"], "maskSize": 25})
        return True

    wait_until(applied, timeout=20, what="the API server has dropped the rule")
    condition = installed.wait_for("PodCIDRRemoved", ready="False")

    assert "10.85.0.0/16" in condition["message"]
    assert installed.condition("Stalled") is not None
    assert installed.revisions()[-1] == (3, "deployed")
