"""Images from a registry mirror: the name of an image at the mirror, and the rule that all images are from it."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from cilium_hybrid.api.conditions import Reason
from cilium_hybrid.rules.rendered.reading import Manifest, kind_and_name, mapping_at, mappings_in, pod_specs
from cilium_hybrid.rules.rule import Rule, Violation
from cilium_hybrid.rules.text import format_value

_CONTAINERS: Final = ("initContainers", "containers", "ephemeralContainers")
_LIBRARY: Final = "library"
"""The repository of Docker Hub for images without a path."""


def mirrored_image(image: str, mirror: str) -> str:
    """Return the image with its registry host replaced by the mirror; an image from the mirror stays as it is."""
    if is_at_mirror(image, mirror):
        return image
    host, slash, path = image.partition("/")
    if not slash:
        return f"{mirror}/{_LIBRARY}/{image}"
    # Container runtimes treat a first part without a dot or a port as a path on Docker Hub.
    is_host = "." in host or ":" in host or host == "localhost"
    return f"{mirror}/{path if is_host else image}"


def is_at_mirror(image: str, mirror: str) -> bool:
    """Whether an image is from the mirror, and not from a name that only starts with the same characters."""
    return image.startswith(f"{mirror}/")


def images_are_from_mirror(mirror: str) -> Rule[Sequence[Manifest]]:
    """Return the rule that all images are from the mirror, so that no node fails to pull one later."""

    def validate(manifests: Sequence[Manifest]) -> Iterator[Violation]:
        for manifest, pod in pod_specs(manifests):
            for image in dict.fromkeys(_images(pod)):
                if not (isinstance(image, str) and is_at_mirror(image, mirror)):
                    yield Violation(
                        Reason.RENDER_REFUSED,
                        kind_and_name(manifest),
                        f"has image {_without_digest(image)}, which is not from spec.registryMirror {mirror}",
                        "set its name at the mirror in spec.values, or remove the value that adds it",
                    )

    return validate


def _without_digest(image: object) -> str:
    # With the digest, format_value would cut the name.
    return format_value(image.partition("@")[0] if isinstance(image, str) else image)


def _images(pod: Mapping[str, Any]) -> Iterator[object]:
    for kind in _CONTAINERS:
        for container in mappings_in(pod.get(kind)):
            yield container.get("image")
    for volume in mappings_in(pod.get("volumes")):
        if "image" in volume:
            yield mapping_at(volume, ("image",)).get("reference")
