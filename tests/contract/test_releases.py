"""What every implementation of the Releases port keeps to: the fake of the unit tests, and Helm on a cluster."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cilium_hybrid.ports import ApplyFailedError, StaleError
from contract.sites import FakeSite, HelmSite, Site, expected
from testbed.cluster import Cluster


@pytest.fixture
def fake() -> Site:
    return FakeSite()


@pytest.fixture
def helm(testbed_cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HelmSite]:
    monkeypatch.setenv("KUBECONFIG", str(testbed_cluster.kubeconfig))
    yield HelmSite(testbed_cluster, tmp_path)
    for kind, names in (("secrets", "-lowner=helm"), ("daemonset", "cilium"), ("cm", "tiny"), ("pod", "hangs")):
        testbed_cluster.kubectl("delete", kind, names, "-n", "kube-system", "--ignore-not-found", "--wait=false")


@pytest.fixture(params=["fake", "helm"])
def site(request: pytest.FixtureRequest) -> Site:
    found: Site = request.getfixturevalue(request.param)
    return found


def states(site: Site) -> list[tuple[int, str, bool]]:
    return [(made.number, made.status, made.managed) for made in site.seen()]


def test_apply_makes_exactly_the_revision_that_is_expected(site: Site) -> None:
    site.apply(1, {"data": "one"})

    assert site.seen() == (expected(1),)
    assert site.values() == {"data": "one"}


def test_a_second_revision_takes_the_place_of_the_first_and_reuses_nothing(site: Site) -> None:
    site.apply(1, {"data": "one"})
    site.apply(2, {"data": "two"})

    assert site.seen() == (replace(expected(1), status="superseded"), expected(2))
    assert site.values() == {"data": "two"}


@pytest.mark.parametrize("number", [1, 3], ids=["one that is there", "one too far"])
def test_a_revision_that_is_not_the_next_is_stale_and_nothing_happens(site: Site, number: int) -> None:
    site.apply(1, {"data": "one"})

    with pytest.raises(StaleError):
        site.apply(number, {"data": "two"})
    assert site.seen() == (expected(1),)
    assert site.values() == {"data": "one"}


def test_an_upgrade_by_an_admin_is_not_ours(site: Site) -> None:
    site.apply(1, {"data": "one"})
    site.upgrade({"data": "theirs"})

    assert states(site) == [(1, "superseded", True), (2, "deployed", False)]


def test_a_rollback_by_an_admin_is_not_ours(site: Site) -> None:
    site.apply(1, {"data": "one"})
    site.apply(2, {"data": "two"})
    site.rollback(1)

    assert states(site) == [(1, "superseded", True), (2, "superseded", True), (3, "deployed", False)]
    assert site.values() == {"data": "one"}


def test_a_rollback_of_ours_is_ours_once_it_is_claimed(site: Site) -> None:
    site.apply(1, {"data": "one"})
    site.apply(2, {"data": "two"})
    site.roll_back(1, 3)
    before = site.seen()[-1]
    site.claim(3)

    assert (before.managed, before.copies, before.status) == (False, 1, "deployed")
    assert site.seen()[-1] == replace(expected(3), copies=1)
    assert site.values() == {"data": "one"}
    with pytest.raises(StaleError):
        site.claim(3)


def test_a_rollback_to_a_revision_that_is_not_the_next_is_stale(site: Site) -> None:
    site.apply(1, {"data": "one"})

    with pytest.raises(StaleError):
        site.roll_back(1, 3)
    assert states(site) == [(1, "deployed", True)]


def test_a_revision_after_a_claimed_one_is_its_own(site: Site) -> None:
    site.apply(1, {"data": "one"})
    site.apply(2, {"data": "two"})
    site.roll_back(1, 3)
    site.claim(3)
    site.apply(4, {"data": "four"})

    assert site.seen()[-1] == expected(4)


def test_what_an_admin_installed_is_not_ours(site: Site) -> None:
    site.upgrade({"data": "theirs"})

    assert states(site) == [(1, "deployed", False)]


def test_a_revision_after_somebody_elses_is_ours_again(site: Site) -> None:
    site.apply(1, {"data": "one"})
    site.upgrade({"data": "theirs"})
    site.apply(3, {"data": "three"})

    assert states(site) == [(1, "superseded", True), (2, "superseded", False), (3, "deployed", True)]
    assert site.values() == {"data": "three"}


def test_a_revision_that_could_not_be_applied_is_ours_and_failed(site: Site) -> None:
    site.apply(1, {"data": "one"})
    broken = site.breaks()

    with pytest.raises(ApplyFailedError, match="could not apply"):
        site.apply(2, broken)
    assert states(site) == [(1, "deployed", True), (2, "failed", True)]


def test_a_failed_install_is_superseded_by_the_revision_after_it(site: Site) -> None:
    with pytest.raises(ApplyFailedError):
        site.apply(1, site.breaks())
    site.apply(2, {"data": "two"})

    assert states(site) == [(1, "superseded", True), (2, "deployed", True)]


def test_a_failed_upgrade_stays_failed(site: Site) -> None:
    site.apply(1, {"data": "one"})
    with pytest.raises(ApplyFailedError):
        site.apply(2, site.breaks())
    site.apply(3, {"data": "three"})

    assert states(site) == [(1, "superseded", True), (2, "failed", True), (3, "deployed", True)]


def test_nothing_is_applied_over_a_helm_that_was_interrupted(site: Site) -> None:
    site.apply(1, {"data": "one"})
    site.interrupted()

    with pytest.raises(StaleError):
        site.apply(3, {"data": "three"})
    assert states(site) == [(1, "deployed", True), (2, "pending-upgrade", False)]


def test_a_helm_that_was_interrupted_is_unlocked_and_the_next_revision_made(site: Site) -> None:
    site.apply(1, {"data": "one"})
    site.interrupted()
    site.unlock(2)
    unlocked = states(site)
    site.apply(3, {"data": "three"})

    assert unlocked == [(1, "deployed", True), (2, "failed", False)]
    assert states(site) == [(1, "superseded", True), (2, "failed", False), (3, "deployed", True)]


def test_an_install_that_was_interrupted_is_unlocked(site: Site) -> None:
    site.interrupted()
    site.unlock(1)
    unlocked = states(site)
    site.apply(2, {"data": "two"})

    assert unlocked == [(1, "failed", False)]
    assert states(site) == [(1, "superseded", False), (2, "deployed", True)]


@pytest.mark.parametrize("number", [1, 2], ids=["one that is not pending", "one that is not there"])
def test_only_the_newest_revision_is_unlocked_and_only_if_it_is_pending(site: Site, number: int) -> None:
    site.apply(1, {"data": "one"})

    with pytest.raises(StaleError):
        site.unlock(number)
    assert states(site) == [(1, "deployed", True)]


def test_a_revision_that_is_no_longer_the_newest_is_not_unlocked(site: Site) -> None:
    site.apply(1, {"data": "one"})
    site.interrupted()

    with pytest.raises(StaleError):
        site.unlock(1)
    assert states(site) == [(1, "deployed", True), (2, "pending-upgrade", False)]


def test_an_uninstall_leaves_nothing(site: Site) -> None:
    site.apply(1, {"data": "one"})
    site.apply(2, {"data": "two"})
    site.uninstall(2)

    assert site.seen() == ()


def test_an_uninstall_that_was_decided_on_something_else_is_stale(site: Site) -> None:
    site.apply(1, {"data": "one"})
    site.upgrade({"data": "theirs"})

    with pytest.raises(StaleError):
        site.uninstall(1)
    assert states(site) == [(1, "superseded", True), (2, "deployed", False)]


def test_a_release_that_an_interrupted_helm_left_behind_can_be_uninstalled(site: Site) -> None:
    site.apply(1, {"data": "one"})
    site.interrupted()
    site.uninstall(2)

    assert site.seen() == ()


def made_of(data: str) -> list[tuple[str, Any]]:
    return [("ConfigMap kube-system/tiny", {"values": f'"{data}"'}), ("DaemonSet kube-system/cilium", None)]


def test_what_a_revision_was_made_of_can_be_read_whatever_was_made_after_it(site: Site) -> None:
    site.apply(1, {"data": "one"})
    site.apply(2, {"data": "two"})
    site.roll_back(1, 3)

    assert [site.manifests(number) for number in (1, 2, 3)] == [made_of("one"), made_of("two"), made_of("one")]


def test_a_revision_that_helm_does_not_have_was_made_of_nothing(site: Site) -> None:
    site.apply(1, {"data": "one"})
    ahead = site.manifests(2)
    site.uninstall(1)

    assert (ahead, site.manifests(1)) == ([], [])


def test_helm_does_not_act_without_the_lease(helm: HelmSite) -> None:
    helm.apply(1, {"data": "one"})
    helm.may_act = False

    with pytest.raises(StaleError, match="Lease"):
        helm.apply(2, {"data": "two"})
    with pytest.raises(StaleError, match="Lease"):
        helm.uninstall(1)
    assert states(helm) == [(1, "deployed", True)]
