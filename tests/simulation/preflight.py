"""Helm release `cilium-preflight` and the pods of its workloads."""

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from cilium_hybrid.plan.observation import Observation, PolicyValidator, PreflightObservation, PreflightPod, Revision
from simulation.timeline import moment

if TYPE_CHECKING:
    from simulation.world import World

READY_AFTER: Final = 6


class Preflight:
    """The preflight.

    `passed` are the versions whose check was Ready, as the operator saw it, on every node with a Ready agent.
    """

    def __init__(self, world: "World") -> None:
        self._world = world
        self.release: Revision | None = None
        self.passed: set[str] = set()
        self._pods: dict[str, PreflightPod] = {}
        self._validated = False
        self._deployed = False
        self._number = 0

    def start(self, expected: Revision) -> None:
        """Replace what is left of an earlier one."""
        self.end()
        self._number += 1
        created = moment(self._world.timeline.now)
        self.release = replace(expected, status="pending-install", created_at=created, changed=str(self._number))
        self._world.touch("preflight")

    def admin_starts(self) -> None:
        """Let an admin install a preflight of their own."""
        if self.release is None:
            self._number += 1
            self.release = Revision(1, "deployed", moment(self._world.timeline.now), changed=str(self._number))
            self._world.touch("preflight")

    def fail(self) -> None:
        """End the start without success."""
        if self.release is not None:
            self.release = replace(self.release, status="failed")
            self._world.touch("preflight")

    def deployed(self) -> None:
        """End the start with success."""
        if self.release is not None:
            self.release, self._deployed = replace(self.release, status="deployed"), True
            self._world.touch("preflight")
            self._world.timeline.after(READY_AFTER, self._run, self._number)

    def judge(self, observed: Observation) -> None:
        """Note whether the check has passed, as the process sees it that removes it."""
        seen, release = observed.preflight, observed.preflight.release
        expected = [
            name
            for name, node in observed.nodes.items()
            if node.ready != "Unknown" and (agent := observed.agents.get(name)) is not None and agent.ready
        ]
        if release is not None and release.status == "deployed" and all(name in seen.pods for name in expected):
            self.passed.add(release.chart_version)

    def end(self) -> None:
        """Remove it."""
        self.release, self._pods, self._validated, self._deployed = None, {}, False, False
        self._world.touch("preflight")

    def _run(self, number: int) -> None:
        release = self.release
        if number != self._number or release is None or not self._deployed:
            return
        fails = release.chart_version in self._world.registry.failing_preflights
        for node in self._world.machines.nodes.values():
            pod = node.pod
            if not node.labelled or pod is None:
                continue
            if node.reachable and not fails:
                since = moment(self._world.timeline.now)
                self._pods[node.name] = PreflightPod(f"cilium-pre-flight-check-{node.name}", node.name, True, since)
        self._validated = not fails
        self._world.touch("preflight")
        # Nodes that return later get their pod too.
        self._world.timeline.after(15, self._run, number)

    def observation(self) -> PreflightObservation:
        """Return what the watches show."""
        if self.release is None:
            return PreflightObservation()
        if not self._deployed:
            return PreflightObservation(self.release)
        failing = "" if self._validated or not self._pods else "CrashLoopBackOff"
        name = "cilium-pre-flight-check"
        return PreflightObservation(
            self.release,
            nodes_observed=True,
            pods=dict(self._pods),
            validator=PolicyValidator(
                1, int(self._validated), True, PreflightPod(name, "", self._validated, failure_message=failing)
            ),
        )
