"""Failing upgrades: each is rolled back or stopped, and the cause is reported."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from e2e.site import NODES, VERSION, Site
from testbed.processes import wait_until

FAST = {"soak": "1s", "progressDeadline": "5m"}
VIA_PATCH = [{"version": "1.17.15-1"}]
REJECT_IMAGE = """
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
    site.wait_until_verified()
    return site.agents()


def _upgrade(site: Site, version: str, *, rollout: dict[str, Any] | None = None, **upgrade: Any) -> None:
    site.apply(version=version, upgrade={"rollout": FAST | (rollout or {})} | upgrade)


def _preflight_is_removed(site: Site) -> bool:
    secrets = site.cluster.objects("secrets", "kube-system", selector="owner=helm,name=cilium-preflight")
    return not secrets and site.cluster.get("daemonset", "cilium-pre-flight-check", "kube-system") is None


def test_a_canary_that_never_becomes_ready_is_the_only_node_touched(site: Site) -> None:
    _installed(site)
    # The newest patch of the running minor release is a separate step, which succeeds.
    _upgrade(site, "1.17.15-1")
    site.wait_for("InSync", ready="True", timeout=90)
    before = site.agents()
    site.wait_until_verified(revision="2")
    _upgrade(site, "1.18.9-1", rollout={"progressDeadline": "5s"})
    ready = site.wait_for("RolledBack", ready="False", timeout=90)
    wait_until(lambda: site.cluster.ready_nodes() == 7, timeout=30, what="every node is Ready", needs=[site.operator])
    status, stalled = site.status(), site.condition("Stalled")

    assert site.restarted(before) == {NODES[0]}
    assert set(site.running().values()) == {"1.17.15-1"}
    assert f"the new agent fails on {NODES[0]} (" in ready["message"]
    assert stalled is not None
    assert status["version"]["running"] == "1.17.15-1"
    assert [(entry["action"], entry["to"]) for entry in status["history"]][-2:] == [
        ("Upgrade", "1.18.9-1"),
        ("Rollback", "1.17.15-1"),
    ]
    assert site.revisions()[-1] == (4, "deployed")


def test_no_node_is_touched_after_the_one_that_fails(site: Site) -> None:
    before = _installed(site)
    _upgrade(site, "1.17.15-1", rollout={"canary": 3, "soak": "1h", "progressDeadline": "5s"})
    site.wait_until_updated(3)
    site.cluster.break_agent(NODES[2], "crash")
    site.wait_for("RollingBack", timeout=60)
    site.cluster.repair_agent(NODES[2])
    ready = site.wait_for("RolledBack", ready="False", timeout=90)

    assert f"the new agent fails on {NODES[2]} (" in ready["message"]
    assert site.restarted(before) == set(NODES[:3])
    assert set(site.running().values()) == {VERSION}


def test_a_failed_preflight_names_the_cause_and_nothing_is_upgraded(site: Site) -> None:
    before = _installed(site)
    _upgrade(site, "1.18.10-1", via=VIA_PATCH, preflight={"timeout": "20s"})
    ready = site.wait_for("PreflightFailed", ready="False", timeout=120)
    wait_until(
        lambda: _preflight_is_removed(site), timeout=20, what="the preflight check is removed", needs=[site.operator]
    )
    status = site.status()

    assert status["preflight"]["result"] == "Failed"
    assert status["preflight"]["version"] == "1.18.10-1"
    assert any(NODES[0] in finding for finding in status["preflight"]["findings"])
    assert "nothing was upgraded" in ready["message"]
    assert status["version"]["running"] == "1.17.15-1"
    assert site.revisions()[-1] == (2, "deployed")
    assert site.restarted(before) == set(NODES)
    # A new process does not run the failed check again.
    site.operator.stop()
    site.operator.start()
    site.wait_for("PreflightFailed", ready="False")
    assert _preflight_is_removed(site)


def _preflights(site: Site) -> int:
    """Return how many preflight checks the operator has started in this cluster, from the audit log."""
    calls = [*site.calls("create", "daemonsets"), *site.calls("patch", "daemonsets")]
    return sum("pre-flight" in call["objectRef"].get("name", "") for call in calls)


def test_a_disabled_preflight_blocks_nothing(site: Site) -> None:
    _installed(site)
    before = _preflights(site)
    _upgrade(site, "1.17.15-1", preflight={"enabled": False})
    site.wait_for("InSync", ready="True", timeout=90)

    assert "preflight" not in site.status()
    assert before > 0
    assert _preflights(site) == before


