"""Upgrades to a version that refuses a network policy of the cluster: it is named, and nothing is upgraded."""

import json
from collections.abc import Iterator

import pytest

from e2e.site import Site
from testbed.processes import wait_until

FAST = {"soak": "1s", "progressDeadline": "5m"}
POLICIES = "ciliumnetworkpolicies,ciliumclusterwidenetworkpolicies"
# What the versions of the testbed refuse: Cilium's upgrade guide has the same mistake as its example.
WRONG = {"endpointSelector": {}, "labels": "wrong"}
MARK = {"of": "upgrades"}
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
    site.cluster.kubectl("delete", POLICIES, "-A", "-l", "of=upgrades")
    site.restore()


def _apply(site: Site, kind: str, name: str, namespace: str | None = None) -> None:
    metadata = {"name": name, "labels": MARK} | ({"namespace": namespace} if namespace else {})
    policy = {"apiVersion": "cilium.io/v2", "kind": kind, "metadata": metadata, "spec": WRONG}
    site.cluster.kubectl("apply", "-f", "-", stdin=json.dumps(policy))


def _left_of_the_preflight(site: Site) -> str:
    secrets = ("-n", "kube-system", "-l", "owner=helm,name=cilium-preflight", "-o", "name")
    found = site.cluster.kubectl("get", "-n", "kube-system", "--ignore-not-found", "-o", "name", *OBJECTS)
    return found + site.cluster.kubectl("get", "secrets", *secrets)


@pytest.mark.parametrize(
    ("present", "coming"),
    [pytest.param("1.17.13-1", "1.17.15-1", id="1.17"), pytest.param("1.17.15-1", "1.18.8-1", id="1.18")],
)
def test_policies_that_the_new_version_refuses_are_named_and_nothing_is_upgraded(
    site: Site, present: str, coming: str
) -> None:
    site.apply(version=present, upgrade={"rollout": FAST})
    site.wait_for("InSync", ready="True")
    wait_until(lambda: site.verified == "1", timeout=20, what="the install has proven itself", needs=[site.operator])
    before = site.agents()
    _apply(site, "CiliumNetworkPolicy", "old", "default")
    _apply(site, "CiliumClusterwideNetworkPolicy", "everywhere")
    site.apply(version=coming, upgrade={"rollout": FAST, "preflight": {"timeout": "10s"}})
    ready = site.wait_for("PreflightFailed", ready="False", timeout=60)
    wait_until(
        lambda: not _left_of_the_preflight(site), timeout=20, what="the preflight is taken away", needs=[site.operator]
    )
    status, revisions, agents = site.status(), site.revisions(), site.agents()
    # As the message tells: the cause is mended, and the spec changed.
    site.cluster.kubectl("delete", POLICIES, "-A", "-l", "of=upgrades")
    site.apply(version=coming, upgrade={"rollout": FAST, "preflight": {"timeout": "5m"}})
    site.wait_for("InSync", ready="True", timeout=120)

    why = 'spec.labels: Invalid value: "string": spec.labels in body must be of type object: "string"'
    assert status["preflight"]["result"] == "Failed"
    assert status["preflight"]["findings"] == [
        f"CiliumNetworkPolicy default/old: {why}",
        f"CiliumClusterwideNetworkPolicy everywhere: {why}",
    ]
    assert f"CiliumNetworkPolicy default/old: {why}" in ready["message"]
    assert status["version"]["running"] == present
    assert revisions == [(1, "deployed")]
    assert agents == before
    assert set(site.running().values()) == {coming}
