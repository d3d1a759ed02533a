import json
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from cilium_hybrid.api.fields import IntOrPercentage

ADAPTER: TypeAdapter[int | str] = TypeAdapter(IntOrPercentage)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        pytest.param(1, 1, id="the smallest number"),
        pytest.param(1000, 1000, id="the largest number"),
        pytest.param(2.0, 2, id="an integer with a decimal point"),
        pytest.param("1%", "1%", id="the smallest percentage"),
        pytest.param("25%", "25%", id="a percentage"),
        pytest.param("100%", "100%", id="the largest percentage"),
    ],
)
def test_accepted_values(value: Any, expected: int | str) -> None:
    accepted = ADAPTER.validate_json(json.dumps(value), strict=True)

    assert (type(accepted), accepted) == (type(expected), expected)


@pytest.mark.parametrize(
    "value",
    [0, -1, 1001, 1.5, True, None, [], {}, "0%", "101%", "01%", "1.5%", "-1%", "25", "%", "x", "", "25%\n", "25 %"],
)
def test_refused_values(value: Any) -> None:
    with pytest.raises(ValidationError, match="int_or_percentage"):
        ADAPTER.validate_json(json.dumps(value), strict=True)
