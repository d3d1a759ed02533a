"""A site without internet access: every image of both releases comes from its mirror, with its pull secret."""

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
PREFLIGHT = "cilium-pre-flight-check"


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory, charts: Path) -> Iterator[Registry]:
    """A registry with these two versions only."""
    with Registry.start(tmp_path_factory.mktemp("registry")) as started:
        for version in (BEFORE, AFTER):
            started.push(charts / f"cilium-{version}.tgz")
        yield started


@pytest.fixture(autouse=True)
def clean(site: Site) -> Iterator[None]:
    yield
    site.restore()


def _pods(site: Site) -> list[dict[str, Any]]:
    """Return the pods of releases cilium and cilium-preflight."""
    prefixes = ("cilium-", "hubble-")
    return [pod for pod in site.cluster.objects("pods", "kube-system") if pod["metadata"]["name"].startswith(prefixes)]


def _images(pod: dict[str, Any]) -> set[str]:
    containers = (*pod["spec"]["containers"], *pod["spec"].get("initContainers", []))
    return {container["image"] for container in containers}


def test_a_site_is_installed_and_upgraded_from_a_mirror_only(site: Site) -> None:
    pods: dict[str, dict[str, Any]] = {}

    def collect_pods() -> None:
        pods.update({pod["metadata"]["name"]: pod for pod in _pods(site)})

    hubble = {"hubble": {"relay": {"enabled": True}, "ui": {"enabled": True}}}
    mirrored = {"registryMirror": MIRROR, "imagePullSecrets": SECRETS, "values": hubble, "upgrade": FAST}
    site.apply(version=BEFORE, **mirrored)
    site.wait_for("InSync", ready="True")
    collect_pods()
    first = site.running()
    site.apply(version=AFTER, **mirrored)

    def upgraded() -> bool:
        collect_pods()
        status = site.status()
        return bool(status["version"].get("running") == AFTER and status["phase"] == "Ready")

    wait_until(upgraded, timeout=120, what="the upgrade", needs=[site.operator])
    site.wait_for("InSync", ready="True")
    images = {name: _images(pod) for name, pod in pods.items()}
    all_images = set().union(*images.values())

    assert set(first.values()) == {BEFORE}
    assert set(site.running().values()) == {AFTER}
    assert not [image for image in all_images if not image.startswith(f"{MIRROR}/eks/cilium/")]
    assert {name: pod["spec"].get("imagePullSecrets") for name, pod in pods.items()} == dict.fromkeys(pods, SECRETS)
    # Every component ran at both versions, and the preflight check at the new one.
    components = {image.rpartition("/")[2].partition(":")[0] for image in all_images}
    assert components == {"cilium", "operator-generic", "hubble-relay", "hubble-ui", "hubble-ui-backend"}
    for component in ("cilium", "operator-generic"):
        assert {f"{MIRROR}/eks/cilium/{component}:v{version}" for version in (BEFORE, AFTER)} <= all_images
    checks = [name for name in pods if name.startswith(PREFLIGHT)]
    assert len(checks) > len(NODES)
    assert {image for name in checks for image in images[name]} == {f"{MIRROR}/eks/cilium/cilium:v{AFTER}"}


def test_a_new_mirror_or_pull_secret_restarts_every_agent(site: Site) -> None:
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
    assert site.restarted(with_secret) == set(NODES)
    assert not [image for pod in _pods(site) for image in _images(pod) if not image.startswith(f"{MIRROR}/")]


def test_an_image_from_another_registry_is_refused_before_anything_is_applied(site: Site) -> None:
    sidecar = {"extraContainers": [{"name": "sidecar", "image": "docker.io/library/busybox:1.37"}]}
    site.apply(version=BEFORE, upgrade=FAST, registryMirror=MIRROR, values=sidecar)
    refused = site.wait_for("RenderRefused", ready="False")

    assert "docker.io/library/busybox:1.37" in refused["message"]
    assert MIRROR in refused["message"]
    assert site.revisions() == []
