"""Alerts and panels use only metrics, labels and values that exist: a misspelt name would never fire or show."""

import json
import re
from collections import defaultdict
from typing import Any

import pytest
import yaml

from cilium_hybrid.api.conditions import ConditionType, Reason
from queries import names_in
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
    *(
        pytest.param(target["expr"], target["legendFormat"], id=f"{title} {target['refId']}")
        for title, target in PANELS
    ),
]

# Labels that Prometheus adds to each series of a pod, and metrics that prometheus_client adds on Linux.
TARGET_LABELS = {"instance", "pod", "node", "namespace", "job"}
PROCESS_METRICS: dict[str, dict[str, set[str]]] = {"process_resident_memory_bytes": {}}


def _metrics() -> dict[str, dict[str, set[str]]]:
    """Return the labels of each metric and the values that each label may have."""
    metrics: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for name, labels, _ in everything().samples():
        metrics[name].update({label: metrics[name][label] | {value} for label, value in labels.items()})
    metrics["cilium_hybrid_condition"] = {"type": {*ConditionType}, "reason": {*Reason}}
    return {**metrics, **PROCESS_METRICS}


@pytest.mark.parametrize(("query", "template"), QUERIES)
def test_a_query_uses_only_names_that_exist(query: str, template: str) -> None:
    metrics, names = _metrics(), names_in(query)
    labels = {label for metric in names.metrics for label in metrics.get(metric, {})} | TARGET_LABELS

    assert names.metrics
    assert names.metrics <= metrics.keys()
    assert names.grouped_by <= labels
    assert {*re.findall(r"\{\{\s*(?:\$labels\.)?([a-z]\w*)\s*\}\}", template)} <= labels
    for metric, label, value in names.compared:
        assert value in metrics[metric].get(label, ()), f"{metric}{{{label}}} is never {value}"


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        pytest.param("absent(a == 1)", ({"a"}, set(), set()), id="a metric inside a function"),
        pytest.param(
            'a{x="1", y!~"2|3"}', ({"a"}, set(), {("a", "x", "1"), ("a", "y", "2"), ("a", "y", "3")}), id="values"
        ),
        pytest.param("60 * sum by (x) (rate(a[5m])) and on (y) b", ({"a", "b"}, {"x", "y"}, set()), id="grouping"),
        pytest.param(
            'max without (x, y) (a{z="b c"}) > 0', ({"a"}, {"x", "y"}, {("a", "z", "b c")}), id="text is not a name"
        ),
    ],
)
def test_the_names_of_an_expression_are_found(
    query: str, expected: tuple[set[str], set[str], set[tuple[str, str, str]]]
) -> None:
    names = names_in(query)

    assert ({*names.metrics}, {*names.grouped_by}, {*names.compared}) == expected


def test_the_dashboard_shows_every_metric_of_the_operator() -> None:
    shown = {_family(metric) for _, target in PANELS for metric in names_in(target["expr"]).metrics}

    assert {_family(name) for name in _metrics()} == shown


def _family(metric: str) -> str:
    return re.sub(r"_(bucket|count|sum|created|total)$", "", metric)
