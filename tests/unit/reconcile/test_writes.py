"""How often the status is written: once for changes at the same time, and never without a change."""

from dataclasses import replace

from builders import a_certificate, a_node, an_agent
from cilium_hybrid.adapters.kube.pod_facts import agent_pod, merge_agent
from cilium_hybrid.api.conditions import Reason
from cilium_hybrid.plan.observation import AgentPod, NodeReady
from unit.world import World, an_empty_world, an_installed_world

NAMES = [f"mi-{number:016}" for number in range(1000)]


def a_large_world() -> World:
    world = an_empty_world(ipam={"podCIDRs": ["10.96.0.0/12"], "maskSize": 25})
    world.cluster.nodes |= {name: a_node(name) for name in NAMES}
    world.settle()
    world.cluster.start_operator()
    world.cluster.roll_out()
    world.finish()
    assert world.ready.reason is Reason.IN_SYNC
    return world


def set_ready(world: World, *names: str, ready: NodeReady) -> None:
    world.cluster.nodes |= {name: a_node(name, ready=ready, message="x" if ready == "False" else "") for name in names}


def test_a_thousand_nodes_that_change_together_cause_one_write() -> None:
    world = a_large_world()
    before = len(world.cluster.written)
    set_ready(world, *NAMES, ready="Unknown")
    world.settle()
    away = len(world.cluster.written) - before
    set_ready(world, *NAMES, ready="True")
    world.settle()

    assert away == 1
    assert len(world.cluster.written) - before == 2
    assert world.status.nodes.summary == "1000/1000"


def test_reconciliations_without_a_change_write_nothing() -> None:
    world = a_large_world()
    set_ready(world, *NAMES[:20], ready="False")
    world.settle()
    before = len(world.cluster.written)
    for _ in range(5):
        world.clock.advance(minutes=10)
        world.settle()

    assert len(world.cluster.written) == before


def test_a_change_that_reverts_between_two_reconciliations_writes_nothing() -> None:
    world = a_large_world()
    before = len(world.cluster.written)
    set_ready(world, NAMES[0], ready="False")
    set_ready(world, NAMES[0], ready="True")
    world.settle()

    assert len(world.cluster.written) == before


def test_a_crash_looping_agent_causes_one_write() -> None:
    world = a_large_world()
    before, name = len(world.cluster.written), NAMES[0]
    message = "CrashLoopBackOff: kernel too old"
    for _ in range(5):
        for phase in (
            an_agent(name, ready=False, crash_message=message),
            an_agent(name, ready=False, failure_message=message, crash_message=message),
        ):
            world.cluster.put_agent(phase)
            world.settle()

    assert len(world.cluster.written) - before == 1


def a_waiting_agent(name: str, reason: str, message: str) -> AgentPod:
    waiting = {"state": {"waiting": {"reason": reason, "message": message}}}
    raw = {"metadata": {"name": name}, "spec": {"nodeName": name}, "status": {"containerStatuses": [waiting]}}
    found = agent_pod(raw)
    assert isinstance(found, AgentPod)
    return found


def test_an_image_pull_that_is_retried_causes_one_write() -> None:
    world = a_large_world()
    before, name = len(world.cluster.written), NAMES[0]
    failing = a_waiting_agent(name, "ErrImagePull", 'failed to pull "x": not found')
    backing_off = a_waiting_agent(name, "ImagePullBackOff", 'Back-off pulling image "x"')
    agent = failing
    for phase in [failing, backing_off] * 5:
        after = merge_agent(agent, phase)
        assert isinstance(after, AgentPod)
        agent = after
        world.cluster.put_agent(agent)
        world.settle()

    assert len(world.cluster.written) - before == 1
    assert world.status.nodes.unready[0].message == 'ErrImagePull: failed to pull "x": not found'


def test_an_expiring_certificate_causes_three_writes() -> None:
    world = an_installed_world()
    before = len(world.cluster.written)
    world.cluster.rest = replace(world.cluster.rest, certificates=(a_certificate(days=40),))
    for _ in range(50 * 24):
        world.clock.advance(hours=1)
        world.settle()
    ended = world.status.findings
    world.cluster.rest = replace(world.cluster.rest, certificates=(a_certificate(days=400),))
    world.settle()

    assert len(ended) == 1
    assert world.status.findings == ()
    assert len(world.cluster.written) - before == 3
    assert world.telemetry.certificates == (a_certificate(days=400),)


def test_it_is_recorded_why_the_status_is_out_of_date_until_it_is_not() -> None:
    world = an_installed_world()
    world.cluster.outage = "status is forbidden"
    world.reconcile()
    assert world.telemetry.status_errors[-1] == "status is forbidden"
    world.cluster.outage = None
    world.reconcile()

    assert world.telemetry.status_errors[-1] is None
