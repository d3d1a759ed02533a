from builders import DIGEST, OTHER_DIGEST
from cilium_hybrid.plan.observation import SandboxFailure
from cilium_hybrid.plan.rollout.timers import advance_timers, healthy_outdated
from unit.plan.rollout.site import STARTED, a_site


def test_an_agent_begins_at_zero_and_counts_until_it_is_ready() -> None:
    site = a_site("ab")
    site.agent("a", **STARTED)
    first = advance_timers(site.observe(), {}, 10)
    second = advance_timers(site.observe(), first, 10)
    site.agent("a", ready=True)

    assert (first, second) == ({"a": 0.0}, {"a": 10.0})
    assert advance_timers(site.observe(), second, 10) == {}


def test_a_node_without_an_agent_counts() -> None:
    site = a_site("a")
    del site.agents["a"]

    assert advance_timers(site.observe(), {"a": 5.0}, 10) == {"a": 15.0}


def test_a_disconnected_node_does_not_count_and_begins_again_when_it_returns() -> None:
    site = a_site("a")
    site.disconnect("a")
    away = advance_timers(site.observe(), {"a": 100.0}, 10)
    site.reconnect("a")

    assert away == {}
    assert advance_timers(site.observe(), away, 10) == {"a": 0.0}


def test_healthy_outdated_nodes_are_those_whose_ready_agent_runs_another_configuration() -> None:
    site = a_site("abcde")
    site.agent("b", config_digest=DIGEST)
    site.agent("c", ready=False)
    site.disconnect("d")
    del site.agents["e"]
    site.sandbox["a"] = SandboxFailure(1, "failed")
    nodes = healthy_outdated(site.observe(), DIGEST, {})

    assert list(nodes) == ["a"]
    assert (nodes["a"].pod_uid, nodes["a"].healthy, nodes["a"].sandbox_failing) == (site.agents["a"].uid, True, True)
    assert set(healthy_outdated(site.observe(), OTHER_DIGEST, {})) == {"b"}


def test_a_pod_that_was_there_before_the_reboot_of_its_node_does_not_show_that_the_node_is_healthy_since() -> None:
    """The API server shows it as Ready until the kubelet reports."""
    site = a_site("a")
    before = healthy_outdated(site.observe(), DIGEST, {})
    site.node("a", boot_id="another")
    after = healthy_outdated(site.observe(), DIGEST, before)
    site.create("a", digest=OTHER_DIGEST, ready=True)
    replaced = healthy_outdated(site.observe(), DIGEST, after)

    assert after == before
    assert replaced["a"].boot_id == "another"
