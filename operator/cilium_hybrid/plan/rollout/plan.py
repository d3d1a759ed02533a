"""What a rollout is planned from, and the plan: the next step."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Final

from cilium_hybrid.api.status import RolloutStatus
from cilium_hybrid.api.upgrade import Rollout
from cilium_hybrid.plan.actions import PodRef
from cilium_hybrid.plan.observation import Observation
from cilium_hybrid.plan.record import RestartedNode, RolloutRecord


class RolloutStep(StrEnum):
    """The state of a rollout.

    `DONE`: nothing is left to do or to wait for but time. `STALLED`: it has stopped without evidence against the
    revision, and resumes when the cause clears. `FAILED`: there is evidence against the revision.
    """

    DONE = "Done"
    RESTART = "Restart"
    WAIT = "Wait"
    STALLED = "Stalled"
    FAILED = "Failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutInput:
    """What a rollout to configuration `digest`, which the agents should run, is planned from.

    `before` is the state of the rollout in progress, None if there is none. `elapsed` are the seconds that count since
    the previous reconciliation: 0 if time stood still. `observed`: the API server was reachable since. `unready_for`
    and `healthy_before` come from `advance_timers` of this and `healthy_outdated` of the previous reconciliation.
    `may_start`: agents may be restarted that no rollout has restarted; otherwise restarted nodes are only judged and
    repaired. `judged`: the revision can still be rejected; if not, its content is verified, and there are neither
    canaries nor soak time. `rolling_back`: the agents return to an earlier release; they do not wait for its Cilium
    operator, because they already ran beside the newer one. `rebuilt`: the record was lost, so nodes are restarted one
    by one. `suspects_due`: what was restarted before that is not known yet. `now` and `previous` are only for
    `lastProgressAt` in the status.
    """

    observation: Observation
    digest: str | None
    settings: Rollout
    now: datetime
    before: RolloutRecord | None = None
    previous: RolloutStatus | None = None
    elapsed: float = 0.0
    observed: bool = True
    unready_for: Mapping[str, float] = field(default_factory=dict)
    healthy_before: Mapping[str, RestartedNode] = field(default_factory=dict)
    own_node: str | None = None
    may_start: bool = True
    judged: bool = True
    rolling_back: bool = False
    rebuilt: bool = False
    suspects_due: bool = False


@dataclass(frozen=True, slots=True)
class RolloutPlan:
    """The next step of a rollout.

    `pods` are the agent pods to restart, and `first` says that this rollout has restarted none yet. `record` is the
    state to remember, None if no rollout is in progress. A `RESTART` is done only after `record` was written. `status`
    is None if nothing is being updated. `findings` are problems that do not stop the rollout, a sentence each.
    `failed` are nodes with the evidence against the revision. `verified`: enough nodes run the configuration without
    fault. `recheck_in`: after how many seconds the plan may change even if the cluster does not.
    """

    step: RolloutStep
    message: str = ""
    pods: tuple[PodRef, ...] = ()
    record: RolloutRecord | None = None
    status: RolloutStatus | None = None
    findings: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()
    verified: bool = False
    first: bool = False
    recheck_in: float | None = None


NO_ROLLOUT: Final = RolloutPlan(RolloutStep.DONE)
