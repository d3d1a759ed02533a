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
    asks_for_the_same,
    desired_release,
    initial_version,
    last_deployed,
    release_state,
    running,
)
from cilium_hybrid.rules.change import Running

WANT = desired_release(a_spec(), an_observation())
SAME = a_revision_of(WANT)


@pytest.mark.parametrize(
    ("revisions", "expected"),
    [
        pytest.param([], ReleaseState.ABSENT, id="nothing was ever installed"),
        pytest.param([a_revision(status="uninstalled")], ReleaseState.ABSENT, id="uninstalled with its history kept"),
        pytest.param([a_foreign_revision()], ReleaseState.NOT_OWNED, id="somebody else installed it"),
        pytest.param(
            [a_foreign_revision(1), a_foreign_revision(2, status="pending-upgrade")],
            ReleaseState.NOT_OWNED,
            id="somebody else is at work on theirs",
        ),
        pytest.param([SAME, a_foreign_revision(2)], ReleaseState.FOREIGN, id="somebody else upgraded ours"),
        pytest.param(
            [SAME, a_foreign_revision(2, status="pending-rollback")],
            ReleaseState.FOREIGN,
            id="somebody else is at work on ours",
        ),
        pytest.param([a_revision(status="pending-install")], ReleaseState.PENDING, id="killed in the first install"),
        pytest.param([SAME, a_revision(2, status="pending-upgrade")], ReleaseState.PENDING, id="killed in an upgrade"),
        pytest.param([SAME, a_revision(2, status="uninstalling")], ReleaseState.PENDING, id="killed in an uninstall"),
        pytest.param([a_revision(status="failed")], ReleaseState.FAILED, id="the install failed"),
        pytest.param([a_revision(status="unknown")], ReleaseState.FAILED, id="a word that Helm may learn"),
        pytest.param([a_revision(values_digest=OTHER_DIGEST)], ReleaseState.OUT_OF_SYNC, id="other values"),
        pytest.param(
            [a_revision_of(replace(WANT, chart_version="1.17.8-0"))], ReleaseState.OUT_OF_SYNC, id="another version"
        ),
        pytest.param([SAME], ReleaseState.IN_SYNC, id="exactly what is wanted"),
        pytest.param(
            [SAME, a_revision(2, status="failed"), a_revision_of(WANT, 3)], ReleaseState.IN_SYNC, id="the newest counts"
        ),
    ],
)
def test_release_state(revisions: list[Revision], expected: ReleaseState) -> None:
    assert release_state(an_observation(*revisions), WANT) is expected


@pytest.mark.parametrize(
    ("desired", "expected"),
    [
        pytest.param({"pinned_digest": DIGEST}, ReleaseState.IN_SYNC, id="the pinned chart is released"),
        pytest.param({"pinned_digest": OTHER_DIGEST}, ReleaseState.OUT_OF_SYNC, id="another chart is pinned"),
        pytest.param({"chart_ref": "/charts/cilium"}, ReleaseState.OUT_OF_SYNC, id="from another place"),
    ],
)
def test_the_chart_counts(desired: dict[str, Any], expected: ReleaseState) -> None:
    assert release_state(an_observation(SAME), replace(WANT, **desired)) is expected


def test_a_record_of_a_cilium_that_is_no_more_does_not_count() -> None:
    stale = a_record(chart_ref="/charts/cilium")

    assert release_state(an_observation(SAME, record=stale), WANT) is ReleaseState.IN_SYNC


def test_what_is_wanted_follows_from_the_spec() -> None:
    spec = a_spec(chart={"ref": REF, "digest": DIGEST}, masquerade=False)
    desired = desired_release(spec, an_observation())

    assert desired == DesiredRelease(REF, VERSION, DIGEST, desired.values, desired.values_digest)
    assert desired.values["enableIPv4Masquerade"] is False
    assert desired.values_digest != WANT.values_digest


@pytest.mark.parametrize(
    ("observation", "expected"),
    [
        pytest.param(an_observation(), None, id="never installed"),
        pytest.param(an_observation(record=a_record(initial_version="1.16.3")), "1.16.3", id="the record outlives all"),
        pytest.param(
            an_observation(a_revision(version="1.18.8-1"), record=a_record(initial_version="1.16.3")),
            "1.16.3",
            id="the record goes before what runs",
        ),
        pytest.param(an_observation(a_revision(version="1.18.8-1")), "1.18.8-1", id="no record, so what runs"),
        pytest.param(an_observation(a_revision(status="failed")), None, id="a failed install was none"),
        pytest.param(an_observation(a_foreign_revision()), None, id="somebody else's version is not known"),
        pytest.param(
            an_observation(a_revision(), a_revision(2, status="uninstalled"), a_revision(3, version="1.18.8-1")),
            "1.18.8-1",
            id="the one before was uninstalled and its history kept",
        ),
    ],
)
def test_the_version_first_installed(observation: Observation, expected: str | None) -> None:
    assert initial_version(observation) == expected


def test_the_values_keep_the_minor_release_first_installed() -> None:
    observation = an_observation(record=a_record(initial_version="1.16.3"))

    assert desired_release(a_spec(version="1.17.9-0"), observation).values["upgradeCompatibility"] == "1.16"


