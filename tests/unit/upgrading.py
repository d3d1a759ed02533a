"""Clusters during an upgrade, and evaluations of them."""

from dataclasses import replace
from typing import Any

from builders import DIGEST, a_node, a_record, a_spec, a_step_of, an_agent, an_observation
from cilium_hybrid.api.status import Status
from cilium_hybrid.api.v1alpha1 import Spec
from cilium_hybrid.api.versions import CiliumVersion
from cilium_hybrid.plan.inputs import SpecEvaluation
from cilium_hybrid.plan.observation import AgentSet, Observation
from cilium_hybrid.plan.record import Record
from cilium_hybrid.plan.release import desired_release
from cilium_hybrid.plan.upgrade.path import find_upgrade_path
from cilium_hybrid.plan.values import CONFIG_DIGEST
from evaluations import an_evaluation

PATCH, NEXT, LAST = STEPS = ("1.17.15-1", "1.18.8-1", "1.19.4-1")
UP = a_spec(version=LAST)


def recorded(version: str = PATCH, revision: int = 2, verified: int | None = 2) -> Record:
    """The record after a step, with its verified revision."""
    return a_record(revision=revision, chart_version=version, verified=verified)


def cluster(
    *versions: str,
    spec: Spec = UP,
    record: Record | None = None,
    healthy: bool = True,
    connected: bool = True,
    run: str = DIGEST,
) -> Observation:
    """A cluster in which the versions were deployed one after the other, and the agents run the last one."""
    revisions = [a_step_of(spec, version, number, status="superseded") for number, version in enumerate(versions, 1)]
    revisions[-1] = replace(revisions[-1], status="deployed")
    return an_observation(
        *revisions,
        record=record or recorded(versions[-1], len(versions), len(versions)),
        agent_set=AgentSet(run, observed=True),
        nodes=[a_node(ready="True" if connected else "Unknown")],
        agents=[an_agent(ready=healthy, config_digest=run)],
    )


def config_digest_of(spec: Spec, version: str) -> str:
    """The configuration of an agent at a version on the path of a spec."""
    values = desired_release(spec.model_copy(update={"version": version}), an_observation(record=a_record())).values
    digest: str = values["podAnnotations"][CONFIG_DIGEST]
    return digest


def facing(observation: Observation, spec: Spec = UP, **more: Any) -> SpecEvaluation:
    """The evaluation of a spec if the registry has every step."""
    registry = [CiliumVersion.parse(version) for version in STEPS]
    upgrade_path = find_upgrade_path(spec, observation, Status(), registry)
    return an_evaluation(spec, observation, **({"upgrade_path": upgrade_path} | more))
