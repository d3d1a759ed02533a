import base64
import gzip
import json
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders import DIGEST, EARLIER, OTHER_DIGEST, VERSION, a_foreign_revision, a_revision
from cilium_hybrid.adapters.kube.helm_secret import (
    CHART_VERSION_LABEL,
    REVISION_LABEL,
    ROLLBACK_LABEL,
    SPEC_DIGEST_LABEL,
    Mark,
    chart_digest,
    copied_revision,
    first_deployed,
    manifests,
    mark,
    payload,
    release_payload,
    revision,
    revision_labels,
    secret_name,
    unlock,
    verified_copy,
)
from cilium_hybrid.api.versions import CiliumVersion
from cilium_hybrid.plan.observation import PoolConfig, ReleasePayload
from strategies import versions

DIGESTS = st.binary(min_size=32, max_size=32).map(lambda digest: f"sha256:{digest.hex()}")


def a_secret(number: int, status: str, labels: dict[str, str] | None = None) -> dict[str, Any]:
    """The metadata of a revision's Secret, as Helm writes it."""
    helm = {"owner": "helm", "name": "cilium", "version": str(number), "status": status}
    return {"metadata": {"creationTimestamp": "2026-03-01T11:00:00Z", "labels": helm | (labels or {})}}


@given(st.integers(1, 10**6), versions(), DIGESTS, DIGESTS, st.text())
def test_a_managed_revision_is_recognized_by_its_labels(
    number: int, version: CiliumVersion, chart: str, values: str, ref: str
) -> None:
    made = a_revision(number, version=str(version), chart_digest=chart, values_digest=values, chart_ref=ref)
    labels = revision_labels(made)

    assert revision(a_secret(number, "deployed", labels)) == made
    assert all(len(value) <= 63 and value.replace("-", "").replace(".", "").isalnum() for value in labels.values())


@pytest.mark.parametrize(
    ("number", "labels"),
    [
        pytest.param(2, {}, id="no labels of the operator"),
        pytest.param(2, {REVISION_LABEL: ""}, id="empty revision label"),
        pytest.param(2, revision_labels(a_revision(2)) | {CHART_VERSION_LABEL: "latest"}, id="invalid version"),
        pytest.param(2, {REVISION_LABEL: "2"}, id="no version"),
    ],
)
def test_a_revision_without_valid_labels_is_not_managed(number: int, labels: dict[str, str]) -> None:
    assert revision(a_secret(number, "deployed", labels)) == a_foreign_revision(number)


def test_a_copied_label_does_not_make_a_revision_managed() -> None:
    """Helm copies the labels on a rollback, and on an upgrade by an admin."""
    copied = a_secret(5, "deployed", revision_labels(replace(a_revision(4), rolled_back_to=2)))

    assert revision(copied) == a_foreign_revision(5)


def test_a_restored_revision_is_recognized_by_its_label() -> None:
    restored = replace(a_revision(5), rolled_back_to=2)

    assert revision(a_secret(5, "deployed", revision_labels(restored))) == restored


@pytest.mark.parametrize("label", ["5", "5.", "5.x", "", "6.2"])
def test_an_invalid_rollback_label_is_ignored(label: str) -> None:
    labels = revision_labels(a_revision(5)) | {ROLLBACK_LABEL: label}

    assert revision(a_secret(5, "deployed", labels)) == a_revision(5)


def test_the_rollback_label_of_another_revision_is_ignored() -> None:
    """Helm copies it to the next revision."""
    labels = revision_labels(a_revision(6)) | {ROLLBACK_LABEL: "5.2"}

    assert revision(a_secret(6, "deployed", labels)) == a_revision(6)


@pytest.mark.parametrize("labels", [{"version": "latest"}, {"version": ""}], ids=["not a number", "empty"])
def test_a_secret_without_a_revision_number_is_ignored(labels: dict[str, str]) -> None:
    assert revision(a_secret(1, "deployed", labels)) is None
    assert revision({"metadata": {"creationTimestamp": "2026-03-01T11:00:00Z"}}) is None


