"""`cilium-hybrid status`: its output, once and with --watch, and that it only reads."""

import json
import re
import signal
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
import yaml

from e2e.command import CTRL_C, run, running, terminal
from e2e.site import NODES, Site
from testbed.pki import USERS
from testbed.processes import wait_until

READS = {"get", "list", "watch"}
# The soak leaves enough time to see the state.
CHANGED = {"values": {"debug": {"enabled": True}}, "upgrade": {"rollout": {"canary": 3, "soak": "3s"}}}
STATUS_READER = """
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: status-reader}
rules: [{apiGroups: [ciliumhybrid.io], resources: [ciliumhybrids], verbs: [get, list, watch]}]
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: status-reader, namespace: default}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: status-reader}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: status-reader}
subjects: [{kind: ServiceAccount, name: status-reader, namespace: default}]
"""


@pytest.fixture(autouse=True)
def clean(site: Site) -> Iterator[None]:
    yield
    for node in NODES:
        site.cluster.repair_agent(node)
    site.clean()


def _install(site: Site) -> None:
    site.apply()
    site.wait_for("InSync", ready="True")


def _writes(site: Site) -> list[str]:
    """Return the write requests of the command's user, from the audit log."""
    return [
        event["requestURI"]
        for event in site.cluster.audit_events()
        if event["user"]["username"] == USERS["admin"] and event["verb"] not in READS
    ]


def _names(nodes: list[dict[str, Any]]) -> list[tuple[str, bool]]:
    return [(node["name"], node["ready"]) for node in nodes]


def test_a_ready_cluster_is_shown_node_by_node(site: Site) -> None:
    _install(site)
    before = _writes(site)
    result = run(site.cluster.env, "status")
    document = json.loads(run(site.cluster.env, "status", "-o", "json").out)
    in_yaml = yaml.safe_load(run(site.cluster.env, "status", "-o", "yaml").out)
    lines = result.out.splitlines()

    assert (result.code, result.err) == (0, "")
    assert lines[0] == "Ready: True InSync: Cilium 1.17.13-1 runs on 5 of 5 hybrid nodes"
    assert "nodes: 5 of 5 ready, 5 agents ready, 5 up to date" in lines
    assert [line.split()[:2] for line in lines[-5:]] == [[name, "Ready"] for name in NODES]
    assert all(line.isprintable() for line in lines)
    assert document["ready"] is True
    assert _names(document["nodes"]) == [(name, True) for name in NODES]
    assert document["status"] == site.status()
    assert document == in_yaml
    assert before
    assert _writes(site) == before


def test_a_crashing_agent_is_shown_with_reason_and_cause(site: Site) -> None:
    site.cluster.break_agent(NODES[2], "crash")
    site.apply()
    wait_until(lambda: site.status().get("nodes", {}).get("summary") == "4/5", timeout=30, what="four nodes are Ready")
    result = run(site.cluster.env, "status")
    document = json.loads(run(site.cluster.env, "status", "-o", "json").out)
    (row,) = [line for line in result.out.splitlines() if line.startswith(NODES[2])]

    assert result.code == 1
    assert result.out.startswith("Ready: False Installing: ")
    assert row.split()[1] == "AgentNotReady"
    assert "CrashLoopBackOff" in row
    assert _names(document["nodes"]) == [(NODES[2], False), *((name, True) for name in NODES if name != NODES[2])]
    assert document["nodes"][0]["reason"] == "AgentNotReady"


