"""All that a decision looks at: what is wanted, what is there, and how the last try went."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from cilium_hybrid.api.conditions import Reason
from cilium_hybrid.api.v1alpha1 import FINALIZER, Spec
from cilium_hybrid.plan.observation import Observation
from cilium_hybrid.plan.release import ReleaseState, release_state
from cilium_hybrid.plan.rollout.rollout import NO_ROLLOUT, RolloutPlan
from cilium_hybrid.plan.upgrade.gates import Checks
from cilium_hybrid.plan.upgrade.path import UpgradePath
from cilium_hybrid.rules.rule import Violation


@dataclass(frozen=True, slots=True)
class Resource:
    """The CiliumHybrid as the API server holds it."""

    generation: int
    resource_version: str
    spec: Mapping[str, Any]
    status: Mapping[str, Any]
    finalizers: tuple[str, ...] = ()
    deleting: bool = False
    approved: str | None = None
    """The digest that the annotation of an approval holds."""
    uid: str = ""

    @property
    def has_finalizer(self) -> bool:
        """Whether the operator's finalizer is on it."""
        return FINALIZER in self.finalizers


@dataclass(frozen=True, slots=True)
class Failure:
    """How the last try of the same thing went wrong; `not_before` is None where only a person can mend it."""

    reason: Reason
    message: str
    attempts: int
    not_before: datetime | None

    def waits(self, now: datetime) -> bool:
        """Whether it is too early to try again."""
        return self.not_before is not None and now < self.not_before

    def with_next_try(self) -> str:
        """The message, with how often it was tried and when it is tried again."""
        if self.not_before is None:
            return self.message
        tried = "once" if self.attempts == 1 else f"{self.attempts} times"
        return f"{self.message} (tried {tried}, next at {self.not_before:%H:%M:%SZ})"


@dataclass(frozen=True, slots=True)
class Situation:
    """All that a decision looks at."""

    spec: Spec
    observation: Observation
    upgrade_path: UpgradePath
    violations: Sequence[Violation]
    now: datetime
    failure: Failure | None = None
    has_finalizer: bool = False
    rollout: RolloutPlan = NO_ROLLOUT
    generation: int = 0
    checks: Checks = field(default_factory=Checks)
    approved: str | None = None

    @property
    def state(self) -> ReleaseState:
        """Where the release is, against what comes next."""
        return release_state(self.observation, self.upgrade_path.next)

    @property
    def in_sync(self) -> bool:
        """Whether what is released is the whole of what the spec asks for."""
        return not self.upgrade_path.left and self.state is ReleaseState.IN_SYNC
