"""`cilium-hybrid plan`: its output matches what then happens, and it changes nothing itself."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from e2e.command import Result, run
from e2e.site import USER, Site
from testbed.operator import ROOT
from testbed.pki import USERS
from testbed.processes import free_port

READS = {"get", "list", "watch"}


@pytest.fixture(autouse=True)
def clean(site: Site) -> Iterator[None]:
    yield
    site.clean()


def _plan(site: Site, *arguments: str, **changes: Any) -> Result:
    manifest = {
        "apiVersion": "ciliumhybrid.io/v1alpha1",
        "kind": "CiliumHybrid",
        "metadata": {"name": "default"},
        "spec": site.spec(**changes),
    }
    return run(site.cluster.env | site.registry.env, "plan", "-", *arguments, stdin=json.dumps(manifest))


def _writes(site: Site) -> list[str]:
    """Return the write requests of the command's user, from the audit log."""
    return [
        event["requestURI"]
        for event in site.cluster.audit_events()
        if event["user"]["username"] == USERS["admin"] and event["verb"] not in READS
    ]


def test_an_upgrade_is_shown_as_steps_with_notes(site: Site) -> None:
    site.apply()
    site.wait_for("InSync", ready="True")
    before = _writes(site)
    planned = _plan(site, version="1.18.8-1")

    assert planned.code == 3
    assert planned.out.splitlines()[:4] == [
        "1. Preflight: checking Cilium 1.17.15-1 on every node with a Ready agent",
        "2. Upgrade: deploying Cilium 1.17.15-1, step 1 of 2; the agent restarts on 5 hybrid nodes",
        "3. Preflight: checking Cilium 1.18.8-1 on every node with a Ready agent",
        "4. Upgrade: deploying Cilium 1.18.8-1, step 2 of 2; the agent restarts on 5 hybrid nodes",
    ]
    assert "   note: every hybrid node needs Linux 5.10 or newer" in planned.out
    assert _writes(site) == before


def test_a_first_install_has_one_step_and_then_no_changes(site: Site) -> None:
    before = _writes(site)
    first = _plan(site)
    written = _writes(site)
    site.apply()
    site.wait_for("InSync", ready="True")
    again = _plan(site)

    assert (first.code, again.code) == (3, 0)
    assert first.out.startswith("1. Install: installing Cilium 1.17.13-1 from oci://")
    assert first.out.splitlines()[0].endswith("on 5 hybrid nodes")
    assert again.out == "No changes. Cilium 1.17.13-1 is deployed.\n"
    assert before
    assert written == before
    assert USER not in first.err + again.err


def test_a_change_happens_as_planned(site: Site) -> None:
    site.apply()
    site.wait_for("InSync", ready="True")
    agents = site.agents()
    appended = {"ipam": {"podCIDRs": ["10.85.0.0/16", "10.86.0.0/16"], "maskSize": 25}}
    quiet = _plan(site, **appended)
    site.apply(**appended)
    site.wait_for("InSync", ready="True")
    same = site.agents() == agents
    loud = _plan(site, **appended, values={"debug": {"enabled": True}})
    site.apply(**appended, values={"debug": {"enabled": True}})
    site.wait_for("InSync", ready="True")

    assert (quiet.code, loud.code) == (3, 3)
    assert "no agent restarts" in quiet.out
    assert "   ipam.operator.clusterPoolIPv4PodCIDRList (changed)" in quiet.out
    assert same
    assert "the agent restarts on 5 hybrid nodes" in loud.out
    assert "   debug (added)" in loud.out
    assert not set(site.agents().values()) & set(agents.values())


def test_a_refused_spec_is_reported_with_its_lines(site: Site) -> None:
    site.apply()
    site.wait_for("InSync", ready="True")
    result = _plan(site, ipam={"podCIDRs": ["10.85.0.0/16", "10.200.0.0/16"], "maskSize": 26})
    document = json.loads(_plan(site, "--output", "json", ipam={"podCIDRs": ["10.85.0.0/16"], "maskSize": 26}).out)

    assert result.code == 1
    assert "-:1: spec.ipam.maskSize: MaskChanged: Invalid value: 26: cannot change from 25" in result.out
    assert "-:1: spec.ipam.podCIDRs[1]: PodCIDROverlap: 10.200.0.0/16 contains addresses in use" in result.out
    assert result.out.endswith("Refused: nothing would be changed.\n")
    assert [finding["reason"] for finding in document["findings"]] == ["MaskChanged"]
    assert (document["steps"], document["end"]) == ([], None)


def test_an_unmanaged_release_blocks_the_plan(site: Site) -> None:
    site.install_by_hand()
    result = _plan(site)

    assert result.code == 1
    assert result.out.startswith("Blocked: ReleaseNotOwned: Helm release cilium in kube-system")


def test_an_unreachable_api_server_has_exit_code_2(site: Site, tmp_path: Path) -> None:
    config = re.sub(r"127\.0\.0\.1:\d+", f"127.0.0.1:{free_port()}", site.cluster.kubeconfig.read_text())
    (tmp_path / "config").write_text(config)
    manifest = str(ROOT / "deploy" / "samples" / "minimal.yaml")
    result = run({}, "plan", manifest, "--kubeconfig", str(tmp_path / "config"))

    assert result.code == 2
    assert result.err == "cilium-hybrid: no answer from the API server (ClientConnectorError)\n"
    assert "Traceback" not in result.err
