"""CiliumHybrid v1alpha1: what a user may write. The descriptions become the CRD's documentation."""

import json
from enum import StrEnum
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from cilium_hybrid.api.schema import preserve_unknown, validations
from cilium_hybrid.api.status import Status
from cilium_hybrid.api.versions import VERSION_PATTERN

GROUP: Final = "ciliumhybrid.io"
VERSION: Final = "v1alpha1"
KIND: Final = "CiliumHybrid"
PLURAL: Final = "ciliumhybrids"
SHORT_NAME: Final = "chy"
NAME: Final = "default"
FINALIZER: Final = "ciliumhybrid.io/finalizer"
DEFAULT_CHART: Final = "oci://public.ecr.aws/eks/cilium/cilium"
MAX_POD_CIDRS: Final = 15
MAX_CIDR_LENGTH: Final = 18

CHART_REF_PATTERN = r"^(oci://[A-Za-z0-9.-]+(:[0-9]{1,5})?(/[a-z0-9._-]+)+|/[^\x00-\x1f]*)$"
DIGEST_PATTERN = r"^sha256:[a-f0-9]{64}$"

PRIVATE = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10")
_IN_A_PRIVATE_NETWORK = " || ".join(f"cidr('{network}').containsCIDR(cidr(self))" for network in PRIVATE)

# An expression that fails is a refusal too, so each rule guards itself against what another rule refuses.
POD_CIDR_RULES = validations(
    ("isCIDR(self) && cidr(self).ip().family() == 4", "must be an IPv4 CIDR such as 10.85.0.0/16"),
    (
        "!isCIDR(self) || (cidr(self) == cidr(self).masked() && string(cidr(self)) == self)",
        "has bits set to the right of its prefix: write the first address of the network",
    ),
    (
        f"!isCIDR(self) || cidr(self).ip().family() != 4 || {_IN_A_PRIVATE_NETWORK}",
        "must lie in 10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16 or 100.64.0.0/10",
    ),
)
POD_CIDRS_RULES = validations(
    (
        (
            "!self.all(c, isCIDR(c)) || self.all(a, self.filter(b, "
            "cidr(a).containsCIDR(cidr(b)) || cidr(b).containsCIDR(cidr(a))).size() == 1)"
        ),
        "must not overlap one another: two nodes could be given the same block",
    ),
)
IPAM_RULES = validations(
    (
        "self.podCIDRs.all(c, !isCIDR(c) || cidr(c).prefixLength() <= self.maskSize)",
        "each pod CIDR must hold at least one block: its prefix may not be longer than maskSize",
    ),
)
_NOTHING_INSTALLED = "!has(oldSelf.status) || !has(oldSelf.status.release)"
RESOURCE_RULES = validations(
    (f"self.metadata.name == '{NAME}'", f"a cluster has one CNI: the only CiliumHybrid is named {NAME!r}"),
    (
        (
            f"{_NOTHING_INSTALLED} || oldSelf.spec.ipam.podCIDRs.all(c, "
            "self.spec.ipam.podCIDRs.indexOf(c) == oldSelf.spec.ipam.podCIDRs.indexOf(c))"
        ),
        "podCIDRs is append-only: existing entries stay, in order, because nodes hold blocks of them",
        ".spec.ipam.podCIDRs",
    ),
    (
        f"{_NOTHING_INSTALLED} || self.spec.ipam.maskSize == oldSelf.spec.ipam.maskSize",
        "maskSize cannot change: every node's block was cut to it",
        ".spec.ipam.maskSize",
    ),
)


class _Model(BaseModel):
    """Strict and closed: what the API server refuses is refused here too."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, populate_by_name=True)


PodCIDR = Annotated[str, StringConstraints(max_length=MAX_CIDR_LENGTH), Field(json_schema_extra=POD_CIDR_RULES)]


class Chart(_Model):
    """Where the Cilium chart comes from."""

    ref: Annotated[str, StringConstraints(max_length=512, pattern=CHART_REF_PATTERN)] = Field(
        DEFAULT_CHART,
        description="OCI reference without a tag, or the absolute path of a chart (folder or archive) that the "
        f"operator can read. Default: {DEFAULT_CHART}",
    )
    digest: Annotated[str, StringConstraints(pattern=DIGEST_PATTERN)] | None = Field(
        None, description="Digest of the chart of `version`; anything else that is served is refused."
    )


class IPAM(_Model):
    """Cilium's cluster pool."""

    model_config = ConfigDict(json_schema_extra=IPAM_RULES)

    pod_cidrs: Annotated[tuple[PodCIDR, ...], Field(min_length=1, max_length=MAX_POD_CIDRS)] = Field(
        alias="podCIDRs",
        description="Private IPv4 CIDRs that pods get addresses from. Append-only once Cilium is installed.",
        json_schema_extra=POD_CIDRS_RULES,
    )
    mask_size: Annotated[int, Field(ge=16, le=29)] = Field(
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


class DeletionPolicy(StrEnum):
    """What happens to Cilium when the resource is deleted."""

    RETAIN = "Retain"
    UNINSTALL = "Uninstall"


class Spec(_Model):
    """The Cilium that shall run on the hybrid nodes."""

    version: Annotated[str, StringConstraints(max_length=24, pattern=VERSION_PATTERN)] = Field(
        description="Version of the Cilium chart, X.Y.Z or X.Y.Z-N where N is the AWS build number."
    )
    chart: Chart = Field(Chart(), description="Where the Cilium chart comes from.")
    ipam: IPAM = Field(description="Cilium's cluster pool.")
    masquerade: bool = Field(
        True, description="Whether pods reach addresses outside the pool as their node. Default: true"
    )
    resources: Resources = Field(Resources(), description="Container resources of Cilium's workloads.")
    values: Annotated[dict[str, Any], preserve_unknown] = Field(
        {}, description="Any other value of the chart. Paths that the operator owns are refused by name."
    )
    deletion_policy: DeletionPolicy = Field(
        DeletionPolicy.RETAIN,
        alias="deletionPolicy",
        description="What deleting this resource does: `Retain` Cilium as it runs, or `Uninstall` it, as "
        "`helm uninstall` does. While `suspend` is set: `Retain`. Default: Retain",
    )
    suspend: bool = Field(False, description="The operator reports and changes nothing. Default: false")


def parse_spec(spec: object) -> Spec:
    """Judge the shape of a spec as the API server does; pydantic.ValidationError names every fault."""
    return Spec.model_validate_json(json.dumps(spec))


class CiliumHybrid(BaseModel):
    """Cilium on the hybrid nodes of this Amazon EKS cluster. There is one, named `default`."""

    model_config = ConfigDict(frozen=True, json_schema_extra=RESOURCE_RULES)

    spec: Spec = Field(description="The Cilium that shall run on the hybrid nodes.")
    status: Status | None = Field(None, description="What runs. Written by the operator alone.")
