"""From version to version: found in the registry, checked beforehand, node by node, one tested step at a time."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from e2e.site import NODES, VERSION, Site
from testbed.processes import wait_until
from testbed.registry import Registry

FAST = {"soak": "1s", "progressDeadline": "5m"}
BROKEN = ("1.18.9-1", "1.18.10-1")


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory, charts: Path) -> Iterator[Registry]:
    """A registry with the versions that work: the newest patch of each minor release is a good step."""
    with Registry.start(tmp_path_factory.mktemp("registry")) as started:
        for archive in sorted(charts.glob("*.tgz")):
            if not archive.stem.endswith(BROKEN):
                started.push(archive)
        started.forget_requests()
        yield started


@pytest.fixture(autouse=True)
def clean(site: Site) -> Iterator[None]:
    yield
    site.restore()


def _installed(site: Site, **upgrade: Any) -> dict[str, str]:
    site.apply(upgrade={"rollout": FAST} | upgrade)
    site.wait_for("InSync", ready="True")
    return site.agents()


def _upgraded(site: Site, version: str, *, allow: bool = False, **upgrade: Any) -> None:
    more = {"allowUnsupported": True} if allow else {}
    site.apply(version=version, upgrade={"rollout": FAST} | upgrade, **more)


def _history(site: Site) -> list[tuple[str, str | None, str]]:
    return [(entry["action"], entry.get("from"), entry["to"]) for entry in site.status()["history"]]


def _initial(site: Site) -> str:
    """upgradeCompatibility, as Helm recorded it of the newest revision."""
    values = site.cluster.helm("get", "values", "cilium", "-n", "kube-system", "-o", "yaml")
    (line,) = [line for line in values.splitlines() if line.startswith("upgradeCompatibility")]
    return line.partition(": ")[2]


def _leftovers(site: Site) -> list[str]:
    """What is there of a preflight."""
    pods = site.cluster.objects("pods", "kube-system")
    secrets = site.cluster.objects("secrets", "kube-system", selector="owner=helm,name=cilium-preflight")
    names = [found["metadata"]["name"] for found in [*pods, *secrets] if "deletionTimestamp" not in found["metadata"]]
    return [name for name in names if "pre-flight" in name or "preflight" in name]


def test_a_patch_is_one_step(site: Site) -> None:
    before = _installed(site)
    _upgraded(site, "1.17.15-1")
    seen: set[str] = set()

    def done() -> bool:
        status = site.status()
        seen.update(f"{step['version']} {step['step']}" for step in status.get("plan", []))
        return bool(status["version"].get("running") == "1.17.15-1" and status["phase"] == "Ready")

    wait_until(done, timeout=90, what="it is upgraded", needs=[site.operator])
    site.wait_for("InSync", ready="True")
    status = site.status()

    assert {"1.17.15-1 Preflight", "1.17.15-1 Rollout", "1.17.15-1 Done"} <= seen
    assert status["preflight"] == {
        "version": "1.17.15-1",
        "result": "Passed",
        "ready": 5,
        "expected": 5,
        "findings": [],
    }
    assert site.condition("PreflightPassed")["status"] == "True"  # type: ignore[index]
    assert set(site.running().values()) == {"1.17.15-1"}
    assert site.moved(before) == set(NODES)
    assert _history(site) == [("Install", None, VERSION), ("Upgrade", VERSION, "1.17.15-1")]
    assert _initial(site) in {'"1.17"', "'1.17'"}
    assert not _leftovers(site)


def test_the_newest_patch_comes_before_the_next_minor(site: Site) -> None:
    _installed(site)
    _upgraded(site, "1.18.8-1")
    site.wait_for("InSync", ready="True", timeout=120)
    plan = site.status()["plan"]

    assert [(step["version"], step["phase"]) for step in plan] == [("1.17.15-1", "Done"), ("1.18.8-1", "Done")]
    assert [bool(step.get("notes")) for step in plan] == [False, True]
    assert set(site.running().values()) == {"1.18.8-1"}
    assert _initial(site) in {'"1.17"', "'1.17'"}
    assert not _leftovers(site)


def test_three_minors_in_one_edit(site: Site) -> None:
    _installed(site)
    _upgraded(site, "1.20.0-0", allow=True)
    site.wait_for("InSync", ready="True", timeout=240)

    assert [step["version"] for step in site.status()["plan"]] == ["1.17.15-1", "1.18.8-1", "1.19.4-1", "1.20.0-0"]
    assert [to for _, _, to in _history(site)] == [VERSION, "1.17.15-1", "1.18.8-1", "1.19.4-1", "1.20.0-0"]
    assert set(site.running().values()) == {"1.20.0-0"}
    assert _initial(site) in {'"1.17"', "'1.17'"}


def test_steps_may_be_named(site: Site) -> None:
    _installed(site)
    site.registry.forget_requests()
    _upgraded(site, "1.18.8-1", via=[{"version": "1.18.3-0"}])
    site.wait_for("InSync", ready="True", timeout=120)

    assert [to for _, _, to in _history(site)] == [VERSION, "1.18.3-0", "1.18.8-1"]
    assert not [path for _, path in site.registry.requests if "tags/list" in path]


def test_down_to_what_ran_before(site: Site) -> None:
    _installed(site)
    _upgraded(site, "1.18.8-1", via=[{"version": "1.18.3-0"}])
    site.wait_for("InSync", ready="True", timeout=120)
    _upgraded(site, VERSION)
    site.wait_for("InSync", ready="True", timeout=120)

    assert set(site.running().values()) == {VERSION}
    assert _history(site)[-1] == ("Upgrade", "1.18.8-1", VERSION)


def test_it_waits_for_exactly_this_plan_to_be_approved(site: Site) -> None:
    before = _installed(site, approval="Manual")
    annotate = ("annotate", "--overwrite", "ciliumhybrid", "default")
    _upgraded(site, "1.17.15-1", approval="Manual")
    waiting = site.wait_for("AwaitingApproval", ready="False")
    stale = site.status()["planDigest"]
    site.apply(
        version="1.17.15-1", values={"debug": {"enabled": True}}, upgrade={"rollout": FAST, "approval": "Manual"}
    )
    site.cluster.kubectl(*annotate, f"ciliumhybrid.io/approve={stale}")
    refused = site.wait_for("AwaitingApproval", ready="False")
    wait_until(
        lambda: "of another plan" in site.condition("Ready")["message"],  # type: ignore[index]
        timeout=20,
        what="the stale approval is refused",
        needs=[site.operator],
    )
    nothing = site.revisions()
    digest = site.status()["planDigest"]
    site.cluster.kubectl(*annotate, f"ciliumhybrid.io/approve={digest}")
    site.wait_for("InSync", ready="True", timeout=90)

    assert f"ciliumhybrid.io/approve={stale}" in waiting["message"]
    assert refused["status"] == "False"
    assert digest != stale
    assert nothing == [(1, "deployed")]
    assert site.moved(before) == set(NODES)


@pytest.mark.parametrize("when", ["before", "during", "after"])
def test_a_node_that_does_not_report_neither_blocks_nor_stays_behind(site: Site, when: str) -> None:
    _installed(site)
    if when == "before":
        site.cluster.disconnect(NODES[2])
        wait_until(lambda: site.status()["nodes"]["disconnected"] == 1, timeout=30, what="seen", needs=[site.operator])
    _upgraded(site, "1.17.15-1")
    if when == "during":
        wait_until(
            lambda: site.running().get(NODES[0]) == "1.17.15-1", timeout=60, what="it rolls out", needs=[site.operator]
        )
        site.cluster.disconnect(NODES[4])
    if when == "after":
        site.wait_for("InSync", ready="True", timeout=90)
        site.cluster.disconnect(NODES[2])
    site.wait_for("NodesDisconnected", ready="True", timeout=90)
    for node in NODES:
        site.cluster.reconnect(node)
    site.wait_for("InSync", ready="True", timeout=90)

    assert set(site.running().values()) == {"1.17.15-1"}
    assert not _leftovers(site)


def test_killed_in_mid_upgrade_it_goes_on(site: Site) -> None:
    _installed(site)
    _upgraded(site, "1.18.8-1")
    for reason in ("PreflightRunning", "RollingOut", "PreflightRunning", "RollingOut"):
        site.wait_for(reason, timeout=90)
        site.operator.kill()
        site.operator.start()
    site.wait_for("InSync", ready="True", timeout=120)

    assert site.revisions() == [(1, "superseded"), (2, "superseded"), (3, "deployed")]
    assert set(site.running().values()) == {"1.18.8-1"}
    assert not _leftovers(site)
