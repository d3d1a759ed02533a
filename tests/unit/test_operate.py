"""The start of the operator."""

import asyncio
from pathlib import Path

import pytest

from cilium_hybrid import operate
from cilium_hybrid.adapters.kube import informer
from cilium_hybrid.adapters.kube.cluster import KubeCluster
from fakes import RecordingTelemetry
from tiny_api_server import LIMIT, connected, tiny_api_server

FORBIDDEN = {"daemonsets?": 403, "ciliumnodeconfigs": 403}
"""Kinds that an earlier version of the operator did not watch, so that an older ClusterRole lacks them."""


def test_permissions_that_are_missing_at_the_start_are_reported_until_they_are_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(operate, "SYNC_REPORT_SECONDS", 0.05)
    monkeypatch.setattr(informer, "MAX_RETRY_SECONDS", 0.05)

    async def scenario() -> None:
        async with tiny_api_server() as server, connected(server, tmp_path) as client:
            server.refused, server.lists_too = dict(FORBIDDEN), True
            telemetry, cluster = RecordingTelemetry(), KubeCluster(client, lambda: None)
            tasks = [asyncio.ensure_future(task) for task in cluster.background_tasks()]
            starting = asyncio.ensure_future(operate.wait_until_synced(cluster, telemetry))
            async with asyncio.timeout(LIMIT):
                while not any("ciliumnodeconfigs" in (text or "") for text in telemetry.status_errors):  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
            assert not starting.done()
            server.refused = {}
            await asyncio.wait_for(starting, LIMIT)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

            reported = next(text for text in telemetry.status_errors if text and "ciliumnodeconfigs" in text)
            assert "watch of ciliumnodeconfigs is lost: ciliumnodeconfigs is refused with 403" in reported
            assert telemetry.status_errors[-1] is None

    asyncio.run(scenario())
