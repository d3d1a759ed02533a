"""How the objects of a release differ from what was released, by a server-side dry run of each: nothing is changed.

Who owns a field that differs is the API server's own answer
(https://kubernetes.io/docs/reference/using-api/server-side-apply/#conflicts).
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from cilium_hybrid.adapters.kube.client import ApiError, KubeClient
from cilium_hybrid.adapters.kube.dry_run import FIELD_MANAGER, path_of
from cilium_hybrid.adapters.kube.informer import CONFLICT, NOT_FOUND
from cilium_hybrid.plan.observation import Difference
from cilium_hybrid.plan.release import NAMESPACE
from cilium_hybrid.rules.rendered.reading import one_by_one, title

_CONFLICT: Final = re.compile(r'conflict with "([^"]*)"')


async def differences(client: KubeClient, manifests: Sequence[Mapping[str, Any]]) -> tuple[Difference, ...]:
    """Every object that differs, in the order of the manifests; ClusterUnavailableError, ApiError where one is hidden.

    A Secret is left out, for others may renew it; and so is a kind that the operator does not know, and what a policy
    would not take: whether it does is asked before a change.
    """
    found = []
    for manifest in one_by_one(manifests):
        path = path_of(manifest)
        if path is None or manifest.get("kind") == "Secret":
            continue
        told = title({**manifest, "metadata": {"namespace": _namespace(path), **manifest["metadata"]}})
        try:
            live = await client.get(path)
        except ApiError as error:
            if error.status != NOT_FOUND:
                raise
            found.append(Difference(told))
            continue
        fields, managers = await _differ(client, path, manifest, live)
        if fields:
            found.append(Difference(told, fields, managers))
    return tuple(found)


async def _differ(
    client: KubeClient, path: str, manifest: Mapping[str, Any], live: Mapping[str, Any]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The fields that differ and who wrote them."""
    try:
        would_be = await client.apply(path, manifest, FIELD_MANAGER, dry_run=True, force=False)
    except ApiError as error:
        if error.status != CONFLICT:
            return (), ()
        conflicts = [cause for cause in error.causes if cause.get("reason") == "FieldManagerConflict"]
        managers = {match[1] for cause in conflicts if (match := _CONFLICT.search(str(cause.get("message"))))}
        return tuple(str(cause.get("field")) for cause in conflicts), tuple(sorted(managers))
    if would_be["metadata"].get("resourceVersion") != live["metadata"]["resourceVersion"]:
        # It was changed or deleted between the two looks; what that was is seen at the next.
        return (), ()
    return tuple(unlike(manifest, live, would_be)), ()


def unlike(released: Any, live: Any, would_be: Any, at: str = "") -> Iterator[str]:
    """The paths of what was released at which what is there is not what it would be, written as the API server does."""
    if isinstance(released, Mapping) and isinstance(live, Mapping) and isinstance(would_be, Mapping):
        for key, value in released.items():
            yield from unlike(value, live.get(key), would_be.get(key), f"{at}.{key}")
    elif _named(released) and _named(live) and _named(would_be):
        there, due = ({item["name"]: item for item in items} for items in (live, would_be))
        for item in released:
            name = item["name"]
            yield from unlike(item, there.get(name), due.get(name), f'{at}[name="{name}"]')
    # Where nothing was released, Helm's own annotations may be all that is there.
    elif released is not None and live != would_be:
        yield at


def _named(value: Any) -> bool:
    """Whether it is a list whose items are told apart by their names."""
    return (
        isinstance(value, list) and bool(value) and all(isinstance(item, Mapping) and "name" in item for item in value)
    )


def _namespace(path: str) -> str | None:
    return NAMESPACE if f"/namespaces/{NAMESPACE}/" in path else None
