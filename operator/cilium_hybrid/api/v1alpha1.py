"""CiliumHybrid v1alpha1: what a user may write. The descriptions become the CRD's documentation."""

import json
from enum import StrEnum
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from cilium_hybrid.api.cel import (
    CIDR_RULES,
    IPAM_RULES,
    POD_CIDR_RULES,
    POD_CIDRS_RULES,
    PULL_SECRETS_RULES,
    resource_rules,
)
from cilium_hybrid.api.durations import DURATION_PATTERN
from cilium_hybrid.api.schema import preserve_unknown, structural, validations, without_nulls
from cilium_hybrid.api.status import Status
from cilium_hybrid.api.versions import VERSION_PATTERN

GROUP: Final = "ciliumhybrid.io"
VERSION: Final = "v1alpha1"
KIND: Final = "CiliumHybrid"
PLURAL: Final = "ciliumhybrids"
SHORT_NAME: Final = "chy"
NAME: Final = "default"
FINALIZER: Final = "ciliumhybrid.io/finalizer"
APPROVE: Final = "ciliumhybrid.io/approve"
"""Annotation with the digest of the plan that a person approves."""
OCI: Final = "oci://"
DEFAULT_CHART: Final = f"{OCI}public.ecr.aws/eks/cilium/cilium"
MAX_CIDRS: Final = 15
MAX_CIDR_LENGTH: Final = 18
MAX_VIA: Final = 10
MAX_PULL_SECRETS: Final = 10
LONGEST_MASK: Final = 29
DEFAULT_GROUP: Final = "topology.kubernetes.io/zone"

CHART_REF_PATTERN = r"^(oci://[A-Za-z0-9.-]+(:[0-9]{1,5})?(/[a-z0-9._-]+)+|/[^\x00-\x1f]*)$"
DIGEST_PATTERN = r"^sha256:[a-f0-9]{64}$"
_LABEL = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
SECRET_PATTERN = rf"^{_LABEL}(\.{_LABEL})*$"
_HOST_PART = r"[A-Za-z0-9]([-A-Za-z0-9]*[A-Za-z0-9])?"
_HOST = rf"({_HOST_PART}(\.{_HOST_PART})+(:[0-9]{{1,5}})?|{_HOST_PART}:[0-9]{{1,5}})"
MIRROR_PATTERN = rf"^{_HOST}(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*$"
"""A word without a dot or a port would be a name on Docker Hub to whoever pulls."""


class _Model(BaseModel):
    """Strict and closed: what the API server refuses is refused here too."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


_CIDRText = Annotated[str, StringConstraints(max_length=MAX_CIDR_LENGTH)]
CIDR = Annotated[_CIDRText, Field(json_schema_extra=validations(*CIDR_RULES))]
PodCIDR = Annotated[_CIDRText, Field(json_schema_extra=validations(*POD_CIDR_RULES))]
Duration = Annotated[str, StringConstraints(min_length=2, max_length=24, pattern=DURATION_PATTERN)]
CIDRs = Annotated[tuple[CIDR, ...], Field(max_length=MAX_CIDRS)]
ChartVersion = Annotated[str, StringConstraints(max_length=24, pattern=VERSION_PATTERN)]
Digest = Annotated[str, StringConstraints(pattern=DIGEST_PATTERN)]


class Chart(_Model):
    """Where the Cilium chart comes from."""

    ref: Annotated[str, StringConstraints(max_length=512, pattern=CHART_REF_PATTERN)] = Field(
        DEFAULT_CHART,
        description="OCI reference without a tag, or the absolute path of a chart (folder or archive) that the "
        f"operator can read. Default: {DEFAULT_CHART}",
    )
    digest: Digest | None = Field(
        None, description="Digest of the chart of `version`; anything else that is served is refused."
    )


class Networks(_Model):
    """The networks around the pods, as the EKS cluster was created with them. Pod CIDRs must keep clear of them."""

    node_cidrs: CIDRs = Field((), alias="nodeCIDRs", description="Remote node networks: where the hybrid nodes are.")
    vpc_cidrs: CIDRs = Field((), alias="vpcCIDRs", description="CIDRs of the VPC, where the cloud half is.")
    service_cidrs: CIDRs = Field((), alias="serviceCIDRs", description="The cluster's Service CIDR.")
    remote_pod_cidrs: CIDRs = Field(
        (),
        alias="remotePodCIDRs",
        description="Remote pod networks; where given, each pod CIDR lies inside one of them.",
    )


class IPAM(_Model):
    """Cilium's cluster pool."""

    model_config = ConfigDict(json_schema_extra=validations(*IPAM_RULES))

    pod_cidrs: Annotated[tuple[PodCIDR, ...], Field(min_length=1, max_length=MAX_CIDRS)] = Field(
        alias="podCIDRs",
        description="Private IPv4 CIDRs that pods get addresses from. Append-only once Cilium is installed.",
        json_schema_extra=validations(*POD_CIDRS_RULES),
    )
    mask_size: Annotated[int, Field(ge=16, le=LONGEST_MASK)] = Field(
        alias="maskSize",
        description="Prefix length of one node's block: /25 leaves 124 pods a node. Never changes once installed.",
    )


