"""Hypothesis strategies: whatever a user, a cluster or an earlier pass may come up with."""

from collections.abc import Sequence
from datetime import timedelta
from ipaddress import IPv4Network
from typing import Any

from hypothesis import strategies as st

from builders import (
    DIGEST,
    MASK,
    NODE,
    NOW,
    OTHER_DIGEST,
    POOL,
    REF,
    VERSION,
    a_cilium_node,
    a_foreign_revision,
    a_node,
    a_preflight,
    a_preflight_pod,
    a_record,
    a_revision,
    a_revision_of,
    a_spec,
    a_validator,
    an_agent,
    an_observation,
)
from cilium_hybrid.api.conditions import Reason
from cilium_hybrid.api.status import PreflightResult, PreflightStatus, Status
from cilium_hybrid.api.v1alpha1 import DeletionPolicy, Spec
from cilium_hybrid.api.versions import CiliumVersion
from cilium_hybrid.plan.actions import PodRef
from cilium_hybrid.plan.decide import decide
from cilium_hybrid.plan.inputs import Failure, SpecEvaluation
from cilium_hybrid.plan.observation import (
    AgentSet,
    CiliumOperator,
    NodeReady,
    Observation,
    PoolConfig,
    PreflightObservation,
    Revision,
)
from cilium_hybrid.plan.record import Rejected
from cilium_hybrid.plan.release import desired_release
from cilium_hybrid.plan.rollout.plan import NO_ROLLOUT, RolloutPlan, RolloutStep
from cilium_hybrid.plan.upgrade.gates import PreflightCheck
from cilium_hybrid.plan.upgrade.path import find_upgrade_path
from cilium_hybrid.plan.upgrade.preflight import evaluate_preflight
from cilium_hybrid.rules.rule import Violation
from cilium_hybrid.rules.values import OWNED_PATHS
from evaluations import an_evaluation, changed, status_of

READINESS: tuple[NodeReady, ...] = ("True", "False", "Unknown")
BOOLEANS = st.booleans()
GENERATIONS = st.integers(1, 2)
NUMBERS = st.integers(0, 9999)


def versions() -> st.SearchStrategy[CiliumVersion]:
    """Chart versions, with and without a build; small numbers, so that some are equal in part."""
    number = st.integers(0, 12) | NUMBERS
    return st.builds(CiliumVersion, number, number, number, st.none() | number)


def small_networks() -> st.SearchStrategy[IPv4Network]:
    """Networks of at most 64 addresses in one /24, so that every address can be tested."""
    return st.builds(
        lambda last, length: IPv4Network((f"10.0.0.{last}", length), strict=False),
        st.integers(0, 255),
        st.integers(26, 32),
    )


LEAVES: st.SearchStrategy[Any] = st.sampled_from(
    [None, True, False, 0, 25, "", "x", "true", [], [1, {"b": 1, "a": 2}], {}, {"b": [], "a": None}]
)
MAPS = st.dictionaries(st.sampled_from(["enabled", "restart", "mode", "x"]), LEAVES, min_size=1, max_size=2)
# Values outside the paths that the operator owns.
FREE_VALUES = st.dictionaries(st.sampled_from(["hubble", "debug", "tunnelPort", "image"]), LEAVES | MAPS, max_size=3)
PATHS = [path.split(".", 1) for path in OWNED_PATHS]
PATHS += [["operator"], ["operator", "replicas"], ["operator", "unmanagedPodWatcher", "restart"], ["podAnnotations"]]
PATHS += [["kubeProxyReplacement"], ["ingressController", "enabled"], ["bgpControlPlane"]]
PATHS += [["loadBalancer"], ["loadBalancer", "mode"], ["operator", "unmanagedPodWatcher"], ["cni", "exclusive"]]
SETTINGS = st.lists(st.tuples(st.sampled_from(PATHS), LEAVES | MAPS), max_size=3)


@st.composite
def chart_values(draw: st.DrawFn) -> dict[str, Any]:
    """Nested values at, above, below and beside the paths that the operator owns."""
    values: dict[str, Any] = dict(draw(FREE_VALUES))
    for path, value in draw(SETTINGS):
        *parents, last = path
        place = values
        for parent in parents:
            inner = place.get(parent)
            # A copy, because drawn values are shared between examples.
            place[parent] = dict(inner) if isinstance(inner, dict) else {}
            place = place[parent]
        place[last] = value
    return values


