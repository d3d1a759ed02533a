"""Settings of `cilium-hybrid run`, read once from the environment with the prefix CILIUM_HYBRID_."""

import os
import re
import shutil
import socket
import tempfile
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

PREFIX: Final = "CILIUM_HYBRID_"
LOG_FORMATS: Final = ("json", "text")
DEFAULT_NAMESPACE: Final = "cilium-hybrid-system"
_NAMESPACE_FILE: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
_UNITS: Final = {"s": 1.0, "m": 60.0, "h": 3600.0}


class SettingsError(Exception):
    """A setting is missing or invalid; the message names it."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Settings of the operator process."""

    helm: Path
    cache: Path
    resync_seconds: float
    log_format: str
    kubeconfig: str | None
    namespace: str
    identity: str
    leader_election: bool
    metrics_host: str
    metrics_port: int
    chart_registries: tuple[str, ...]
    node_name: str | None

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Self:
        """Read and validate every setting; raise SettingsError for the first that is invalid."""
        helm = shutil.which(environment.get(PREFIX + "HELM", "helm"), path=environment.get("PATH"))
        if helm is None:
            raise SettingsError(f"Helm not found; install Helm 4 on PATH, or set {PREFIX}HELM to its path")
        log_format = environment.get(PREFIX + "LOG_FORMAT", "json")
        if log_format not in LOG_FORMATS:
            raise _invalid("LOG_FORMAT", log_format, f"must be {' or '.join(LOG_FORMATS)}")
        host, port = _address(environment.get(PREFIX + "METRICS_ADDR", "0.0.0.0:9947"))
        default_cache = Path(tempfile.gettempdir()) / "cilium-hybrid"
        return cls(
            helm=Path(helm),
            cache=Path(environment.get(PREFIX + "CACHE_DIR", default_cache)),
            resync_seconds=_seconds("RESYNC", environment.get(PREFIX + "RESYNC", "10m")),
            log_format=log_format,
            kubeconfig=kubeconfig_of(environment),
            namespace=environment.get(PREFIX + "NAMESPACE") or _pod_namespace() or DEFAULT_NAMESPACE,
            identity=_identity(environment),
            leader_election=_switch("LEADER_ELECTION", environment.get(PREFIX + "LEADER_ELECTION", "true")),
            metrics_host=host,
            metrics_port=port,
            node_name=environment.get("NODE_NAME"),
            chart_registries=_registries(environment.get(PREFIX + "CHART_REGISTRIES", "")),
        )


def _invalid(name: str, value: str, detail: str) -> SettingsError:
    return SettingsError(f'{PREFIX}{name}: Invalid value: "{value}": {detail}')


def _seconds(name: str, text: str) -> float:
    match = re.fullmatch(r"(\d+)([smh])", text)
    if match is None or int(match[1]) == 0:
        raise _invalid(name, text, "must be a duration such as 30s, 10m or 1h")
    return int(match[1]) * _UNITS[match[2]]


def _switch(name: str, text: str) -> bool:
    if text not in {"true", "false"}:
        raise _invalid(name, text, "must be true or false")
    return text == "true"


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit() or int(port) >= 2**16:
        raise _invalid("METRICS_ADDR", text, "must be an address such as 0.0.0.0:9947")
    return host.strip("[]"), int(port)


def _registries(text: str) -> tuple[str, ...]:
    """Parse the registries, or repository prefixes, that charts may come from; empty if every one is allowed."""
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    for name in names:
        if "://" in name:
            raise _invalid("CHART_REGISTRIES", name, f"must not have a scheme; use {name.partition('://')[2]}")
    return names


def _identity(environment: Mapping[str, str]) -> str:
    """Return the pod's name, so that a restarted pod reacquires its Lease immediately; else a unique name.

    The host name alone is not unique: two pods in the host network of a node share it.
    """
    return environment.get("POD_NAME") or f"{socket.gethostname()}-{uuid.uuid4().hex[:8]}"


def _pod_namespace() -> str | None:
    return _NAMESPACE_FILE.read_text().strip() if _NAMESPACE_FILE.is_file() else None


def kubeconfig_of(environment: Mapping[str, str]) -> str | None:
    """Return the path in KUBECONFIG, else ~/.kube/config; None in a pod, which uses its ServiceAccount."""
    if named := environment.get("KUBECONFIG"):
        return named
    if "KUBERNETES_SERVICE_HOST" in environment:
        return None
    return str(Path.home() / ".kube" / "config")