class Resources(_Model):
    """Container resources of Cilium's workloads."""

    agent: Annotated[dict[str, Any] | None, preserve_unknown] = Field(
        None, description="resources of the agent container, as in a pod."
    )
    operator: Annotated[dict[str, Any] | None, preserve_unknown] = Field(
        None, description="resources of the container of Cilium's operator, as in a pod."
    )


class PullSecret(_Model):
    """A Secret that images are pulled with."""

    name: Annotated[str, StringConstraints(max_length=253, pattern=SECRET_PATTERN)] = Field(
        description="Name of a Secret of type `kubernetes.io/dockerconfigjson` in namespace `kube-system`."
    )


class DeletionPolicy(StrEnum):
    """What happens to Cilium when the resource is deleted."""

    RETAIN = "Retain"
    UNINSTALL = "Uninstall"


class RolloutStrategy(StrEnum):
    """Who moves the agents to a new configuration."""

    GATED = "Gated"
    ROLLING_UPDATE = "RollingUpdate"


class Rollout(_Model):
    """How the agents move to a new configuration."""

    strategy: RolloutStrategy = Field(
        RolloutStrategy.GATED,
        description="`Gated`: the operator itself moves the agents, node by node. `RollingUpdate`: left to the "
        "DaemonSet. Default: Gated",
    )
    canary: Annotated[int, Field(ge=1, le=100)] = Field(
        1, description="So many nodes of each group are moved first. Default: 1"
    )
    max_unavailable: Annotated[int, Field(ge=1, le=1000)] = Field(
        1, alias="maxUnavailable", description="So many nodes are moved at a time. Default: 1"
    )
    group_by: Annotated[str, StringConstraints(min_length=1, max_length=317)] = Field(
        DEFAULT_GROUP,
        alias="groupBy",
        description="Label of nodes by whose value they are grouped; one group after another. "
        f"Default: {DEFAULT_GROUP}",
    )
    soak: Duration = Field("30s", description="How long a group's canaries must be well before the rest. Default: 30s")
    progress_deadline: Duration = Field(
        "20m",
        alias="progressDeadline",
        description="How long no node may get ready before the rollout is taken to have failed. Default: 20m",
    )


class OnFailure(StrEnum):
    """What is done where new agents fail."""

    ROLLBACK = "Rollback"
    PAUSE = "Pause"


class Preflight(_Model):
    """The target chart's pre-flight check."""

    enabled: bool = Field(True, description="Whether it is run before every change of version. Default: true")
    timeout: Duration = Field(
        "10m", description="How long no check may get ready before the preflight has failed. Default: 10m"
    )


class Via(_Model):
    """A version on the way to `spec.version`."""

    version: ChartVersion = Field(description="Version of the Cilium chart, as in `spec.version`.")
    digest: Digest | None = Field(None, description="Digest of its chart; anything else that is served is refused.")


