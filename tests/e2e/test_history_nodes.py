"""Nodes that are deleted, unlabelled or cut off from their pods while a rollout judges them."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from e2e.history import edit, findings, install, restore_nodes, wait_for_message
from e2e.site import NODES, Site
from testbed.api import MERGE_PATCH
from testbed.processes import wait_until

DEBUG = {"debug": {"enabled": True}}
EVENTS = "/api/v1/namespaces/default/events"
SANDBOX = (
    'Failed to create pod sandbox: rpc error: code = Unknown desc = failed to setup network for sandbox "%s": '
    'plugin type="cilium-cni" name="cilium" failed (add): unable to create endpoint: timed out'
)


@pytest.fixture(autouse=True)
def clean(site: Site) -> Iterator[None]:
    yield
    restore_nodes(site)
    site.cluster.kubectl("delete", "events", "-n", "default", "--all")
    site.restore()


def _unlabel(site: Site, node: str) -> None:
    labels = {"eks.amazonaws.com/compute-type": None}
    site.cluster.request("PATCH", f"/api/v1/nodes/{node}", {"metadata": {"labels": labels}}, kind=MERGE_PATCH)


class _Kubelet:
    """Reports that the network of a pod cannot be set up, at most once a second, by counting one Event up."""

    def __init__(self, site: Site, node: str) -> None:
        self._site, self._node = site, node
        self._count, self._at = 0, 0.0

    def report(self) -> None:
        if time.monotonic() - self._at < 1:
            return
        self._count, self._at = self._count + 1, time.monotonic()
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        event: dict[str, Any] = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": "web-0.1", "namespace": "default"},
            "involvedObject": {"apiVersion": "v1", "kind": "Pod", "namespace": "default", "name": "web-0"},
            "reason": "FailedCreatePodSandBox",
            "message": SANDBOX % (f"{self._count:x}" * 64)[:64],
            "source": {"component": "kubelet", "host": self._node},
            "type": "Warning",
            "count": self._count,
            "firstTimestamp": now,
            "lastTimestamp": now,
        }
        if self._count == 1:
            self._site.cluster.request("POST", EVENTS, event)
        else:
            changed = {key: event[key] for key in ("count", "message", "lastTimestamp")}
            self._site.cluster.request("PATCH", f"{EVENTS}/web-0.1", changed, kind=MERGE_PATCH)


def test_an_agent_that_is_ready_while_pods_on_its_node_fail_is_rolled_back(site: Site) -> None:
    before = install(site)
    edit(site, DEBUG, rollout={"soak": "12s"})
    site.wait_until_updated(1)
    kubelet = _Kubelet(site, NODES[0])

    def rolled_back() -> bool:
        kubelet.report()
        condition = site.condition("Ready")
        return condition is not None and condition["reason"] == "RolledBack"

    what = "the release is rolled back"
    wait_until(rolled_back, timeout=60, what=what, needs=[site.operator])
    ready = site.wait_for("RolledBack", ready="False")

    assert f"the new agent fails on {NODES[0]} (agent is Ready, but pods cannot start: " in ready["message"]
    assert 'plugin type="cilium-cni"' in ready["message"]
    assert site.restarted(before) == {NODES[0]}
    assert site.revisions()[-1] == (3, "deployed")


def test_sandbox_failures_that_were_there_before_do_not_reject_a_release(site: Site) -> None:
    before = install(site)
    kubelet = _Kubelet(site, NODES[0])
    kubelet.report()
    edit(site, DEBUG, rollout={"soak": "4s"})

    def updated() -> bool:
        kubelet.report()
        condition = site.condition("Ready")
        return condition is not None and condition["reason"] == "InSync" and site.restarted(before) == set(NODES)

    wait_until(updated, timeout=90, what="every node is updated", needs=[site.operator])

    assert site.revisions() == [(1, "superseded"), (2, "deployed")]


def test_a_deleted_canary_is_replaced_once_and_then_the_rollout_waits_for_a_person(site: Site) -> None:
    before = install(site)
    edit(site, DEBUG, rollout={"soak": "1h"})
    site.wait_until_updated(1)
    assert site.restarted(before) == {NODES[0]}
    site.cluster.remove_node(NODES[0])
    wait_for_message(site, f"soaking canary {NODES[1]}")
    assert site.restarted(before) == {NODES[1]}

    _unlabel(site, NODES[1])
    ready = site.wait_for("RolloutStalled", ready="False")
    untouched = set(site.agents()) - site.restarted(before)
    assert "the Nodes of 2 canaries were deleted or lost their label during this rollout" in ready["message"]
    assert "set annotation ciliumhybrid.io/reconcile" in ready["message"]
    assert set(NODES[2:]) <= untouched

    edit(site, DEBUG)
    site.wait_for("RolloutStalled", ready="False")
    site.reconcile("other canaries")
    site.wait_for("InSync", ready="True")
    assert site.restarted(before) >= set(NODES[2:])


def test_a_node_that_lost_its_label_keeps_its_block_and_is_reported(site: Site) -> None:
    install(site)
    _unlabel(site, NODES[4])
    words = f"with a CiliumNode, whose block counts as used: {NODES[4]}"
    wait_until(lambda: words in findings(site), timeout=30, what="the node is reported", needs=[site.operator])
    status = site.status()

    assert status["nodes"]["total"] == 4
    assert status["ipam"]["nodeBlocks"]["used"] == 5
    assert site.condition("Stalled") is None
    restore_nodes(site)
    wait_until(lambda: words not in findings(site), timeout=30, what="the finding is gone", needs=[site.operator])
