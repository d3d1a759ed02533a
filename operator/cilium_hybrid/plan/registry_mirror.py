"""The registry mirror: the values that take every image of the chart from it."""

from collections.abc import Mapping
from typing import Any, Final

from cilium_hybrid.plan.values import merged
from cilium_hybrid.rules.rendered.images import is_at_mirror, mirrored_image

_NAMES: Final = ("override", "repository")
"""The keys of a chart's values that name an image; tag, digest and suffix are other keys."""


def with_mirror(values: Mapping[str, Any], defaults: Mapping[str, Any], mirror: str) -> dict[str, Any]:
    """Return the values with every image that they or the chart's defaults name taken from the mirror.

    Nothing else changes: what is disabled stays disabled, and a default that a null removes stays removed.
    """
    return merged(values, _images(merged(defaults, values), mirror))


def uses_mirror(values: Mapping[str, Any], mirror: str) -> bool:
    """Whether the values, such as those of a release, name an image in the mirror."""
    return any(
        uses_mirror(value, mirror)
        if isinstance(value, Mapping)
        else isinstance(value, str) and is_at_mirror(value, mirror)
        for value in values.values()
    )


def _images(values: Mapping[str, Any], mirror: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            inner = _images(value, mirror)
            if inner:
                found[key] = inner
        elif key in _NAMES and "repository" in values and isinstance(value, str) and value:
            found[key] = mirrored_image(value, mirror)
    return found
