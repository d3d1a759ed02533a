"""Retries on request, and the Events of a history."""

from dataclasses import replace

import pytest

from cilium_hybrid.api.conditions import Reason
from cilium_hybrid.api.events import EventReason
from cilium_hybrid.plan.actions import (
    Apply,
    MarkRevision,
    Nothing,
    RestartAgents,
)
from cilium_hybrid.plan.observation import (
    ReleasePayload,
)
from unit.plan.cores import DEBUG, a_failing_core, an_installed_core, applied
from unit.plan.stepping import Core, ready


def test_a_foreign_revision_every_minute_is_one_event() -> None:
    core = an_installed_core()
    core.events.clear()
    for number in range(2, 12):
        core.foreign(number, "pending-upgrade", manager="terraform")
        core.step(30.0)
        core.change(number, status="deployed")
        core.step(30.0)

    reasons = [event.reason for event in core.events]
    assert reasons.count(Reason.FOREIGN_REVISION) == 1
    assert len(reasons) <= 2


def test_an_outcome_is_reported_although_the_api_server_was_away_in_between() -> None:
    core = a_failing_core()
    while not isinstance(core.step().decision.action, MarkRevision):
        pass
    core.observation = replace(core.observation, lost_watches=("nodes: 403 Forbidden",))
    assert core.step().decision.reason is Reason.API_UNAVAILABLE
    core.observation = replace(core.observation, lost_watches=())
    core.breaks.clear()
    core.settle()

    reasons = [event.reason for event in core.events]
    assert reasons.count(EventReason.CONFIGURE_FAILED) == 1
    assert reasons.count(EventReason.ROLLBACK_SUCCEEDED) == 1


def test_an_unreadable_revision_stops_everything_and_names_the_secret() -> None:
    core = an_installed_core()
    core.observation = replace(core.observation, payloads={1: ReleasePayload(readable=False)})
    core.edit(values=DEBUG)

    decision = core.step().decision

    assert isinstance(decision.action, Nothing)
    assert "sh.helm.release.v1.cilium.v1" in decision.message


def test_a_request_does_not_resume_over_a_deployed_revision_that_cannot_be_read() -> None:
    core = an_installed_core()
    core.foreign(2, version="1.19.4-1")
    core.foreign(3, status="failed", version="1.19.4-1")
    core.observation = replace(
        core.observation, payloads={**core.observation.payloads, 2: ReleasePayload(readable=False)}
    )
    core.change(2, status="deployed")
    core.requested = "resume"
    core.actions.clear()
    core.settle()

    assert applied(core) == []
    assert core.reason == Reason.RELEASE_LOCKED
    assert "sh.helm.release.v1.cilium.v2" in str(core.status["conditions"])


@pytest.mark.parametrize("restarted", [False, True], ids=["the same process", "after a restart"])
def test_a_request_retries_a_rejected_release_once(restarted: bool) -> None:
    core = a_failing_core()
    core.settle()
    assert core.reason == Reason.ROLLED_BACK
    before = len(applied(core))

    core.requested = "again"
    core.settle(100)
    assert (core.reason, len(applied(core))) == (Reason.ROLLED_BACK, before + 1)
    if restarted:
        core.restart()
    core.settle(100)

    assert (core.reason, len(applied(core))) == (Reason.ROLLED_BACK, before + 1)


def test_a_request_after_a_pause_tries_the_same_node_again() -> None:
    upgrade = {"preflight": {"enabled": False}, "rollout": {"soak": "30s"}, "onFailure": "Pause"}
    core = a_failing_core(upgrade=upgrade)
    core.settle()
    assert core.reason == Reason.ROLLOUT_STALLED
    agent = core.observation.agents["mi-1"]
    core.breaks.clear()
    recovered = replace(agent, ready=True, failure_message="")
    core.observation = replace(core.observation, agents={**core.observation.agents, "mi-1": recovered})

    core.requested = "again"
    core.settle(100)

    assert core.reason == Reason.IN_SYNC
    assert len(applied(core)) == 1


@pytest.mark.parametrize("reason", [Reason.CHART_REFUSED, Reason.RENDER_REFUSED, Reason.INVALID_VALUES])
def test_a_final_failure_is_retried_when_its_input_changes_or_on_request(reason: Reason) -> None:
    core = Core()
    core.fail(core.evaluate(), reason)
    assert ready(core.step()) == ("False", reason, True)

    core.edit(upgrade={"rollout": {"soak": "5m"}})
    assert ready(core.step()) == ("False", reason, True), "a new generation alone retries nothing"
    core.requested = "again"
    core.step()
    retried = core.evaluate()
    assert isinstance(retried.decision.action, Apply)
    core.fail(retried, reason)
    assert ready(core.step()) == ("False", reason, True)
    core.edit(values=DEBUG)

    assert isinstance(core.evaluate().decision.action, Apply)


def test_a_request_continues_a_rollout_whose_canaries_were_deleted() -> None:
    core, deleted = an_installed_core(), 0
    core.edit(values=DEBUG)
    while deleted < 2:
        action = core.step(1.0).decision.action
        if isinstance(action, RestartAgents):
            name = action.pods[0].uid.split()[0]
            nodes = {key: node for key, node in core.observation.nodes.items() if key != name}
            core.observation = replace(core.observation, nodes=nodes)
            deleted += 1
    assert "2 canaries were deleted" in core.settle().decision.message

    core.requested = "continue"

    assert ready(core.settle()) == ("True", "InSync", False)
