"""How many nodes may be unavailable at the same time."""

from collections.abc import Sequence

from cilium_hybrid.api.upgrade import Rollout
from cilium_hybrid.plan.record import RestartedNode, RolloutRecord
from cilium_hybrid.plan.rollout.nodes import Member, Members, is_set_aside, old_pod_stands


def max_unavailable_nodes(settings: Rollout, connected: int) -> int:
    """Return `maxUnavailable` as a number of nodes: a percentage of the connected nodes, rounded up, at least 1."""
    value = settings.max_unavailable
    if isinstance(value, int):
        return value
    percent = int(value.removesuffix("%"))
    return max(-(-percent * connected // 100), 1)


def allowed_unavailable(record: RolloutRecord, members: Members, settings: Rollout) -> int:
    """Return how many nodes may be unavailable: as many as at the start, but never more than the settings allow now."""
    connected = sum(member.connected for member in members.values())
    return min(record.max_unavailable, max_unavailable_nodes(settings, connected))


def unavailable_members(members: Members, record: RolloutRecord, progress_deadline: float) -> Sequence[Member]:
    """Return the nodes that are unavailable.

    These are the restarted nodes that are not Ready, connected or not, and the other connected nodes whose agent is not
    Ready and that are not set aside. A node whose restart was chosen is one of them although its old pod still stands
    and is Ready: the pod may be gone already, unseen.
    """
    lost = set(record.casualties)
    return [
        member
        for name, member in members.items()
        if _is_unavailable(member, record.nodes.get(name), progress_deadline, lost=name in lost)
    ]


def _is_unavailable(member: Member, restarted: RestartedNode | None, progress_deadline: float, *, lost: bool) -> bool:
    if restarted is not None:
        chosen = old_pod_stands(member, restarted) and (restarted.healthy or member.ready)
        if chosen or not member.connected:
            return True
    if member.unready_for is None:
        return False
    if lost and (restarted is None or restarted.elapsed < progress_deadline):
        # An earlier revision left it not Ready. If its next agent does not get Ready either, the others are repaired.
        return True
    return not is_set_aside(member, restarted, progress_deadline)
