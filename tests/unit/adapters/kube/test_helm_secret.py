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
    CHART_VERSION,
    OUR_REVISION,
    ROLLBACK,
    SPEC_DIGEST,
    label_rollback,
    labels_of,
    manifests,
    released_pool,
    revision,
    secret_name,
    unlocked,
)
from cilium_hybrid.api.versions import CiliumVersion
from cilium_hybrid.plan.observation import PoolConfig
from strategies import versions

DIGESTS = st.binary(min_size=32, max_size=32).map(lambda digest: f"sha256:{digest.hex()}")


def a_secret(number: int, status: str, labels: dict[str, str] | None = None) -> dict[str, Any]:
    """The metadata of a revision's Secret, as Helm writes it."""
    helm = {"owner": "helm", "name": "cilium", "version": str(number), "status": status}
    return {"metadata": {"creationTimestamp": "2026-03-01T11:00:00Z", "labels": helm | (labels or {})}}


@given(st.integers(1, 10**6), versions(), DIGESTS, DIGESTS, st.text())
def test_a_revision_is_known_again_by_its_labels(
    number: int, version: CiliumVersion, chart: str, values: str, ref: str
) -> None:
    made = a_revision(number, version=str(version), chart_digest=chart, values_digest=values, chart_ref=ref)
    labels = labels_of(made)

    assert revision(a_secret(number, "deployed", labels)) == made
    assert all(len(value) <= 63 and value.replace("-", "").replace(".", "").isalnum() for value in labels.values())


@pytest.mark.parametrize(
    ("number", "labels"),
    [
        pytest.param(2, {}, id="no labels of ours"),
        pytest.param(2, {OUR_REVISION: ""}, id="an empty label"),
        pytest.param(2, labels_of(a_revision(2)) | {CHART_VERSION: "latest"}, id="a version that is none"),
        pytest.param(2, {OUR_REVISION: "2"}, id="no version"),
    ],
)
def test_a_revision_of_somebody_else_is_not_ours(number: int, labels: dict[str, str]) -> None:
    assert revision(a_secret(number, "deployed", labels)) == a_foreign_revision(number)


def test_a_revision_that_copies_one_of_ours_is_not_ours_before_it_is_claimed() -> None:
    copied = a_secret(5, "deployed", labels_of(a_revision(2)))
    whole = {**copied, "metadata": copied["metadata"] | {"managedFields": []}, "data": {"release": "x"}}
    mine = label_rollback(whole)
    assert mine is not None

    assert revision(copied) == replace(a_foreign_revision(5), copies=2)
    assert revision(mine) == replace(a_revision(5), copies=2)
    assert "managedFields" not in mine["metadata"]
    assert mine["data"] == whole["data"]
    assert label_rollback(mine) is None
    assert label_rollback(a_secret(1, "deployed")) is None


def test_a_claim_counts_for_its_own_revision_alone() -> None:
    """Helm copies it to the next revision too."""
    labels = labels_of(a_revision(6)) | {ROLLBACK: "5.2"}

    assert revision(a_secret(6, "deployed", labels)) == a_revision(6)


@pytest.mark.parametrize("labels", [{"version": "latest"}, {"version": ""}], ids=["a word", "nothing"])
def test_what_is_no_revision_is_none(labels: dict[str, str]) -> None:
    assert revision(a_secret(1, "deployed", labels)) is None
    assert revision({"metadata": {"creationTimestamp": "2026-03-01T11:00:00Z"}}) is None


@pytest.mark.parametrize("digest", ["", "0189", "not-base32"], ids=["nothing", "wrong digits", "nonsense"])
def test_a_digest_that_somebody_broke_is_unknown(digest: str) -> None:
    labels = labels_of(a_revision(1)) | {"ciliumhybrid.io/values-digest": digest}
    found = revision(a_secret(1, "deployed", labels))

    assert found is not None
    assert (found.managed, found.chart_digest, found.values_digest) == (True, DIGEST, "")


def test_the_time_and_the_status_are_helms() -> None:
    found = revision(a_secret(4, "pending-rollback"))

    assert found is not None
    assert (found.number, found.status, found.made_at) == (4, "pending-rollback", EARLIER)
    assert isinstance(found.made_at, datetime)


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
    secret = a_secret(2, status, labels_of(a_revision(2, values_digest=OTHER_DIGEST)))
    secret["metadata"] |= {"name": "sh.helm.release.v1.cilium.v2", "resourceVersion": "7", "managedFields": [{}]}
    return secret | {"type": "helm.sh/release.v1", "data": {"release": packed(release)}}