def test_without_permission_to_read_nodes_the_output_is_marked_partial(site: Site) -> None:
    site.cluster.apply(STATUS_READER)
    env = {"KUBECONFIG": str(site.cluster.kubeconfig_for("default", "status-reader"))}
    site.cluster.break_agent(NODES[2], "crash")
    site.apply()
    wait_until(lambda: site.status().get("nodes", {}).get("summary") == "4/5", timeout=30, what="four nodes are Ready")
    result = run(env, "status")
    document = json.loads(run(env, "status", "-o", "json").out)
    lines = result.out.splitlines()

    assert (result.code, result.err) == (1, "")
    assert "nodes: 4 of 5 ready, 4 agents ready, 5 up to date" in lines
    assert [line.split()[0] for line in lines if line.startswith("mi-")] == [NODES[2]]
    assert _names(document["nodes"]) == [(NODES[2], False)]
    assert 'cannot list resource "nodes"' in document["incomplete"]
    assert f"partial: only unready nodes, at most 10: {document['incomplete']}" in lines


def test_a_rollout_is_printed_line_by_line_until_interrupted(site: Site) -> None:
    _install(site)
    with running(site.cluster.env, "status", "--watch") as watched:
        first = watched.wait_for(lambda out: NODES[-1] in out, "the first output")
        site.apply(**CHANGED)
        watched.wait_for(lambda out: out.count("Ready: True InSync") == 2, "the end of the rollout")
        watched.interrupt(signal.SIGINT)
        code = watched.wait()
        later = watched.out.removeprefix(first).splitlines()

    assert code == 0
    assert [line for line in later if line.startswith("rollout: 3 of 5 nodes updated")] != []
    assert [line.split()[1] for line in later if line.startswith(NODES[0])][-1] == "Ready"
    assert all(line.isprintable() for line in later)
    assert all(now != then for now, then in pairwise(later))


def test_a_lost_api_server_is_reported_until_it_is_back(site: Site) -> None:
    _install(site)
    command = site.cluster.env, "status", "--watch"
    with running(*command) as watched, running(*command) as interrupted:
        watched.wait_for(lambda out: NODES[-1] in out, "the first output")
        interrupted.wait_for(lambda out: NODES[-1] in out, "the first output")
        site.cluster.stop_api_server()
        watched.wait_for(lambda out: "\nReady: Unknown: no answer from the API server" in out, "the lost API server")
        interrupted.wait_for(lambda out: "\nReady: Unknown" in out, "the lost API server")
        interrupted.interrupt(signal.SIGINT)
        assert interrupted.wait() == 2
        site.start_api_server()
        watched.wait_for(lambda out: out.count("Ready: True InSync") == 2, "the API server is back")
        site.apply(suspend=True)
        watched.wait_for(lambda out: "\nReady: True Suspended" in out, "a later change")
        watched.interrupt(signal.SIGTERM)

        assert watched.wait() == 0
        assert "last known: True InSync" in watched.out


def test_deleting_the_resource_ends_the_watch(site: Site) -> None:
    _install(site)
    with running(site.cluster.env, "status", "--watch") as watched:
        watched.wait_for(lambda out: NODES[-1] in out, "the first output")
        site.cluster.kubectl("delete", "ciliumhybrid", "default")

        assert watched.wait() == 2
        assert watched.out.endswith("cilium-hybrid: CiliumHybrid default was deleted\n")


@pytest.mark.parametrize("no_color", [{}, {"NO_COLOR": "1"}], ids=["with colors", "without colors"])
def test_a_terminal_shows_a_progress_bar(site: Site, no_color: dict[str, str]) -> None:
    _install(site)
    with terminal(site.cluster.env | no_color, "status", "--watch") as watched:
        watched.wait_for(lambda out: NODES[-1] in out, "the first screen")
        site.apply(**CHANGED)
        screen = watched.wait_for(lambda out: "3 of 5 nodes updated" in out, "the rollout")
        watched.wait_for(lambda out: "True InSync" in out.rpartition("nodes updated")[2], "the end of the rollout")
        watched.type(CTRL_C)
        code = watched.wait()
        out = watched.out

    assert code == 0
    assert re.search("(?<!━)━{18}(?!━)", screen)
    assert ("\x1b[32m" in out) is not bool(no_color)
    assert out.endswith("\x1b[?25h")
    assert all(name in out.rpartition("\x1b[2K")[2] for name in ["True InSync", *NODES])
