from dataclasses import replace
from typing import Any

import pytest

from builders import (
    DIGEST,
    MASK,
    OTHER_DIGEST,
    POOL,
    REF,
    VERSION,
    a_foreign_revision,
    a_record,
    a_revision,
    a_revision_of,
    a_spec,
    an_observation,
)
from cilium_hybrid.plan.observation import Observation, PoolConfig, Revision
from cilium_hybrid.plan.release import (
    DesiredRelease,
    ReleaseState,
    desired_release,
    initial_version,
    last_deployed,
    release_state,
    running,
    spec_is_unchanged,
)
from cilium_hybrid.rules.change import Running

DESIRED = desired_release(a_spec(), an_observation())
SAME = a_revision_of(DESIRED)


@pytest.mark.parametrize(
    ("revisions", "expected"),
    [
        pytest.param([], ReleaseState.ABSENT, id="never installed"),
        pytest.param([a_revision(status="uninstalled")], ReleaseState.ABSENT, id="uninstalled, with its history kept"),
        pytest.param([a_foreign_revision()], ReleaseState.NOT_OWNED, id="installed by someone else"),
        pytest.param(
            [a_foreign_revision(1), a_foreign_revision(2, status="pending-upgrade")],
            ReleaseState.NOT_OWNED,
            id="someone else's release, pending",
        ),
        pytest.param([SAME, a_foreign_revision(2)], ReleaseState.FOREIGN, id="upgraded by someone else"),
        pytest.param(
            [SAME, a_foreign_revision(2, status="pending-rollback")],
            ReleaseState.FOREIGN,
            id="being changed by someone else",
        ),
        pytest.param([a_revision(status="pending-install")], ReleaseState.PENDING, id="interrupted during the install"),
        pytest.param(
            [SAME, a_revision(2, status="pending-upgrade")], ReleaseState.PENDING, id="interrupted during an upgrade"
        ),
        pytest.param(
            [SAME, a_revision(2, status="uninstalling")], ReleaseState.PENDING, id="interrupted during an uninstall"
        ),
        pytest.param([a_revision(status="failed")], ReleaseState.FAILED, id="a failed install"),
        pytest.param([a_revision(status="unknown")], ReleaseState.FAILED, id="an unknown status"),
        pytest.param([a_revision(values_digest=OTHER_DIGEST)], ReleaseState.OUT_OF_SYNC, id="other values"),
        pytest.param(
            [a_revision_of(replace(DESIRED, chart_version="1.17.8-0"))], ReleaseState.OUT_OF_SYNC, id="another version"
        ),
        pytest.param([SAME], ReleaseState.IN_SYNC, id="the desired release"),
        pytest.param(
            [SAME, a_revision(2, status="failed"), a_revision_of(DESIRED, 3)],
            ReleaseState.IN_SYNC,
            id="the newest revision counts",
        ),
    ],
)
def test_release_state(revisions: list[Revision], expected: ReleaseState) -> None:
    assert release_state(an_observation(*revisions), DESIRED) is expected


@pytest.mark.parametrize(
    ("desired", "expected"),
    [
        pytest.param({"pinned_digest": DIGEST}, ReleaseState.IN_SYNC, id="the pinned chart"),
        pytest.param({"pinned_digest": OTHER_DIGEST}, ReleaseState.OUT_OF_SYNC, id="another pinned chart"),
        pytest.param({"chart_ref": "/charts/cilium"}, ReleaseState.OUT_OF_SYNC, id="another chart reference"),
    ],
)
def test_another_chart_is_out_of_sync(desired: dict[str, Any], expected: ReleaseState) -> None:
    assert release_state(an_observation(SAME), replace(DESIRED, **desired)) is expected


def test_the_record_of_an_earlier_installation_does_not_count() -> None:
    outdated = a_record(chart_ref="/charts/cilium")

    assert release_state(an_observation(SAME, record=outdated), DESIRED) is ReleaseState.IN_SYNC


def test_the_desired_release_follows_from_the_spec() -> None:
    spec = a_spec(chart={"ref": REF, "digest": DIGEST}, masquerade=False)
    desired = desired_release(spec, an_observation())

    assert desired == DesiredRelease(REF, VERSION, DIGEST, desired.values, desired.values_digest)
    assert desired.values["enableIPv4Masquerade"] is False
    assert desired.values_digest != DESIRED.values_digest


@pytest.mark.parametrize(
    ("observation", "expected"),
    [
        pytest.param(an_observation(), None, id="never installed"),
        pytest.param(
            an_observation(record=a_record(initial_version="1.16.3")),
            "1.16.3",
            id="the record of an uninstalled release",
        ),
        pytest.param(
            an_observation(a_revision(version="1.18.8-1"), record=a_record(initial_version="1.16.3")),
            "1.16.3",
            id="the record before the revisions",
        ),
        pytest.param(an_observation(a_revision(version="1.18.8-1")), "1.18.8-1", id="the revisions without a record"),
        pytest.param(an_observation(a_revision(status="failed")), None, id="a failed install"),
        pytest.param(an_observation(a_foreign_revision()), None, id="a foreign revision has no known version"),
        pytest.param(
            an_observation(a_revision(), a_revision(2, status="uninstalled"), a_revision(3, version="1.18.8-1")),
            "1.18.8-1",
            id="an earlier installation whose history was kept",
        ),
    ],
)
def test_the_initial_version(observation: Observation, expected: str | None) -> None:
    assert initial_version(observation) == expected


