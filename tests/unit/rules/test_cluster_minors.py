"""What the cluster has against a minor: the messages name the minors that the data files name."""

import pytest

from builders import a_lenient_spec
from cilium_hybrid.rules.change import Running
from cilium_hybrid.rules.cluster import bgp_peering_policies_are_migrated, kernels_are_new_enough
from cilium_hybrid.rules.cluster_facts import ClusterFacts, ClusterRuleInput

OLD, NEW = "4.18.0-553.el8.x86_64", "5.15.0-100-generic"


@pytest.mark.parametrize(
    ("version", "kernels", "message"),
    [
        pytest.param("1.17.13-1", {"a": OLD}, None, id="a minor without a requirement"),
        pytest.param("1.18.8-1", {"a": NEW}, None, id="a kernel that is new enough"),
        pytest.param("1.18.8-1", {"a": "unknown"}, None, id="an unreadable kernel"),
        pytest.param("1.18.8-1", {"a": NEW, "b": OLD}, f"b ({OLD}) has an older kernel", id="one old kernel"),
        pytest.param("1.20.0", {"a": OLD}, f"a ({OLD}) has an older kernel", id="a requirement of an earlier minor"),
        pytest.param(
            "1.99.0", {"a": OLD, "b": OLD}, f"a ({OLD}), b ({OLD}) have an older kernel", id="an unknown later minor"
        ),
    ],
)
def test_the_kernels_must_be_new_enough_for_the_minor(
    version: str, kernels: dict[str, str], message: str | None
) -> None:
    inputs = ClusterRuleInput(a_lenient_spec(version=version), Running(), ClusterFacts(kernels=kernels))
    found = [*kernels_are_new_enough(inputs)]

    assert len(found) == (message is not None)
    for violation in found:
        assert violation.message == f"{version} needs Linux 5.10 or newer on every hybrid node, but {message}"
        assert violation.fix == "upgrade the operating system of these nodes, or stay below 1.18"


@pytest.mark.parametrize(
    ("running", "replacement"),
    [
        pytest.param("1.17.13-1", "CiliumBGPClusterConfig (cilium.io/v2alpha1)", id="1.17"),
        pytest.param("1.18.8-1", "CiliumBGPClusterConfig (cilium.io/v2)", id="1.18"),
        pytest.param("1.16.19", "CiliumBGPClusterConfig", id="a minor without a file"),
        pytest.param(None, "CiliumBGPClusterConfig (cilium.io/v2)", id="nothing runs"),
    ],
)
def test_a_removed_resource_is_replaced_with_the_api_version_that_the_running_minor_serves(
    running: str | None, replacement: str
) -> None:
    inputs = ClusterRuleInput(
        a_lenient_spec(version="1.19.4-1"), Running(version=running), ClusterFacts(peering_policies=("rack-1",))
    )

    (violation,) = bgp_peering_policies_are_migrated(inputs)

    assert violation.fix == f"replace them with {replacement} and delete them, or stay below 1.19"
