import time

import pytest
from prometheus_client import CollectorRegistry

from cilium_hybrid.adapters.health import RECONCILE_TIMEOUT_SECONDS, Health
from cilium_hybrid.adapters.metrics import PrometheusTelemetry


@pytest.mark.parametrize(
    ("seconds", "alive"),
    [
        pytest.param(None, True, id="idle"),
        pytest.param(RECONCILE_TIMEOUT_SECONDS - 60, True, id="long reconciliation"),
        pytest.param(RECONCILE_TIMEOUT_SECONDS + 1, False, id="hanging reconciliation"),
    ],
)
def test_the_process_is_alive_unless_a_reconciliation_hangs(
    monkeypatch: pytest.MonkeyPatch, seconds: float | None, alive: bool
) -> None:
    telemetry = PrometheusTelemetry(CollectorRegistry())
    health, started = Health(telemetry), time.monotonic()
    if seconds is not None:
        telemetry.reconcile_started()
        monkeypatch.setattr(time, "monotonic", lambda: started + seconds)

    assert health.alive is alive


def test_a_finished_reconciliation_does_not_count_as_hanging(monkeypatch: pytest.MonkeyPatch) -> None:
    telemetry, started = PrometheusTelemetry(CollectorRegistry()), time.monotonic()
    telemetry.reconcile_started()
    telemetry.reconcile_finished(0.1)
    monkeypatch.setattr(time, "monotonic", lambda: started + RECONCILE_TIMEOUT_SECONDS + 1)

    assert Health(telemetry).alive
