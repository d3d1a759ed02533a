"""A NetworkPolicy holds before, during and after an update, and Services of the cluster are reached."""

import json
import sys
from collections.abc import Callable

import pytest

from real.site import NODES, RealSite
from testbed.processes import WaitError, wait_until

MINORS = ("1.18",)
PORT = 7000
POLICY = {
    "apiVersion": "networking.k8s.io/v1",
    "kind": "NetworkPolicy",
    "metadata": {"name": "only-friends", "namespace": "default"},
    "spec": {
        "podSelector": {"matchLabels": {"app": "server"}},
        "policyTypes": ["Ingress"],
        "ingress": [{"from": [{"podSelector": {"matchLabels": {"friend": "yes"}}}]}],
    },
}
# Connects four times a second, and writes one line for each attempt.
CLIENT = """
import socket, sys, time
while True:
    try:
        socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=float(sys.argv[3])).close()
        print("reached", flush=True)
    except OSError:
        print("refused", flush=True)
    time.sleep(0.25)
"""
pytestmark = pytest.mark.real


def _client(
    site: RealSite, name: str, address: str, port: int, *, patience: float = 5.0, **labels: str
) -> Callable[[], list[str]]:
    """Start a pod that connects again and again, each time for so many seconds; return what its log says."""
    words = (sys.executable, "-c", CLIENT, address, str(port), str(patience))
    site.start_pod(name, NODES[1], *words, labels=labels)
    log = site.cluster.folder / NODES[1] / "logs" / f"{name}-main.log"
    return lambda: log.read_text().split()


@pytest.fixture(scope="module")
def server(site: RealSite) -> str:
    """The address of a server on another node than the clients."""
    site.apply(version=site.version("1.18"))
    site.wait_for("InSync", ready="True", timeout=120)
    return site.start_pod("server", NODES[0], sys.executable, "-m", "testbed.site.traffic", "serve")


def test_a_policy_is_enforced_before_during_and_after_an_update(site: RealSite, server: str) -> None:
    friend = _client(site, "friend", server, PORT, friend="yes")
    stranger = _client(site, "stranger", server, PORT, patience=0.5)
    wait_until(lambda: "reached" in stranger() and "reached" in friend(), timeout=30, what="both clients connect")
    site.cluster.kubectl("apply", "-f", "-", stdin=json.dumps(POLICY))
    wait_until(lambda: stranger()[-3:] == ["refused"] * 3, timeout=30, what="the policy is enforced")
    before = len(friend()), len(stranger())
    agents = site.agents()
    site.apply(version=site.version("1.18"), values={"debug": {"enabled": True}})
    site.wait_for("InSync", ready="True", timeout=180)
    wait_until(lambda: len(friend()) > before[0] + 40, timeout=30, what="the clients continue")

    assert site.restarted(agents) == set(NODES)
    assert set(friend()[before[0] :]) == {"reached"}
    assert set(stranger()[before[1] :]) == {"refused"}


def test_a_pod_reaches_the_api_server_by_its_service(site: RealSite, server: str) -> None:
    assert server
    attempts = _client(site, "api-client", "10.250.0.1", 443)
    try:
        wait_until(lambda: attempts()[-3:] == ["reached"] * 3, timeout=30, what="the Service is reached")
    except WaitError as late:
        late.add_note(str(attempts()))
        raise
