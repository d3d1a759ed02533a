"""A process of the operator: it reconciles as the operator's loop does, and can be killed or frozen at any call."""

from collections.abc import Awaitable, Callable, Coroutine, Hashable
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from cilium_hybrid.plan.actions import Action
from cilium_hybrid.plan.inputs import Failure, Resource
from cilium_hybrid.plan.observation import Observation
from cilium_hybrid.ports import ApplyFailedError, ClusterUnavailableError, HelmInterruptedError, StaleError
from cilium_hybrid.reconcile.background import BackgroundRequest, InProgressError
from cilium_hybrid.reconcile.execute import Executor, InProgress
from cilium_hybrid.reconcile.loop import RETRY_AFTER_ERROR
from cilium_hybrid.reconcile.reconciler import Reconciler
from cilium_hybrid.reconcile.trigger import MIN_INTERVAL
from simulation.faults import Fault
from simulation.ports import Pause, SimulatedCharts, SimulatedCluster, SimulatedTelemetry
from simulation.release_ports import SimulatedPreflights, SimulatedReleases
from simulation.timeline import NEVER, ProcessClock
from simulation.views import View

if TYPE_CHECKING:
    from simulation.world import World

RESYNC_SECONDS: Final = 300.0
LEASE_DEADLINE: Final = 10.0
TAKEOVER_SECONDS: Final = 15.0
"""How long a process that took the Lease over from another holder leaves a pending revision alone."""
ALLOWED_RECONCILIATIONS: Final = 250
"""More than so many in a minute are a hot loop."""


class SimulatedRequest(BackgroundRequest):
    """Requests to the registry in virtual time: a silent registry keeps them in progress."""

    def __init__(self, world: "World") -> None:
        super().__init__()
        self._world = world

    async def result(self, key: Hashable, start: Callable[[], Awaitable[Any]]) -> Any:  # noqa: ARG002 # as in its base
        """Return the answer to a request; InProgressError while the registry is silent."""
        if self._world.registry.silent:
            raise InProgressError
        return await start()


class ObservedExecutor(Executor):
    """The executor, which also counts the actions."""

    process: "Process"

    def observed_by(self, process: "Process") -> None:
        """Count the actions for a process, and ask the registry in virtual time."""
        self.process = process
        self._registry = SimulatedRequest(process.world)

    async def execute(self, action: Action, resource: Resource, attempts: int) -> Failure | InProgress | None:
        """Execute an action."""
        name = type(action).__name__
        self.process.world.trace(f"{name}")
        self.process.world.coverage.actions[name] += 1
        self.process.quiet = 0
        return await super().execute(action, resource, attempts)


