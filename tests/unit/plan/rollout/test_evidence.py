"""What is evidence against a revision, and what is not."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from builders import a_cilium_node
from cilium_hybrid.api.upgrade import RolloutStrategy
from cilium_hybrid.plan.observation import CiliumOperator, SandboxFailure
from cilium_hybrid.plan.rollout.plan import RolloutPlan, RolloutStep
from unit.plan.rollout.site import CRASHING, CURRENT, READY, REFUSED, STARTED, STARTING, Site, a_site, settings

OLD_RUNS = CiliumOperator(2, 1, observed=True, current=False, outdated_available=True)


def restarted_site(agent: dict[str, Any] | Any, **facts: Any) -> Site:
    """A site whose canary a has just been restarted."""
    site = a_site("abc", new=lambda _: agent, **facts)
    site.tick()
    return site


def failed(plan: RolloutPlan) -> bool:
    return plan.step is RolloutStep.FAILED


def test_two_exits_of_a_container_are_evidence() -> None:
    plan = restarted_site(CRASHING).tick(10)

    assert failed(plan)
    assert plan.message == "the new agent fails on a (CrashLoopBackOff: fatal: cannot load program)"


def test_one_exit_is_no_evidence() -> None:
    assert not failed(restarted_site(dict(CRASHING) | {"exits": 1}).tick(10))


def test_exits_are_evidence_even_while_the_agent_is_ready_again() -> None:
    site = restarted_site(STARTED)
    site.tick(10)
    site.agent("a", ready=True, exits=2)

    assert site.tick(10).message == "the new agent fails on a (a container has exited 2 times)"


def test_exits_while_the_cluster_was_not_observed_are_no_evidence() -> None:
    site = restarted_site(STARTED)
    site.tick(10)
    site.agent("a", exits=5)
    site.observed = False
    site.tick(0)
    site.observed = True
    once_more = site.tick(10)
    site.agent("a", exits=7)

    assert not failed(once_more)
    assert failed(site.tick(10))


def test_an_image_that_the_registry_refuses_is_evidence_after_half_a_minute() -> None:
    site = restarted_site(REFUSED)
    site.tick(10)

    assert not failed(site.run(20))
    assert failed(site.tick(10))


def test_an_image_that_cannot_be_pulled_for_another_reason_only_stops_the_rollout() -> None:
    site = restarted_site({"ready": False, "failure_message": "ImagePullBackOff: 429 Too Many Requests"})
    steps = {site.tick(10).step for _ in range(200)}

    assert steps == {RolloutStep.WAIT, RolloutStep.STALLED}


def test_an_image_that_is_refused_off_and_on_is_no_evidence() -> None:
    site = restarted_site(REFUSED)
    for failing in (True, False) * 10:
        site.agent("a", image_failing=failing)

        assert not failed(site.tick(20))


def test_an_agent_that_started_and_is_not_ready_at_its_deadline_is_evidence() -> None:
    site = restarted_site(STARTED)
    site.tick(10)
    waiting = site.run(590)
    plan = site.tick(10)

    assert not failed(waiting)
    assert plan.message == "the new agent fails on a (started but not Ready for 10m)"


def test_an_agent_that_did_not_start_is_no_evidence() -> None:
    assert restarted_site(STARTING).run(3000).step is RolloutStep.STALLED


def test_the_deadline_is_that_of_each_node() -> None:
    """The progress of one node does not give another one more time."""
    site = a_site("abcdefgh", rules=settings(canary=2, maxUnavailable=2, soak="1h"))
    site.new = lambda name: STARTED if name == "a" else READY
    site.tick()
    site.tick(10)
    waiting = site.run(590)

    assert site.restarted == ["a", "b"]
    assert not failed(waiting)
    assert failed(site.tick(10))


def test_an_evicted_pod_says_nothing_about_its_successor() -> None:
    site = restarted_site(STARTED)
    site.tick(10)
    for _ in range(5):
        site.run(300)
        site.replace_pod("a")

    assert not failed(site.tick(10))


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda site: site.node("a", boot_id="another"), id="the node rebooted"),
        pytest.param(lambda site: site.node("a", kernel="6.9"), id="the kernel was updated"),
        pytest.param(lambda site: site.node("a", kubelet="v1.34"), id="the kubelet was updated"),
        pytest.param(lambda site: site.node("a", runtime="containerd 3"), id="the container runtime was updated"),
        pytest.param(lambda site: site.node("a", ready="Unknown"), id="the node is disconnected"),
        pytest.param(lambda site: site.node("a", uid="another"), id="the Node was created again"),
        pytest.param(lambda site: site.cilium_nodes.update(a=a_cilium_node("a", pod_cidrs=())), id="no pod CIDR"),
    ],
)
def test_a_node_that_is_not_as_it_was_gives_no_evidence(change: Callable[[Site], None]) -> None:
    site = restarted_site(STARTED)
    site.tick(10)
    change(site)
    site.agent("a", **CRASHING)

    assert not any("fails on a " in site.tick(10).message for _ in range(200))


def test_a_node_that_was_ill_gives_no_evidence() -> None:
    site = a_site("ab", rules=settings(maxUnavailable=2))
    site.agent("b", ready=False, failure_message="CrashLoopBackOff: bug of the earlier release")
    site.new = lambda name: CRASHING if name == "b" else READY

    assert RolloutStep.FAILED not in {site.tick(10).step for _ in range(200)}
    assert site.restarted[:2] == ["a", "b"]


def test_a_node_that_has_settled_gives_no_evidence() -> None:
    site = restarted_site(READY)
    site.run(50)
    site.agent("a", **CRASHING)

    assert RolloutStep.FAILED not in {site.tick(10).step for _ in range(200)}


def test_nothing_is_evidence_against_a_verified_configuration() -> None:
    site = restarted_site(CRASHING, judged=False)

    assert RolloutStep.FAILED not in {site.tick(10).step for _ in range(200)}


def test_a_lost_contact_alone_is_no_evidence_however_long() -> None:
    site = restarted_site(STARTED)
    site.run(300)
    site.disconnect("a")
    site.run(3000)
    site.reconnect("a")
    back = site.run(500)
    late = site.run(200)

    assert not failed(back)
    assert failed(late)


def test_a_lost_contact_that_this_process_did_not_see_is_no_evidence() -> None:
    """After a takeover the agent of a node that has just returned is not Ready for a moment."""
    site = restarted_site(STARTED)
    site.run(590)
    site.unready_for = {}

    assert not failed(site.run(110))
    assert failed(site.run(120))


def test_healthy_nodes_that_the_daemonset_controller_restarts_give_evidence() -> None:
    site = a_site("abc", rules=settings(strategy=RolloutStrategy.ROLLING_UPDATE), new=lambda _: STARTED)
    site.tick()
    site.replace_pod("b")
    site.tick(10)
    site.agent("b", **CRASHING)
    plan = site.tick(10)

    assert failed(plan)
    assert "fails on b" in plan.message
    assert site.restarted == []


def test_at_most_two_nodes_are_named() -> None:
    site = Site({f"n{n}": "" for n in range(9)}, rules=settings(canary=9, maxUnavailable=9), new=lambda _: CRASHING)
    site.tick()

    assert site.tick(10).message == (
        "the new agent fails on n0 (CrashLoopBackOff: fatal: cannot load program) and 8 more"
    )


class TestSandboxFailures:
    """A new agent that is Ready while pods on its node cannot start."""

    def reports(self, *counts: int, sooner: int = 0, no_address: bool = False) -> RolloutPlan:
        """The plan after reports were counted every five seconds since the agent became Ready."""
        site = a_site("abc", new=lambda _: STARTED)
        if sooner:
            site.sandbox["a"] = SandboxFailure(sooner, "plugin fails")
        site.tick()
        site.tick(10)
        site.agent("a", ready=True)
        for number in counts:
            if number:
                site.sandbox["a"] = SandboxFailure(number, "plugin cilium-cni failed (add)", no_address)
            plan = site.tick(5)
        return plan

    def test_that_repeat_until_the_end_of_the_soak_time_are_evidence(self) -> None:
        plan = self.reports(1, 1, 2, 2, 3, 3, 4)

        assert plan.message == (
            "the new agent fails on a (agent is Ready, but pods cannot start: plugin cilium-cni failed (add))"
        )

    def test_before_the_end_of_the_soak_time_are_no_evidence_yet(self) -> None:
        assert not failed(self.reports(1, 2, 3, 4, 5, 6))

    def test_that_ended_with_the_restart_are_no_evidence(self) -> None:
        assert not failed(self.reports(9, 9, 9, 9, 9, 9, 9))

    def test_that_have_stopped_are_no_evidence(self) -> None:
        assert not failed(self.reports(1, 4, 5, 5, 5, 5, 5))

    def test_that_do_not_repeat_are_no_evidence(self) -> None:
        assert not failed(self.reports(0, 0, 0, 0, 0, 0, 1))

    def test_for_lack_of_addresses_are_no_evidence(self) -> None:
        assert not failed(self.reports(1, 1, 2, 2, 3, 3, 4, no_address=True))

    def test_that_were_there_before_the_restart_are_no_evidence(self) -> None:
        assert not failed(self.reports(8, 8, 9, 9, 10, 10, 11, sooner=7))


class TestCiliumOperator:
    """Pods of the operator's new template count if a pod of the earlier one was available."""

    def after(self, operator: CiliumOperator, before: CiliumOperator = OLD_RUNS) -> RolloutPlan:
        site = a_site("ab", operator=before)
        site.tick()
        site.operator = operator
        site.tick(10)
        return site.run(60)

    def test_that_exits_twice_is_evidence(self) -> None:
        plan = self.after(replace(OLD_RUNS, exits=2, failure_message="CrashLoopBackOff: unknown flag"))

        assert failed(plan)
        assert plan.message == "the new Cilium operator fails (CrashLoopBackOff: unknown flag)"

    def test_whose_image_is_refused_is_evidence(self) -> None:
        assert failed(self.after(replace(OLD_RUNS, image_failing=True)))

    def test_that_replaces_one_that_was_not_available_is_no_evidence(self) -> None:
        before = replace(OLD_RUNS, outdated_available=False)

        assert not failed(self.after(replace(before, exits=9), before))

    def test_that_replaces_one_on_the_same_node_is_evidence(self) -> None:
        """On a single node the earlier pod stops first."""
        assert failed(self.after(replace(OLD_RUNS, outdated_available=False, exits=2)))

    def test_that_runs_is_no_evidence(self) -> None:
        assert not failed(self.after(replace(CURRENT, exits=9, outdated_available=True)))

    def test_that_ran_and_exits_once_later_is_no_evidence(self) -> None:
        site = a_site("ab", operator=OLD_RUNS)
        site.tick()
        site.operator = replace(CURRENT, exits=3)
        site.tick(10)
        site.operator = replace(OLD_RUNS, exits=4)

        assert not failed(site.tick(10))

    def test_exits_while_the_cluster_was_not_observed_are_no_evidence(self) -> None:
        site = a_site("ab", operator=OLD_RUNS)
        site.tick()
        site.operator = replace(OLD_RUNS, exits=5)
        site.observed = False
        site.tick(0)
        site.observed = True

        assert not failed(site.tick(10))