UPGRADES: tuple[dict[str, Any], ...] = (
    {},
    {"preflight": {"enabled": False}},
    {"approval": "Manual", "rollout": {"strategy": "RollingUpdate"}},
    {"via": [{"version": "1.17.15-1"}, {"version": "1.18.8-1", "digest": OTHER_DIGEST}], "onFailure": "Pause"},
)
SPECS = st.sampled_from(
    [
        a_spec(
            version=version, pod_cidrs=pools, mask_size=mask, suspend=suspend, deletionPolicy=policy, upgrade=upgrade
        )
        for version in (VERSION, "1.18.8-1", "1.19.4-1", "1.16.19-1")
        for upgrade in UPGRADES
        for pools in ((POOL,), (POOL, "10.86.0.0/16"))
        for mask in (MASK, 26)
        for suspend in (False, False, True)
        for policy in DeletionPolicy
    ]
)


MOMENTS = st.sampled_from([NOW + timedelta(seconds=seconds) for seconds in (-600, -120, -5, 0, 1, 5, 120, 600)])
RECORDS = st.none() | st.builds(
    a_record,
    revision=st.integers(1, 4),
    chart_ref=st.sampled_from([REF, "/charts/cilium"]),
    pod_cidrs=st.sampled_from([(POOL,), (POOL, "10.86.0.0/16")]),
    verified=st.none() | st.integers(1, 4),
    unlocked=st.none() | st.integers(1, 4),
    resumed=st.none() | st.integers(1, 4),
    rejected=st.none() | st.builds(Rejected, st.integers(1, 4), st.just("sha256:x"), st.just("the new agent fails")),
    handled=st.sampled_from(["", "now"]),
    rebuilt=BOOLEANS,
)
FAILURES = st.none() | st.builds(
    Failure,
    st.sampled_from([Reason.CHART_UNAVAILABLE, Reason.APPLY_FAILED, Reason.RENDER_REFUSED]),
    st.just("it failed"),
    st.integers(1, 20),
    st.none() | MOMENTS,
)
VIOLATIONS = st.sampled_from([(), (), (Violation(Reason.INVALID_SPEC, "spec.version", "is invalid"),)])
STATUSES = ("deployed", "superseded", "failed", "pending-upgrade", "uninstalling", "uninstalled")
HISTORIES = st.lists(
    st.tuples(st.sampled_from(["managed", "step", "desired_release", "foreign"]), st.sampled_from(STATUSES)), max_size=4
)


def history(kinds: Sequence[tuple[str, str]], spec: Spec) -> tuple[Revision, ...]:
    """Managed and foreign revisions in any state.

    `desired_release` is a revision of the spec, `step` one of a version on its upgrade path.
    """
    revisions: list[Revision] = []
    for number, (kind, status) in enumerate(kinds, 1):
        if kind == "foreign":
            revisions.append(a_foreign_revision(number, status=status))
        elif kind in {"step", "desired_release"}:
            version = "1.18.3-0" if kind == "step" else spec.version
            desired = desired_release(spec.model_copy(update={"version": version}), an_observation(*revisions))
            revisions.append(a_revision_of(desired, number, status=status))
        else:
            revisions.append(a_revision(number, status=status, values_digest=OTHER_DIGEST))
    return tuple(revisions)


NAMES = (NODE, "mi-0000000000000002")
NODES = st.lists(
    st.builds(a_node, st.sampled_from(NAMES), ready=st.sampled_from(READINESS), agent_taint=st.booleans()),
    max_size=2,
    unique_by=lambda node: node.name,
)
AGENTS = st.lists(
    st.builds(
        an_agent,
        st.sampled_from(NAMES),
        ready=st.booleans(),
        config_digest=st.sampled_from([DIGEST, OTHER_DIGEST]),
        failure_message=st.sampled_from(["", "CrashLoopBackOff"]),
        version=st.sampled_from([None, "1.17.9", "1.18.8"]),
    ),
    max_size=2,
)
CILIUM_NODES = st.lists(
    st.builds(a_cilium_node, st.sampled_from(NAMES), pod_cidrs=st.sampled_from([(), ("10.85.0.0/25",)])), max_size=2
)
POOLS = st.sampled_from(
    [None, PoolConfig((POOL,), MASK), PoolConfig((POOL,), None), PoolConfig(("10.85.0.0/25",), MASK)]
)
AGENT_SETS = st.sampled_from([None, AgentSet(None, observed=True), AgentSet(DIGEST, observed=True)])
OPERATORS = st.sampled_from([None, *(CiliumOperator(2, available, observed=True) for available in (0, 2))])


