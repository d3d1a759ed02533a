"""The Argo CD health check, run as Argo CD runs it: Lua 5.1 with the resource as global `obj`."""

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
    # Through JSON, as in Argo CD: absent fields are nil.
    lua.globals().obj = lua.table_from(json.loads(json.dumps(resource)), recursive=True)
    return dict(lua.execute((ARGOCD / "health.lua").read_text()))


def _status(*conditions: Condition, observed: int = GENERATION) -> dict[str, Any]:
    return dump(a_status(*conditions, observed_generation=observed))


READY = a_condition(ConditionType.READY, "True", Reason.IN_SYNC)
RECONCILING = ConditionType.RECONCILING
STALLED = ConditionType.STALLED


def _not_ready(reason: Reason, kind: ConditionType | None = None) -> tuple[Condition, ...]:
    ready = a_condition(ConditionType.READY, "False", reason)
    return (ready,) if kind is None else (ready, a_condition(kind, "True", reason))


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        pytest.param(None, "Progressing", id="no status yet"),
        pytest.param({}, "Progressing", id="no conditions yet"),
        pytest.param({"observedGeneration": -1}, "Progressing", id="default status of the CRD"),
        pytest.param(_status(READY), "Healthy", id="in sync"),
        pytest.param(_status(READY, observed=2), "Progressing", id="Ready for an older generation"),
        pytest.param(
            _status(*_not_ready(Reason.ROLLED_BACK, STALLED), observed=2),
            "Progressing",
            id="rolled back in an older generation",
        ),
        pytest.param(_status(*_not_ready(Reason.ROLLING_OUT, RECONCILING)), "Progressing", id="rolling out"),
        pytest.param(_status(*_not_ready(Reason.CHART_UNAVAILABLE, RECONCILING)), "Progressing", id="retrying"),
        pytest.param(_status(*_not_ready(Reason.ROLLED_BACK, STALLED)), "Degraded", id="rolled back"),
        pytest.param(_status(*_not_ready(Reason.NODES_NOT_READY)), "Degraded", id="node failed after the rollout"),
        pytest.param(_status(*_not_ready(Reason.AWAITING_APPROVAL)), "Suspended", id="awaiting approval"),
        pytest.param(
            _status(*_not_ready(Reason.AWAITING_APPROVAL, STALLED)), "Suspended", id="awaiting approval and stalled"
        ),
        pytest.param(_status(*_not_ready(Reason.SUSPENDED)), "Suspended", id="suspended and not Ready"),
        pytest.param(
            _status(a_condition(ConditionType.READY, "True", Reason.SUSPENDED)), "Suspended", id="suspended and Ready"
        ),
    ],
)
def test_the_health_follows_the_conditions(status: dict[str, Any] | None, expected: str) -> None:
    assert _health(status)["status"] == expected


def test_the_message_is_that_of_the_ready_condition() -> None:
    assert _health(_status(READY))["message"] == f"InSync: {READY.message}"


def test_the_check_is_stored_under_the_key_that_argo_cd_reads() -> None:
    kustomization = yaml.safe_load((ARGOCD / "kustomization.yaml").read_text())

    assert kustomization["configMapGenerator"][0]["files"] == [
        "resource.customizations.health.ciliumhybrid.io_CiliumHybrid=health.lua"
    ]
