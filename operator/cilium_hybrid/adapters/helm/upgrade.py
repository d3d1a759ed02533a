"""`helm upgrade --install`: what it would apply is captured, judged elsewhere, and then applied byte for byte.

Helm renders again when it applies, and `lookup`, `.Capabilities` or a random value may then give something else. A
post-renderer, `post_renderer.py`, replaces that by what was judged (docs/decisions/0029).
"""

import asyncio
import errno
import hashlib
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from pyhelm3 import Chart, Client
from pyhelm3.models import ChartMetadata

from cilium_hybrid.adapters.helm import bounded_yaml
from cilium_hybrid.adapters.helm.bounded_yaml import InvalidYAMLError
from cilium_hybrid.adapters.helm.command import HelmCommand, HelmError, dump_values
from cilium_hybrid.plan.release import NAMESPACE, RELEASE
from cilium_hybrid.ports import ClusterUnavailableError, FetchedChart, PortError, Rendered, StaleError

CHART_NAME: Final = "cilium"
_API_UNAVAILABLE: Final = re.compile(
    r"cluster unreachable|connection refused|connection reset|etcdserver|i/o timeout|TLS handshake timeout|"
    r"\bEOF\b|no route to host|server is currently unable|too many requests|context deadline exceeded",
    re.IGNORECASE,
)
_CHANGED_MEANWHILE: Final = re.compile(r"another operation|release: not found")
_MFD_NOEXEC_SEAL: Final = 8
_FILENAME: Final = "postrenderer.helm.sh/postrender-filename"
"""The annotation in which Helm remembers the template of an object while a post-renderer runs."""


async def render(
    command: HelmCommand, release: str, chart: FetchedChart, values: Mapping[str, Any]
) -> tuple[bytes, HelmError | None]:
    """Return the stream of objects, hooks included, that the next revision would consist of; HelmError.

    With it comes an error that Helm reported after it had rendered them.
    """
    # A preflight is only ever installed. Whatever exists of an earlier one is removed before.
    verb = ["upgrade", "--install", "--reset-values"] if release == RELEASE else ["install"]
    with memory_file() as (descriptor, path):
        options = ["--namespace", NAMESPACE, "--values", "-", "--skip-crds", "--dry-run=server", "--hide-secret"]
        arguments = [*verb, release, str(chart.path), *options, *_post_renderer("capture", path)]
        try:
            await command.execute(arguments, await asyncio.to_thread(dump_values, values))
        except HelmError as error:
            if content := _content(descriptor):
                return content, error
            raise
        return _content(descriptor), None


def parse(stream: bytes) -> list[Mapping[str, Any]]:
    """Return the objects in a stream, as they will be in the cluster; InvalidYAMLError."""
    found = [document for document in bounded_yaml.load_all(stream) if document]
    if not all(isinstance(document, Mapping) for document in found):
        raise InvalidYAMLError("contains something that is not an object")
    return [_without_filename(document) for document in found]


async def install(
    helm: Client,
    command: HelmCommand,
    release: str,
    chart: FetchedChart,
    values: Mapping[str, Any],
    rendered: Rendered,
    labels: Mapping[str, str],
) -> None:
    """Create the next revision of a release, with these labels, from exactly what was rendered.

    HelmError, HelmInterruptedError. Helm creates no revision if it cannot get that stream.
    """
    # Helm reads only the path of the chart from it.
    metadata = ChartMetadata(apiVersion="v2", name=CHART_NAME, version=chart.version)
    with memory_file(rendered.stream) as (_, path):
        post_renderer = _post_renderer("replace", path, hashlib.sha256(rendered.stream).hexdigest())
        with command.with_options(
            "--labels", ",".join(f"{key}={value}" for key, value in labels.items()), *post_renderer
        ):
            await helm.install_or_upgrade_release(
                release,
                Chart(command, ref=chart.path, metadata=metadata),
                dict(values),
                create_namespace=False,
                namespace=NAMESPACE,
                reset_values=True,
                skip_crds=True,
                # Fields that other managers changed are taken over, so that the cluster matches the release.
                server_side="true",
                force_conflicts=True,
            )


def classify_error(error: HelmError, default: PortError) -> PortError:
    """Return the error that Helm's message stands for: StaleError, ClusterUnavailableError or the `default`."""
    message = str(error)
    if _CHANGED_MEANWHILE.search(error.details):
        return StaleError(f"the release has changed meanwhile: {message}")
    if _API_UNAVAILABLE.search(error.details):
        return ClusterUnavailableError(f"Helm cannot reach the Kubernetes API: {message}")
    return default


def _post_renderer(*arguments: str) -> list[str]:
    return ["--post-renderer", "judged", *(f"--post-renderer-args={argument}" for argument in arguments)]


@contextmanager
def memory_file(content: bytes = b"") -> Iterator[tuple[int, str]]:
    """Return a file in memory and a path at which Helm's child opens it: private keys never reach a disk; HelmError."""
    try:
        descriptor = _create_memory_file()
    except OSError as error:
        raise HelmError(f"cannot create a file in memory: {error.strerror}") from None
    try:
        with os.fdopen(descriptor, "wb", closefd=False) as file:
            file.write(content)
        yield descriptor, f"/proc/{os.getpid()}/fd/{descriptor}"
    finally:
        os.close(descriptor)


def _create_memory_file() -> int:
    """Return the descriptor of a file that cannot be executed: a hardened kernel creates no other; OSError."""
    try:
        return os.memfd_create("rendered", os.MFD_CLOEXEC | _MFD_NOEXEC_SEAL)
    except OSError as error:
        # Before Linux 6.3.
        if error.errno != errno.EINVAL:
            raise
        return os.memfd_create("rendered")


def _content(descriptor: int) -> bytes:
    return os.pread(descriptor, os.fstat(descriptor).st_size, 0)


def _without_filename(manifest: Mapping[str, Any]) -> Mapping[str, Any]:
    metadata: Mapping[str, Any] = manifest.get("metadata") or {}
    annotations = {key: value for key, value in (metadata.get("annotations") or {}).items() if key != _FILENAME}
    others = {key: value for key, value in metadata.items() if key != "annotations"}
    return {**manifest, "metadata": {**others, "annotations": annotations} if annotations else others}
