"""The alert rules and the dashboard, checked by promtool."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from scraped import everything
from testbed.binaries import ensure
from testbed.operator import ROOT

MONITORING = ROOT / "deploy" / "monitoring"
ALERT_TESTS = Path(__file__).with_name("alerts.yaml")


@pytest.fixture(scope="module")
def promtool() -> Path:
    return ensure("promtool")["promtool"]


def _promtool(*arguments: str | Path, stdin: str = "") -> None:
    run = subprocess.run(arguments, input=stdin, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr


def _alerts() -> dict[str, Any]:
    groups: dict[str, Any] = yaml.safe_load((MONITORING / "alerts.yaml").read_text())["spec"]
    return groups


def test_alerts_fire_as_expected_and_no_others_do(promtool: Path, tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(_alerts()))
    tests = Path(shutil.copy(ALERT_TESTS, tmp_path))

    _promtool(promtool, "check", "rules", "--lint=all", "--lint-fatal", tmp_path / "rules.yaml")
    _promtool(promtool, "test", "rules", tests)


def test_every_alert_has_a_test_in_which_it_fires() -> None:
    tests = ALERT_TESTS.read_text()

    assert not [
        rule["alert"]
        for group in _alerts()["groups"]
        for rule in group["rules"]
        if f'ALERTS{{alertname="{rule["alert"]}", alertstate="firing"' not in tests
    ]


def test_every_panel_has_valid_queries(promtool: Path, tmp_path: Path) -> None:
    panels = json.loads((MONITORING / "dashboard.json").read_text())["panels"]
    queries = [target["expr"].replace("$__rate_interval", "5m") for panel in panels for target in panel["targets"]]
    rules = [{"record": f"panel:{number}", "expr": query} for number, query in enumerate(queries)]
    (tmp_path / "rules.yaml").write_text(json.dumps({"groups": [{"name": "panels", "rules": rules}]}))

    _promtool(promtool, "check", "rules", tmp_path / "rules.yaml")


def test_the_metrics_follow_the_naming_conventions(promtool: Path) -> None:
    _promtool(promtool, "check", "metrics", stdin=everything().text)
