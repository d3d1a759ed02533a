from typing import Any

import pytest

from builders import NODE
from cilium_hybrid.adapters.kube.agent_pods import PROBE, is_lasting, pod_of


def a_daemon_set(**pod: Any) -> dict[str, Any]:
    metadata = {"labels": {"k8s-app": "cilium"}, "annotations": {"a": "b"}, "creationTimestamp": None}
    return {
        "metadata": {"name": "cilium", "namespace": "kube-system", "uid": "u-1"},
        "spec": {"template": {"metadata": metadata, "spec": {"containers": [{"name": "cilium-agent"}], **pod}}},
    }


def test_the_probe_is_the_pod_that_the_daemon_set_controller_would_create() -> None:
    terms: dict[str, Any] = {
        "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{"matchExpressions": []}]}
    }
    preferred: dict[str, Any] = {"preferredDuringSchedulingIgnoredDuringExecution": []}
    daemon_set = a_daemon_set(
        affinity={"nodeAffinity": terms | preferred, "podAntiAffinity": {"x": 1}}, tolerations=[{"operator": "Exists"}]
    )
    before = repr(daemon_set)
    pod = pod_of(daemon_set, NODE)
    (owner,) = pod["metadata"].pop("ownerReferences")
    required = pod["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]

    assert pod["metadata"] == {
        "name": PROBE,
        "namespace": "kube-system",
        "labels": {"k8s-app": "cilium"},
        "annotations": {"a": "b"},
    }
    assert (owner["kind"], owner["name"], owner["uid"], owner["controller"]) == ("DaemonSet", "cilium", "u-1", True)
    assert required["nodeSelectorTerms"] == [
        {"matchFields": [{"key": "metadata.name", "operator": "In", "values": [NODE]}]}
    ]
    assert pod["spec"]["affinity"]["podAntiAffinity"] == {"x": 1}
    assert pod["spec"]["affinity"]["nodeAffinity"].keys() == terms.keys() | preferred.keys()
    assert {"operator": "Exists"} in pod["spec"]["tolerations"]
    assert repr(daemon_set) == before


def test_without_a_hybrid_node_the_affinity_is_that_of_the_template() -> None:
    assert "affinity" not in pod_of(a_daemon_set(), None)["spec"]


REFUSED = 'pods "cilium-hybrid-probe" is forbidden: '


@pytest.mark.parametrize(
    ("cause", "lasting"),
    [
        pytest.param("exceeded quota: q, requested: pods=1, used: pods=5, limited: pods=5", False, id="full"),
        pytest.param("exceeded quota: q, requested: pods=1, used: pods=6, limited: pods=5", True, id="more than full"),
        pytest.param(
            "exceeded quota: q, requested: limits.memory=1Gi,pods=1, used: limits.memory=4608Mi,pods=5, "
            "limited: limits.memory=5Gi,pods=5",
            False,
            id="several resources",
        ),
        pytest.param(
            "exceeded quota: q, requested: cpu=100m, used: cpu=1100m, limited: cpu=1", True, id="units of each other"
        ),
        pytest.param("exceeded quota: q, requested: pods=1, used: pods=x, limited: pods=5", False, id="no number"),
        pytest.param("failed quota: q: must specify limits.memory for: cilium-agent", True, id="quota needs limits"),
        pytest.param("ValidatingAdmissionPolicy 'x' denied request: no", True, id="policy"),
    ],
)
def test_a_full_quota_refuses_nothing_that_lasts_after_one_agent_is_gone(cause: str, lasting: bool) -> None:
    assert is_lasting(REFUSED + cause) is lasting
