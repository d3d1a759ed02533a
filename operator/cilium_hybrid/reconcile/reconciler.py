"""The reconciler: it observes, evaluates, writes the status and executes at most one action per reconciliation.

It can be killed at any point: the next reconciliation continues from what is in the cluster.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from cilium_hybrid.api.conditions import ConditionType, Reason, find_condition
from cilium_hybrid.api.status import Status
from cilium_hybrid.api.v1alpha1 import NAME
from cilium_hybrid.api.versions import CiliumVersion
from cilium_hybrid.plan.actions import (
    Action,
    Apply,
    EndPreflight,
    MarkRevision,
    Nothing,
    RemoveFinalizer,
    RestartAgents,
    Rollback,
    StartPreflight,
    Uninstall,
    Unlock,
)
from cilium_hybrid.plan.evaluate import evaluate
from cilium_hybrid.plan.inputs import Evaluation, Failure, ReconcileInput, Resource, Since
from cilium_hybrid.plan.observation import Difference, Lookups, Observation, Revision
from cilium_hybrid.plan.record import Record, RestartedNode, RolloutRecord
from cilium_hybrid.plan.rollout.persistence import without_choice
from cilium_hybrid.plan.status.events import status_events
from cilium_hybrid.plan.upgrade.preflight import PreflightProgress
from cilium_hybrid.plan.validate import LookupRequest, lookup_request
from cilium_hybrid.ports import Clock, Cluster, ClusterUnavailableError, Releases, StaleError, Telemetry
from cilium_hybrid.reconcile.context import add_log_context
from cilium_hybrid.reconcile.execute import Executor, InProgress
from cilium_hybrid.reconcile.payloads import Payloads
from cilium_hybrid.rules.lenient_spec import LenientSpec, read_lenient_spec

log = logging.getLogger(__name__)

ANNOUNCED: Final = (Apply, EndPreflight, RestartAgents, Rollback, StartPreflight, Unlock, Uninstall)
"""Actions that the status reports before they start."""
RETRY_AFTER_STALE: Final = timedelta(seconds=1)
LOOKUPS_MAX_AGE: Final = timedelta(minutes=1)
ROLLOUT_INTERVAL: Final = timedelta(seconds=10)
"""Maximum time between two reconciliations while a rollout or a preflight check is in progress."""
IN_PROGRESS_INTERVAL: Final = timedelta(seconds=2)
"""How often to look whether a slow registry has answered."""
MAX_OBSERVATION_GAP: Final = timedelta(seconds=30)
"""A longer gap between two reconciliations of a rollout means that the API server or this process was down."""
MAX_FAILURES: Final = 16
"""Inputs whose last failure is remembered."""


@dataclass(frozen=True, slots=True)
class _CachedLookups:
    """Lookups, the request that they answer, and until when they are valid."""

    request: LookupRequest
    lookups: Lookups
    valid_until: datetime


@dataclass(slots=True)
class Memory:
    """What one reconciliation leaves for the next. It may all be lost: then one action is tried once more.

    `counts_time`: whether the time until the next reconciliation counts for a rollout; `elapsed` is that time.
    `reachable`: the API server and all needed watches were; `observed`: they have been since the last reconciliation.
    `newest_since` is when this process first saw the newest revision as it is now.
    """

    failures: dict[object, Failure] = field(default_factory=dict)
    lookups: _CachedLookups | None = None
    unready_since: Since = field(default_factory=dict)
    observed_at: float | None = None
    counts_time: bool = False
    elapsed: float = 0.0
    reachable: bool = False
    observed: bool = False
    preflight_progress: PreflightProgress | None = None
    unready_for: Mapping[str, float] = field(default_factory=dict)
    healthy_before: Mapping[str, RestartedNode] = field(default_factory=dict)
    rollout: RolloutRecord | None = None
    newest: Revision | None = None
    newest_since: float = 0.0

    def start_observation(self, now: float) -> None:
        """Measure the time since the previous observation, on the monotonic clock.

        A long gap is time in which nothing was observed: it does not count for a rollout.
        """
        gap = 0.0 if self.observed_at is None else now - self.observed_at
        self.observed = self.reachable and gap <= MAX_OBSERVATION_GAP.total_seconds()
        self.observed_at = now
        self.elapsed = gap if self.observed and self.counts_time else 0.0

    def lose_sight(self) -> None:
        """Note that the API server was away: what happened meanwhile is no evidence, and nothing could progress."""
        self.reachable = False

    def see_newest(self, newest: Revision | None, now: float) -> float:
        """Return for how many seconds this process has seen the newest revision unchanged."""
        if newest != self.newest:
            self.newest, self.newest_since = newest, now
        return now - self.newest_since

    def failure_of(self, key: object) -> Failure | None:
        """Return the last failure of the same input."""
        return self.failures.get(key)

    def keep_failure(self, key: object, failure: Failure | None) -> None:
        """Remember the last failure of an input until it succeeds; the success of another action changes nothing."""
        self.failures.pop(key, None)
        if failure is not None:
            self.failures[key] = failure
        while len(self.failures) > MAX_FAILURES:
            del self.failures[next(iter(self.failures))]

    def keep(self, evaluation: Evaluation) -> None:
        """Remember what the next evaluation continues."""
        self.unready_since = evaluation.unready_since
        self.preflight_progress = evaluation.preflight_progress
        self.unready_for, self.healthy_before = evaluation.unready_for, evaluation.healthy_before
        self.rollout, self.counts_time = evaluation.rollout.record, evaluation.counts_time
        self.reachable = not evaluation.observation.lost_watches

    def forget_choice(self, action: RestartAgents, record: Record | None) -> None:
        """Forget which agents were chosen to be restarted, unless they are in the record: nothing was done."""
        self.rollout = without_choice(self.rollout, action.pods, record)


class Reconciler:
    """Runs one reconciliation at a time over the ports.

    `registries` are the registries that charts may come from; any if empty. `own_node` is where this operator runs.
    `chart_versions` returns the versions of a chart reference, `differences` what differs from the deployed release.
    `unlock_after` is for how many seconds this process must have seen a pending revision unchanged before it unlocks
    it: a Helm that an earlier leader started may still be running.
    """

    def __init__(
        self,
        cluster: Cluster,
        releases: Releases,
        executor: Executor,
        clock: Clock,
        telemetry: Telemetry,
        registries: Sequence[str] = (),
        own_node: str | None = None,
        chart_versions: Callable[[str], Sequence[CiliumVersion] | None] = lambda _: None,
        differences: Callable[[Observation], Sequence[Difference] | None] = lambda _: None,
        unlock_after: float = 0.0,
    ) -> None:
        self._cluster, self._executor, self._clock, self._telemetry = cluster, executor, clock, telemetry
        self._registries, self._own_node = registries, own_node
        self._chart_versions, self._differences = chart_versions, differences
        self._unlock_after = unlock_after
        self._payloads = Payloads(releases)
        self._memory = Memory()

    async def reconcile(self) -> datetime | None:
        """Execute at most one action. Return when to reconcile again even without an event; None: no need."""
        try:
            resource = await self._cluster.resource()
            if resource is None:
                return await self._clean_up()
            return await self._reconcile(resource)
        except StaleError as stale:
            log.debug("reconciling again: %s", stale)
            self._telemetry.status_written(str(stale))
        except ClusterUnavailableError as error:
            log.warning("the Kubernetes API is unavailable: %s", error)
            self._memory.lose_sight()
            self._telemetry.status_written(str(error))
        return self._clock.now() + RETRY_AFTER_STALE

    async def _reconcile(self, resource: Resource) -> datetime | None:
        add_log_context(resource=NAME, generation=resource.generation)
        spec = read_lenient_spec(resource.spec)
        await self._cluster.observe_node_labels({spec.group_by})
        observation = await self._payloads.add_to(self._cluster.observe())
        self._memory.start_observation(self._clock.monotonic())
        evaluation = evaluate(self._input(resource, spec, observation))
        if isinstance(evaluation.decision.action, Apply | StartPreflight) and await self._look_up(spec, observation):
            # The answer may have taken long, so the cluster is observed again.
            observation = await self._payloads.add_to(self._cluster.observe())
            evaluation = evaluate(self._input(resource, spec, observation))
        self._memory.keep(evaluation)
        action = evaluation.decision.action
        if isinstance(action, Nothing):
            await self._write_status(evaluation)
            return self._next_at(evaluation)
        if isinstance(action, ANNOUNCED):
            # Written before a long action starts: if the operator dies meanwhile, the status is true.
            await self._write_status(evaluation)
        if isinstance(action, RemoveFinalizer) and resource.deleting and await self._write_status(evaluation):
            # Nothing else says what becomes of Cilium. The finalizer is removed from the resource as it is now.
            return self._clock.now()
        attempts = 0 if evaluation.failure is None else evaluation.failure.attempts
        result = await self._executor.execute(action, resource, attempts)
        self._remember(action, done=result is None)
        if isinstance(result, InProgress):
            if not isinstance(action, ANNOUNCED):
                await self._write_status(evaluation)
            return self._clock.now() + IN_PROGRESS_INTERVAL
        self._memory.keep_failure(evaluation.failure_key, result)
        if result is not None:
            log.warning("%s: %s", result.reason, result.message)
            if result.reason is Reason.API_UNAVAILABLE:
                self._memory.lose_sight()
        return self._clock.now()

    def _remember(self, action: Action, *, done: bool) -> None:
        if isinstance(action, RestartAgents) and not done:
            self._memory.forget_choice(action, self._cluster.observe().record)
        if isinstance(action, MarkRevision) and done:
            # The rollout has ended, which was not certain while canaries still had to report.
            self._memory.rollout = action.record.rollout

    async def _clean_up(self) -> datetime | None:
        """Remove what a deleted resource left behind: its preflight check, and its metrics."""
        self._telemetry.record_status(None)
        self._telemetry.status_written(None)
        if not self._cluster.observe().preflight.managed:
            return None
        failure = await self._executor.end_preflight()
        if failure is not None:
            log.warning("%s: %s", failure.reason, failure.message)
        return self._clock.now() + ROLLOUT_INTERVAL

    async def _look_up(self, spec: LenientSpec, observation: Observation) -> bool:
        """Look up what a change depends on, unless that was just done; whether anything was looked up."""
        request = lookup_request(spec, observation)
        if request is None or self._cached_lookups(request) is not None:
            return False
        lookups = await self._cluster.lookups(request)
        self._memory.lookups = _CachedLookups(request, lookups, self._clock.now() + LOOKUPS_MAX_AGE)
        return True

    def _cached_lookups(self, request: LookupRequest | None) -> Lookups | None:
        """Return the answer to a request while it is valid."""
        cached = self._memory.lookups
        valid = cached is not None and cached.request == request and self._clock.now() < cached.valid_until
        return cached.lookups if cached is not None and valid else None

    def _input(self, resource: Resource, spec: LenientSpec, observation: Observation) -> ReconcileInput:
        memory = self._memory
        return ReconcileInput(
            resource=resource,
            lenient_spec=spec,
            observation=observation,
            now=self._clock.now(),
            failure_of=memory.failure_of,
            lookups=self._cached_lookups(lookup_request(spec, observation)),
            available_versions=self._executor.versions(spec.chart_ref),
            chart_versions=self._chart_versions(spec.chart_ref),
            unready_since=memory.unready_since,
            elapsed=memory.elapsed,
            observed=memory.observed,
            unready_for=memory.unready_for,
            healthy_before=memory.healthy_before,
            rollout_before=memory.rollout,
            newest_unchanged_for=memory.see_newest(observation.newest, self._clock.monotonic()),
            unlock_after=self._unlock_after,
            preflight_progress=memory.preflight_progress,
            registries=self._registries,
            own_node=self._own_node,
            differences=self._differences(observation),
        )

    async def _write_status(self, evaluation: Evaluation) -> bool:
        """Write the status if it has changed; whether it has."""
        resource, previous, status = evaluation.input.resource, evaluation.previous, evaluation.status
        self._telemetry.record_status(status, evaluation.observation.certificates)
        if status != previous:
            _log_change(previous, status)
            await self._cluster.write_status(resource, dump(status))
            self._cluster.record_events(resource, status_events(previous, status))
        self._telemetry.status_written(None)
        return status != previous

    def _next_at(self, evaluation: Evaluation) -> datetime | None:
        now, cached = self._clock.now(), self._memory.lookups
        refused = evaluation.input.lookups is not None and evaluation.decision.violations
        in_progress = evaluation.rollout.record is not None or evaluation.preflight_progress is not None
        times = (
            evaluation.recheck_at,
            # Lookups are not watched: a refusal that may depend on them is checked again.
            cached.valid_until if cached is not None and refused else None,
            now + ROLLOUT_INTERVAL if in_progress else None,
        )
        # A time that has passed since the evaluation, while the status was written, means now.
        return min((time for time in times if time is not None), default=None)


def _log_change(before: Status, after: Status) -> None:
    """Log one line if status or reason of `Ready` changed."""
    was, now = (find_condition(status.conditions, ConditionType.READY) for status in (before, after))
    if now is not None and (was is None or (was.status, was.reason) != (now.status, now.reason)):
        log.info("Ready=%s %s: %s", now.status, now.reason, now.message)


def dump(status: Status) -> dict[str, Any]:
    """Return the status as JSON, without unknown values."""
    return status.model_dump(mode="json", by_alias=True, exclude_none=True)
