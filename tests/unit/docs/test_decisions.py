import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
DOCS = ROOT / "docs"
DECISIONS = sorted(path for path in (DOCS / "decisions").glob("*.md") if path.stem != "0000-template")
STATUS = re.compile(r"accepted|proposed|superseded by \d{4}")
SECTIONS = ["Context", "Decision", "Alternatives", "Consequences"]
PYTHON_FILE = re.compile(r"`((?:[\w-]+/)*[\w-]+\.py)`")
PACKAGE = ROOT / "operator" / "cilium_hybrid"


def test_the_decisions_are_numbered_without_gaps() -> None:
    assert [int(path.name[:4]) for path in DECISIONS] == list(range(1, len(DECISIONS) + 1))


@pytest.mark.parametrize("path", DECISIONS, ids=lambda path: path.stem)
def test_a_decision_has_title_status_date_and_sections(path: Path) -> None:
    title, _, status, _, date, *_ = lines = path.read_text().splitlines()

    assert title.startswith(f"# {path.name[:4]}. ")
    assert STATUS.fullmatch(status.removeprefix("Status: "))
    assert re.fullmatch(r"Date: \d{4}-\d{2}-\d{2}", date)
    assert [line.removeprefix("## ") for line in lines if line.startswith("## ")] == SECTIONS


@pytest.mark.parametrize("path", [DOCS / "architecture.md", *DECISIONS], ids=lambda path: path.stem)
def test_python_files_exist(path: Path) -> None:
    # A file in a table about one package has no folder.
    folders = (ROOT, PACKAGE, PACKAGE / "plan", PACKAGE / "adapters" / "helm")
    names = PYTHON_FILE.findall(path.read_text())
    missing = [name for name in names if not any((folder / name).exists() for folder in folders)]

    assert missing == []
