"""Carry out one action. What goes wrong comes back as a failure with a reason, or as StaleError: look again."""

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
    LabelRollback,
    ListVersions,
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
from cilium_hybrid.plan.registry_mirror import with_mirror
from cilium_hybrid.plan.release import DesiredRelease
from cilium_hybrid.plan.rollout.operator_deployment import with_the_old_going_first
from cilium_hybrid.plan.upgrade.path import VERSIONS_LAST
from cilium_hybrid.plan.upgrade.preflight import PREFLIGHT
from cilium_hybrid.plan.values import digest
from cilium_hybrid.ports import (
    ApplyFailedError,
    ChartRefusedError,
    Charts,
    ChartUnavailableError,
    Clock,
    Cluster,
    ClusterUnavailableError,
    FetchedChart,
    HelmEndedError,
    PolicyRejectedError,
    PortError,
    Preflights,
    Releases,
    UninstallFailedError,
    ValuesRefusedError,
)
from cilium_hybrid.rules.rendered.rules import manifest_rules, preflight_rules
from cilium_hybrid.rules.rule import Violation, all_violations, join_violations
from cilium_hybrid.rules.text import first_and_count

FIRST_PAUSE: Final = timedelta(seconds=5)
LONGEST_PAUSE: Final = timedelta(minutes=10)
LONGEST_PAUSE_API: Final = timedelta(seconds=10)

_REASONS: Final[dict[type[PortError], Reason]] = {
    ChartUnavailableError: Reason.CHART_UNAVAILABLE,
    ChartRefusedError: Reason.CHART_REFUSED,
    ValuesRefusedError: Reason.INVALID_VALUES,
    PolicyRejectedError: Reason.POLICY_REJECTED,
    ApplyFailedError: Reason.APPLY_FAILED,
    HelmEndedError: Reason.APPLY_FAILED,
    UninstallFailedError: Reason.DELETION_BLOCKED,
    ClusterUnavailableError: Reason.API_UNAVAILABLE,
}
# The same input fails the same way: only a person can mend these.
_FINAL: Final = (ChartRefusedError, ValuesRefusedError)


@dataclass(frozen=True, slots=True)
class _Found:
    """The versions that the registry had when a generation asked for them."""

    generation: int
    versions: Sequence[CiliumVersion]
    until: datetime


