import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders import MASK, POOL, a_raw_spec, a_spec
from cilium_hybrid.api.v1alpha1 import Spec, parse_spec
from cilium_hybrid.plan.values import CONFIG_DIGEST, digest, helm_values
from strategies import FREE_VALUES


def agents_digest(spec: Spec, initial_series: str | None = None) -> str:
    found: str = helm_values(spec, initial_series)["podAnnotations"][CONFIG_DIGEST]
    return found


def test_the_smallest_spec_leads_to_the_values_of_the_aws_guide() -> None:
    hybrid_nodes = {
        "nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": {
                "nodeSelectorTerms": [
                    {
                        "matchExpressions": [
                            {"key": "eks.amazonaws.com/compute-type", "operator": "In", "values": ["hybrid"]}
                        ]
                    }
                ]
            }
        }
    }
    values = helm_values(a_spec(version="1.17.9-0"))

    assert re.fullmatch(r"sha256:[0-9a-f]{64}", values["podAnnotations"].pop(CONFIG_DIGEST))
    assert values == {
        "affinity": hybrid_nodes,
        "enableIPv4Masquerade": True,
        "envoy": {"enabled": False, "rollOutPods": True},
        "ipam": {
            "mode": "cluster-pool",
            "operator": {"clusterPoolIPv4MaskSize": MASK, "clusterPoolIPv4PodCIDRList": [POOL]},
        },
        "kubeProxyReplacement": "false",
        "loadBalancer": {"serviceTopology": True},
        "operator": {
            "affinity": hybrid_nodes,
            "rollOutPods": True,
            "unmanagedPodWatcher": {"restart": False},
        },
        "podAnnotations": {},
        "rollOutCiliumPods": False,
        "updateStrategy": {"type": "OnDelete"},
        "upgradeCompatibility": "1.17",
    }


@pytest.mark.parametrize(
    ("edit", "path", "expected"),
    [
        pytest.param({"masquerade": False}, ["enableIPv4Masquerade"], False, id="masquerading disabled"),
        pytest.param({"apiServer": {"host": "a.b"}}, ["k8sServiceHost"], "a.b", id="the host of the API server"),
        pytest.param({"apiServer": {"host": "a.b"}}, ["k8sServicePort"], 443, id="the usual port of the API server"),
        pytest.param(
            {"apiServer": {"host": "a.b", "port": 6443}}, ["k8sServicePort"], 6443, id="the port of the API server"
        ),
        pytest.param(
            {"resources": {"agent": {"limits": {"cpu": "1"}}}},
            ["resources"],
            {"limits": {"cpu": "1"}},
            id="the agent's resources",
        ),
        pytest.param(
            {"resources": {"operator": {"limits": {"cpu": "1"}}}},
            ["operator", "resources"],
            {"limits": {"cpu": "1"}},
            id="the resources of the Cilium operator",
        ),
        pytest.param({"values": {"debug": {"enabled": True}}}, ["debug"], {"enabled": True}, id="another value"),
        pytest.param({"values": {"hubble": None}}, ["hubble"], None, id="null, which removes a default of the chart"),
        pytest.param(
            {"values": {"operator": {"replicas": 1}}},
            ["operator", "replicas"],
            1,
            id="a value next to those of the operator",
        ),
        pytest.param(
            {"values": {"operator": {"replicas": 1}}},
            ["operator", "rollOutPods"],
            True,
            id="a value that the operator sets",
        ),
        pytest.param(
            {"values": {"podAnnotations": {"team": "net"}}}, ["podAnnotations", "team"], "net", id="an annotation"
        ),
    ],
)
def test_a_field_of_the_spec_sets_its_value(edit: dict[str, Any], path: list[str], expected: object) -> None:
    value: Any = helm_values(a_spec(**edit))
    for key in path:
        value = value[key]

    assert value == expected


