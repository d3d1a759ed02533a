"""A change of configuration reaches the agents node by node, and stops at the first that fails."""

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


def _ended(site: Site) -> list[str]:
    """The pods of agents that the operator ended, in its order."""
    return [event["objectRef"]["name"] for event in site.calls("delete", "pods")]


def test_a_canary_then_the_rest_one_at_a_time(site: Site) -> None:
    before = _installed(site)
    names = {
        pod["metadata"]["name"]: pod["spec"]["nodeName"]
        for pod in site.cluster.objects("pods", "kube-system", selector="k8s-app=cilium")
    }
    _changed(site)
    seen: list[int] = []

    def reached() -> bool:
        status = site.status()
        if (rollout := status.get("rollout")) is not None:
            seen.append(len(rollout.get("current", [])))
        return bool(status["phase"] == "Ready" and status["nodes"]["upToDate"] == 5 and "rollout" not in status)

    site.wait_for("RollingOut", ready="False")
    wait_until(reached, timeout=90, what="every node is moved", needs=[site.operator])

    assert [names[pod] for pod in _ended(site)] == NODES
    assert site.moved(before) == set(NODES)
    assert max(seen) == 1
    assert site.revisions() == [(1, "superseded"), (2, "deployed")]


def test_a_canary_that_crashes_is_the_only_one_and_what_ran_before_comes_back(site: Site) -> None:
    before = _installed(site)
    wait_until(lambda: site.verified == "1", timeout=20, what="the install has proven itself", needs=[site.operator])
    ended = len(_ended(site))
    _changed(site, BROKEN, progressDeadline="5s")
    ready = site.wait_for("RolledBack", ready="False")
    stalled, history = site.condition("Stalled"), site.status()["history"]
    wait_until(lambda: site.cluster.ready_nodes() == 7, timeout=30, what="every node is Ready", needs=[site.operator])
    # Another process looks anew, and tries nothing a second time either.
    site.operator.stop()
    looks = site.operator.log.read_text().count("every watch is in step")
    site.operator.start()
    wait_until(
        lambda: site.operator.log.read_text().count("every watch is in step") > looks,
        timeout=30,
        what="it looks",
        needs=[site.operator],
    )
    site.wait_for("RolledBack", ready="False")

    assert site.moved(before) == {NODES[0]}
    assert len(_ended(site)) == ended + 2
    assert f"the new agent fails on {NODES[0]} (CrashLoopBackOff" in ready["message"]
    assert "not tried again: change the spec" in ready["message"]
    assert stalled is not None
    assert [(entry["action"], entry["revision"]) for entry in history][-1] == ("Rollback", 3)
    assert site.revisions() == [(1, "superseded"), (2, "superseded"), (3, "deployed")]
    _changed(site)
    site.wait_for("InSync", ready="True", timeout=90)
    assert site.revisions()[-1] == (4, "deployed")


def test_an_operator_that_is_killed_on_the_way_back_goes_on(site: Site) -> None:
    before = _installed(site)
    wait_until(lambda: site.verified == "1", timeout=20, what="the install has proven itself", needs=[site.operator])
    _changed(site, BROKEN, progressDeadline="5s")
    site.wait_for("RollingBack", ready="False")
    site.operator.kill()
    site.operator.start()
    site.wait_for("RolledBack", ready="False")
    site.apply(upgrade={"rollout": FAST})
    site.wait_for("InSync", ready="True", timeout=90)

    assert site.moved(before) == {NODES[0]}
    assert [status for _, status in site.revisions()].count("deployed") == 1


def test_a_canary_that_crashes_may_be_left_as_it_is(site: Site) -> None:
    before = _installed(site)
    ended = len(_ended(site))
    pause = {"rollout": FAST | {"progressDeadline": "5s"}, "onFailure": "Pause"}
    site.apply(values=BROKEN, upgrade=pause)
    ready = site.wait_for("RolloutStalled", ready="False")

    assert site.moved(before) == {NODES[0]}
    assert len(_ended(site)) == ended + 1
    assert f"the new agent fails on {NODES[0]} (CrashLoopBackOff" in ready["message"]
    assert "change the spec" in ready["message"]
    site.apply(upgrade={"rollout": FAST})
    site.wait_for("InSync", ready="True")
    assert site.moved(before) == {NODES[0]}


