"""The way from the version that runs to the one that the spec asks for: what is released next, and what is left.

The plan in the status is the memory of it: a pass in the middle of the way goes on as it began, whatever versions the
registry has meanwhile.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from cilium_hybrid.api.conditions import Reason
from cilium_hybrid.api.status import MAX_PLAN, Status
from cilium_hybrid.api.v1alpha1 import OCI, Spec
from cilium_hybrid.api.versions import CiliumVersion
from cilium_hybrid.plan.observation import Observation
from cilium_hybrid.plan.release import DesiredRelease, desired_release, last_managed, spec_digest
from cilium_hybrid.plan.upgrade.steps import Steps, find_steps
from cilium_hybrid.plan.values import digest
from cilium_hybrid.rules.rule import Violation

VERSIONS_LAST: Final = timedelta(minutes=10)
"""How long a registry's list of versions is believed, where no plan was made of it."""


@dataclass(frozen=True, slots=True)
class UpgradePath:
    """The versions from what runs to the goal.

    `goal` is the whole of what the spec asks for, `next` what comes first on the way to it, `present` the same spec at
    the version that runs. `versions` are those of the plan, those behind too; `left` those that are not released yet.
    `refusal`: there is no way. `unknown`: the registry has to be asked first.
    """

    goal: DesiredRelease
    next: DesiredRelease
    present: DesiredRelease
    versions: tuple[str, ...]
    left: tuple[str, ...]
    digest: str
    refusal: Violation | None = None
    unknown: bool = False

    @property
    def enters_minor(self) -> bool:
        """Whether what comes next is of a later minor release than what runs."""
        return bool(self.left) and _minor(self.next.chart_version) > _minor(self.present.chart_version)


def find_upgrade_path(
    spec: Spec,
    observation: Observation,
    previous: Status,
    generation: int,
    available: Sequence[CiliumVersion] | None = None,
) -> UpgradePath:
    """The route of this generation; `available` are the registry's versions, None where it was not asked."""
    goal, last = desired_release(spec, observation), last_managed(observation)
    planned = _planned(previous, goal, generation)
    if last is None or last.chart_version == spec.version:
        versions = planned or (spec.version,)
        return UpgradePath(goal, goal, goal, versions, (), plan_digest(generation, versions, goal))
    running, target = CiliumVersion.parse(last.chart_version), CiliumVersion.parse(spec.version)
    present = desired_release(_at(spec, last.chart_version), observation)
    via = [CiliumVersion.parse(step.version) for step in spec.upgrade.via]
    if planned:
        via, available = [CiliumVersion.parse(version) for version in planned[:-1]], ()
    if spec.chart.digest is not None or not spec.chart.ref.startswith(OCI):
        # Beside a chart on disk there is none, and beside one that is named by its digest none is trusted.
        available = ()
    unknown = available is None and not via and target.minor > running.minor
    steps = find_steps(running, target, available or (), via)
    if not unknown and isinstance(steps, Steps) and len(steps.versions) > MAX_PLAN:
        steps = _too_far(target, steps)
    if unknown or not isinstance(steps, Steps):
        refusal = None if unknown or isinstance(steps, Steps) else steps
        return UpgradePath(goal, goal, present, (), (), "", refusal, unknown)
    left = tuple(str(version) for version in steps.versions)
    versions = planned or left
    return UpgradePath(
        goal,
        desired_release(_at(spec, left[0]), observation),
        present,
        versions,
        left,
        plan_digest(generation, versions, goal),
    )


def plan_digest(generation: int, versions: Sequence[str], goal: DesiredRelease) -> str:
    """What an approval names: these versions, for this goal, in this generation of the spec."""
    return digest([generation, list(versions), spec_digest(goal)])


def _planned(previous: Status, goal: DesiredRelease, generation: int) -> tuple[str, ...]:
    """The versions of the plan that is under way; none where the spec asks for something else meanwhile."""
    versions = tuple(step.version for step in previous.plan)
    return versions if previous.plan_digest == plan_digest(generation, versions, goal) else ()


def _at(spec: Spec, version: str) -> Spec:
    """The same spec at another version; a digest is of one chart alone."""
    if version == spec.version:
        return spec
    pinned = next((step.digest for step in spec.upgrade.via if step.version == version), None)
    chart = spec.chart.model_copy(update={"digest": pinned})
    return spec.model_copy(update={"version": version, "chart": chart})


def _too_far(target: CiliumVersion, steps: Steps) -> Violation:
    message = f"{target} is {len(steps.versions)} steps away, and a plan holds {MAX_PLAN}"
    nearer = steps.versions[MAX_PLAN - 1]
    return Violation(Reason.VERSION_UNSUPPORTED, "spec.version", message, f"go to {nearer} first")


def _minor(version: str) -> tuple[int, int]:
    parsed = CiliumVersion.parse(version)
    return parsed.major, parsed.minor
