"""The record is lost in mid-rollout: any node that it may have named can be a canary that fails."""

from datetime import timedelta

import pytest

from builders import NOW
from cilium_hybrid.plan.record import Record
from cilium_hybrid.plan.recording import retried
from cilium_hybrid.plan.rollout.persistence import without_choice
from cilium_hybrid.plan.rollout.plan import RolloutStep
from unit.plan.rollout.site import CRASHING, READY, STARTED, STARTING, Site, a_site, settings


def a_site_with_a_canary(names: str = "abc", *, soak: str = "30s") -> Site:
    """Canary `a` was restarted, and the record is lost."""
    site = a_site(names, rules=settings(soak=soak))
    site.tick()
    site.lose_record()
    return site


def test_a_canary_that_is_away_uses_the_budget_until_it_is_back() -> None:
    site = a_site_with_a_canary()
    site.disconnect("a")
    waiting = site.tick(10)
    site.run(700)
    stalled = site.tick(10)
    away = list(site.restarted)
    site.reconnect("a")
    site.agent("a", **READY)
    site.run(150)

    assert "waiting for a (node does not report to the API server)" in waiting.message
    assert (away, stalled.step) == ([], RolloutStep.STALLED)
    assert stalled.message == (
        "a may have been restarted before the record was lost, and is not Ready (node does not report to the API "
        "server); the rollout resumes when it is Ready or its Node is deleted; to continue without it, set annotation "
        "ciliumhybrid.io/reconcile"
    )
    assert site.restarted == ["b", "c"]


def test_a_canary_that_is_away_may_be_deleted() -> None:
    site = a_site_with_a_canary()
    site.disconnect("a")
    site.run(700)
    site.delete("a")
    site.run(150)

    assert site.restarted == ["b", "c"]


def test_a_person_may_continue_without_it() -> None:
    site = a_site_with_a_canary()
    site.disconnect("a")
    site.run(700)
    site.record = retried(Record(rollout=site.record), "2").rollout
    site.run(150)

    assert site.restarted == ["b", "c"]


def test_the_agent_of_a_canary_that_is_away_may_still_be_terminating() -> None:
    site = a_site("abc")
    site.disconnect("a")
    site.terminating["a"] = frozenset({site.agents.pop("a").uid})
    site.lose_record()
    site.run(1000)

    assert site.restarted == []


def test_a_node_that_this_rollout_has_not_restarted_may_be_away() -> None:
    site = a_site("abc")
    site.disconnect("a")
    site.lose_record()
    site.run(150)

    assert site.restarted == ["b", "c"]


def test_on_the_way_back_a_node_that_is_away_delays_nobody() -> None:
    site = a_site_with_a_canary()
    site.disconnect("a")
    site.judged, site.rolling_back = False, True
    site.run(100)

    assert site.restarted == ["b", "c"]


def test_a_canary_that_is_ready_for_the_moment_soaks_again() -> None:
    site = a_site_with_a_canary(soak="3m")
    site.run(170)
    soaking = site.tick(5)
    site.disconnect("a")
    site.run(100)
    site.reconnect("a")
    site.agent("a", **READY)
    site.run(170)
    before = list(site.restarted)
    site.run(20)

    assert "soaking canary a" in soaking.message
    assert (before, site.restarted) == ([], ["b"])


def test_what_it_does_is_no_evidence_since_it_may_have_been_ill_before() -> None:
    site = a_site_with_a_canary()
    site.agent("a", **CRASHING)

    assert site.run(1000).step is RolloutStep.STALLED


def test_a_soak_time_is_not_a_lack_of_progress() -> None:
    site = a_site_with_a_canary(soak="30m")

    assert site.run(1200).step is RolloutStep.WAIT


def test_a_node_that_returns_after_long_is_reported_as_stalled_for_no_longer_than_the_deadline() -> None:
    site = a_site_with_a_canary(soak="30m")
    site.run(60)
    site.disconnect("a")
    away = site.run(700)
    site.reconnect("a")
    site.agent("a", **READY)
    site.run(610)

    assert away.step is RolloutStep.STALLED
    assert site.tick(10).step is RolloutStep.WAIT


