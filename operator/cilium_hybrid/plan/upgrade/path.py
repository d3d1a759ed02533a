"""The upgrade path: the versions from the one that runs to the one that the spec asks for.

`status.plan` stores the path. A reconciliation in the middle of an upgrade continues the stored path, whatever versions
the registry has added since.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import pairwise
from typing import Final

from cilium_hybrid.api.conditions import Reason
from cilium_hybrid.api.status import MAX_PLAN, Status
from cilium_hybrid.api.v1alpha1 import OCI, Spec
from cilium_hybrid.api.versions import CiliumVersion
from cilium_hybrid.plan.observation import Observation
from cilium_hybrid.plan.release import DesiredRelease, desired_release, release_digest
from cilium_hybrid.plan.rollout.rollback import newest_agent_version
from cilium_hybrid.plan.running import last_managed, running
from cilium_hybrid.plan.values import digest
from cilium_hybrid.rules.rule import Violation
from cilium_hybrid.rules.version_steps import version_step_violation
from cilium_hybrid.rules.via import via_order_violations, via_violation

VERSIONS_MAX_AGE: Final = timedelta(minutes=10)
"""How long a registry's list of versions is valid if no plan was made from it."""

Versions = tuple[CiliumVersion, ...]


@dataclass(frozen=True, slots=True)
class UpgradePath:
    """The versions from the one that runs to the target.

    `target` is the release that the spec asks for, `next` the release that comes first on the way to it, `current` the
    same spec at the version that runs. `versions` are all versions of the plan, `remaining` those that are not released
    yet. `refusal` is why there is no path. `needs_versions`: the registry's versions must be listed first.
    """

    target: DesiredRelease
    next: DesiredRelease
    current: DesiredRelease
    versions: tuple[str, ...]
    remaining: tuple[str, ...]
    digest: str
    refusal: Violation | None = None
    needs_versions: bool = False

    @property
    def enters_minor(self) -> bool:
        """Whether the next release is of a later minor version than the one that runs."""
        return bool(self.remaining) and _minor(self.next.chart_version) > _minor(self.current.chart_version)


def find_upgrade_path(
    spec: Spec,
    observation: Observation,
    previous: Status,
    available: Sequence[CiliumVersion] | None = None,
) -> UpgradePath:
    """Return the path to what the spec asks for; `available` are the registry's versions, None if not listed."""
    target, runs = desired_release(spec, observation), running(observation)
    planned, present = _planned(previous, target), _present_version(observation, runs.version)
    if present is None or present == spec.version:
        versions = planned or (spec.version,)
        return UpgradePath(target, target, target, versions, (), plan_digest(versions, target))
    start, end = CiliumVersion.parse(present), CiliumVersion.parse(spec.version)
    current = desired_release(_at(spec, present), observation)
    via = [CiliumVersion.parse(step.version) for step in spec.upgrade.via]
    if planned:
        via, available = [CiliumVersion.parse(version) for version in planned[:-1]], ()
    if spec.chart.digest is not None or not spec.chart.ref.startswith(OCI):
        # A chart on disk has no other versions, and if the spec pins its chart by digest, no other chart is trusted.
        available = ()
    if available is None and not via and end.minor > start.minor:
        return UpgradePath(target, target, current, (), (), "", needs_versions=True)
    steps = find_steps(start, end, available or (), via, runs.ran)
    if not isinstance(steps, Violation) and len(steps) > MAX_PLAN:
        steps = _too_many_steps(end, steps)
    if isinstance(steps, Violation):
        return UpgradePath(target, target, current, (), (), "", steps)
    remaining = tuple(str(version) for version in _not_older_than_agents(steps, observation))
    versions = planned or remaining
    return UpgradePath(
        target,
        desired_release(_at(spec, remaining[0]), observation),
        current,
        versions,
        remaining,
        plan_digest(versions, target),
    )


def plan_digest(versions: Sequence[str], target: DesiredRelease) -> str:
    """Return the digest that an approval names: of these versions and this target, whatever the generation."""
    return digest([list(versions), release_digest(target)])


def _present_version(observation: Observation, running_version: str | None) -> str | None:
    """Return the version that the path starts from; that of the operator's last revision if a foreign one has none."""
    if running_version is not None:
        return running_version
    last = last_managed(observation)
    return None if last is None else last.chart_version


def _not_older_than_agents(steps: Versions, observation: Observation) -> Versions:
    """Leave out steps to an older minor version than an agent runs already; the target stays."""
    agent = newest_agent_version(observation)
    if agent is None:
        return steps
    return (*(step for step in steps[:-1] if (step.major, step.minor) >= (agent.major, agent.minor)), steps[-1])


