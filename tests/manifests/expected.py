"""The expected result in the header of a manifest: `# refused: <Reason> <path>`, `# warned:`, `# api-server:`."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

FOLDER: Final = Path(__file__).parent
REFUSED: Final = tuple(sorted((FOLDER / "refused").glob("*.yaml")))
ACCEPTED: Final = tuple(sorted((FOLDER / "accepted").glob("*.yaml")))
SAMPLES: Final = tuple(sorted((FOLDER.parents[1] / "deploy" / "samples").glob("*.yaml")))

OUTSIDE_THE_SPEC: Final = frozenset(
    {
        "alias-bomb",
        "api-version-v1",
        "duplicate-field",
        "duplicate-key",
        "duplicate-spec",
        "generated-name",
        "infinity",
        "invalid-indentation",
        "kind-lowercase",
        "list-as-key",
        "merge-conflict",
        "misspelled-group",
        "misspelled-kind",
        "misspelled-spec",
        "nan",
        "no-api-version",
        "no-kind",
        "no-metadata",
        "no-name",
        "no-version-in-api-version",
        "null-as-key",
        "open-bracket",
        "recursive-alias",
        "string-document",
        "tabs",
        "undefined-alias",
        "unknown-tag",
        "unrendered-template",
        "values-outside-spec",
        "wrong-name",
    }
)
"""Errors outside the spec, or which are lost when YAML is parsed."""


@dataclass(frozen=True)
class Expected:
    """The expected result. `api_server` is part of the error of the API server, None if it accepts the manifest."""

    refused: list[tuple[str, str]]
    warned: list[tuple[str, str]]
    api_server: str | None


def expected(path: Path) -> Expected:
    """Return the expected result of a file."""
    return expected_of(path.read_text())


def expected_of(text: str) -> Expected:
    """Return the expected result of a manifest."""
    refused: list[tuple[str, str]] = []
    warned: list[tuple[str, str]] = []
    api_server = None
    for line in text.splitlines():
        match line.split(" ", 3):
            case ["#", "refused:", reason, path]:
                refused.append((reason, path))
            case ["#", "warned:", reason, path]:
                warned.append((reason, path))
            case ["#", "api-server:", *_]:
                api_server = line.removeprefix("# api-server: ")
            case _:
                break
    return Expected(refused, warned, api_server)


_HEAD = """\
apiVersion: ciliumhybrid.io/v1alpha1
kind: CiliumHybrid
metadata:
  name: default
spec:
  version: 1.17.13-1
  ipam:
    podCIDRs: [10.85.0.0/16]
    maskSize: 25
  values:
"""
_REFUSED_VALUES = "# refused: InvalidValues spec.values\n"


def _deep(levels: int) -> str:
    return f"{_HEAD}    debug: {'[' * levels}x{']' * levels}\n"


LARGE: Final[Mapping[str, str]] = {
    "deeper-than-a-json-parser-goes": _REFUSED_VALUES + _deep(300),
    "deeper-than-a-yaml-parser-goes": f"{_REFUSED_VALUES}# api-server: exceeded max depth\n{_deep(10100)}",
    "too-large": (
        f"{_REFUSED_VALUES}# api-server: metadata.annotations: Too long\n"
        f"{_HEAD}    extraConfig:\n{''.join(f'      key-{n}: {chr(120) * 60}' + chr(10) for n in range(4500))}"
    ),
}
"""Refused manifests that are too large for a file, by name."""
