"""What is written before what, so that the operator can be killed at any point and two cannot act on the same facts."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from builders import NODE, a_raw_spec
from cilium_hybrid.api.conditions import Reason
from cilium_hybrid.reconcile.reconciler import RETRY_AFTER_STALE, Reconciler
from unit.upgraded import reconcile_until
from unit.world import World, a_new_world, an_installed_world

UNLOCK_AFTER = 15.0
CHANGED = a_raw_spec(masquerade=False)


def journal(world: World, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Any]]:
    """Return the names of the writes from now on, each with the nodes that the record says are restarted."""
    calls: list[tuple[str, Any]] = []

    def watch(port: object, name: str) -> None:
        call = getattr(port, name)

        async def noted(*args: Any) -> Any:
            record = world.cluster.record
            restarted = () if record is None or record.rollout is None else tuple(record.rollout.nodes)
            calls.append((name, restarted))
            return await call(*args)

        monkeypatch.setattr(port, name, noted)

    for name in ("write_record", "delete_agent_pods"):
        watch(world.cluster, name)
    for name in ("apply", "mark", "unlock"):
        watch(world.releases, name)
    return calls


def a_rolling_world() -> World:
    """A changed spec is deployed, and its first agent is about to be restarted."""
    world = an_installed_world()
    world.cluster.edit(CHANGED)
    world.settle()
    world.cluster.start_operator()
    return world


def change_record(world: World) -> None:
    """Write the record as another operator would."""
    changed = replace(world.cluster.records[-1], resource_version="of another operator")
    world.cluster.records.append(changed)


def test_the_record_is_written_before_helm_is_called(monkeypatch: pytest.MonkeyPatch) -> None:
    world = a_new_world()
    calls = journal(world, monkeypatch)
    world.reconcile()

    assert [name for name, _ in calls] == ["write_record", "apply"]
    assert world.status.ipam is not None
    assert world.status.ipam.applied is not None


def test_the_record_names_the_nodes_before_their_pods_are_deleted(monkeypatch: pytest.MonkeyPatch) -> None:
    world = a_rolling_world()
    calls = journal(world, monkeypatch)
    reconcile_until(world, lambda: bool(world.cluster.deleted_pods))

    assert calls[-2:] == [("write_record", ()), ("delete_agent_pods", (NODE,))]


def test_the_record_is_written_before_a_revision_is_marked_or_unlocked(monkeypatch: pytest.MonkeyPatch) -> None:
    world = an_installed_world()
    world.releases.revisions[-1] = replace(world.releases.newest, status="pending-upgrade")
    calls = journal(world, monkeypatch)
    world.settle()

    assert [name for name, _ in calls[:2]] == ["write_record", "unlock"]
    assert world.cluster.records[-1].unlocked == 1


def test_no_revision_is_created_if_the_record_has_changed() -> None:
    world = an_installed_world()
    world.cluster.edit(CHANGED)
    world.cluster.meanwhile.append(lambda: change_record(world))
    due = world.reconcile()
    kept = world.history
    world.settle()

    assert (due, kept) == (world.clock.now() + RETRY_AFTER_STALE, [(1, "deployed", True)])
    assert len(world.history) == 2


def test_no_agent_is_restarted_if_the_record_has_changed() -> None:
    world = a_rolling_world()
    world.cluster.meanwhile.append(lambda: change_record(world))
    stale = world.clock.now() + RETRY_AFTER_STALE
    due = world.reconcile()
    kept = list(world.cluster.deleted_pods)
    reconcile_until(world, lambda: bool(world.cluster.deleted_pods))

    assert (due, kept) == (stale, [])


def _edit(world: World) -> None:
    world.cluster.edit(CHANGED)


def _roll_out(world: World) -> None:
    world.cluster.edit(CHANGED)
    world.settle()
    world.cluster.start_operator()


def _fail(world: World) -> None:
    _roll_out(world)
    world.cluster.failure_message = "CrashLoopBackOff"
    reconcile_until(world, lambda: bool(world.cluster.deleted_pods))
    world.clock.advance(seconds=10)
    world.cluster.crash()


def _interrupt(world: World) -> None:
    world.releases.revisions[-1] = replace(world.releases.newest, status="pending-upgrade")


def _remove_release(world: World) -> None:
    world.releases.revisions.clear()


def _delete(world: World) -> None:
    world.cluster.edit(a_raw_spec(deletionPolicy="Uninstall"))
    world.settle()
    world.cluster.delete()


@pytest.mark.parametrize("change", [_edit, _roll_out, _fail, _interrupt, _remove_release, _delete])
def test_nothing_is_changed_while_a_watch_is_lost(
    change: Callable[[World], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    world = an_installed_world()
    change(world)
    world.cluster.rest = replace(world.cluster.rest, lost_watches=("pods: forbidden",))
    calls = journal(world, monkeypatch)
    for _ in range(5):
        world.settle()
        world.clock.advance(seconds=10)

    assert calls == []
    assert "pods: forbidden" in world.ready.message
    assert world.telemetry.errors == 0


def test_a_payload_is_read_once_for_each_version_of_its_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    world = a_new_world()
    read: list[tuple[int, str]] = []
    payload = world.releases.payload

    async def counted(revision: int) -> Any:
        read.append((revision, world.releases.revisions[revision - 1].changed))
        return await payload(revision)

    monkeypatch.setattr(world.releases, "payload", counted)
    world.settle()
    world.cluster.start_operator()
    world.cluster.roll_out()
    world.finish()
    world.cluster.edit(CHANGED)
    world.settle()

    assert read == [(1, ""), (1, "+"), (2, "")]


def test_after_a_takeover_a_pending_revision_is_unlocked_only_after_a_while() -> None:
    world = an_installed_world()
    _interrupt(world)
    world.restart()
    world.reconciler = Reconciler(
        world.cluster, world.releases, world.executor, world.clock, world.telemetry, unlock_after=UNLOCK_AFTER
    )
    start = world.clock.now()
    due = world.settle()
    waiting, pending = world.ready, world.releases.newest.status
    world.clock.advance(seconds=UNLOCK_AFTER)
    world.settle()

    assert due == start + timedelta(seconds=UNLOCK_AFTER)
    assert (waiting.reason, pending) == (Reason.RELEASE_LOCKED, "pending-upgrade")
    assert world.history == [(1, "superseded", True), (2, "deployed", True)]


def test_a_revision_is_not_rejected_for_a_node_that_has_changed_unseen() -> None:
    world = an_installed_world()
    _fail(world)
    world.cluster.unseen.add(NODE)
    due = world.reconcile()
    revision, record = world.releases.newest, world.cluster.records[-1]
    world.clock.advance(seconds=1)
    world.reconcile()

    assert due == world.clock.now()
    assert (revision.rejected, record.rejected) == (False, None)
    assert world.releases.newest.rejected
    rejected = world.cluster.records[-1].rejected
    assert rejected is not None
    assert rejected.revision == 2
