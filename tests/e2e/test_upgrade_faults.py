"""Upgrades that must not go through: each ends in the state that an admin would want, and says so."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from e2e.site import NODES, VERSION, Site
from testbed.processes import wait_until

FAST = {"soak": "1s", "progressDeadline": "5m"}
SAME_MINOR = [{"version": "1.17.15-1"}]
POLICY = """
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: no-new-agents}
spec:
  failurePolicy: Fail
  matchConstraints:
    resourceRules:
    - {apiGroups: [apps], apiVersions: [v1], operations: [CREATE, UPDATE], resources: [daemonsets]}
  validations:
  - expression: "object.metadata.name != 'cilium' || !object.spec.template.spec.containers[0].image.endsWith('%s')"
    message: this image was not approved by security
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {name: no-new-agents}
spec: {policyName: no-new-agents, validationActions: [Deny]}
"""


@pytest.fixture(autouse=True)
def clean(site: Site) -> Iterator[None]:
    yield
    for kind in ("validatingadmissionpolicybinding", "validatingadmissionpolicy"):
        site.cluster.kubectl("delete", kind, "no-new-agents", "--ignore-not-found")
    site.restore()


def _installed(site: Site) -> dict[str, str]:
    site.apply(upgrade={"rollout": FAST})
    site.wait_for("InSync", ready="True")
    wait_until(lambda: site.verified == "1", timeout=20, what="the install has proven itself", needs=[site.operator])
    return site.agents()


def _upgrade(site: Site, version: str, *, rollout: dict[str, Any] | None = None, **upgrade: Any) -> None:
    site.apply(version=version, upgrade={"rollout": FAST | (rollout or {})} | upgrade)


def _preflight_is_gone(site: Site) -> bool:
    secrets = site.cluster.objects("secrets", "kube-system", selector="owner=helm,name=cilium-preflight")
    return not secrets and site.cluster.get("daemonset", "cilium-pre-flight-check", "kube-system") is None


def test_a_canary_that_never_gets_ready_is_the_only_node_that_is_touched(site: Site) -> None:
    _installed(site)
    # The newest patch of what runs is a step of its own, and is good.
    _upgrade(site, "1.17.15-1")
    site.wait_for("InSync", ready="True", timeout=90)
    before = site.agents()
    wait_until(lambda: site.verified == "2", timeout=20, what="the patch has proven itself", needs=[site.operator])
    _upgrade(site, "1.18.9-1", rollout={"progressDeadline": "5s"})
    ready = site.wait_for("RolledBack", ready="False", timeout=90)
    wait_until(lambda: site.cluster.ready_nodes() == 7, timeout=30, what="every node is Ready", needs=[site.operator])
    status, stalled = site.status(), site.condition("Stalled")

    assert site.moved(before) == {NODES[0]}
    assert set(site.running().values()) == {"1.17.15-1"}
    assert f"the new agent fails on {NODES[0]} (" in ready["message"]
    assert stalled is not None
    assert status["version"]["running"] == "1.17.15-1"
    assert [(entry["action"], entry["to"]) for entry in status["history"]][-2:] == [
        ("Upgrade", "1.18.9-1"),
        ("Rollback", "1.17.15-1"),
    ]
    assert site.revisions()[-1] == (4, "deployed")


def test_the_third_node_that_fails_is_the_last_that_is_touched(site: Site) -> None:
    before = _installed(site)
    _upgrade(site, "1.17.15-1", rollout={"canary": 3, "soak": "1h", "progressDeadline": "5s"})
    wait_until(
        lambda: site.status().get("rollout", {}).get("updated") == 3, timeout=90, what="it soaks", needs=[site.operator]
    )
    site.cluster.break_agent(NODES[2], "crash")
    site.wait_for("RollingBack", timeout=60)
    site.cluster.mend_agent(NODES[2])
    ready = site.wait_for("RolledBack", ready="False", timeout=90)

    assert f"the new agent fails on {NODES[2]} (" in ready["message"]
    assert site.moved(before) == set(NODES[:3])
    assert set(site.running().values()) == {VERSION}


def test_a_preflight_that_fails_names_what_is_in_the_way_and_nothing_is_upgraded(site: Site) -> None:
    before = _installed(site)
    _upgrade(site, "1.18.10-1", via=SAME_MINOR, preflight={"timeout": "20s"})
    ready = site.wait_for("PreflightFailed", ready="False", timeout=120)
    wait_until(lambda: _preflight_is_gone(site), timeout=20, what="it is taken away", needs=[site.operator])
    status = site.status()

    assert status["preflight"]["result"] == "Failed"
    assert status["preflight"]["version"] == "1.18.10-1"
    assert any(NODES[0] in finding for finding in status["preflight"]["findings"])
    assert "nothing was upgraded" in ready["message"]
    assert status["version"]["running"] == "1.17.15-1"
    assert site.revisions()[-1] == (2, "deployed")
    assert site.moved(before) == set(NODES)
    # Another process finds it failed, and does not try again.
    site.operator.stop()
    site.operator.start()
    site.wait_for("PreflightFailed", ready="False")
    assert _preflight_is_gone(site)


def _preflights(site: Site) -> int:
    """How many preflights the operator made in this cluster, by the audit log."""
    calls = [*site.calls("create", "daemonsets"), *site.calls("patch", "daemonsets")]
    return sum("pre-flight" in call["objectRef"].get("name", "") for call in calls)


def test_a_preflight_that_is_switched_off_stops_nothing(site: Site) -> None:
    _installed(site)
    before = _preflights(site)
    _upgrade(site, "1.17.15-1", preflight={"enabled": False})
    site.wait_for("InSync", ready="True", timeout=90)

    assert "preflight" not in site.status()
    assert before > 0
    assert _preflights(site) == before


def test_a_policy_that_would_reject_the_new_agents_stops_the_step(site: Site) -> None:
    before = _installed(site)
    site.cluster.apply(POLICY % "v1.17.15-1")
    _upgrade(site, "1.17.15-1")
    ready = site.wait_for("PolicyRejected", ready="False", timeout=60)
    operator = site.cluster.get("deployment", "cilium-operator", "kube-system")

    assert "DaemonSet kube-system/cilium: " in ready["message"]
    assert "this image was not approved by security" in ready["message"]
    assert site.revisions() == [(1, "deployed")]
    assert site.moved(before) == set()
    assert VERSION in json.dumps(operator["spec"]["template"])
    site.cluster.kubectl("delete", "validatingadmissionpolicybinding", "no-new-agents")
    site.wait_for("InSync", ready="True", timeout=120)
    assert set(site.running().values()) == {"1.17.15-1"}


def test_a_policy_that_would_reject_the_way_back_stops_the_step(site: Site) -> None:
    _installed(site)
    site.cluster.apply(POLICY % f"v{VERSION}")
    _upgrade(site, "1.17.15-1")
    ready = site.wait_for("PolicyRejected", ready="False", timeout=60)

    assert "would reject what runs" in ready["message"]
    assert site.revisions() == [(1, "deployed")]


def test_a_registry_that_dies_after_the_preflight_is_waited_for(site: Site) -> None:
    _installed(site)
    _upgrade(site, "1.18.8-1", via=SAME_MINOR)
    site.wait_for("RollingOut", timeout=90)
    site.registry.refuse()
    ready = site.wait_for("ChartUnavailable", ready="False", timeout=90)
    running = set(site.running().values())
    site.registry.serve()
    site.wait_for("InSync", ready="True", timeout=120)

    assert "next at" in ready["message"]
    assert running == {"1.17.15-1"}
    assert set(site.running().values()) == {"1.18.8-1"}


def test_a_rollback_needs_no_registry(site: Site) -> None:
    before = _installed(site)
    _upgrade(site, "1.17.15-1", rollout={"canary": 2, "soak": "1h", "progressDeadline": "5s"})
    wait_until(
        lambda: site.status().get("rollout", {}).get("updated") == 2, timeout=90, what="it soaks", needs=[site.operator]
    )
    site.registry.refuse()
    site.cluster.break_agent(NODES[1], "crash")
    site.wait_for("RollingBack", timeout=60)
    site.cluster.mend_agent(NODES[1])
    site.wait_for("RolledBack", ready="False", timeout=90)

    assert site.moved(before) == set(NODES[:2])
    assert set(site.running().values()) == {VERSION}


def _in_the_middle(site: Site) -> dict[str, str]:
    """The agents before an upgrade whose canary is moved, and whose soak lasts."""
    before = _installed(site)
    _upgrade(site, "1.17.15-1", rollout={"soak": "1h"})
    wait_until(
        lambda: site.status().get("rollout", {}).get("updated") == 1, timeout=90, what="it soaks", needs=[site.operator]
    )
    return before


def test_an_edit_back_in_the_middle_moves_the_canary_back(site: Site) -> None:
    before = _in_the_middle(site)
    _upgrade(site, VERSION)
    site.wait_for("InSync", ready="True", timeout=90)

    assert site.moved(before) == {NODES[0]}
    assert set(site.running().values()) == {VERSION}


def test_an_edit_to_the_next_minor_in_the_middle_finishes_what_began(site: Site) -> None:
    _in_the_middle(site)
    _upgrade(site, "1.18.8-1", via=SAME_MINOR)
    site.wait_for("InSync", ready="True", timeout=150)

    assert [entry["to"] for entry in site.status()["history"]] == [VERSION, "1.17.15-1", "1.18.8-1"]
    assert set(site.running().values()) == {"1.18.8-1"}


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        pytest.param({"suspend": True}, "Suspended", id="suspend"),
        pytest.param({"version": "1.14.0"}, "VersionUnsupported", id="a version that is refused"),
    ],
)
def test_it_stands_still_while_it_may_not_go_on(site: Site, edit: dict[str, Any], reason: str) -> None:
    before = _in_the_middle(site)
    spec = {"version": "1.17.15-1", "upgrade": {"rollout": FAST}}
    site.apply(**(spec | edit))
    site.wait_for(reason)
    meanwhile = site.moved(before)
    site.apply(**spec)
    site.wait_for("InSync", ready="True", timeout=90)

    assert meanwhile == {NODES[0]}
    assert set(site.running().values()) == {"1.17.15-1"}


def test_a_step_that_the_registry_does_not_have_is_named(site: Site) -> None:
    _installed(site)
    site.apply(version="1.19.4-1", upgrade={"rollout": FAST, "via": [{"version": "1.17.15-1"}]})
    ready = site.wait_for("VersionUnsupported", ready="False")

    assert "spec.upgrade.via" in ready["message"]
    assert "skips 1.18" in ready["message"]
    assert site.revisions() == [(1, "deployed")]
