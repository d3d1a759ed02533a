"""The record as it is stored in ConfigMap `cilium-hybrid-applied`."""

import base64
import gzip
import io
import json
import math
import re
import zlib
from collections.abc import Mapping
from dataclasses import MISSING, fields
from ipaddress import IPv4Network
from typing import Any, Final, TypeVar, get_args, get_origin, get_type_hints
from uuid import uuid4

from cilium_hybrid.adapters.kube.client import FIELD_MANAGER, KubeClient
from cilium_hybrid.adapters.kube.facts import mask_size
from cilium_hybrid.api.v1alpha1 import GROUP
from cilium_hybrid.api.versions import CiliumVersion
from cilium_hybrid.plan.record import Record, Rejected, RolloutRecord
from cilium_hybrid.plan.release import NAMESPACE

Raw = Mapping[str, Any]
Value = TypeVar("Value")

PLAIN_LIMIT: Final = 512 * 1024
"""In characters. A longer rollout, of thousands of nodes at once, is compressed: a ConfigMap holds at most 1 MiB."""
_GZIP: Final = "gzip:"
_DECODE_LIMIT: Final = 64 * 1024 * 1024
_FALSE: Final = "false"
_WRITE: Final = f"{GROUP}/write"
"""The annotation that identifies a write."""
_LABELS: Final = {"app.kubernetes.io/managed-by": "cilium-hybrid-operator"}


def record(raw: Raw) -> tuple[Record | None, str]:
    """Return the record and the resourceVersion of its ConfigMap.

    The record is None if what decisions cannot do without is missing or unreadable: the newest revision, the initial
    version or the IPAM facts. Other fields that are unreadable are dropped.
    """
    version = str(raw["metadata"].get("resourceVersion", ""))
    try:
        return _parse(raw.get("data") or {}, version), version
    except (KeyError, ValueError, TypeError, AttributeError):
        return None, version


def _parse(data: Mapping[str, str], version: str) -> Record:
    initial, mask = data.get("initialVersion"), data.get("maskSize")
    size = None if mask is None else mask_size(mask)
    revision = _number(data["revision"])
    if revision is None or (mask is not None and size is None):
        raise ValueError(mask)
    pod_cidrs = tuple(data.get("podCIDRs", "").split())
    for cidr in pod_cidrs:
        IPv4Network(cidr, strict=False)
    return Record(
        initial_version=None if initial is None else str(CiliumVersion.parse(initial)),
        pod_cidrs=pod_cidrs,
        mask_size=size,
        revision=revision,
        chart_ref=data.get("chartRef", ""),
        chart_version=data.get("chartVersion", ""),
        verified=_number(data.get("verifiedRevision")),
        verified_version=data.get("verifiedVersion", ""),
        rejected=_object(Rejected, data.get("rejected")),
        rollout=_object(RolloutRecord, data.get("rollout")),
        unlocked=_number(data.get("unlocked")),
        resumed=_number(data.get("resumed")),
        handled=data.get("handled", ""),
        rebuilt=data.get("rebuilt", _FALSE) != _FALSE,
        suspects_due=data.get("suspectsDue", _FALSE) != _FALSE,
        resource_version=version,
    )


def record_data(record: Record) -> dict[str, str]:
    """Return the data of the record's ConfigMap, without the keys of absent values. Times are in whole seconds."""
    values = {
        "initialVersion": record.initial_version,
        "podCIDRs": " ".join(record.pod_cidrs) or None,
        "maskSize": record.mask_size,
        "revision": record.revision,
        "chartRef": record.chart_ref or None,
        "chartVersion": record.chart_version or None,
        "verifiedRevision": record.verified,
        "verifiedVersion": record.verified_version or None,
        "rejected": None if record.rejected is None else _dump(record.rejected),
        "rollout": None if record.rollout is None else _compressed(_dump(record.rollout)),
        "unlocked": record.unlocked,
        "resumed": record.resumed,
        "handled": record.handled or None,
        "rebuilt": "true" if record.rebuilt else None,
        "suspectsDue": "true" if record.suspects_due else None,
    }
    return {key: str(value) for key, value in values.items() if value is not None}


