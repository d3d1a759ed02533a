"""Compare live objects with the manifests of the release by a server-side dry run of each, which changes nothing.

The API server itself reports which field manager owns a field that differs
(https://kubernetes.io/docs/reference/using-api/server-side-apply/#conflicts).
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

from cilium_hybrid.adapters.kube.client import ApiError, KubeClient
from cilium_hybrid.adapters.kube.dry_run import FIELD_MANAGER, object_path
from cilium_hybrid.plan.observation import Difference
from cilium_hybrid.plan.release import NAMESPACE
from cilium_hybrid.rules.rendered.reading import flatten_lists, kind_and_name

_MANAGER: Final = re.compile(r'conflict with "([^"]*)"')


async def differences(client: KubeClient, manifests: Sequence[Mapping[str, Any]]) -> tuple[Difference, ...]:
    """Return the objects that differ, in the order of the manifests; ClusterUnavailableError, ApiError.

    ApiError: an object may not be read. Skipped are Secrets, which others may renew, objects of kinds that the chart
    does not use, and objects that a policy would reject now: that is checked before a change.
    """
    found = []
    for manifest in flatten_lists(manifests):
        path = object_path(manifest)
        if path is None or manifest.get("kind") == "Secret":
            continue
        name = kind_and_name({**manifest, "metadata": {"namespace": _namespace(path), **manifest["metadata"]}})
        try:
            live = await client.get(path)
        except ApiError as error:
            if error.status != HTTPStatus.NOT_FOUND:
                raise
            found.append(Difference(name))
            continue
        fields, managers = await _compare(client, path, manifest, live)
        if fields:
            found.append(Difference(name, fields, managers))
    return tuple(found)


async def _compare(
    client: KubeClient, path: str, manifest: Mapping[str, Any], live: Mapping[str, Any]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the fields that differ, and the field managers that own them if the API server reports a conflict."""
    try:
        applied = await client.apply(path, manifest, FIELD_MANAGER, dry_run=True, force=False)
    except ApiError as error:
        if error.status != HTTPStatus.CONFLICT:
            return (), ()
        conflicts = [cause for cause in error.causes if cause.get("reason") == "FieldManagerConflict"]
        managers = {match[1] for cause in conflicts if (match := _MANAGER.search(str(cause.get("message"))))}
        return tuple(str(cause.get("field")) for cause in conflicts), tuple(sorted(managers))
    if applied["metadata"].get("resourceVersion") != live["metadata"]["resourceVersion"]:
        # The object changed or was deleted between the two requests: the next comparison finds out how.
        return (), ()
    return tuple(changed_fields(manifest, live, applied)), ()


def changed_fields(released: Any, live: Any, applied: Any, path: str = "") -> Iterator[str]:
    """Return the paths of released fields whose live value would change if applied, in the API server's notation."""
    if isinstance(released, Mapping) and isinstance(live, Mapping) and isinstance(applied, Mapping):
        for key, value in released.items():
            yield from changed_fields(value, live.get(key), applied.get(key), f"{path}.{key}")
    elif _has_names(released) and _has_names(live) and _has_names(applied):
        live_items, applied_items = ({item["name"]: item for item in items} for items in (live, applied))
        for item in released:
            name = item["name"]
            at = f'{path}[name="{name}"]'
            yield from changed_fields(item, live_items.get(name), applied_items.get(name), at)
    # If nothing was released here, only Helm's own annotations may be present.
    elif released is not None and live != applied:
        yield path


def _has_names(value: Any) -> bool:
    """Return whether a value is a list whose items are identified by their names."""
    return (
        isinstance(value, list) and bool(value) and all(isinstance(item, Mapping) and "name" in item for item in value)
    )


def _namespace(path: str) -> str | None:
    return NAMESPACE if f"/namespaces/{NAMESPACE}/" in path else None
