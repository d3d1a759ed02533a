import asyncio
import logging
from collections.abc import Mapping
from typing import Any

import pytest

from builders import NOW
from cilium_hybrid.adapters.kube import events
from cilium_hybrid.adapters.kube.client import ApiError
from cilium_hybrid.adapters.kube.events import EVENTS, MOST_WAITING, Events, event
from cilium_hybrid.api.conditions import Reason
from cilium_hybrid.plan.inputs import Resource
from cilium_hybrid.plan.status.events import StatusEvent
from cilium_hybrid.ports import ClusterUnavailableError

RESOURCE = Resource(1, "1", {}, {}, uid="u1")
ANOTHER = Resource(1, "1", {}, {}, uid="u2")
WELL, ILL = StatusEvent(Reason.IN_SYNC, "all is well"), StatusEvent(Reason.NODES_NOT_READY, "one is not", warning=True)


class Server:
    """Takes Events, or refuses the first ones."""

    def __init__(self, *faults: Exception) -> None:
        self.faults, self.taken = list(faults), [""][:0]

    async def post(self, path: str, body: Mapping[str, Any]) -> None:
        assert path == EVENTS
        if self.faults:
            raise self.faults.pop(0)
        self.taken.append(body["message"])


def told(server: Server, *batches: tuple[Resource, list[StatusEvent]]) -> list[str]:
    async def tell() -> None:
        teller = Events(server.post)
        for resource, status_events in batches:
            teller.tell(resource, status_events)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(teller.run(), 0.05)

    asyncio.run(tell())
    return server.taken


def test_news_are_written_in_their_order() -> None:
    assert told(Server(), (RESOURCE, [ILL, WELL])) == ["one is not", "all is well"]


def test_the_same_is_not_told_again_at_once_but_of_another_resource() -> None:
    assert told(Server(), (RESOURCE, [WELL]), (RESOURCE, [WELL]), (ANOTHER, [WELL])) == ["all is well"] * 2


def test_the_same_is_told_again_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "REPEAT_SECONDS", 0.0)

    assert told(Server(), (RESOURCE, [WELL]), (RESOURCE, [WELL])) == ["all is well"] * 2


@pytest.mark.parametrize("fault", [ApiError(403, "forbidden"), ClusterUnavailableError("no answer")], ids=repr)
def test_an_event_that_cannot_be_written_is_lost_and_the_next_one_is_not(
    fault: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    assert told(Server(fault), (RESOURCE, [ILL, WELL])) == ["all is well"]
    (record,) = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert record.getMessage() == f"an Event is lost (NodesNotReady): {fault}"


def test_what_finds_no_room_is_dropped() -> None:
    many = [StatusEvent(Reason.IN_SYNC, str(number)) for number in range(MOST_WAITING + 5)]

    assert told(Server(), (RESOURCE, many)) == [str(number) for number in range(MOST_WAITING)]


def test_an_event_is_of_the_resource_and_its_message_is_bounded() -> None:
    made = event("u1", StatusEvent(Reason.ROLLED_BACK, "x" * 2000, warning=True), NOW)

    assert made["involvedObject"] == {
        "apiVersion": "ciliumhybrid.io/v1alpha1",
        "kind": "CiliumHybrid",
        "name": "default",
        "uid": "u1",
    }
    assert (made["type"], made["reason"], made["message"]) == ("Warning", "RolledBack", "x" * 1023 + "…")
    assert made["firstTimestamp"] == made["lastTimestamp"] == "2026-03-01T12:00:00Z"
    assert event("u1", WELL, NOW)["type"] == "Normal"
