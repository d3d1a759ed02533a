"""Carry out one action. What goes wrong comes back as a failure with a reason, or as StaleError: look again."""

from datetime import timedelta
from typing import Final, assert_never

from cilium_hybrid.api.conditions import Reason
from cilium_hybrid.api.v1alpha1 import FINALIZER
from cilium_hybrid.plan.actions import (
    Action,
    Apply,
    Claim,
    Hold,
    LetGo,
    Move,
    Nothing,
    Remember,
    Rollback,
    Uninstall,
    Unlock,
)
from cilium_hybrid.plan.decide import Failure
from cilium_hybrid.plan.observation import Revision
from cilium_hybrid.plan.values import digest
from cilium_hybrid.ports import (
    ApplyFailedError,
    ChartRefusedError,
    Charts,
    ChartUnavailableError,
    Clock,
    Cluster,
    ClusterUnavailableError,
    HelmEndedError,
    PortError,
    Releases,
    Resource,
    UninstallFailedError,
    ValuesRefusedError,
)
from cilium_hybrid.rules.manifests import MANIFEST_RULES
from cilium_hybrid.rules.rule import all_named, all_violations

FIRST_PAUSE: Final = timedelta(seconds=5)
LONGEST_PAUSE: Final = timedelta(minutes=10)
LONGEST_PAUSE_API: Final = timedelta(seconds=10)

_REASONS: Final[dict[type[PortError], Reason]] = {
    ChartUnavailableError: Reason.CHART_UNAVAILABLE,
    ChartRefusedError: Reason.CHART_REFUSED,
    ValuesRefusedError: Reason.INVALID_VALUES,
    ApplyFailedError: Reason.APPLY_FAILED,
    HelmEndedError: Reason.APPLY_FAILED,
    UninstallFailedError: Reason.DELETION_BLOCKED,
    ClusterUnavailableError: Reason.API_UNAVAILABLE,
}
# The same input fails the same way: only a person can mend these.
_FINAL: Final = (ChartRefusedError, ValuesRefusedError)


class Executor:
    """The only writer beside the status."""

    def __init__(self, charts: Charts, releases: Releases, cluster: Cluster, clock: Clock) -> None:
        self._charts, self._releases, self._cluster, self._clock = charts, releases, cluster, clock

    async def execute(self, action: Action, resource: Resource, attempts: int) -> Failure | None:
        """Do it; `attempts` is how often the same failed before. StaleError passes through."""
        try:
            if isinstance(action, Apply):
                return await self._apply(action)
            await self._do(action, resource)
        except tuple(_REASONS) as error:
            final = isinstance(error, _FINAL)
            longest = LONGEST_PAUSE_API if isinstance(error, ClusterUnavailableError) else LONGEST_PAUSE
            not_before = None if final else self._clock.now() + min(pause(attempts), longest)
            return Failure(_REASONS[type(error)], str(error), attempts + 1, not_before)
        return None

    async def _do(self, action: Action, resource: Resource) -> None:
        match action:
            case Claim() | Rollback() | Uninstall() | Unlock():
                await self._do_to_release(action)
            case Move(pods=pods):
                await self._cluster.end_agents(pods)
            case Remember(record=record):
                await self._cluster.write_record(record)
            case Hold():
                await self._cluster.write_finalizers(resource, (*resource.finalizers, FINALIZER))
            case LetGo():
                others = tuple(name for name in resource.finalizers if name != FINALIZER)
                await self._cluster.write_finalizers(resource, others)
            case Apply() | Nothing():
                pass
            case unknown:
                assert_never(unknown)

    async def _do_to_release(self, action: Claim | Rollback | Uninstall | Unlock) -> None:
        match action:
            case Claim(revision=revision):
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
        want = action.wanted
        chart = await self._charts.fetch(want.chart_ref, want.chart_version, want.pinned_digest)
        violations = all_violations(MANIFEST_RULES, await self._charts.render(chart, want.values))
        if violations:
            # All of them: condition Valid speaks of the spec alone.
            return Failure(Reason.RENDER_REFUSED, all_named(violations), 1, None)
        expected = Revision(
            number=action.revision,
            status="deployed",
            made_at=self._clock.now(),
            ours=True,
            chart_version=want.chart_version,
            chart_digest=chart.digest,
            values_digest=want.values_digest,
            ref_digest=digest(want.chart_ref),
        )
        await self._releases.apply(chart, want.values, expected)
        return None


def pause(attempts: int) -> timedelta:
    """How long to wait after so many failures before: 5 s, doubled each time, ten minutes at most."""
    doubled: timedelta = FIRST_PAUSE * 2 ** min(attempts, 10)
    return min(doubled, LONGEST_PAUSE)
