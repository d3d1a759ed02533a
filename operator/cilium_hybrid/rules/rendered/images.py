"""Where images come from: what a mirror makes of a name, and that nothing comes from elsewhere."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from cilium_hybrid.api.conditions import Reason
from cilium_hybrid.rules.lenient_spec import LenientSpec
from cilium_hybrid.rules.rendered.reading import Manifest, dig, maps, pods, title
from cilium_hybrid.rules.rule import Rule, Violation
from cilium_hybrid.rules.schema_errors import shown

_CONTAINERS: Final = ("initContainers", "containers", "ephemeralContainers")
_LIBRARY: Final = "library"
"""Where Docker Hub keeps the images that are named by one word."""


def mirrored(image: str, mirror: str) -> str:
    """The image at the mirror: its own host gives way, the path stays; what is at the mirror already stays whole."""
    if comes_from(image, mirror):
        return image
    host, slash, path = image.partition("/")
    if not slash:
        return f"{mirror}/{_LIBRARY}/{image}"
    # As container runtimes read it: a first word without a dot or a port is a path on Docker Hub.
    is_host = "." in host or ":" in host or host == "localhost"
    return f"{mirror}/{path if is_host else image}"


def comes_from(image: str, mirror: str) -> bool:
    """Whether an image lies at the mirror, and not beside it under a name that begins the same."""
    return image.startswith(f"{mirror}/")


def images_come_from(mirror: str) -> Rule[Sequence[Manifest]]:
    """The rule that every image of every pod lies at the mirror: nobody shall learn it from a node that cannot pull."""

    def validate(manifests: Sequence[Manifest]) -> Iterator[Violation]:
        for manifest, pod in pods(manifests):
            for image in dict.fromkeys(_images(pod)):
                if not (isinstance(image, str) and comes_from(image, mirror)):
                    yield Violation(
                        Reason.RENDER_REFUSED,
                        title(manifest),
                        f"has image {_named(image)}, which is not from spec.registryMirror {mirror}",
                        "name it in spec.values as it is called at the mirror, or take out what adds it",
                    )

    return validate


def _named(image: object) -> str:
    # Without its digest: the sum says nothing to a person, and the name would be cut for it.
    return shown(image.partition("@")[0] if isinstance(image, str) else image)


def _images(pod: Mapping[str, Any]) -> Iterator[object]:
    for kind in _CONTAINERS:
        for container in maps(pod.get(kind)):
            yield container.get("image")
    for volume in maps(pod.get("volumes")):
        if "image" in volume:
            yield dig(volume, ("image",)).get("reference")


def pull_secrets_are_in_one_place(spec: LenientSpec) -> Iterator[Violation]:
    """Two lists would be two answers to one question."""
    if spec.pull_secrets and "imagePullSecrets" in spec.values:
        yield Violation(
            Reason.INVALID_VALUES,
            "spec.values.imagePullSecrets",
            "is written beside spec.imagePullSecrets",
            "take it out, and name every Secret in spec.imagePullSecrets",
        )


def no_pull_secret_is_named_twice(spec: LenientSpec) -> Iterator[Violation]:
    """The API server refuses such a pod where it is applied by its server."""
    for name in dict.fromkeys(spec.pull_secrets):
        if spec.pull_secrets.count(name) > 1:
            yield Violation(
                Reason.INVALID_SPEC,
                "spec.imagePullSecrets",
                f"names Secret {shown(name)} {spec.pull_secrets.count(name)} times",
                "name it once",
            )


IMAGE_RULES: Final[tuple[Rule[LenientSpec], ...]] = (pull_secrets_are_in_one_place, no_pull_secret_is_named_twice)
