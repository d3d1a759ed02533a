"""What holds in every history of a rollout: nodes blink, reboot, disconnect, join and leave while it runs."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any, Final

from hypothesis import given, settings
from hypothesis import strategies as st

from builders import OTHER_DIGEST
from cilium_hybrid.plan.observation import AgentPod, Observation
from cilium_hybrid.plan.rollout.nodes import ILL_AFTER
from cilium_hybrid.plan.rollout.plan import RolloutPlan, RolloutStep
from cilium_hybrid.plan.rollout.rollout import plan_rollout
from unit.plan.rollout import site as sites
from unit.plan.rollout.site import CRASHING, READY, STARTED, Site

NAMES: Final = tuple(f"n{number}" for number in range(6))
ZONES: Final = ("", "x", "y")
DEADLINE: Final = 600.0
SOAK: Final = 30.0
EVENTS: Final = (
    "blink",
    "heal",
    "break",
    "reboot",
    "disconnect",
    "reconnect",
    "leave",
    "join",
    "delete pod",
    "wait",
    "take over",
)


@dataclass
class Watched(Site):
    """A site that checks the rollout against what really happened, which the operator may see too late.

    `bad`: agents of the new release exit again and again. `lag`: a deletion is seen one reconciliation later.
    """

    bad: bool = False
    lag: bool = False
    stale: dict[str, AgentPod] = field(default_factory=dict)
    healthy: dict[str, tuple[str, str]] = field(default_factory=dict)
    """UID and boot ID of the healthy nodes that the rollout restarted and that have not settled."""
    ready_for: dict[str, float] = field(default_factory=dict)
    truly_unready_for: dict[str, float] = field(default_factory=dict)

    def observe(self) -> Observation:
        observation = super().observe()
        return replace(observation, agents={**observation.agents, **self.stale}) if self.stale else observation

    def tick(self, elapsed: float = 0.0) -> RolloutPlan:
        self._advance(elapsed)
        before, ready = dict(self.agents), {name for name in self.agents if self._ready(name)}
        uids = {agent.uid: name for name, agent in self.agents.items()}
        plan = self._plan_and_delete(elapsed, uids)
        self._check_evidence(plan)
        chosen = {uids[pod.uid] for pod in plan.pods if pod.uid in uids}
        self._check_restarts(chosen, before, ready)
        self.stale = {name: agent for name, agent in before.items() if name in chosen} if self.lag else {}
        return plan

    def _plan_and_delete(self, elapsed: float, uids: dict[str, str]) -> RolloutPlan:
        """A deletion has the UID of the pod as a precondition, so one that is seen too late does nothing."""
        observation = self.observe()
        rollout = self._input(observation, elapsed)
        plan = plan_rollout(rollout)
        self.seconds += elapsed
        self.record, self.last, self.unready_for = plan.record, plan, rollout.unready_for
        self.judged = self.judged and not plan.verified
        for pod in plan.pods:
            if pod.uid in uids:
                self.restarted.append(uids[pod.uid])
                self.replace_pod(uids[pod.uid])
        return plan

    def _ready(self, name: str) -> bool:
        return name in self.agents and self.agents[name].ready and self.nodes[name].ready != "Unknown"

    def _advance(self, elapsed: float) -> None:
        for times in (self.ready_for, self.truly_unready_for):
            for name in times.keys() - self.nodes.keys():
                del times[name]
        for name, agent in self.agents.items():
            if self.bad and elapsed and agent.config_digest == self.digest:
                self.agents[name] = replace(agent, **(dict(CRASHING) | {"exits": agent.exits + 1}))
        for name, node in self.nodes.items():
            if self._ready(name):
                self.ready_for[name] = self.ready_for[name] + elapsed if name in self.ready_for else 0.0
            else:
                self.ready_for.pop(name, None)
            if node.ready != "Unknown" and not self._ready(name):
                known = self.truly_unready_for
                known[name] = known[name] + elapsed if name in known else 0.0
            else:
                self.truly_unready_for.pop(name, None)
        self.healthy = {
            name: machine
            for name, machine in self.healthy.items()
            if name in self.nodes
            and machine[0] == self.nodes[name].uid
            and not (self._runs(name) and self.ready_for.get(name, -1.0) >= SOAK)
        }

    def _runs(self, name: str) -> bool:
        return name in self.agents and self.agents[name].config_digest == self.digest

    def _check_restarts(self, chosen: Iterable[str], before: dict[str, AgentPod], ready: set[str]) -> None:
        healthy = {name for name in chosen if name in ready}
        for name in set(chosen) - healthy:
            ill = before[name].is_crash_looping or self.truly_unready_for.get(name, 0.0) >= ILL_AFTER
            assert self.nodes[name].ready != "Unknown", f"{name} is disconnected"
            assert ill, f"{name} is unsettled"
        down = {name for name in self.healthy if name not in ready}
        down |= {name for name, seconds in self.truly_unready_for.items() if seconds < DEADLINE}
        limit = self.rules.max_unavailable
        assert isinstance(limit, int)
        assert not healthy or len(down | healthy) <= limit, f"{healthy} beside {down}"
        for name in healthy:
            assert before[name].config_digest != self.digest, f"{name} is updated already"
            self.healthy[name] = (self.nodes[name].uid, self.nodes[name].boot_id)
            self.ready_for.pop(name, None)

    def _check_evidence(self, plan: RolloutPlan) -> None:
        if plan.step is not RolloutStep.FAILED:
            return
        assert self.bad, f"a good release failed: {plan.message}"
        assert any(
            self.nodes[name].boot_id == boot and self.nodes[name].ready != "Unknown" and self._runs(name)
            for name, (_, boot) in self.healthy.items()
        ), plan.message


def happen(site: Watched, event: str, name: str) -> None:
    if event == "join" and name not in site.nodes:
        site.join(name, "x", **STARTED)
    if name not in site.nodes:
        return
    if event == "leave":
        site.delete(name)
        site.stale.pop(name, None)
    elif event == "disconnect":
        site.disconnect(name)
    elif event == "reconnect":
        site.reconnect(name)
    elif event == "take over":
        site.unready_for = {}
    elif name in site.agents:
        change(site, event, name)


def change(site: Watched, event: str, name: str) -> None:
    connected = site.nodes[name].ready != "Unknown"
    if event == "blink":
        site.agent(name, ready=False)
    elif event == "heal" and connected and not (site.bad and site.agents[name].config_digest == site.digest):
        site.agent(name, ready=True, started=True, failure_message="")
    elif event == "break" and site.agents[name].config_digest != site.digest:
        site.agent(name, ready=False, failure_message="CrashLoopBackOff: disk full")
    elif event == "reboot":
        site.reboot(name)
    elif event == "delete pod" and name not in site.stale:
        site.replace_pod(name)


HISTORY = st.lists(
    st.tuples(st.sampled_from(EVENTS), st.sampled_from(NAMES), st.sampled_from([0.0, 1.0, 10.0, 29.0])), max_size=80
)
NEW: dict[bool, Any] = {False: READY, True: STARTED}
SITES = st.builds(
    lambda zones, canary, limit, bad, lag, own: Watched(
        dict(zip(NAMES, zones, strict=False)),
        rules=sites.settings(canary=canary, maxUnavailable=limit),
        bad=bad,
        lag=lag,
        own=own,
        new=lambda _: NEW[bad],
    ),
    st.lists(st.sampled_from(ZONES), min_size=1, max_size=6),
    st.integers(1, 3),
    st.integers(1, 3),
    st.booleans(),
    st.booleans(),
    st.sampled_from([None, *NAMES]),
)


@settings(max_examples=60, deadline=None)
@given(SITES, HISTORY)
def test_in_every_history_the_rules_hold_and_the_rollout_ends(
    site: Watched, history: list[tuple[str, str, float]]
) -> None:
    site.tick()
    for event, name, elapsed in history:
        happen(site, event, name)
        if site.tick(elapsed).step is RolloutStep.FAILED:
            return
    for name in site.nodes:
        site.reconnect(name)
        if not (site.bad and site.agents[name].config_digest == site.digest):
            site.agent(name, ready=True, started=True, failure_message="")
    plan = site.tick()
    # Every node may have to be awaited for the deadline, one after the other.
    for _ in range(60 * (len(site.nodes) + 1)):
        plan = site.tick(10)
        if plan.step is RolloutStep.FAILED or plan.record is None:
            break

    stopped = plan.record is not None and len(plan.record.replaced) > 1
    if not site.nodes:
        assert plan.step is RolloutStep.DONE
    elif site.bad or stopped:
        assert plan.step is not RolloutStep.RESTART
        assert plan.step is not RolloutStep.WAIT
    else:
        assert plan.step is RolloutStep.DONE
        assert not site.judged, "not verified"
        assert not any(agent.config_digest == OTHER_DIGEST for agent in site.agents.values())
