"""A configuration change is rolled out node by node and stops at the first node that fails."""

import time
from collections.abc import Iterator
from typing import Any

import pytest

from e2e.site import NODES, Site
from testbed.processes import wait_until

FAST = {"soak": "2s", "progressDeadline": "5m"}
BROKEN = {"image": {"override": "registry.example/cilium/broken:v1"}}


@pytest.fixture(autouse=True)
def clean(site: Site) -> Iterator[None]:
    yield
    site.restore()


def _installed(site: Site, **rollout: Any) -> dict[str, str]:
    site.apply(upgrade={"rollout": FAST | rollout})
    site.wait_for("InSync", ready="True")
    return site.agents()


def _changed(site: Site, values: dict[str, Any] | None = None, **rollout: Any) -> None:
    site.apply(values=values or {"debug": {"enabled": True}}, upgrade={"rollout": FAST | rollout})


def _deleted(site: Site) -> list[str]:
    """Return the agent pods that the operator deleted, in order."""
    return [event["objectRef"]["name"] for event in site.calls("delete", "pods")]


def test_the_canary_is_updated_first_then_the_others_one_at_a_time(site: Site) -> None:
    before = _installed(site)
    names = {
        pod["metadata"]["name"]: pod["spec"]["nodeName"]
        for pod in site.cluster.objects("pods", "kube-system", selector="k8s-app=cilium")
    }
    _changed(site)
    at_a_time: list[int] = []

    def finished() -> bool:
        status = site.status()
        if (rollout := status.get("rollout")) is not None:
            at_a_time.append(len(rollout.get("current", [])))
        return bool(status["phase"] == "Ready" and status["nodes"]["upToDate"] == 5 and "rollout" not in status)

    site.wait_for("RollingOut", ready="False")
    wait_until(finished, timeout=90, what="every node is updated", needs=[site.operator])

    assert [names[pod] for pod in _deleted(site)] == NODES
    assert site.restarted(before) == set(NODES)
    assert max(at_a_time) == 1
    assert site.revisions() == [(1, "superseded"), (2, "deployed")]


def test_a_crashing_canary_is_the_only_node_touched_and_is_rolled_back(site: Site) -> None:
    before = _installed(site)
    site.wait_until_verified()
    deleted = len(_deleted(site))
    _changed(site, BROKEN, progressDeadline="5s")
    ready = site.wait_for("RolledBack", ready="False")
    stalled, history = site.condition("Stalled"), site.status()["history"]
    wait_until(lambda: site.cluster.ready_nodes() == 7, timeout=30, what="every node is Ready", needs=[site.operator])
    # A new process does not try it a second time either.
    site.operator.stop()
    starts = site.operator.log.read_text().count("watches synced")
    site.operator.start()
    what = "the new process reads the cluster"
    wait_until(lambda: site.operator.log.read_text().count("watches synced") > starts, timeout=30, what=what)
    site.wait_for("RolledBack", ready="False")

    assert site.restarted(before) == {NODES[0]}
    assert len(_deleted(site)) == deleted + 2
    assert f"the new agent fails on {NODES[0]} (CrashLoopBackOff" in ready["message"]
    assert "change the spec, or set annotation ciliumhybrid.io/reconcile to a new value to retry" in ready["message"]
    assert stalled is not None
    assert [(entry["action"], entry["revision"]) for entry in history][-1] == ("Rollback", 3)
    assert site.revisions() == [(1, "superseded"), (2, "superseded"), (3, "deployed")]
    _changed(site)
    site.wait_for("InSync", ready="True", timeout=90)
    assert site.revisions()[-1] == (4, "deployed")


def test_an_operator_killed_during_a_rollback_finishes_it(site: Site) -> None:
    before = _installed(site)
    site.wait_until_verified()
    _changed(site, BROKEN, progressDeadline="5s")
    site.wait_for("RollingBack", ready="False")
    site.operator.kill()
    site.operator.start()
    site.wait_for("RolledBack", ready="False")
    site.apply(upgrade={"rollout": FAST})
    site.wait_for("InSync", ready="True", timeout=90)

    assert site.restarted(before) == {NODES[0]}
    assert [status for _, status in site.revisions()].count("deployed") == 1


