"""Which outdated agents are restarted next: group by group, the canaries first.

Groups come in the order of their names. The canaries of a group are restarted first; when they have settled, the group
is open: its other nodes are restarted as the budget allows. The node of this operator comes last.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from cilium_hybrid.plan.record import RolloutRecord
from cilium_hybrid.plan.rollout.nodes import ILL_AFTER, Member, Members

_MAX_OPEN_GROUPS: Final = 100
"""How many groups are remembered as open; the canaries of any other one are simply tried again."""


@dataclass(slots=True)
class Group:
    """The outdated nodes of a group that no restart was chosen for, by state."""

    healthy: list[Member] = field(default_factory=list)
    unsettled: list[Member] = field(default_factory=list)
    ill: list[Member] = field(default_factory=list)
    disconnected: int = 0
    canaries: int = 0
    """Canaries that have not settled yet."""


Groups = Mapping[str, Group]


@dataclass(frozen=True, slots=True)
class Choice:
    """The agents to restart, and the state of the groups. `canaries`: the agents are canaries."""

    record: RolloutRecord
    chosen: Sequence[Member] = ()
    canaries: bool = False


def groups_of(members: Members, record: RolloutRecord) -> Groups:
    """Return the groups, in order, that have outdated nodes or canaries; without the node of this operator."""
    groups: dict[str, Group] = {}
    for name, member in members.items():
        restarted = record.nodes.get(name)
        if restarted is not None:
            if restarted.canary:
                groups.setdefault(restarted.group, Group()).canaries += 1
        elif member.outdated and not member.own:
            _add(groups.setdefault(member.group, Group()), member)
    return dict(sorted(groups.items()))


def is_restart_in_flight(members: Members, record: RolloutRecord, progress_deadline: float) -> bool:
    """Whether a restarted agent is still awaited: until its deadline, but for two minutes at most if it was ill."""
    return any(
        not members[name].updated and node.elapsed < (progress_deadline if node.awaited else ILL_AFTER)
        for name, node in record.nodes.items()
    )


def choose(
    record: RolloutRecord,
    members: Members,
    groups: Groups,
    *,
    canaries: int,
    budget: int,
    may_restart_ill: bool,
    skipped: Collection[str] = (),
) -> Choice:
    """Choose the agents to restart, at most `budget` healthy ones, and one ill one at a time.

    `canaries` is the number of canaries of each group. `skipped` groups are left alone.
    """
    record = _close_groups(record, groups, canaries, skipped)
    is_open = set(groups) if canaries == 0 else set(record.open_groups)
    usable = {name: group for name, group in groups.items() if name not in skipped}
    if chosen := _first(budget, (member for name in usable if name in is_open for member in usable[name].healthy)):
        return Choice(record, chosen)
    if may_restart_ill:
        ill = (
            member
            for name, group in usable.items()
            if name in is_open or not (group.healthy or group.unsettled or group.canaries)
            for member in group.ill
        )
        if chosen := _first(1, ill):
            return Choice(record, chosen)
    if canaries:
        record = _next_group(record, usable, is_open)
        if record.group is not None and record.group in usable:
            group = usable[record.group]
            if chosen := _first(min(budget, canaries - record.soaked - group.canaries), iter(group.healthy)):
                return Choice(record, chosen, canaries=True)
    if any(group.healthy or group.unsettled or group.canaries for group in usable.values()):
        return Choice(record)
    return Choice(record, _own(members, record, budget, may_restart_ill=may_restart_ill))


def _add(group: Group, member: Member) -> None:
    if not member.connected:
        group.disconnected += 1
    elif member.ready:
        group.healthy.append(member)
    elif member.ill:
        group.ill.append(member)
    else:
        group.unsettled.append(member)


def _first(limit: int, members: Iterator[Member]) -> Sequence[Member]:
    return [member for _, member in zip(range(limit), members, strict=False)]


def _close_groups(record: RolloutRecord, groups: Groups, canaries: int, skipped: Collection[str]) -> RolloutRecord:
    """Open the present group if its canaries have settled, and forget groups that are finished."""
    opened = tuple(name for name in record.open_groups if name in groups)
    name = record.group
    if name is None:
        return replace(record, open_groups=opened)
    group = groups.get(name, Group())
    more = record.soaked < canaries and bool(group.healthy or group.unsettled)
    if name not in skipped and (more or group.canaries):
        return replace(record, open_groups=opened)
    # A group without any settled canary is not open: a node that returns later is a canary then.
    if record.soaked and name in groups and name not in skipped:
        opened = (*opened, name)[-_MAX_OPEN_GROUPS:]
    return replace(record, group=None, soaked=0, open_groups=opened)


def _next_group(record: RolloutRecord, usable: Groups, is_open: Collection[str]) -> RolloutRecord:
    begun = record.group is not None and (record.soaked or usable.get(record.group, Group()).canaries)
    back = next((name for name, group in usable.items() if group.canaries and name not in is_open), None)
    if back is not None and not begun and back != record.group:
        # Its canaries were away with the whole group, and no other group has begun since.
        return replace(record, group=back, soaked=0)
    if record.group is not None:
        return record
    group = next((name for name, g in usable.items() if name not in is_open and (g.healthy or g.unsettled)), None)
    return record if group is None else replace(record, group=group, soaked=0)


def _own(members: Members, record: RolloutRecord, budget: int, *, may_restart_ill: bool) -> Sequence[Member]:
    own = next((member for member in members.values() if member.own), None)
    if own is None or not own.outdated or own.name in record.nodes:
        return ()
    return [own] if (own.ready and budget > 0) or (own.ill and may_restart_ill) else ()