PREFLIGHT_PODS = st.builds(
    a_preflight_pod,
    st.sampled_from(NAMES),
    ready=BOOLEANS,
    ready_since=st.none() | MOMENTS,
    failure_message=st.sampled_from(["", "", "ErrImagePull"]),
    termination_message=st.sampled_from(["", "", "level=fatal msg=x"]),
)
PREFLIGHTS = st.just(PreflightObservation()) | st.builds(
    lambda pods, **more: a_preflight(*pods, **more),
    st.lists(PREFLIGHT_PODS, max_size=3),
    release=st.builds(a_revision, status=st.sampled_from(["deployed", "deployed", "failed"]), created_at=MOMENTS),
    nodes_observed=st.sampled_from([True, True, False, None]),
    validator=st.none()
    | st.builds(a_validator, ready=st.integers(0, 1), observed=BOOLEANS, pod=st.none() | PREFLIGHT_PODS),
)


@st.composite
def observations(draw: st.DrawFn, spec: Spec) -> Observation:
    """Clusters in any state; some of their revisions are of this spec."""
    return an_observation(
        *history(draw(HISTORIES), spec),
        record=draw(RECORDS),
        pool=draw(POOLS),
        agent_set=draw(AGENT_SETS),
        cilium_operator=draw(OPERATORS),
        nodes=draw(NODES),
        agents=draw(AGENTS),
        cilium_nodes=draw(CILIUM_NODES),
        preflight=draw(PREFLIGHTS),
        lost_watches=draw(st.sampled_from([(), (), (), ("nodes: 403 Forbidden",)])),
    )


AVAILABLE = st.sampled_from(
    [None, (), tuple(map(CiliumVersion.parse, (VERSION, "1.17.15-1", "1.18.3-0", "1.18.8-1", "1.19.4-1")))]
)
REPORTED = st.none() | st.builds(
    PreflightStatus,
    version=st.sampled_from(["1.16.19-1", "1.17.15-1", "1.18.8-1", "1.19.4-1"]),
    result=st.sampled_from(PreflightResult),
)
ROLLOUTS = st.sampled_from(
    [
        NO_ROLLOUT,
        *(RolloutPlan(step, "x") for step in RolloutStep if step is not RolloutStep.RESTART),
        RolloutPlan(RolloutStep.RESTART, "x", (PodRef("cilium-x", "uid"),)),
    ]
)


@st.composite
def evaluations(draw: st.DrawFn) -> SpecEvaluation:
    """Evaluations before the decision."""
    spec = draw(SPECS)
    observation = draw(observations(spec))
    upgrade_path = find_upgrade_path(spec, observation, Status(), draw(AVAILABLE))
    result = evaluate_preflight(observation, None, 600.0, 0.0)
    return an_evaluation(
        spec,
        observation,
        upgrade_path=upgrade_path,
        violations=draw(VIOLATIONS),
        now=draw(MOMENTS),
        failure=draw(FAILURES),
        has_finalizer=draw(BOOLEANS),
        requested=draw(st.sampled_from(["", "", "now", "again"])),
        rollout=draw(ROLLOUTS),
        preflight=PreflightCheck(draw(REPORTED), observation.preflight, result),
        approved=draw(st.sampled_from([None, "sha256:of another plan", upgrade_path.digest])),
    )


@st.composite
def decided_evaluations(draw: st.DrawFn, reconciliations: int = 2) -> SpecEvaluation:
    """Evaluations with a decision; the previous status was built from another one."""
    evaluation = draw(evaluations())
    another = reconciliations > 1 and draw(BOOLEANS)
    previous = status_of(draw(decided_evaluations(reconciliations - 1))) if another else Status()
    return changed(
        evaluation,
        previous=previous,
        decision=decide(evaluation),
        generation=draw(GENERATIONS),
        config_digest=DIGEST,
    )


@st.composite
def preflight_observations(draw: st.DrawFn) -> Observation:
    """Clusters with a preflight in any state."""
    return an_observation(a_revision(), nodes=draw(NODES), agents=draw(AGENTS), preflight=draw(PREFLIGHTS))
