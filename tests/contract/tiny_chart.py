"""A minimal chart named `cilium`: its values decide whether it renders, hangs or is invalid."""

import io
import json
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

AGENTS = """\
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: cilium, namespace: kube-system}
spec:
  selector: {matchLabels: {app: tiny}}
  template:
    metadata: {labels: {app: tiny}}
    spec:
      affinity: {{ .Values.affinity | toJson }}
      containers: [{name: agent, image: tiny}]
"""
CONFIG = """\
apiVersion: v1
kind: ConfigMap
metadata: {name: tiny, namespace: kube-system}
data:
  values: {{ .Values.data | toJson | quote }}
{{- if .Values.broken }}
  broken: [an API server rejects a list here]
{{- end }}
"""
# No node has the label, so Helm waits for the hook until its timeout.
HANGS = """\
{{- if .Values.hangs }}
apiVersion: v1
kind: Pod
metadata:
  name: hangs
  namespace: kube-system
  annotations: {helm.sh/hook: "pre-install,pre-upgrade", helm.sh/hook-delete-policy: before-hook-creation}
spec:
  nodeSelector: {nowhere: "true"}
  restartPolicy: Never
  containers: [{name: hangs, image: tiny}]
{{- end }}
"""
DEFAULTS = {"affinity": {}, "data": "", "broken": False, "hangs": False}
SCHEMA = {"type": "object", "properties": {"data": {"type": "string"}}}


def objects(values: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return the objects that valid values render, in Helm's order."""
    config = {"kind": "ConfigMap", "data": {"values": json.dumps(values["data"])}}
    return [
        {**found, "metadata": {"name": name, "namespace": "kube-system"}}
        for name, found in (("tiny", config), ("cilium", {"kind": "DaemonSet"}))
    ]


def files(version: str, mark: str) -> Mapping[str, str]:
    """Return its files; `mark` distinguishes two charts of the same version."""
    return {
        "Chart.yaml": f"apiVersion: v2\nname: cilium\nversion: {version}\ndescription: {mark}\n",
        "values.yaml": json.dumps(DEFAULTS),
        "values.schema.json": json.dumps(SCHEMA),
        "templates/agents.yaml": AGENTS,
        "templates/config.yaml": CONFIG,
        "templates/hangs.yaml": HANGS,
    }


def directory(path: Path, version: str, mark: str = "tiny") -> Path:
    """Write the chart as a directory."""
    for name, text in files(version, mark).items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_text(text)
    return path


def archive(path: Path, version: str, mark: str = "tiny") -> Path:
    """Write the chart as an archive."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz") as packed:
        for name, text in files(version, mark).items():
            info = tarfile.TarInfo(f"cilium/{name}")
            info.size = len(text)
            packed.addfile(info, io.BytesIO(text.encode()))
    return path
