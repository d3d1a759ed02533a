"""When a configuration is verified, and what a rollout still waits for."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from cilium_hybrid.api.durations import duration
from cilium_hybrid.plan.record import RolloutRecord
from cilium_hybrid.plan.rollout.nodes import ILL_AFTER, Member, Members, is_set_aside
from cilium_hybrid.plan.rollout.plan import RolloutInput
from cilium_hybrid.plan.rollout.restarted import since


@dataclass(frozen=True, slots=True)
class Remaining:
    """The nodes that keep a rollout from its end.

    `restarted` were healthy and restarted, and are not Ready. `outdated` are healthy and not restarted. `ill` are other
    nodes that are ill or outdated, `unsettled` others that may only have lost contact or joined.
    """

    restarted: Sequence[Member] = ()
    outdated: Sequence[Member] = ()
    ill: Sequence[Member] = ()
    unsettled: Sequence[Member] = ()

    @property
    def members(self) -> Sequence[Member]:
        """All of them, those that are not Ready first."""
        return [*self.restarted, *self.ill, *self.unsettled, *self.outdated]


def remaining_of(record: RolloutRecord, members: Members, progress_deadline: float) -> Remaining:
    """Return the nodes that keep the rollout from its end; nodes that are set aside do not."""
    restarted, outdated, ill, unsettled = list[Member](), list[Member](), list[Member](), list[Member]()
    for name, member in members.items():
        node = record.nodes.get(name)
        if member.updated or is_set_aside(member, node, progress_deadline):
            continue
        if node is not None and node.awaited:
            restarted.append(member)
        elif node is not None:
            # A node that was ill before is waited for, but not for long.
            if node.elapsed < ILL_AFTER:
                ill.append(member)
        elif member.ready:
            outdated.append(member)
        elif member.connected:
            (unsettled if member.unsettled and not member.outdated else ill).append(member)
    return Remaining(restarted, outdated, ill, unsettled)


def advance_verification(
    rollout: RolloutInput, record: RolloutRecord, members: Members, remaining: Remaining, *, blocked: bool
) -> tuple[RolloutRecord, bool]:
    """Return the state with the time for which it has been steady, and whether the configuration is verified.

    `blocked`: DaemonSet or Cilium operator are not updated yet.
    """
    steady = (
        not blocked
        and not record.casualties
        and not remaining.outdated
        and not any(node.awaited for node in record.nodes.values())
        and any(member.updated for member in members.values())
    )
    record = replace(record, steady_for=since(steady, record.steady_for, rollout.elapsed))
    if record.steady_for is None or remaining.ill:
        return record, False
    # A node that has settled has been Ready for the soak time already.
    soak = duration(rollout.settings.soak).total_seconds() if rollout.judged and not record.settled else 0.0
    # Some node of a large site is always about to join or return: it delays the end, but not for ever.
    grace = ILL_AFTER if remaining.unsettled else 0.0
    return record, record.steady_for >= soak + grace
