"""The pass: parse, observe, judge, decide, announce, act, report. Killed on any line, the next pass goes on."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from cilium_hybrid.api.conditions import ConditionType, find_condition
from cilium_hybrid.api.status import Status
from cilium_hybrid.api.v1alpha1 import NAME
from cilium_hybrid.api.versions import CiliumVersion
from cilium_hybrid.plan.actions import (
    Apply,
    EndPreflight,
    Nothing,
    RestartAgents,
    Rollback,
    StartPreflight,
    Uninstall,
    Unlock,
)
from cilium_hybrid.plan.evaluate import Sight, View, look
from cilium_hybrid.plan.inputs import Failure, Resource
from cilium_hybrid.plan.observation import Difference, Lookups, Observation
from cilium_hybrid.plan.status.events import status_events
from cilium_hybrid.plan.status.nodes import Since
from cilium_hybrid.plan.upgrade.preflight import PreflightProgress
from cilium_hybrid.plan.validate import LookupRequest, lookup_request
from cilium_hybrid.ports import Clock, Cluster, ClusterUnavailableError, StaleError, Telemetry
from cilium_hybrid.reconcile.context import note
from cilium_hybrid.reconcile.execute import Executor
from cilium_hybrid.rules.lenient_spec import read_lenient_spec

log = logging.getLogger(__name__)

ANNOUNCED: Final = (Apply, EndPreflight, RestartAgents, Rollback, StartPreflight, Unlock, Uninstall)
"""Actions that the status tells of before they begin."""
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
    preflight: PreflightProgress | None = None

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

    lookup_request: LookupRequest
    lookups: Lookups
    until: datetime


class Reconciler:
    """One pass at a time over the ports.

    `registries`: the only ones that a chart may come from, if any are named. `own_node`: where this operator runs.
    `looked_before`: when the process before this one could last see the cluster. `published`: the versions of a chart.
    `differences`: what is not as it was released.
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
        chart_versions: Callable[[str], Sequence[CiliumVersion] | None] = lambda _: None,
        differences: Callable[[Observation], Sequence[Difference] | None] = lambda _: None,
    ) -> None:
        self._cluster, self._executor, self._clock, self._telemetry = cluster, executor, clock, telemetry
        self._registries, self._own_node = registries, own_node
        self._published, self._differences = chart_versions, differences
        self._memory = Memory(looked=looked_before)

    async def reconcile(self) -> datetime | None:
        """Look, and do at most one thing. Returns when to look again though no event comes; None: no need."""
        try:
            resource = await self._cluster.resource()
            if resource is None:
                return await self._tidy()
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
        if isinstance(view.decision.action, Apply | StartPreflight) and await self._survey(resource):
            view = self._look(resource)
        decision = view.decision
        if isinstance(decision.action, Nothing):
            await self._write(resource, view)
            return self._look_again(view)
        if isinstance(decision.action, ANNOUNCED):
            # Said before a long action starts: an operator that dies in it leaves the truth behind.
            await self._write(resource, view)
        before = self._memory.failure_of(view.asked)
        failure = await self._executor.execute(decision.action, resource, 0 if before is None else before.attempts)
        self._memory.asked, self._memory.failure = view.asked, failure
        if failure is not None:
            log.warning("%s: %s", failure.reason, failure.message)
        return self._clock.now()

    async def _tidy(self) -> datetime | None:
        """Nothing is left behind by a resource that is gone: no preflight, and nothing that is told of it."""
        self._telemetry.saw(None)
        if not self._cluster.observe().preflight.managed:
            return None
        failure = await self._executor.end_preflight()
        if failure is not None:
            log.warning("%s: %s", failure.reason, failure.message)
        return self._clock.now() + ROLLOUT_PAUSE

    async def _survey(self, resource: Resource) -> bool:
        """Look up what a change depends on, where that was not done a moment ago; whether something was."""
        asked = lookup_request(resource.spec, self._cluster.observe())
        if asked is None or self._surveyed(asked) is not None:
            return False
        lookups = await self._cluster.lookups(asked)
        self._memory.surveyed = _Surveyed(asked, lookups, self._clock.now() + SURVEY_LASTS)
        return True

    def _surveyed(self, asked: LookupRequest | None) -> Lookups | None:
        """The answer to a question, while it is fresh."""
        last = self._memory.surveyed
        return last.lookups if last and last.lookup_request == asked and self._clock.now() < last.until else None

    def _look(self, resource: Resource) -> View:
        observation = self._cluster.observe()
        sight = Sight(
            resource=resource,
            observation=observation,
            now=self._clock.now(),
            failure_of=self._memory.failure_of,
            lookups=self._surveyed(lookup_request(resource.spec, observation)),
            available=self._executor.versions(resource),
            chart_versions=self._published(read_lenient_spec(resource.spec).chart_ref),
            since=self._memory.since,
            blind=self._memory.blind,
            preflight=self._memory.preflight,
            registries=self._registries,
            own_node=self._own_node,
            differences=self._differences(observation),
        )
        return look(sight)

    async def _write(self, resource: Resource, view: View) -> None:
        self._memory.since, self._memory.preflight = view.nodes.since, view.preflight
        self._telemetry.saw(view.status, view.certificates)
        if view.status != view.previous:
            _log_what_changed(view.previous, view.status)
            await self._cluster.write_status(resource, dump(view.status))
            self._cluster.tell(resource, status_events(view.previous, view.status))

    def _look_again(self, view: View) -> datetime | None:
        failure, now = self._memory.failure_of(view.asked), self._clock.now()
        lookups = self._memory.surveyed
        times = (
            view.nodes.grace_ends(now),
            None if failure is None else failure.not_before,
            # What was looked up is not watched: a refusal that may rest on it is judged anew.
            lookups.until if lookups is not None and view.surveyed and view.decision.violations else None,
            view.again,
            None if view.status.rollout is None and view.preflight is None else now + ROLLOUT_PAUSE,
        )
        return min((time for time in times if time is not None and time > now), default=None)


def _log_what_changed(before: Status, after: Status) -> None:
    """One line for each change of what Ready says; counts alone are for the status and the metrics."""
    was, now = (find_condition(status.conditions, ConditionType.READY) for status in (before, after))
    if now is not None and (was is None or (was.status, was.reason) != (now.status, now.reason)):
        log.info("Ready=%s %s: %s", now.status, now.reason, now.message)


def dump(status: Status) -> dict[str, Any]:
    """The status as JSON, without what is not known."""
    return status.model_dump(mode="json", by_alias=True, exclude_none=True)