def test_a_policy_that_would_reject_the_new_agents_blocks_the_step(site: Site) -> None:
    before = _installed(site)
    site.cluster.apply(REJECT_IMAGE % "v1.17.15-1")
    _upgrade(site, "1.17.15-1")
    ready = site.wait_for("PolicyRejected", ready="False", timeout=60)
    operator = site.cluster.get("deployment", "cilium-operator", "kube-system")

    assert "the API server would reject the new objects: DaemonSet kube-system/cilium: " in ready["message"]
    assert "this image was not approved by security" in ready["message"]
    assert site.revisions() == [(1, "deployed")]
    assert site.restarted(before) == set()
    assert VERSION in json.dumps(operator["spec"]["template"])
    site.cluster.kubectl("delete", "validatingadmissionpolicybinding", "no-new-agents")
    site.wait_for("InSync", ready="True", timeout=120)
    assert set(site.running().values()) == {"1.17.15-1"}


def test_a_policy_that_would_reject_a_rollback_blocks_the_step(site: Site) -> None:
    _installed(site)
    site.cluster.apply(REJECT_IMAGE % f"v{VERSION}")
    _upgrade(site, "1.17.15-1")
    ready = site.wait_for("PolicyRejected", ready="False", timeout=60)

    assert "the API server would reject the running objects: DaemonSet kube-system/cilium: " in ready["message"]
    assert site.revisions() == [(1, "deployed")]


def test_a_registry_that_fails_after_the_preflight_is_retried(site: Site) -> None:
    _installed(site)
    _upgrade(site, "1.18.8-1", via=VIA_PATCH)
    site.wait_for("RollingOut", timeout=90)
    site.registry.refuse()
    ready = site.wait_for("ChartUnavailable", ready="False", timeout=90)
    running = set(site.running().values())
    site.registry.serve()
    site.wait_for("InSync", ready="True", timeout=120)

    assert "next attempt at" in ready["message"]
    assert running == {"1.17.15-1"}
    assert set(site.running().values()) == {"1.18.8-1"}


def test_a_rollback_needs_no_registry(site: Site) -> None:
    before = _installed(site)
    _upgrade(site, "1.17.15-1", rollout={"canary": 2, "soak": "1h", "progressDeadline": "5s"})
    site.wait_until_updated(2)
    site.registry.refuse()
    site.cluster.break_agent(NODES[1], "crash")
    site.wait_for("RollingBack", timeout=60)
    site.cluster.repair_agent(NODES[1])
    site.wait_for("RolledBack", ready="False", timeout=90)

    assert site.restarted(before) == set(NODES[:2])
    assert set(site.running().values()) == {VERSION}


def _with_soaking_canary(site: Site) -> dict[str, str]:
    """Start an upgrade and wait until its canary is updated; return the agents from before the upgrade."""
    before = _installed(site)
    _upgrade(site, "1.17.15-1", rollout={"soak": "1h"})
    site.wait_until_updated(1)
    return before


def test_reverting_the_spec_during_a_rollout_reverts_the_canary(site: Site) -> None:
    before = _with_soaking_canary(site)
    _upgrade(site, VERSION)
    site.wait_for("InSync", ready="True", timeout=90)

    assert site.restarted(before) == {NODES[0]}
    assert set(site.running().values()) == {VERSION}


def test_an_edit_to_the_next_minor_finishes_the_current_rollout_first(site: Site) -> None:
    _with_soaking_canary(site)
    _upgrade(site, "1.18.8-1", via=VIA_PATCH)
    site.wait_for("InSync", ready="True", timeout=150)

    assert [entry["to"] for entry in site.status()["history"]] == [VERSION, "1.17.15-1", "1.18.8-1"]
    assert set(site.running().values()) == {"1.18.8-1"}


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        pytest.param({"suspend": True}, "Suspended", id="suspend"),
        pytest.param({"version": "1.14.0"}, "VersionUnsupported", id="unsupported version"),
    ],
)
def test_a_suspended_rollout_stands_still(site: Site, edit: dict[str, Any], reason: str) -> None:
    before = _with_soaking_canary(site)
    spec = {"version": "1.17.15-1", "upgrade": {"rollout": FAST}}
    site.apply(**(spec | edit))
    site.wait_for(reason)
    meanwhile = site.restarted(before)
    site.apply(**spec)
    site.wait_for("InSync", ready="True", timeout=90)

    assert meanwhile == {NODES[0]}
    assert set(site.running().values()) == {"1.17.15-1"}


def test_a_version_missing_in_the_registry_is_reported(site: Site) -> None:
    _installed(site)
    site.apply(version="1.19.4-1", upgrade={"rollout": FAST, "via": [{"version": "1.17.15-1"}]})
    ready = site.wait_for("VersionUnsupported", ready="False")

    assert "spec.upgrade.via" in ready["message"]
    assert "skips 1.18" in ready["message"]
    assert site.revisions() == [(1, "deployed")]