def test_pause_leaves_a_crashing_canary_as_it_is(site: Site) -> None:
    before = _installed(site)
    deleted = len(_deleted(site))
    pause = {"rollout": FAST | {"progressDeadline": "5s"}, "onFailure": "Pause"}
    site.apply(values=BROKEN, upgrade=pause)
    ready = site.wait_for("RolloutStalled", ready="False")

    assert site.restarted(before) == {NODES[0]}
    assert len(_deleted(site)) == deleted + 1
    assert f"the new agent fails on {NODES[0]} (CrashLoopBackOff" in ready["message"]
    assert "and spec.upgrade.onFailure is Pause; change the spec" in ready["message"]
    site.apply(upgrade={"rollout": FAST})
    site.wait_for("InSync", ready="True")
    assert site.restarted(before) == {NODES[0]}


def test_disconnected_nodes_are_updated_when_they_return(site: Site) -> None:
    before = _installed(site)
    site.cluster.disconnect(NODES[0])
    _changed(site)
    site.wait_for("NodesDisconnected", ready="True", timeout=90)
    meanwhile = site.restarted(before)
    site.cluster.reconnect(NODES[0])
    wait_until(lambda: site.status()["nodes"]["upToDate"] == 5, timeout=60, what="the last node is updated")
    site.wait_for("InSync", ready="True")

    assert meanwhile == set(NODES[1:])


def test_an_operator_killed_during_a_rollout_continues_it(site: Site) -> None:
    before = _installed(site)
    _changed(site, soak="4s")
    wait_until(lambda: site.restarted(before), timeout=60, what="the canary is updated", needs=[site.operator])
    started = site.status()["rollout"]["lastProgressAt"]
    site.operator.kill()
    site.operator.start()
    site.wait_for("InSync", ready="True", timeout=90)

    assert started
    assert site.restarted(before) == set(NODES)


def test_rolling_update_leaves_the_rollout_to_the_daemonset_controller(site: Site) -> None:
    before = _installed(site, strategy="RollingUpdate", maxUnavailable=3)
    deleted = len(_deleted(site))
    _changed(site, strategy="RollingUpdate", maxUnavailable=3)
    site.wait_for("InSync", ready="True")
    strategy = site.cluster.get("daemonset", "cilium", "kube-system")["spec"]["updateStrategy"]

    assert strategy == {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 3, "maxSurge": 0}}
    assert site.restarted(before) == set(NODES)
    assert len(_deleted(site)) == deleted


def test_a_change_of_the_rollout_settings_restarts_no_agent(site: Site) -> None:
    before = _installed(site)
    site.apply(upgrade={"rollout": FAST | {"canary": 2, "soak": "1m"}})
    site.wait_for("InSync", ready="True")
    same = site.revisions()
    site.apply(upgrade={"rollout": {"strategy": "RollingUpdate"}})
    site.wait_for("InSync", ready="True")

    assert same == [(1, "deployed")]
    assert site.revisions()[-1] == (2, "deployed")
    assert site.agents() == before


def _with_soaking_canary(site: Site, **changes: Any) -> dict[str, str]:
    """Start a change and wait until its canary is updated; return the agents from before the change."""
    before = _installed(site)
    site.apply(values={"debug": {"enabled": True}}, upgrade={"rollout": FAST | {"soak": "1h"}}, **changes)
    site.wait_until_updated(1)
    return before


def test_reverting_the_spec_during_a_rollout_reverts_the_canary(site: Site) -> None:
    before = _with_soaking_canary(site)
    canary = site.agents()[NODES[0]]
    site.apply(upgrade={"rollout": FAST})
    site.wait_for("InSync", ready="True", timeout=90)

    assert site.restarted(before) == {NODES[0]}
    assert site.agents()[NODES[0]] != canary


