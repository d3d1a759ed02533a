"""What every implementation of the Preflights port keeps to: the fake of the unit tests, and Helm on a cluster."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cilium_hybrid.ports import ApplyFailedError, ClusterUnavailableError, StaleError, UninstallFailedError
from contract.preflight_sites import OTHER_VERSION, FakeSite, HelmSite, Site, expected
from testbed.cluster import Cluster

RECORD = "sh.helm.release.v1.cilium-preflight.v1"


@pytest.fixture
def fake() -> Site:
    return FakeSite()


@pytest.fixture
def helm(testbed_cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HelmSite]:
    monkeypatch.setenv("KUBECONFIG", str(testbed_cluster.kubeconfig))
    site = HelmSite(testbed_cluster, tmp_path)
    yield site
    site.let_go()
    for name in site.objects():
        testbed_cluster.kubectl("delete", name, "-n", "kube-system", "--wait=false")
    testbed_cluster.kubectl("delete", "pod", "hangs", "-n", "kube-system", "--ignore-not-found", "--wait=false")


@pytest.fixture(params=["fake", "helm"])
def site(request: pytest.FixtureRequest) -> Site:
    found: Site = request.getfixturevalue(request.param)
    return found


def test_a_preflight_is_started_as_exactly_what_is_expected(site: Site) -> None:
    site.start()
    seen = site.seen()

    assert seen.release == expected()
    assert seen.nodes_observed is not None
    assert seen.validator is not None
    assert (seen.validator.replicas, seen.validator.ready) == (1, 0)


def test_an_end_leaves_nothing(site: Site) -> None:
    site.start()
    site.end()

    assert not site.seen().there


def test_an_end_of_nothing_is_one(site: Site) -> None:
    site.end()
    site.end()

    assert not site.seen().there


def test_a_start_takes_the_place_of_what_is_left_of_another(site: Site) -> None:
    site.start(OTHER_VERSION)
    site.start()

    assert site.seen().release == expected()


def test_what_cannot_be_started_is_left_failed_and_ended(site: Site) -> None:
    with pytest.raises(ApplyFailedError, match="could not start"):
        site.start(broken=True)
    failed = site.seen().release
    site.end()

    assert failed is not None
    assert (failed.number, failed.status, failed.managed) == (1, "failed", True)
    assert not site.seen().there


def test_a_start_after_one_that_failed_is_whole(site: Site) -> None:
    with pytest.raises(ApplyFailedError):
        site.start(broken=True)
    site.start()

    assert site.seen().release == expected()


def test_helm_makes_what_is_known_of_a_preflight_and_an_end_takes_all_of_it(helm: HelmSite) -> None:
    helm.start()
    made = helm.objects()
    helm.end()

    assert made == {
        "serviceaccount/cilium-pre-flight",
        "clusterrole.rbac.authorization.k8s.io/cilium-pre-flight",
        "clusterrolebinding.rbac.authorization.k8s.io/cilium-pre-flight",
        "daemonset.apps/cilium-pre-flight-check",
        "deployment.apps/cilium-pre-flight-check",
        f"secret/{RECORD}",
    }
    assert helm.objects() == set()


def test_one_that_an_admin_started_is_seen_and_is_not_ours(helm: HelmSite) -> None:
    helm.install()
    release = helm.seen().release
    helm.end()

    assert release is not None
    assert (release.number, release.status, release.managed) == (1, "deployed", False)
    assert helm.objects() == set()


def test_a_helm_that_was_killed_while_it_started_one_leaves_no_mark(helm: HelmSite) -> None:
    helm.interrupted()
    before = helm.seen().release
    helm.end()
    after = helm.objects()
    helm.interrupted()
    helm.start()

    assert before is not None
    assert before.status == "pending-install"
    assert after == set()
    assert helm.seen().release == expected()


def keep_the_history(cluster: Cluster) -> None:
    cluster.helm("uninstall", "cilium-preflight", "-n", "kube-system", "--keep-history")


def end_half_way(cluster: Cluster) -> None:
    """As a Helm that is killed after the first object."""
    cluster.kubectl("delete", "clusterrole", "cilium-pre-flight")
    cluster.kubectl("label", "secret", RECORD, "-n", "kube-system", "--overwrite", "status=uninstalling")


def break_the_record(cluster: Cluster) -> None:
    nothing = json.dumps({"data": {"release": "bm90aGluZw=="}})
    cluster.kubectl("patch", "secret", RECORD, "-n", "kube-system", "--type=merge", "-p", nothing)


def lose_the_record(cluster: Cluster) -> None:
    cluster.kubectl("delete", "secret", RECORD, "-n", "kube-system")


@pytest.mark.parametrize("damage", [keep_the_history, end_half_way, break_the_record, lose_the_record])
def test_whatever_is_left_of_its_record_an_end_leaves_nothing(
    helm: HelmSite, damage: Callable[[Cluster], None]
) -> None:
    helm.start()
    damage(helm.cluster)
    before = helm.seen()
    helm.end()

    assert before.there
    assert helm.objects() == set()


def test_objects_of_somebody_else_stay_and_are_no_preflight(helm: HelmSite) -> None:
    helm.cluster.kubectl("create", "serviceaccount", "cilium-pre-flight", "-n", "kube-system")
    helm.cluster.kubectl("create", "deployment", "cilium-pre-flight-check", "--image=x", "-n", "kube-system")
    before = helm.objects()
    helm.end()

    assert not helm.seen().there
    assert helm.objects() == before
    with pytest.raises(ApplyFailedError, match="cannot be imported into the current release"):
        helm.start()


def test_an_end_that_is_not_allowed_says_why_and_is_made_up_for(helm: HelmSite) -> None:
    helm.start()
    helm.keep()
    with pytest.raises(UninstallFailedError, match=r"left of release cilium-preflight: .*it stays"):
        helm.end()
    left = helm.objects()
    helm.let_go()
    helm.end()

    assert {"daemonset.apps/cilium-pre-flight-check", f"secret/{RECORD}"} <= left
    assert helm.objects() == set()


def test_what_helm_cannot_end_is_taken_away_and_its_record_kept_for_another_try(helm: HelmSite) -> None:
    helm.start()
    helm.helm_says("failed to delete release: cilium-preflight")
    with pytest.raises(UninstallFailedError, match="Helm could not uninstall release cilium-preflight: failed to"):
        helm.end()

    assert helm.objects() == {f"secret/{RECORD}"}


def test_nothing_is_taken_away_while_helm_does_not_reach_the_cluster(helm: HelmSite) -> None:
    helm.start()
    before = helm.objects()
    helm.helm_says("kubernetes cluster unreachable")
    with pytest.raises(ClusterUnavailableError, match="Helm cannot reach the Kubernetes API"):
        helm.end()

    assert helm.objects() == before


def test_helm_does_not_act_without_the_lease(helm: HelmSite) -> None:
    helm.start()
    before = helm.objects()
    helm.may_act = False

    with pytest.raises(StaleError, match="Lease"):
        helm.start(OTHER_VERSION)
    with pytest.raises(StaleError, match="Lease"):
        helm.end()
    assert helm.objects() == before
    assert helm.seen().release == expected()
