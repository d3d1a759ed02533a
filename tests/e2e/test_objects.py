"""Only what the operator knows is made in the cluster, and all that it knows can be made."""

from collections.abc import Iterator
from typing import Any

import pytest

from cilium_hybrid.rules.rendered.allowlist import CILIUM_OBJECTS
from e2e.site import Site

HUBBLE = {"hubble": {"relay": {"enabled": True}, "ui": {"enabled": True}}}


@pytest.fixture(autouse=True)
def clean(site: Site) -> Iterator[None]:
    yield
    site.clean()


@pytest.mark.parametrize(
    ("values", "named"),
    [
        pytest.param(
            {"serviceAccounts": {"cilium": {"name": "mine"}}},
            "ServiceAccount kube-system/mine: is none of the objects",
            id="an object that is not known",
        ),
        pytest.param(
            {"extraVolumes": [{"name": "root", "hostPath": {"path": "/"}}]},
            'DaemonSet kube-system/cilium: has volume root at "/" of the node',
            id="a path of the node",
        ),
    ],
)
def test_what_is_not_ciliums_is_refused_before_anything_is_applied(
    site: Site, values: dict[str, Any], named: str
) -> None:
    site.apply(values=values)
    condition = site.wait_for("RenderRefused", ready="False")

    assert named in condition["message"]
    assert "take out what adds it from spec.values" in condition["message"]
    assert site.condition("Stalled") is not None
    assert site.revisions() == []
    assert not site.cluster.objects("serviceaccounts", "kube-system", selector="app.kubernetes.io/managed-by=Helm")

    site.apply()
    site.wait_for("InSync", ready="True")


def test_a_running_cilium_is_left_as_it_is_by_values_that_are_refused(site: Site) -> None:
    site.apply()
    site.wait_for("InSync", ready="True")
    before = site.agents()
    site.apply(values={"extraContainers": [{"name": "x", "image": "x", "securityContext": {"privileged": True}}]})
    condition = site.wait_for("RenderRefused")

    assert "has container x privileged" in condition["message"]
    assert site.revisions() == [(1, "deployed")]
    assert site.agents() == before


def test_hubbles_relay_and_ui_come_and_go_without_a_restart_of_agents(site: Site) -> None:
    site.apply(version="1.19.4-1")
    site.wait_for("InSync", ready="True")
    before = site.agents()
    site.apply(version="1.19.4-1", values=HUBBLE)
    site.wait_for("InSync", ready="True")

    assert site.revisions()[-1] == (2, "deployed")
    assert site.agents() == before
    for (_, kind, namespace), names in CILIUM_OBJECTS.items():
        for name in names:
            assert site.cluster.get(kind.lower(), name, namespace or None), name
    for name in ("hubble-relay", "hubble-ui"):
        pods = site.cluster.objects("pods", "kube-system", selector=f"k8s-app={name}")
        assert [pod["spec"]["nodeName"][:3] for pod in pods] == ["mi-"]

    site.apply(version="1.19.4-1")
    site.wait_for("InSync", ready="True")

    assert not site.cluster.objects("deployments", "kube-system", selector="k8s-app in (hubble-relay, hubble-ui)")
    assert site.agents() == before
