"""Every image from one registry: which repositories there are is known to the chart alone."""

from collections.abc import Mapping
from typing import Any, Final

from cilium_hybrid.plan.values import merged
from cilium_hybrid.rules.rendered.images import comes_from, mirrored

_NAMES: Final = ("override", "repository")
"""The keys by which a chart's values name an image; tag, digest and suffix are keys of their own."""


def with_mirror(values: Mapping[str, Any], defaults: Mapping[str, Any], mirror: str) -> dict[str, Any]:
    """The values, with every image that they or the chart's defaults name taken from the mirror.

    Nothing else is said: what is off stays off, and what a null took out of the defaults stays out.
    """
    return merged(values, _images(merged(defaults, values), mirror))


def named_from(values: Mapping[str, Any], mirror: str) -> bool:
    """Whether the values, such as those of a release, name an image at the mirror."""
    return any(
        named_from(value, mirror)
        if isinstance(value, Mapping)
        else isinstance(value, str) and comes_from(value, mirror)
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
            found[key] = mirrored(value, mirror)
    return found
