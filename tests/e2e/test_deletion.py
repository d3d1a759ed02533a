"""Deletion of the resource: what it does with each policy, and that it never hangs."""

import base64
import json
from collections.abc import Iterator
from typing import Any

import pytest

from e2e.site import Site
from testbed.operator import ROOT, install
from testbed.processes import CommandError, wait_until

FINALIZER = "ciliumhybrid.io/finalizer"


@pytest.fixture(autouse=True)
def clean(site: Site) -> Iterator[None]:
    yield
    site.cluster.reconnect("mi-0000000000000004")
    if not site.operator.alive:
        site.operator.start()
    site.clean()


def _install(site: Site, **changes: object) -> None:
    site.apply(**changes)
    site.wait_for("InSync", ready="True")


def _delete(site: Site, *, wait: bool = True) -> None:
    site.cluster.kubectl("delete", "ciliumhybrid", "default", f"--wait={str(wait).lower()}", "--timeout=60s")


def _cilium_runs(site: Site) -> bool:
    return len(site.agents()) == 5 and site.revisions()[-1][1] == "deployed"


def _cilium_is_gone(site: Site) -> bool:
    return not site.revisions() and site.cluster.get("daemonset", "cilium", "kube-system") is None


def _wait_until_gone(site: Site) -> None:
    what = "the resource is gone"
    wait_until(
        lambda: site.cluster.get("ciliumhybrid", "default") is None, timeout=60, what=what, needs=[site.operator]
    )


def test_by_default_deletion_retains_cilium_and_does_not_wait(site: Site) -> None:
    _install(site)
    site.operator.stop()
    _delete(site)

    assert _cilium_runs(site)
    assert site.cluster.get("configmap", "cilium-hybrid-applied", "kube-system") is not None


def test_a_recreated_resource_adopts_the_retained_release(site: Site) -> None:
    _install(site)
    agents = site.agents()
    _delete(site)
    _install(site)

    assert site.revisions() == [(1, "deployed")]
    assert site.agents() == agents


def test_a_recreated_resource_cannot_change_the_mask_size(site: Site) -> None:
    _install(site)
    _delete(site)
    site.apply(ipam={"podCIDRs": ["10.85.0.0/16"], "maskSize": 26})
    condition = site.wait_for("MaskChanged", ready="False")

    assert "Invalid value: 26: cannot change from 25" in condition["message"]
    assert site.revisions() == [(1, "deployed")]


def test_uninstall_removes_cilium_and_keeps_the_record(site: Site) -> None:
    _install(site, deletionPolicy="Uninstall")
    finalizers = site.resource()["metadata"]["finalizers"]
    _delete(site)

    assert finalizers == [FINALIZER]
    assert _cilium_is_gone(site)
    assert not site.agents()
    assert site.cluster.get("configmap", "cilium-hybrid-applied", "kube-system") is not None


def test_changing_the_policy_to_retain_releases_the_resource(site: Site) -> None:
    _install(site, deletionPolicy="Uninstall")
    _install(site, deletionPolicy="Retain")

    what = "the finalizer is removed"
    wait_until(lambda: "finalizers" not in site.resource()["metadata"], timeout=20, what=what)


def test_a_deletion_while_the_operator_is_down_is_finished_after_its_start(site: Site) -> None:
    _install(site, deletionPolicy="Uninstall")
    site.operator.stop()
    _delete(site, wait=False)

    assert _cilium_runs(site)

    site.operator.start()
    _wait_until_gone(site)

    assert _cilium_is_gone(site)


def test_an_invalid_spec_does_not_block_deletion(site: Site) -> None:
    _install(site, deletionPolicy="Uninstall")
    site.apply(deletionPolicy="Uninstall", values={"ipam": {"mode": "kubernetes"}})
    site.wait_for("InvalidValues", ready="False")
    _delete(site)

    assert _cilium_is_gone(site)


def test_deletion_while_suspended_retains_cilium(site: Site) -> None:
    _install(site, deletionPolicy="Uninstall")
    site.apply(deletionPolicy="Uninstall", suspend=True)
    site.wait_for("Suspended")
    _delete(site)

    assert _cilium_runs(site)


def test_a_missing_release_does_not_block_deletion(site: Site) -> None:
    _install(site, deletionPolicy="Uninstall")
    site.operator.stop()
    site.cluster.helm("uninstall", "cilium", "-n", "kube-system")
    _delete(site, wait=False)
    site.operator.start()
    _wait_until_gone(site)


def test_a_pending_release_is_uninstalled(site: Site) -> None:
    _install(site, deletionPolicy="Uninstall")
    site.operator.stop()
    secret = "sh.helm.release.v1.cilium.v1"
    site.cluster.kubectl("label", "secret", secret, "-n", "kube-system", "status=pending-upgrade", "--overwrite")
    _delete(site, wait=False)
    site.operator.start()
    _wait_until_gone(site)

    assert _cilium_is_gone(site)


def test_a_disconnected_node_does_not_block_deletion(site: Site) -> None:
    _install(site, deletionPolicy="Uninstall")
    site.cluster.disconnect("mi-0000000000000004")
    site.wait_for("NodesDisconnected")
    _delete(site)

    assert _cilium_is_gone(site)
    assert list(site.agents()) == ["mi-0000000000000004"]


def test_deletion_waits_for_an_api_server_that_goes_away_halfway(site: Site) -> None:
    _install(site, deletionPolicy="Uninstall")
    _delete(site, wait=False)
    site.cluster.stop_api_server()
    site.start_api_server()
    _wait_until_gone(site)

    assert _cilium_is_gone(site)


