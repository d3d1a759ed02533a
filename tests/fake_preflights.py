"""The preflight in memory."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from builders import a_preflight_pod, a_validator
from cilium_hybrid.plan.observation import PreflightObservation, Revision
from cilium_hybrid.ports import FetchedChart, PortError, Rendered
from fake_clock import FixedClock


@dataclass
class FakePreflights:
    """The preflight in memory. `observed` is what the watches see, `started` are all that were started.

    `fault` is raised by the next call; a start then leaves a release of status `leaves` behind, or nothing.
    """

    clock: FixedClock
    observed: PreflightObservation = field(default_factory=PreflightObservation)
    started: list[tuple[Revision, Mapping[str, Any]]] = field(default_factory=list)
    removals: int = 0
    fault: PortError | None = None
    leaves: str | None = None

    async def start(
        self, chart: FetchedChart, values: Mapping[str, Any], rendered: Rendered, expected: Revision
    ) -> None:
        """Replace what is left of an earlier preflight by exactly revision `expected`, number 1."""
        assert (chart.version, expected.number) == (expected.chart_version, 1)
        assert rendered.manifests
        fault, self.fault = self.fault, None
        leaves, self.leaves = self.leaves, None
        self.observed = PreflightObservation()
        if fault is None or leaves is not None:
            release = replace(expected, created_at=self.clock.now(), status=leaves or "deployed")
            self.observed = PreflightObservation(release)
        if fault is not None:
            raise fault
        self.started.append((expected, values))
        self.observed = replace(self.observed, nodes_observed=False, validator=a_validator(ready=0, observed=False))

    async def end(self) -> None:
        """Remove whatever exists of the preflight."""
        fault, self.fault = self.fault, None
        if fault is not None:
            raise fault
        self.removals += 1
        self.observed = PreflightObservation()

    def run(self, *nodes: str, **pod: Any) -> None:
        """Let the check of these nodes be ready, or as `pod` says, and the policies be validated."""
        since = self.clock.now() if pod.get("ready", True) else None
        pods = {node: a_preflight_pod(node, **{"ready_since": since} | pod) for node in nodes}
        self.observed = replace(
            self.observed,
            nodes_observed=True,
            pods={**self.observed.pods, **pods},
            validator=a_validator(pod=a_preflight_pod()),
        )

    def refuse_policies(self, termination_message: str) -> None:
        """Let the validator crash-loop with this termination message."""
        pod = a_preflight_pod(ready=False, failure_message="CrashLoopBackOff", termination_message=termination_message)
        self.observed = replace(self.observed, validator=a_validator(ready=0, pod=pod))
