import re
from datetime import timedelta

import pytest

from builders import EARLIER, NOW, a_condition
from cilium_hybrid.api.conditions import Condition, ConditionType, Reason, keep_transition_time


@pytest.mark.parametrize("member", [*ConditionType, *Reason])
def test_every_type_and_reason_has_a_name_in_camel_case_and_a_meaning(member: ConditionType | Reason) -> None:
    assert re.fullmatch(r"[A-Z][A-Za-z]+", member)
    assert re.fullmatch(r"[A-Z`].*\.", member.meaning)


def test_a_condition_has_the_form_of_metav1_condition() -> None:
    written = a_condition(ConditionType.READY, "True", Reason.IN_SYNC).model_dump(mode="json", by_alias=True)

    assert written == {
        "type": "Ready",
        "status": "True",
        "reason": "InSync",
        "message": "unchanged",
        "observedGeneration": 1,
        "lastTransitionTime": "2026-03-01T11:00:00Z",
    }
    assert Condition.model_validate(written) == a_condition(ConditionType.READY, "True", Reason.IN_SYNC)


BEFORE = (
    a_condition(ConditionType.VALID, "False", Reason.INVALID_SPEC, last_transition_time=EARLIER - timedelta(days=1)),
    a_condition(ConditionType.READY, "False", Reason.INSTALLING),
)


def test_the_transition_time_is_kept_while_the_status_is_unchanged() -> None:
    now = a_condition(
        ConditionType.READY, "False", Reason.ROLLING_OUT, message="another message", last_transition_time=NOW
    )

    kept = keep_transition_time(BEFORE, now)

    assert kept == now.model_copy(update={"last_transition_time": EARLIER})


def test_the_transition_time_changes_with_the_status() -> None:
    now = a_condition(ConditionType.READY, "True", Reason.IN_SYNC, last_transition_time=NOW)

    assert keep_transition_time(BEFORE, now) == now


def test_a_new_condition_has_a_new_transition_time() -> None:
    now = a_condition(ConditionType.STALLED, "True", Reason.INVALID_SPEC, last_transition_time=NOW)

    assert keep_transition_time(BEFORE, now) == now
