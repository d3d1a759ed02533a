"""What `cilium-hybrid plan` tells of a cluster, that it is what then happens, and that it changes nothing itself."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from e2e.site import USER, Site
from testbed.operator import ROOT
from testbed.pki import USERS
from testbed.processes import free_port

LIMIT = 60
READS = {"get", "list", "watch"}


@dataclass(frozen=True)
class Planned:
    """What the command said."""

    code: int
    out: str
    err: str


@pytest.fixture(autouse=True)
def clean(site: Site) -> Iterator[None]:
    yield
    site.clean()


def _plan(site: Site, *arguments: str, **changes: Any) -> Planned:
    manifest = {
        "apiVersion": "ciliumhybrid.io/v1alpha1",
        "kind": "CiliumHybrid",
        "metadata": {"name": "default"},
        "spec": site.spec(**changes),
    }
    said = subprocess.run(
        [Path(sys.executable).with_name("cilium-hybrid"), "plan", "-", *arguments],
        input=json.dumps(manifest),
        env=os.environ | site.cluster.env | site.registry.env,
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    return Planned(said.returncode, said.stdout, said.stderr)


def _writes(site: Site) -> list[str]:
    """What was written with the kubeconfig that a plan is made with, by the audit log."""
    return [
        event["requestURI"]
        for event in site.cluster.audit_events()
        if event["user"]["username"] == USERS["admin"] and event["verb"] not in READS
    ]


def test_an_upgrade_by_its_steps_with_what_to_know(site: Site) -> None:
    site.apply()
    site.wait_for("InSync", ready="True")
    before = _writes(site)
    planned = _plan(site, version="1.18.8-1")

    assert planned.code == 3
    assert planned.out.splitlines()[:4] == [
        "1. Preflight: checking Cilium 1.17.15-1 on every node with a Ready agent",
        "2. Upgrade: releasing Cilium 1.17.15-1, step 1 of 2; the agent restarts on 5 hybrid nodes",
        "3. Preflight: checking Cilium 1.18.8-1 on every node with a Ready agent",
        "4. Upgrade: releasing Cilium 1.18.8-1, step 2 of 2; the agent restarts on 5 hybrid nodes",
    ]
    assert "   note: every hybrid node needs Linux 5.10 or newer" in planned.out
    assert _writes(site) == before


def test_a_first_install_and_nothing_after_it(site: Site) -> None:
    before = _writes(site)
    first = _plan(site)
    written = _writes(site)
    site.apply()
    site.wait_for("InSync", ready="True")
    again = _plan(site)

    assert (first.code, again.code) == (3, 0)
    assert first.out.startswith("1. Install: installing Cilium 1.17.13-1 from oci://")
    assert first.out.splitlines()[0].endswith("on 5 hybrid nodes")
    assert again.out == "nothing to do: Cilium 1.17.13-1 is released\n"
    assert before
    assert written == before
    assert USER not in first.err + again.err


def test_a_change_is_told_as_it_then_happens(site: Site) -> None:
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


def test_what_the_cluster_refuses_is_named_with_its_line(site: Site) -> None:
    site.apply()
    site.wait_for("InSync", ready="True")
    said = _plan(site, ipam={"podCIDRs": ["10.85.0.0/16", "10.200.0.0/16"], "maskSize": 26})
    told = json.loads(_plan(site, "--output", "json", ipam={"podCIDRs": ["10.85.0.0/16"], "maskSize": 26}).out)

    assert said.code == 1
    assert "-:1: spec.ipam.maskSize: MaskChanged: cannot change from 25 to 26" in said.out
    assert "-:1: spec.ipam.podCIDRs[1]: PodCIDROverlap: 10.200.0.0/16 holds addresses that are in use" in said.out
    assert said.out.endswith("refused: nothing would be changed\n")
    assert [finding["reason"] for finding in told["findings"]] == ["MaskChanged"]
    assert (told["steps"], told["end"]) == ([], None)


def test_somebody_elses_release_blocks(site: Site) -> None:
    site.install_by_hand()
    said = _plan(site)

    assert said.code == 1
    assert said.out.startswith("blocked: ReleaseNotOwned: Helm release cilium in kube-system")


def test_an_api_server_that_does_not_answer_is_no_verdict(site: Site, tmp_path: Path) -> None:
    config = re.sub(r"127\.0\.0\.1:\d+", f"127.0.0.1:{free_port()}", site.cluster.kubeconfig.read_text())
    (tmp_path / "config").write_text(config)
    said = subprocess.run(
        [Path(sys.executable).with_name("cilium-hybrid"), "plan", ROOT / "deploy" / "samples" / "minimal.yaml"],
        env=os.environ | {"KUBECONFIG": str(tmp_path / "config")},
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )

    assert said.returncode == 2
    assert said.stderr == "cilium-hybrid: no answer from the API server (ClientConnectorError)\n"
    assert "Traceback" not in said.stderr
