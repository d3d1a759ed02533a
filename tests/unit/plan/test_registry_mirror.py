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
    "extra": [{"repository": "a list is nobody's image"}],
}


def made(values: dict[str, Any]) -> dict[str, Any]:
    return with_mirror(values, DEFAULTS, MIRROR)


def test_every_image_of_the_chart_is_named_and_nothing_else() -> None:
    assert made({"debug": {"enabled": True}}) == {
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
            id="a repository of one's own",
        ),
        pytest.param(
            {"override": "example.com/own/cilium:v2"},
            {"override": f"{MIRROR}/own/cilium:v2", "repository": f"{MIRROR}/eks/cilium/cilium"},
            id="a whole image",
        ),
        pytest.param(
            {"repository": f"{MIRROR}/elsewhere"}, {"repository": f"{MIRROR}/elsewhere"}, id="at the mirror already"
        ),
        pytest.param(None, None, id="taken out"),
    ],
)
def test_what_the_values_name_goes_before_the_chart_s(image: Any, expected: Any) -> None:
    assert made({"image": image})["image"] == expected


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
def test_nothing_but_the_names_of_images_changes_and_once_is_enough(
    values: dict[str, Any], defaults: dict[str, Any]
) -> None:
    once = with_mirror(values, defaults, MIRROR)
    before, after = leaves(values), leaves(once)
    changed = {path for path in before.keys() | after.keys() if before.get(path) != after.get(path)}

    assert all(path.endswith((".repository", ".override")) for path in changed)
    assert all(after[path].startswith(f"{MIRROR}/") for path in changed)
    assert with_mirror(once, defaults, MIRROR) == once
