"""The table of everything that the operator watches, except for the preflight: what, which facts, and options."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any, Final, Generic, TypeVar

from cilium_hybrid.adapters.kube import event_facts, facts, foreign, helm_secret, pod_facts
from cilium_hybrid.adapters.kube.certificates import certificate
from cilium_hybrid.adapters.kube.event_facts import FAILED_CREATE, FAILED_SANDBOX, CreateFailure, SandboxEvent
from cilium_hybrid.adapters.kube.informer import WATCH_SECONDS, WatchTarget
from cilium_hybrid.adapters.kube.pod_facts import OtherPod
from cilium_hybrid.adapters.kube.preflight_facts import (
    AGENT_APP,
    CHECK_APP,
    VALIDATOR_APP,
    CheckPod,
    merge_pod,
    pod,
)
from cilium_hybrid.adapters.kube.record import record
from cilium_hybrid.adapters.kube.watch_state import SILENCE_SECONDS
from cilium_hybrid.api.v1alpha1 import GROUP, PLURAL
from cilium_hybrid.plan.observation import (
    AgentPod,
    AgentSet,
    Certificate,
    CiliumNode,
    CiliumOperator,
    ForeignObject,
    ForeignPod,
    HybridNode,
    NodeConfigOverride,
    PoolConfig,
    Revision,
    UnplacedAgent,
)
from cilium_hybrid.plan.record import Record
from cilium_hybrid.plan.release import NAMESPACE
from cilium_hybrid.plan.status.certificates import CERTIFICATES
from cilium_hybrid.rules.cluster_facts import AddressRange
from cilium_hybrid.rules.rendered.rules import HYBRID_LABEL, HYBRID_VALUE

Fact = TypeVar("Fact")

CORE: Final = f"/api/v1/namespaces/{NAMESPACE}"
APPS: Final = f"/apis/apps/v1/namespaces/{NAMESPACE}"
CRDS: Final = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"

RECORD_NAME: Final = "cilium-hybrid-applied"
RECORD: Final = f"{CORE}/configmaps/{RECORD_NAME}"
SECRETS_NAMESPACE: Final = "cilium-secrets"
CRD_NAME: Final = f"{PLURAL}.{GROUP}"
EVENT_SILENCE_SECONDS: Final = WATCH_SECONDS + 30.0
OTHER_CNIS: Final = "k8s-app in (aws-node,calico-node,canal,kube-router)"


def _named(path: str, name: str, *, metadata_only: bool = False) -> WatchTarget:
    return WatchTarget(path, fields=f"metadata.name={name}", metadata_only=metadata_only)


RELEASE_SECRETS: Final = WatchTarget(f"{CORE}/secrets", labels="owner=helm,name=cilium", metadata_only=True)
HYBRID_NODES: Final = WatchTarget("/api/v1/nodes", labels=f"{HYBRID_LABEL}={HYBRID_VALUE}")
AGENT_PODS: Final = WatchTarget(f"{CORE}/pods", labels="k8s-app=cilium")
AGENT_SET: Final = _named(f"{APPS}/daemonsets", "cilium")
CILIUM_NODES: Final = WatchTarget("/apis/cilium.io/v2/ciliumnodes")

_CLOUD_NODES: Final = WatchTarget("/api/v1/nodes", labels=f"{HYBRID_LABEL}!={HYBRID_VALUE}")
_SERVICE_CIDRS: Final = WatchTarget("/apis/networking.k8s.io/v1/servicecidrs")
# Each watch holds a connection, so the pods of agents and preflight share one, and so do those of the other workloads.
_AGENT_AND_PREFLIGHT_PODS: Final = WatchTarget(
    f"{CORE}/pods", labels=f"k8s-app in ({AGENT_APP},{CHECK_APP},{VALIDATOR_APP})"
)
_OTHER_PODS: Final = WatchTarget(
    f"{CORE}/pods", labels=f"{pod_facts.APP_NAME_LABEL} in ({','.join(pod_facts.WORKLOADS)})"
)
# PartialObjectMetadata suffices: a pod and its ReplicaSet have the same template hash.
_OPERATOR_TEMPLATES: Final = WatchTarget(
    f"{APPS}/replicasets", labels=f"{pod_facts.APP_NAME_LABEL}={pod_facts.OPERATOR_APP}", metadata_only=True
)
_CREATE_FAILURES: Final = WatchTarget(
    f"{CORE}/events",
    fields=f"reason={FAILED_CREATE},involvedObject.kind=DaemonSet,involvedObject.name=cilium",
)
_SANDBOX_EVENTS: Final = WatchTarget("/api/v1/events", fields=f"reason={FAILED_SANDBOX},involvedObject.kind=Pod")


@dataclass(frozen=True, slots=True)
class Watch(Generic[Fact]):
    """One row of the table; see Informer for `to_fact` and `merge`.

    `wakes`: whether a change starts a reconciliation. `required`: whether a decision rests on it, so that nothing is
    applied or restarted while this watch is lost; a watch that is not required only adds to the report. After
    `silence_seconds` without data the watch is lost.
    """

    target: WatchTarget
    to_fact: Callable[[Mapping[str, Any]], Fact | None]
    merge: Callable[[Fact, Fact], Fact] | None = None
    wakes: bool = True
    required: bool = True
    silence_seconds: float = SILENCE_SECONDS


@dataclass(frozen=True, slots=True)
class WatchTable:
    """What the operator watches."""

    revisions: Watch[Revision] = Watch(RELEASE_SECRETS, helm_secret.revision)
    record: Watch[tuple[Record | None, str]] = Watch(_named(f"{CORE}/configmaps", RECORD_NAME), record)
    config: Watch[tuple[PoolConfig, str]] = Watch(_named(f"{CORE}/configmaps", "cilium-config"), facts.config)
    agent_set: Watch[AgentSet] = Watch(AGENT_SET, facts.agent_set)
    cilium_operator: Watch[tuple[CiliumOperator, str]] = Watch(
        _named(f"{APPS}/deployments", "cilium-operator"), facts.cilium_operator
    )
    # The pods name their ReplicaSet, and only the ReplicaSet tells which template is the present one.
    operator_templates: Watch[tuple[str, str]] = Watch(_OPERATOR_TEMPLATES, facts.template_revision)
    secrets_namespace: Watch[bool] = Watch(_named("/api/v1/namespaces", SECRETS_NAMESPACE), facts.terminating)
    nodes: Watch[HybridNode] = Watch(HYBRID_NODES, facts.hybrid_node, facts.merge_node)
    cloud_nodes: Watch[tuple[AddressRange, ...]] = Watch(_CLOUD_NODES, facts.node_addresses)
    service_cidrs: Watch[tuple[AddressRange, ...]] = Watch(_SERVICE_CIDRS, facts.service_cidrs)
    kubernetes_service: Watch[tuple[AddressRange, ...]] = Watch(
        _named("/api/v1/namespaces/default/services", "kubernetes"), facts.service_addresses
    )
    foreign_pods: Watch[ForeignPod] = Watch(WatchTarget("/api/v1/pods", labels=OTHER_CNIS), pod_facts.foreign_pod)
    daemon_sets: Watch[ForeignObject] = Watch(WatchTarget("/apis/apps/v1/daemonsets"), foreign.foreign_object)
    pods: Watch[AgentPod | UnplacedAgent | CheckPod] = Watch(_AGENT_AND_PREFLIGHT_PODS, pod, merge_pod)
    other_pods: Watch[OtherPod] = Watch(_OTHER_PODS, pod_facts.cilium_pod, pod_facts.merge_cilium_pod)
    # The API server sends no bookmarks for Events, so these watches are silent while nothing fails.
    create_failures: Watch[CreateFailure] = Watch(
        _CREATE_FAILURES, event_facts.create_failure, required=False, silence_seconds=EVENT_SILENCE_SECONDS
    )
    sandbox_events: Watch[SandboxEvent] = Watch(
        _SANDBOX_EVENTS,
        event_facts.sandbox_event,
        wakes=False,
        required=False,
        silence_seconds=EVENT_SILENCE_SECONDS,
    )
    # A field selector takes only one name, and the operator must not read any other Secret.
    certificates: tuple[Watch[Certificate], ...] = tuple(
        Watch(_named(f"{CORE}/secrets", name), certificate, required=False) for name in CERTIFICATES
    )
    own_crd: Watch[bool] = Watch(_named(CRDS, CRD_NAME, metadata_only=True), facts.terminating)
    # The Cilium operator creates this CRD at its first start; until then there are no CiliumNodes to watch.
    cilium_nodes_crd: Watch[bool] = Watch(
        _named(CRDS, "ciliumnodes.cilium.io", metadata_only=True), facts.terminating, wakes=False
    )
    cilium_nodes: Watch[CiliumNode] = Watch(CILIUM_NODES, facts.cilium_node)
    node_configs: Watch[NodeConfigOverride] = Watch(
        WatchTarget("/apis/cilium.io/v2/ciliumnodeconfigs"), foreign.node_config
    )

    def __iter__(self) -> Iterator[Watch[Any]]:
        """Return every row."""
        for field in fields(self):
            row = getattr(self, field.name)
            yield from row if isinstance(row, tuple) else (row,)


WATCHES: Final = WatchTable()
