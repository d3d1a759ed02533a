"""Helm's storage: a Secret for each revision. Revisions are read from the metadata, without the payload."""

import base64
import binascii
import gzip
import json
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Literal

import yaml

from cilium_hybrid.adapters.kube.facts import mask_size, parse_time
from cilium_hybrid.api.versions import CiliumVersion
from cilium_hybrid.plan.observation import PoolConfig, ReleasePayload, Revision
from cilium_hybrid.plan.values import CONFIG_DIGEST

REVISION_LABEL: Final = "ciliumhybrid.io/revision"
CHART_VERSION_LABEL: Final = "ciliumhybrid.io/chart-version"
CHART_DIGEST_LABEL: Final = "ciliumhybrid.io/chart-digest"
VALUES_DIGEST_LABEL: Final = "ciliumhybrid.io/values-digest"
CHART_REF_LABEL: Final = "ciliumhybrid.io/chart-ref"
"""A digest of the reference, which may be longer than a label value."""
SPEC_DIGEST_LABEL: Final = "ciliumhybrid.io/spec-digest"
"""The digest of the revision's own release: chart and values."""
ROLLBACK_LABEL: Final = "ciliumhybrid.io/rollback"
"""`<number of the revision>.<number of the revision that it rolled back to>`"""
VERIFIED_LABEL: Final = "ciliumhybrid.io/verified"
REJECTED_LABEL: Final = "ciliumhybrid.io/rejected"
"""The number of the revision, for this mark and for the one above."""
VERIFIED_SECRET: Final = "cilium-hybrid-verified"  # noqa: S105 # a name
"""The Secret with a copy of the last verified revision, which Helm would delete after ten further revisions."""

Mark = Literal["verified", "rejected"]

_MAX_PAYLOAD_BYTES: Final = 32 * 2**20
"""Of the decompressed payload. That of Cilium's own chart has 2 MB."""
_GZIP: Final = 16 + zlib.MAX_WBITS
_OWN_LABELS: Final = "ciliumhybrid.io/"
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
    own = {REVISION_LABEL: str(revision.number), CHART_VERSION_LABEL: revision.chart_version, **known}
    if revision.rolled_back_to is not None:
        own[ROLLBACK_LABEL] = f"{revision.number}.{revision.rolled_back_to}"
    return own


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
        rolled_back_to=_rolled_back_to(own, number),
        verified=own.get(VERIFIED_LABEL) == number,
        rejected=own.get(REJECTED_LABEL) == number,
        changed=metadata.get("resourceVersion", ""),
        manager=_manager(metadata),
    )


def unlock(secret: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the Secret of a pending revision with the revision marked failed; None if it is not pending.

    After an interrupted operation Helm refuses every further one, and no Helm command clears that state.
    """
    release = payload(secret)
    status = str(_info(release).get("status", ""))
    if release is None or not (status.startswith("pending") or status == "uninstalling"):
        return None
    release["info"] |= {"status": "failed", "description": f"interrupted while {status}"}
    release["info"].pop("deleted", None)
    metadata = {key: value for key, value in secret["metadata"].items() if key != "managedFields"}
    metadata["labels"] = {**metadata["labels"], "status": "failed"}
    return {**secret, "metadata": metadata, "data": {"release": _encode(release)}}


def _info(release: Mapping[str, Any] | None) -> Mapping[str, Any]:
    info = (release or {}).get("info")
    return info if isinstance(info, dict) else {}


def mark(secret: Mapping[str, Any], verdict: Mark) -> dict[str, Any] | None:
    """Return the Secret of a revision with a mark; None if the operator did not make the revision."""
    found = revision(secret)
    if found is None or not found.managed:
        return None
    metadata = {key: value for key, value in secret["metadata"].items() if key != "managedFields"}
    label, other = (VERIFIED_LABEL, REJECTED_LABEL) if verdict == "verified" else (REJECTED_LABEL, VERIFIED_LABEL)
    kept = {name: value for name, value in metadata["labels"].items() if name != other}
    metadata["labels"] = {**kept, label: str(found.number)}
    return {**secret, "metadata": metadata}


def verified_copy(secret: Mapping[str, Any], namespace: str) -> dict[str, Any]:
    """Return Secret VERIFIED_SECRET for a revision. Without Helm's labels, Helm does not take it for a revision."""
    labels = {name: value for name, value in secret["metadata"]["labels"].items() if name.startswith(_OWN_LABELS)}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": VERIFIED_SECRET, "namespace": namespace, "labels": labels},
        "type": "ciliumhybrid.io/release",
        "data": {"release": secret["data"]["release"]},
    }


