"""Helm's storage: a Secret for each revision. Revisions are read from the labels, without the payload."""

import base64
import binascii
import gzip
import json
import zlib
from collections.abc import Mapping, Sequence
from typing import Any, Final

import yaml

from cilium_hybrid.adapters.kube.facts import parse_time
from cilium_hybrid.api.versions import CiliumVersion
from cilium_hybrid.plan.observation import PoolConfig, Revision

REVISION_LABEL: Final = "ciliumhybrid.io/revision"
CHART_VERSION_LABEL: Final = "ciliumhybrid.io/chart-version"
CHART_DIGEST_LABEL: Final = "ciliumhybrid.io/chart-digest"
VALUES_DIGEST_LABEL: Final = "ciliumhybrid.io/values-digest"
CHART_REF_LABEL: Final = "ciliumhybrid.io/chart-ref"
"""A digest of the reference, which may be longer than a label value."""
SPEC_DIGEST_LABEL: Final = "ciliumhybrid.io/spec-digest"
"""A digest of everything that the spec asks for. The revision may be an intermediate step of it."""
ROLLBACK_LABEL: Final = "ciliumhybrid.io/rollback"
"""`<number of the revision>.<number of the revision that it rolled back to>`"""

_BASE32_PADDING: Final = "===="


def revision_labels(revision: Revision) -> dict[str, str]:
    """Return the labels that mark a revision as managed by the operator.

    Helm copies labels to the revisions that others create later; the number in REVISION_LABEL tells them apart.
    """
    digests = {
        CHART_DIGEST_LABEL: revision.chart_digest,
        VALUES_DIGEST_LABEL: revision.values_digest,
        CHART_REF_LABEL: revision.ref_digest,
        SPEC_DIGEST_LABEL: revision.spec_digest,
    }
    known = {name: _encode_digest(digest) for name, digest in digests.items() if digest}
    return {REVISION_LABEL: str(revision.number), CHART_VERSION_LABEL: revision.chart_version, **known}


def revision(raw: Mapping[str, Any]) -> Revision | None:
    """Return the revision that the metadata of a Secret describes; None if it describes none."""
    metadata = raw["metadata"]
    labels = metadata.get("labels") or {}
    number = labels.get("version", "")
    if not number.isdigit():
        return None
    managed = labels.get(REVISION_LABEL) == number and _is_version(labels.get(CHART_VERSION_LABEL, ""))
    own = labels if managed else {}
    return Revision(
        number=int(number),
        status=labels.get("status", "unknown"),
        created_at=parse_time(metadata["creationTimestamp"]),
        managed=managed,
        chart_version=own.get(CHART_VERSION_LABEL, ""),
        chart_digest=_decode_digest(own.get(CHART_DIGEST_LABEL, "")),
        values_digest=_decode_digest(own.get(VALUES_DIGEST_LABEL, "")),
        ref_digest=_decode_digest(own.get(CHART_REF_LABEL, "")),
        spec_digest=_decode_digest(own.get(SPEC_DIGEST_LABEL, "")),
        rolled_back_to=_rolled_back_to(labels, number),
    )


def unlock(secret: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the Secret of a pending revision with the revision marked failed; None if it is not pending.

    After an interrupted operation Helm refuses every further one, and no Helm command clears that state.
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
    """Return the Secret of a rollback labelled as managed; None if it does not copy a managed revision's labels."""
    metadata = {key: value for key, value in secret["metadata"].items() if key != "managedFields"}
    labels = metadata.get("labels") or {}
    number, copied = labels.get("version", ""), labels.get(REVISION_LABEL, "")
    if not copied.isdigit() or copied == number:
        return None
    metadata["labels"] = {**labels, REVISION_LABEL: number, ROLLBACK_LABEL: f"{number}.{copied}"}
    return {**secret, "metadata": metadata}


def _rolled_back_to(labels: Mapping[str, str], number: str) -> int | None:
    """Return the revision that this one rolled back to: by the label that Helm copied, or by ROLLBACK_LABEL."""
    copied = labels.get(REVISION_LABEL, "")
    if copied == number:
        labelled, _, copied = labels.get(ROLLBACK_LABEL, "").partition(".")
        copied = copied if labelled == number else ""
    return int(copied) if copied.isdigit() else None


def secret_name(number: int) -> str:
    """Return the name of the Secret of a revision of release `cilium`."""
    return f"sh.helm.release.v1.cilium.v{number}"


def payload(secret: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return what Helm stored; None if it cannot be decoded."""
    try:
        return _decode(secret["data"]["release"])
    except (ValueError, KeyError, TypeError, OSError, EOFError, zlib.error):
        return None


def manifests(secret: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """Return the manifests of a revision; none if they cannot be decoded."""
    text = (payload(secret) or {}).get("manifest")
    try:
        return [found for found in yaml.load_all(text or "", Loader=yaml.CSafeLoader) if isinstance(found, Mapping)]
    except yaml.YAMLError:
        return []


def released_pool(secret: Mapping[str, Any]) -> PoolConfig | None:
    """Return the IPAM settings of a revision; None if they cannot be decoded or are not set."""
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


def _encode_digest(digest: str) -> str:
    """Return a sha256 digest in base32, which fits into the 63 characters of a label value; hexadecimal does not."""
    return base64.b32encode(bytes.fromhex(digest.removeprefix("sha256:"))).decode().rstrip("=").lower()


def _decode_digest(label: str) -> str:
    if not label:
        return ""
    try:
        return f"sha256:{base64.b32decode(label.upper() + _BASE32_PADDING).hex()}"
    except binascii.Error:
        return ""
