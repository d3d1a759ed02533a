"""The address of the API server reaches every pod of Cilium that connects to it."""

from typing import Any

from e2e.history import FAST
from e2e.site import Site
from testbed.processes import wait_until

HOST = "0123456789ABCDEF0123456789ABCDEF.gr7.eu-west-1.eks.amazonaws.com"
NEXT = "1.18.8-1"


def _addresses(workload: Any) -> set[tuple[str | None, str | None]]:
    """Return the address that each container has which connects to the API server."""
    pod = workload["spec"]["template"]["spec"]
    found = set()
    for container in (*pod.get("initContainers", ()), *pod["containers"]):
        env = {item["name"]: item.get("value") for item in container.get("env", ())}
        if "KUBERNETES_SERVICE_HOST" in env:
            found.add((env["KUBERNETES_SERVICE_HOST"], env["KUBERNETES_SERVICE_PORT"]))
    return found


def test_agents_operator_and_preflight_connect_to_the_address_in_the_spec(site: Site) -> None:
    site.apply(upgrade={"rollout": FAST})
    site.wait_for("InSync", ready="True")
    before = site.agents()
    site.apply(apiServer={"host": HOST}, upgrade={"rollout": FAST})
    site.wait_for("InSync", ready="True")
    agent = site.cluster.get("daemonset", "cilium", "kube-system")
    operator = site.cluster.get("deployment", "cilium-operator", "kube-system")

    assert len(site.restarted(before)) == 5
    assert _addresses(agent) == _addresses(operator) == {(HOST, "443")}

    site.apply(apiServer={"host": HOST, "port": 6443}, version=NEXT, upgrade={"rollout": FAST})
    preflight = wait_until(
        lambda: site.cluster.get("deployment", "cilium-pre-flight-check", "kube-system"),
        timeout=60,
        what="the preflight check is there",
        needs=[site.operator],
    )
    site.wait_for("InSync", ready="True", timeout=120)
    site.clean()

    assert _addresses(preflight) == {(HOST, "6443")}


def test_an_ip_address_is_accepted_with_a_warning(site: Site) -> None:
    site.apply(apiServer={"host": "10.20.0.10"})
    site.wait_for("InSync", ready="True")
    valid = site.condition("Valid")
    site.clean()

    assert valid is not None
    assert valid["status"] == "True"
    assert "spec.apiServer.host: 10.20.0.10 is an IP address, and those of an EKS endpoint change" in valid["message"]
