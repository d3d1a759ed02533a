import json
from dataclasses import replace

import pytest
import yaml

from builders import EARLIER, NODE, NOW, a_status
from cilium_hybrid.api.status import Nodes, UnreadyReason
from cilium_hybrid.cli.status_show import Show, as_documents, as_json, as_lines, as_yaml, on_stdout
from cilium_hybrid.cli.status_text import block
from cilium_hybrid.cli.status_view import NodeRow, Ready, View
from cilium_hybrid.plan.inputs import Resource

NODES = (NodeRow("mi-2", UnreadyReason.AGENT_NOT_READY, "starts", EARLIER), NodeRow(NODE, pod_cidrs=("10.85.0.0/25",)))
FIRST = View(
    Resource(1, "7", {}, {"phase": "Ready"}),
    Ready("False", "RollingOut", "moving", current=True),
    a_status(),
    Nodes(),
    NODES,
)
SECOND = replace(FIRST, ready=Ready("True", "InSync", "fine", current=True))
ALL = [FIRST, FIRST, SECOND, SECOND, FIRST]


def said(show: Show, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """What is written of each view."""
    texts = []
    for told in ALL:
        show(told, NOW)
        texts.append(capsys.readouterr().out)
    return texts


def test_lines_are_told_once_and_again_when_they_come_back(capsys: pytest.CaptureFixture[str]) -> None:
    first = "".join(f"{one.line}\n" for one in block(FIRST))
    moving, fine = "Ready: False RollingOut: moving\n", "Ready: True InSync: fine\n"

    assert said(as_lines(), capsys) == [first, "", fine, "", moving]
    assert first.startswith(moving)


def test_documents_are_told_when_they_changed(capsys: pytest.CaptureFixture[str]) -> None:
    texts = said(as_documents(as_json), capsys)

    assert [text and json.loads(text)["ready"] for text in texts] == [False, "", True, "", False]


def test_documents_of_yaml_can_be_told_apart(capsys: pytest.CaptureFixture[str]) -> None:
    texts = said(as_documents(as_yaml), capsys)

    assert [one["ready"] for one in yaml.safe_load_all("".join(texts))] == [False, True, False]
    assert texts[0].startswith("---\ngeneration: 1\n")


@pytest.mark.parametrize("live", [False, True])
def test_what_is_no_terminal_gets_lines(capsys: pytest.CaptureFixture[str], live: bool) -> None:
    with on_stdout(live=live) as show:
        texts = said(show, capsys)

    assert texts[2] == "Ready: True InSync: fine\n"
    assert "\x1b" not in "".join(texts)
