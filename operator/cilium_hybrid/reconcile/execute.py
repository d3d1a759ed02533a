"""The execution of one action. A failure is returned with its reason; StaleError means: observe again."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final, assert_never

from cilium_hybrid.api.conditions import Reason
from cilium_hybrid.api.v1alpha1 import FINALIZER
from cilium_hybrid.api.versions import CiliumVersion
from cilium_hybrid.plan.actions import (
    Action,
    AddFinalizer,
    Apply,
    EndPreflight,
    ListVersions,
    MarkRevision,
    Nothing,
    RemoveFinalizer,
    RestartAgents,
    Rollback,
    StartPreflight,
    Uninstall,
    Unlock,
    WriteRecord,
)
from cilium_hybrid.plan.inputs import Failure, Resource
from cilium_hybrid.plan.observation import Revision
from cilium_hybrid.plan.record import Record
from cilium_hybrid.plan.registry_mirror import with_mirror
from cilium_hybrid.plan.release import DesiredRelease
from cilium_hybrid.plan.rollout.operator_deployment import with_old_operator_stopped_first
from cilium_hybrid.plan.upgrade.path import VERSIONS_MAX_AGE
from cilium_hybrid.plan.upgrade.preflight import PREFLIGHT
from cilium_hybrid.plan.values import digest, restored_values
from cilium_hybrid.ports import (
    ApplyFailedError,
    ChartRefusedError,
    Charts,
    ChartUnavailableError,
    Clock,
    Cluster,
    ClusterUnavailableError,
    FetchedChart,
    HelmInterruptedError,
    PolicyRejectedError,
    PortError,
    Preflights,
    Releases,
    UninstallFailedError,
    ValuesRefusedError,
)
from cilium_hybrid.reconcile.background import BackgroundRequest, InProgressError
from cilium_hybrid.rules.rendered.rules import manifest_rules, preflight_rules
from cilium_hybrid.rules.rule import MAX_MESSAGE_LENGTH, Violation, all_violations, join_violations
from cilium_hybrid.rules.text import first_and_count

MIN_BACKOFF: Final = timedelta(seconds=5)
MAX_BACKOFF: Final = timedelta(minutes=10)
MAX_API_BACKOFF: Final = timedelta(seconds=10)

_REASONS: Final[dict[type[PortError], Reason]] = {
    ChartUnavailableError: Reason.CHART_UNAVAILABLE,
    ChartRefusedError: Reason.CHART_REFUSED,
    ValuesRefusedError: Reason.INVALID_VALUES,
    PolicyRejectedError: Reason.POLICY_REJECTED,
    ApplyFailedError: Reason.APPLY_FAILED,
    HelmInterruptedError: Reason.APPLY_FAILED,
    UninstallFailedError: Reason.DELETION_BLOCKED,
    ClusterUnavailableError: Reason.API_UNAVAILABLE,
}
# The same input fails the same way, so these are not retried.
_NOT_RETRIED: Final = (ChartRefusedError, ValuesRefusedError)


@dataclass(frozen=True, slots=True)
class _ListedVersions:
    """The versions that were in the registry when the upgrade to a chart was planned."""

    chart_ref: str
    versions: Sequence[CiliumVersion]
    valid_until: datetime


@dataclass(frozen=True, slots=True)
class InProgress:
    """The action waits for a slow registry, or for canaries to report; retry soon. Nothing was changed."""


class Executor:
    """Writes everything but the status."""

    def __init__(
        self, charts: Charts, releases: Releases, preflights: Preflights, cluster: Cluster, clock: Clock
    ) -> None:
        self._charts, self._releases, self._preflights = charts, releases, preflights
        self._cluster, self._clock = cluster, clock
        self._listed: _ListedVersions | None = None
        self._registry = BackgroundRequest()

    def versions(self, chart_ref: str) -> Sequence[CiliumVersion] | None:
        """Return the listed versions of a chart; None if they were not listed, or too long ago."""
        listed = self._listed
        if listed is None or listed.chart_ref != chart_ref or self._clock.now() >= listed.valid_until:
            return None
        return listed.versions

    async def execute(self, action: Action, resource: Resource, attempts: int) -> Failure | InProgress | None:
        """Execute the action and return its failure; `attempts` is how often the same failed before; StaleError."""
        try:
            return await self._execute(action, resource)
        except InProgressError:
            return InProgress()
        except tuple(_REASONS) as error:
            longest = MAX_API_BACKOFF if isinstance(error, ClusterUnavailableError) else MAX_BACKOFF
            retried = not isinstance(error, _NOT_RETRIED)
            not_before = self._clock.now() + min(backoff(attempts), longest) if retried else None
            return Failure(_REASONS[type(error)], _message(error), attempts + 1, not_before)

    async def end_preflight(self) -> Failure | None:
        """Remove the preflight check that a deleted resource left behind, and return the failure; StaleError."""
        try:
            await self._end_preflight()
        except tuple(_REASONS) as error:
            return Failure(_REASONS[type(error)], _message(error), 1, self._clock.now() + MIN_BACKOFF)
        return None

    async def _execute(self, action: Action, resource: Resource) -> Failure | None:
        match action:
            case Apply() | Rollback() | StartPreflight():
                return await self._deploy_chart(action)
            case RestartAgents():
                await self._restart_agents(action)
            case MarkRevision() | Uninstall() | Unlock():
                await self._change_release(action)
            case WriteRecord(record=record):
                await self._cluster.write_record(record)
            case AddFinalizer() | RemoveFinalizer():
                others = tuple(name for name in resource.finalizers if name != FINALIZER)
                added = (FINALIZER,) if isinstance(action, AddFinalizer) else ()
                await self._cluster.write_finalizers(resource, (*others, *added))
            case ListVersions(chart_ref=ref):
                versions = await self._registry.result(("versions", ref), lambda: self._charts.versions(ref))
                self._listed = _ListedVersions(ref, versions, self._clock.now() + VERSIONS_MAX_AGE)
            case EndPreflight():
                await self._end_preflight()
            case Nothing():
                pass
            case unknown:
                assert_never(unknown)
        return None

    async def _deploy_chart(self, action: Apply | Rollback | StartPreflight) -> Failure | None:
        match action:
            case Apply():
                return await self._apply(action)
            case Rollback():
                return await self._roll_back(action)
            case StartPreflight():
                return await self._start_preflight(action)
            case unknown:
                assert_never(unknown)

    async def _change_release(self, action: MarkRevision | Uninstall | Unlock) -> None:
        match action:
            case MarkRevision(revision=revision, mark=mark, record=record, nodes=nodes, canaries=canaries):
                await self._require_reports(canaries)
                if nodes:
                    # A watch that lags could hide that the node rebooted, or that its agent is Ready by now.
                    await self._cluster.require_fresh(nodes)
                # The record first: it alone already decides, and a mark that is missing is made again.
                await self._cluster.write_record(record)
                await self._releases.mark(revision, mark)
            case Uninstall(revision=revision):
                await self._releases.uninstall(revision)
            case Unlock(revision=revision, record=record):
                if record is not None:
                    await self._cluster.write_record(record)
                await self._releases.unlock(revision)
            case unknown:
                assert_never(unknown)

    async def _restart_agents(self, action: RestartAgents) -> None:
        await self._require_reports(action.canaries)
        if action.first and (rejected := await self._cluster.dry_run_agent_pod()):
            message = f"the API server would reject a new agent pod: {first_and_count(rejected)}"
            raise PolicyRejectedError(f"{message}; no agent was restarted; fix the quota or the admission policy")
        if action.record is not None:
            await self._cluster.write_record(action.record)
        await self._cluster.delete_agent_pods(action.pods)

    async def _require_reports(self, canaries: Sequence[tuple[str, str]]) -> None:
        if canaries and not await self._cluster.have_reported(canaries):
            raise InProgressError

    async def _apply(self, action: Apply) -> Failure | None:
        desired = action.desired_release
        values: Mapping[str, Any] = desired.values
        if action.single_operator_node:
            values = with_old_operator_stopped_first(values)
        chart = await self._fetch(desired)
        values = await self._with_mirror(chart, values, desired.mirror)
        expected = replace(
            _expected(desired, chart, action.revision, self._clock.now()), spec_digest=action.spec_digest
        )
        return await self._deploy(chart, values, expected, desired.mirror, action.replaces, action.record)

    async def _roll_back(self, action: Rollback) -> Failure | None:
        """Apply chart and values of an earlier revision again, with the pools that run now and without a restart."""
        chart, old = await self._releases.restorable(action.target.number)
        values = restored_values(old, action.pod_cidrs, action.mask_size)
        expected = replace(
            action.target,
            number=action.revision,
            status="deployed",
            created_at=self._clock.now(),
            chart_digest=chart.digest,
            values_digest=digest(values),
            rolled_back_to=action.target.number,
            verified=False,
            rejected=False,
        )
        return await self._deploy(chart, values, expected, None, action.replaces, action.record)

    async def _deploy(
        self,
        chart: FetchedChart,
        values: Mapping[str, Any],
        expected: Revision,
        mirror: str | None,
        replaces: int | None,
        record: Record | None,
    ) -> Failure | None:
        """Check what the cluster would get, write the record, and let Helm create the revision."""
        rendered = await self._charts.render(chart, values)
        if (refused := _render_refused(all_violations(manifest_rules(mirror), rendered.manifests))) is not None:
            return refused
        if rendered.problem is not None:
            raise rendered.problem
        if replaces is not None:
            await self._dry_run(rendered.manifests, replaces)
        if record is not None:
            await self._cluster.write_record(record)
        await self._releases.apply(chart, values, rendered, expected)
        return None

    async def _fetch(self, desired: DesiredRelease) -> FetchedChart:
        key = (desired.chart_ref, desired.chart_version, desired.pinned_digest)
        chart: FetchedChart = await self._registry.result(key, lambda: self._charts.fetch(*key))
        return chart

    async def _with_mirror(
        self, chart: FetchedChart, values: Mapping[str, Any], mirror: str | None
    ) -> Mapping[str, Any]:
        return values if mirror is None else with_mirror(values, await self._charts.defaults(chart), mirror)

    async def _dry_run(self, manifests: Sequence[Mapping[str, Any]], present: int) -> None:
        """Dry-run both revisions: an admission policy could stop Helm halfway, or block a rollback."""
        running = await self._releases.manifests(present)
        for objects, which in ((manifests, "the new objects"), (running, "the running objects")):
            if rejected := await self._cluster.dry_run(objects):
                found = first_and_count(rejected)
                message = f"the API server would reject {which}: {found}; nothing was changed; fix the admission policy"
                raise PolicyRejectedError(message)

    async def _end_preflight(self) -> None:
        try:
            await self._preflights.end()
        except UninstallFailedError as error:
            # A failed uninstall is reported as one of Cilium.
            raise ApplyFailedError(str(error)) from None

    async def _start_preflight(self, action: StartPreflight) -> Failure | None:
        desired = action.desired_release
        chart = await self._fetch(desired)
        values = await self._with_mirror(chart, action.values, desired.mirror)
        rendered = await self._charts.render(chart, values, PREFLIGHT)
        violations = all_violations(preflight_rules(desired.mirror), rendered.manifests)
        if (refused := _render_refused(violations)) is not None:
            return refused
        if rendered.problem is not None:
            raise rendered.problem
        await self._preflights.start(chart, values, rendered, _expected(desired, chart, 1, self._clock.now()))
        return None


def _message(error: PortError) -> str:
    """Return the message of an error, which quotes other systems, at a length that a status can hold."""
    message = str(error)
    return message if len(message) <= MAX_MESSAGE_LENGTH else f"{message[: MAX_MESSAGE_LENGTH - 1]}…"


def _render_refused(violations: Sequence[Violation]) -> Failure | None:
    """Name all violations in the failure, because condition Valid is only about the spec."""
    return Failure(Reason.RENDER_REFUSED, join_violations(violations), 1, None) if violations else None


def _expected(desired: DesiredRelease, chart: FetchedChart, number: int, now: datetime) -> Revision:
    return Revision(
        number=number,
        status="deployed",
        created_at=now,
        managed=True,
        chart_version=desired.chart_version,
        chart_digest=chart.digest,
        values_digest=desired.values_digest,
        ref_digest=digest(desired.chart_ref),
    )


def backoff(attempts: int) -> timedelta:
    """Return the pause after so many earlier failures: 5 s, doubled each time, at most ten minutes."""
    doubled: timedelta = MIN_BACKOFF * 2 ** min(attempts, 10)
    return min(doubled, MAX_BACKOFF)
