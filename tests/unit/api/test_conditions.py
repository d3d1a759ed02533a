import re
from datetime import timedelta

import pytest

from builders import EARLIER, NOW, a_condition
from cilium_hybrid.api.conditions import Condition, ConditionType, Reason, since


@pytest.mark.parametrize("word", [*ConditionType, *Reason])
def test_every_word_is_a_name_with_a_meaning(word: ConditionType | Reason) -> None:
    assert re.fullmatch(r"[A-Z][A-Za-z]+", word)
    assert re.fullmatch(r"[A-Za-z`].*\.", word.meaning)


def test_a_condition_has_the_form_of_kubernetes() -> None:
    written = a_condition(ConditionType.READY, "True", Reason.IN_SYNC).model_dump(mode="json", by_alias=True)

    assert written == {
        "type": "Ready",
        "status": "True",
        "reason": "InSync",
        "message": "as it was",
        "observedGeneration": 1,
        "lastTransitionTime": "2026-03-01T11:00:00Z",
    }
    assert Condition.model_validate(written) == a_condition(ConditionType.READY, "True", Reason.IN_SYNC)


BEFORE = (
    a_condition(ConditionType.VALID, "False", Reason.INVALID_SPEC, last_transition_time=EARLIER - timedelta(days=1)),
    a_condition(ConditionType.READY, "False", Reason.INSTALLING),
)


def test_the_transition_time_stays_while_the_status_stays() -> None:
    now = a_condition(ConditionType.READY, "False", Reason.ROLLING_OUT, message="new words", last_transition_time=NOW)

    kept = since(BEFORE, now)

    assert kept == now.model_copy(update={"last_transition_time": EARLIER})


def test_the_transition_time_is_new_when_the_status_changes() -> None:
    now = a_condition(ConditionType.READY, "True", Reason.IN_SYNC, last_transition_time=NOW)

    assert since(BEFORE, now) == now


def test_the_transition_time_is_new_when_the_condition_is() -> None:
    now = a_condition(ConditionType.STALLED, "True", Reason.INVALID_SPEC, last_transition_time=NOW)

    assert since(BEFORE, now) == now