async def store(client: KubeClient, path: str, record: Record, version: str) -> None:
    """Replace the record in the ConfigMap at `path`, which must still have this resourceVersion; empty to create it.

    409 ApiError if it was changed or created meanwhile, 404 if it was deleted; ClusterUnavailableError.
    """
    name, write = path.rpartition("/")[2], str(uuid4())
    metadata = {"name": name, "namespace": NAMESPACE, "labels": _LABELS, "annotations": {_WRITE: write}}
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": record_data(record)}
    if version:
        await client.put(path, body | {"metadata": metadata | {"resourceVersion": version}})
    else:
        # RBAC can limit a create to one name only if it is a patch. Without force, a patch conflicts with a ConfigMap
        # that exists: its annotation has another value, which belongs to another field manager.
        await client.apply(path, body, f"{FIELD_MANAGER}-{write}", force=False)


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and re.fullmatch(r"[0-9]{1,9}", text) else None


def _object(kind: type[Value], text: str | None) -> Value | None:
    """Parse an optional object; None if it cannot be read, as if another version of the operator wrote it."""
    try:
        return None if text is None else _decode(kind, json.loads(_decompressed(text)))
    except (
        KeyError,
        ValueError,
        TypeError,
        AttributeError,
        OverflowError,
        RecursionError,
        OSError,
        EOFError,
        zlib.error,
    ):
        return None


def _dump(value: object) -> str:
    return json.dumps(_encode(value), separators=(",", ":"), ensure_ascii=False)


def _encode(value: Any) -> Any:
    """Return a dataclass as JSON, without the fields that have their default, and with numbers as integers."""
    if isinstance(value, Mapping):
        return {key: _encode(item) for key, item in value.items()}
    if isinstance(value, tuple):
        return list(value)
    if isinstance(value, float):
        return int(value)
    if value is None or isinstance(value, str | int):
        return value
    present = ((field, getattr(value, field.name)) for field in fields(value))
    return {_key(field.name): _encode(item) for field, item in present if item != _default(field)}


def _default(field: Any) -> Any:
    return field.default if field.default_factory is MISSING else field.default_factory()


def _decode(kind: Any, value: Any) -> Any:
    """Return the dataclass or the part of one that `_encode` made; ValueError, TypeError or KeyError for others."""
    origin, args = get_origin(kind), get_args(kind)
    if origin is tuple:
        return tuple(_decode(args[0], item) for item in _instance(value, list))
    if origin is not None and issubclass(origin, Mapping):
        return {key: _decode(args[1], item) for key, item in _instance(value, dict).items()}
    if type(None) in args:
        return None if value is None else _decode(args[0], value)
    if kind is bool or kind is str:
        return _instance(value, kind)
    if kind is int or kind is float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise TypeError(f"{value!r} is not a number")
        return kind(value)
    hints, found = get_type_hints(kind), _instance(value, dict)
    names = {field.name: _key(field.name) for field in fields(kind)}
    return kind(**{name: _decode(hints[name], found[key]) for name, key in names.items() if key in found})


def _instance(value: Any, kind: Any) -> Any:
    if not isinstance(value, kind):
        raise TypeError(f"{value!r} is not a {kind.__name__}")
    return value


def _key(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(part.capitalize() for part in others)


def _compressed(text: str) -> str:
    if len(text) <= PLAIN_LIMIT:
        return text
    return _GZIP + base64.b64encode(gzip.compress(text.encode(), mtime=0)).decode()


def _decompressed(text: str) -> str:
    if not text.startswith(_GZIP):
        return text
    with gzip.GzipFile(fileobj=io.BytesIO(base64.b64decode(text.removeprefix(_GZIP)))) as stream:
        return stream.read(_DECODE_LIMIT).decode()
