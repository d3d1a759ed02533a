"""The pass: parse, observe, judge, decide, announce, act, report. Killed on any line, the next pass goes on."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from pydantic import ValidationError

from cilium_hybrid.api.conditions import ConditionType
from cilium_hybrid.api.status import Status
from cilium_hybrid.api.v1alpha1 import NAME, RolloutStrategy, Spec, parse_spec
from cilium_hybrid.plan.actions import Apply, Decision, Move, Nothing, Rollback, Uninstall, Unlock
from cilium_hybrid.plan.decide import Failure, Situation, decide, refuse
from cilium_hybrid.plan.ipam import judge_ipam
from cilium_hybrid.plan.judge import Question, judge, question
from cilium_hybrid.plan.news import news
from cilium_hybrid.plan.nodes import NodesVerdict, Since, judge_nodes
from cilium_hybrid.plan.observation import Observation, Survey
from cilium_hybrid.plan.release import ReleaseState, is_ours, release_state, released_digest, wanted
from cilium_hybrid.plan.removal import Removal, decide_removal
from cilium_hybrid.plan.rollout import NO_ROLLOUT, RolloutPlan, plan_rollout
from cilium_hybrid.plan.setback import setback_of
from cilium_hybrid.plan.status import Report, next_status
from cilium_hybrid.plan.values import CONFIG_DIGEST
from cilium_hybrid.ports import Clock, Cluster, ClusterUnavailableError, Resource, StaleError, Telemetry
from cilium_hybrid.reconcile.context import note
from cilium_hybrid.reconcile.execute import Executor

log = logging.getLogger(__name__)

STALE_PAUSE: Final = timedelta(seconds=1)
SURVEY_LASTS: Final = timedelta(minutes=1)
ROLLOUT_PAUSE: Final = timedelta(seconds=10)
"""How often a rollout is looked at though no event comes."""
LONGEST_GAP: Final = timedelta(seconds=30)
"""Two looks of a rollout are never further apart, unless the API server was away, or this process."""


@dataclass(slots=True)
class Memory:
    """What one pass leaves for the next. All of it may be lost: a restart looks and tries once more."""

    asked: object = None
    failure: Failure | None = None
    surveyed: "_Surveyed | None" = None
    since: Since = field(default_factory=dict)
    looked: datetime | None = None
    blind: timedelta = timedelta()

    def look(self, now: datetime) -> None:
        """Reckon how long nothing could be seen before this pass: that time counts against no rollout."""
        gap = timedelta() if self.looked is None else now - self.looked
        self.looked, self.blind = now, gap if gap > LONGEST_GAP else timedelta()

    def failure_of(self, thing: object) -> Failure | None:
        """The last failure, where it was of the same input."""
        return self.failure if self.asked == thing else None


@dataclass(frozen=True, slots=True)
class _Surveyed:
    """A survey, what was asked for it, and until when it is believed."""

    question: Question
    survey: Survey
    until: datetime


class Reconciler:
    """One pass at a time over the ports.

    `registries`: the only ones that a chart may come from, if any are named. `own_node`: where this operator runs.
    `looked_before`: when the process before this one could last see the cluster.
    """

    def __init__(
        self,
        cluster: Cluster,
        executor: Executor,
        clock: Clock,
        telemetry: Telemetry,
        registries: Sequence[str] = (),
        own_node: str | None = None,
        looked_before: datetime | None = None,
    ) -> None:
        self._cluster, self._executor, self._clock, self._telemetry = cluster, executor, clock, telemetry
        self._registries, self._own_node = registries, own_node
        self._memory = Memory(looked=looked_before)

    async def run_pass(self) -> datetime | None:
        """Look, and do at most one thing. Returns when to look again though no event comes; None: no need."""
        try:
            resource = await self._cluster.resource()
            if resource is None:
                return None
            return await self._run(resource)
        except StaleError as stale:
            log.debug("looking again: %s", stale)
        except ClusterUnavailableError as error:
            log.warning("the Kubernetes API is away: %s", error)
        return self._clock.now() + STALE_PAUSE

    async def _run(self, resource: Resource) -> datetime | None:
        note(resource=NAME, generation=resource.generation)
        self._memory.look(self._clock.now())
        view = self._look(resource)
        if isinstance(view.decision.action, Apply) and await self._survey(resource):
            view = self._look(resource)
        decision = view.decision
        if isinstance(decision.action, Nothing):
            await self._write(resource, view)
            return self._look_again(view)
        if isinstance(decision.action, Apply | Move | Rollback | Unlock | Uninstall):
            # Said before a long action starts: an operator that dies in it leaves the truth behind.
            await self._write(resource, view)
        before = self._memory.failure_of(view.asked)
        failure = await self._executor.execute(decision.action, resource, 0 if before is None else before.attempts)
        self._memory.asked, self._memory.failure = view.asked, failure
        if failure is not None:
            log.warning("%s: %s", failure.reason, failure.message)
        return self._clock.now()

    async def _survey(self, resource: Resource) -> bool:
        """Look up what a change depends on, where that was not done a moment ago; whether something was."""
        asked = question(resource.spec, self._cluster.observe())
        if asked is None or self._surveyed(asked) is not None:
            return False
        survey = await self._cluster.survey(asked)
        self._memory.surveyed = _Surveyed(asked, survey, self._clock.now() + SURVEY_LASTS)
        return True

    def _surveyed(self, asked: Question | None) -> Survey | None:
        """The answer to a question, while it is fresh."""
        last = self._memory.surveyed
        return last.survey if last and last.question == asked and self._clock.now() < last.until else None

    def _look(self, resource: Resource) -> "_View":
        observation, now, previous = self._cluster.observe(), self._clock.now(), _previous(resource)
        if resource.deleting:
            return self._look_at_the_removal(resource, observation, previous, now)
        ours = is_ours(observation)
        survey = self._surveyed(question(resource.spec, observation))
        verdict = judge(resource.spec, observation, survey, self._registries, ours=ours)
        try:
            spec = parse_spec(resource.spec)
        except (ValidationError, RecursionError):
            return self._view(resource, observation, refuse(verdict.refusals), previous, now, None)
        want = wanted(spec, observation)
        state = release_state(observation, want)
        in_sync = state is ReleaseState.IN_SYNC
        back = setback_of(observation, want, resource.generation) is not None
        released = want.values["podAnnotations"][CONFIG_DIGEST] if in_sync else released_digest(observation)
        rollout = NO_ROLLOUT
        if in_sync or back:
            rollout = self._rollout(spec, observation, released, previous, now, back=back)
        asked = (resource.generation, want.chart_ref, want.pinned_digest, want.values_digest)
        decision = decide(
            Situation(
                spec=spec,
                observation=observation,
                want=want,
                state=state,
                violations=verdict.refusals,
                now=now,
                failure=self._memory.failure_of(asked),
                held=resource.held,
                rollout=rollout,
                generation=resource.generation,
            )
        )
        nodes = judge_nodes(observation, released, self._since(previous), now)
        report = Report(
            previous,
            resource.generation,
            spec.version,
            want.chart_ref,
            observation,
            decision,
            nodes,
            now,
            in_sync,
            verdict.warnings,
            None if spec.suspend or verdict.refusals else rollout.status,
            judge_ipam(observation, resource.spec),
        )
        return _View(decision, next_status(report), nodes, previous, asked, survey is not None, rollout.again)

    def _rollout(
        self, spec: Spec, observation: Observation, digest: str | None, previous: Status, now: datetime, *, back: bool
    ) -> RolloutPlan:
        settings, before = spec.upgrade.rollout, previous.rollout
        if settings.strategy is RolloutStrategy.ROLLING_UPDATE:
            return NO_ROLLOUT
        if back:
            # What is gone back to has proven itself, and nodes wait for it.
            settings = settings.model_copy(update={"soak": "0s"})
        if before is not None and self._memory.blind:
            before = before.model_copy(update={"last_progress_at": before.last_progress_at + self._memory.blind})
        return plan_rollout(observation, digest, settings, before, self._own_node, now)

    def _look_at_the_removal(
        self, resource: Resource, observation: Observation, previous: Status, now: datetime
    ) -> "_View":
        asked = ("removal", resource.generation)
        removal = Removal(resource.spec, observation, resource.held, now, self._memory.failure_of(asked))
        return self._view(resource, observation, decide_removal(removal), previous, now, asked)

    def _view(
        self,
        resource: Resource,
        observation: Observation,
        decision: Decision,
        previous: Status,
        now: datetime,
        asked: object,
    ) -> "_View":
        nodes = judge_nodes(observation, released_digest(observation), self._since(previous), now)
        target = resource.spec.get("version")
        report = Report(
            previous,
            resource.generation,
            target if isinstance(target, str) else None,
            "",
            observation,
            decision,
            nodes,
            now,
            ipam=judge_ipam(observation, resource.spec),
        )
        return _View(decision, next_status(report), nodes, previous, asked)

    def _since(self, previous: Status) -> Since:
        """Since when nodes fail; the status remembers those it names over a restart."""
        return {(node.name, node.leg): node.since for node in previous.nodes.unready} | dict(self._memory.since)

    async def _write(self, resource: Resource, view: "_View") -> None:
        self._memory.since = view.nodes.since
        self._telemetry.saw(view.status)
        if view.status != view.previous:
            _log_what_changed(view.previous, view.status)
            await self._cluster.write_status(resource, dump(view.status))
            self._cluster.tell(resource, news(view.previous, view.status))

    def _look_again(self, view: "_View") -> datetime | None:
        failure, now = self._memory.failure_of(view.asked), self._clock.now()
        survey = self._memory.surveyed
        times = (
            view.nodes.grace_ends(now),
            None if failure is None else failure.not_before,
            # What was looked up is not watched: a refusal that may rest on it is judged anew.
            survey.until if survey is not None and view.surveyed and view.decision.violations else None,
            view.again,
            None if view.status.rollout is None else now + ROLLOUT_PAUSE,
        )
        return min((time for time in times if time is not None and time > now), default=None)


@dataclass(frozen=True, slots=True)
class _View:
    """What one pass saw and made of it; `asked` is the input that a failure is remembered by.

    `surveyed`: something was looked up for it that is not watched. `again`: when time alone changes the answer.
    """

    decision: Decision
    status: Status
    nodes: NodesVerdict
    previous: Status
    asked: object
    surveyed: bool = False
    again: datetime | None = None


def _log_what_changed(before: Status, after: Status) -> None:
    """One line for each change of what Ready says; counts alone are for the status and the metrics."""
    (was, now) = (next((c for c in one.conditions if c.type is ConditionType.READY), None) for one in (before, after))
    if now is not None and (was is None or (was.status, was.reason) != (now.status, now.reason)):
        log.info("Ready=%s %s: %s", now.status, now.reason, now.message)


def dump(status: Status) -> dict[str, Any]:
    """The status as JSON, without what is not known."""
    return status.model_dump(mode="json", by_alias=True, exclude_none=True)


def _previous(resource: Resource) -> Status:
    """The status as last written; an empty one where another version of the operator wrote it differently."""
    try:
        return Status.model_validate(resource.status)
    except ValidationError:
        return Status()
