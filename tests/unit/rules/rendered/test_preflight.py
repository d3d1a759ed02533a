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
FIX = "use Cilium's chart in spec.chart, because this is not its preflight"


def an_object(api: str, kind: str, namespace: str, name: str, **more: Any) -> dict[str, Any]:
    return {"apiVersion": api, "kind": kind, "metadata": {"name": name, "namespace": namespace}} | more


def pods_of(kind: str, pod: dict[str, Any], name: str = CHECK) -> dict[str, Any]:
    return an_object("apps/v1", kind, "kube-system", name, spec={"template": {"spec": PLACED | pod}})


def refused(*manifests: Mapping[str, Any]) -> list[str]:
    violations = all_violations(PREFLIGHT_RULES, manifests)
    assert {(broken.reason, broken.fix) for broken in violations} <= {(Reason.RENDER_REFUSED, FIX)}
    return [f"{broken.path}: {broken.message}" for broken in violations]


def mounting(path: str, container: str) -> dict[str, Any]:
    mounts = [{"name": "v", "mountPath": "/x"}]
    volumes = [{"name": "v", "hostPath": {"path": path}}]
    return {"volumes": volumes, "containers": [{"name": container, "volumeMounts": mounts}]}


@pytest.mark.parametrize("known", KNOWN, ids=" ".join)
def test_objects_of_the_preflight_are_accepted(known: tuple[str, str, str, str]) -> None:
    assert refused(an_object(*known, spec={"template": {"spec": PLACED}})) == []


@pytest.mark.parametrize(
    "manifest",
    [
        pytest.param(pods_of("DaemonSet", {"hostNetwork": True}), id="host network"),
        pytest.param(pods_of("Deployment", {"hostNetwork": True}), id="host network of the validator"),
        pytest.param(pods_of("DaemonSet", mounting("/var/run/cilium", CHECK)), id="the run path of Cilium"),
        pytest.param(
            pods_of("DaemonSet", mounting("/sys/fs/bpf", "clean-cilium-state")), id="BPF maps in the init container"
        ),
    ],
)
def test_pods_with_the_node_access_of_the_preflight_are_accepted(manifest: dict[str, Any]) -> None:
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
            "is not an object that the operator may create",
            id="Cilium itself",
        ),
        pytest.param(
            an_object("v1", "ConfigMap", "kube-system", "cilium-config"),
            "is not an object that the operator may create",
            id="Cilium's configuration",
        ),
        pytest.param(
            pods_of("DaemonSet", mounting("/proc", CHECK)),
            'has volume v with host path "/proc", which Cilium does not need',
            id="a host path of the agents",
        ),
        pytest.param(
            pods_of("Deployment", mounting("/var/run/cilium", "cnp-validator")),
            'has volume v with host path "/var/run/cilium", which Cilium does not need',
            id="a host path of the check in the validator",
        ),
        pytest.param(
            pods_of("DaemonSet", mounting("/sys/fs/bpf", "mine")),
            "mounts host path volume v into container mine, which is not a container of Cilium",
            id="a container that is not Cilium's",
        ),
        pytest.param(
            pods_of("DaemonSet", {"containers": [{"name": CHECK, "securityContext": {"privileged": True}}]}),
            f"runs container {CHECK} privileged, which Cilium does not need",
            id="privileged",
        ),
    ],
)
def test_anything_that_is_not_part_of_the_preflight_is_refused(manifest: dict[str, Any], expected: str) -> None:
    metadata = manifest["metadata"]

    assert refused(manifest) == [f"{manifest['kind']} {metadata['namespace']}/{metadata['name']}: {expected}"]


def test_cloud_node_components_are_reported_first() -> None:
    said = refused(an_object("v1", "ConfigMap", "kube-system", "kube-proxy"))

    assert [message.rpartition(": ")[2] for message in said] == [
        "is a component of the cloud nodes",
        "is not an object that the operator may create",
    ]


def test_the_releases_share_no_objects() -> None:
    """Helm rejects an object of another release, and uninstalling one release would delete it."""
    ciliums = {(*place, name) for place, names in CILIUM_OBJECTS.items() for name in names}

    assert ciliums.isdisjoint(KNOWN)
    assert {name for _, name in PREFLIGHT_NODE_ACCESS} == {CHECK}
    for known in KNOWN:
        assert all_violations(MANIFEST_RULES, [an_object(*known, spec={"template": {"spec": PLACED}})])
