"""When a configuration is verified, and how a rollout ends."""

from dataclasses import replace

from builders import DIGEST, OTHER_DIGEST
from cilium_hybrid.api.upgrade import RolloutStrategy
from cilium_hybrid.plan.rollout.plan import RolloutStep
from unit.plan.rollout.site import CRASHING, CURRENT, READY, STARTED, STARTING, Site, a_site, settings


def installed(names: str = "abc", **agent: bool) -> Site:
    """A site on which Cilium was just installed."""
    site = a_site("")
    for name in names:
        site.join(name, **(dict(STARTING) | agent))
    return site


def seconds_until_verified(site: Site, limit: int = 500) -> float:
    start = site.seconds
    for _ in range(limit):
        if site.tick(10).verified:
            return site.seconds - start
    raise AssertionError(f"never verified: {site.last}")


def test_a_configuration_is_verified_when_the_last_restarted_node_has_settled() -> None:
    site = a_site("abc")
    while len(site.restarted) < 3:
        site.tick(10)
    last = site.tick(10)
    soaking = site.run(20)
    end = site.tick(10)

    assert (last.step, last.verified, last.record is None) == (RolloutStep.DONE, False, False)
    assert (soaking.step, soaking.verified) == (RolloutStep.DONE, False)
    assert (end.step, end.verified) == (RolloutStep.DONE, True)
    assert end.record is not None, "they must still be seen to report"
    assert (end.record.nodes, set(end.record.watched)) == ({}, {"b", "c"})


def test_evidence_still_counts_during_the_soak_time_of_the_last_node() -> None:
    site = a_site("a")
    site.tick()
    done = site.tick(10)
    site.agent("a", **CRASHING)

    assert done.step is RolloutStep.DONE
    assert site.tick(10).step is RolloutStep.FAILED


def test_a_first_install_is_done_when_the_agents_are_ready_and_verified_after_the_soak_time() -> None:
    site = installed()
    starting = site.tick()
    for name in "abc":
        site.agent(name, **READY)
    ready = site.tick(10)
    steps = [site.tick(10).verified for _ in range(3)]

    assert starting.step is RolloutStep.WAIT
    assert starting.message == "0 of 3 connected nodes updated; waiting for a (agent is starting), b, c"
    assert (ready.step, ready.verified) == (RolloutStep.DONE, False)
    assert steps == [False, False, True]


def test_a_first_install_whose_agents_do_not_get_ready_stalls_at_the_deadline() -> None:
    site = installed()
    plan = site.run(620)

    assert plan.step is RolloutStep.STALLED
    assert not plan.verified


def test_a_node_that_is_set_aside_does_not_count_and_is_named() -> None:
    site = installed()
    site.agent("a", **READY)
    site.agent("b", **READY)
    took = seconds_until_verified(site)

    assert 590 < took <= 620
    assert site.last is not None
    assert site.last.findings == (
        "the rollout does not wait for c (agent is starting): agent not Ready for 10m; repair or delete the node",
    )


def test_nodes_that_keep_joining_do_not_prevent_the_verification() -> None:
    site = a_site("ab")
    site.until(RolloutStep.DONE)
    verified = False
    for number in range(30):
        if number:
            site.agent(f"x{number - 1}", **READY)
        site.join(f"x{number}", **STARTING)
        verified = verified or site.tick(20).verified

    assert verified


def test_a_node_that_restarted_and_is_lost_prevents_the_verification() -> None:
    site = a_site("ab", rules=settings(soak="0s"))
    site.tick()
    site.tick(10)
    site.disconnect("b")
    plans = [site.tick(10) for _ in range(100)]

    assert not any(plan.verified for plan in plans)
    assert plans[-1].step is RolloutStep.STALLED


def test_a_disconnected_node_that_was_not_restarted_does_not_prevent_it() -> None:
    site = a_site("abc")
    site.disconnect("c")

    assert seconds_until_verified(site) < 120


def test_nothing_is_verified_while_all_nodes_are_disconnected() -> None:
    site = installed(ready=True)
    site.disconnect("a", "b", "c")
    away = [site.tick(10) for _ in range(100)]
    site.reconnect("a")
    site.agent("a", ready=True)

    assert {(plan.step, plan.verified) for plan in away} == {(RolloutStep.DONE, False)}
    assert seconds_until_verified(site) == 40


def test_a_rollout_whose_nodes_all_disconnect_is_continued() -> None:
    site = a_site("ab", rules=settings(soak="0s"))
    site.tick()
    site.tick(10)
    site.disconnect("a", "b")
    away = site.run(100)
    site.reconnect("a", "b")
    site.agent("a", ready=True)
    site.agent("b", ready=True)

    assert away.record is not None
    assert seconds_until_verified(site) <= 30


def test_nothing_is_verified_before_the_cilium_operator_is_updated() -> None:
    site = installed(ready=True)
    site.operator = replace(CURRENT, current=False)
    waiting = site.run(100)
    site.operator = CURRENT

    assert (waiting.step, waiting.verified) == (RolloutStep.WAIT, False)
    assert seconds_until_verified(site) == 40


def test_an_outdated_node_that_has_lost_contact_for_a_moment_prevents_it() -> None:
    site = installed("ab", ready=True)
    site.join("c", digest="sha256:old", **STARTED)
    plans = [site.tick(10) for _ in range(11)]

    assert not any(plan.verified for plan in plans)


def test_a_rolling_update_is_verified_when_its_nodes_have_settled() -> None:
    site = a_site("ab", rules=settings(strategy=RolloutStrategy.ROLLING_UPDATE))
    waiting = site.tick()
    site.replace_pod("a")
    site.tick(10)
    site.replace_pod("b")

    assert waiting.message == "0 of 2 connected nodes updated; waiting for the DaemonSet controller to restart a, b"
    assert seconds_until_verified(site) == 40
    assert site.restarted == []


def test_a_verified_configuration_has_no_rollout_but_for_a_node_that_returns_with_an_outdated_agent() -> None:
    site = a_site("abc")
    for name in "ab":
        site.agent(name, config_digest=DIGEST)
    site.disconnect("c")
    site.judged = False
    steady = site.tick()
    site.reconnect("c")
    site.agent("c", ready=True)
    site.tick(10)
    done = site.tick(10)

    assert (steady.step, steady.record) == (RolloutStep.DONE, None)
    assert site.restarted == ["c"]
    assert (done.step, done.record) == (RolloutStep.DONE, None)


def test_a_casualty_that_is_away_prevents_the_verification_of_what_all_others_run() -> None:
    site = a_site("abc", new=lambda _: CRASHING)
    site.until(RolloutStep.FAILED)
    site.disconnect("a")
    site.digest = OTHER_DIGEST
    plans = [site.tick(10) for _ in range(80)]

    assert not any(plan.verified for plan in plans)
    assert plans[-1].step is RolloutStep.STALLED


def test_an_outdated_node_that_blinks_prevents_it_also_after_a_takeover() -> None:
    site = installed("ab", ready=True)
    site.join("c", digest=OTHER_DIGEST, **STARTED)
    plans = [site.tick(10) for _ in range(11)]
    site.unready_for = {}
    plans += [site.tick(10) for _ in range(11)]

    assert not any(plan.verified for plan in plans)
