"""What a spec would lead to, step by step: the same decisions as the operator's, on a cluster that is only imagined."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any, Final, assert_never

from cilium_hybrid.api.status import PlanPhase, PlanStep, Status
from cilium_hybrid.api.v1alpha1 import Approval, Preflight, Spec
from cilium_hybrid.api.versions import CiliumVersion
from cilium_hybrid.plan.actions import (
    Action,
    Apply,
    Claim,
    Decision,
    EndPreflight,
    FindVersions,
    Hold,
    LetGo,
    Move,
    Nothing,
    Remember,
    Rollback,
    StartPreflight,
    Uninstall,
    Unlock,
)
from cilium_hybrid.plan.decide import decide, refuse
from cilium_hybrid.plan.mirror import named_from, with_mirror
from cilium_hybrid.plan.observation import Observation, Revision
from cilium_hybrid.plan.release import Wanted
from cilium_hybrid.plan.route import Route, find_route
from cilium_hybrid.plan.situation import Situation
from cilium_hybrid.plan.succession import without_the_old_going_first
from cilium_hybrid.plan.values import CONFIG_DIGEST, digest
from cilium_hybrid.rules.minors import notes_of

_MOST: Final = 20
"""No spec leads to so many steps; were there a circle of decisions, it would be cut here."""


class StepKind(StrEnum):
    """What a step is for."""

    UNLOCK = "Unlock"
    INSTALL = "Install"
    CONFIGURE = "Configure"
    APPROVAL = "Approval"
    PREFLIGHT = "Preflight"
    UPGRADE = "Upgrade"
    HOLD = "Hold"
    LET_GO = "LetGo"


@dataclass(frozen=True, slots=True)
class Step:
    """One step, in words; `changed` are the paths of the values that it changes, `notes` what to know before it."""

    kind: StepKind
    message: str
    changed: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Preview:
    """The steps, and the decision that ends them: nothing left to do, or what blocks."""

    steps: tuple[Step, ...]
    end: Decision


def preview(
    spec: Spec,
    observation: Observation,
    released: Mapping[str, Any],
    now: datetime,
    *,
    held: bool,
    generation: int = 0,
    available: Sequence[CiliumVersion] = (),
    planned: Status | None = None,
) -> Preview:
    """Every step from what is observed to what the spec asks for; `released` are the values that run.

    The spec is one that breaks no rule; `generation` is the one that it has, or would get; `available` are the versions
    that the registry has; `planned` is a status with the plan that is under way.
    """
    steps: list[Step] = []
    planned, released = planned or Status(), without_the_old_going_first(released)
    imagined, observation = _going_well(spec, observation)
    while True:
        route = find_route(imagined, observation, planned, generation, available)
        if route.refusal is not None:
            return Preview(tuple(steps), refuse((route.refusal,)))
        pending = tuple(PlanStep(version=version, step=PlanPhase.PENDING) for version in route.versions)
        planned = Status(plan=pending, plan_digest=route.digest)
        decision = decide(Situation(imagined, observation, route, (), now, held=held, generation=generation))
        # What is being undone is no step on the way to what the spec asks for.
        if isinstance(decision.action, Nothing | Rollback | Claim) or len(steps) >= _MOST:
            return Preview(tuple(steps), decision)
        asked = any(step.kind is StepKind.APPROVAL for step in steps)
        made = _step(decision, observation, released, route, spec)
        # One approval is of the whole plan.
        steps += [step for step in made if not (asked and step.kind is StepKind.APPROVAL)]
        if isinstance(decision.action, Apply):
            released = _as_released(decision.action.wanted, released)
        observation, held = _after(decision.action, observation, now, held)


def _going_well(spec: Spec, observation: Observation) -> tuple[Spec, Observation]:
    """What is asked of a person and of the cluster on the way is taken to end well: none is waited for."""
    easy = spec.upgrade.model_copy(update={"approval": Approval.AUTOMATIC, "preflight": Preflight(enabled=False)})
    nodes = {name: replace(node, ready="Unknown") for name, node in observation.nodes.items()}
    well = replace(observation, nodes=nodes, secrets_namespace_leaving=False)
    return spec.model_copy(update={"upgrade": easy}), well


def _step(
    decision: Decision, observation: Observation, released: Mapping[str, Any], route: Route, spec: Spec
) -> Iterator[Step]:
    match decision.action:
        case Apply(over=None) if not released:
            nodes = len(observation.nodes)
            message = f"{decision.message}, on {nodes} hybrid {'node' if nodes == 1 else 'nodes'}"
            yield Step(StepKind.INSTALL, message)
        case Apply(wanted=want):
            if spec.upgrade.approval is Approval.MANUAL:
                yield Step(StepKind.APPROVAL, "spec.upgrade.approval is Manual: waiting for a person")
            message = f"{decision.message}; {_restarts(want, observation)}{_source(want, released)}"
            changed = tuple(changed_paths(released, _as_released(want, released)))
            if not route.left:
                yield Step(StepKind.CONFIGURE, message, changed)
                return
            if spec.upgrade.preflight.enabled:
                yield Step(StepKind.PREFLIGHT, f"checking Cilium {want.chart_version} on every node with a Ready agent")
            notes = notes_of(CiliumVersion.parse(want.chart_version)) if route.enters_a_minor else ()
            yield Step(StepKind.UPGRADE, message, changed, notes)
        case Unlock():
            yield Step(StepKind.UNLOCK, decision.message)
        case Hold():
            message = "the resource's deletion waits from now on until Cilium is uninstalled"
            yield Step(StepKind.HOLD, f"{decision.message}: {message}")
        case LetGo():
            yield Step(StepKind.LET_GO, f"{decision.message}: the resource's deletion waits for nothing from now on")
        case (
            Claim()
            | EndPreflight()
            | FindVersions()
            | Move()
            | Remember()
            | Rollback()
            | StartPreflight()
            | Uninstall()
            | Nothing()
        ):
            return
        case unknown:
            assert_never(unknown)


def _as_released(want: Wanted, released: Mapping[str, Any]) -> Mapping[str, Any]:
    """The values as far as they are known without the chart: the images that were released are named by it."""
    return want.values if want.mirror is None else with_mirror(want.values, released, want.mirror)


def _source(want: Wanted, released: Mapping[str, Any]) -> str:
    if want.mirror is None or named_from(released, want.mirror):
        return ""
    return f"; every image comes from {want.mirror}"


def _restarts(want: Wanted, observation: Observation) -> str:
    running = None if observation.agent_set is None else observation.agent_set.config_digest
    if want.values["podAnnotations"][CONFIG_DIGEST] == running:
        return "no agent restarts, and Cilium's operator where its own configuration changed"
    nodes = len(observation.nodes)
    return f"the agent restarts on {nodes} hybrid {'node' if nodes == 1 else 'nodes'}"


def _after(action: Action, observation: Observation, now: datetime, held: bool) -> tuple[Observation, bool]:
    """The cluster once an action worked, as far as the next decision looks at it."""
    match action:
        case Apply(wanted=want, revision=number):
            made = Revision(
                number=number,
                status="deployed",
                made_at=now,
                ours=True,
                chart_version=want.chart_version,
                chart_digest=want.pinned_digest or "",
                values_digest=want.values_digest,
                ref_digest=digest(want.chart_ref),
            )
            return replace(observation, revisions=(*observation.revisions, made)), held
        case Unlock():
            *before, newest = observation.revisions
            return replace(observation, revisions=(*before, replace(newest, status="failed"))), held
        case Remember(record=record):
            return replace(observation, record=record), held
        case Hold():
            return observation, True
        case (
            LetGo()
            | Claim()
            | EndPreflight()
            | FindVersions()
            | Move()
            | Rollback()
            | StartPreflight()
            | Uninstall()
            | Nothing()
        ):
            # Of these only the first is met: a plan is of a resource that stays, and of what goes well.
            return observation, False
        case unknown:
            assert_never(unknown)


def changed_paths(before: Mapping[str, Any], after: Mapping[str, Any], above: str = "") -> Iterator[str]:
    """The paths at which values differ, each with what happens there; never a value, which may be secret."""
    for name in sorted({*before, *after}):
        path = f"{above}{name}"
        if path == f"podAnnotations.{CONFIG_DIGEST}":
            continue
        if name not in after:
            yield f"{path} (taken out)"
        elif name not in before:
            yield f"{path} (added)"
        elif isinstance(before[name], Mapping) and isinstance(after[name], Mapping):
            yield from changed_paths(before[name], after[name], f"{path}.")
        elif before[name] != after[name] or type(before[name]) is not type(after[name]):
            yield f"{path} (changed)"
