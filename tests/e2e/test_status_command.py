"""What `cilium-hybrid status` tells of a cluster, at once and for as long as it is watched, and that it only reads."""

import json
import re
import signal
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
import yaml

from e2e.command import CTRL_C, call, running, terminal
from e2e.site import NODES, Site
from testbed.pki import USERS
from testbed.processes import wait_until

READS = {"get", "list", "watch"}
# The soak is time enough for whoever looks.
CHANGED = {"values": {"debug": {"enabled": True}}, "upgrade": {"rollout": {"canary": 3, "soak": "3s"}}}
READER = """
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: onlooker}
rules: [{apiGroups: [ciliumhybrid.io], resources: [ciliumhybrids], verbs: [get, list, watch]}]
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: onlooker, namespace: default}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: onlooker}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: onlooker}
subjects: [{kind: ServiceAccount, name: onlooker, namespace: default}]
"""


@pytest.fixture(autouse=True)
def clean(site: Site) -> Iterator[None]:
    yield
    for node in NODES:
        site.cluster.mend_agent(node)
    site.clean()


def _installed(site: Site) -> None:
    site.apply()
    site.wait_for("InSync", ready="True")


def _writes(site: Site) -> list[str]:
    """What was written with the kubeconfig that the command is called with, by the audit log."""
    return [
        event["requestURI"]
        for event in site.cluster.audit_events()
        if event["user"]["username"] == USERS["admin"] and event["verb"] not in READS
    ]


def _names(nodes: list[dict[str, Any]]) -> list[tuple[str, bool]]:
    return [(node["name"], node["ready"]) for node in nodes]


def test_a_ready_cluster_is_told_node_by_node(site: Site) -> None:
    _installed(site)
    before = _writes(site)
    said = call(site.cluster.env, "status")
    told = json.loads(call(site.cluster.env, "status", "-o", "json").out)
    in_yaml = yaml.safe_load(call(site.cluster.env, "status", "-o", "yaml").out)
    lines = said.out.splitlines()

    assert (said.code, said.err) == (0, "")
    assert lines[0] == "Ready: True InSync: Cilium 1.17.13-1 runs on 5 of 5 hybrid nodes"
    assert "nodes: 5 of 5 ready, 5 agents ready, 5 up to date" in lines
    assert [line.split()[:2] for line in lines[-5:]] == [[name, "Ready"] for name in NODES]
    assert all(line.isprintable() for line in lines)
    assert told["ready"] is True
    assert _names(told["nodes"]) == [(name, True) for name in NODES]
    assert told["status"] == site.status()
    assert told == in_yaml
    assert before
    assert _writes(site) == before


def test_a_node_whose_agent_crashes_is_told_with_its_leg_and_cause(site: Site) -> None:
    site.cluster.break_agent(NODES[2], "crash")
    site.apply()
    wait_until(lambda: site.status().get("nodes", {}).get("summary") == "4/5", timeout=30, what="four nodes are Ready")
    said = call(site.cluster.env, "status")
    told = json.loads(call(site.cluster.env, "status", "-o", "json").out)
    (row,) = [line for line in said.out.splitlines() if line.startswith(NODES[2])]

    assert said.code == 1
    assert said.out.startswith("Ready: False Installing: ")
    assert row.split()[1] == "AgentNotReady"
    assert "CrashLoopBackOff" in row
    assert _names(told["nodes"]) == [(NODES[2], False), *((name, True) for name in NODES if name != NODES[2])]
    assert told["nodes"][0]["reason"] == "AgentNotReady"


def test_who_may_not_read_nodes_gets_those_of_the_status_and_is_told_so(site: Site) -> None:
    site.cluster.apply(READER)
    env = {"KUBECONFIG": str(site.cluster.kubeconfig_for("default", "onlooker"))}
    site.cluster.break_agent(NODES[2], "crash")
    site.apply()
    wait_until(lambda: site.status().get("nodes", {}).get("summary") == "4/5", timeout=30, what="four nodes are Ready")
    said = call(env, "status")
    told = json.loads(call(env, "status", "-o", "json").out)
    lines = said.out.splitlines()

    assert (said.code, said.err) == (1, "")
    assert "nodes: 4 of 5 ready, 4 agents ready, 5 up to date" in lines
    assert [line.split()[0] for line in lines if line.startswith("mi-")] == [NODES[2]]
    assert _names(told["nodes"]) == [(NODES[2], False)]
    assert 'cannot list resource "nodes"' in told["incomplete"]
    assert f"partial: only nodes that fail, at most ten: {told['incomplete']}" in lines


def test_a_rollout_is_told_line_by_line_until_it_is_interrupted(site: Site) -> None:
    _installed(site)
    with running(site.cluster.env, "status", "--watch") as watched:
        first = watched.wait_for(lambda out: NODES[-1] in out, "the first block is told")
        site.apply(**CHANGED)
        watched.wait_for(lambda out: out.count("Ready: True InSync") == 2, "the end of the rollout is told")
        watched.interrupt(signal.SIGINT)
        code = watched.end()
        later = watched.out.removeprefix(first).splitlines()

    assert code == 0
    assert [line for line in later if line.startswith("rollout: 3 of 5 agents updated")] != []
    assert [line.split()[1] for line in later if line.startswith(NODES[0])][-1] == "Ready"
    assert all(line.isprintable() for line in later)
    assert all(now != then for now, then in pairwise(later))


def test_an_api_server_that_goes_away_is_waited_for(site: Site) -> None:
    _installed(site)
    with running(site.cluster.env, "status", "--watch") as watched:
        watched.wait_for(lambda out: NODES[-1] in out, "the first block is told")
        site.cluster.stop_api_server()
        watched.wait_for(lambda out: "\nReady: Unknown: no answer from the API server" in out, "it is told to be away")
        site.cluster.start_api_server()
        watched.wait_for(lambda out: out.count("Ready: True InSync") == 2, "it is told to be back")
        site.apply(suspend=True)
        watched.wait_for(lambda out: "\nReady: True Suspended" in out, "what changed since is told")
        watched.interrupt(signal.SIGTERM)

        assert watched.end() == 0
        assert "seen last: True InSync" in watched.out


def test_a_resource_that_is_deleted_ends_the_watch(site: Site) -> None:
    _installed(site)
    with running(site.cluster.env, "status", "--watch") as watched:
        watched.wait_for(lambda out: NODES[-1] in out, "the first block is told")
        site.cluster.kubectl("delete", "ciliumhybrid", "default")

        assert watched.end() == 2
        assert watched.out.endswith("cilium-hybrid: CiliumHybrid default is not there any more\n")


@pytest.mark.parametrize("no_color", [{}, {"NO_COLOR": "1"}], ids=["in colours", "without"])
def test_a_terminal_shows_a_bar_that_grows(site: Site, no_color: dict[str, str]) -> None:
    _installed(site)
    with terminal(site.cluster.env | no_color, "status", "--watch") as watched:
        watched.wait_for(lambda out: NODES[-1] in out, "the first screen is drawn")
        site.apply(**CHANGED)
        drawn = watched.wait_for(lambda out: "3 of 5 agents updated" in out, "the rollout is drawn")
        watched.wait_for(lambda out: "True InSync" in out.rpartition("agents updated")[2], "its end is drawn")
        watched.type(CTRL_C)
        code = watched.end()
        out = watched.out

    assert code == 0
    assert re.search("(?<!━)━{18}(?!━)", drawn)
    assert ("\x1b[32m" in out) is not bool(no_color)
    assert out.endswith("\x1b[?25h")
    assert all(name in out.rpartition("\x1b[2K")[2] for name in ["True InSync", *NODES])
