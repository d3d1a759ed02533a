"""Evaluations with defaults; a test overrides the values that it is about."""

from dataclasses import fields, replace
from datetime import datetime
from typing import Any, Final, Literal

from builders import (
    DIGEST,
    NOW,
    POOL,
    VERSION,
    a_healthy_observation,
    a_lenient_spec,
    a_revision,
    a_spec,
    an_observation,
)
from cilium_hybrid.api.conditions import Reason
from cilium_hybrid.api.status import Status, UnreadyReason
from cilium_hybrid.api.v1alpha1 import FINALIZER, Spec
from cilium_hybrid.plan.actions import Decision, Nothing
from cilium_hybrid.plan.classify import classify
from cilium_hybrid.plan.inputs import OUTDATED, Evaluation, ReconcileInput, Resource, SpecEvaluation
from cilium_hybrid.plan.new_work import is_in_sync
from cilium_hybrid.plan.observation import Observation
from cilium_hybrid.plan.recording import known_record
from cilium_hybrid.plan.status.build import build_status, node_readiness
from cilium_hybrid.plan.upgrade.path import find_upgrade_path
from cilium_hybrid.rules.lenient_spec import read_lenient_spec

IN_SYNC = Decision(Nothing(), Reason.IN_SYNC, f"Cilium {VERSION} is deployed")
_RESOURCE_FIELDS: Final = {"generation", "finalizers", "approved", "deleting", "requested"}
_INPUT_FIELDS: Final = {field.name for field in fields(ReconcileInput)} - {"resource"}


def an_evaluation(spec: Spec | None = None, observation: Observation | None = None, **more: Any) -> SpecEvaluation:
    """An evaluation before the decision, by default of a valid spec with nothing installed.

    `more` are fields of the evaluation, of its input and of the resource.
    """
    spec, observation = spec or a_spec(), observation or an_observation()
    generation, record = more.get("generation", 0), known_record(observation)
    upgrade_path = more.get("upgrade_path") or find_upgrade_path(spec, observation, Status(), ())
    raw = spec.model_dump(mode="json", by_alias=True)
    evaluation = SpecEvaluation(
        input=ReconcileInput(
            resource=Resource(generation, "1", raw, {}),
            lenient_spec=read_lenient_spec(raw),
            observation=observation,
            now=NOW,
            failure_of=lambda _: None,
        ),
        previous=Status(),
        release=classify(observation),
        record=record,
        upgrade=spec.upgrade,
        spec=spec,
        upgrade_path=upgrade_path,
        in_sync=is_in_sync(observation, record, upgrade_path),
    )
    return changed(evaluation, **more)


def changed(evaluation: SpecEvaluation, *, has_finalizer: bool | None = None, **more: Any) -> SpecEvaluation:
    """The same evaluation with other fields, also of its input and of the resource."""
    if has_finalizer is not None:
        more["finalizers"] = (FINALIZER,) if has_finalizer else ()
    of_resource = {name: more.pop(name) for name in _RESOURCE_FIELDS & set(more)}
    of_input = {name: more.pop(name) for name in _INPUT_FIELDS & set(more)}
    resource = replace(evaluation.input.resource, **of_resource)
    return replace(evaluation, input=replace(evaluation.input, resource=resource, **of_input), **more)


def a_decided_evaluation(
    observation: Observation | None = None, *, unready_since: datetime | None = None, **more: Any
) -> SpecEvaluation:
    """An evaluation with a decision, by default that all is in sync; agents should run the builders' digest."""
    observation = observation or a_healthy_observation(a_revision())
    decision: Decision = more.get("decision", IN_SYNC)
    spec = more.pop("spec", None) or a_spec()
    pools = (POOL,) if observation.pool is None else observation.pool.pod_cidrs
    facts: dict[str, Any] = {
        "decision": decision,
        "generation": 1,
        "lenient_spec": a_lenient_spec(pod_cidrs=pools),
        "config_digest": DIGEST,
        "in_sync": decision.reason is Reason.IN_SYNC,
        "record": replace(known_record(observation), rebuilt=False),
    }
    if unready_since is not None:
        reasons: list[UnreadyReason | Literal["Outdated"]] = [*UnreadyReason, OUTDATED]
        facts["unready_since"] = {(name, reason): unready_since for name in observation.nodes for reason in reasons}
    return an_evaluation(spec, observation, **(facts | more))


def status_of(evaluation: Evaluation) -> Status:
    """The status that an evaluation leads to."""
    return build_status(evaluation, node_readiness(evaluation))
