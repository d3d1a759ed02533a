import re
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml

from cilium_hybrid.api.versions import CiliumVersion
from cilium_hybrid.rules.supported_minors import (
    Minor,
    Series,
    first_minor,
    known_minors,
    load_minors,
    minor_of,
    read_minor_files,
    supported_minors,
)

README = Path(__file__).parents[3] / "README.md"
FACTS: dict[str, Any] = {
    "supported": True,
    "kernel": "5.10",
    "ingressNeedsKubeProxyReplacement": True,
    "removedCRDs": ["CiliumOld"],
    "apiVersions": {"CiliumPool": "cilium.io/v2alpha1", "CiliumNode": "cilium.io/v2"},
    "notes": ["first"],
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path, "1.9", FACTS)
    return tmp_path


def write(folder: Path, series: str, facts: dict[str, Any]) -> None:
    (folder / f"{series}.yaml").write_text(yaml.safe_dump(facts))


def known(version: str) -> Minor:
    return minor_of(CiliumVersion.parse(version))


@pytest.mark.parametrize(
    ("version", "words"),
    [
        pytest.param("1.17.0", "protocol", id="Services in 1.17"),
        pytest.param("1.18.8-1", "Linux 5.10", id="the kernel of 1.18"),
        pytest.param("1.18.8-1", "operator.tolerations", id="the operator of 1.18"),
        pytest.param("1.19.6-0", "CiliumBGPPeeringPolicy", id="BGP in 1.19"),
        pytest.param("1.19.6-0", "kubeProxyReplacement", id="node ports in 1.19"),
    ],
)
def test_the_notes_of_a_minor_say_what_to_know_before_it(version: str, words: str) -> None:
    assert any(words in note for note in known(version).notes)


@pytest.mark.parametrize(
    ("version", "supported", "kernel", "needs_replacement", "has_peering_policies"),
    [
        pytest.param("1.16.19", False, None, False, True, id="before the oldest known"),
        pytest.param("1.17.13-1", True, None, False, True, id="1.17"),
        pytest.param("1.18.8-1", True, (5, 10), False, True, id="1.18"),
        pytest.param("1.19.4-1", True, (5, 10), True, False, id="1.19"),
        pytest.param("1.20.0-0", False, (5, 10), True, False, id="1.20, which AWS does not support"),
    ],
)
def test_facts_hold_from_the_minor_that_introduces_them(
    version: str, supported: bool, kernel: Series | None, needs_replacement: bool, has_peering_policies: bool
) -> None:
    minor = known(version)

    assert (minor.supported, minor.kernel) == (supported, kernel)
    assert minor.ingress_needs_kube_proxy_replacement is needs_replacement
    assert ("CiliumBGPPeeringPolicy" not in minor.removed_crds) is has_peering_policies
    assert str(minor) == CiliumVersion.parse(version).series


@pytest.mark.parametrize(
    ("version", "api_version"),
    [("1.17.13-1", "cilium.io/v2alpha1"), ("1.18.8-1", "cilium.io/v2"), ("1.20.0", "cilium.io/v2")],
)
def test_a_kind_has_the_api_version_of_the_minor(version: str, api_version: str) -> None:
    assert known(version).api_versions["CiliumBGPClusterConfig"] == api_version


@pytest.mark.parametrize("version", ["1.99.0", "2.0.0"])
def test_a_later_minor_has_the_facts_of_the_newest_known_but_no_support_and_no_notes(version: str) -> None:
    minor = known(version)

    assert minor == replace(known_minors()[-1], series=minor.series, supported=False, notes=())


def test_the_supported_minors_are_those_marked_so() -> None:
    assert [minor.series for minor in supported_minors()] == [
        series for series, file in read_minor_files().items() if file.supported
    ]


def test_the_first_minor_with_a_property_is_the_oldest() -> None:
    assert str(first_minor(lambda minor: minor.kernel is not None)) == "1.18"
    assert first_minor(lambda minor: minor.kernel == (9, 9)) is None


def test_a_file_that_says_little_changes_little(folder: Path) -> None:
    write(folder, "1.10", {"supported": False})

    before, after = load_minors(folder)

    assert after == Minor(
        series=(1, 10),
        kernel=before.kernel,
        ingress_needs_kube_proxy_replacement=True,
        removed_crds=before.removed_crds,
        api_versions=before.api_versions,
    )


