"""An operator that is killed at any write reaches the same end state."""

import itertools
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest

from e2e.site import Site
from testbed.interposer import Interposer, When
from testbed.operator import operator
from testbed.processes import Process, wait_until

Victim = Literal["operator", "helm", "both"]

STATUS = "PUT ciliumhybrids/default/status"
NEW_REVISION = "POST /secrets"
RELEASE_1 = "PUT sh.helm.release.v1.cilium.v1"
RELEASE_2 = "PUT sh.helm.release.v1.cilium.v2"
RELEASE_3 = "PUT sh.helm.release.v1.cilium.v3"
POD = "DELETE /pods/cilium-"
AGENTS = "PATCH daemonsets/cilium"
PREFLIGHT_DEPLOYED = "PUT sh.helm.release.v1.cilium-preflight.v1"
PREFLIGHT_REMOVED = "DELETE daemonsets/cilium-pre-flight-check"
NEW_RECORD = "PATCH configmaps/cilium-hybrid-applied"
RECORD = "PUT configmaps/cilium-hybrid-applied"
KEPT = "PATCH secrets/cilium-hybrid-verified"
KEPT_REMOVED = "DELETE secrets/cilium-hybrid-verified"
FINALIZER = "PATCH ciliumhybrids/default"

FAULTS = {
    "install": (STATUS, NEW_REVISION, "PATCH serviceaccounts/cilium", AGENTS, RELEASE_1, NEW_RECORD, RECORD, KEPT),
    "change": (STATUS, NEW_REVISION, AGENTS, RELEASE_1, RELEASE_2, RECORD, POD),
    "upgrade": (PREFLIGHT_DEPLOYED, PREFLIGHT_REMOVED, RELEASE_2, POD),
    "rollback": (POD, RELEASE_3),
    "delete": (STATUS, RELEASE_1, "DELETE daemonsets/cilium", "DELETE /secrets/sh.helm", KEPT_REMOVED, FINALIZER),
}
WRITTEN_BY_HELM = (
    NEW_REVISION,
    AGENTS,
    RELEASE_1,
    RELEASE_2,
    RELEASE_3,
    "PATCH serviceaccounts/cilium",
    "DELETE daemonsets/cilium",
    PREFLIGHT_DEPLOYED,
    PREFLIGHT_REMOVED,
)
WHENS: tuple[When, When] = ("before", "after")
VICTIMS: tuple[Victim, ...] = ("operator", "helm", "both")