def test_another_edit_during_a_rollout_rolls_out_that_edit(site: Site) -> None:
    before = _with_soaking_canary(site)
    site.apply(values={"debug": {"enabled": True, "verbose": "flow"}}, upgrade={"rollout": FAST})
    site.wait_for("InSync", ready="True", timeout=90)

    assert site.restarted(before) == set(NODES)
    assert site.revisions()[-1] == (3, "deployed")


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        pytest.param({"suspend": True}, "Suspended", id="suspend"),
        pytest.param({"version": "1.14.0"}, "VersionUnsupported", id="invalid spec"),
    ],
)
def test_a_suspended_rollout_stands_still(site: Site, edit: dict[str, Any], reason: str) -> None:
    before = _with_soaking_canary(site)
    changed = {"values": {"debug": {"enabled": True}}, "upgrade": {"rollout": FAST | {"soak": "1s"}}}
    site.apply(**(changed | edit))
    site.wait_for(reason)
    # The count of a joining node proves that a reconciliation has taken place.
    site.cluster.add_node("mi-late")
    wait_until(lambda: site.status()["nodes"]["total"] == 6, timeout=30, what="a reconciliation", needs=[site.operator])
    meanwhile = site.restarted(before) - {"mi-late"}
    site.cluster.remove_node("mi-late")
    site.apply(**changed)
    site.wait_for("InSync", ready="True", timeout=90)

    assert meanwhile == {NODES[0]}
    assert site.restarted(before) == set(NODES)


def test_no_node_is_touched_after_the_one_that_fails(site: Site) -> None:
    before = _installed(site)
    site.wait_until_verified()
    _changed(site, canary=3, soak="1h", progressDeadline="5s")
    site.wait_until_updated(3)
    site.cluster.break_agent(NODES[2], "crash")
    site.wait_for("RollingBack", timeout=60)
    site.cluster.repair_agent(NODES[2])
    ready = site.wait_for("RolledBack", ready="False", timeout=90)

    assert f"the new agent fails on {NODES[2]} (" in ready["message"]
    assert site.restarted(before) == set(NODES[:3])
    wait_until(lambda: site.cluster.ready_nodes() == 7, timeout=30, what="every node is Ready", needs=[site.operator])


def test_an_api_server_outage_does_not_count_against_the_deadline(site: Site) -> None:
    before = _installed(site)
    _changed(site, progressDeadline="40s")
    wait_until(lambda: site.restarted(before), timeout=60, what="the rollout starts", needs=[site.operator])
    site.cluster.pause_api_server()
    paused_at = time.monotonic()
    wait_until(lambda: not site.operator.alive, timeout=30, what="the operator loses its Lease and exits")
    wait_until(lambda: time.monotonic() > paused_at + 45, timeout=60, what="the outage is longer than the deadline")
    site.cluster.resume_api_server()
    # The kubelet would restart the operator.
    site.operator.start()
    site.wait_for("InSync", ready="True", timeout=120)

    assert site.restarted(before) == set(NODES)
    assert not {"RolloutStalled", "RollingBack"} & set(
        site.operator.log.read_text().rpartition("acquired the Lease as")[2].split()
    )


def test_a_node_that_was_unhealthy_before_causes_no_rollback(site: Site) -> None:
    before = _installed(site)
    site.wait_until_verified()
    site.cluster.break_agent(NODES[1], "crash")
    wait_until(lambda: site.status()["nodes"]["ready"] == 4, timeout=30, what="the unhealthy node is reported")
    _changed(site, progressDeadline="5s")
    wait_until(
        lambda: len(site.restarted(before)) == 5, timeout=90, what="all nodes are updated", needs=[site.operator]
    )
    revisions = site.revisions()
    site.cluster.repair_agent(NODES[1])
    site.wait_for("InSync", ready="True", timeout=60)

    assert revisions == [(1, "superseded"), (2, "deployed")]
    assert site.restarted(before) == set(NODES)


def test_a_cilium_operator_that_does_not_start_is_rolled_back_before_any_agent_is_touched(site: Site) -> None:
    before = _installed(site)
    site.wait_until_verified()
    _changed(site, {"operator": BROKEN, "debug": {"enabled": True}})
    ready = site.wait_for("RolledBack", ready="False")
    site.apply(upgrade={"rollout": FAST})
    site.wait_for("InSync", ready="True")

    assert "the new Cilium operator fails (CrashLoopBackOff: the image is broken)" in ready["message"]
    assert "revision 3 restored Cilium 1.17.13-1" in ready["message"]
    assert site.agents() == before
