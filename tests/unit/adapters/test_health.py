import time

import pytest
from prometheus_client import CollectorRegistry

from cilium_hybrid.adapters.health import STUCK_SECONDS, Health
from cilium_hybrid.adapters.metrics import PrometheusTelemetry


@pytest.mark.parametrize(
    ("seconds", "alive"),
    [
        pytest.param(None, True, id="no pass is under way"),
        pytest.param(STUCK_SECONDS - 60, True, id="a long one is"),
        pytest.param(STUCK_SECONDS + 1, False, id="one hangs"),
    ],
)
def test_it_is_alive_while_no_pass_hangs(monkeypatch: pytest.MonkeyPatch, seconds: float | None, alive: bool) -> None:
    telemetry = PrometheusTelemetry(CollectorRegistry())
    state, began = Health(telemetry), time.monotonic()
    if seconds is not None:
        telemetry.began()
        monkeypatch.setattr(time, "monotonic", lambda: began + seconds)

    assert state.alive is alive


def test_a_pass_that_ended_hangs_no_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    telemetry, began = PrometheusTelemetry(CollectorRegistry()), time.monotonic()
    telemetry.began()
    telemetry.passed(0.1)
    monkeypatch.setattr(time, "monotonic", lambda: began + STUCK_SECONDS + 1)

    assert Health(telemetry).alive
