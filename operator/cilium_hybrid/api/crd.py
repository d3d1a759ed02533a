"""The CustomResourceDefinition, made from the models."""

from typing import Any, Final

import yaml

from cilium_hybrid.api.schema import structural, without_enums
from cilium_hybrid.api.v1alpha1 import GROUP, KIND, PLURAL, SHORT_NAME, VERSION, CiliumHybrid

_READY: Final = ".status.conditions[?(@.type=='Ready')]"
_COLUMNS: Final = (
    ("Version", "string", ".status.version.running", 0),
    ("Target", "string", ".status.version.target", 0),
    ("Nodes", "string", ".status.nodes.summary", 0),
    ("Ready", "string", f"{_READY}.status", 0),
    ("Reason", "string", f"{_READY}.reason", 0),
    ("Age", "date", ".metadata.creationTimestamp", 0),
    ("Revision", "integer", ".status.release.revision", 1),
    ("Free-Blocks", "integer", ".status.ipam.nodeBlocks.free", 1),
    ("Message", "string", f"{_READY}.message", 1),
)


def custom_resource_definition() -> dict[str, Any]:
    """The CRD as `kubectl apply` takes it."""
    schema = structural(CiliumHybrid.model_json_schema(by_alias=True))
    # Said of metadata is only what a rule names, and no more is allowed.
    schema["properties"]["metadata"] = {"type": "object", "properties": {"name": {"type": "string"}}}
    schema["properties"]["status"] = without_enums(schema["properties"]["status"])
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{PLURAL}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "scope": "Cluster",
            "names": {
                "kind": KIND,
                "listKind": f"{KIND}List",
                "plural": PLURAL,
                "singular": KIND.lower(),
                "shortNames": [SHORT_NAME],
            },
            "versions": [
                {
                    "name": VERSION,
                    "served": True,
                    "storage": True,
                    "subresources": {"status": {}},
                    "additionalPrinterColumns": [
                        {"name": name, "type": kind, "jsonPath": path, "priority": priority}
                        for name, kind, path, priority in _COLUMNS
                    ],
                    "schema": {"openAPIV3Schema": schema},
                }
            ],
        },
    }


def crd_yaml() -> str:
    """The CRD as YAML, the content of crds/ and of `cilium-hybrid crd`."""
    header = "# Made by `make generated` from operator/cilium_hybrid/api; do not edit.\n"
    return header + yaml.safe_dump(custom_resource_definition(), sort_keys=False, width=110, allow_unicode=True)
