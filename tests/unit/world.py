"""The operator with all ports in memory."""

import asyncio
from datetime import datetime
from typing import Any

from builders import NODE, REF, VERSION, a_node, a_raw_spec, condition
from cilium_hybrid.api.conditions import Condition, ConditionType, Reason
from cilium_hybrid.api.status import Status
from cilium_hybrid.reconcile.execute import Executor
from cilium_hybrid.reconcile.reconciler import Reconciler
from fake_charts import FakeCharts
from fakes import FakeCluster, FakePreflights, FakeReleases, FixedClock, RecordingTelemetry

OTHER_NODE = "mi-0000000000000002"


class World:
    """An operator with all ports in memory; the chart of the builders' spec is published."""

    def __init__(self) -> None:
        self.clock = FixedClock()
        self.charts = FakeCharts()
        self.releases = FakeReleases(self.clock)
        self.preflights = FakePreflights(self.clock)
        self.cluster = FakeCluster(self.releases, self.preflights)
        self.telemetry = RecordingTelemetry()
        self.digest = self.charts.publish(REF, VERSION)
        self.restart()

    def restart(self) -> None:
        """Start another process, which only knows what is in the cluster."""
        self.executor = Executor(self.charts, self.releases, self.preflights, self.cluster, self.clock)
        self.reconciler = Reconciler(self.cluster, self.releases, self.executor, self.clock, self.telemetry)

    def reconcile(self) -> datetime | None:
        """Reconcile once and return when the next reconciliation is due."""
        return asyncio.run(self.reconciler.reconcile())

    def settle(self) -> datetime | None:
        """Reconcile until no reconciliation is due now, and return when the next one is."""
        for _ in range(20):
            due = self.reconcile()
            if due is None or due > self.clock.now():
                return due
        raise AssertionError("reconciliations do not settle")

    def finish(self) -> None:
        """Reconcile and let time pass until nothing is due."""
        for _ in range(150):
            due = self.settle()
            if due is None:
                return
            self.clock.advance_to(due)
        raise AssertionError(f"reconciliations do not end: {self.ready.message}")

    @property
    def status(self) -> Status:
        """The status in the API server."""
        return Status.model_validate(self.cluster.status)

    @property
    def ready(self) -> Condition:
        """The condition Ready in the API server."""
        found = condition(self.status, ConditionType.READY)
        assert found is not None
        return found

    @property
    def history(self) -> list[tuple[int, str, bool]]:
        """Number and status of each revision, and whether it is managed."""
        return [(revision.number, revision.status, revision.managed) for revision in self.releases.revisions]


def an_empty_world(**spec: Any) -> World:
    """A cluster without hybrid nodes in which a user just created the resource."""
    world = World()
    world.cluster.edit(a_raw_spec(**spec))
    return world


def a_new_world(**spec: Any) -> World:
    """The same with two hybrid nodes."""
    world = an_empty_world(**spec)
    for name in (NODE, OTHER_NODE):
        world.cluster.nodes[name] = a_node(name)
    return world


def an_installed_world(**spec: Any) -> World:
    """The same after the install, in sync and verified."""
    world = a_new_world(**spec)
    world.settle()
    world.cluster.start_operator()
    world.cluster.roll_out()
    world.finish()
    assert world.ready.reason is Reason.IN_SYNC
    assert world.releases.newest.verified
    return world
