"""The operator as a process: probes, metrics, logs, secrets, permissions, and its requests when idle."""

import json
import re
from collections.abc import Iterator

import pytest
import yaml

from e2e.site import USER, Site
from testbed.operator import ROOT
from testbed.processes import wait_until


@pytest.fixture(scope="module")
def running(bare_site: Site) -> Iterator[Site]:
    """A site whose operator logs JSON and has installed, changed, uninstalled and reinstalled Cilium."""
    bare_site.operator.env = {**bare_site.operator.env, "CILIUM_HYBRID_LOG_FORMAT": "json"}
    bare_site.operator.start()
    bare_site.apply()
    bare_site.wait_for("InSync", ready="True")
    hubble = {"relay": {"enabled": True}, "ui": {"enabled": True}}
    bare_site.apply(values={"debug": {"enabled": True}, "hubble": hubble}, deletionPolicy="Uninstall")
    bare_site.wait_for("InSync", ready="True")
    bare_site.cluster.kubectl("delete", "ciliumhybrid", "default", "--timeout=60s")
    bare_site.apply(version="1.19.4-1")
    bare_site.wait_for("InSync", ready="True")
    yield bare_site
    bare_site.operator.stop()


def _secrets(site: Site) -> list[str]:
    """Return the encoded values of all Secrets in kube-system, except those of Helm releases."""
    values: list[str] = []
    for secret in site.cluster.objects("secrets", "kube-system"):
        if secret["type"] != "helm.sh/release.v1":
            values += [value for value in secret.get("data", {}).values() if len(value) > 40]
    return values


def test_the_probes_answer(running: Site) -> None:
    assert running.http_get("/healthz") == (200, "ok")
    assert running.http_get("/readyz") == (200, "ok")


def test_the_metrics_report_state_and_work(running: Site) -> None:
    _, text = running.http_get("/metrics")
    samples = [line for line in text.splitlines() if line.startswith("cilium_hybrid_")]

    assert 'cilium_hybrid_condition{reason="InSync",type="Ready"} 1.0' in samples
    assert "cilium_hybrid_leader 1.0" in samples
    assert "cilium_hybrid_nodes_ready 5.0" in samples
    assert 'cilium_hybrid_helm_duration_seconds_count{command="upgrade",result="succeeded"} 3.0' in samples


def test_every_log_line_is_json_and_names_its_reconciliation(running: Site) -> None:
    lines = [json.loads(line) for line in running.operator.log.read_text().splitlines()]
    reconcile_lines = [line for line in lines if line["logger"].startswith("cilium_hybrid.reconcile")]

    assert reconcile_lines
    assert all(line["resource"] == "default" for line in reconcile_lines)
    assert all(line["generation"] >= 1 and line["reconciliation"] >= 1 for line in reconcile_lines)


def test_no_secret_is_in_any_output(running: Site) -> None:
    secrets = _secrets(running)
    outputs = {
        "log": running.operator.log.read_text(),
        "metrics": running.http_get("/metrics")[1],
        "resource": json.dumps(running.resource()),
        "record": json.dumps(running.cluster.get("configmap", "cilium-hybrid-applied", "kube-system")),
    }

    assert secrets
    for name, text in outputs.items():
        assert "PRIVATE KEY" not in text, name
        assert not [secret for secret in secrets if secret in text], name


def test_no_request_of_the_operator_was_forbidden(running: Site) -> None:
    forbidden = [
        (event["verb"], event.get("requestURI"))
        for event in running.cluster.audit_events()
        if event["user"]["username"] == USER and event.get("responseStatus", {}).get("code") == 403
    ]

    assert not forbidden


def _used(site: Site) -> set[tuple[str, str, str]]:
    """Return API group, resource and verb of every request of the operator, from the audit log."""
    used = set()
    for event in site.cluster.audit_events():
        target = event.get("objectRef", {})
        if event["user"]["username"] == USER and target:
            resource = "/".join(filter(None, (target.get("resource"), target.get("subresource"))))
            used.add((target.get("apiGroup", ""), resource, event["verb"]))
    return used


def test_every_granted_permission_was_used(running: Site) -> None:
    # Verbs that this test does not use, each with its reason.
    exempt = {
        # Helm decides which of the chart's objects it reads before it changes or deletes them.
        "get", "delete", "escalate", "bind",
    }  # fmt: skip
    # Their CRD did not exist when the operator started; it looks again a minute after Cilium has created its CRDs.
    last = ("cilium.io", "ciliumnodeconfigs", "watch")
    wait_until(lambda: last in _used(running), timeout=90, what="CiliumNodeConfigs are watched")
    used, unused = _used(running), []
    for file in sorted((ROOT / "deploy" / "operator").glob("rbac*.yaml")):
        for document in yaml.safe_load_all(file.read_text()):
            for rule in document.get("rules", []):
                for group in rule["apiGroups"]:
                    for resource in rule["resources"]:
                        granted = {(group, resource, verb) for verb in rule["verbs"] if verb not in exempt}
                        # Server-side apply creates an object with a patch, which also needs permission to create it.
                        unused += [
                            permission
                            for permission in granted - used
                            if permission[2] != "create" or (*permission[:2], "patch") not in used
                        ]

    assert not unused


def test_an_idle_operator_writes_nothing_and_sends_few_requests(running: Site) -> None:
    def requests() -> list[tuple[str, str]]:
        events = [event for event in running.cluster.audit_events() if event["user"]["username"] == USER]
        return [(event["verb"], event.get("objectRef", {}).get("resource", "")) for event in events]

    # After the last changes of an install, the Lease renewal every five seconds is the only request.
    renewals = [("update", "leases")] * 4
    wait_until(lambda: requests()[-4:] == renewals, timeout=60, what="four renewals and nothing else")


def test_a_metrics_port_in_use_is_reported_and_blocks_nothing(running: Site) -> None:
    from testbed.operator import operator  # noqa: PLC0415

    env = {key: running.operator.env[key] for key in ("SSL_CERT_FILE", "CILIUM_HYBRID_METRICS_ADDR")}
    other = operator(running.cluster, name="other", env=env).start()
    wait_until(lambda: "standing by" in other.tail(), timeout=20, what="the other replica is on standby", needs=[other])
    other.stop()

    assert re.search("cannot listen on 127.0.0.1", other.tail())
