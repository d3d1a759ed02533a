from collections.abc import Mapping
from typing import Any

import pytest

from cilium_hybrid.api.conditions import Reason
from cilium_hybrid.rules.rendered.allowlist import CILIUM_OBJECTS, PREFLIGHT_NODE_ACCESS, PREFLIGHT_OBJECTS
from cilium_hybrid.rules.rendered.rules import HYBRID_LABEL, MANIFEST_RULES, PREFLIGHT_RULES
from cilium_hybrid.rules.rule import all_violations

CHECK = "cilium-pre-flight-check"
KNOWN = [(*place, name) for place, names in PREFLIGHT_OBJECTS.items() for name in sorted(names)]
PLACED = {"nodeSelector": {HYBRID_LABEL: "hybrid"}}
WAY_OUT = "this is not the preflight of Cilium's own chart: correct spec.chart"


def an_object(api: str, kind: str, namespace: str, name: str, **more: Any) -> dict[str, Any]:
    return {"apiVersion": api, "kind": kind, "metadata": {"name": name, "namespace": namespace}} | more


def pods_of(kind: str, pod: dict[str, Any], name: str = CHECK) -> dict[str, Any]:
    return an_object("apps/v1", kind, "kube-system", name, spec={"template": {"spec": PLACED | pod}})


def refused(*manifests: Mapping[str, Any]) -> list[str]:
    violations = all_violations(PREFLIGHT_RULES, manifests)
    assert {(broken.reason, broken.fix) for broken in violations} <= {(Reason.RENDER_REFUSED, WAY_OUT)}
    return [f"{broken.path}: {broken.message}" for broken in violations]


def mounting(path: str, container: str) -> dict[str, Any]:
    mounts = [{"name": "v", "mountPath": "/x"}]
    volumes = [{"name": "v", "hostPath": {"path": path}}]
    return {"volumes": volumes, "containers": [{"name": container, "volumeMounts": mounts}]}


@pytest.mark.parametrize("known", KNOWN, ids=" ".join)
def test_what_a_preflight_is_made_of_is_accepted(known: tuple[str, str, str, str]) -> None:
    assert refused(an_object(*known, spec={"template": {"spec": PLACED}})) == []


@pytest.mark.parametrize(
    "manifest",
    [
        pytest.param(pods_of("DaemonSet", {"hostNetwork": True}), id="the node's network"),
        pytest.param(pods_of("Deployment", {"hostNetwork": True}), id="the node's network for the validator"),
        pytest.param(pods_of("DaemonSet", mounting("/var/run/cilium", CHECK)), id="Cilium's run path"),
        pytest.param(pods_of("DaemonSet", mounting("/sys/fs/bpf", "clean-cilium-state")), id="maps, before it starts"),
    ],
)
def test_its_pods_reach_as_far_as_ciliums_own(manifest: dict[str, Any]) -> None:
    assert refused(manifest) == []


@pytest.mark.parametrize(
    ("manifest", "expected"),
    [
        pytest.param(
            pods_of("DaemonSet", {"nodeSelector": {"kubernetes.io/os": "linux"}}),
            f"has no required affinity to {HYBRID_LABEL}=hybrid, so it would run on cloud nodes",
            id="on cloud nodes too",
        ),
        pytest.param(
            pods_of("Deployment", {"nodeSelector": {}}),
            f"has no required affinity to {HYBRID_LABEL}=hybrid, so it would run on cloud nodes",
            id="the validator on a cloud node",
        ),
        pytest.param(
            pods_of("DaemonSet", {}, "cilium"),
            "is none of the objects that the operator knows and may make",
            id="Cilium itself",
        ),
        pytest.param(
            an_object("v1", "ConfigMap", "kube-system", "cilium-config"),
            "is none of the objects that the operator knows and may make",
            id="Cilium's configuration",
        ),
        pytest.param(
            pods_of("DaemonSet", mounting("/proc", CHECK)),
            'has volume v at "/proc" of the node, which is no path of Cilium\'s own',
            id="a path of the agents",
        ),
        pytest.param(
            pods_of("Deployment", mounting("/var/run/cilium", "cnp-validator")),
            'has volume v at "/var/run/cilium" of the node, which is no path of Cilium\'s own',
            id="a path of the check for the validator",
        ),
        pytest.param(
            pods_of("DaemonSet", mounting("/sys/fs/bpf", "mine")),
            "has container mine with volume v of the node, which is for Cilium's own alone",
            id="a container that is not Cilium's",
        ),
        pytest.param(
            pods_of("DaemonSet", {"containers": [{"name": CHECK, "securityContext": {"privileged": True}}]}),
            f"has container {CHECK} privileged, and Cilium's own is not",
            id="every right",
        ),
    ],
)
def test_what_no_preflight_of_ciliums_does_is_refused(manifest: dict[str, Any], expected: str) -> None:
    metadata = manifest["metadata"]

    assert refused(manifest) == [f"{manifest['kind']} {metadata['namespace']}/{metadata['name']}: {expected}"]


def test_what_carries_the_cloud_nodes_is_named_before_what_is_only_not_known() -> None:
    said = refused(an_object("v1", "ConfigMap", "kube-system", "kube-proxy"))

    assert [message.rpartition(": ")[2] for message in said] == [
        "belongs to the cloud nodes",
        "is none of the objects that the operator knows and may make",
    ]


def test_the_two_releases_make_nothing_in_common() -> None:
    """Helm refuses an object that another release has, and an uninstall of one would take it from the other."""
    ciliums = {(*place, name) for place, names in CILIUM_OBJECTS.items() for name in names}

    assert ciliums.isdisjoint(KNOWN)
    assert {name for _, name in PREFLIGHT_NODE_ACCESS} == {CHECK}
    for known in KNOWN:
        assert all_violations(MANIFEST_RULES, [an_object(*known, spec={"template": {"spec": PLACED}})])
