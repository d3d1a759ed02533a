"""Faults are reported in one sentence, and the operator recovers when the cause is removed."""

from collections.abc import Iterator

import pytest

from e2e.site import LIMIT, Site
from testbed.processes import CommandError, wait_until

LEASES_RENEWED_AFTER = 90.0
"""Seconds: kwok renews no Lease until its watch of Leases is back, whose back-off reaches 60 s after an outage."""


@pytest.fixture(autouse=True)
def clean(site: Site) -> Iterator[None]:
    yield
    site.registry.serve()
    for node in ("mi-0000000000000002", "mi-0000000000000003"):
        site.cluster.repair_agent(node)
        site.cluster.reconnect(node)
    site.clean()


def _nothing_was_installed(site: Site) -> bool:
    return not site.revisions() and not site.cluster.objects("daemonsets", "kube-system", selector="k8s-app=cilium")


def test_an_unknown_version_is_named_and_the_corrected_one_is_installed(site: Site) -> None:
    site.apply(version="1.17.99-1")
    condition = site.wait_for("ChartUnavailable", ready="False")

    assert "1.17.99-1" in condition["message"]
    assert "correct spec.version or spec.chart.ref" in condition["message"]
    assert site.condition("Stalled") is None
    assert _nothing_was_installed(site)

    site.apply()
    site.wait_for("InSync", ready="True")


def test_a_wrong_chart_reference_is_reported(site: Site) -> None:
    site.apply(chart={"ref": f"oci://{site.registry.url}/nothing/here"})
    condition = site.wait_for("ChartUnavailable", ready="False")

    assert "nothing/here" in condition["message"]
    assert _nothing_was_installed(site)


@pytest.mark.parametrize("fault", ["refuse", "answer_429"])
def test_an_unreachable_registry_is_retried(site: Site, fault: str) -> None:
    # Each case needs a version that no other test has fetched, because a cached chart needs no registry.
    version = {"refuse": "1.17.15-1", "answer_429": "1.18.3-0"}[fault]
    getattr(site.registry, fault)()
    site.apply(version=version)
    condition = site.wait_for("ChartUnavailable", ready="False")

    assert "(tried " in condition["message"]
    assert site.condition("Reconciling") is not None

    site.registry.serve()
    site.wait_for("InSync", ready="True")


def test_a_fetched_chart_needs_no_registry(site: Site) -> None:
    site.apply()
    site.wait_for("InSync", ready="True")
    site.registry.refuse()
    site.apply(values={"debug": {"enabled": True}})

    assert site.wait_for("InSync", ready="True")


def test_a_value_of_the_wrong_type_stalls_and_changes_nothing(site: Site) -> None:
    site.apply(values={"l7Proxy": "perhaps"})
    condition = site.wait_for("InvalidValues", ready="False")

    assert "l7Proxy" in condition["message"]
    assert site.condition("Stalled") is not None
    assert _nothing_was_installed(site)

    site.apply(values={"l7Proxy": True})
    site.wait_for("InSync", ready="True")


def test_a_value_that_the_operator_owns_is_refused_by_name(site: Site) -> None:
    site.apply(values={"ipam": {"mode": "kubernetes"}, "affinity": {}})
    condition = site.wait_for("InvalidValues", ready="False")

    assert "spec.values.affinity" in condition["message"]
    assert "1 more" in condition["message"]
    valid = site.condition("Valid")
    assert valid is not None
    assert "spec.values.ipam" in valid["message"]
    assert _nothing_was_installed(site)


def test_a_chart_with_another_digest_is_refused(site: Site) -> None:
    site.apply(chart={"ref": site.registry.ref, "digest": "sha256:" + "0" * 64})
    condition = site.wait_for("ChartRefused", ready="False")

    assert "sha256:" in condition["message"]
    assert _nothing_was_installed(site)


