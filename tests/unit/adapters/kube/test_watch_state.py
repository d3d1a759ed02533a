"""When a watch counts as lost, on a clock that the test controls."""

import asyncio

import pytest

from cilium_hybrid.adapters.kube import watch_state
from cilium_hybrid.adapters.kube.watch_state import MAX_LENGTH, SILENCE_SECONDS, Loss, WatchState


class Clock:
    """Seconds that only a test advances."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_a_new_watch_is_not_lost(clock: Clock) -> None:
    state = WatchState("nodes", clock=clock)
    clock.seconds += 10 * SILENCE_SECONDS

    assert (state.loss, state.lost_for) == (None, 0.0)


def test_a_loss_lasts_until_the_watch_is_established_and_keeps_its_start(clock: Clock) -> None:
    async def scenario() -> None:
        state = WatchState("nodes", clock=clock)
        state.opened()
        assert state.lose("forbidden")
        clock.seconds += 7
        assert state.lose("unauthorized")
        assert not state.lose("unauthorized")
        state.opened()
        assert state.loss == Loss(1000.0, "unauthorized")
        assert state.lost_for == 7
        assert state.established()
        assert state.loss is None

    asyncio.run(scenario())


def test_a_silent_watch_is_lost_since_it_was_last_heard(clock: Clock) -> None:
    state = WatchState("nodes", clock=clock)
    state.established()
    clock.seconds += SILENCE_SECONDS - 1
    assert state.loss is None

    # As after the machine was suspended: no timer has fired yet.
    clock.seconds += 3600
    assert state.loss == Loss(1000.0, "no data for 150 s")
    assert state.established()
    assert state.loss is None


def test_a_kind_that_is_not_served_is_not_lost(clock: Clock) -> None:
    async def scenario() -> None:
        state = WatchState("ciliumnodes", clock=clock)
        state.established()
        state.lose("no answer")
        state.suspended()
        clock.seconds += 10 * SILENCE_SECONDS
        assert state.loss is None

    asyncio.run(scenario())


def test_the_clause_names_the_watch_and_the_cause_and_is_short() -> None:
    async def scenario() -> None:
        state = WatchState("nodes (a=b)")
        state.lose("nodes is forbidden\n")
        assert str(state) == "watch of nodes (a=b) is lost: nodes is forbidden\\u000a"
        state.lose("x" * 5000)
        assert len(str(state)) == MAX_LENGTH

    asyncio.run(scenario())


def test_a_short_interruption_is_not_reported_but_a_longer_one_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch_state, "GRACE_SECONDS", 0.05)
    reports = list[str]()

    async def scenario() -> None:
        state = WatchState("nodes", changed=lambda: reports.append(str(state)))
        state.lose("cut")
        state.established()
        assert reports == ["watch of nodes"]
        await asyncio.wait_for(state.wait_until_settled(), 0.01)

        state.lose("cut")
        settled = asyncio.ensure_future(state.wait_until_settled())
        await asyncio.sleep(0)
        assert not settled.done()
        await asyncio.wait_for(settled, 5)
        assert reports[1:] == ["watch of nodes is lost: cut"]
        state.lose("cut")
        state.lose("refused")
        assert reports[2:] == ["watch of nodes is lost: refused"]
        state.established()
        assert reports[3:] == ["watch of nodes"]

    asyncio.run(scenario())
