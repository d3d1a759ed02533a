"""A site without the internet: every image of both releases comes from its mirror, with its Secret."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from e2e.site import NODES, Site
from testbed.processes import wait_until
from testbed.registry import Registry

FAST = {"rollout": {"soak": "1s", "progressDeadline": "5m"}}
MIRROR = "mirror.example.com/ecr-public"
SECRETS = [{"name": "mirror"}]
BEFORE, AFTER = "1.17.15-1", "1.18.8-1"
CHECK = "cilium-pre-flight-check"


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory, charts: Path) -> Iterator[Registry]:
    """A registry with no version between the two."""
    with Registry.start(tmp_path_factory.mktemp("registry")) as started:
        for version in (BEFORE, AFTER):
            started.push(charts / f"cilium-{version}.tgz")
        yield started


@pytest.fixture(autouse=True)
def clean(site: Site) -> Iterator[None]:
    yield
    site.restore()


def _pods(site: Site) -> list[dict[str, Any]]:
    """The pods of both releases."""
    named = ("cilium-", "hubble-")
    return [pod for pod in site.cluster.objects("pods", "kube-system") if pod["metadata"]["name"].startswith(named)]


def _images(pod: dict[str, Any]) -> set[str]:
    return {one["image"] for one in (*pod["spec"]["containers"], *pod["spec"].get("initContainers", []))}


def test_a_site_is_installed_and_upgraded_from_its_mirror_alone(site: Site) -> None:
    seen: dict[str, dict[str, Any]] = {}

    def look() -> dict[str, Any]:
        seen.update({pod["metadata"]["name"]: pod for pod in _pods(site)})
        return site.status()

    hubble = {"hubble": {"relay": {"enabled": True}, "ui": {"enabled": True}}}
    mirrored = {"registryMirror": MIRROR, "imagePullSecrets": SECRETS, "values": hubble, "upgrade": FAST}
    site.apply(version=BEFORE, **mirrored)
    site.wait_for("InSync", ready="True")
    look()
    first = site.running()
    site.apply(version=AFTER, **mirrored)

    def done() -> bool:
        status = look()
        return bool(status["version"].get("running") == AFTER and status["phase"] == "Ready")

    wait_until(done, timeout=120, what="it is upgraded", needs=[site.operator])
    site.wait_for("InSync", ready="True")
    images = {name: _images(pod) for name, pod in seen.items()}
    every = {image for those in images.values() for image in those}

    assert set(first.values()) == {BEFORE}
    assert set(site.running().values()) == {AFTER}
    assert not [image for image in every if not image.startswith(f"{MIRROR}/eks/cilium/")]
    assert {name: pod["spec"].get("imagePullSecrets") for name, pod in seen.items()} == dict.fromkeys(seen, SECRETS)
    # That is all there is: each part, at both versions, and the preflight.
    parts = {image.rpartition("/")[2].partition(":")[0] for image in every}
    assert parts == {"cilium", "operator-generic", "hubble-relay", "hubble-ui", "hubble-ui-backend"}
    for part in ("cilium", "operator-generic"):
        assert {f"{MIRROR}/eks/cilium/{part}:v{version}" for version in (BEFORE, AFTER)} <= every
    checks = [name for name in seen if name.startswith(CHECK)]
    assert len(checks) > len(NODES)
    assert {image for name in checks for image in images[name]} == {f"{MIRROR}/eks/cilium/cilium:v{AFTER}"}


def test_another_mirror_moves_every_agent_and_so_does_a_secret(site: Site) -> None:
    site.apply(version=BEFORE, upgrade=FAST)
    site.wait_for("InSync", ready="True")
    plain = site.agents()
    site.apply(version=BEFORE, upgrade=FAST, imagePullSecrets=SECRETS)
    site.wait_for("InSync", ready="True")
    with_secret = site.agents()
    revisions = site.revisions()
    site.apply(version=BEFORE, upgrade=FAST, imagePullSecrets=SECRETS, registryMirror=MIRROR)
    site.wait_for("InSync", ready="True")

    assert revisions == [(1, "superseded"), (2, "deployed")]
    assert {node for node in NODES if with_secret[node] != plain[node]} == set(NODES)
    assert site.moved(with_secret) == set(NODES)
    assert not [image for pod in _pods(site) for image in _images(pod) if not image.startswith(f"{MIRROR}/")]


def test_an_image_from_elsewhere_is_refused_and_nothing_is_made(site: Site) -> None:
    beside = {"extraContainers": [{"name": "beside", "image": "docker.io/library/busybox:1.37"}]}
    site.apply(version=BEFORE, upgrade=FAST, registryMirror=MIRROR, values=beside)
    refused = site.wait_for("RenderRefused", ready="False")

    assert "docker.io/library/busybox:1.37" in refused["message"]
    assert MIRROR in refused["message"]
    assert site.revisions() == []
