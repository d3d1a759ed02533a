"""What happens while the API server is away is no evidence."""

from dataclasses import replace

from builders import a_raw_spec
from unit.world import an_installed_world


def test_exits_during_a_short_outage_of_the_api_server_are_no_evidence() -> None:
    world = an_installed_world()
    world.cluster.edit(a_raw_spec(values={"debug": {"enabled": True}}))
    world.settle()
    world.cluster.start_operator()
    for _ in range(4):
        world.settle()
        world.clock.advance(seconds=5)
    rollout = world.cluster.records[-1].rollout
    assert rollout is not None
    (name,) = rollout.nodes

    world.cluster.outage = "connection refused"
    for _ in range(20):
        world.clock.advance(seconds=1)
        world.reconcile()
    world.cluster.outage = None
    agent = world.cluster.rest.agents[name]
    world.cluster.put_agent(replace(agent, ready=False, started=True, exits=2, crash_message="exit code 1"))
    for _ in range(3):
        world.reconcile()

    assert world.cluster.records[-1].rejected is None
