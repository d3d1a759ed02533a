from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cilium_hybrid.plan.registry_mirror import with_mirror

MIRROR = "mirror.example.com/ecr-public"
DEFAULTS: dict[str, Any] = {
    "image": {"repository": "public.ecr.aws/eks/cilium/cilium", "override": None, "tag": "v1", "useDigest": True},
    "operator": {"image": {"repository": "public.ecr.aws/eks/cilium/operator", "suffix": ""}},
    "hubble": {"ui": {"enabled": False, "backend": {"image": {"repository": "quay.io/cilium/hubble-ui-backend"}}}},
    "dns": {"image": {"repository": "", "override": ""}},
    "cni": {"override": "not an image", "chainingMode": None},
    "extra": [{"repository": "a list is not an image"}],
}


def mirrored(values: dict[str, Any]) -> dict[str, Any]:
    return with_mirror(values, DEFAULTS, MIRROR)


def test_every_image_of_the_chart_comes_from_the_mirror() -> None:
    assert mirrored({"debug": {"enabled": True}}) == {
        "debug": {"enabled": True},
        "image": {"repository": f"{MIRROR}/eks/cilium/cilium"},
        "operator": {"image": {"repository": f"{MIRROR}/eks/cilium/operator"}},
        "hubble": {"ui": {"backend": {"image": {"repository": f"{MIRROR}/cilium/hubble-ui-backend"}}}},
    }


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        pytest.param(
            {"repository": "example.com/own/cilium", "tag": "v2"},
            {"repository": f"{MIRROR}/own/cilium", "tag": "v2"},
            id="another repository",
        ),
        pytest.param(
            {"override": "example.com/own/cilium:v2"},
            {"override": f"{MIRROR}/own/cilium:v2", "repository": f"{MIRROR}/eks/cilium/cilium"},
            id="a full image name",
        ),
        pytest.param(
            {"repository": f"{MIRROR}/elsewhere"}, {"repository": f"{MIRROR}/elsewhere"}, id="in the mirror already"
        ),
        pytest.param(None, None, id="removed by null"),
    ],
)
def test_images_in_the_values_override_those_of_the_chart(image: Any, expected: Any) -> None:
    assert mirrored({"image": image})["image"] == expected


TREES = st.recursive(
    st.none() | st.booleans() | st.text(max_size=3),
    lambda inner: st.dictionaries(st.sampled_from(["image", "repository", "override", "a", "b"]), inner, max_size=4),
    max_leaves=12,
)
MAPS = st.dictionaries(st.sampled_from(["image", "a", "b"]), TREES, max_size=3)


def leaves(tree: Any, path: str = "") -> dict[str, Any]:
    if not isinstance(tree, dict):
        return {path: tree}
    return {at: leaf for key, inner in tree.items() for at, leaf in leaves(inner, f"{path}.{key}").items()}


@given(MAPS, MAPS)
def test_only_image_names_change_and_the_change_is_idempotent(values: dict[str, Any], defaults: dict[str, Any]) -> None:
    once = with_mirror(values, defaults, MIRROR)
    before, after = leaves(values), leaves(once)
    changed = {path for path in before.keys() | after.keys() if before.get(path) != after.get(path)}

    assert all(path.endswith((".repository", ".override")) for path in changed)
    assert all(after[path].startswith(f"{MIRROR}/") for path in changed)
    assert with_mirror(once, defaults, MIRROR) == once
