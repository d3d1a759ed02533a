import asyncio
import logging
from collections.abc import Mapping
from typing import Any

import pytest

from builders import NOW
from cilium_hybrid.adapters.kube import events
from cilium_hybrid.adapters.kube.client import ApiError
from cilium_hybrid.adapters.kube.events import EVENTS, MAX_QUEUED, EventRecorder, to_event
from cilium_hybrid.api.conditions import Reason
from cilium_hybrid.plan.inputs import Resource
from cilium_hybrid.plan.status.events import StatusEvent
from cilium_hybrid.ports import ClusterUnavailableError

RESOURCE = Resource(1, "1", {}, {}, uid="u1")
ANOTHER = Resource(1, "1", {}, {}, uid="u2")
IN_SYNC = StatusEvent(Reason.IN_SYNC, "all nodes are ready")
NOT_READY = StatusEvent(Reason.NODES_NOT_READY, "a node is not ready", warning=True)


class Server:
    """An API server that accepts Events after it has raised these errors."""

    def __init__(self, *errors: Exception) -> None:
        self.errors, self.messages = list(errors), [""][:0]

    async def post(self, path: str, body: Mapping[str, Any]) -> None:
        assert path == EVENTS
        if self.errors:
            raise self.errors.pop(0)
        self.messages.append(body["message"])


def recorded(server: Server, *batches: tuple[Resource, list[StatusEvent]]) -> list[str]:
    async def record() -> None:
        recorder = EventRecorder(server.post)
        for resource, status_events in batches:
            recorder.record(resource, status_events)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(recorder.run(), 0.05)

    asyncio.run(record())
    return server.messages


def test_events_are_written_in_order() -> None:
    assert recorded(Server(), (RESOURCE, [NOT_READY, IN_SYNC])) == ["a node is not ready", "all nodes are ready"]


def test_a_repeated_event_is_dropped_unless_it_is_about_another_resource() -> None:
    assert (
        recorded(Server(), (RESOURCE, [IN_SYNC]), (RESOURCE, [IN_SYNC]), (ANOTHER, [IN_SYNC]))
        == ["all nodes are ready"] * 2
    )


def test_a_repeated_event_is_written_again_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "REPEAT_SECONDS", 0.0)

    assert recorded(Server(), (RESOURCE, [IN_SYNC]), (RESOURCE, [IN_SYNC])) == ["all nodes are ready"] * 2


@pytest.mark.parametrize("error", [ApiError(403, "forbidden"), ClusterUnavailableError("no answer")], ids=repr)
def test_an_event_that_cannot_be_written_is_dropped_and_the_next_one_is_written(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    assert recorded(Server(error), (RESOURCE, [NOT_READY, IN_SYNC])) == ["all nodes are ready"]
    (record,) = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert record.getMessage() == f"cannot record Event NodesNotReady: {error}"


def test_an_unexpected_error_does_not_end_the_recorder(caplog: pytest.LogCaptureFixture) -> None:
    assert recorded(Server(ValueError("a defect")), (RESOURCE, [NOT_READY, IN_SYNC])) == ["all nodes are ready"]
    assert [record.exc_info is not None for record in caplog.records] == [True]


def test_events_are_dropped_while_the_queue_is_full() -> None:
    many = [StatusEvent(Reason.IN_SYNC, str(number)) for number in range(MAX_QUEUED + 5)]

    assert recorded(Server(), (RESOURCE, many)) == [str(number) for number in range(MAX_QUEUED)]


def test_an_event_refers_to_the_resource_and_its_message_is_truncated() -> None:
    event = to_event("u1", StatusEvent(Reason.ROLLED_BACK, "x" * 2000, warning=True), NOW)

    assert event["involvedObject"] == {
        "apiVersion": "ciliumhybrid.io/v1alpha1",
        "kind": "CiliumHybrid",
        "name": "default",
        "uid": "u1",
    }
    assert (event["type"], event["reason"], event["message"]) == ("Warning", "RolledBack", "x" * 1023 + "…")
    assert event["firstTimestamp"] == event["lastTimestamp"] == "2026-03-01T12:00:00Z"
    assert to_event("u1", IN_SYNC, NOW)["type"] == "Normal"
