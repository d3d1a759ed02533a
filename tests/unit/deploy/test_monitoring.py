"""Alerts and panels against what the operator tells: a name with a slip in it would be silent for ever."""

import json
import re
from collections import defaultdict
from typing import Any

import pytest
import yaml

from cilium_hybrid.api.conditions import ConditionType, Reason
from queries import used
from scraped import everything
from testbed.operator import ROOT

MONITORING = ROOT / "deploy" / "monitoring"
RULES: list[dict[str, Any]] = [
    rule
    for group in yaml.safe_load((MONITORING / "alerts.yaml").read_text())["spec"]["groups"]
    for rule in group["rules"]
]
PANELS: list[tuple[str, dict[str, Any]]] = [
    (panel["title"], target)
    for panel in json.loads((MONITORING / "dashboard.json").read_text())["panels"]
    for target in panel["targets"]
]
QUERIES = [
    *(pytest.param(rule["expr"], f"{rule['annotations']}", id=rule["alert"]) for rule in RULES),
    *(pytest.param(one["expr"], one["legendFormat"], id=f"{title} {one['refId']}") for title, one in PANELS),
]

# What Prometheus puts on each series of a pod, and what each Python process on Linux tells of itself.
OF_THE_TARGET = {"instance", "pod", "node", "namespace", "job"}
OF_THE_PROCESS: dict[str, dict[str, set[str]]] = {"process_resident_memory_bytes": {}}


def _told() -> dict[str, dict[str, set[str]]]:
    """The labels of each metric and the values that each may have."""
    told: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for name, labels, _ in everything().samples():
        told[name].update({label: told[name][label] | {value} for label, value in labels.items()})
    told["cilium_hybrid_condition"] = {"type": {*ConditionType}, "reason": {*Reason}}
    return {**told, **OF_THE_PROCESS}


@pytest.mark.parametrize(("query", "shown"), QUERIES)
def test_every_name_is_one_that_the_operator_tells(query: str, shown: str) -> None:
    told, uses = _told(), used(query)
    labels = {label for metric in uses.metrics for label in told.get(metric, {})} | OF_THE_TARGET

    assert uses.metrics
    assert uses.metrics <= told.keys()
    assert uses.grouped_by <= labels
    assert {*re.findall(r"\{\{\s*(?:\$labels\.)?([a-z]\w*)\s*\}\}", shown)} <= labels
    for metric, label, value in uses.compared:
        assert value in told[metric].get(label, ()), f"{metric}{{{label}}} is never {value}"


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        pytest.param("absent(a == 1)", ({"a"}, set(), set()), id="a metric inside a function"),
        pytest.param(
            'a{x="1", y!~"2|3"}', ({"a"}, set(), {("a", "x", "1"), ("a", "y", "2"), ("a", "y", "3")}), id="values"
        ),
        pytest.param("60 * sum by (x) (rate(a[5m])) and on (y) b", ({"a", "b"}, {"x", "y"}, set()), id="grouping"),
        pytest.param(
            'max without (x, y) (a{z="b c"}) > 0', ({"a"}, {"x", "y"}, {("a", "z", "b c")}), id="text is no name"
        ),
    ],
)
def test_the_names_of_an_expression_are_found(
    query: str, expected: tuple[set[str], set[str], set[tuple[str, str, str]]]
) -> None:
    uses = used(query)

    assert ({*uses.metrics}, {*uses.grouped_by}, {*uses.compared}) == expected


def test_every_metric_of_the_operator_is_on_the_dashboard() -> None:
    shown = {_family(metric) for _, target in PANELS for metric in used(target["expr"]).metrics}

    assert {_family(name) for name in _told()} == shown


def _family(metric: str) -> str:
    return re.sub(r"_(bucket|count|sum|created|total)$", "", metric)
