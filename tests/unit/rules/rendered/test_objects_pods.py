from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cilium_hybrid.api.conditions import Reason
from cilium_hybrid.rules.rendered.allowlist import CILIUM_NODE_ACCESS, CILIUM_OBJECTS, KUBE_SYSTEM
from cilium_hybrid.rules.rendered.objects import only_known_objects_are_made, pods_reach_into_the_node_as_ciliums_do
from cilium_hybrid.rules.rendered.rules import MANIFEST_RULES
from cilium_hybrid.rules.rule import all_violations

RULES = (only_known_objects_are_made, pods_reach_into_the_node_as_ciliums_do)
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
        pytest.param(AGENTS, {"hostNetwork": True}, id="agents on the network of the node"),
        pytest.param(OPERATOR, {"hostNetwork": True}, id="Cilium's operator too"),
        pytest.param(AGENTS, {"hostPID": False, "hostIPC": None}, id="what is off"),
        pytest.param(AGENTS, mounting("cilium-agent", at("/proc/sys/net")), id="a path of Cilium's own"),
        pytest.param(AGENTS, mounting("config", at("/proc"), field="initContainers"), id="before Cilium starts"),
        pytest.param(AGENTS, mounting("mine", {"name": "v", "emptyDir": {}}), id="a container with room of its own"),
        pytest.param(AGENTS, {"volumes": [{"name": "v", "hostPath": None}]}, id="no path at all"),
        pytest.param(AGENTS, adding("cilium-agent", ["SYS_ADMIN", "SYSLOG"]), id="capabilities of Cilium's own"),
        pytest.param(AGENTS, adding("mine", []), id="no capabilities"),
        pytest.param(AGENTS, a_container("mount-bpf-fs", privileged=True), id="what must be privileged"),
        pytest.param(AGENTS, a_container("mine", privileged=False, runAsUser=0), id="a container that is not"),
        pytest.param(RELAY, a_container("hubble-relay", capabilities={"drop": ["ALL"]}), id="fewer capabilities"),
        pytest.param(RELAY, {"volumes": "oops", "containers": ["oops", None]}, id="an odd shape"),
        pytest.param(RELAY, {"containers": [{"securityContext": "oops", "volumeMounts": 7}]}, id="odd inside"),
        pytest.param(RELAY, "oops", id="no pod"),
    ],
)
def test_pods_that_reach_no_further_than_ciliums_are_accepted(workload: tuple[str, str], pod: Any) -> None:
    assert refused(pods_of(*workload, pod)) == []


@pytest.mark.parametrize(
    ("workload", "pod", "expected"),
    [
        pytest.param(AGENTS, {"hostPID": True}, "sets hostPID, and Cilium's own does not", id="processes"),
        pytest.param(OPERATOR, {"hostIPC": True}, "sets hostIPC, and Cilium's own does not", id="memory"),
        pytest.param(
            AGENTS,
            {"shareProcessNamespace": True},
            "sets shareProcessNamespace, and Cilium's own does not",
            id="processes of the other containers",
        ),
        pytest.param(
            RELAY,
            {"hostNetwork": True},
            "sets hostNetwork, and Cilium's own does not",
            id="network, where Cilium's is not",
        ),
        *(
            pytest.param(
                AGENTS,
                {"volumes": [at(path)]},
                f'has volume v at "{path}" of the node, which is no path of Cilium\'s own',
                id=f"the path {path}",
            )
            for path in ("/", "/etc", "/proc/", "/proc/../etc", "//proc", "proc", "", None, ["/proc"])
        ),
        pytest.param(
            OPERATOR,
            {"volumes": [at("/proc")]},
            'has volume v at "/proc" of the node, which is no path of Cilium\'s own',
            id="a path of another workload",
        ),
        pytest.param(
            RELAY,
            {"volumes": [{"name": "v", "hostPath": "oops"}]},
            'has volume v at "None" of the node, which is no path of Cilium\'s own',
            id="a path of an odd shape",
        ),
        pytest.param(
            AGENTS,
            mounting("mine", at("/proc")),
            "has container mine with volume v of the node, which is for Cilium's own alone",
            id="a path of Cilium's own in a container that is not",
        ),
        pytest.param(
            AGENTS,
            mounting("mine", at("/proc"), field="initContainers"),
            "has container mine with volume v of the node, which is for Cilium's own alone",
            id="before Cilium starts",
        ),
        pytest.param(
            AGENTS,
            a_container("cilium-agent", privileged=True),
            "has container cilium-agent privileged, and Cilium's own is not",
            id="an agent with every right",
        ),
        pytest.param(
            AGENTS,
            a_container("mine", privileged="yes"),
            "has container mine privileged, and Cilium's own is not",
            id="a container with every right",
        ),
        pytest.param(
            AGENTS,
            adding("cilium-agent", ["SYS_ADMIN", "ALL"]),
            "has container cilium-agent with capability ALL, and Cilium's own does not add it",
            id="an agent with every capability",
        ),
        pytest.param(
            AGENTS,
            adding("mine", ["NET_ADMIN"]),
            "has container mine with capability NET_ADMIN, and Cilium's own does not add it",
            id="a capability of Cilium's own in a container that is not",
        ),
        pytest.param(
            RELAY,
            adding("hubble-relay", "ALL"),
            "has container hubble-relay with capability ALL, and Cilium's own does not add it",
            id="capabilities of an odd shape",
        ),
    ],
)
def test_pods_that_reach_further_are_refused(workload: tuple[str, str], pod: Any, expected: str) -> None:
    assert refused(pods_of(*workload, pod)) == [
        f"{workload[0]} kube-system/{workload[1]}: {expected}: take out what adds it from spec.values"
    ]


def test_everything_that_a_pod_reaches_for_is_named() -> None:
    pod = mounting("mine", at("/etc"), at("/proc", "w"), at("/root", "x")) | {"hostPID": True}

    assert len(refused(pods_of(*AGENTS, pod))) == 4


def test_an_unknown_workload_is_refused_once() -> None:
    assert len(refused(pods_of("DaemonSet", "mine", {"hostPID": True}))) == 1


def test_only_a_known_workload_may_reach_for_something() -> None:
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
def test_whatever_is_rendered_is_judged(manifests: list[dict[str, Any]]) -> None:
    assert {broken.reason for broken in all_violations(MANIFEST_RULES, manifests)} <= {Reason.RENDER_REFUSED}
