"""The operator with everything around it in memory."""

import asyncio
from datetime import datetime
from typing import Any

from builders import NODE, REF, VERSION, a_node, a_raw_spec, condition
from cilium_hybrid.api.conditions import Condition, ConditionType, Reason
from cilium_hybrid.api.status import Status
from cilium_hybrid.reconcile.execute import Executor
from cilium_hybrid.reconcile.reconciler import Reconciler
from fake_charts import FakeCharts
from fakes import FakeCluster, FakePreflights, FakeReleases, FixedClock, Tally

OTHER_NODE = "mi-0000000000000002"


class World:
    """An operator with everything around it in memory; the chart of the builders' spec is served."""

    def __init__(self) -> None:
        self.clock = FixedClock()
        self.charts = FakeCharts()
        self.releases = FakeReleases(self.clock)
        self.preflights = FakePreflights(self.clock)
        self.cluster = FakeCluster(self.releases, self.preflights)
        self.tally = Tally()
        self.digest = self.charts.publish(REF, VERSION)
        self.restart()

    def restart(self) -> None:
        """Another process takes over; it knows nothing but what is in the cluster."""
        self.executor = Executor(self.charts, self.releases, self.preflights, self.cluster, self.clock)
        self.reconciler = Reconciler(self.cluster, self.executor, self.clock, self.tally)

    def reconcile(self) -> datetime | None:
        """One pass; when the next one is due."""
        return asyncio.run(self.reconciler.reconcile())

    def settle(self) -> datetime | None:
        """Passes until none is due at once; when the next one is due."""
        for _ in range(20):
            due = self.reconcile()
            if due is None or due > self.clock.now():
                return due
        raise AssertionError("the passes do not come to rest")

    @property
    def status(self) -> Status:
        """The status as the API server holds it."""
        return Status.model_validate(self.cluster.status)

    @property
    def ready(self) -> Condition:
        """The condition Ready as the API server holds it."""
        found = condition(self.status, ConditionType.READY)
        assert found is not None
        return found

    @property
    def history(self) -> list[tuple[int, str, bool]]:
        """Number and status of each revision, and whether it is the operator's."""
        return [(revision.number, revision.status, revision.managed) for revision in self.releases.revisions]


def an_empty_world(**spec: Any) -> World:
    """A cluster without hybrid nodes in which a user just made the resource."""
    world = World()
    world.cluster.edit(a_raw_spec(**spec))
    return world


def an_asked_world(**spec: Any) -> World:
    """The same with two hybrid nodes."""
    world = an_empty_world(**spec)
    for name in (NODE, OTHER_NODE):
        world.cluster.nodes[name] = a_node(name)
    return world


def an_installed_world(**spec: Any) -> World:
    """The same when all is well."""
    world = an_asked_world(**spec)
    world.settle()
    world.cluster.start_operator()
    world.cluster.roll_out()
    world.settle()
    assert world.ready.reason is Reason.IN_SYNC
    return world
