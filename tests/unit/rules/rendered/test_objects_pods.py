from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cilium_hybrid.api.conditions import Reason
from cilium_hybrid.rules.rendered.allowlist import CILIUM_NODE_ACCESS, CILIUM_OBJECTS, KUBE_SYSTEM
from cilium_hybrid.rules.rendered.objects import objects_are_allowed, pods_have_no_extra_node_access
from cilium_hybrid.rules.rendered.rules import MANIFEST_RULES
from cilium_hybrid.rules.rule import all_violations

RULES = (objects_are_allowed, pods_have_no_extra_node_access)
KNOWN = [(*place, name) for place, names in CILIUM_OBJECTS.items() for name in sorted(names)]
AGENTS = ("DaemonSet", "cilium")
OPERATOR = ("Deployment", "cilium-operator")
RELAY = ("Deployment", "hubble-relay")


def an_object(api: str, kind: str, namespace: str, name: str) -> dict[str, Any]:
    return {"apiVersion": api, "kind": kind, "metadata": {"name": name, "namespace": namespace}}


def pods_of(kind: str, name: str, pod: Any) -> dict[str, Any]:
    return an_object("apps/v1", kind, KUBE_SYSTEM, name) | {"spec": {"template": {"spec": pod}}}


def refused(*manifests: Mapping[str, Any]) -> list[str]:
    violations = all_violations(RULES, manifests)
    assert {broken.reason for broken in violations} <= {Reason.RENDER_REFUSED}
    return [str(broken) for broken in violations]


def at(path: object, name: str = "v") -> dict[str, Any]:
    return {"name": name, "hostPath": {"path": path}}


def a_container(name: str, **context: Any) -> dict[str, Any]:
    return {"containers": [{"name": name, "securityContext": context}]}


def adding(name: str, added: object) -> dict[str, Any]:
    return a_container(name, capabilities={"add": added})


def mounting(name: str, *volumes: Mapping[str, Any], field: str = "containers") -> dict[str, Any]:
    mounts = [{"name": volume["name"], "mountPath": "/x"} for volume in volumes]
    return {"volumes": list(volumes), field: [{"name": name, "volumeMounts": mounts}]}


@pytest.mark.parametrize(
    ("workload", "pod"),
    [
        pytest.param(AGENTS, {"hostNetwork": True}, id="agents in the host network"),
        pytest.param(OPERATOR, {"hostNetwork": True}, id="the Cilium operator in the host network"),
        pytest.param(AGENTS, {"hostPID": False, "hostIPC": None}, id="namespaces set to false and null"),
        pytest.param(AGENTS, mounting("cilium-agent", at("/proc/sys/net")), id="a host path that Cilium needs"),
        pytest.param(AGENTS, mounting("config", at("/proc"), field="initContainers"), id="in an init container"),
        pytest.param(AGENTS, mounting("mine", {"name": "v", "emptyDir": {}}), id="another container with an emptyDir"),
        pytest.param(AGENTS, {"volumes": [{"name": "v", "hostPath": None}]}, id="a null host path"),
        pytest.param(AGENTS, adding("cilium-agent", ["SYS_ADMIN", "SYSLOG"]), id="capabilities that Cilium needs"),
        pytest.param(AGENTS, adding("mine", []), id="no capabilities"),
        pytest.param(AGENTS, a_container("mount-bpf-fs", privileged=True), id="a container that must be privileged"),
        pytest.param(AGENTS, a_container("mine", privileged=False, runAsUser=0), id="an unprivileged container"),
        pytest.param(RELAY, a_container("hubble-relay", capabilities={"drop": ["ALL"]}), id="fewer capabilities"),
        pytest.param(RELAY, {"volumes": "oops", "containers": ["oops", None]}, id="wrong types"),
        pytest.param(
            RELAY, {"containers": [{"securityContext": "oops", "volumeMounts": 7}]}, id="wrong types in a container"
        ),
        pytest.param(RELAY, "oops", id="no pod"),
    ],
)
def test_pods_with_the_node_access_of_cilium_are_accepted(workload: tuple[str, str], pod: Any) -> None:
    assert refused(pods_of(*workload, pod)) == []


