"""Rules on the pull secrets of a spec."""

from collections.abc import Iterator
from typing import Final

from cilium_hybrid.api.conditions import Reason
from cilium_hybrid.rules.lenient_spec import LenientSpec
from cilium_hybrid.rules.rule import Rule, Violation
from cilium_hybrid.rules.text import format_value


def pull_secrets_are_not_set_in_values(spec: LenientSpec) -> Iterator[Violation]:
    """The value of the chart would be overridden by spec.imagePullSecrets."""
    if spec.pull_secrets and "imagePullSecrets" in spec.values:
        yield Violation(
            Reason.INVALID_VALUES,
            "spec.values.imagePullSecrets",
            "cannot be set together with spec.imagePullSecrets",
            "remove it, and list every Secret in spec.imagePullSecrets",
        )


def pull_secrets_are_unique(spec: LenientSpec) -> Iterator[Violation]:
    """The API server refuses a pod with duplicate pull secrets in a server-side apply."""
    for name in dict.fromkeys(spec.pull_secrets):
        if spec.pull_secrets.count(name) > 1:
            message = f"contains Secret {format_value(name)} {spec.pull_secrets.count(name)} times"
            yield Violation(Reason.INVALID_SPEC, "spec.imagePullSecrets", message, "list it once")


PULL_SECRET_RULES: Final[tuple[Rule[LenientSpec], ...]] = (
    pull_secrets_are_not_set_in_values,
    pull_secrets_are_unique,
)