def _cases() -> Iterator[object]:
    """Yield every write with every victim; `make test` runs one case of every other write, `make test-all` runs all."""
    for change, points in FAULTS.items():
        for index, point in enumerate(points):
            for number, (when, victim) in enumerate(itertools.product(WHENS, VICTIMS)):
                if victim == "helm" and point not in WRITTEN_BY_HELM:
                    continue
                quick = index % 2 == 0 and number == (index // 2 * 5 + 2) % 6
                marks = () if quick else (pytest.mark.long,)
                yield pytest.param(change, point, when, victim, marks=marks, id=f"{change}, {victim} {when} {point}")


def _helm_children(parent: int) -> list[int]:
    """Return the process IDs of the Helm processes that a process has started."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            name = (folder / "comm").read_text().strip()
        except OSError:
            continue
        if int(fields[1]) == parent and name == "helm":
            found.append(int(folder.name))
    return found


def _kill(process: Process, victim: Victim) -> None:
    """Kill all at once, so that none can react to the end of another."""
    assert process.identity is not None
    helms = _helm_children(process.identity.pid)
    if victim == "both":
        process.pause()
    if victim != "operator":
        for helm in helms:
            os.kill(helm, signal.SIGKILL)
    if victim != "helm":
        process.kill()


@pytest.fixture(scope="module")
def interposed(bare_site: Site) -> Iterator[tuple[Site, Interposer]]:
    """A site whose operator connects to the API server through the interposer."""
    kubeconfig = Path(bare_site.operator.env["KUBECONFIG"])
    with Interposer(kubeconfig, bare_site.cluster.folder) as interposer:
        env = {**bare_site.operator.env, "KUBECONFIG": str(interposer.kubeconfig)}
        bare_site.operator = operator(bare_site.cluster, env=env).start()
        yield bare_site, interposer
        bare_site.operator.stop()


@pytest.fixture(autouse=True)
def clean(interposed: tuple[Site, Interposer]) -> Iterator[None]:
    site, _ = interposed
    if not site.operator.alive:
        site.operator.start()
    yield
    if not site.operator.alive:
        site.operator.start()
    site.clean()


def _act(site: Site, change: str) -> None:
    match change:
        case "install":
            site.apply()
        case "change":
            site.apply(values={"debug": {"enabled": True}})
        case "upgrade":
            site.apply(version="1.17.15-1")
        case "rollback":
            broken = {"image": {"override": "registry.example/cilium/broken:v1"}}
            site.apply(values=broken, upgrade={"rollout": {"soak": "1s", "progressDeadline": "5s"}})
        case _:
            site.cluster.kubectl("delete", "ciliumhybrid", "default", "--wait=false")


@pytest.mark.parametrize(("change", "point", "when", "victim"), list(_cases()))
def test_an_operator_killed_at_any_write_reaches_the_same_end_state(
    interposed: tuple[Site, Interposer], change: str, point: str, when: When, victim: Victim
) -> None:
    site, interposer = interposed
    if change != "install":
        site.apply(**({"deletionPolicy": "Uninstall"} if change == "delete" else {}))
        site.wait_for("InSync", ready="True")
        # Or else the change could be stopped at a write that is still about the install.
        site.wait_until_verified()
    interposer.stop_at(point, when, lambda: _kill(site.operator, victim))
    _act(site, change)
    wait_until(lambda: interposer.stopped, timeout=60, what=f"write {point}", needs=[])
    if not site.operator.alive:
        site.operator.start()

    if change == "delete":
        _assert_uninstalled(site)
    elif change == "rollback":
        _assert_rolled_back(site)
    elif change == "upgrade":
        _assert_upgraded(site)
    else:
        _assert_installed(site, changed=change == "change", interrupted=point in WRITTEN_BY_HELM)


def _assert_rolled_back(site: Site) -> None:
    site.wait_for("RolledBack", ready="False")
    wait_until(lambda: site.cluster.ready_nodes() == 7, timeout=30, what="every node is Ready", needs=[site.operator])
    # The status follows the cluster a moment later.
    wait_until(
        lambda: site.status()["nodes"]["agentsReady"] == 5,
        timeout=5,
        what="the status counts every agent",
        needs=[site.operator],
    )
    revisions, agents = site.revisions(), site.cluster.get("daemonset", "cilium", "kube-system")
    (image,) = {container["image"] for container in agents["spec"]["template"]["spec"]["containers"]}

    assert [status for _, status in revisions].count("deployed") == 1
    assert revisions[-1][1] == "deployed"
    assert len(revisions) <= 4, revisions
    assert "broken" not in image


def _assert_upgraded(site: Site) -> None:
    site.wait_for("InSync", ready="True")
    revisions, cluster = site.revisions(), site.cluster

    assert set(site.running().values()) == {"1.17.15-1"}
    assert revisions[-1][1] == "deployed"
    assert len(revisions) <= 3, revisions
    assert [status for _, status in revisions].count("deployed") == 1
    assert not cluster.objects("secrets", "kube-system", selector="owner=helm,name=cilium-preflight")
    assert cluster.get("daemonset", "cilium-pre-flight-check", "kube-system") is None


def _assert_installed(site: Site, *, changed: bool, interrupted: bool) -> None:
    site.wait_for("InSync", ready="True")
    revisions = site.revisions()
    agents = site.cluster.get("daemonset", "cilium", "kube-system")
    config = site.cluster.get("configmap", "cilium-config", "kube-system")["data"]

    assert revisions[-1][1] == "deployed"
    # One revision for each change, and at most another one that Helm was creating when it was killed.
    assert len(revisions) <= 1 + changed + interrupted, revisions
    assert [status for _, status in revisions].count("deployed") == 1
    assert not [status for _, status in revisions if status.startswith("pending")]
    assert agents["metadata"]["uid"]
    assert config["debug"] == ("true" if changed else "false")
    assert site.status()["nodes"]["summary"] == "5/5"


def _assert_uninstalled(site: Site) -> None:
    cluster = site.cluster
    wait_until(
        lambda: cluster.get("ciliumhybrid", "default") is None,
        timeout=60,
        what="the resource is gone",
        needs=[site.operator],
    )

    assert not site.revisions()
    assert cluster.get("daemonset", "cilium", "kube-system") is None
    assert not cluster.objects("pods", "kube-system", selector="k8s-app=cilium")
    assert json.loads(cluster.kubectl("get", "daemonset", "aws-node", "-n", "kube-system", "-o", "json"))
