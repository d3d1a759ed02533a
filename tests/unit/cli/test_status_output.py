import json
from dataclasses import replace

import pytest
import yaml

from builders import EARLIER, NODE, NOW, a_status
from cilium_hybrid.api.status import Nodes, UnreadyReason
from cilium_hybrid.cli.options import Output
from cilium_hybrid.cli.status_output import Printer, document_printer, line_printer, terminal_printer
from cilium_hybrid.cli.status_text import plain_lines
from cilium_hybrid.cli.status_view import NodeState, ReadyCondition, View
from cilium_hybrid.plan.inputs import Resource

NODES = (
    NodeState("mi-2", UnreadyReason.AGENT_NOT_READY, "starting", EARLIER),
    NodeState(NODE, pod_cidrs=("10.85.0.0/25",)),
)
FIRST = View(
    Resource(1, "7", {}, {"phase": "Ready"}),
    ReadyCondition("False", "RollingOut", "updating", current=True),
    a_status(),
    Nodes(),
    NODES,
)
SECOND = replace(FIRST, ready=ReadyCondition("True", "InSync", "fine", current=True))
ALL = [FIRST, FIRST, SECOND, SECOND, FIRST]


def print_all(show: Printer, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Return what is printed for each view."""
    texts = []
    for view in ALL:
        show(view, NOW)
        texts.append(capsys.readouterr().out)
    return texts


def test_a_line_is_printed_once_and_again_when_it_returns(capsys: pytest.CaptureFixture[str]) -> None:
    first = "".join(f"{line.text}\n" for line in plain_lines(FIRST))
    updating, fine = "Ready: False RollingOut: updating\n", "Ready: True InSync: fine\n"

    assert print_all(line_printer(), capsys) == [first, "", fine, "", updating]
    assert first.startswith(updating)


def test_a_document_is_printed_when_it_changed(capsys: pytest.CaptureFixture[str]) -> None:
    texts = print_all(document_printer(Output.JSON), capsys)

    assert [text and json.loads(text)["ready"] for text in texts] == [False, "", True, "", False]


def test_yaml_documents_are_separated(capsys: pytest.CaptureFixture[str]) -> None:
    texts = print_all(document_printer(Output.YAML), capsys)

    assert [document["ready"] for document in yaml.safe_load_all("".join(texts))] == [False, True, False]
    assert texts[0].startswith("---\ngeneration: 1\n")


@pytest.mark.parametrize("live", [False, True])
def test_without_a_terminal_lines_are_printed(capsys: pytest.CaptureFixture[str], live: bool) -> None:
    with terminal_printer(live=live) as show:
        texts = print_all(show, capsys)

    assert texts[2] == "Ready: True InSync: fine\n"
    assert "\x1b" not in "".join(texts)