class Process:
    """One process. `took_over`: another one held the Lease before. `frozen_until` is when a frozen machine resumes.

    `started_at` is when it started; `quiet` counts the last reconciliations that wrote nothing.
    """

    def __init__(self, world: "World", identity: str, *, took_over: bool, skew: float, own_node: str | None) -> None:
        self.world, self.identity, self.took_over = world, identity, took_over
        self.started_at = world.timeline.now
        self.view = View(world.store)
        self.clock = ProcessClock(world.timeline, skew)
        self.node_labels: frozenset[str] = frozenset()
        self.observed = Observation()
        self.read: Resource | None = None
        self.seen_ready: dict[str, tuple[bool, float]] = {}
        self.alive = True
        self.fenced = False
        self.frozen_until = 0.0
        self.quiet = 0
        self.dry_runs = 0
        self._coroutine: Coroutine[Any, Any, datetime | None] | None = None
        self._wake_at = world.timeline.now
        self._last_start = -1.0
        self._starts: list[float] = []
        cluster, releases = SimulatedCluster(self), SimulatedReleases(self)
        executor = ObservedExecutor(SimulatedCharts(self), releases, SimulatedPreflights(self), cluster, self.clock)
        executor.observed_by(self)
        self._reconciler = Reconciler(
            cluster,
            releases,
            executor,
            self.clock,
            SimulatedTelemetry(),
            own_node=own_node,
            unlock_after=TAKEOVER_SECONDS if took_over else 0.0,
        )

    @property
    def may_act(self) -> bool:
        """Whether this process holds the Lease."""
        return self.alive and not self.fenced

    @property
    def wake_at(self) -> float:
        """When it runs next."""
        if not self.alive:
            return NEVER
        at = min(self._wake_at, self.view.next_at)
        if self.view.behind:
            at = min(at, self.world.timeline.now + 1)
        return max(at, self.frozen_until, self._last_start + MIN_INTERVAL)

    @property
    def busy(self) -> bool:
        """Whether a reconciliation was stopped in the middle."""
        return self._coroutine is not None

    def wake(self) -> None:
        """Request a reconciliation."""
        self._wake_at = min(self._wake_at, self.world.timeline.now)

    def deliver(self) -> None:
        """Let the watches deliver, unless the machine is frozen."""
        if self.frozen_until <= self.world.timeline.now and self.view.deliver(self.world.timeline.now):
            self.wake()

    def observe(self) -> Observation:
        """Return the cluster as the watches show it, and remember since when agents are shown as not Ready."""
        observation, now = self.view.observe(), self.world.timeline.now
        if observation is not self.observed:
            self.observed = observation
            self.seen_ready = {name: self._seen(observation, name, now) for name in observation.nodes}
        self.world.coverage.saw(self.world)
        return observation

    def _seen(self, observation: Observation, name: str, now: float) -> tuple[bool, float]:
        """Return whether the agent of a node is shown Ready, and since when this process has seen that."""
        pod, before = observation.agents.get(name), self.seen_ready.get(name)
        ready = pod is not None and pod.ready
        return before if before is not None and before[0] == ready else (ready, now)

    def step(self) -> None:
        """Reconcile once, or continue the reconciliation that was stopped."""
        now = self.world.timeline.now
        if not self.alive or self.wake_at > now:
            return
        if self._coroutine is None:
            self._count(now)
            self._coroutine, self._wake_at = self._reconciler.reconcile(), now + RESYNC_SECONDS
            self.quiet += 1
        self._run(self._coroutine)
        if self.fenced:
            self.die()

    def die(self) -> None:
        """End at once."""
        self.alive = False
        if self._coroutine is not None:
            self._coroutine.close()
            self._coroutine = None

    def _count(self, now: float) -> None:
        self._last_start = now
        self._starts = [at for at in self._starts if at > now - 60] + [now]
        self.world.coverage.reconciliations += 1
        if len(self._starts) > ALLOWED_RECONCILIATIONS:
            self.world.violated("no_hot_loop", f"{len(self._starts)} reconciliations in a minute")

    def _run(self, coroutine: Coroutine[Any, Any, datetime | None]) -> None:
        error: Exception | None = None
        try:
            while True:
                pause: Pause = coroutine.send(None) if error is None else coroutine.throw(error)
                fault = self.world.next_fault(pause)
                if fault is not None and self._stopped(fault):
                    return
                error = None if fault is None or not fault.raises(pause) else _error(fault, pause)
        except StopIteration as ended:
            self._ended(ended.value)
        except Exception as error:  # noqa: BLE001 # the loop of the operator goes on after any error
            self.world.violated("no_exception", f"{type(error).__name__}: {error}", error)
            self._coroutine, self._wake_at = None, self.world.timeline.now + RETRY_AFTER_ERROR.total_seconds()

    def _ended(self, next_at: datetime | None) -> None:
        self._coroutine = None
        if next_at is not None:
            pause = max(0.0, (next_at - self.clock.now()).total_seconds())
            self._wake_at = min(self._wake_at, self.world.timeline.now + pause)

    def _stopped(self, fault: Fault) -> bool:
        """Whether the process does not go on now."""
        match fault.kind:
            case "die":
                self.die()
            case "freeze":
                self.frozen_until = self._wake_at = self.world.timeline.now + fault.seconds
                self.world.froze(self, fault.seconds)
            case _:
                return False
        return True


def _error(fault: Fault, pause: Pause) -> Exception:
    if fault.kind == "stale":
        return StaleError("injected")
    if pause.phase == "during":
        if fault.kind == "refuse":
            return ApplyFailedError("Helm could not apply the chart: injected")
        return HelmInterruptedError("Helm was killed by a signal")
    return ClusterUnavailableError("injected")
