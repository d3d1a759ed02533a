"""Upgrades along the versions in the registry, each with a preflight check and a rollout node by node."""

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
    """A registry with working versions only."""
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


def _upgrade(site: Site, version: str, *, allow: bool = False, **upgrade: Any) -> None:
    extra = {"allowUnsupported": True} if allow else {}
    site.apply(version=version, upgrade={"rollout": FAST} | upgrade, **extra)


def _history(site: Site) -> list[tuple[str, str | None, str]]:
    return [(entry["action"], entry.get("from"), entry["to"]) for entry in site.status()["history"]]


def _initial(site: Site) -> str:
    """Return the value `upgradeCompatibility` of the newest Helm revision."""
    values = site.cluster.helm("get", "values", "cilium", "-n", "kube-system", "-o", "yaml")
    (line,) = [line for line in values.splitlines() if line.startswith("upgradeCompatibility")]
    return line.partition(": ")[2]


def _leftovers(site: Site) -> list[str]:
    """Return the objects that a preflight check left behind."""
    pods = site.cluster.objects("pods", "kube-system")
    secrets = site.cluster.objects("secrets", "kube-system", selector="owner=helm,name=cilium-preflight")
    metadata = [item["metadata"] for item in [*pods, *secrets]]
    names = [item["name"] for item in metadata if "deletionTimestamp" not in item]
    return [name for name in names if "pre-flight" in name or "preflight" in name]


def test_a_patch_upgrade_is_one_step(site: Site) -> None:
    before = _installed(site)
    _upgrade(site, "1.17.15-1")
    phases: set[str] = set()

    def upgraded() -> bool:
        status = site.status()
        phases.update(f"{step['version']} {step['phase']}" for step in status.get("plan", []))
        return bool(status["version"].get("running") == "1.17.15-1" and status["phase"] == "Ready")

    wait_until(upgraded, timeout=90, what="the upgrade", needs=[site.operator])
    site.wait_for("InSync", ready="True")
    status = site.status()

    assert {"1.17.15-1 Preflight", "1.17.15-1 Rollout", "1.17.15-1 Done"} <= phases
    assert status["preflight"].pop("digest").startswith("sha256:")
    assert status["preflight"] == {
        "version": "1.17.15-1",
        "result": "Passed",
        "ready": 5,
        "expected": 5,
        "findings": [],
    }
    assert site.condition("PreflightPassed")["status"] == "True"  # type: ignore[index]
    assert set(site.running().values()) == {"1.17.15-1"}
    assert site.restarted(before) == set(NODES)
    assert _history(site) == [("Install", None, VERSION), ("Upgrade", VERSION, "1.17.15-1")]
    assert _initial(site) in {'"1.17"', "'1.17'"}
    assert not _leftovers(site)


def test_the_newest_patch_is_installed_before_the_next_minor(site: Site) -> None:
    _installed(site)
    _upgrade(site, "1.18.8-1")
    site.wait_for("InSync", ready="True", timeout=120)
    plan = site.status()["plan"]

    assert [(step["version"], step["phase"]) for step in plan] == [("1.17.15-1", "Done"), ("1.18.8-1", "Done")]
    assert [bool(step.get("notes")) for step in plan] == [False, True]
    assert set(site.running().values()) == {"1.18.8-1"}
    assert _initial(site) in {'"1.17"', "'1.17'"}
    assert not _leftovers(site)


def test_one_edit_upgrades_three_minors(site: Site) -> None:
    _installed(site)
    _upgrade(site, "1.20.0-0", allow=True)
    site.wait_for("InSync", ready="True", timeout=240)

    assert [step["version"] for step in site.status()["plan"]] == ["1.17.15-1", "1.18.8-1", "1.19.4-1", "1.20.0-0"]
    assert [to for _, _, to in _history(site)] == [VERSION, "1.17.15-1", "1.18.8-1", "1.19.4-1", "1.20.0-0"]
    assert set(site.running().values()) == {"1.20.0-0"}
    assert _initial(site) in {'"1.17"', "'1.17'"}


def test_via_names_the_versions_on_the_path(site: Site) -> None:
    _installed(site)
    site.registry.forget_requests()
    _upgrade(site, "1.18.8-1", via=[{"version": "1.18.3-0"}])
    site.wait_for("InSync", ready="True", timeout=120)

    assert [to for _, _, to in _history(site)] == [VERSION, "1.18.3-0", "1.18.8-1"]
    assert not [path for _, path in site.registry.requests if "tags/list" in path]


def test_a_downgrade_to_a_version_that_ran_before(site: Site) -> None:
    _installed(site)
    _upgrade(site, "1.18.8-1", via=[{"version": "1.18.3-0"}])
    site.wait_for("InSync", ready="True", timeout=120)
    _upgrade(site, VERSION)
    site.wait_for("InSync", ready="True", timeout=120)

    assert set(site.running().values()) == {VERSION}
    assert _history(site)[-1] == ("Upgrade", "1.18.8-1", VERSION)


def test_an_upgrade_waits_until_exactly_its_plan_is_approved(site: Site) -> None:
    before = _installed(site, approval="Manual")
    annotate = ("annotate", "--overwrite", "ciliumhybrid", "default")
    _upgrade(site, "1.17.15-1", approval="Manual")
    waiting = site.wait_for("AwaitingApproval", ready="False")
    old_digest = site.status()["planDigest"]
    site.apply(
        version="1.17.15-1", values={"debug": {"enabled": True}}, upgrade={"rollout": FAST, "approval": "Manual"}
    )
    site.cluster.kubectl(*annotate, f"ciliumhybrid.io/approve={old_digest}")
    still_waiting = site.wait_for("AwaitingApproval", ready="False")
    wait_until(
        lambda: "approves another plan; waiting for approval of" in site.condition("Ready")["message"],  # type: ignore[index]
        timeout=20,
        what="the outdated approval is reported",
        needs=[site.operator],
    )
    revisions = site.revisions()
    digest = site.status()["planDigest"]
    site.cluster.kubectl(*annotate, f"ciliumhybrid.io/approve={digest}")
    site.wait_for("InSync", ready="True", timeout=90)

    assert f"ciliumhybrid.io/approve={old_digest}" in waiting["message"]
    assert still_waiting["status"] == "False"
    assert digest != old_digest
    assert revisions == [(1, "deployed")]
    assert site.restarted(before) == set(NODES)


@pytest.mark.parametrize("when", ["before", "during", "after"])
def test_a_disconnected_node_does_not_block_an_upgrade_and_is_updated_later(site: Site, when: str) -> None:
    _installed(site)
    if when == "before":
        site.cluster.disconnect(NODES[2])
        wait_until(
            lambda: site.status()["nodes"]["disconnected"] == 1,
            timeout=30,
            what="the node is reported as disconnected",
            needs=[site.operator],
        )
    _upgrade(site, "1.17.15-1")
    if when == "during":
        wait_until(
            lambda: site.running().get(NODES[0]) == "1.17.15-1",
            timeout=60,
            what="the canary is updated",
            needs=[site.operator],
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


def test_an_operator_killed_during_an_upgrade_continues_it(site: Site) -> None:
    _installed(site)
    _upgrade(site, "1.18.8-1")
    for reason in ("PreflightRunning", "RollingOut", "PreflightRunning", "RollingOut"):
        site.wait_for(reason, timeout=90)
        site.operator.kill()
        site.operator.start()
    site.wait_for("InSync", ready="True", timeout=120)

    assert site.revisions() == [(1, "superseded"), (2, "superseded"), (3, "deployed")]
    assert set(site.running().values()) == {"1.18.8-1"}
    assert not _leftovers(site)