def test_a_later_file_overrides_and_adds(folder: Path) -> None:
    changes = {
        "supported": True,
        "kernel": "6.1",
        "ingressNeedsKubeProxyReplacement": False,
        "removedCRDs": ["CiliumOther"],
        "apiVersions": {"CiliumPool": "cilium.io/v2"},
        "notes": ["second"],
    }
    write(folder, "1.10", changes)

    assert load_minors(folder)[-1] == Minor(
        series=(1, 10),
        supported=True,
        kernel=(6, 1),
        removed_crds=frozenset({"CiliumOld", "CiliumOther"}),
        api_versions={"CiliumPool": "cilium.io/v2", "CiliumNode": "cilium.io/v2"},
        notes=("second",),
    )


def test_a_minor_can_be_looked_up_in_another_folder(folder: Path) -> None:
    minors = load_minors(folder)

    assert minor_of(CiliumVersion(1, 9, 3), minors) == minors[0]
    assert minor_of(CiliumVersion(1, 8, 0), minors) == Minor((1, 8))


def test_other_files_in_the_folder_are_ignored(folder: Path) -> None:
    (folder / "README.md").write_text("text")
    (folder / "01.10.yaml").write_text("text")

    assert [*read_minor_files(folder)] == [(1, 9)]


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        pytest.param({}, "1.9.yaml: supported: Field required", id="nothing"),
        pytest.param(None, "1.9.yaml: Input should be a valid dictionary", id="an empty file"),
        pytest.param(FACTS | {"kernal": "5.10"}, "1.9.yaml: kernal: Extra inputs are not permitted", id="a typo"),
        pytest.param(FACTS | {"kernel": 5.1}, "1.9.yaml: kernel: Input should be a valid string", id="a number"),
        pytest.param(FACTS | {"kernel": "5"}, "1.9.yaml: kernel: String should match pattern", id="half a kernel"),
        pytest.param(FACTS | {"supported": "yes"}, "1.9.yaml: supported: Input should be", id="text for a switch"),
        pytest.param(FACTS | {"notes": ["Stops."]}, "1.9.yaml: notes.0: String should match", id="a full stop"),
        pytest.param(FACTS | {"notes": ["x" * 111]}, "1.9.yaml: notes.0: String should have", id="a long note"),
        pytest.param(FACTS | {"notes": ["a\nb"]}, "1.9.yaml: notes.0: String should match", id="a note of two lines"),
    ],
)
def test_a_wrong_file_is_rejected_with_its_name_and_field(folder: Path, facts: Any, message: str) -> None:
    write(folder, "1.9", facts)

    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        load_minors(folder)


def test_a_file_that_is_not_yaml_is_rejected_with_its_name(folder: Path) -> None:
    (folder / "1.9.yaml").write_text("supported: [")

    with pytest.raises(ValueError, match=r"^1\.9\.yaml: "):
        load_minors(folder)


def test_a_missing_minor_is_rejected(folder: Path) -> None:
    write(folder, "1.11", {"supported": True})

    with pytest.raises(ValueError, match=r"no file between 1\.9\.yaml and 1\.11\.yaml"):
        load_minors(folder)


def test_the_supported_minors_have_no_gap() -> None:
    supported = [minor.supported for minor in known_minors()]

    assert sum(before is not after for before, after in pairwise([False, *supported, False])) == 2


def test_a_kernel_requirement_is_never_lowered() -> None:
    kernels = [minor.kernel or (0, 0) for minor in known_minors()]

    assert kernels == sorted(kernels)


def test_each_file_says_only_what_changes() -> None:
    facts = read_minor_files()

    for (before, earlier), (_, later) in pairwise(zip(load_minors(), facts.values(), strict=True)):
        assert later.kernel is None or earlier.kernel != later.kernel
        assert later.ingress_needs_kube_proxy_replacement is not before.ingress_needs_kube_proxy_replacement
        assert before.removed_crds.isdisjoint(later.removed_crds)
        assert before.api_versions.items().isdisjoint(later.api_versions.items())
        assert not {*before.notes} & {*later.notes}


def test_a_kind_with_an_api_version_is_not_removed() -> None:
    assert all(minor.removed_crds.isdisjoint(minor.api_versions) for minor in known_minors())


def test_the_readme_lists_the_known_minors() -> None:
    (row,) = re.findall(r"^\| Cilium \|.*$", README.read_text(), re.MULTILINE)

    supported, _, unsupported = row.partition(":")
    assert re.findall(r"\d+\.\d+", supported) == [str(minor) for minor in supported_minors()]
    newer = [str(minor) for minor in known_minors() if not minor.supported]
    assert re.findall(r"(?<![`.\d])\d+\.\d+(?![.\d])", unsupported) == newer