@pytest.mark.parametrize("digest", ["", "0189", "not-base32"], ids=["empty", "invalid digits", "not base32"])
def test_an_invalid_digest_is_unknown(digest: str) -> None:
    labels = revision_labels(a_revision(1)) | {"ciliumhybrid.io/values-digest": digest}
    found = revision(a_secret(1, "deployed", labels))

    assert found is not None
    assert (found.managed, found.chart_digest, found.values_digest) == (True, DIGEST, "")


def test_time_and_status_are_those_of_helm() -> None:
    found = revision(a_secret(4, "pending-rollback"))

    assert found is not None
    assert (found.number, found.status, found.created_at) == (4, "pending-rollback", EARLIER)
    assert isinstance(found.created_at, datetime)


def packed(release: object) -> str:
    return base64.b64encode(base64.b64encode(gzip.compress(json.dumps(release).encode()))).decode()


def unpacked(secret: dict[str, Any]) -> Any:
    return json.loads(gzip.decompress(base64.b64decode(base64.b64decode(secret["data"]["release"]))))


RELEASE = {
    "name": "cilium",
    "info": {"status": "pending-upgrade", "description": "Preparing upgrade", "notes": "ü", "first_deployed": "x"},
    "chart": {"metadata": {"version": VERSION}},
    "config": {"ipam": {"mode": "cluster-pool"}, "x": [1, None, True]},
    "manifest": "---\nkind: DaemonSet\n",
    "version": 2,
}


def a_full_secret(status: str, **info: Any) -> dict[str, Any]:
    release = RELEASE | {"info": RELEASE["info"] | {"status": status} | info}  # type: ignore[operator] # a map
    secret = a_secret(2, status, revision_labels(a_revision(2, values_digest=OTHER_DIGEST)))
    secret["metadata"] |= {"name": "sh.helm.release.v1.cilium.v2", "resourceVersion": "7", "managedFields": [{}]}
    return secret | {"type": "helm.sh/release.v1", "data": {"release": packed(release)}}


@pytest.mark.parametrize("status", ["pending-install", "pending-upgrade", "pending-rollback", "uninstalling"])
def test_unlocking_changes_only_the_status(status: str) -> None:
    secret = a_full_secret(status, deleted="2026-03-01T11:00:00Z")
    before = json.dumps(secret, sort_keys=True)
    changed = unlock(secret)

    assert changed is not None
    assert unpacked(changed) == RELEASE | {
        "info": RELEASE["info"] | {"status": "failed", "description": f"interrupted while {status}"}  # type: ignore[operator] # a map
    }
    metadata = dict(secret["metadata"])
    del metadata["managedFields"]
    assert changed["metadata"] == metadata | {"labels": metadata["labels"] | {"status": "failed"}}
    assert changed["type"] == secret["type"]
    assert json.dumps(secret, sort_keys=True) == before


@pytest.mark.parametrize("status", ["deployed", "failed", "superseded", "uninstalled"])
def test_a_revision_that_is_not_pending_is_not_unlocked(status: str) -> None:
    assert unlock(a_full_secret(status)) is None


def test_the_payload_decides_and_not_the_label() -> None:
    """Helm itself reads the payload, and may have completed since the label was read."""
    secret = a_full_secret("deployed")
    secret["metadata"]["labels"]["status"] = "pending-upgrade"

    assert unlock(secret) is None


def test_the_spec_digest_is_optional() -> None:
    labelled, unlabelled = a_revision(3, spec_digest=OTHER_DIGEST), a_revision(3)

    assert revision(a_secret(3, "deployed", revision_labels(labelled))) == labelled
    assert SPEC_DIGEST_LABEL not in revision_labels(unlabelled)
    assert revision(a_secret(3, "deployed", revision_labels(unlabelled))) == unlabelled


def test_the_spec_digest_is_ignored_if_invalid_or_not_managed() -> None:
    invalid = revision(a_secret(3, "deployed", revision_labels(a_revision(3)) | {SPEC_DIGEST_LABEL: "0189"}))
    unmanaged = revision(
        a_secret(
            3, "deployed", {SPEC_DIGEST_LABEL: revision_labels(a_revision(3, spec_digest=DIGEST))[SPEC_DIGEST_LABEL]}
        )
    )

    assert invalid == a_revision(3)
    assert unmanaged == a_foreign_revision(3)