@pytest.mark.parametrize("limit", [3, "25%"])
def test_the_daemonset_restarts_the_agents_with_strategy_rolling_update(limit: int | str) -> None:
    values = helm_values(a_spec(upgrade={"rollout": {"strategy": "RollingUpdate", "maxUnavailable": limit}}))

    assert values["updateStrategy"] == {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": limit}}
    assert values["podAnnotations"] == helm_values(a_spec())["podAnnotations"]


def test_the_initial_minor_version_is_kept() -> None:
    assert helm_values(a_spec(version="1.18.8-1"), "1.17")["upgradeCompatibility"] == "1.17"
    assert helm_values(a_spec(version="1.18.8-1"), None)["upgradeCompatibility"] == "1.18"


HUBBLE: dict[str, Any] = {"hubble": {"relay": {"enabled": True}, "ui": {"enabled": True, "replicas": 2}}}


def test_hubbles_relay_and_ui_get_the_node_affinity_if_enabled() -> None:
    values = helm_values(a_spec(values=HUBBLE))

    assert values["hubble"] == {
        "relay": {"enabled": True, "affinity": values["affinity"]},
        "ui": {"enabled": True, "replicas": 2, "affinity": values["affinity"]},
    }


@pytest.mark.parametrize(
    "hubble",
    [
        pytest.param(None, id="null"),
        pytest.param("oops", id="a string"),
        pytest.param({}, id="an empty map"),
        pytest.param({"enabled": True, "relay": None, "ui": []}, id="components of a wrong type"),
        pytest.param({"relay": {"enabled": False}, "ui": {"enabled": "true"}}, id="disabled components"),
    ],
)
def test_hubble_is_unchanged_if_no_component_is_enabled(hubble: object) -> None:
    assert helm_values(a_spec(values={"hubble": hubble}))["hubble"] == hubble


def test_the_values_of_the_spec_are_not_modified() -> None:
    spec = a_spec(values={"operator": {"replicas": 1}})

    helm_values(spec)

    assert spec.values == {"operator": {"replicas": 1}}


@pytest.mark.parametrize(
    "edit",
    [
        pytest.param({"pod_cidrs": [POOL, "10.86.0.0/16"]}, id="a pool is appended"),
        pytest.param({"values": {"operator": {"replicas": 1}}}, id="a value of the Cilium operator"),
        pytest.param({"resources": {"operator": {"limits": {"cpu": "1"}}}}, id="resources of the Cilium operator"),
        pytest.param({"suspend": True}, id="suspend"),
        pytest.param({"chart": {"ref": "/charts/cilium"}}, id="another reference of the same chart"),
        pytest.param({"values": HUBBLE}, id="Hubble's relay and UI"),
    ],
)
def test_no_agent_restarts_for(edit: dict[str, Any]) -> None:
    assert agents_digest(a_spec(**edit)) == agents_digest(a_spec())


@pytest.mark.parametrize(
    "edit",
    [
        pytest.param({"version": "1.17.9-1"}, id="another version"),
        pytest.param({"masquerade": False}, id="masquerading"),
        pytest.param({"apiServer": {"host": "api.internal"}}, id="the address of the API server"),
        pytest.param({"values": {"debug": {"enabled": True}}}, id="a value that the agents read"),
        pytest.param({"values": {"podAnnotations": {"team": "net"}}}, id="an annotation of the agents"),
        pytest.param({"values": {"hubble": {"enabled": True}}}, id="Hubble in the agents"),
        pytest.param({"values": {"hubble": {"enabled": False, "relay": {}}}}, id="Hubble with its relay"),
        pytest.param({"resources": {"agent": {"limits": {"cpu": "1"}}}}, id="resources of the agents"),
    ],
)
def test_agents_restart_for(edit: dict[str, Any]) -> None:
    assert agents_digest(a_spec(**edit)) != agents_digest(a_spec())


def test_agents_restart_for_another_initial_minor_version() -> None:
    assert agents_digest(a_spec(version="1.18.8-1"), "1.17") != agents_digest(a_spec(version="1.18.8-1"))


def test_a_digest_does_not_change_with_the_version_of_the_operator() -> None:
    """Another digest of the same values would count as a change and restart every agent."""
    assert digest({}) == "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
    assert digest({"b": [1, None], "a": "ü"}) == (
        "sha256:9d57496cc00f5bc8e497bb536b5910e6d35ca5ec7384dd44272f95ce0ad31c4d"
    )


def shuffled(value: Any, random: Any) -> Any:
    """Return the JSON value with the keys of every map in another order."""
    if isinstance(value, dict):
        keys = list(value)
        random.shuffle(keys)
        return {key: shuffled(value[key], random) for key in keys}
    return [shuffled(item, random) for item in value] if isinstance(value, list) else value


@given(FREE_VALUES, st.randoms(use_true_random=False))
def test_the_order_of_keys_does_not_matter(values: dict[str, Any], random: Any) -> None:
    raw = a_raw_spec(values=values)
    one, other = helm_values(parse_spec(raw)), helm_values(parse_spec(shuffled(raw, random)))

    assert json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
    assert digest(one) == digest(other)
    assert agents_digest(parse_spec(raw)) == agents_digest(parse_spec(shuffled(raw, random)))


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, "443edb73009e22606d14ee9e7c4f27447370711855cfe490f9be5e06510f527a"),
        (
            {"imagePullSecrets": [{"name": "mirror"}], "image": {"repository": "mirror.example.com/cilium"}},
            "282b9989cbf44fb7ca52db0466b5704200fc5297769160d8092f3c4f7258ac5c",
        ),
    ],
    ids=["the smallest spec", "custom images"],
)
def test_a_spec_without_newer_fields_still_leads_to_the_same_revision(values: dict[str, Any], expected: str) -> None:
    # Another digest means a new revision and a restart of every agent in each cluster whose operator is upgraded.
    assert digest(helm_values(a_spec(version="1.17.9-0", values=values))) == f"sha256:{expected}"


@given(FREE_VALUES)
def test_agents_restart_for_another_mirror_or_pull_secret(values: dict[str, Any]) -> None:
    plain, secrets = a_spec(values=values), [{"name": "mirror"}]
    one, other = (a_spec(values=values, registryMirror=f"{name}.example.com") for name in ("one", "other"))
    secret, among_values = a_spec(values=values, imagePullSecrets=secrets), {**values, "imagePullSecrets": secrets}

    # The restart repairs an agent whose image could not be pulled without the Secret.
    assert len({agents_digest(spec) for spec in (plain, one, other, secret)}) == 4
    assert helm_values(secret) == helm_values(a_spec(values=among_values))


@given(FREE_VALUES, st.integers(1, 10))
def test_no_agent_restarts_for_any_number_of_appended_pools(values: dict[str, Any], more: int) -> None:
    pools = [f"10.{100 + number}.0.0/16" for number in range(more + 1)]
    before, after = a_spec(pod_cidrs=pools[:1], values=values), a_spec(pod_cidrs=pools, values=values)

    assert agents_digest(before) == agents_digest(after)
    assert digest(helm_values(before)) != digest(helm_values(after))


@given(FREE_VALUES, FREE_VALUES)
def test_agents_restart_if_and_only_if_a_value_changes(one: dict[str, Any], other: dict[str, Any]) -> None:
    same = json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)

    assert (agents_digest(a_spec(values=one)) == agents_digest(a_spec(values=other))) == same
