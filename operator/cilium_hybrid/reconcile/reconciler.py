"""The reconciler: it observes, evaluates, writes the status and executes at most one action per reconciliation.

It can be killed at any point: the next reconciliation continues from what is in the cluster.
"""

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
from cilium_hybrid.plan.evaluate import evaluate
from cilium_hybrid.plan.inputs import Evaluation, Failure, ReconcileInput, Resource, Since
from cilium_hybrid.plan.observation import Difference, Lookups, Observation
from cilium_hybrid.plan.status.events import status_events
from cilium_hybrid.plan.upgrade.preflight import PreflightProgress
from cilium_hybrid.plan.validate import LookupRequest, lookup_request
from cilium_hybrid.ports import Clock, Cluster, ClusterUnavailableError, StaleError, Telemetry
from cilium_hybrid.reconcile.context import add_log_context
from cilium_hybrid.reconcile.execute import Executor
from cilium_hybrid.rules.lenient_spec import LenientSpec, read_lenient_spec

log = logging.getLogger(__name__)

ANNOUNCED: Final = (Apply, EndPreflight, RestartAgents, Rollback, StartPreflight, Unlock, Uninstall)
"""Actions that the status reports before they start."""
RETRY_AFTER_STALE: Final = timedelta(seconds=1)
LOOKUPS_MAX_AGE: Final = timedelta(minutes=1)
ROLLOUT_INTERVAL: Final = timedelta(seconds=10)
"""Maximum time between two reconciliations while a rollout or a preflight check is in progress."""
MAX_OBSERVATION_GAP: Final = timedelta(seconds=30)
"""A longer gap between two reconciliations of a rollout means that the API server or this process was down."""


@dataclass(frozen=True, slots=True)
class _CachedLookups:
    """Lookups, the request that they answer, and until when they are valid."""

    request: LookupRequest
    lookups: Lookups
    valid_until: datetime


@dataclass(slots=True)
class Memory:
    """What one reconciliation leaves for the next. It may all be lost: then one action is tried once more."""

    failure_key: object = None
    failure: Failure | None = None
    lookups: _CachedLookups | None = None
    unready_since: Since = field(default_factory=dict)
    observed_at: datetime | None = None
    unobserved_for: timedelta = timedelta()
    preflight_progress: PreflightProgress | None = None

    def start_observation(self, now: datetime) -> None:
        """Measure how long nothing was observed before `now`: that time does not count against a rollout."""
        gap = timedelta() if self.observed_at is None else now - self.observed_at
        self.observed_at, self.unobserved_for = now, gap if gap > MAX_OBSERVATION_GAP else timedelta()

    def failure_of(self, key: object) -> Failure | None:
        """Return the last failure if it is of the same input."""
        return self.failure if self.failure_key == key else None


class Reconciler:
    """Runs one reconciliation at a time over the ports.

    `registries` are the registries that charts may come from; any if empty. `own_node` is where this operator runs.
    `observed_before` is when the previous process last observed the cluster. `chart_versions` returns the versions of a
    chart reference, `differences` what differs from the deployed release.
    """

    def __init__(
        self,
        cluster: Cluster,
        executor: Executor,
        clock: Clock,
        telemetry: Telemetry,
        registries: Sequence[str] = (),
        own_node: str | None = None,
        observed_before: datetime | None = None,
        chart_versions: Callable[[str], Sequence[CiliumVersion] | None] = lambda _: None,
        differences: Callable[[Observation], Sequence[Difference] | None] = lambda _: None,
    ) -> None:
        self._cluster, self._executor, self._clock, self._telemetry = cluster, executor, clock, telemetry
        self._registries, self._own_node = registries, own_node
        self._chart_versions, self._differences = chart_versions, differences
        self._memory = Memory(observed_at=observed_before)

    async def reconcile(self) -> datetime | None:
        """Execute at most one action. Return when to reconcile again even without an event; None: no need."""
        try:
            resource = await self._cluster.resource()
            if resource is None:
                return await self._clean_up()
            return await self._reconcile(resource)
        except StaleError as stale:
            log.debug("reconciling again: %s", stale)
        except ClusterUnavailableError as error:
            log.warning("the Kubernetes API is unavailable: %s", error)
        return self._clock.now() + RETRY_AFTER_STALE

    async def _reconcile(self, resource: Resource) -> datetime | None:
        add_log_context(resource=NAME, generation=resource.generation)
        self._memory.start_observation(self._clock.now())
        spec = read_lenient_spec(resource.spec)
        await self._cluster.observe_node_labels({spec.group_by})
        evaluation = evaluate(self._input(resource, spec))
        if isinstance(evaluation.decision.action, Apply | StartPreflight) and await self._look_up(spec):
            evaluation = evaluate(self._input(resource, spec))
        action = evaluation.decision.action
        if isinstance(action, Nothing):
            await self._write_status(evaluation)
            return self._next_at(evaluation)
        if isinstance(action, ANNOUNCED):
            # Written before a long action starts: if the operator dies meanwhile, the status is true.
            await self._write_status(evaluation)
        attempts = 0 if evaluation.failure is None else evaluation.failure.attempts
        failure = await self._executor.execute(action, resource, attempts)
        self._memory.failure_key, self._memory.failure = evaluation.failure_key, failure
        if failure is not None:
            log.warning("%s: %s", failure.reason, failure.message)
        return self._clock.now()

    async def _clean_up(self) -> datetime | None:
        """Remove what a deleted resource left behind: its preflight check, and its metrics."""
        self._telemetry.record_status(None)
        if not self._cluster.observe().preflight.managed:
            return None
        failure = await self._executor.end_preflight()
        if failure is not None:
            log.warning("%s: %s", failure.reason, failure.message)
        return self._clock.now() + ROLLOUT_INTERVAL

    async def _look_up(self, spec: LenientSpec) -> bool:
        """Look up what a change depends on, unless that was just done; whether anything was looked up."""
        request = lookup_request(spec, self._cluster.observe())
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

    def _input(self, resource: Resource, spec: LenientSpec) -> ReconcileInput:
        observation = self._cluster.observe()
        return ReconcileInput(
            resource=resource,
            lenient_spec=spec,
            observation=observation,
            now=self._clock.now(),
            failure_of=self._memory.failure_of,
            lookups=self._cached_lookups(lookup_request(spec, observation)),
            available_versions=self._executor.versions(resource),
            chart_versions=self._chart_versions(spec.chart_ref),
            unready_since=self._memory.unready_since,
            unobserved_for=self._memory.unobserved_for,
            preflight_progress=self._memory.preflight_progress,
            registries=self._registries,
            own_node=self._own_node,
            differences=self._differences(observation),
        )

    async def _write_status(self, evaluation: Evaluation) -> None:
        resource, previous, status = evaluation.input.resource, evaluation.previous, evaluation.status
        self._memory.unready_since = evaluation.unready_since
        self._memory.preflight_progress = evaluation.preflight_progress
        self._telemetry.record_status(status, evaluation.observation.certificates)
        if status != previous:
            _log_change(previous, status)
            await self._cluster.write_status(resource, dump(status))
            self._cluster.record_events(resource, status_events(previous, status))

    def _next_at(self, evaluation: Evaluation) -> datetime | None:
        now, cached = self._clock.now(), self._memory.lookups
        refused = evaluation.input.lookups is not None and evaluation.decision.violations
        in_progress = evaluation.status.rollout is not None or evaluation.preflight_progress is not None
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