def test_the_values_keep_the_initial_minor_version() -> None:
    observation = an_observation(record=a_record(initial_version="1.16.3"))

    assert desired_release(a_spec(version="1.17.9-0"), observation).values["upgradeCompatibility"] == "1.16"


@pytest.mark.parametrize(
    ("statuses", "expected"),
    [
        pytest.param([], None, id="no revision"),
        pytest.param(["deployed"], 1, id="one revision"),
        pytest.param(["superseded", "deployed"], 2, id="the newest revision"),
        pytest.param(["deployed", "failed", "pending-upgrade"], 1, id="not a failed or pending revision"),
        pytest.param(["superseded", "superseded", "failed"], 2, id="the revision before a failed rollback"),
        pytest.param(["failed"], None, id="only failures"),
        pytest.param(["superseded", "uninstalled"], None, id="uninstalled, with its history kept"),
    ],
)
def test_the_last_revision_that_was_applied_completely(statuses: list[str], expected: int | None) -> None:
    revisions = [a_revision(number, status=status) for number, status in enumerate(statuses, 1)]
    deployed = last_deployed(an_observation(*revisions))

    assert (deployed and deployed.number) == expected


FOREIGN = a_foreign_revision(2)
PINNED = replace(DESIRED, pinned_digest=DIGEST)


@pytest.mark.parametrize(
    ("observation", "desired", "expected"),
    [
        pytest.param(an_observation(), DESIRED, False, id="no release"),
        pytest.param(an_observation(FOREIGN), DESIRED, False, id="no revision of the operator"),
        pytest.param(an_observation(SAME, FOREIGN), DESIRED, True, id="the same release"),
        pytest.param(
            an_observation(SAME, FOREIGN), replace(DESIRED, values_digest=OTHER_DIGEST), False, id="other values"
        ),
        pytest.param(
            an_observation(SAME, FOREIGN), replace(DESIRED, chart_version="1.17.8-0"), False, id="another version"
        ),
        pytest.param(an_observation(SAME, FOREIGN), PINNED, True, id="the released chart, pinned"),
        pytest.param(
            an_observation(SAME, FOREIGN),
            replace(DESIRED, pinned_digest=OTHER_DIGEST),
            False,
            id="another pinned chart",
        ),
        pytest.param(
            an_observation(SAME, FOREIGN),
            replace(DESIRED, chart_ref="/charts/cilium"),
            False,
            id="another chart reference",
        ),
        pytest.param(
            an_observation(a_revision(values_digest=OTHER_DIGEST), FOREIGN, a_revision_of(DESIRED, 3, status="failed")),
            DESIRED,
            True,
            id="the newest revision of the operator, which failed",
        ),
        pytest.param(
            an_observation(SAME, a_revision(2, values_digest=OTHER_DIGEST), a_foreign_revision(3)),
            DESIRED,
            False,
            id="an older revision of the operator",
        ),
    ],
)
def test_whether_the_spec_is_unchanged_since_the_last_release(
    observation: Observation, desired: DesiredRelease, expected: bool
) -> None:
    assert spec_is_unchanged(observation, desired) is expected


LIVE_POOL = PoolConfig(("10.1.0.0/16",), 26)
CONFIG, RECORD = "ConfigMap kube-system/cilium-config", "ConfigMap kube-system/cilium-hybrid-applied"
RAN = frozenset({VERSION})


@pytest.mark.parametrize(
    ("observation", "expected"),
    [
        pytest.param(an_observation(), Running(), id="nothing is known"),
        pytest.param(
            an_observation(a_revision(), pool=LIVE_POOL, record=a_record()),
            Running(VERSION, ("10.1.0.0/16",), 26, CONFIG, RAN),
            id="the cluster before the record",
        ),
        pytest.param(
            an_observation(a_revision(), record=a_record()),
            Running(VERSION, (POOL,), MASK, RECORD, RAN),
            id="the record",
        ),
        pytest.param(an_observation(a_revision()), Running(VERSION, ran=RAN), id="the version only"),
        pytest.param(an_observation(record=a_record()), Running(), id="after an uninstall"),
        pytest.param(
            an_observation(a_revision(), a_revision(2, status="uninstalled"), record=a_record()),
            Running(ran=RAN),
            id="after an uninstall that kept its history",
        ),
        pytest.param(
            an_observation(record=a_record(), pool=LIVE_POOL),
            Running(None, ("10.1.0.0/16",), 26),
            id="the cluster, although the Helm revisions are missing",
        ),
        pytest.param(
            an_observation(a_revision(status="failed"), pool=LIVE_POOL),
            Running(None, ("10.1.0.0/16",), 26),
            id="a failed install may have allocated blocks",
        ),
        pytest.param(
            an_observation(a_foreign_revision(), pool=LIVE_POOL),
            Running(None, ("10.1.0.0/16",), 26),
            id="a foreign revision has no known version",
        ),
    ],
)
def test_the_facts_that_a_new_spec_must_not_contradict(observation: Observation, expected: Running) -> None:
    assert running(observation) == expected


def test_the_pools_in_the_helm_release_are_the_last_source() -> None:
    observation = an_observation(a_revision())

    assert running(observation, LIVE_POOL) == Running(
        VERSION, LIVE_POOL.pod_cidrs, LIVE_POOL.mask_size, "revision 1 of Helm release cilium", RAN
    )
    assert running(an_observation(), LIVE_POOL) == Running()
    assert running(an_observation(a_revision(), record=a_record()), LIVE_POOL).source == RECORD
