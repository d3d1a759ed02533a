import pytest
from hypothesis import given

from cilium_hybrid.api.conditions import Reason
from cilium_hybrid.api.versions import CiliumVersion
from cilium_hybrid.rules.rule import Violation
from cilium_hybrid.rules.version_steps import version_step_violation
from strategies import versions

RAN = frozenset({"1.17.9-0", "1.18.8-1", "1.19.6-0"})


def violation(running: str, target: str) -> Violation | None:
    return version_step_violation(CiliumVersion.parse(running), CiliumVersion.parse(target), RAN)


@pytest.mark.parametrize(
    ("running", "target"),
    [
        pytest.param("1.18.8-1", "1.18.8-1", id="the same version"),
        pytest.param("1.18.8-1", "1.18.2", id="an older patch that never ran"),
        pytest.param("1.18.8-1", "1.18.9-0", id="a newer patch"),
        pytest.param("1.17.9-0", "1.19.6-0", id="two minor versions up"),
        pytest.param("1.18.8-1", "1.17.9-0", id="one minor version down, to one that ran"),
    ],
)
def test_supported_steps(running: str, target: str) -> None:
    assert violation(running, target) is None


@pytest.mark.parametrize(
    ("target", "reason", "fact", "fix"),
    [
        pytest.param(
            "1.18.8-0",
            Reason.VERSION_UNSUPPORTED,
            "cannot downgrade from 1.19.6-0 to a version that never ran here",
            "use 1.19.6-0, or a 1.18 version that this cluster ran before",
            id="one minor version down, to one that never ran",
        ),
        pytest.param(
            "1.17.9-0",
            Reason.VERSION_SKIPPED,
            "cannot downgrade from 1.19.6-0 by more than one minor version",
            "use 1.19.6-0, or a 1.18 version that this cluster ran before",
            id="two minor versions down, to one that ran",
        ),
        pytest.param(
            "2.0.0",
            Reason.VERSION_UNSUPPORTED,
            "cannot change from 1.19.6-0 to another major version",
            "use 1.19.6-0",
            id="a later major version",
        ),
        pytest.param(
            "0.18.0",
            Reason.VERSION_UNSUPPORTED,
            "cannot change from 1.19.6-0 to another major version",
            "use 1.19.6-0",
            id="an earlier major version",
        ),
    ],
)
def test_unsupported_steps_name_both_versions_and_the_fix(target: str, reason: Reason, fact: str, fix: str) -> None:
    expected = Violation(reason, "spec.version", f'Invalid value: "{target}": {fact}', fix)

    assert violation("1.19.6-0", target) == expected


@given(versions(), versions())
def test_a_version_that_ran_can_be_restored_across_at_most_one_minor_version(
    running: CiliumVersion, target: CiliumVersion
) -> None:
    allowed = version_step_violation(running, target, {str(target)}) is None

    assert allowed == (running.major == target.major and running.minor - target.minor <= 1)
