from dataclasses import replace
from typing import Any

import pytest

from builders import DIGEST, OTHER_DIGEST, REF, VERSION, a_record, a_revision_of, a_spec, an_observation
from cilium_hybrid.plan.release import DesiredRelease, desired_release, is_release, release_digest

DESIRED = desired_release(a_spec(), an_observation())


@pytest.mark.parametrize(
    ("desired", "expected"),
    [
        pytest.param({}, True, id="the same"),
        pytest.param({"pinned_digest": DIGEST}, True, id="the pinned chart"),
        pytest.param({"pinned_digest": OTHER_DIGEST}, False, id="another pinned chart"),
        pytest.param({"chart_ref": "/charts/cilium"}, False, id="another chart reference"),
        pytest.param({"chart_version": "1.17.8-0"}, False, id="another version"),
        pytest.param({"values_digest": OTHER_DIGEST}, False, id="other values"),
    ],
)
def test_whether_a_revision_is_a_release(desired: dict[str, Any], expected: bool) -> None:
    assert is_release(a_revision_of(DESIRED), replace(DESIRED, **desired)) is expected


@pytest.mark.parametrize(
    ("spec", "same"),
    [
        pytest.param(a_spec(upgrade={"rollout": {"strategy": "RollingUpdate"}}), True, id="how pods are replaced"),
        pytest.param(a_spec(upgrade={"onFailure": "Pause"}, suspend=True), True, id="what is no part of the values"),
        pytest.param(a_spec(masquerade=False), False, id="another value"),
        pytest.param(a_spec(pod_cidrs=["10.85.0.0/16", "10.86.0.0/16"]), False, id="another pool"),
        pytest.param(a_spec(version="1.17.8-0"), False, id="another version"),
        pytest.param(a_spec(chart={"ref": REF, "digest": DIGEST}), False, id="a pinned chart"),
        pytest.param(a_spec(chart={"ref": f"{REF}-mirror"}), False, id="another chart reference"),
    ],
)
def test_a_release_is_known_by_its_content(spec: Any, same: bool) -> None:
    assert (release_digest(desired_release(spec, an_observation())) == release_digest(DESIRED)) is same


def test_the_desired_release_follows_from_the_spec() -> None:
    spec = a_spec(chart={"ref": REF, "digest": DIGEST}, masquerade=False)
    desired = desired_release(spec, an_observation())

    assert desired == DesiredRelease(REF, VERSION, DIGEST, desired.values, desired.values_digest)
    assert desired.values["enableIPv4Masquerade"] is False
    assert desired.values_digest != DESIRED.values_digest


def test_the_values_keep_the_initial_minor_version() -> None:
    observation = an_observation(record=a_record(initial_version="1.16.3"))

    assert desired_release(a_spec(version="1.17.9-0"), observation).values["upgradeCompatibility"] == "1.16"