class Executor:
    """The only writer beside the status."""

    def __init__(
        self, charts: Charts, releases: Releases, preflights: Preflights, cluster: Cluster, clock: Clock
    ) -> None:
        self._charts, self._releases, self._preflights = charts, releases, preflights
        self._cluster, self._clock = cluster, clock
        self._found: _Found | None = None

    def versions(self, resource: Resource) -> Sequence[CiliumVersion] | None:
        """What the registry had when it was asked for this generation; None where it was not, or long ago."""
        found = self._found
        if found is None or found.generation != resource.generation or self._clock.now() >= found.until:
            return None
        return found.versions

    async def execute(self, action: Action, resource: Resource, attempts: int) -> Failure | None:
        """Do it; `attempts` is how often the same failed before. StaleError passes through."""
        try:
            match action:
                case Apply():
                    return await self._apply(action)
                case StartPreflight():
                    return await self._start_preflight(action)
                case _:
                    await self._do(action, resource)
        except tuple(_REASONS) as error:
            final = isinstance(error, _FINAL)
            longest = LONGEST_PAUSE_API if isinstance(error, ClusterUnavailableError) else LONGEST_PAUSE
            not_before = None if final else self._clock.now() + min(pause(attempts), longest)
            return Failure(_REASONS[type(error)], str(error), attempts + 1, not_before)
        return None

    async def end_preflight(self) -> Failure | None:
        """Take away what a resource that is gone left; StaleError passes through."""
        try:
            await self._end_preflight()
        except tuple(_REASONS) as error:
            return Failure(_REASONS[type(error)], str(error), 1, self._clock.now() + FIRST_PAUSE)
        return None

    async def _do(self, action: Action, resource: Resource) -> None:
        match action:
            case LabelRollback() | Rollback() | Uninstall() | Unlock():
                await self._do_to_release(action)
            case RestartAgents(pods=pods):
                await self._cluster.end_agents(pods)
            case WriteRecord(record=record):
                await self._cluster.write_record(record)
            case AddFinalizer():
                await self._cluster.write_finalizers(resource, (*resource.finalizers, FINALIZER))
            case RemoveFinalizer():
                others = tuple(name for name in resource.finalizers if name != FINALIZER)
                await self._cluster.write_finalizers(resource, others)
            case ListVersions(chart_ref=ref):
                versions = await self._charts.versions(ref)
                self._found = _Found(resource.generation, versions, self._clock.now() + VERSIONS_LAST)
            case EndPreflight():
                await self._end_preflight()
            case Apply() | StartPreflight() | Nothing():
                pass
            case unknown:
                assert_never(unknown)

    async def _do_to_release(self, action: LabelRollback | Rollback | Uninstall | Unlock) -> None:
        match action:
            case LabelRollback(revision=revision):
                await self._releases.claim(revision)
            case Rollback(to=to, revision=revision):
                await self._releases.rollback(to, revision)
            case Uninstall(revision=revision):
                await self._releases.uninstall(revision)
            case Unlock(revision=revision):
                await self._releases.unlock(revision)
            case unknown:
                assert_never(unknown)

    async def _apply(self, action: Apply) -> Failure | None:
        desired = action.desired_release
        values: Mapping[str, Any] = desired.values
        if action.one_place:
            values = with_the_old_going_first(values)
        chart = await self._charts.fetch(desired.chart_ref, desired.chart_version, desired.pinned_digest)
        values = await self._from_the_mirror(chart, values, desired.mirror)
        manifests = await self._charts.render(chart, values)
        if (refused := _refused(all_violations(manifest_rules(desired.mirror), manifests))) is not None:
            return refused
        if action.over is not None:
            await self._dry_run(manifests, action.over)
        expected = replace(
            _expected(desired, chart, action.revision, self._clock.now()), spec_digest=action.spec_digest
        )
        await self._releases.apply(chart, values, expected)
        return None

    async def _from_the_mirror(
        self, chart: FetchedChart, values: Mapping[str, Any], mirror: str | None
    ) -> Mapping[str, Any]:
        return values if mirror is None else with_mirror(values, await self._charts.defaults(chart), mirror)

    async def _dry_run(self, manifests: Sequence[Mapping[str, Any]], present: int) -> None:
        """A policy that rejects what comes would stop Helm half-way; one that rejects what runs, the way back."""
        for objects, whose in ((manifests, "what comes next"), (await self._releases.manifests(present), "what runs")):
            if rejected := await self._cluster.dry_run(objects):
                raise PolicyRejectedError(
                    f"the API server would reject {whose}: {first_and_count(rejected)}; nothing was changed: correct the policy"
                )

    async def _end_preflight(self) -> None:
        try:
            await self._preflights.end()
        except UninstallFailedError as error:
            # What is said of an uninstall is said of Cilium's.
            raise ApplyFailedError(str(error)) from None

    async def _start_preflight(self, action: StartPreflight) -> Failure | None:
        desired = action.desired_release
        chart = await self._charts.fetch(desired.chart_ref, desired.chart_version, desired.pinned_digest)
        values = await self._from_the_mirror(chart, action.values, desired.mirror)
        manifests = await self._charts.render(chart, values, PREFLIGHT)
        if (refused := _refused(all_violations(preflight_rules(desired.mirror), manifests))) is not None:
            return refused
        await self._preflights.start(chart, values, _expected(desired, chart, 1, self._clock.now()))
        return None


def _refused(violations: Sequence[Violation]) -> Failure | None:
    """All of them are named: condition Valid speaks of the spec alone."""
    return Failure(Reason.RENDER_REFUSED, join_violations(violations), 1, None) if violations else None


def _expected(desired: DesiredRelease, chart: FetchedChart, number: int, now: datetime) -> Revision:
    return Revision(
        number=number,
        status="deployed",
        made_at=now,
        managed=True,
        chart_version=desired.chart_version,
        chart_digest=chart.digest,
        values_digest=desired.values_digest,
        ref_digest=digest(desired.chart_ref),
    )


def pause(attempts: int) -> timedelta:
    """How long to wait after so many failures before: 5 s, doubled each time, ten minutes at most."""
    doubled: timedelta = FIRST_PAUSE * 2 ** min(attempts, 10)
    return min(doubled, LONGEST_PAUSE)