@pytest.mark.parametrize(("verdict", "other"), [("verified", "rejected"), ("rejected", "verified")])
def test_a_mark_is_a_label_with_the_number_of_the_revision(verdict: Mark, other: Mark) -> None:
    marked = mark(a_full_secret("deployed"), other)
    assert marked is not None
    marked = mark(marked, verdict)
    assert marked is not None
    found = revision(marked)
    assert found is not None
    copied = marked["metadata"]["labels"] | {"version": "3", REVISION_LABEL: "3"}
    next_one = revision(marked | {"metadata": marked["metadata"] | {"labels": copied}})

    assert {"verified": found.verified, "rejected": found.rejected} == {verdict: True, other: False}
    assert "managedFields" not in marked["metadata"]
    assert marked["data"] == a_full_secret("deployed")["data"]
    assert next_one is not None
    assert (next_one.managed, next_one.verified, next_one.rejected) == (True, False, False)


def test_only_a_revision_of_the_operator_is_marked() -> None:
    foreign = a_full_secret("deployed")
    foreign["metadata"]["labels"][REVISION_LABEL] = "1"

    assert mark(foreign, "verified") is None
    assert mark(a_secret(1, "deployed", {"version": "x"}), "verified") is None


def test_a_foreign_revision_is_neither_verified_nor_rejected() -> None:
    labels = {"ciliumhybrid.io/verified": "2", "ciliumhybrid.io/rejected": "2"}

    assert revision(a_secret(2, "deployed", labels)) == a_foreign_revision(2)


def test_the_copy_of_a_verified_revision_is_no_revision_to_helm() -> None:
    secret = a_full_secret("deployed")
    copy = verified_copy(secret, "kube-system")

    assert copy["metadata"]["name"] == "cilium-hybrid-verified"
    assert {name for name in copy["metadata"]["labels"] if not name.startswith("ciliumhybrid.io/")} == set()
    assert copied_revision(copy) == 2
    assert chart_digest(copy) == chart_digest(secret) == DIGEST
    assert first_deployed(copy) == "x"
    assert payload(copy) == payload(secret)


def test_a_copy_without_labels_is_of_no_revision() -> None:
    assert copied_revision({"metadata": {}}) is None
    assert chart_digest({"metadata": {}}) == ""
    assert first_deployed({"metadata": {}}) == ""


def test_the_version_of_the_secret_and_who_wrote_its_payload() -> None:
    secret = a_full_secret("deployed")
    secret["metadata"]["managedFields"] = [
        {"manager": "kubectl-label", "fieldsV1": {"f:metadata": {}}},
        {"manager": "Terraform", "fieldsV1": {"f:data": {"f:release": {}}, "f:metadata": {}}},
    ]
    found = revision(secret)

    assert found is not None
    assert (found.changed, found.manager) == ("7", "Terraform")


@pytest.mark.parametrize("fields", [None, [{}], [{"manager": "x", "fieldsV1": None}]])
def test_an_unknown_manager(fields: Any) -> None:
    secret = a_secret(1, "deployed")
    secret["metadata"]["managedFields"] = fields
    found = revision(secret)

    assert found is not None
    assert found.manager == ""


def with_manifest(manifest: object) -> dict[str, Any]:
    return a_secret(2, "deployed") | {"data": {"release": packed(RELEASE | {"manifest": manifest})}}


@pytest.mark.parametrize(
    ("secret", "found"),
    [
        pytest.param(a_full_secret("superseded"), [{"kind": "DaemonSet"}], id="one object"),
        pytest.param(
            with_manifest("---\n# Source: x\nkind: ConfigMap\ndata:\n  a: 'é'\n---\n# nothing\n---\nkind: Secret\n"),
            [{"kind": "ConfigMap", "data": {"a": "é"}}, {"kind": "Secret"}],
            id="two objects and an empty document",
        ),
        pytest.param(
            with_manifest("---\njust words\n---\n- a list\n---\nkind: Secret\n"), [{"kind": "Secret"}], id="not a map"
        ),
        pytest.param(with_manifest(""), [], id="empty"),
        pytest.param(with_manifest(None), [], id="null"),
        pytest.param(with_manifest("kind: {"), [], id="not YAML"),
        pytest.param(a_secret(2, "deployed") | {"data": {"release": "????"}}, [], id="invalid payload"),
        pytest.param(a_secret(2, "deployed") | {"data": {}}, [], id="no payload"),
        pytest.param(a_secret(2, "deployed"), [], id="no data"),
    ],
)
def test_manifests_of_a_revision(secret: dict[str, Any], found: list[dict[str, Any]]) -> None:
    assert list(manifests(secret)) == found


