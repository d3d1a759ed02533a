"""The manifests of tests/manifests and deploy/samples, as far as the spec by itself is judged."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from cilium_hybrid.api.v1alpha1 import KIND
from cilium_hybrid.rules.spec import ValidationResult, validate_spec
from cilium_hybrid.rules.values import FEATURES, OWNED_PATHS, SUPPORTED
from manifests.expected import ACCEPTED, LARGE, OF_THE_DOCUMENT, REFUSED, SAMPLES, Expected, expected, expected_of

DATE = "tag:yaml.org,2002:timestamp"
LARGEST_FILE = 20 * 1024


class Loader(yaml.CSafeLoader):
    """Dates are texts to kubectl, also those that are none."""

    yaml_implicit_resolvers = {  # noqa: RUF012 # as in the class above
        letter: [(tag, pattern) for tag, pattern in resolvers if tag != DATE]
        for letter, resolvers in yaml.CSafeLoader.yaml_implicit_resolvers.items()
    }


def specs(text: str) -> Iterator[Any]:
    """The spec of each CiliumHybrid, also of those in a list; None where there is none."""
    documents = [document for document in yaml.load_all(text, Loader) if document]
    for document in documents:
        for one in document["items"] if document["kind"] == "List" else [document]:
            if one["kind"] == KIND:
                yield one.get("spec")


def judged(text: str) -> ValidationResult:
    (spec,) = specs(text)
    return validate_spec(spec)


def check(text: str, desired_release: Expected) -> None:
    verdict = judged(text)

    assert [(one.reason.value, one.path) for one in verdict.refusals] == desired_release.refused
    assert [(one.reason.value, one.path) for one in verdict.warnings] == desired_release.warned
    assert all(one.message and one.fix for one in (*verdict.refusals, *verdict.warnings))
    assert all(str(one).isprintable() for one in (*verdict.refusals, *verdict.warnings))


OF_THE_SPEC = [path for path in REFUSED if path.stem not in OF_THE_DOCUMENT]


@pytest.mark.parametrize("path", [*OF_THE_SPEC, *ACCEPTED], ids=lambda path: path.stem)
def test_a_manifest_gets_the_verdict_that_it_names(path: Path) -> None:
    check(path.read_text(), expected(path))


@pytest.mark.parametrize("name", LARGE)
def test_a_large_one_likewise(name: str) -> None:
    check(LARGE[name], expected_of(LARGE[name]))


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.stem)
def test_a_sample_says_what_it_is_for_and_breaks_no_rule(path: Path) -> None:
    text = path.read_text()

    assert re.match(r"# [A-Z].*\.\n[^#]", text)
    assert judged(text) == ValidationResult()


def test_what_is_refused_says_why_and_what_is_accepted_does_not() -> None:
    assert all(expected(path).refused for path in REFUSED)
    assert not any(expected(path).refused or expected(path).api_server for path in ACCEPTED)


def test_files_are_small_and_named_after_what_they_show() -> None:
    for path in (*REFUSED, *ACCEPTED):
        assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", path.stem)
        assert path.stat().st_size < LARGEST_FILE
    assert {path.stem for path in REFUSED} >= OF_THE_DOCUMENT


def test_every_path_of_the_values_that_is_not_free_has_its_manifest() -> None:
    shown = {path.removeprefix("spec.values.") for file in REFUSED for _, path in expected(file).refused}

    assert {*OWNED_PATHS, *FEATURES, *SUPPORTED} <= shown
