"""Render a chart archive with Helm and parse the manifest."""

import json
import subprocess
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

Tree = dict[str, Any]

NAMESPACE = "kube-system"

# The C loader is ten times as fast, but not available everywhere.
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

HYBRID_NODES: Tree = {
    "nodeAffinity": {
        "requiredDuringSchedulingIgnoredDuringExecution": {
            "nodeSelectorTerms": [
                {
                    "matchExpressions": [
                        {"key": "eks.amazonaws.com/compute-type", "operator": "In", "values": ["hybrid"]}
                    ]
                }
            ]
        }
    }
}

# The values in the AWS guide.
AWS_VALUES: Tree = {
    "affinity": HYBRID_NODES,
    "operator": {"affinity": HYBRID_NODES, "unmanagedPodWatcher": {"restart": False}},
    "ipam": {
        "mode": "cluster-pool",
        "operator": {"clusterPoolIPv4MaskSize": 25, "clusterPoolIPv4PodCIDRList": ["10.85.0.0/16"]},
    },
    "loadBalancer": {"serviceTopology": True},
    "envoy": {"enabled": False},
    "kubeProxyReplacement": "false",
}

# Renders only the objects of the preflight check, on hybrid nodes only, in every version.
PREFLIGHT_VALUES: Tree = {
    "preflight": {"enabled": True, "nodeSelector": {"eks.amazonaws.com/compute-type": "hybrid"}},
    "agent": False,
    "operator": {"enabled": False},
    "envoy": {"enabled": False},
    "hubble": {"enabled": False},
    "tls": {
        "secretsNamespace": {"create": False},
        "readSecretsOnlyFromSecretsNamespace": False,
        "secretSync": {"enabled": False},
    },
}


class RenderError(Exception):
    """Helm failed to render the chart; the message is its stderr."""


@dataclass(frozen=True, slots=True)
class Rendered:
    """A manifest: its text, and its objects by `Kind namespace/name`."""

    text: str
    objects: dict[str, Tree]

    @property
    def agent(self) -> Tree:
        return self.objects[f"DaemonSet {NAMESPACE}/cilium"]

    @property
    def operator(self) -> Tree:
        return self.objects[f"Deployment {NAMESPACE}/cilium-operator"]

    @property
    def config(self) -> dict[str, str]:
        config: dict[str, str] = self.objects[f"ConfigMap {NAMESPACE}/cilium-config"]["data"]
        return config

    @property
    def workloads(self) -> dict[str, Tree]:
        return {name: tree for name, tree in self.objects.items() if tree["kind"] in {"DaemonSet", "Deployment"}}


def render(helm: Path, archive: Path, values: Tree, *, apis: Sequence[str] = ()) -> Rendered:
    """Render release `cilium` in kube-system for a cluster with these additional APIs; raise `RenderError`."""
    api_versions = [word for api in apis for word in ("--api-versions", api)]
    command = [str(helm), "template", "cilium", str(archive), "--namespace", NAMESPACE]
    result = subprocess.run(
        [*command, "--kube-version", "1.35.0", *api_versions, "--values", "-"],
        input=json.dumps(values),
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode:
        raise RenderError(result.stderr)
    return Rendered(result.stdout, _objects(result.stdout))


def read(archive: Path, path: str) -> Tree:
    """Parse a YAML or JSON file of the archive."""
    with tarfile.open(archive) as tar:
        member = tar.extractfile(f"cilium/{path}")
        if member is None:
            raise FileNotFoundError(path)
        tree: Tree = yaml.safe_load(member)
    return tree


def _objects(text: str) -> dict[str, Tree]:
    """Parse a manifest; raise `RenderError` if two objects have the same name."""
    named = [(_name(tree), tree) for tree in yaml.load_all(text, _LOADER) if tree]
    objects = dict(named)
    if len(objects) != len(named):
        raise RenderError(f"two objects have the same name: {[name for name, _ in named]}")
    return objects


def _name(tree: Tree) -> str:
    namespace = tree["metadata"].get("namespace")
    prefix = f"{namespace}/" if namespace else ""
    return f"{tree['kind']} {prefix}{tree['metadata']['name']}"
