"""The contract of the Preflights port, for the fake of the unit tests and for Helm on a cluster."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cilium_hybrid.ports import ApplyFailedError, ClusterUnavailableError, StaleError, UninstallFailedError
from contract.preflight_harness import OTHER_VERSION, FakeHarness, HelmHarness, PreflightHarness, expected
from testbed.cluster import Cluster

SECRET = "sh.helm.release.v1.cilium-preflight.v1"


@pytest.fixture
def fake() -> PreflightHarness:
    return FakeHarness()


@pytest.fixture
def helm(testbed_cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HelmHarness]:
    monkeypatch.setenv("KUBECONFIG", str(testbed_cluster.kubeconfig))
    harness = HelmHarness(testbed_cluster, tmp_path)
    yield harness
    harness.allow_deletion()
    for name in harness.objects():
        testbed_cluster.kubectl("delete", name, "-n", "kube-system", "--wait=false")
    testbed_cluster.kubectl("delete", "pod", "hangs", "-n", "kube-system", "--ignore-not-found", "--wait=false")


@pytest.fixture(params=["fake", "helm"])
def harness(request: pytest.FixtureRequest) -> PreflightHarness:
    found: PreflightHarness = request.getfixturevalue(request.param)
    return found


def test_start_creates_exactly_the_expected_revision(harness: PreflightHarness) -> None:
    harness.start()
    preflight = harness.observed()

    assert preflight.release == expected()
    assert preflight.nodes_observed is not None
    assert preflight.validator is not None
    assert (preflight.validator.replicas, preflight.validator.ready) == (1, 0)


def test_end_removes_the_preflight(harness: PreflightHarness) -> None:
    harness.start()
    harness.end()

    assert not harness.observed().exists


def test_end_without_a_preflight_succeeds(harness: PreflightHarness) -> None:
    harness.end()
    harness.end()

    assert not harness.observed().exists


def test_start_replaces_an_earlier_preflight(harness: PreflightHarness) -> None:
    harness.start(OTHER_VERSION)
    harness.start()

    assert harness.observed().release == expected()


def test_a_preflight_that_cannot_be_started_is_failed_and_can_be_ended(harness: PreflightHarness) -> None:
    with pytest.raises(ApplyFailedError, match="could not start"):
        harness.start(broken=True)
    failed = harness.observed().release
    harness.end()

    assert failed is not None
    assert (failed.number, failed.status, failed.managed) == (1, "failed", True)
    assert not harness.observed().exists


def test_a_preflight_can_be_started_after_a_failed_one(harness: PreflightHarness) -> None:
    with pytest.raises(ApplyFailedError):
        harness.start(broken=True)
    harness.start()

    assert harness.observed().release == expected()


def test_helm_creates_the_known_objects_and_end_removes_all_of_them(helm: HelmHarness) -> None:
    helm.start()
    created = helm.objects()
    helm.end()

    assert created == {
        "serviceaccount/cilium-pre-flight",
        "clusterrole.rbac.authorization.k8s.io/cilium-pre-flight",
        "clusterrolebinding.rbac.authorization.k8s.io/cilium-pre-flight",
        "daemonset.apps/cilium-pre-flight-check",
        "deployment.apps/cilium-pre-flight-check",
        f"secret/{SECRET}",
    }
    assert helm.objects() == set()


def test_a_preflight_of_an_admin_is_observed_and_not_managed(helm: HelmHarness) -> None:
    helm.install()
    release = helm.observed().release
    helm.end()

    assert release is not None
    assert (release.number, release.status, release.managed) == (1, "deployed", False)
    assert helm.objects() == set()


def test_an_interrupted_start_leaves_nothing_behind(helm: HelmHarness) -> None:
    helm.interrupt()
    before = helm.observed().release
    helm.end()
    after = helm.objects()
    helm.interrupt()
    helm.start()

    assert before is not None
    assert before.status == "pending-install"
    assert after == set()
    assert helm.observed().release == expected()


def keep_the_history(cluster: Cluster) -> None:
    cluster.helm("uninstall", "cilium-preflight", "-n", "kube-system", "--keep-history")


def interrupt_uninstall(cluster: Cluster) -> None:
    """As if Helm was killed after it deleted the first object."""
    cluster.kubectl("delete", "clusterrole", "cilium-pre-flight")
    cluster.kubectl("label", "secret", SECRET, "-n", "kube-system", "--overwrite", "status=uninstalling")


def corrupt_the_secret(cluster: Cluster) -> None:
    patch = json.dumps({"data": {"release": "bm90aGluZw=="}})
    cluster.kubectl("patch", "secret", SECRET, "-n", "kube-system", "--type=merge", "-p", patch)


def delete_the_secret(cluster: Cluster) -> None:
    cluster.kubectl("delete", "secret", SECRET, "-n", "kube-system")


@pytest.mark.parametrize("damage", [keep_the_history, interrupt_uninstall, corrupt_the_secret, delete_the_secret])
def test_end_removes_everything_whatever_happened_to_the_secret(
    helm: HelmHarness, damage: Callable[[Cluster], None]
) -> None:
    helm.start()
    damage(helm.cluster)
    before = helm.observed()
    helm.end()

    assert before.exists
    assert helm.objects() == set()


def test_objects_of_others_with_the_same_names_are_kept_and_are_no_preflight(helm: HelmHarness) -> None:
    helm.cluster.kubectl("create", "serviceaccount", "cilium-pre-flight", "-n", "kube-system")
    helm.cluster.kubectl("create", "deployment", "cilium-pre-flight-check", "--image=x", "-n", "kube-system")
    before = helm.objects()
    helm.end()

    assert not helm.observed().exists
    assert helm.objects() == before
    with pytest.raises(ApplyFailedError, match="exists and cannot be imported into"):
        helm.start()


def test_end_reports_a_forbidden_deletion_and_succeeds_once_it_is_allowed(helm: HelmHarness) -> None:
    helm.start()
    helm.forbid_deletion()
    with pytest.raises(
        UninstallFailedError, match=r"cannot delete an object of release cilium-preflight: .*deletion is forbidden"
    ):
        helm.end()
    remaining = helm.objects()
    helm.allow_deletion()
    helm.end()

    assert {"daemonset.apps/cilium-pre-flight-check", f"secret/{SECRET}"} <= remaining
    assert helm.objects() == set()


def test_if_helm_fails_the_objects_are_deleted_and_the_secret_is_kept_for_a_retry(helm: HelmHarness) -> None:
    helm.start()
    helm.fail_uninstall("failed to delete release: cilium-preflight")
    with pytest.raises(UninstallFailedError, match="Helm could not uninstall release cilium-preflight: failed to"):
        helm.end()

    assert helm.objects() == {f"secret/{SECRET}"}


def test_nothing_is_deleted_while_helm_cannot_reach_the_cluster(helm: HelmHarness) -> None:
    helm.start()
    before = helm.objects()
    helm.fail_uninstall("kubernetes cluster unreachable")
    with pytest.raises(ClusterUnavailableError, match="Helm cannot reach the Kubernetes API"):
        helm.end()

    assert helm.objects() == before


def test_helm_does_not_act_without_the_lease(helm: HelmHarness) -> None:
    helm.start()
    before = helm.objects()
    helm.may_act = False

    with pytest.raises(StaleError, match="Lease"):
        helm.start(OTHER_VERSION)
    with pytest.raises(StaleError, match="Lease"):
        helm.end()
    assert helm.objects() == before
    assert helm.observed().release == expected()