def test_updated_nodes_soak_only_once() -> None:
    site = a_site_with_a_canary("abcdef", soak="1m")
    site.run(70)
    first = list(site.restarted)
    site.disconnect("a")
    site.run(150)

    assert (first, site.restarted) == (["b"], ["b", "c", "d", "e", "f"])


def test_nodes_that_join_later_delay_nobody_for_ever() -> None:
    site = a_site_with_a_canary("abc", soak="5m")
    for number in range(5):
        site.join(f"new-{number}", **STARTING)
        site.run(20)
        site.agent(f"new-{number}", **READY)
        site.run(60)

    assert site.restarted == ["b"]


def test_updated_nodes_that_lose_contact_in_turn_delay_nobody_for_ever() -> None:
    site = a_site_with_a_canary("abcd", soak="5m")
    for name in "bc":
        site.replace_pod(name)
    for name in "abcabc":
        site.disconnect(name)
        site.run(50)
        site.reconnect(name)
        site.agent(name, **READY)
        site.run(150)

    assert site.restarted == ["d"]


def test_the_revision_is_not_verified_while_a_canary_is_away_although_no_other_node_is_left() -> None:
    site = a_site_with_a_canary("abcd")
    site.run(10)
    site.disconnect("a", "c", "d")
    site.run(300)

    assert site.judged


def test_a_canary_that_has_just_soaked_is_watched_when_the_revision_is_verified() -> None:
    site = a_site_with_a_canary(soak="10s")
    site.disconnect("b", "c")
    plan = site.run(20)

    assert plan.verified
    assert plan.record is not None
    assert plan.record.watched["a"].canary, "its Lease is read first"


def test_a_later_rollout_knows_what_it_has_restarted() -> None:
    """A node that never has an agent must not stop every release after the record was lost."""
    site = a_site("abcd")
    del site.agents["d"]
    site.unready_for = {"d": 3600.0}
    site.lose_record()
    site.run(1000)

    assert site.restarted == ["a", "b", "c"]


def test_at_the_first_install_nothing_is_left_to_restart() -> None:
    site = a_site("abc", rules=settings(progressDeadline="2m"))
    for name in "abc":
        site.agent(name, config_digest=site.digest)
    site.agent("c", **STARTED)
    site.lose_record()
    site.run(500)

    assert not site.judged, "one node that never gets Ready is set aside"


def test_of_many_updated_nodes_those_that_may_be_canaries_soak() -> None:
    names = [f"node-{number:03}" for number in range(150)]
    site = Site(dict.fromkeys(names, ""))
    for name in names[:120]:
        site.replace_pod(name)
    site.agent("node-119", **STARTED)
    site.lose_record()
    site.tick()

    assert site.record is not None
    assert len(site.record.nodes) == 100
    assert "node-119" in site.record.nodes


@pytest.mark.parametrize("ready", [True, False])
def test_the_next_release_first_repairs_what_may_have_been_lost(ready: bool) -> None:
    site = a_site_with_a_canary()
    if not ready:
        site.agent("a", **CRASHING)
    site.tick(10)
    site.digest = "sha256:next"
    plan = site.tick(10)

    assert plan.record is not None
    assert plan.record.casualties == (() if ready else ("a",))


def test_an_exit_of_long_ago_does_not_make_a_casualty_of_a_ready_node() -> None:
    site = a_site("abcdefgh")
    for name in "abcdef":
        site.replace_pod(name)
        site.agent(name, **READY, exits=1)
    site.lose_record()
    site.tick(10)
    site.digest, site.new = "sha256:next", lambda _: CRASHING
    site.until(RolloutStep.FAILED)

    assert len(site.restarted) == 1


@pytest.mark.parametrize("at_once", [True, False])
def test_the_nodes_of_several_suspects_may_be_deleted(at_once: bool) -> None:
    site = a_site("abcdefgh")
    for name in "abcd":
        site.replace_pod(name)
    site.lose_record()
    site.disconnect("a", "b")
    site.run(700)
    site.delete("a")
    site.run(0 if at_once else 60)
    site.delete("b")
    site.run(200)

    assert site.restarted


