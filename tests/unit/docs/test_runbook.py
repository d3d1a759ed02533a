"""The runbook has an entry for every reason and every alert."""

import re
from itertools import pairwise

import pytest
import yaml

from cilium_hybrid.api.conditions import Reason
from cilium_hybrid.api.status import UnreadyReason
from testbed.operator import ROOT

DOCS = ROOT / "docs"
RUNBOOK = "runbook.md"
REASONS = "runbook-reasons.md"
BASE_URL = "https://github.com/cilium-hybrid-operator/cilium-hybrid-operator/blob/main/docs/"
RULES = [
    rule
    for group in yaml.safe_load((ROOT / "deploy" / "monitoring" / "alerts.yaml").read_text())["spec"]["groups"]
    for rule in group["rules"]
]


def _entries(document: str) -> dict[str, str]:
    """Return the text of each third-level section of a document by its heading."""
    sections = re.split(r"^### ", (DOCS / document).read_text(), flags=re.MULTILINE)[1:]
    return {name: text for name, _, text in (section.partition("\n") for section in sections)}


def _headings(document: str) -> list[str]:
    return re.findall(r"^#+ (.+)$", (DOCS / document).read_text(), re.MULTILINE)


def test_there_is_one_entry_for_each_reason() -> None:
    assert [*_entries(REASONS)] == [*Reason]


def test_there_is_one_entry_for_each_alert() -> None:
    assert [*_entries(RUNBOOK)] == [rule["alert"] for rule in RULES]


def test_there_is_one_row_for_each_unready_reason() -> None:
    rows = re.findall(r"^\| `(\w+)` \|", (DOCS / RUNBOOK).read_text(), re.MULTILINE)

    assert rows == [*UnreadyReason]


@pytest.mark.parametrize("reason", Reason)
def test_an_entry_has_a_meaning_what_the_operator_does_and_an_action(reason: Reason) -> None:
    labels = re.findall(r"^- \*\*(.+?)\*\*: \S", _entries(REASONS)[reason], re.MULTILINE)

    assert labels == ["Meaning", "Operator", "Action"]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: str(rule["alert"]))
def test_an_alert_links_to_its_entry(rule: dict[str, dict[str, str]]) -> None:
    assert rule["annotations"]["runbook_url"] == f"{BASE_URL}{RUNBOOK}#{str(rule['alert']).lower()}"


@pytest.mark.parametrize("document", [RUNBOOK, REASONS])
def test_no_two_entries_share_an_anchor(document: str) -> None:
    titles = sorted(heading.lower() for heading in _headings(document))

    assert not [title for title, following in pairwise(titles) if title == following]
