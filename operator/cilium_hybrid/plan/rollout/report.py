"""How a rollout is reported: its status, its messages and its findings."""

from collections.abc import Iterator, Sequence

from cilium_hybrid.api.status import MAX_UNREADY, RolloutStatus
from cilium_hybrid.plan.observation import Observation
from cilium_hybrid.plan.record import RolloutRecord
from cilium_hybrid.plan.rollout.evidence import EXITS
from cilium_hybrid.plan.rollout.nodes import ILL_AFTER, Member, Members, is_set_aside, list_causes
from cilium_hybrid.plan.rollout.plan import RolloutInput
from cilium_hybrid.rules.text import list_names


def status_of(rollout: RolloutInput, record: RolloutRecord, members: Members, *, progressed: bool) -> RolloutStatus:
    """Return `status.rollout`."""
    connected = [member for member in members.values() if member.connected]
    restarting = [name for name in record.nodes if not members[name].updated]
    unhealthy = [member.name for member in connected if not member.ready and _unhealthy_before(member, record)]
    previous = rollout.previous
    return RolloutStatus(
        updated=sum(member.updated for member in connected),
        total=len(connected),
        outdated=sum(member.outdated for member in connected),
        current=tuple(sorted(restarting)[:MAX_UNREADY]),
        unhealthy_before=tuple(unhealthy[:MAX_UNREADY]),
        last_progress_at=rollout.now if previous is None or progressed else previous.last_progress_at,
    )


def counted(status: RolloutStatus, sentence: str) -> str:
    """Return a sentence after the number of updated nodes."""
    return f"{status.updated} of {status.total} connected nodes updated; {sentence}"


def names_of(members: Sequence[Member], *, canaries: bool) -> str:
    """Return the names of nodes, as canaries or not."""
    names = list_names([member.name for member in members])
    return f"{'canary' if len(members) == 1 else 'canaries'} {names}" if canaries else names


def findings_of(
    rollout: RolloutInput, record: RolloutRecord, members: Members, progress_deadline: float
) -> tuple[str, ...]:
    """Return what is wrong with nodes that do not stop the rollout, at most a sentence for each kind of problem."""
    return tuple(_findings(rollout.observation, record, members, progress_deadline, rollout.settings.progress_deadline))


def _findings(
    observation: Observation, record: RolloutRecord, members: Members, progress_deadline: float, written: str
) -> Iterator[str]:
    set_aside, failing, terminating = list[Member](), list[Member](), list[Member]()
    for name, member in members.items():
        restarted = record.nodes.get(name)
        if member.unready_for is None:
            continue
        if is_set_aside(member, restarted, progress_deadline):
            set_aside.append(member)
        elif member.agent is None and member.terminating and member.unready_for >= ILL_AFTER:
            terminating.append(member)
        elif restarted is None and _fails(member) and not member.outdated:
            failing.append(member)
    if set_aside:
        yield (
            f"the rollout does not wait for {list_causes(set_aside, observation)}: agent not Ready for {written}; "
            "repair or delete the node"
        )
    if terminating:
        names = list_names([member.name for member in terminating])
        yield f"the agent pod on {names} does not terminate; restart the kubelet or the node, or delete the Node"
    if failing:
        yield f"the agent fails on {list_causes(failing, observation)}, which this rollout did not restart"


def _fails(member: Member) -> bool:
    """Whether the agent is ill, or starts once more after it has exited again and again."""
    agent = member.agent
    return member.ill or (agent is not None and agent.exits >= EXITS and bool(agent.crash_message))


def _unhealthy_before(member: Member, record: RolloutRecord) -> bool:
    restarted = record.nodes.get(member.name)
    return member.outdated if restarted is None else not restarted.awaited
