from datetime import timedelta
from typing import Any

import pytest

from builders import NODE, NOW
from cilium_hybrid.adapters.kube.event_facts import (
    CreateFailure,
    create_failure,
    newest_create_failure,
    sandbox_event,
    sandbox_failures,
)
from cilium_hybrid.plan.observation import SandboxFailure

OTHER = "mi-other"
ID = "0123456789abcdef" * 4
SET_UP = f'Failed to create pod sandbox: rpc error: code = Unknown desc = failed to setup network for sandbox "{ID}": '
REFUSED = 'plugin type="cilium-cni" failed (add): unable to connect to Cilium agent: connection refused'
FULL = 'plugin type="cilium-cni" failed (add): unable to allocate IP via local cilium agent: range is full'


def at(seconds: int) -> str:
    return (NOW + timedelta(seconds=seconds)).isoformat()


def an_event(message: str = SET_UP + REFUSED, *, node: str = NODE, seconds: int = 0, **more: Any) -> dict[str, Any]:
    """An Event as a kubelet writes it."""
    return {
        "metadata": {"name": "x"},
        "source": {"component": "kubelet", "host": node},
        "message": message,
        "lastTimestamp": at(seconds),
    } | more


def failures(*events: dict[str, Any]) -> dict[str, SandboxFailure]:
    found = [event for event in map(sandbox_event, events) if event is not None]
    return sandbox_failures(found, {NODE, OTHER})


def test_failures_are_counted_by_node_with_the_newest_cause() -> None:
    older = 'plugin type="cilium-cni" failed (add): an older cause'

    assert failures(
        an_event(count=3, seconds=5),
        an_event("(combined from similar events): " + SET_UP + older, seconds=-5, count=4),
        an_event(node=OTHER),
        an_event(node="a-cloud-node"),
    ) == {NODE: SandboxFailure(7, REFUSED), OTHER: SandboxFailure(1, REFUSED)}


def test_events_of_the_newer_api_are_counted_by_their_series() -> None:
    event = {
        "metadata": {"name": "x", "creationTimestamp": at(0)},
        "reportingInstance": NODE,
        "note": SET_UP + REFUSED,
        "series": {"count": 9, "lastObservedTime": at(3)},
        "eventTime": at(1),
    }

    assert failures(event, an_event(SET_UP + FULL, seconds=9)) == {NODE: SandboxFailure(9, REFUSED)}


@pytest.mark.parametrize(
    "message",
    [
        FULL,
        'plugin type="cilium-cni" failed (add): No more IPs available',
        'plugin type="cilium-cni" failed (add): no free IP addresses',
    ],
)
def test_a_lack_of_addresses_is_reported_only_if_nothing_else_fails(message: str) -> None:
    assert failures(an_event(SET_UP + message, count=2)) == {NODE: SandboxFailure(2, message, no_address=True)}
    assert failures(an_event(SET_UP + message, count=2, seconds=9), an_event()) == {NODE: SandboxFailure(1, REFUSED)}


@pytest.mark.parametrize(
    "message",
    [
        'Failed to create pod sandbox: failed to get sandbox image "pause:3.10": i/o timeout',
        'Failed to create pod sandbox: failed to reserve sandbox name "network-x": name is reserved',
        "",
    ],
)
def test_other_causes_than_the_network_are_ignored(message: str) -> None:
    assert failures(an_event(message)) == {}


def test_the_message_has_no_sandbox_id_and_is_the_same_at_each_attempt() -> None:
    ids = [ID[start:] + ID[:start] for start in range(3)]
    attempts = {failures(an_event(f'failed to create pod network sandbox "{sandbox}"'))[NODE] for sandbox in ids}

    assert {failure.message for failure in attempts} == {'failed to create pod network sandbox "…"'}


QUOTA = "is forbidden: exceeded quota: q, requested: pods=1, used: pods=5, limited: pods=5"


def a_failed_create(suffix: str = "x7k2p", seconds: int = 0) -> CreateFailure:
    """The fact of an Event as the DaemonSet controller writes it."""
    return create_failure(
        {
            "metadata": {"name": "cilium.1", "creationTimestamp": at(-3600)},
            "message": f'Error creating: pods "cilium-{suffix}" {QUOTA}',
            "count": 7,
            "lastTimestamp": at(seconds),
        }
    )


def test_the_failure_to_create_agents_is_in_the_words_of_the_controller_without_the_name_of_the_attempt() -> None:
    assert newest_create_failure([a_failed_create()], []) == f'Error creating: pods "cilium-…" {QUOTA}'
    assert a_failed_create("aaaaa") == a_failed_create("bbbbb")


@pytest.mark.parametrize(
    ("created", "cleared"),
    [
        pytest.param([], False, id="no pods"),
        pytest.param([None, -10], False, id="only older pods"),
        pytest.param([0], False, id="a pod of the same attempt"),
        pytest.param([-10, 1], True, id="a pod was created since"),
    ],
)
def test_the_failure_is_over_once_a_pod_is_created_after_it(created: list[int | None], cleared: bool) -> None:
    times = [None if seconds is None else NOW + timedelta(seconds=seconds) for seconds in created]

    assert (newest_create_failure([a_failed_create(seconds=-60), a_failed_create()], times) == "") is cleared


def test_without_an_event_nothing_failed() -> None:
    assert newest_create_failure([], [NOW]) == ""
