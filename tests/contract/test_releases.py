"""The contract of the Releases port, for the fake of the unit tests and for Helm on a cluster."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cilium_hybrid.adapters.kube.helm_secret import Mark
from cilium_hybrid.plan.observation import ReleasePayload
from cilium_hybrid.ports import ApplyFailedError, StaleError
from contract.release_harness import VERSION, FakeHarness, HelmHarness, ReleaseHarness, expected, on_cluster, states
from testbed.cluster import Cluster


@pytest.fixture
def fake() -> ReleaseHarness:
    return FakeHarness()


@pytest.fixture
def helm(testbed_cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HelmHarness]:
    monkeypatch.setenv("KUBECONFIG", str(testbed_cluster.kubeconfig))
    with on_cluster(testbed_cluster, tmp_path) as harness:
        yield harness


@pytest.fixture(params=["fake", "helm"])
def harness(request: pytest.FixtureRequest) -> ReleaseHarness:
    found: ReleaseHarness = request.getfixturevalue(request.param)
    return found


def test_apply_creates_exactly_the_expected_revision(harness: ReleaseHarness) -> None:
    harness.apply(1, {"data": "one"})

    assert harness.observed() == (expected(1),)
    assert harness.values() == {"data": "one"}


def test_a_second_revision_supersedes_the_first_and_does_not_reuse_its_values(harness: ReleaseHarness) -> None:
    harness.apply(1, {"data": "one"})
    harness.apply(2, {"data": "two"})

    assert harness.observed() == (replace(expected(1), status="superseded"), expected(2))
    assert harness.values() == {"data": "two"}


@pytest.mark.parametrize("number", [1, 3], ids=["exists", "not the next"])
def test_applying_another_revision_than_the_next_is_stale_and_changes_nothing(
    harness: ReleaseHarness, number: int
) -> None:
    harness.apply(1, {"data": "one"})

    with pytest.raises(StaleError):
        harness.apply(number, {"data": "two"})
    assert harness.observed() == (expected(1),)
    assert harness.values() == {"data": "one"}


def test_an_upgrade_by_an_admin_is_not_managed(harness: ReleaseHarness) -> None:
    harness.apply(1, {"data": "one"})
    harness.upgrade({"data": "admin"})

    assert states(harness) == [(1, "superseded", True), (2, "deployed", False)]


def test_a_rollback_by_an_admin_is_not_managed(harness: ReleaseHarness) -> None:
    harness.apply(1, {"data": "one"})
    harness.apply(2, {"data": "two"})
    harness.rollback(1)

    assert states(harness) == [(1, "superseded", True), (2, "superseded", True), (3, "deployed", False)]
    assert harness.values() == {"data": "one"}


def test_the_operator_restores_an_earlier_revision_as_its_own(harness: ReleaseHarness) -> None:
    harness.apply(1, {"data": "one"})
    harness.apply(2, {"data": "two"})
    harness.roll_back(1, 3)

    assert harness.observed()[-1] == replace(expected(3), rolled_back_to=1)
    assert harness.values() == {"data": "one"}
    assert states(harness) == [(1, "superseded", True), (2, "superseded", True), (3, "deployed", True)]


def test_restoring_is_stale_if_it_would_not_create_the_next_revision(harness: ReleaseHarness) -> None:
    harness.apply(1, {"data": "one"})

    with pytest.raises(StaleError):
        harness.roll_back(1, 3)
    assert states(harness) == [(1, "deployed", True)]


def test_a_revision_after_a_restored_one_restores_nothing(harness: ReleaseHarness) -> None:
    harness.apply(1, {"data": "one"})
    harness.apply(2, {"data": "two"})
    harness.roll_back(1, 3)
    harness.apply(4, {"data": "four"})

    assert harness.observed()[-1] == expected(4)


def test_a_verified_revision_is_restored_after_helm_has_deleted_it(harness: ReleaseHarness) -> None:
    harness.apply(1, {"data": "one"})
    harness.mark(1, "verified")
    harness.apply(2, {"data": "two"})
    harness.prune(1)
    harness.roll_back(1, 3)

    assert harness.observed()[-1] == replace(expected(3), rolled_back_to=1)
    assert harness.values() == {"data": "one"}


def test_a_revision_that_helm_has_deleted_and_that_is_not_the_last_verified_one_cannot_be_restored(
    harness: ReleaseHarness,
) -> None:
    for number, data in ((1, "one"), (2, "two")):
        harness.apply(number, {"data": data})
        harness.mark(number, "verified")
    harness.apply(3, {"data": "three"})
    harness.prune(1)

    with pytest.raises(ApplyFailedError):
        harness.roll_back(1, 4)
    assert harness.values() == {"data": "three"}


@pytest.mark.parametrize(("mark", "other"), [("verified", "rejected"), ("rejected", "verified")])
def test_a_mark_belongs_to_one_revision_although_helm_copies_labels(
    harness: ReleaseHarness, mark: Mark, other: Mark
) -> None:
    is_marked: dict[str, Any] = {mark: True}
    is_marked_otherwise: dict[str, Any] = {other: True}
    harness.apply(1, {"data": "one"})
    harness.mark(1, mark)
    marked = harness.observed()
    harness.apply(2, {"data": "two"})
    harness.upgrade({"data": "admin"})
    harness.mark(2, other)
    (first, second, third) = harness.observed()

    assert marked == (replace(expected(1), **is_marked),)
    assert first == replace(expected(1), status="superseded", **is_marked)
    assert second == replace(expected(2), status="superseded", **is_marked_otherwise)
    assert (third.verified, third.rejected) == (False, False)


def test_marking_a_revision_that_helm_has_deleted_does_nothing(harness: ReleaseHarness) -> None:
    harness.apply(1, {"data": "one"})
    harness.mark(7, "rejected")

    assert harness.observed() == (expected(1),)


def test_a_payload_tells_the_version_of_the_chart(harness: ReleaseHarness) -> None:
    harness.apply(1, {"data": "one"})

    assert harness.payload(1) == ReleasePayload(chart_version=VERSION)
    with pytest.raises(StaleError):
        harness.payload(2)


def test_a_damaged_payload_is_not_readable(harness: ReleaseHarness) -> None:
    harness.apply(1, {"data": "one"})
    harness.corrupt(1)

    assert harness.payload(1) == ReleasePayload(readable=False)


def test_an_install_by_an_admin_is_not_managed(harness: ReleaseHarness) -> None:
    harness.upgrade({"data": "admin"})

    assert states(harness) == [(1, "deployed", False)]


def test_a_revision_after_an_admins_upgrade_is_managed_again(harness: ReleaseHarness) -> None:
    harness.apply(1, {"data": "one"})
    harness.upgrade({"data": "admin"})
    harness.apply(3, {"data": "three"})

    assert states(harness) == [(1, "superseded", True), (2, "superseded", False), (3, "deployed", True)]
    assert harness.values() == {"data": "three"}


def test_a_revision_that_helm_could_not_apply_is_managed_and_failed(harness: ReleaseHarness) -> None:
    harness.apply(1, {"data": "one"})
    values = harness.broken_values()

    with pytest.raises(ApplyFailedError, match="could not apply"):
        harness.apply(2, values)
    assert states(harness) == [(1, "deployed", True), (2, "failed", True)]


def test_a_failed_install_is_superseded_by_the_next_revision(harness: ReleaseHarness) -> None:
    with pytest.raises(ApplyFailedError):
        harness.apply(1, harness.broken_values())
    harness.apply(2, {"data": "two"})

    assert states(harness) == [(1, "superseded", True), (2, "deployed", True)]


def test_a_failed_upgrade_keeps_its_status(harness: ReleaseHarness) -> None:
    harness.apply(1, {"data": "one"})
    with pytest.raises(ApplyFailedError):
        harness.apply(2, harness.broken_values())
    harness.apply(3, {"data": "three"})

    assert states(harness) == [(1, "superseded", True), (2, "failed", True), (3, "deployed", True)]


def test_nothing_is_applied_over_an_interrupted_upgrade(harness: ReleaseHarness) -> None:
    harness.apply(1, {"data": "one"})
    harness.interrupt()

    with pytest.raises(StaleError):
        harness.apply(3, {"data": "three"})
    assert states(harness) == [(1, "deployed", True), (2, "pending-upgrade", False)]


def test_an_interrupted_upgrade_is_unlocked_before_the_next_revision(harness: ReleaseHarness) -> None:
    harness.apply(1, {"data": "one"})
    harness.interrupt()
    harness.unlock(2)
    unlocked = states(harness)
    harness.apply(3, {"data": "three"})

    assert unlocked == [(1, "deployed", True), (2, "failed", False)]
    assert states(harness) == [(1, "superseded", True), (2, "failed", False), (3, "deployed", True)]


def test_an_interrupted_install_is_unlocked(harness: ReleaseHarness) -> None:
    harness.interrupt()
    harness.unlock(1)
    unlocked = states(harness)
    harness.apply(2, {"data": "two"})

    assert unlocked == [(1, "failed", False)]
    assert states(harness) == [(1, "superseded", False), (2, "deployed", True)]


@pytest.mark.parametrize("number", [1, 2], ids=["not pending", "does not exist"])
def test_only_a_pending_newest_revision_is_unlocked(harness: ReleaseHarness, number: int) -> None:
    harness.apply(1, {"data": "one"})

    with pytest.raises(StaleError):
        harness.unlock(number)
    assert states(harness) == [(1, "deployed", True)]


def test_an_older_revision_is_not_unlocked(harness: ReleaseHarness) -> None:
    harness.apply(1, {"data": "one"})
    harness.interrupt()

    with pytest.raises(StaleError):
        harness.unlock(1)
    assert states(harness) == [(1, "deployed", True), (2, "pending-upgrade", False)]


def test_uninstalling_removes_every_revision(harness: ReleaseHarness) -> None:
    harness.apply(1, {"data": "one"})
    harness.apply(2, {"data": "two"})
    harness.uninstall(2)

    assert harness.observed() == ()


def test_uninstalling_is_stale_if_there_is_a_newer_revision(harness: ReleaseHarness) -> None:
    harness.apply(1, {"data": "one"})
    harness.upgrade({"data": "admin"})

    with pytest.raises(StaleError):
        harness.uninstall(1)
    assert states(harness) == [(1, "superseded", True), (2, "deployed", False)]


def test_a_pending_release_can_be_uninstalled(harness: ReleaseHarness) -> None:
    harness.apply(1, {"data": "one"})
    harness.interrupt()
    harness.uninstall(2)

    assert harness.observed() == ()


def manifests_with(data: str) -> list[tuple[str, Any]]:
    return [("ConfigMap kube-system/tiny", {"values": f'"{data}"'}), ("DaemonSet kube-system/cilium", None)]


def test_the_manifests_of_every_revision_can_be_read(harness: ReleaseHarness) -> None:
    harness.apply(1, {"data": "one"})
    harness.apply(2, {"data": "two"})
    harness.roll_back(1, 3)

    assert [harness.manifests(number) for number in (1, 2, 3)] == [
        manifests_with("one"),
        manifests_with("two"),
        manifests_with("one"),
    ]


def test_a_missing_revision_has_no_manifests(harness: ReleaseHarness) -> None:
    harness.apply(1, {"data": "one"})
    next_manifests = harness.manifests(2)
    harness.uninstall(1)

    assert (next_manifests, harness.manifests(1)) == ([], [])


def test_helm_does_not_act_without_the_lease(helm: HelmHarness) -> None:
    helm.apply(1, {"data": "one"})
    helm.may_act = False

    with pytest.raises(StaleError, match="Lease"):
        helm.apply(2, {"data": "two"})
    with pytest.raises(StaleError, match="Lease"):
        helm.uninstall(1)
    assert states(helm) == [(1, "deployed", True)]