@pytest.mark.parametrize(
    ("workload", "pod", "expected"),
    [
        pytest.param(AGENTS, {"hostPID": True}, "sets hostPID, which Cilium does not need", id="host PID namespace"),
        pytest.param(OPERATOR, {"hostIPC": True}, "sets hostIPC, which Cilium does not need", id="host IPC namespace"),
        pytest.param(
            AGENTS,
            {"shareProcessNamespace": True},
            "sets shareProcessNamespace, which Cilium does not need",
            id="shared process namespace",
        ),
        pytest.param(
            RELAY,
            {"hostNetwork": True},
            "sets hostNetwork, which Cilium does not need",
            id="host network of a pod that does not need it",
        ),
        *(
            pytest.param(
                AGENTS,
                {"volumes": [at(path)]},
                f'has volume v with host path "{path}", which Cilium does not need',
                id=f"the path {path}",
            )
            for path in ("/", "/etc", "/proc/", "/proc/../etc", "//proc", "proc", "", None, ["/proc"])
        ),
        pytest.param(
            OPERATOR,
            {"volumes": [at("/proc")]},
            'has volume v with host path "/proc", which Cilium does not need',
            id="a host path that another workload needs",
        ),
        pytest.param(
            RELAY,
            {"volumes": [{"name": "v", "hostPath": "oops"}]},
            'has volume v with host path "None", which Cilium does not need',
            id="a host path of a wrong type",
        ),
        pytest.param(
            AGENTS,
            mounting("mine", at("/proc")),
            "mounts host path volume v into container mine, which is not a container of Cilium",
            id="a host path of Cilium in another container",
        ),
        pytest.param(
            AGENTS,
            mounting("mine", at("/proc"), field="initContainers"),
            "mounts host path volume v into container mine, which is not a container of Cilium",
            id="in an init container",
        ),
        pytest.param(
            AGENTS,
            a_container("cilium-agent", privileged=True),
            "runs container cilium-agent privileged, which Cilium does not need",
            id="a privileged agent",
        ),
        pytest.param(
            AGENTS,
            a_container("mine", privileged="yes"),
            "runs container mine privileged, which Cilium does not need",
            id="another privileged container",
        ),
        pytest.param(
            AGENTS,
            adding("cilium-agent", ["SYS_ADMIN", "ALL"]),
            "adds capability ALL to container cilium-agent, which Cilium does not need",
            id="an agent with all capabilities",
        ),
        pytest.param(
            AGENTS,
            adding("mine", ["NET_ADMIN"]),
            "adds capability NET_ADMIN to container mine, which Cilium does not need",
            id="a capability of Cilium in another container",
        ),
        pytest.param(
            RELAY,
            adding("hubble-relay", "ALL"),
            "adds capability ALL to container hubble-relay, which Cilium does not need",
            id="capabilities of a wrong type",
        ),
    ],
)
def test_pods_with_more_node_access_are_refused(workload: tuple[str, str], pod: Any, expected: str) -> None:
    assert refused(pods_of(*workload, pod)) == [
        f"{workload[0]} kube-system/{workload[1]}: {expected}; remove the value that adds it from spec.values"
    ]


def test_all_extra_node_access_is_reported() -> None:
    pod = mounting("mine", at("/etc"), at("/proc", "w"), at("/root", "x")) | {"hostPID": True}

    assert len(refused(pods_of(*AGENTS, pod))) == 4


def test_a_workload_that_is_not_allowed_is_refused_once() -> None:
    assert len(refused(pods_of("DaemonSet", "mine", {"hostPID": True}))) == 1


def test_only_allowed_workloads_have_node_access() -> None:
    names = {(kind, name) for _, kind, _, name in KNOWN}

    assert set(CILIUM_NODE_ACCESS) <= names


ODD = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4) | st.dates(),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["name", "path", "add", "x"]), inner),
    max_leaves=4,
)
CONTAINERS = ODD | st.lists(
    ODD
    | st.fixed_dictionaries(
        {},
        optional={
            "name": ODD | st.sampled_from(["cilium-agent", "mine"]),
            "securityContext": ODD | st.fixed_dictionaries({}, optional={"privileged": ODD, "capabilities": ODD}),
            "volumeMounts": ODD | st.lists(st.fixed_dictionaries({"name": ODD})),
        },
    ),
    max_size=2,
)
VOLUMES = ODD | st.lists(ODD | st.fixed_dictionaries({"name": ODD, "hostPath": ODD}), max_size=2)
PODS = ODD | st.fixed_dictionaries(
    {}, optional={"hostPID": ODD, "volumes": VOLUMES, "containers": CONTAINERS, "initContainers": CONTAINERS}
)
# What is known, with odd parts laid over it.
OBJECTS = st.builds(
    lambda known, pod, odd: an_object(*known) | {"spec": {"template": {"spec": pod}}} | odd,
    st.sampled_from(KNOWN),
    PODS,
    st.fixed_dictionaries(
        {}, optional={"apiVersion": ODD, "kind": ODD, "metadata": ODD, "spec": ODD, "items": ODD | st.lists(ODD)}
    ),
)


@given(st.lists(OBJECTS, max_size=3))
def test_any_manifest_can_be_validated(manifests: list[dict[str, Any]]) -> None:
    assert {broken.reason for broken in all_violations(MANIFEST_RULES, manifests)} <= {Reason.RENDER_REFUSED}
