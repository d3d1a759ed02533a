"""New agent pods that the cluster refuses, cannot place or does not end: the rollout stops, and says why."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from e2e.history import broken, edit, install, wait_for_message
from e2e.site import NODES, Site
from testbed.api import MERGE_PATCH, ApiError
from testbed.processes import wait_until

DEBUG = {"debug": {"enabled": True}}
PODS = "/api/v1/namespaces/kube-system/pods"
QUOTAS = "/api/v1/namespaces/kube-system/resourcequotas"
POLICY = """
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: no-agent-pods}
spec:
  failurePolicy: Fail
  matchConstraints:
    resourceRules:
    - {apiGroups: [""], apiVersions: [v1], operations: [CREATE], resources: [pods]}
  validations:
  - expression: "%s || object.metadata.?labels[?'k8s-app'].orValue('') != 'cilium'"
    message: agents were not approved by security
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {name: no-agent-pods}
spec: {policyName: no-agent-pods, validationActions: [Deny]}
"""
ALWAYS = "false"
# As if the policy appeared after the dry run, whose pod has a fixed name.
ONLY_WITHOUT_DRY_RUN = "object.metadata.?name.orValue('') == 'cilium-hybrid-probe'"
REFUSED = "agents were not approved by security"


@pytest.fixture(autouse=True)
def clean(site: Site) -> Iterator[None]:
    yield
    _allow_pods(site)
    site.cluster.kubectl("delete", "resourcequota", "-n", "kube-system", "--all")
    for pod in site.cluster.request("GET", PODS)["items"]:
        if pod["metadata"].get("finalizers"):
            _set_finalizers(site, pod["metadata"]["name"], [])
    site.restore()


def _refuse_pods(site: Site, unless: str) -> None:
    site.cluster.apply(POLICY % unless)
    labels = {"k8s-app": "cilium"}
    container = {"name": "x", "image": "registry.example/x"}
    pod = {"metadata": {"name": "try", "labels": labels}, "spec": {"containers": [container]}}

    def refused() -> bool:
        try:
            site.cluster.request("POST", f"{PODS}?dryRun=All", {"apiVersion": "v1", "kind": "Pod", **pod})
        except ApiError as error:
            return REFUSED in error.body
        return False

    wait_until(refused, timeout=30, what="the policy is enforced")


def _allow_pods(site: Site) -> None:
    for kind in ("validatingadmissionpolicybinding", "validatingadmissionpolicy"):
        site.cluster.kubectl("delete", kind, "no-agent-pods", "--ignore-not-found")


def _set_quota(site: Site, *, hard: int) -> None:
    """Limit the pods with the priority of agents, with the status that the quota controller writes."""
    limits = {"pods": str(hard)}
    used = {"pods": str(len(site.agents()))}
    priority = {"scopeName": "PriorityClass", "operator": "In", "values": ["system-node-critical"]}
    spec = {"hard": limits, "scopeSelector": {"matchExpressions": [priority]}}
    quota: dict[str, Any] = {"metadata": {"name": "few-pods"}, "spec": spec}
    site.cluster.request("POST", QUOTAS, {"apiVersion": "v1", "kind": "ResourceQuota", **quota})
    status = {"status": {"hard": limits, "used": used}}
    site.cluster.request("PATCH", f"{QUOTAS}/few-pods/status", status, kind=MERGE_PATCH)


def _remove_quota(site: Site) -> None:
    site.cluster.kubectl("delete", "resourcequota", "-n", "kube-system", "few-pods")


def _set_finalizers(site: Site, pod: str, finalizers: list[str]) -> None:
    patch = {"metadata": {"finalizers": finalizers}}
    site.cluster.request("PATCH", f"{PODS}/{pod}", patch, kind=MERGE_PATCH)


@pytest.mark.parametrize(
    ("forbid", "allow", "words"),
    [
        pytest.param(lambda site: _refuse_pods(site, ALWAYS), _allow_pods, REFUSED, id="policy"),
        pytest.param(lambda site: _set_quota(site, hard=1), _remove_quota, "exceeded quota: few-pods", id="quota"),
    ],
)
def test_pods_that_would_be_refused_stop_the_rollout_before_the_first_restart(
    site: Site, forbid: Callable[[Site], None], allow: Callable[[Site], None], words: str
) -> None:
    before = install(site)
    forbid(site)
    edit(site, DEBUG)
    ready = site.wait_for("PolicyRejected", ready="False")

    assert "the API server would reject a new agent pod: " in ready["message"]
    assert words in ready["message"]
    assert site.restarted(before) == set()
    # The annotation spares the wait for the next attempt.
    allow(site)
    site.reconcile("the policy is fixed")
    site.wait_for("InSync", ready="True")
    assert site.restarted(before) == set(NODES)


def test_pods_that_are_refused_after_the_dry_run_stop_the_rollout_at_one_node(site: Site) -> None:
    before = install(site)
    _refuse_pods(site, ONLY_WITHOUT_DRY_RUN)
    edit(site, DEBUG)
    ready = site.wait_for("RolloutStalled", ready="False")

    assert f"no agent pod on {NODES[0]} after its restart: " in ready["message"]
    assert REFUSED in ready["message"]
    assert set(site.agents()) == set(NODES[1:])
    assert site.restarted(before) == set()
    _allow_pods(site)
    site.wait_for("InSync", ready="True", timeout=90)
    assert site.restarted(before) == set(NODES)
    assert site.revisions() == [(1, "superseded"), (2, "deployed")]


def test_an_agent_that_does_not_fit_stops_the_rollout_with_the_words_of_the_scheduler(site: Site) -> None:
    before = install(site)
    edit(site, resources={"agent": {"requests": {"cpu": "64"}}})
    ready = site.wait_for("RolloutStalled", ready="False")

    assert f"no agent pod on {NODES[0]} after its restart: " in ready["message"]
    assert "Insufficient cpu" in ready["message"]
    assert site.restarted(before) == set()
    assert set(site.agents()) == set(NODES[1:])
    edit(site, resources={"agent": {"requests": {"cpu": "1"}}})
    site.wait_for("InSync", ready="True", timeout=90)
    assert site.restarted(before) == set(NODES)


def test_an_agent_pod_that_does_not_terminate_stops_the_rollout_until_it_does(site: Site) -> None:
    before = install(site)
    pods = site.cluster.objects("pods", "kube-system", selector="k8s-app=cilium")
    (stuck,) = (pod["metadata"]["name"] for pod in pods if pod["spec"]["nodeName"] == NODES[0])
    _set_finalizers(site, stuck, ["example.com/keep"])
    edit(site, DEBUG, rollout={"progressDeadline": "10s"})
    ready = site.wait_for("RolloutStalled", ready="False")

    assert NODES[0] in ready["message"]
    assert "agent pod is still terminating" in ready["message"]
    assert site.restarted(before) == set()
    _set_finalizers(site, stuck, [])
    site.wait_for("InSync", ready="True", timeout=90)
    assert site.restarted(before) == set(NODES)


def test_a_refused_pod_is_no_evidence_and_the_next_edit_is_applied(site: Site) -> None:
    before = install(site)
    _refuse_pods(site, ONLY_WITHOUT_DRY_RUN)
    edit(site, broken())
    wait_for_message(site, "ValidatingAdmissionPolicy 'no-agent-pods'")
    edit(site, DEBUG)
    wait_until(lambda: (3, "deployed") in site.revisions(), timeout=60, what="the next edit is applied")
    # Allowed any earlier, the failing agent could start, and be evidence.
    _allow_pods(site)
    site.wait_for("InSync", ready="True", timeout=90)

    assert site.restarted(before) == set(NODES)
    assert not any("Rollback" in entry["action"] for entry in site.status()["history"])
