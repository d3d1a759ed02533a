"""The health check as Argo CD runs it: Lua 5.1, with the resource as global `obj`."""

import json
from typing import Any

import pytest
import yaml
from lupa.lua51 import LuaRuntime

from builders import a_condition, a_status
from cilium_hybrid.api.conditions import Condition, ConditionType, Reason
from cilium_hybrid.reconcile.reconciler import dump
from testbed.operator import ROOT

ARGOCD = ROOT / "deploy" / "argocd"
GENERATION = 3


def _health(status: dict[str, Any] | None) -> dict[str, str]:
    lua = LuaRuntime()
    resource = {"metadata": {"generation": GENERATION}} | ({} if status is None else {"status": status})
    # By way of JSON, as Argo CD has it: what is not there is nil.
    lua.globals().obj = lua.table_from(json.loads(json.dumps(resource)), recursive=True)
    return dict(lua.execute((ARGOCD / "health.lua").read_text()))


def _status(*conditions: Condition, observed: int = GENERATION) -> dict[str, Any]:
    return dump(a_status(*conditions, observed_generation=observed))


READY = a_condition(ConditionType.READY, "True", Reason.IN_SYNC)
WORKING = ConditionType.RECONCILING
STALLED = ConditionType.STALLED


def _not_ready(reason: Reason, kind: ConditionType | None = None) -> tuple[Condition, ...]:
    ready = a_condition(ConditionType.READY, "False", reason)
    return (ready,) if kind is None else (ready, a_condition(kind, "True", reason))


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        pytest.param(None, "Progressing", id="nobody looked yet"),
        pytest.param({}, "Progressing", id="no condition yet"),
        pytest.param(_status(READY), "Healthy", id="in sync"),
        pytest.param(_status(READY, observed=2), "Progressing", id="was Ready before the spec changed"),
        pytest.param(_status(*_not_ready(Reason.ROLLED_BACK, STALLED), observed=2), "Progressing", id="another try"),
        pytest.param(_status(*_not_ready(Reason.ROLLING_OUT, WORKING)), "Progressing", id="rolling out"),
        pytest.param(_status(*_not_ready(Reason.CHART_UNAVAILABLE, WORKING)), "Progressing", id="tried again"),
        pytest.param(_status(*_not_ready(Reason.ROLLED_BACK, STALLED)), "Degraded", id="rolled back"),
        pytest.param(_status(*_not_ready(Reason.NODES_NOT_READY)), "Degraded", id="a node failed later"),
        pytest.param(_status(*_not_ready(Reason.AWAITING_APPROVAL)), "Suspended", id="a person is asked"),
        pytest.param(_status(*_not_ready(Reason.AWAITING_APPROVAL, STALLED)), "Suspended", id="asked, and stalled"),
        pytest.param(_status(*_not_ready(Reason.SUSPENDED)), "Suspended", id="suspended before it was Ready"),
        pytest.param(
            _status(a_condition(ConditionType.READY, "True", Reason.SUSPENDED)), "Suspended", id="suspended while Ready"
        ),
    ],
)
def test_the_health_follows_the_conditions(status: dict[str, Any] | None, expected: str) -> None:
    assert _health(status)["status"] == expected


def test_the_health_says_why() -> None:
    assert _health(_status(READY))["message"] == "InSync: as it was"


def test_the_check_is_under_the_key_that_argo_cd_looks_for() -> None:
    kustomization = yaml.safe_load((ARGOCD / "kustomization.yaml").read_text())

    assert kustomization["configMapGenerator"][0]["files"] == [
        "resource.customizations.health.ciliumhybrid.io_CiliumHybrid=health.lua"
    ]
