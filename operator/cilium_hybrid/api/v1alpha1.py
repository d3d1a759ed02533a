"""CiliumHybrid v1alpha1: the fields that a user may set.

The descriptions become the CRD's documentation, which `kubectl explain` shows; the examples go into docs/api.md.
"""

import json
from enum import StrEnum
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from cilium_hybrid.api.cel import IPAM_RULES, POD_CIDRS_RULES, resource_rules
from cilium_hybrid.api.fields import (
    CHART_REF_PATTERN,
    EXAMPLE_DIGEST,
    HOST_PATTERN,
    MAX_CIDRS,
    MAX_MASK_SIZE,
    MAX_PULL_SECRETS,
    MIN_MASK_SIZE,
    MIRROR_PATTERN,
    SECRET_PATTERN,
    ChartVersion,
    CIDRs,
    Digest,
    PodCIDR,
    SpecModel,
)
from cilium_hybrid.api.schema import list_map, preserve_unknown, structural, validations, without_nulls
from cilium_hybrid.api.status import Status
from cilium_hybrid.api.upgrade import Upgrade

GROUP: Final = "ciliumhybrid.io"
VERSION: Final = "v1alpha1"
KIND: Final = "CiliumHybrid"
PLURAL: Final = "ciliumhybrids"
SHORT_NAME: Final = "chy"
CATEGORY: Final = "cilium"
NAME: Final = "default"
FINALIZER: Final = "ciliumhybrid.io/finalizer"
APPROVE: Final = "ciliumhybrid.io/approve"
"""Annotation that approves the plan with this digest."""
RECONCILE: Final = "ciliumhybrid.io/reconcile"
"""Annotation of which each new value asks for another attempt, once."""
OCI: Final = "oci://"
DEFAULT_CHART: Final = f"{OCI}public.ecr.aws/eks/cilium/cilium"


class Chart(SpecModel):
    """Source of the Cilium chart."""

    ref: Annotated[str, StringConstraints(max_length=512, pattern=CHART_REF_PATTERN)] = Field(
        DEFAULT_CHART,
        description="OCI reference of the Cilium chart without a tag, or the absolute path of a chart directory or "
        f"archive that the operator can read. Defaults to {DEFAULT_CHART}.",
        examples=["oci://registry.example.com/mirror/cilium", "/charts/cilium-1.17.13-1.tgz"],
    )
    digest: Digest | None = Field(
        None,
        description="Digest that the chart of `spec.version` must have. If set, a chart with any other digest is "
        "refused.",
        examples=[EXAMPLE_DIGEST],
    )


class Networks(SpecModel):
    """Networks that the EKS cluster was created with."""

    node_cidrs: CIDRs = Field(
        (),
        alias="nodeCIDRs",
        description="Remote node networks: the CIDRs of the hybrid nodes. Pod CIDRs must not overlap them.",
        examples=[["10.80.0.0/16"]],
    )
    vpc_cidrs: CIDRs = Field(
        (),
        alias="vpcCIDRs",
        description="CIDRs of the cluster's VPC. Pod CIDRs must not overlap them.",
        examples=[["10.20.0.0/16"]],
    )
    service_cidrs: CIDRs = Field(
        (),
        alias="serviceCIDRs",
        description="Service CIDRs of the cluster. Pod CIDRs must not overlap them.",
        examples=[["172.20.0.0/16"]],
    )
    remote_pod_cidrs: CIDRs = Field(
        (),
        alias="remotePodCIDRs",
        description="Remote pod networks. If set, each pod CIDR must lie inside one of them.",
        examples=[["10.85.0.0/16"]],
    )


class IPAM(SpecModel):
    """Cluster pool from which pods on hybrid nodes get their addresses."""

    model_config = ConfigDict(json_schema_extra=validations(*IPAM_RULES))

    pod_cidrs: Annotated[tuple[PodCIDR, ...], Field(min_length=1, max_length=MAX_CIDRS)] = Field(
        alias="podCIDRs",
        description="Private IPv4 CIDRs from which pods get their addresses. Append-only once Cilium is installed.",
        json_schema_extra=validations(*POD_CIDRS_RULES),
        examples=[["10.85.0.0/16"]],
    )
    mask_size: Annotated[int, Field(ge=MIN_MASK_SIZE, le=MAX_MASK_SIZE)] = Field(
        alias="maskSize",
        description="Prefix length of the pod CIDR block that each node gets. A /25 block has addresses for 124 pods; "
        "leave room for maxPods of the kubelet, usually 110. Immutable once Cilium is installed.",
        examples=[25],
    )


class APIServer(SpecModel):
    """Address of the cluster's API server."""

    host: Annotated[str, StringConstraints(max_length=253, pattern=HOST_PATTERN)] = Field(
        description="Host name of the cluster's API server endpoint, without a scheme. An IP address works, but those "
        "of an EKS endpoint change.",
        examples=["0123456789ABCDEF0123456789ABCDEF.gr7.eu-west-1.eks.amazonaws.com"],
    )
    port: Annotated[int, Field(ge=1, le=65535)] = Field(
        443, description="Port of the endpoint. Defaults to 443.", examples=[6443]
    )