def test_a_person_may_also_continue_after_the_spec_was_changed() -> None:
    site = a_site_with_a_canary("abcd")
    site.disconnect("a")
    site.run(700)
    site.digest = "sha256:next"
    waiting = site.run(300)
    site.record = retried(Record(rollout=site.record), "2").rollout
    site.run(300)

    assert waiting.message.endswith(
        "waiting for a (node does not report to the API server), which an earlier revision may have left not Ready; "
        "to continue without it, set annotation ciliumhybrid.io/reconcile"
    )
    assert site.restarted == ["b", "c", "d"]


def test_nodes_are_captured_only_once_one_is_connected() -> None:
    site = a_site_with_a_canary()
    site.disconnect("a", "b", "c")
    site.run(100)
    site.reconnect("a", "b", "c")
    for name in "bc":
        site.agent(name, **READY)
    site.agent("a", **CRASHING)
    site.run(1500)

    assert site.restarted == []


def test_a_canary_that_is_away_again_and_again_stays_stalled() -> None:
    site = a_site("abcd", rules=settings(soak="5m"))
    site.tick()
    steps = []
    for _ in range(20):
        site.disconnect("a")
        site.run(60)
        site.reconnect("a")
        site.agent("a", **READY)
        steps.append(site.run(100).step)

    assert set(steps[-5:]) == {RolloutStep.STALLED}


def test_after_the_spec_was_changed_the_annotation_forgets_only_what_is_uncertain() -> None:
    site = a_site("abcd", rules=settings(progressDeadline="2m"), rebuilt=True, new=lambda _: CRASHING)
    site.until(RolloutStep.FAILED)
    for number in range(3):
        site.record = retried(Record(rollout=site.record, rebuilt=True), f"{number} before").rollout
        site.digest = f"sha256:next-{number}"
        site.run(60)
        site.record = retried(Record(rollout=site.record, rebuilt=True), f"{number} after").rollout
        site.run(300)

    assert set(site.restarted) == {"a"}


def test_the_first_restart_is_preceded_by_a_dry_run() -> None:
    site = a_site_with_a_canary()
    plan = site.until(RolloutStep.RESTART)

    assert (site.restarted, plan.first) == (["b"], True)


def test_what_is_terminating_or_young_is_captured_first() -> None:
    names = [f"node-{number:03}" for number in range(150)]
    site = Site(dict.fromkeys(names, ""))
    for age, name in enumerate(names[:120]):
        site.replace_pod(name)
        site.agent(name, created_at=NOW - timedelta(seconds=age))
    site.disconnect(*names[:119])
    site.terminating["node-119"] = frozenset({site.agents.pop("node-119").uid})
    site.lose_record()
    site.tick()

    assert site.record is not None
    assert set(site.record.nodes) == {"node-119", *names[:99]}
    assert site.record.nodes["node-119"].pod_uid in site.terminating["node-119"]


def test_a_suspect_that_is_lost_after_it_has_settled_is_not_followed_by_two_canaries() -> None:
    site = a_site_with_a_canary("abcd", soak="10s")
    while (plan := site.plan(5)).step is not RolloutStep.RESTART:
        site.tick(5)
    # Its Lease is not renewed, so no other node is restarted.
    site.record = without_choice(plan.record, plan.pods, None)
    site.disconnect("a")
    site.tick(5)

    assert site.record is not None
    assert (site.record.soaked, site.record.settled) == (0, 0)


def test_the_next_release_continues_to_follow_an_agent_that_is_still_terminating() -> None:
    site = a_site("abc")
    site.terminating["a"] = frozenset({site.agents.pop("a").uid})
    site.lose_record()
    site.tick(10)
    site.digest = "sha256:next"
    plan = site.tick(10)

    assert plan.record is not None
    assert set(plan.record.nodes) == {"a"}