def test_deletion_does_not_touch_a_foreign_release(site: Site) -> None:
    site.install_by_hand()
    site.apply(deletionPolicy="Uninstall")
    site.wait_for("ReleaseNotOwned", ready="False")
    _delete(site)

    assert site.revisions() == [(1, "deployed")]


@pytest.mark.parametrize("policy", ["Retain", "Uninstall"])
def test_deleting_the_crd_never_removes_cilium(site: Site, policy: str) -> None:
    _install(site, deletionPolicy=policy)
    site.cluster.kubectl("delete", "crd", "ciliumhybrids.ciliumhybrid.io", "--timeout=30s")

    assert _cilium_runs(site)

    install(site.cluster)
    _install(site)

    assert site.revisions() == [(1, "deployed")]


def test_deleting_all_of_deploy_neither_hangs_nor_touches_cilium(site: Site) -> None:
    _install(site)
    generation = site.cluster.get("daemonset", "cilium", "kube-system")["metadata"]["generation"]
    site.cluster.kubectl("delete", "-k", ROOT / "deploy", "--timeout=60s")

    assert _cilium_runs(site)
    assert site.cluster.get("daemonset", "cilium", "kube-system")["metadata"]["generation"] == generation
    assert json.loads(site.cluster.kubectl("get", "nodes", "-o", "json"))["items"]

    site.operator.stop()
    install(site.cluster)
    # The ServiceAccount was recreated, so it needs a new token.
    token = site.cluster.kubeconfig_for("cilium-hybrid-system", "cilium-hybrid-operator")
    site.operator.env = {**site.operator.env, "KUBECONFIG": str(token)}


SECRETS = "/api/v1/namespaces/kube-system/secrets/sh.helm.release.v1.cilium.v"
UNREADABLE = {"data": {"release": base64.b64encode(b"broken").decode()}}


def _corrupt_revision(site: Site, revision: int) -> dict[str, Any]:
    """Make the release Secret of a revision unreadable; return the patch that repairs it."""
    data = site.cluster.request("GET", f"{SECRETS}{revision}")["data"]
    site.cluster.request("PATCH", f"{SECRETS}{revision}", UNREADABLE, kind="application/merge-patch+json")
    return {"data": data}


def test_an_unreadable_newest_release_secret_blocks_the_uninstall_until_it_is_restored(site: Site) -> None:
    _install(site, deletionPolicy="Uninstall")
    _install(site, deletionPolicy="Uninstall", masquerade=False)
    repair = _corrupt_revision(site, 2)
    # Helm would skip it, and delete only what the revision before has.
    locked = site.wait_for("ReleaseLocked", ready="False")
    _delete(site, wait=False)
    blocked = site.wait_for("DeletionBlocked", ready="False")
    runs = _cilium_runs(site)
    site.cluster.request("PATCH", f"{SECRETS}2", repair, kind="application/merge-patch+json")
    _wait_until_gone(site)

    for ready in (locked, blocked):
        assert "Secret kube-system/sh.helm.release.v1.cilium.v2 cannot be decoded" in ready["message"]
    assert runs
    assert _cilium_is_gone(site)


def test_unreadable_release_secrets_are_reported_and_retain_releases_the_resource(site: Site) -> None:
    _install(site, deletionPolicy="Uninstall")
    repair = _corrupt_revision(site, 1)
    _delete(site, wait=False)
    ready = site.wait_for("DeletionBlocked", ready="False")
    agents = site.agents()
    retain = {"spec": {"deletionPolicy": "Retain"}}
    site.cluster.kubectl("patch", "ciliumhybrid", "default", "--type=merge", "-p", json.dumps(retain))
    _wait_until_gone(site)
    site.cluster.request("PATCH", f"{SECRETS}1", repair, kind="application/merge-patch+json")

    assert "Secret kube-system/sh.helm.release.v1.cilium.v1" in ready["message"]
    assert "set spec.deletionPolicy to Retain" in ready["message"]
    assert site.agents() == agents
    assert len(agents) == 5


NO_DAEMON_SETS = """
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: no-daemon-sets}
spec:
  failurePolicy: Fail
  matchConstraints:
    resourceRules:
      - {apiGroups: [apps], apiVersions: [v1], operations: [UPDATE], resources: [daemonsets]}
  validations:
    # Only real updates are rejected: the operator's dry run would find the rejection before Helm starts.
    - {expression: "has(request.dryRun) && request.dryRun", message: no DaemonSet is changed in this test}
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {name: no-daemon-sets}
spec: {policyName: no-daemon-sets, validationActions: [Deny]}
"""


def _is_rejected(site: Site, patch: str) -> bool:
    try:
        site.cluster.kubectl("patch", "daemonset", "cilium", "-n", "kube-system", "-p", patch)
    except CommandError:
        return True
    return False


def test_a_failed_release_is_uninstalled(site: Site) -> None:
    site.apply(version="1.17.13-1", deletionPolicy="Uninstall")
    site.wait_for("InSync", ready="True")
    site.operator.stop()
    site.cluster.apply(NO_DAEMON_SETS)
    patch = '{"metadata":{"annotations":{"tried":"x"}}}'
    wait_until(lambda: _is_rejected(site, patch), timeout=20, what="the policy is enforced")
    site.operator.start()
    site.apply(masquerade=False, deletionPolicy="Uninstall")
    site.wait_for("ApplyFailed", ready="False")
    failed = site.revisions()[-1][1]
    for kind in ("validatingadmissionpolicybinding", "validatingadmissionpolicy"):
        site.cluster.kubectl("delete", kind, "no-daemon-sets")
    _delete(site)

    assert failed == "failed"
    assert _cilium_is_gone(site)
