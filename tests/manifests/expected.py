"""What the first lines of a manifest say of it: `# refused: <Reason> <path>`, `# warned:`, `# api-server: <words>`."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

FOLDER: Final = Path(__file__).parent
REFUSED: Final = tuple(sorted((FOLDER / "refused").glob("*.yaml")))
ACCEPTED: Final = tuple(sorted((FOLDER / "accepted").glob("*.yaml")))
SAMPLES: Final = tuple(sorted((FOLDER.parents[1] / "deploy" / "samples").glob("*.yaml")))

OF_THE_DOCUMENT: Final = frozenset(
    {
        "alias-bomb",
        "alias-of-itself",
        "alias-of-nothing",
        "bad-indentation",
        "field-twice",
        "generated-name",
        "infinity",
        "key-twice",
        "kind-in-lower-case",
        "list-as-a-key",
        "merge-conflict",
        "misspelt-group",
        "misspelt-kind",
        "misspelt-spec",
        "no-api-version",
        "no-kind",
        "no-metadata",
        "no-name",
        "no-version-of-the-api",
        "not-a-number",
        "null-as-a-key",
        "open-bracket",
        "spec-twice",
        "tabs",
        "template-that-was-not-rendered",
        "text-for-a-document",
        "unknown-tag",
        "values-beside-spec",
        "version-of-the-api-to-come",
        "wrong-name",
    }
)
"""Mistakes that are not in the spec, or not there any more once it was read."""


@dataclass(frozen=True)
class Expected:
    """The verdict that a manifest gets. `api_server` is of its answer, None where it takes the manifest."""

    refused: list[tuple[str, str]]
    warned: list[tuple[str, str]]
    api_server: str | None


def expected(path: Path) -> Expected:
    """What is expected of a file."""
    return expected_of(path.read_text())


def expected_of(text: str) -> Expected:
    """What is expected of a manifest."""
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
_OF_VALUES = "# refused: InvalidValues spec.values\n"


def _deep(levels: int) -> str:
    return f"{_HEAD}    debug: {'[' * levels}x{']' * levels}\n"


LARGE: Final[Mapping[str, str]] = {
    "deeper-than-a-json-parser-goes": _OF_VALUES + _deep(300),
    "deeper-than-a-yaml-parser-goes": f"{_OF_VALUES}# api-server: exceeded max depth\n{_deep(10100)}",
    "too-large": (
        f"{_OF_VALUES}# api-server: metadata.annotations: Too long\n"
        f"{_HEAD}    extraConfig:\n{''.join(f'      key-{n}: {chr(120) * 60}' + chr(10) for n in range(4500))}"
    ),
}
"""Refused manifests that are too large for a file, by name."""