def test_nodes_that_do_not_report_are_moved_when_they_come_back(site: Site) -> None:
    before = _installed(site)
    site.cluster.disconnect(NODES[0])
    _changed(site)
    site.wait_for("NodesDisconnected", ready="True", timeout=90)
    meanwhile = site.moved(before)
    site.cluster.reconnect(NODES[0])
    wait_until(lambda: site.status()["nodes"]["upToDate"] == 5, timeout=60, what="it is moved", needs=[site.operator])
    site.wait_for("InSync", ready="True")

    assert meanwhile == set(NODES[1:])


def test_an_operator_that_is_killed_goes_on_where_it_was(site: Site) -> None:
    before = _installed(site)
    _changed(site, soak="4s")
    wait_until(lambda: site.moved(before), timeout=60, what="the canary is moved", needs=[site.operator])
    started = site.status()["rollout"]["lastProgressAt"]
    site.operator.kill()
    site.operator.start()
    site.wait_for("InSync", ready="True", timeout=90)

    assert started
    assert site.moved(before) == set(NODES)


def test_the_daemon_set_may_be_left_to_move_them(site: Site) -> None:
    before = _installed(site, strategy="RollingUpdate", maxUnavailable=3)
    ended = len(_ended(site))
    _changed(site, strategy="RollingUpdate", maxUnavailable=3)
    site.wait_for("InSync", ready="True")
    strategy = site.cluster.get("daemonset", "cilium", "kube-system")["spec"]["updateStrategy"]

    assert strategy == {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 3, "maxSurge": 0}}
    assert site.moved(before) == set(NODES)
    assert len(_ended(site)) == ended


def test_how_it_is_rolled_out_is_no_change_to_the_agents(site: Site) -> None:
    before = _installed(site)
    site.apply(upgrade={"rollout": FAST | {"canary": 2, "soak": "1m"}})
    site.wait_for("InSync", ready="True")
    same = site.revisions()
    site.apply(upgrade={"rollout": {"strategy": "RollingUpdate"}})
    site.wait_for("InSync", ready="True")

    assert same == [(1, "deployed")]
    assert site.revisions()[-1] == (2, "deployed")
    assert site.agents() == before


def _once_the_canary_moved(site: Site, **changes: Any) -> dict[str, str]:
    """The agents before a change whose canary is moved, and whose soak lasts."""
    before = _installed(site)
    site.apply(values={"debug": {"enabled": True}}, upgrade={"rollout": FAST | {"soak": "1h"}}, **changes)
    wait_until(
        lambda: site.status().get("rollout", {}).get("updated") == 1, timeout=60, what="it soaks", needs=[site.operator]
    )
    return before


def test_an_edit_back_in_the_middle_moves_the_canary_back(site: Site) -> None:
    before = _once_the_canary_moved(site)
    canary = site.agents()[NODES[0]]
    site.apply(upgrade={"rollout": FAST})
    site.wait_for("InSync", ready="True", timeout=90)

    assert site.moved(before) == {NODES[0]}
    assert site.agents()[NODES[0]] != canary


def test_an_edit_to_something_else_in_the_middle_goes_on_to_that(site: Site) -> None:
    before = _once_the_canary_moved(site)
    site.apply(values={"debug": {"enabled": True, "verbose": "flow"}}, upgrade={"rollout": FAST})
    site.wait_for("InSync", ready="True", timeout=90)

    assert site.moved(before) == set(NODES)
    assert site.revisions()[-1] == (3, "deployed")


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        pytest.param({"suspend": True}, "Suspended", id="suspend"),
        pytest.param({"version": "1.14.0"}, "VersionUnsupported", id="a spec that is refused"),
    ],
)
def test_it_stands_still_while_it_may_not_go_on(site: Site, edit: dict[str, Any], reason: str) -> None:
    before = _once_the_canary_moved(site)
    changed = {"values": {"debug": {"enabled": True}}, "upgrade": {"rollout": FAST | {"soak": "1s"}}}
    site.apply(**(changed | edit))
    site.wait_for(reason)
    # A node that joins wakes the operator, and shows that it looked again.
    site.cluster.add_node("mi-of-late")
    wait_until(lambda: site.status()["nodes"]["total"] == 6, timeout=30, what="it looked", needs=[site.operator])
    meanwhile = site.moved(before) - {"mi-of-late"}
    site.cluster.remove_node("mi-of-late")
    site.apply(**changed)
    site.wait_for("InSync", ready="True", timeout=90)

    assert meanwhile == {NODES[0]}
    assert site.moved(before) == set(NODES)


