"""The preflight in memory."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from builders import a_preflight_pod, a_validator
from cilium_hybrid.plan.observation import PreflightObservation, Revision
from cilium_hybrid.ports import FetchedChart, PortError
from fake_clock import FixedClock


@dataclass
class FakePreflights:
    """The preflight in memory. `seen` is what the watches hold of it, and `started` each one that was started.

    `fault` is raised by the next call; a start leaves a release of status `leaves` behind then, or nothing.
    """

    clock: FixedClock
    seen: PreflightObservation = field(default_factory=PreflightObservation)
    started: list[tuple[Revision, Mapping[str, Any]]] = field(default_factory=list)
    ended: int = 0
    fault: PortError | None = None
    leaves: str | None = None

    async def start(self, chart: FetchedChart, values: Mapping[str, Any], expected: Revision) -> None:
        """Install it as exactly `expected`, its revision 1, in the place of whatever is left of one before."""
        assert (chart.version, expected.number) == (expected.chart_version, 1)
        fault, self.fault = self.fault, None
        leaves, self.leaves = self.leaves, None
        self.seen = PreflightObservation()
        if fault is None or leaves is not None:
            release = replace(expected, made_at=self.clock.now(), status=leaves or "deployed")
            self.seen = PreflightObservation(release)
        if fault is not None:
            raise fault
        self.started.append((expected, values))
        self.seen = replace(self.seen, nodes_observed=False, validator=a_validator(ready=0, observed=False))

    async def end(self) -> None:
        """Take it away, whatever of it is there."""
        fault, self.fault = self.fault, None
        if fault is not None:
            raise fault
        self.ended += 1
        self.seen = PreflightObservation()

    def run(self, *nodes: str, **pod: Any) -> None:
        """The check of these nodes is ready, or as `pod` says; the policies are validated."""
        since = self.clock.now() if pod.get("ready", True) else None
        pods = {node: a_preflight_pod(node, **{"ready_since": since} | pod) for node in nodes}
        self.seen = replace(
            self.seen,
            nodes_observed=True,
            pods={**self.seen.pods, **pods},
            validator=a_validator(pod=a_preflight_pod()),
        )

    def refuse_policies(self, last_words: str) -> None:
        """The validator ends with these words, again and again."""
        pod = a_preflight_pod(ready=False, failure_message="CrashLoopBackOff", last_words=last_words)
        self.seen = replace(self.seen, validator=a_validator(ready=0, pod=pod))