def with_payload(content: bytes) -> dict[str, Any]:
    return a_secret(2, "deployed") | {"data": {"release": base64.b64encode(base64.b64encode(content)).decode()}}


def with_release(release: object) -> dict[str, Any]:
    return a_secret(2, "deployed") | {"data": {"release": packed(release)}}


def with_config(config: object) -> dict[str, Any]:
    return a_secret(2, "deployed") | {"data": {"release": packed(RELEASE | {"config": config})}}


POOLS = {"clusterPoolIPv4PodCIDRList": ["10.85.0.0/16"], "clusterPoolIPv4MaskSize": 25}


@pytest.mark.parametrize(
    ("secret", "found"),
    [
        pytest.param(
            with_config({"ipam": {"operator": POOLS}}), PoolConfig(("10.85.0.0/16",), 25), id="pod CIDRs and mask size"
        ),
        pytest.param(
            with_config({"ipam": {"operator": {"clusterPoolIPv4PodCIDRList": "10.85.0.0/16"}}}),
            PoolConfig(("10.85.0.0/16",), None),
            id="pod CIDR as text, default mask size",
        ),
        pytest.param(a_full_secret("deployed"), None, id="no IPAM values"),
        pytest.param(with_config(None), None, id="no values"),
        pytest.param(a_secret(2, "deployed"), None, id="no payload"),
    ],
)
def test_ipam_settings_of_a_revision(secret: dict[str, Any], found: PoolConfig | None) -> None:
    assert release_payload(secret).pool == found


def test_the_name_of_the_secret_is_that_of_helm() -> None:
    assert secret_name(7) == "sh.helm.release.v1.cilium.v7"


POOL_VALUES = {"ipam": {"operator": POOLS}, "upgradeCompatibility": "1.16"}


@pytest.mark.parametrize(
    ("secret", "found"),
    [
        pytest.param(
            with_config(POOL_VALUES),
            ReleasePayload(chart_version=VERSION, initial_series="1.16", pool=PoolConfig(("10.85.0.0/16",), 25)),
            id="everything",
        ),
        pytest.param(with_config(None), ReleasePayload(chart_version=VERSION), id="no values"),
        pytest.param(with_config({"upgradeCompatibility": ""}), ReleasePayload(chart_version=VERSION), id="empty"),
        pytest.param(with_config(["list"]), ReleasePayload(chart_version=VERSION), id="values are no map"),
        pytest.param(with_release({"chart": None}), ReleasePayload(), id="no chart"),
        pytest.param(with_release({"chart": {"metadata": None}}), ReleasePayload(), id="no metadata"),
        pytest.param(with_release({}), ReleasePayload(), id="empty release"),
        pytest.param(with_release([]), ReleasePayload(readable=False), id="not a map"),
        pytest.param(with_payload(b"no gzip"), ReleasePayload(readable=False), id="not compressed"),
        pytest.param(with_payload(gzip.compress(b"{")), ReleasePayload(readable=False), id="not JSON"),
        pytest.param(with_payload(gzip.compress(b"\xff")), ReleasePayload(readable=False), id="not UTF-8"),
        pytest.param(with_payload(gzip.compress(b"[" * 100_000)), ReleasePayload(readable=False), id="too deep"),
        pytest.param(with_payload(gzip.compress(b"{}")[:-9]), ReleasePayload(readable=False), id="truncated"),
        pytest.param(a_secret(2, "deployed"), ReleasePayload(readable=False), id="no data"),
        pytest.param(a_secret(2, "deployed") | {"data": None}, ReleasePayload(readable=False), id="data is null"),
    ],
)
def test_what_decisions_need_of_a_payload(secret: dict[str, Any], found: ReleasePayload) -> None:
    assert release_payload(secret) == found
    # Whatever it contains, nothing is raised.
    unlock(secret)
    manifests(secret)


def test_a_payload_that_expands_too_far_is_not_read() -> None:
    secret = with_payload(gzip.compress(b" " * 40_000_000 + b"{}"))

    assert release_payload(secret) == ReleasePayload(readable=False)
