"""Types of the fields of a spec, with their limits and patterns."""

import re
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field, PlainValidator, StringConstraints, WithJsonSchema
from pydantic_core import PydanticCustomError

from cilium_hybrid.api.cel import CIDR_RULES, POD_CIDR_RULES
from cilium_hybrid.api.durations import DURATION_PATTERN
from cilium_hybrid.api.schema import int_or_string, validations
from cilium_hybrid.api.versions import VERSION_PATTERN

MAX_CIDRS: Final = 15
MAX_CIDR_LENGTH: Final = 18
MAX_VIA: Final = 10
MAX_PULL_SECRETS: Final = 10
MIN_MASK_SIZE: Final = 16
MAX_MASK_SIZE: Final = 29
MAX_UNAVAILABLE: Final = 1000
EXAMPLE_DIGEST: Final = "sha256:9b0e2f4d5c1a7e8f3b6d0c2a4e6f8091a3b5c7d9e1f20413253647586970a1b2"

CHART_REF_PATTERN = r"^(oci://[A-Za-z0-9.-]+(:[0-9]{1,5})?(/[a-z0-9._-]+)+|/[^\x00-\x1f]*)$"
PERCENTAGE_PATTERN = r"^([1-9][0-9]?|100)%$"
DIGEST_PATTERN = r"^sha256:[a-f0-9]{64}$"
_LABEL = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
SECRET_PATTERN = rf"^{_LABEL}(\.{_LABEL})*$"
_HOST_PART = r"[A-Za-z0-9]([-A-Za-z0-9]*[A-Za-z0-9])?"
_HOST = rf"({_HOST_PART}(\.{_HOST_PART})+(:[0-9]{{1,5}})?|{_HOST_PART}:[0-9]{{1,5}})"
HOST_PATTERN = rf"^{_HOST_PART}(\.{_HOST_PART})+$"
"""With a dot, because the chart of Cilium takes the word `auto` for something else."""
MIRROR_PATTERN = rf"^{_HOST}(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*$"
"""The host has a dot or a port, because container runtimes take any other first word for a repository of Docker Hub."""


def _int_or_percentage(value: object) -> object:
    # The schema of the CRD accepts 2.0 as an integer, and no CEL rule reads this field.
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    number = isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= MAX_UNAVAILABLE
    if number or (isinstance(value, str) and re.fullmatch(PERCENTAGE_PATTERN, value)):
        return value
    raise PydanticCustomError("int_or_percentage", "must be an integer or a percentage")


IntOrPercentage = Annotated[
    int | str,
    PlainValidator(_int_or_percentage),
    WithJsonSchema(int_or_string(minimum=1, maximum=MAX_UNAVAILABLE, pattern=PERCENTAGE_PATTERN)),
]


class SpecModel(BaseModel):
    """Refuse unknown fields and implicit conversions, as the API server does."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


_CIDRText = Annotated[str, StringConstraints(max_length=MAX_CIDR_LENGTH)]
CIDR = Annotated[_CIDRText, Field(json_schema_extra=validations(*CIDR_RULES))]
PodCIDR = Annotated[_CIDRText, Field(json_schema_extra=validations(*POD_CIDR_RULES))]
Duration = Annotated[str, StringConstraints(min_length=2, max_length=24, pattern=DURATION_PATTERN)]
CIDRs = Annotated[tuple[CIDR, ...], Field(max_length=MAX_CIDRS)]
ChartVersion = Annotated[str, StringConstraints(max_length=24, pattern=VERSION_PATTERN)]
Digest = Annotated[str, StringConstraints(pattern=DIGEST_PATTERN)]
