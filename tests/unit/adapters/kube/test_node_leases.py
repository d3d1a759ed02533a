import asyncio
import time
from typing import Any

import pytest

from cilium_hybrid.adapters.kube.client import ApiError
from cilium_hybrid.adapters.kube.node_leases import FORGET_AFTER, NodeLeases

CANARY = ("mi-1", "pod-1")


class Leases:
    """A client that serves the Leases of nodes; `renewed` is when each was renewed."""

    def __init__(self) -> None:
        self.renewed: dict[str, str] = {"mi-1": "10:00:00", "mi-2": "10:00:05"}

    async def get(self, path: str) -> Any:
        name = path.rpartition("/")[2]
        if name not in self.renewed:
            raise ApiError(404, f"leases {name} not found")
        return {"spec": {"renewTime": self.renewed[name]}}


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    seconds = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: seconds[0])
    return seconds


def renewed(leases: NodeLeases, *nodes: tuple[str, str]) -> bool:
    return asyncio.run(leases.renewed(nodes or (CANARY,)))


@pytest.mark.usefixtures("now")
def test_a_node_has_reported_once_its_lease_changes() -> None:
    server = Leases()
    leases = NodeLeases(server)  # type: ignore[arg-type] # only get is called
    before = [renewed(leases), renewed(leases)]
    server.renewed["mi-1"] = "10:00:10"

    assert before == [False, False]
    assert renewed(leases)
    assert not renewed(leases, CANARY, ("mi-2", "pod-2"))
    assert not renewed(leases, ("mi-1", "another pod"))
    assert not renewed(leases, ("mi-gone", "pod-3"))


def test_what_was_known_before_a_pause_does_not_count(now: list[float]) -> None:
    """The node may have been cut off and back meanwhile."""
    server = Leases()
    leases = NodeLeases(server)  # type: ignore[arg-type] # only get is called
    renewed(leases)
    now[0] += FORGET_AFTER + 1
    server.renewed["mi-1"] = "10:02:00"

    assert not renewed(leases)
    server.renewed["mi-1"] = "10:02:10"
    assert renewed(leases)
