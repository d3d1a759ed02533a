"""The manifests of tests/manifests and deploy/samples, validated offline from their spec alone."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from cilium_hybrid.api.v1alpha1 import KIND
from cilium_hybrid.rules.cluster import validate_offline
from cilium_hybrid.rules.spec import ValidationResult
from cilium_hybrid.rules.values import OWNED_PATHS, SUPPORTED_VALUES, UNMANAGED_FEATURES
from manifests.expected import ACCEPTED, LARGE, OUTSIDE_THE_SPEC, REFUSED, SAMPLES, Expected, expected, expected_of

DATE = "tag:yaml.org,2002:timestamp"
LARGEST_FILE = 20 * 1024
NAMES_VALID_VALUES = re.compile(": must |: supported values: |^Required value$")


class Loader(yaml.CSafeLoader):
    """Dates are strings, as in kubectl."""

    yaml_implicit_resolvers = {  # noqa: RUF012 # as in the base class
        letter: [(tag, pattern) for tag, pattern in resolvers if tag != DATE]
        for letter, resolvers in yaml.CSafeLoader.yaml_implicit_resolvers.items()
    }


def specs(text: str) -> Iterator[Any]:
    """Yield the spec of each CiliumHybrid, including those in a list; None if it has none."""
    documents = [document for document in yaml.load_all(text, Loader) if document]
    for document in documents:
        for item in document["items"] if document["kind"] == "List" else [document]:
            if item["kind"] == KIND:
                yield item.get("spec")


def validated(text: str) -> ValidationResult:
    (spec,) = specs(text)
    return validate_offline(spec)


def check(text: str, expected: Expected) -> None:
    result = validated(text)
    violations = (*result.refusals, *result.warnings)

    assert [(violation.reason.value, violation.path) for violation in result.refusals] == expected.refused
    assert [(violation.reason.value, violation.path) for violation in result.warnings] == expected.warned
    assert all(violation.fix or NAMES_VALID_VALUES.search(violation.message) for violation in violations)
    assert all(str(violation).isprintable() for violation in violations)


IN_THE_SPEC = [path for path in REFUSED if path.stem not in OUTSIDE_THE_SPEC]


@pytest.mark.parametrize("path", [*IN_THE_SPEC, *ACCEPTED], ids=lambda path: path.stem)
def test_a_manifest_has_the_result_in_its_header(path: Path) -> None:
    check(path.read_text(), expected(path))


@pytest.mark.parametrize("name", LARGE)
def test_a_large_manifest_has_the_result_in_its_header(name: str) -> None:
    check(LARGE[name], expected_of(LARGE[name]))


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.stem)
def test_a_sample_has_a_description_and_is_valid(path: Path) -> None:
    text = path.read_text()

    assert re.match(r"# [A-Z].*(\n# .*)*\.\n[^#]", text)
    assert validated(text) == ValidationResult()


def test_only_refused_manifests_expect_a_refusal() -> None:
    assert all(expected(path).refused for path in REFUSED)
    assert not any(expected(path).refused or expected(path).api_server for path in ACCEPTED)


def test_files_are_small_and_have_a_kebab_case_name() -> None:
    for path in (*REFUSED, *ACCEPTED):
        assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", path.stem)
        assert path.stat().st_size < LARGEST_FILE
    assert {path.stem for path in REFUSED} >= OUTSIDE_THE_SPEC


def test_every_restricted_path_has_a_manifest() -> None:
    refused = {path.removeprefix("spec.values.") for file in REFUSED for _, path in expected(file).refused}

    assert {*OWNED_PATHS, *UNMANAGED_FEATURES, *SUPPORTED_VALUES} <= refused