@pytest.mark.parametrize(
    ("statuses", "expected"),
    [
        pytest.param([], None, id="nothing"),
        pytest.param(["deployed"], 1, id="one"),
        pytest.param(["superseded", "deployed"], 2, id="the newest"),
        pytest.param(["deployed", "failed", "pending-upgrade"], 1, id="not one that failed or is pending"),
        pytest.param(["superseded", "superseded", "failed"], 2, id="a rollback that failed leaves the one before"),
        pytest.param(["failed"], None, id="only failures"),
        pytest.param(["superseded", "uninstalled"], None, id="all was uninstalled and its history kept"),
    ],
)
def test_what_was_last_applied_in_full(statuses: list[str], expected: int | None) -> None:
    revisions = [a_revision(number, status=status) for number, status in enumerate(statuses, 1)]
    deployed = last_deployed(an_observation(*revisions))

    assert (deployed and deployed.number) == expected


THEIRS = a_foreign_revision(2)
PINNED = replace(WANT, pinned_digest=DIGEST)


@pytest.mark.parametrize(
    ("observation", "desired", "expected"),
    [
        pytest.param(an_observation(), WANT, False, id="nothing was ever released"),
        pytest.param(an_observation(THEIRS), WANT, False, id="nothing of ours was ever released"),
        pytest.param(an_observation(SAME, THEIRS), WANT, True, id="the same"),
        pytest.param(an_observation(SAME, THEIRS), replace(WANT, values_digest=OTHER_DIGEST), False, id="other values"),
        pytest.param(
            an_observation(SAME, THEIRS), replace(WANT, chart_version="1.17.8-0"), False, id="another version"
        ),
        pytest.param(an_observation(SAME, THEIRS), PINNED, True, id="the chart is pinned that was released"),
        pytest.param(
            an_observation(SAME, THEIRS),
            replace(WANT, pinned_digest=OTHER_DIGEST),
            False,
            id="another chart is pinned",
        ),
        pytest.param(
            an_observation(SAME, THEIRS), replace(WANT, chart_ref="/charts/cilium"), False, id="from another place"
        ),
        pytest.param(
            an_observation(a_revision(values_digest=OTHER_DIGEST), THEIRS, a_revision_of(WANT, 3, status="failed")),
            WANT,
            True,
            id="the newest of ours counts, though it failed",
        ),
        pytest.param(
            an_observation(SAME, a_revision(2, values_digest=OTHER_DIGEST), a_foreign_revision(3)),
            WANT,
            False,
            id="an older one of ours does not count",
        ),
    ],
)
def test_whether_the_spec_asks_for_what_was_released_last(
    observation: Observation, desired: DesiredRelease, expected: bool
) -> None:
    assert asks_for_the_same(observation, desired) is expected


SEEN = PoolConfig(("10.1.0.0/16",), 26)
LIVE, KEPT = "ConfigMap kube-system/cilium-config", "ConfigMap kube-system/cilium-hybrid-applied"
RAN = frozenset({VERSION})


@pytest.mark.parametrize(
    ("observation", "expected"),
    [
        pytest.param(an_observation(), Running(), id="nothing"),
        pytest.param(
            an_observation(a_revision(), pool=SEEN, record=a_record()),
            Running(VERSION, ("10.1.0.0/16",), 26, LIVE, RAN),
            id="the cluster goes before the record",
        ),
        pytest.param(
            an_observation(a_revision(), record=a_record()),
            Running(VERSION, (POOL,), MASK, KEPT, RAN),
            id="else the record",
        ),
        pytest.param(an_observation(a_revision()), Running(VERSION, ran=RAN), id="else the version alone"),
        pytest.param(an_observation(record=a_record()), Running(), id="all is free after an uninstall"),
        pytest.param(
            an_observation(a_revision(), a_revision(2, status="uninstalled"), record=a_record()),
            Running(ran=RAN),
            id="all is free after an uninstall that kept its history",
        ),
        pytest.param(
            an_observation(record=a_record(), pool=SEEN),
            Running(None, ("10.1.0.0/16",), 26),
            id="what runs counts though Helm's records are lost",
        ),
        pytest.param(
            an_observation(a_revision(status="failed"), pool=SEEN),
            Running(None, ("10.1.0.0/16",), 26),
            id="a failed install may have given blocks",
        ),
        pytest.param(
            an_observation(a_foreign_revision(), pool=SEEN),
            Running(None, ("10.1.0.0/16",), 26),
            id="somebody else's version is not known",
        ),
    ],
)
def test_what_a_new_spec_must_not_contradict(observation: Observation, expected: Running) -> None:
    assert running(observation) == expected


def test_where_neither_the_cluster_nor_the_record_tells_helms_own_record_does() -> None:
    observation = an_observation(a_revision())

    assert running(observation, SEEN) == Running(
        VERSION, SEEN.pod_cidrs, SEEN.mask_size, "revision 1 of Helm release cilium", RAN
    )
    assert running(an_observation(), SEEN) == Running()
    assert running(an_observation(a_revision(), record=a_record()), SEEN).source == KEPT