class Approval(StrEnum):
    """Who says that a change may begin."""

    AUTOMATIC = "Automatic"
    MANUAL = "Manual"


class Upgrade(_Model):
    """How changes are made."""

    preflight: Preflight = Field(Preflight(), description="The target chart's pre-flight check.")
    via: Annotated[tuple[Via, ...], Field(max_length=MAX_VIA)] = Field(
        (),
        description="Versions on the way to `spec.version`, oldest first, instead of the newest patch releases that "
        "the registry has.",
    )
    approval: Approval = Field(
        Approval.AUTOMATIC,
        description="`Manual`: a change of what runs waits until the annotation `ciliumhybrid.io/approve` holds "
        "`status.planDigest`. Default: Automatic",
    )
    rollout: Rollout = Field(Rollout(), description="How the agents move to a new configuration.")
    on_failure: OnFailure = Field(
        OnFailure.ROLLBACK,
        alias="onFailure",
        description="What is done where new agents fail in a gated rollout: `Rollback` to the last revision that all "
        "agents ran well on, or `Pause`. Default: Rollback",
    )


class Spec(_Model):
    """The Cilium that shall run on the hybrid nodes."""

    version: ChartVersion = Field(
        description="Version of the Cilium chart, X.Y.Z or X.Y.Z-N where N is the AWS build number."
    )
    chart: Chart = Field(Chart(), description="Where the Cilium chart comes from.")
    networks: Networks = Field(Networks(), description="The networks around the pods, which pod CIDRs keep clear of.")
    ipam: IPAM = Field(description="Cilium's cluster pool.")
    masquerade: bool = Field(
        True, description="Whether pods reach addresses outside the pool as their node. Default: true"
    )
    resources: Resources = Field(Resources(), description="Container resources of Cilium's workloads.")
    image_pull_secrets: Annotated[tuple[PullSecret, ...], Field(max_length=MAX_PULL_SECRETS)] = Field(
        (),
        alias="imagePullSecrets",
        description="Secrets that every image of Cilium and of its preflight is pulled with, as in a pod.",
        json_schema_extra=validations(*PULL_SECRETS_RULES),
    )
    registry_mirror: Annotated[str, StringConstraints(max_length=200, pattern=MIRROR_PATTERN)] | None = Field(
        None,
        alias="registryMirror",
        description="HOST[:PORT][/PATH] that takes the place of the registry's host in every image of Cilium and of "
        "its preflight; repositories, tags and digests stay.",
    )
    values: Annotated[dict[str, Any], preserve_unknown] = Field(
        {}, description="Any other value of the chart. Paths that the operator owns are refused by name."
    )
    allow_unsupported: bool = Field(
        False,
        alias="allowUnsupported",
        description="Lets through minor releases and values that AWS does not support on hybrid nodes; never those "
        "that the operator owns. Default: false",
    )
    upgrade: Upgrade = Field(Upgrade(), description="How changes are made.")
    deletion_policy: DeletionPolicy = Field(
        DeletionPolicy.RETAIN,
        alias="deletionPolicy",
        description="What deleting this resource does: `Retain` Cilium as it runs, or `Uninstall` it, as "
        "`helm uninstall` does. While `suspend` is set: `Retain`. Default: Retain",
    )
    suspend: bool = Field(False, description="The operator reports and changes nothing. Default: false")


SPEC_SCHEMA: Final = structural(Spec.model_json_schema(by_alias=True))


def parse_spec(spec: object) -> Spec:
    """Judge the shape of a spec as the API server does; pydantic.ValidationError names every fault."""
    return Spec.model_validate_json(json.dumps(without_nulls(spec, SPEC_SCHEMA)))


class CiliumHybrid(BaseModel):
    """Cilium on the hybrid nodes of this Amazon EKS cluster. There is one, named `default`."""

    model_config = ConfigDict(frozen=True, json_schema_extra=validations(*resource_rules(NAME)))

    spec: Spec = Field(description="The Cilium that shall run on the hybrid nodes.")
    status: Status | None = Field(None, description="What runs. Written by the operator alone.")