def copied_revision(secret: Mapping[str, Any]) -> int | None:
    """Return the number of the revision in Secret VERIFIED_SECRET."""
    number = (secret["metadata"].get("labels") or {}).get(REVISION_LABEL, "")
    return int(number) if number.isdigit() else None


def first_deployed(secret: Mapping[str, Any]) -> str:
    """Return when the release was installed, which identifies the installation; empty if it cannot be decoded."""
    return str(_info(payload(secret)).get("first_deployed", ""))


def chart_digest(secret: Mapping[str, Any]) -> str:
    """Return the digest of the chart of a revision or of its copy, empty if it is unknown."""
    return _decode_digest((secret["metadata"].get("labels") or {}).get(CHART_DIGEST_LABEL, ""))


def _rolled_back_to(own: Mapping[str, str], number: str) -> int | None:
    """Return the revision that a revision of the operator's restored."""
    labelled, _, to = own.get(ROLLBACK_LABEL, "").partition(".")
    return int(to) if labelled == number and to.isdigit() else None


def _manager(metadata: Mapping[str, Any]) -> str:
    """Return the field manager that wrote the payload, such as Helm; empty if it is unknown."""
    entries = metadata.get("managedFields") or []
    return next((str(entry.get("manager", "")) for entry in entries if "f:data" in (entry.get("fieldsV1") or {})), "")


def secret_name(number: int) -> str:
    """Return the name of the Secret of a revision of release `cilium`."""
    return f"sh.helm.release.v1.cilium.v{number}"


def payload(secret: Mapping[str, Any], parse_float: Callable[[str], Any] = float) -> dict[str, Any] | None:
    """Return what Helm stored; None if it cannot be decoded."""
    try:
        found = _decode(secret["data"]["release"], parse_float)
    except (ValueError, KeyError, TypeError, RecursionError, zlib.error):
        return None
    return found if isinstance(found, dict) else None


def release_payload(secret: Mapping[str, Any]) -> ReleasePayload:
    """Return what decisions need of what Helm stored."""
    found = payload(secret)
    if found is None:
        return ReleasePayload(readable=False)
    chart, config = found.get("chart"), found.get("config")
    metadata = chart.get("metadata") if isinstance(chart, dict) else None
    version = metadata.get("version") if isinstance(metadata, dict) else None
    initial = config.get("upgradeCompatibility") if isinstance(config, dict) else None
    annotations = config.get("podAnnotations") if isinstance(config, dict) else None
    config_digest = annotations.get(CONFIG_DIGEST) if isinstance(annotations, dict) else None
    return ReleasePayload(
        chart_version=str(version or ""),
        initial_series=None if initial in {None, ""} else str(initial),
        pool=_pool(found),
        config_digest=config_digest if isinstance(config_digest, str) else None,
    )


def manifests(secret: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """Return the manifests of a revision; none if they cannot be decoded."""
    text = (payload(secret) or {}).get("manifest")
    try:
        return [found for found in yaml.load_all(text or "", Loader=yaml.CSafeLoader) if isinstance(found, Mapping)]
    except yaml.YAMLError:
        return []


def _pool(release: Mapping[str, Any]) -> PoolConfig | None:
    try:
        ipam = release["config"]["ipam"]["operator"]
        cidrs, mask = ipam["clusterPoolIPv4PodCIDRList"], ipam.get("clusterPoolIPv4MaskSize")
    except (KeyError, TypeError):
        return None
    found = cidrs if isinstance(cidrs, list) else [cidrs]
    return PoolConfig(tuple(map(str, found)), mask_size(mask))


def _decode(payload: str, parse_float: Callable[[str], Any] = float) -> Any:
    """Return the decoded payload; ValueError, TypeError, RecursionError, zlib.error."""
    packed = base64.b64decode(base64.b64decode(payload))
    # Bounded, because a megabyte may hold a gigabyte.
    unpacker = zlib.decompressobj(wbits=_GZIP)
    unpacked = unpacker.decompress(packed, _MAX_PAYLOAD_BYTES)
    if not unpacker.eof:
        raise ValueError("the payload is truncated or too large")
    return json.loads(unpacked, parse_float=parse_float)


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
