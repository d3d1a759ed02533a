"""Make docs/api.md and docs/conditions.md from the models: `make generated`."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cilium_hybrid.api.conditions import ConditionType, Reason
from cilium_hybrid.api.crd import custom_resource_definition

HEADER = "<!-- Made by `make generated` from operator/cilium_hybrid/api; do not edit. -->\n\n"


def conditions() -> str:
    """Every condition and every reason with its meaning."""
    lines = ["# Conditions and reasons\n", "| condition | when True |", "|---|---|"]
    lines += [f"| `{kind}` | {kind.meaning} |" for kind in ConditionType]
    lines += ["\nWhat to do about each is in the [runbook](runbook.md).\n", "| reason | meaning |", "|---|---|"]
    lines += [f"| [`{reason}`](runbook.md#{reason.lower()}) | {reason.meaning} |" for reason in Reason]
    return HEADER + "\n".join(lines) + "\n"


def api() -> str:
    """Every field of the resource."""
    schema = custom_resource_definition()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    parts = [HEADER + "# CiliumHybrid v1alpha1\n\n" + schema["description"] + "\n"]
    for root in ("spec", "status"):
        parts.append(f"\n## {root}\n\n| field | type | meaning |\n|---|---|---|\n")
        fields = _fields(schema["properties"][root], root)
        parts += [f"| `{path}` | {kind} | {text} |\n" for path, kind, text in fields]
    return "".join(parts)


def _fields(node: dict[str, Any], path: str) -> Iterator[tuple[str, str, str]]:
    required = node.get("required", [])
    for name, child in node.get("properties", {}).items():
        here, kind = f"{path}.{name}", child["type"]
        yield here, kind + (", required" if name in required else ""), _rules(child)
        if kind == "array":
            yield from _fields(child["items"], f"{here}[]")
        yield from _fields(child, here)


def _rules(node: dict[str, Any]) -> str:
    """The description and the messages of the CEL rules, the item's too."""
    key = "x-kubernetes-validations"
    rules = "".join(
        f"<br>Rule: {rule['message']}." for rule in [*node.get(key, []), *node.get("items", {}).get(key, [])]
    )
    return str(node.get("description", "")).replace("|", "\\|") + rules


if __name__ == "__main__":
    folder = Path(__file__).parent
    (folder / "conditions.md").write_text(conditions())
    (folder / "api.md").write_text(api())
