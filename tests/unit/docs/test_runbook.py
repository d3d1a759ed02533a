"""The runbook has an entry for whatever the operator says, and every link to one arrives."""

import re
from itertools import pairwise

import pytest
import yaml

from cilium_hybrid.api.conditions import Reason
from cilium_hybrid.api.status import UnreadyReason
from testbed.operator import ROOT

RUNBOOK = (ROOT / "docs" / "runbook.md").read_text()
HEADINGS = re.findall(r"^(#+) (.+)$", RUNBOOK, re.MULTILINE)
RULES = [
    rule
    for group in yaml.safe_load((ROOT / "deploy" / "monitoring" / "alerts.yaml").read_text())["spec"]["groups"]
    for rule in group["rules"]
]


def _chapters() -> dict[str, dict[str, str]]:
    """The entries of each chapter, with their text."""
    chapters: dict[str, dict[str, str]] = {}
    for chapter in re.split(r"^## ", RUNBOOK, flags=re.MULTILINE)[1:]:
        title, _, text = chapter.partition("\n")
        entries = [entry.partition("\n") for entry in re.split(r"^### ", text, flags=re.MULTILINE)[1:]]
        chapters[title] = {name: words for name, _, words in entries}
    return chapters


def _anchors() -> set[str]:
    """As the renderers of Markdown make them."""
    return {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for _, heading in HEADINGS}


def test_every_reason_has_an_entry_and_no_other_word_has() -> None:
    assert [*_chapters()["Reasons"]] == [*Reason]


def test_every_alert_has_an_entry_and_no_other_word_has() -> None:
    assert [*_chapters()["Alerts"]] == [rule["alert"] for rule in RULES]


def test_every_leg_has_a_line() -> None:
    assert {*re.findall(r"^\| `(\w+)` \|", RUNBOOK, re.MULTILINE)} == {*UnreadyReason}


@pytest.mark.parametrize("reason", Reason)
def test_an_entry_says_what_it_means_what_is_done_and_what_to_do(reason: Reason) -> None:
    labels = re.findall(r"^- \*\*(.+?)\*\*: \S", _chapters()["Reasons"][reason], re.MULTILINE)

    assert labels == ["Means", "By itself", "You"]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: str(rule["alert"]))
def test_an_alert_leads_to_its_entry(rule: dict[str, dict[str, str]]) -> None:
    assert rule["annotations"]["runbook"] == f"docs/runbook.md#{str(rule['alert']).lower()}"


@pytest.mark.parametrize("document", ["docs/runbook.md", "docs/conditions.md"])
def test_every_link_into_the_runbook_arrives(document: str) -> None:
    links = re.findall(r"\]\((?:runbook\.md)?#([^)]+)\)", (ROOT / document).read_text())

    assert links
    assert {*links} <= _anchors()


def test_no_two_entries_share_an_anchor() -> None:
    titles = sorted(heading.lower() for _, heading in HEADINGS)

    assert not [title for title, following in pairwise(titles) if title == following]
