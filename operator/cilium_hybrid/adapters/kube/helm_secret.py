"""Helm's own records: a Secret for each revision, read by its labels alone except to unlock it."""

import base64
import binascii
import gzip
import json
import zlib
from collections.abc import Mapping, Sequence
from typing import Any, Final

import yaml

from cilium_hybrid.adapters.kube.facts import moment
from cilium_hybrid.api.versions import CiliumVersion
from cilium_hybrid.plan.observation import PoolConfig, Revision

OUR_REVISION: Final = "ciliumhybrid.io/revision"
CHART_VERSION: Final = "ciliumhybrid.io/chart-version"
CHART_DIGEST: Final = "ciliumhybrid.io/chart-digest"
VALUES_DIGEST: Final = "ciliumhybrid.io/values-digest"
CHART_REF: Final = "ciliumhybrid.io/chart-ref"
"""A digest of it: a reference is longer than a label may be."""
SPEC_DIGEST: Final = "ciliumhybrid.io/spec-digest"
"""A digest of all that the spec asked for, which may be further on than this revision."""

ROLLBACK: Final = "ciliumhybrid.io/rollback"
"""Number of the revision, a dot, and the number of the one that it went back to."""

_BASE32_PADDING: Final = "===="


def labels_of(revision: Revision) -> dict[str, str]:
    """The labels by which the operator knows a revision as its own.

    Helm copies labels to the revisions that others make after it; the number in the first tells those apart.
    """
    digests = {
        CHART_DIGEST: revision.chart_digest,
        VALUES_DIGEST: revision.values_digest,
        CHART_REF: revision.ref_digest,
        SPEC_DIGEST: revision.spec_digest,
    }
    known = {name: _label(digest) for name, digest in digests.items() if digest}
    return {OUR_REVISION: str(revision.number), CHART_VERSION: revision.chart_version, **known}


def revision(raw: Mapping[str, Any]) -> Revision | None:
    """A revision from its Secret's metadata; None for what is not one."""
    metadata = raw["metadata"]
    labels = metadata.get("labels") or {}
    number = labels.get("version", "")
    if not number.isdigit():
        return None
    managed = labels.get(OUR_REVISION) == number and _is_version(labels.get(CHART_VERSION, ""))
    return Revision(
        number=int(number),
        status=labels.get("status", "unknown"),
        made_at=moment(metadata["creationTimestamp"]),
        managed=managed,
        chart_version=labels.get(CHART_VERSION, "") if managed else "",
        chart_digest=_digest(labels.get(CHART_DIGEST, "")) if managed else "",
        values_digest=_digest(labels.get(VALUES_DIGEST, "")) if managed else "",
        ref_digest=_digest(labels.get(CHART_REF, "")) if managed else "",
        spec_digest=_digest(labels.get(SPEC_DIGEST, "")) if managed else "",
        copies=_copies(labels, number),
    )


def unlocked(secret: Mapping[str, Any]) -> dict[str, Any] | None:
    """The Secret of a pending revision with the revision marked failed; None where it is not pending.

    Helm refuses to go on after an interrupted call, and its command line cannot clear that state.
    """
    release = _decode(secret["data"]["release"])
    status = release["info"]["status"]
    if not (status.startswith("pending") or status == "uninstalling"):
        return None
    release["info"] |= {"status": "failed", "description": f"interrupted while {status}"}
    release["info"].pop("deleted", None)
    metadata = {key: value for key, value in secret["metadata"].items() if key != "managedFields"}
    metadata["labels"] = {**metadata["labels"], "status": "failed"}
    return {**secret, "metadata": metadata, "data": {"release": _encode(release)}}


def label_rollback(secret: Mapping[str, Any]) -> dict[str, Any] | None:
    """The Secret of a revision with the operator's label for it; None where it copies none of the operator's."""
    metadata = {key: value for key, value in secret["metadata"].items() if key != "managedFields"}
    labels = metadata.get("labels") or {}
    number, copied = labels.get("version", ""), labels.get(OUR_REVISION, "")
    if not copied.isdigit() or copied == number:
        return None
    metadata["labels"] = {**labels, OUR_REVISION: number, ROLLBACK: f"{number}.{copied}"}
    return {**secret, "metadata": metadata}


def _copies(labels: Mapping[str, str], number: str) -> int | None:
    """The revision that this one went back to: as Helm copied its label, or as it was claimed."""
    copied = labels.get(OUR_REVISION, "")
    if copied == number:
        own, _, copied = labels.get(ROLLBACK, "").partition(".")
        copied = copied if own == number else ""
    return int(copied) if copied.isdigit() else None


def secret_name(number: int) -> str:
    """The name of the Secret of a revision of release `cilium`."""
    return f"sh.helm.release.v1.cilium.v{number}"


def payload(secret: Mapping[str, Any]) -> dict[str, Any] | None:
    """What Helm recorded; None where it cannot be read."""
    try:
        return _decode(secret["data"]["release"])
    except (ValueError, KeyError, TypeError, OSError, EOFError, zlib.error):
        return None


def manifests(secret: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """The objects that a revision was made of; none where it cannot be read."""
    text = (payload(secret) or {}).get("manifest")
    try:
        return [found for found in yaml.load_all(text or "", Loader=yaml.CSafeLoader) if isinstance(found, Mapping)]
    except yaml.YAMLError:
        return []


def released_pool(secret: Mapping[str, Any]) -> PoolConfig | None:
    """The IPAM facts that a revision was released with; None where it cannot be read, or does not say."""
    try:
        ipam = (payload(secret) or {})["config"]["ipam"]["operator"]
        cidrs, mask = ipam["clusterPoolIPv4PodCIDRList"], ipam.get("clusterPoolIPv4MaskSize")
    except (KeyError, TypeError):
        return None
    return PoolConfig(tuple(map(str, cidrs if isinstance(cidrs, list) else [cidrs])), mask)


def _decode(payload: str) -> dict[str, Any]:
    packed = base64.b64decode(base64.b64decode(payload))
    release: dict[str, Any] = json.loads(gzip.decompress(packed))
    return release


def _encode(release: Mapping[str, Any]) -> str:
    packed = gzip.compress(json.dumps(release, separators=(",", ":")).encode(), mtime=0)
    return base64.b64encode(base64.b64encode(packed)).decode()


def _is_version(text: str) -> bool:
    try:
        CiliumVersion.parse(text)
    except ValueError:
        return False
    return True


def _label(digest: str) -> str:
    """A sha256 digest in the 52 letters and digits that a label has room for; in hexadecimal it has not."""
    return base64.b32encode(bytes.fromhex(digest.removeprefix("sha256:"))).decode().rstrip("=").lower()


def _digest(label: str) -> str:
    if not label:
        return ""
    try:
        return f"sha256:{base64.b32decode(label.upper() + _BASE32_PADDING).hex()}"
    except binascii.Error:
        return ""
