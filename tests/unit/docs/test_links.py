"""No relative link in a document is broken: the file exists, and so does the heading that it names."""

import re
from pathlib import Path

import pytest

from testbed.operator import ROOT

DOCUMENTS = sorted(
    path
    for pattern in ("*.md", "docs/**/*.md", "deploy/**/*.md", "tests/**/*.md", ".github/**/*.md")
    for path in ROOT.glob(pattern)
)
LINK = re.compile(r"\]\((?!https?://|mailto:)([^)#\s]*)(?:#([^)\s]+))?\)")
CODE = re.compile(r"^```.*?^```|`[^`]*`", re.MULTILINE | re.DOTALL)


def _anchors(document: Path) -> set[str]:
    """Return the anchors that Markdown renderers create from the headings."""
    headings = re.findall(r"^#+ (.+)$", document.read_text(), re.MULTILINE)
    texts = (re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading) for heading in headings)
    return {re.sub(r"[^\w -]", "", text).lower().replace(" ", "-") for text in texts}


def _is_broken(document: Path, target: str, anchor: str) -> bool:
    path = document.parent / target if target else document
    return not path.exists() or bool(anchor and anchor not in _anchors(path))


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_link_is_broken(document: Path) -> None:
    links = LINK.findall(CODE.sub("", document.read_text()))

    assert [link for link in links if _is_broken(document, *link)] == []


def test_a_missing_file_and_a_missing_heading_are_broken(tmp_path: Path) -> None:
    document = tmp_path / "a.md"
    document.write_text("# The [linked](b.md) `heading`\n")

    assert _is_broken(document, "b.md", "")
    assert _is_broken(document, "", "other")
    assert not _is_broken(document, "a.md", "the-linked-heading")
