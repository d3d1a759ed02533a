"""The operator as a process: probes, metrics, logs, secrets, rights, and what it costs at rest."""

import json
import re
import urllib.request
from collections.abc import Iterator

import pytest
import yaml

from e2e.site import USER, Site
from testbed.operator import ROOT
from testbed.processes import wait_until


@pytest.fixture(scope="module")
def running(bare_site: Site) -> Iterator[Site]:
    """A site whose operator, with JSON logs, installed, changed and uninstalled Cilium once, and installed it again."""
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


def _http(site: Site, path: str) -> tuple[int, str]:
    with urllib.request.urlopen(f"http://{site.operator.env['CILIUM_HYBRID_METRICS_ADDR']}{path}", timeout=5) as answer:
        return answer.status, answer.read().decode()


def _secrets(site: Site) -> list[str]:
    """Every value of every Secret of Cilium's, as it is and as its API object has it."""
    values: list[str] = []
    for secret in site.cluster.objects("secrets", "kube-system"):
        if secret["type"] != "helm.sh/release.v1":
            values += [value for value in secret.get("data", {}).values() if len(value) > 40]
    return values


def test_the_probes_answer(running: Site) -> None:
    assert _http(running, "/healthz") == (200, "ok")
    assert _http(running, "/readyz") == (200, "ok")


def test_the_metrics_tell_what_was_done(running: Site) -> None:
    _, text = _http(running, "/metrics")
    own = [line for line in text.splitlines() if line.startswith("cilium_hybrid_")]

    assert 'cilium_hybrid_condition{reason="InSync",type="Ready"} 1.0' in own
    assert "cilium_hybrid_leader 1.0" in own
    assert 'cilium_hybrid_nodes{state="ready"} 5.0' in own
    assert 'cilium_hybrid_helm_seconds_count{command="upgrade",result="succeeded"} 3.0' in own


def test_every_log_line_of_a_pass_is_json_and_tells_which(running: Site) -> None:
    lines = [json.loads(line) for line in running.operator.log.read_text().splitlines()]
    of_passes = [line for line in lines if line["logger"].startswith("cilium_hybrid.reconcile")]

    assert of_passes
    assert all(line["resource"] == "default" for line in of_passes)
    assert all(line["generation"] >= 1 and line["pass"] >= 1 for line in of_passes)


def test_no_secret_is_in_any_output(running: Site) -> None:
    secrets = _secrets(running)
    outputs = {
        "log": running.operator.log.read_text(),
        "metrics": _http(running, "/metrics")[1],
        "resource": json.dumps(running.resource()),
        "record": json.dumps(running.cluster.get("configmap", "cilium-hybrid-applied", "kube-system")),
    }

    assert secrets
    for name, text in outputs.items():
        assert "PRIVATE KEY" not in text, name
        assert not [one for one in secrets if one in text], name


def test_nothing_it_asked_for_was_forbidden(running: Site) -> None:
    refused = [
        (event["verb"], event.get("requestURI"))
        for event in running.cluster.audit_events()
        if event["user"]["username"] == USER and event.get("responseStatus", {}).get("code") == 403
    ]

    assert not refused


def test_every_right_it_has_was_used(running: Site) -> None:
    # What no install of these versions, without features, uses: each with its reason.
    spare = {
        # The objects of the chart are read before they are changed or taken away; which of them, Helm decides.
        "get", "delete", "escalate", "bind",
    }  # fmt: skip
    used = set()
    for event in running.cluster.audit_events():
        where = event.get("objectRef", {})
        if event["user"]["username"] == USER and where:
            resource = "/".join(filter(None, (where.get("resource"), where.get("subresource"))))
            used.add((where.get("apiGroup", ""), resource, event["verb"]))
    unused = []
    for file in sorted((ROOT / "deploy" / "operator").glob("rbac*.yaml")):
        for document in yaml.safe_load_all(file.read_text()):
            for rule in document.get("rules", []):
                for group in rule["apiGroups"]:
                    for resource in rule["resources"]:
                        desired_release = {(group, resource, verb) for verb in rule["verbs"] if verb not in spare}
                        # Server-side apply makes an object by a patch, and needs the right to create it as well.
                        unused += [
                            one
                            for one in desired_release - used
                            if one[2] != "create" or (*one[:2], "patch") not in used
                        ]

    assert not unused


def test_at_rest_it_writes_nothing_and_asks_little(running: Site) -> None:
    def asked() -> list[tuple[str, str]]:
        events = [event for event in running.cluster.audit_events() if event["user"]["username"] == USER]
        return [(event["verb"], event.get("objectRef", {}).get("resource", "")) for event in events]

    # The last changes of an install settle; then a renewal of the Lease, every five seconds, is all there is.
    renewals = [("update", "leases")] * 4
    wait_until(lambda: asked()[-4:] == renewals, timeout=60, what="four renewals and nothing else")


def test_a_port_that_is_taken_is_reported_and_stops_nothing(running: Site) -> None:
    from testbed.operator import operator  # noqa: PLC0415

    env = {key: running.operator.env[key] for key in ("SSL_CERT_FILE", "CILIUM_HYBRID_METRICS_ADDR")}
    other = operator(running.cluster, name="other", env=env).start()
    wait_until(lambda: "standing by" in other.tail(), timeout=20, what="it stands by", needs=[other])
    other.stop()

    assert re.search("cannot listen on 127.0.0.1", other.tail())
