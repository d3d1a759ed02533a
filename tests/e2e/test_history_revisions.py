"""Whose revision it is: what someone else's Helm made is neither overwritten, finished, undone nor uninstalled."""

from collections.abc import Iterator

import pytest

from e2e.history import broken, edit, events, install, label_revision, upgrade_by_hand, wait_for_message
from e2e.site import NODES, Site
from testbed.processes import wait_until

DEBUG = {"debug": {"enabled": True}}
UPGRADES = 6


@pytest.fixture(autouse=True)
def clean(site: Site) -> Iterator[None]:
    yield
    site.restore()


def _helm_commands(site: Site) -> dict[str, float]:
    """Return how often the operator has run each command of Helm."""
    prefix = "cilium_hybrid_helm_duration_seconds_count"
    lines = [line for line in site.http_get("/metrics")[1].splitlines() if line.startswith(prefix)]
    return {key: float(value) for key, _, value in (line.rpartition(" ") for line in lines)}


def _event_total(site: Site) -> int:
    """Return how many Events were recorded, repetitions included."""
    return sum((event.get("series") or {}).get("count") or event.get("count") or 1 for event in events(site))


def test_an_upgrade_by_hand_is_left_alone_until_a_person_asks_the_operator_to_resume(site: Site) -> None:
    install(site)
    upgrade_by_hand(site, "--set", "debug.enabled=true")
    ready = site.wait_for("ForeignRevision", ready="False")
    edit(site, {"debug": {"verbose": "flow"}})
    edited = site.wait_for("ForeignRevision", ready="False")
    revisions = site.revisions()
    site.reconcile("resume")
    site.wait_for("InSync", ready="True", timeout=90)
    resumed = site.revisions()
    upgrade_by_hand(site, "--set", "debug.enabled=false")
    site.wait_for("ForeignRevision", ready="False")
    edit(site, DEBUG)
    again = site.wait_for("ForeignRevision", ready="False")

    assert "revision 2 of Helm release cilium was made by Helm, not by this operator" in ready["message"]
    assert "set annotation ciliumhybrid.io/reconcile to a new value" in edited["message"]
    assert revisions == [(1, "superseded"), (2, "deployed")]
    assert resumed[-1] == (3, "deployed")
    # The value of the annotation has acted already.
    assert "revision 4 of Helm release cilium" in again["message"]
    assert site.revisions()[-1] == (4, "deployed")


def test_upgrades_again_and_again_add_no_events_and_lose_no_verified_revision(site: Site) -> None:
    install(site)
    counts = []
    for number in range(1, UPGRADES + 1):
        # Helm prunes the operator's own revision soon.
        upgrade_by_hand(site, "--set", f"podAnnotations.try=v{number}", "--history-max", "3")
        wait_for_message(site, f"revision {number + 1} of Helm release cilium", timeout=20)
        site.wait_for("ForeignRevision", ready="False")
        counts.append(_event_total(site))
    kept = site.cluster.get("secret", "cilium-hybrid-verified", "kube-system")

    assert counts[1:] == [counts[1]] * (UPGRADES - 1)
    assert 1 not in [number for number, _ in site.revisions()]
    assert site.verified == "1"
    assert kept is not None
    site.reconcile("resume")
    site.wait_for("InSync", ready="True", timeout=90)


def test_a_pending_revision_of_another_helm_is_waited_for(site: Site) -> None:
    before = install(site)
    upgrade_by_hand(site, "--set", "debug.enabled=true")
    site.wait_for("ForeignRevision", ready="False")
    label_revision(site, 2, status="pending-upgrade")
    ready = site.wait_for("ReleaseLocked", ready="False")
    commands = _helm_commands(site)
    edit(site, {"debug": {"verbose": "flow"}})
    site.reconcile("nobody may resume yet")
    site.wait_for("ReleaseLocked", ready="False")
    waited, locked = _helm_commands(site), site.revisions()
    label_revision(site, 2, status="deployed")
    site.wait_for("InSync", ready="True", timeout=90)

    assert "revision 2 of Helm release cilium, made by Helm, is pending-upgrade" in ready["message"]
    assert "waiting for Helm to finish" in ready["message"]
    assert waited == commands
    assert locked == [(1, "superseded"), (2, "pending-upgrade")]
    assert site.revisions()[-1] == (3, "deployed")
    assert site.restarted(before) == set(NODES)


def test_an_uninstall_of_somebody_else_in_flight_is_waited_for(site: Site) -> None:
    before = install(site)
    label_revision(site, 1, status="uninstalling")
    ready = site.wait_for("ReleaseLocked", ready="False")
    edit(site, DEBUG)
    site.wait_for("ReleaseLocked", ready="False")
    waited = site.revisions()
    label_revision(site, 1, status="deployed")
    site.wait_for("InSync", ready="True", timeout=90)

    assert "is being uninstalled" in ready["message"]
    assert waited == [(1, "uninstalling")]
    assert site.restarted(before) == set(NODES)


def test_a_deletion_after_an_admin_took_over_keeps_cilium_and_says_so(site: Site) -> None:
    install(site, deletionPolicy="Uninstall")
    upgrade_by_hand(site, "--set", "debug.enabled=true")
    site.wait_for("ForeignRevision", ready="False")
    agents = site.agents()
    site.cluster.kubectl("delete", "ciliumhybrid", "default", "--timeout=60s")
    said = [event for event in events(site) if "Cilium is kept" in (event.get("message") or "")]

    assert site.revisions() == [(1, "superseded"), (2, "deployed")]
    assert site.agents() == agents
    assert "its newest revision 2 was made by Helm, not by this operator" in said[0]["message"]


def test_an_upgrade_by_hand_over_two_minors_is_never_taken_back_by_the_spec(site: Site) -> None:
    install(site)
    rolling = ("--set", "updateStrategy.type=RollingUpdate,updateStrategy.rollingUpdate.maxUnavailable=5")
    upgrade_by_hand(site, *rolling, version="1.19.4-1")
    what = "every agent runs the version of the admin"
    wait_until(lambda: set(site.running().values()) == {"1.19.4-1"}, timeout=30, what=what)
    edit(site, version="1.19.4-1")
    site.wait_for("ForeignRevision", ready="False")
    site.reconcile("resume")
    site.wait_for("InSync", ready="True", timeout=90)
    steps = [entry["to"] for entry in site.status()["history"]]

    assert set(steps[1:]) == {"1.19.4-1"}
    assert set(site.running().values()) == {"1.19.4-1"}


def test_an_upgrade_by_hand_after_a_rollback_is_not_claimed(site: Site) -> None:
    install(site)
    edit(site, broken())
    site.wait_for("RolledBack", ready="False")
    upgrade_by_hand(site, version="1.17.15-1")
    ready = site.wait_for("ForeignRevision", ready="False")
    number = site.revisions()[-1][0]

    assert f"revision {number} of Helm release cilium was made by Helm" in ready["message"]
    assert [entry["revision"] for entry in site.status()["history"]] == list(range(1, number))