def test_a_foreign_release_is_left_alone(site: Site) -> None:
    site.install_by_hand()
    before = site.cluster.get("daemonset", "cilium", "kube-system")["metadata"]["generation"]
    site.apply()
    condition = site.wait_for("ReleaseNotOwned", ready="False")

    assert "revision 1" in condition["message"]
    assert site.revisions() == [(1, "deployed")]
    assert site.cluster.get("daemonset", "cilium", "kube-system")["metadata"]["generation"] == before
    assert "release" not in site.status()

    site.cluster.helm("uninstall", "cilium", "-n", "kube-system")
    site.wait_for("InSync", ready="True")


def test_a_manual_rollback_is_not_fought_until_the_operator_is_asked_to_resume(site: Site) -> None:
    site.apply()
    site.wait_for("InSync", ready="True")
    site.apply(values={"debug": {"enabled": True}})
    site.wait_for("InSync", ready="True")
    site.cluster.helm("rollback", "cilium", "1", "-n", "kube-system", "--force-conflicts")
    condition = site.wait_for("ForeignRevision", ready="False")

    site.apply(values={"debug": {"enabled": False}})
    unchanged = site.wait_for("ForeignRevision", ready="False")
    revisions = site.revisions()
    site.reconcile("resume")
    site.wait_for("InSync", ready="True")

    assert "revision 3 of Helm release cilium was made by Helm, not by this operator" in condition["message"]
    assert "set annotation ciliumhybrid.io/reconcile to a new value" in condition["message"]
    assert unchanged["message"] == condition["message"]
    assert revisions[-1] == (3, "deployed")
    assert site.revisions()[-1] == (4, "deployed")


def test_a_crashing_agent_is_reported_with_its_cause_until_it_is_repaired(site: Site) -> None:
    node = "mi-0000000000000003"
    site.cluster.break_agent(node, "crash")
    site.apply()
    wait_until(lambda: site.status().get("nodes", {}).get("summary") == "4/5", timeout=30, what="four nodes are Ready")
    (unready,) = site.status()["nodes"]["unready"]

    assert (unready["name"], unready["reason"]) == (node, "AgentNotReady")
    assert "CrashLoopBackOff" in unready["message"]
    assert node in site.wait_for("Installing", ready="False")["message"]

    site.cluster.repair_agent(node)
    site.wait_for("InSync", ready="True")


def test_a_disconnected_node_does_not_block_the_others(site: Site) -> None:
    site.apply()
    site.wait_for("InSync", ready="True")
    site.cluster.disconnect("mi-0000000000000002")
    condition = site.wait_for("NodesDisconnected", ready="True")
    nodes_ready = site.condition("NodesReady")

    assert "mi-0000000000000002" in condition["message"]
    assert nodes_ready is not None
    assert nodes_ready["status"] == "False"
    assert site.status()["nodes"]["disconnected"] == 1

    site.cluster.reconnect("mi-0000000000000002")
    site.wait_for("InSync", ready="True")


def test_while_suspended_nothing_is_changed(site: Site) -> None:
    site.apply(suspend=True)
    site.wait_for("Suspended")

    assert _nothing_was_installed(site)
    assert site.status()["phase"] == "Suspended"

    site.apply(suspend=False)
    site.wait_for("InSync", ready="True")


def test_an_api_server_outage_is_survived(site: Site) -> None:
    site.apply()
    site.wait_for("InSync", ready="True")
    site.cluster.stop_api_server()
    wait_until(lambda: "is interrupted" in site.operator.tail(200), timeout=30, what="the operator notices")
    site.start_api_server()
    site.apply(values={"debug": {"enabled": True}})

    assert site.wait_for("InSync", ready="True", timeout=LEASES_RENEWED_AFTER + LIMIT)
    assert site.revisions() == [(1, "superseded"), (2, "deployed")]


def test_an_unknown_field_is_refused_by_the_api_server(site: Site) -> None:
    with pytest.raises(CommandError, match="unknown field"):
        site.apply({**site.spec(), "podCIDR": "10.85.0.0/16"})