@pytest.mark.parametrize("status", ["pending-install", "pending-upgrade", "pending-rollback", "uninstalling"])
def test_an_unlocked_revision_is_the_same_but_failed(status: str) -> None:
    secret = a_full_secret(status, deleted="2026-03-01T11:00:00Z")
    before = json.dumps(secret, sort_keys=True)
    made = unlocked(secret)

    assert made is not None
    assert unpacked(made) == RELEASE | {
        "info": RELEASE["info"] | {"status": "failed", "description": f"interrupted while {status}"}  # type: ignore[operator] # a map
    }
    metadata = dict(secret["metadata"])
    del metadata["managedFields"]
    assert made["metadata"] == metadata | {"labels": metadata["labels"] | {"status": "failed"}}
    assert made["type"] == secret["type"]
    assert json.dumps(secret, sort_keys=True) == before


@pytest.mark.parametrize("status", ["deployed", "failed", "superseded", "uninstalled"])
def test_a_revision_that_is_not_pending_is_not_touched(status: str) -> None:
    assert unlocked(a_full_secret(status)) is None


def test_the_payload_tells_and_not_the_label() -> None:
    """Between a look and the unlock Helm may have ended: what counts is what Helm goes by."""
    secret = a_full_secret("deployed")
    secret["metadata"]["labels"]["status"] = "pending-upgrade"

    assert unlocked(secret) is None


def test_a_wish_is_known_again_and_none_is_none() -> None:
    wished, without = a_revision(3, spec_digest=OTHER_DIGEST), a_revision(3)

    assert revision(a_secret(3, "deployed", labels_of(wished))) == wished
    assert SPEC_DIGEST not in labels_of(without)
    assert revision(a_secret(3, "deployed", labels_of(without))) == without


def test_a_wish_that_somebody_broke_or_made_is_unknown() -> None:
    broken = revision(a_secret(3, "deployed", labels_of(a_revision(3)) | {SPEC_DIGEST: "0189"}))
    theirs = revision(a_secret(3, "deployed", {SPEC_DIGEST: labels_of(a_revision(3, spec_digest=DIGEST))[SPEC_DIGEST]}))

    assert broken == a_revision(3)
    assert theirs == a_foreign_revision(3)


def test_a_claimed_revision_has_the_wish_of_the_one_that_it_copies() -> None:
    mine = label_rollback(a_secret(5, "deployed", labels_of(a_revision(2, spec_digest=OTHER_DIGEST))))

    assert mine is not None
    assert revision(mine) == replace(a_revision(5, spec_digest=OTHER_DIGEST), copies=2)


def made_of(manifest: object) -> dict[str, Any]:
    return a_secret(2, "deployed") | {"data": {"release": packed(RELEASE | {"manifest": manifest})}}


@pytest.mark.parametrize(
    ("secret", "found"),
    [
        pytest.param(a_full_secret("superseded"), [{"kind": "DaemonSet"}], id="one object"),
        pytest.param(
            made_of("---\n# Source: x\nkind: ConfigMap\ndata:\n  a: 'é'\n---\n# nothing\n---\nkind: Secret\n"),
            [{"kind": "ConfigMap", "data": {"a": "é"}}, {"kind": "Secret"}],
            id="objects, and a document of nothing",
        ),
        pytest.param(made_of("---\njust words\n---\n- a list\n---\nkind: Secret\n"), [{"kind": "Secret"}], id="no map"),
        pytest.param(made_of(""), [], id="nothing"),
        pytest.param(made_of(None), [], id="null"),
        pytest.param(made_of("kind: {"), [], id="no YAML"),
        pytest.param(a_secret(2, "deployed") | {"data": {"release": "????"}}, [], id="a payload that is none"),
        pytest.param(a_secret(2, "deployed") | {"data": {}}, [], id="no payload"),
        pytest.param(a_secret(2, "deployed"), [], id="no data"),
    ],
)
def test_what_a_revision_was_made_of(secret: dict[str, Any], found: list[dict[str, Any]]) -> None:
    assert list(manifests(secret)) == found


def with_config(config: object) -> dict[str, Any]:
    return a_secret(2, "deployed") | {"data": {"release": packed(RELEASE | {"config": config})}}


POOLS = {"clusterPoolIPv4PodCIDRList": ["10.85.0.0/16"], "clusterPoolIPv4MaskSize": 25}


@pytest.mark.parametrize(
    ("secret", "found"),
    [
        pytest.param(with_config({"ipam": {"operator": POOLS}}), PoolConfig(("10.85.0.0/16",), 25), id="a pool"),
        pytest.param(
            with_config({"ipam": {"operator": {"clusterPoolIPv4PodCIDRList": "10.85.0.0/16"}}}),
            PoolConfig(("10.85.0.0/16",), None),
            id="one as a text, and the mask of the chart",
        ),
        pytest.param(a_full_secret("deployed"), None, id="it does not say"),
        pytest.param(with_config(None), None, id="no values"),
        pytest.param(a_secret(2, "deployed"), None, id="it cannot be read"),
    ],
)
def test_what_pool_a_revision_was_released_with(secret: dict[str, Any], found: PoolConfig | None) -> None:
    assert released_pool(secret) == found


def test_the_name_of_a_revisions_secret_is_helms() -> None:
    assert secret_name(7) == "sh.helm.release.v1.cilium.v7"
