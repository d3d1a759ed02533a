"""An upgrade to a version that rejects a network policy: the policy is reported, and nothing is upgraded."""

import json
from collections.abc import Iterator

import pytest

from e2e.site import Site
from testbed.processes import wait_until

FAST = {"soak": "1s", "progressDeadline": "5m"}
POLICIES = "ciliumnetworkpolicies,ciliumclusterwidenetworkpolicies"
# The stand-in validator rejects these labels, like those in the example of Cilium's upgrade guide.
INVALID = {"endpointSelector": {}, "labels": "wrong"}
LABELS = {"test": "upgrades"}
OBJECTS = (
    "serviceaccount/cilium-pre-flight",
    "clusterrole/cilium-pre-flight",
    "clusterrolebinding/cilium-pre-flight",
    "daemonset/cilium-pre-flight-check",
    "deployment/cilium-pre-flight-check",
)


@pytest.fixture(autouse=True)
def clean(site: Site) -> Iterator[None]:
    yield
    site.cluster.kubectl("delete", POLICIES, "-A", "-l", "test=upgrades")
    site.restore()


def _apply(site: Site, kind: str, name: str, namespace: str | None = None) -> None:
    metadata = {"name": name, "labels": LABELS} | ({"namespace": namespace} if namespace else {})
    policy = {"apiVersion": "cilium.io/v2", "kind": kind, "metadata": metadata, "spec": INVALID}
    site.cluster.kubectl("apply", "-f", "-", stdin=json.dumps(policy))


def _preflight_leftovers(site: Site) -> str:
    secrets = ("-n", "kube-system", "-l", "owner=helm,name=cilium-preflight", "-o", "name")
    found = site.cluster.kubectl("get", "-n", "kube-system", "--ignore-not-found", "-o", "name", *OBJECTS)
    return found + site.cluster.kubectl("get", "secrets", *secrets)


@pytest.mark.parametrize(
    ("running", "target"),
    [pytest.param("1.17.13-1", "1.17.15-1", id="1.17"), pytest.param("1.17.15-1", "1.18.8-1", id="1.18")],
)
def test_policies_that_the_new_version_rejects_are_named_and_nothing_is_upgraded(
    site: Site, running: str, target: str
) -> None:
    site.apply(version=running, upgrade={"rollout": FAST})
    site.wait_for("InSync", ready="True")
    site.wait_until_verified()
    before = site.agents()
    _apply(site, "CiliumNetworkPolicy", "old", "default")
    _apply(site, "CiliumClusterwideNetworkPolicy", "everywhere")
    site.apply(version=target, upgrade={"rollout": FAST, "preflight": {"timeout": "10s"}})
    ready = site.wait_for("PreflightFailed", ready="False", timeout=60)
    wait_until(
        lambda: not _preflight_leftovers(site), timeout=20, what="the preflight check is removed", needs=[site.operator]
    )
    status, revisions, agents = site.status(), site.revisions(), site.agents()
    # The message says to fix the cause and change the spec.
    site.cluster.kubectl("delete", POLICIES, "-A", "-l", "test=upgrades")
    site.apply(version=target, upgrade={"rollout": FAST, "preflight": {"timeout": "5m"}})
    site.wait_for("InSync", ready="True", timeout=120)

    error = 'spec.labels: Invalid value: "string": spec.labels in body must be of type object: "string"'
    assert status["preflight"]["result"] == "Failed"
    assert status["preflight"]["findings"] == [
        f"CiliumNetworkPolicy default/old: {error}",
        f"CiliumClusterwideNetworkPolicy everywhere: {error}",
    ]
    assert f"CiliumNetworkPolicy default/old: {error}" in ready["message"]
    assert status["version"]["running"] == running
    assert revisions == [(1, "deployed")]
    assert agents == before
    assert set(site.running().values()) == {target}
