from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cilium_hybrid.api.durations import duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30s", 30), ("0s", 0), ("20m", 1200), ("1h", 3600), ("1h30m", 5400), ("2h3m4s", 7384), ("007s", 7)],
)
def test_a_duration_is_parsed(text: str, seconds: int) -> None:
    assert duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "text", ["", "30", "s", "-1s", "1.5h", "1d", "30s1m", "1h 30m", "\N{SUPERSCRIPT TWO}s", "9999999s"]
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a duration"):
        duration(text)


@given(st.integers(0, 999_999), st.integers(0, 999_999), st.integers(0, 999_999))
def test_the_parts_of_a_duration_add_up(hours: int, minutes: int, seconds: int) -> None:
    assert duration(f"{hours}h{minutes}m{seconds}s") == timedelta(hours=hours, minutes=minutes, seconds=seconds)