def find_steps(
    start: CiliumVersion,
    target: CiliumVersion,
    available: Sequence[CiliumVersion],
    via: Sequence[CiliumVersion] = (),
    ran: Collection[str] = (),
) -> Versions | Violation:
    """Return the versions to release one after the other, the last one being `target`; empty if `start` is `target`.

    The intermediate versions are those of `via`, else the newest patches among the `available` versions. `ran` are the
    versions that this cluster ran before. A downgrade is one step and ignores `via`. In an upgrade, versions of `via`
    that are not newer than `start` are done: from each step, the result is the rest of the steps.
    """
    if (violation := version_step_violation(start, target, ran)) is not None:
        return violation
    if target <= start:
        return () if target == start else (target,)
    if via:
        return _steps_via(start, target, via)
    return (target,) if target.minor == start.minor else _steps_by_newest_patches(start, target, available)


def newest_patch(version: CiliumVersion, available: Sequence[CiliumVersion]) -> CiliumVersion | None:
    """Return the newest version of the same minor version and kind, which may be `version`; None if none is known."""
    newest = _newest_by_minor(available, version, same_kind=True).get(version.minor)
    return None if newest is None else max(newest, version)


def _planned(previous: Status, target: DesiredRelease) -> tuple[str, ...]:
    """Return the versions of the plan in progress; empty if what the spec asks for has changed since."""
    versions = tuple(step.version for step in previous.plan)
    return versions if previous.plan_digest == plan_digest(versions, target) else ()


def _at(spec: Spec, version: str) -> Spec:
    """Return the spec at another version, with that version's chart digest."""
    if version == spec.version:
        return spec
    pinned = next((step.digest for step in spec.upgrade.via if step.version == version), None)
    chart = spec.chart.model_copy(update={"digest": pinned})
    return spec.model_copy(update={"version": version, "chart": chart})


def _steps_by_newest_patches(
    start: CiliumVersion, target: CiliumVersion, available: Sequence[CiliumVersion]
) -> Versions | Violation:
    """Upgrade to the newest patch of the running minor version first, then of each one in between.

    AWS builds and upstream versions are different charts: only versions of the target's kind are steps.
    Source: Cilium's upgrade guide.
    """
    same = _newest_by_minor(available, target, same_kind=True)
    other = _newest_by_minor(available, target, same_kind=False)
    patch = same.get(start.minor, start)
    found = [patch] if patch > start else []
    for minor in range(start.minor + 1, target.minor):
        if minor not in same:
            return _missing_minor(start, target, minor, other.get(minor))
        found.append(same[minor])
    return (*found, target)


def _newest_by_minor(
    versions: Sequence[CiliumVersion], like: CiliumVersion, *, same_kind: bool
) -> dict[int, CiliumVersion]:
    """Return the newest version of each minor version, of the kind of `like` (AWS build or upstream) or the other."""
    matching = (
        version
        for version in versions
        if version.major == like.major and ((version.build is None) == (like.build is None)) == same_kind
    )
    return {version.minor: version for version in sorted(matching)}


def _missing_minor(
    start: CiliumVersion, target: CiliumVersion, minor: int, other_kind: CiliumVersion | None
) -> Violation:
    series, form = f"{target.major}.{minor}", "X.Y.Z" if target.build is None else "X.Y.Z-N"
    missing = f"no {series} version" if other_kind is None else f"no {series} version of the form {form}"
    only = "" if other_kind is None else f" (only {other_kind})"
    message = (
        f'Invalid value: "{target}": an upgrade from {start} must not skip {series}, '
        f"and the registry has {missing}{only}"
    )
    return Violation(Reason.VERSION_UNSUPPORTED, "spec.version", message, f"add a {series} version to spec.upgrade.via")


def _steps_via(start: CiliumVersion, target: CiliumVersion, via: Sequence[CiliumVersion]) -> Versions | Violation:
    for violation in via_order_violations(via, target):
        return violation
    remaining = [step for step in via if step > start]
    for step, after in pairwise((start, *remaining, target)):
        if after.minor > step.minor + 1:
            series = f"{step.major}.{step.minor + 1}"
            return via_violation(f"the step from {step} to {after} skips {series}", f"add a {series} version")
    return (*remaining, target)


def _too_many_steps(target: CiliumVersion, steps: Versions) -> Violation:
    message = f'Invalid value: "{target}": is {len(steps)} steps away, but a plan has at most {MAX_PLAN}'
    return Violation(Reason.VERSION_UNSUPPORTED, "spec.version", message, f"upgrade to {steps[MAX_PLAN - 1]} first")


def _minor(version: str) -> tuple[int, int]:
    parsed = CiliumVersion.parse(version)
    return parsed.major, parsed.minor
