import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cilium_hybrid.api.conditions import Reason
from cilium_hybrid.api.fields import MIRROR_PATTERN
from cilium_hybrid.rules.rendered.images import images_are_from_mirror, is_at_mirror, mirrored_image
from cilium_hybrid.rules.rendered.rules import MANIFEST_RULES, PREFLIGHT_RULES, manifest_rules, preflight_rules

MIRROR = "mirror.example.com/ecr-public"
GOOD = f"{MIRROR}/eks/cilium/cilium:v1.17.13-1"
IMAGES = st.from_regex(r"([a-z]{1,3}(\.[a-z]{1,3}){0,2}(:[0-9]{1,2})?/)?[a-z]{1,4}(/[a-z]{1,4}){0,2}", fullmatch=True)


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        pytest.param("public.ecr.aws/eks/cilium/cilium", f"{MIRROR}/eks/cilium/cilium", id="from AWS"),
        pytest.param("quay.io/cilium/cilium:v1@sha256:ab", f"{MIRROR}/cilium/cilium:v1@sha256:ab", id="tag and digest"),
        pytest.param("registry:5000/cilium", f"{MIRROR}/cilium", id="a host with a port"),
        pytest.param("localhost/cilium", f"{MIRROR}/cilium", id="localhost"),
        pytest.param("cilium/cilium", f"{MIRROR}/cilium/cilium", id="from Docker Hub"),
        pytest.param("busybox:1.37", f"{MIRROR}/library/busybox:1.37", id="an official image of Docker Hub"),
        pytest.param(GOOD, GOOD, id="already from the mirror"),
        pytest.param(f"{MIRROR}-2/cilium", f"{MIRROR}/ecr-public-2/cilium", id="a name with the mirror as prefix"),
    ],
)
def test_the_mirror_replaces_the_registry_host(image: str, expected: str) -> None:
    assert mirrored_image(image, MIRROR) == expected


@given(IMAGES, st.sampled_from([MIRROR, "registry:5000", "mirror.example.com"]))
def test_a_mirrored_image_is_at_the_mirror_and_stays_the_same(image: str, mirror: str) -> None:
    made = mirrored_image(image, mirror)

    assert is_at_mirror(made, mirror)
    assert mirrored_image(made, mirror) == made
    assert made.endswith(image.rpartition("/")[2])


@given(st.from_regex(MIRROR_PATTERN.replace("$", r"\Z"), fullmatch=True))
def test_container_runtimes_treat_every_valid_mirror_as_a_host(mirror: str) -> None:
    host = mirror.partition("/")[0]

    assert "." in host or ":" in host
    assert not re.search(r"\s|//|/$", mirror)


def a_workload(pod: dict[str, Any], kind: str = "DaemonSet") -> dict[str, Any]:
    return {"kind": kind, "metadata": {"name": "cilium"}, "spec": {"template": {"spec": pod}}}


def refused(pod: dict[str, Any]) -> list[str]:
    found = list(images_are_from_mirror(MIRROR)([a_workload(pod)]))
    assert {broken.reason for broken in found} <= {Reason.RENDER_REFUSED}
    return [f"{broken.path} {broken.message}" for broken in found]


@pytest.mark.parametrize(
    "pod",
    [
        pytest.param({"containers": [{"image": "quay.io/cilium/cilium"}]}, id="a container"),
        pytest.param({"containers": [{"image": GOOD}, {"image": "quay.io/cilium/cilium"}]}, id="one of two"),
        pytest.param({"initContainers": [{"image": "quay.io/cilium/cilium"}]}, id="an init container"),
        pytest.param({"volumes": [{"image": {"reference": "quay.io/cilium/cilium"}}]}, id="a volume"),
        pytest.param({"containers": [{"image": "quay.io/cilium/cilium"}] * 2}, id="a duplicate is reported once"),
    ],
)
def test_an_image_from_another_registry_is_refused_by_name(pod: dict[str, Any]) -> None:
    (said,) = refused(pod)

    assert said.startswith('DaemonSet cilium has image "quay.io/cilium/cilium"')
    assert MIRROR in said


@pytest.mark.parametrize("image", [None, 7, "", MIRROR, f"{MIRROR}-2/cilium", f"x/{MIRROR}/cilium"])
def test_an_image_that_only_resembles_the_mirror_is_refused(image: object) -> None:
    assert len(refused({"containers": [{"image": image}]})) == 1


@pytest.mark.parametrize(
    "pod",
    [
        pytest.param({"containers": [{"image": GOOD}], "initContainers": [{"image": GOOD}]}, id="all from the mirror"),
        pytest.param({"containers": [], "volumes": [{"emptyDir": {}}]}, id="no image"),
    ],
)
def test_images_from_the_mirror_are_accepted(pod: dict[str, Any]) -> None:
    assert refused(pod) == []


def test_without_a_mirror_any_image_is_accepted() -> None:
    assert manifest_rules(None) == MANIFEST_RULES
    assert preflight_rules(None) == PREFLIGHT_RULES


@pytest.mark.parametrize("rules", [manifest_rules, preflight_rules])
def test_with_a_mirror_both_releases_are_validated(rules: Any) -> None:
    messages = [
        broken.message
        for rule in rules(MIRROR)
        for broken in rule([a_workload({"containers": [{"image": "quay.io/cilium/cilium"}]})])
    ]

    assert any("quay.io/cilium/cilium" in message for message in messages)