def test_the_third_node_that_fails_is_the_last_that_is_touched(site: Site) -> None:
    before = _installed(site)
    wait_until(lambda: site.verified == "1", timeout=20, what="the install has proven itself", needs=[site.operator])
    _changed(site, canary=3, soak="1h", progressDeadline="5s")
    wait_until(
        lambda: site.status().get("rollout", {}).get("updated") == 3, timeout=60, what="it soaks", needs=[site.operator]
    )
    site.cluster.break_agent(NODES[2], "crash")
    site.wait_for("RollingBack", timeout=60)
    site.cluster.mend_agent(NODES[2])
    ready = site.wait_for("RolledBack", ready="False", timeout=90)

    assert f"the new agent fails on {NODES[2]} (" in ready["message"]
    assert site.moved(before) == set(NODES[:3])
    wait_until(lambda: site.cluster.ready_nodes() == 7, timeout=30, what="every node is Ready", needs=[site.operator])


def test_the_clock_stands_still_while_the_api_server_is_away(site: Site) -> None:
    before = _installed(site)
    _changed(site, progressDeadline="40s")
    wait_until(lambda: site.moved(before), timeout=60, what="it began", needs=[site.operator])
    site.cluster.pause_api_server()
    began = time.monotonic()
    wait_until(lambda: not site.operator.alive, timeout=30, what="the operator lost its Lease, and ended")
    wait_until(lambda: time.monotonic() > began + 45, timeout=60, what="the outage is longer than the deadline")
    site.cluster.resume_api_server()
    # As the kubelet does.
    site.operator.start()
    site.wait_for("InSync", ready="True", timeout=120)

    assert site.moved(before) == set(NODES)
    assert not {"RolloutStalled", "RollingBack"} & set(
        site.operator.log.read_text().rpartition("leading as")[2].split()
    )


def test_a_node_that_was_broken_before_has_nothing_rolled_back(site: Site) -> None:
    before = _installed(site)
    wait_until(lambda: site.verified == "1", timeout=20, what="the install has proven itself", needs=[site.operator])
    site.cluster.break_agent(NODES[1], "crash")
    wait_until(lambda: site.status()["nodes"]["ready"] == 4, timeout=30, what="it is seen", needs=[site.operator])
    _changed(site, progressDeadline="5s")
    wait_until(lambda: len(site.moved(before)) == 5, timeout=90, what="all are moved", needs=[site.operator])
    revisions = site.revisions()
    site.cluster.mend_agent(NODES[1])
    site.wait_for("InSync", ready="True", timeout=60)

    assert revisions == [(1, "superseded"), (2, "deployed")]
    assert site.moved(before) == set(NODES)


def test_a_cilium_operator_that_does_not_start_is_told_with_its_cause(site: Site) -> None:
    before = _installed(site)
    # No agent restarts for it, and the one of before goes on.
    _changed(site, {"operator": BROKEN})

    def told() -> dict[str, Any] | None:
        ready = site.wait_for("RollingOut", ready="False")
        return ready if "the image is broken" in ready["message"] else None

    ready = wait_until(told, timeout=30, what="its words are told", needs=[site.operator])
    site.apply(upgrade={"rollout": FAST})
    site.wait_for("InSync", ready="True")

    assert "waiting for Cilium's operator: 1 of 2 replicas available" in ready["message"]
    assert "(pod cilium-operator-" in ready["message"]
    assert site.agents() == before