class Resources(SpecModel):
    """Compute resources of Cilium's containers."""

    agent: Annotated[dict[str, Any] | None, preserve_unknown] = Field(
        None,
        description="Compute resources of the Cilium agent container, as in a pod.",
        examples=[{"requests": {"cpu": "100m", "memory": "256Mi"}}],
    )
    operator: Annotated[dict[str, Any] | None, preserve_unknown] = Field(
        None,
        description="Compute resources of the Cilium operator container, as in a pod.",
        examples=[{"limits": {"memory": "256Mi"}}],
    )


class PullSecret(SpecModel):
    """Reference to a Secret with registry credentials."""

    name: Annotated[str, StringConstraints(max_length=253, pattern=SECRET_PATTERN)] = Field(
        description="Name of a Secret of type `kubernetes.io/dockerconfigjson` in the namespace `kube-system`.",
        examples=["registry-credentials"],
    )


class DeletionPolicy(StrEnum):
    """What happens to Cilium when the CiliumHybrid is deleted."""

    RETAIN = "Retain"
    UNINSTALL = "Uninstall"


class Spec(SpecModel):
    """Desired state of Cilium on the hybrid nodes."""

    version: ChartVersion = Field(
        description="Version of the Cilium chart: `X.Y.Z`, or `X.Y.Z-N` where N is the AWS build number. Minor "
        "versions that AWS does not support on hybrid nodes need `spec.allowUnsupported`.",
        examples=["1.17.13-1"],
    )
    chart: Chart = Field(Chart(), description="Source of the Cilium chart.")
    networks: Networks = Field(
        Networks(), description="Networks that the EKS cluster was created with, which pod CIDRs are checked against."
    )
    ipam: IPAM = Field(description="Cluster pool from which pods on hybrid nodes get their addresses.")
    api_server: APIServer | None = Field(
        None,
        alias="apiServer",
        description="API server address that Cilium's agent, operator and preflight check connect to. Without "
        "it they use the address of the Service `kubernetes`, which needs kube-proxy on the hybrid nodes.",
    )
    masquerade: bool = Field(
        True,
        description="Whether traffic from pods to addresses outside the pod CIDRs is masqueraded with the node's "
        "address. Defaults to true.",
    )
    resources: Resources = Field(Resources(), description="Compute resources of Cilium's containers.")
    image_pull_secrets: Annotated[tuple[PullSecret, ...], Field(max_length=MAX_PULL_SECRETS)] = Field(
        (),
        alias="imagePullSecrets",
        description="Secrets used to pull the images of Cilium and of its preflight check, as in a pod.",
        json_schema_extra=list_map("name"),
        examples=[[{"name": "registry-credentials"}]],
    )
    registry_mirror: Annotated[str, StringConstraints(max_length=200, pattern=MIRROR_PATTERN)] | None = Field(
        None,
        alias="registryMirror",
        description="`HOST[:PORT][/PATH]` that replaces the registry host in every image reference of Cilium and of "
        "its preflight check. Repositories, tags and digests stay the same.",
        examples=["registry.example.com/ecr-public"],
    )
    values: Annotated[dict[str, Any], preserve_unknown] = Field(
        {},
        description="Additional values of the Cilium chart. Values that the operator sets itself are refused. Values "
        "that AWS does not support on hybrid nodes need `spec.allowUnsupported`.",
        examples=[{"operator": {"replicas": 1}}],
    )
    allow_unsupported: bool = Field(
        False,
        alias="allowUnsupported",
        description="Whether minor versions and values that AWS does not support on hybrid nodes are allowed. Values "
        "that the operator sets itself are always refused. Defaults to false.",
    )
    upgrade: Upgrade = Field(Upgrade(), description="How changes to the running Cilium are made.")
    deletion_policy: DeletionPolicy = Field(
        DeletionPolicy.RETAIN,
        alias="deletionPolicy",
        description="What happens to Cilium when this resource is deleted. `Retain`: Cilium keeps running. "
        "`Uninstall`: the Helm release is uninstalled. Treated as `Retain` while `spec.suspend` is true. Defaults to "
        "Retain.",
    )
    suspend: bool = Field(
        False,
        description="Whether the operator only reports the status and changes nothing. Defaults to false.",
    )


SPEC_SCHEMA: Final = structural(Spec.model_json_schema(by_alias=True))


def parse_spec(spec: object) -> Spec:
    """Validate the schema of a spec as the API server does; pydantic.ValidationError lists every error."""
    return Spec.model_validate_json(json.dumps(without_nulls(spec, SPEC_SCHEMA)))


class CiliumHybrid(BaseModel):
    """CiliumHybrid manages Cilium on the hybrid nodes of an Amazon EKS cluster.

    A cluster has exactly one CiliumHybrid, named `default`.
    """

    model_config = ConfigDict(frozen=True, json_schema_extra=validations(*resource_rules(NAME)))

    spec: Spec = Field(description="Desired state of Cilium on the hybrid nodes.")
    status: Status | None = Field(
        None, description="Observed state of Cilium on the hybrid nodes. Set by the operator; read-only."
    )
