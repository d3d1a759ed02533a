"""The operator creates only allowed objects, and has permissions for all of them."""

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
    ("values", "message"),
    [
        pytest.param(
            {"serviceAccounts": {"cilium": {"name": "mine"}}},
            "ServiceAccount kube-system/mine: is not an object that the operator may create",
            id="an object that is not allowed",
        ),
        pytest.param(
            {"extraVolumes": [{"name": "root", "hostPath": {"path": "/"}}]},
            'DaemonSet kube-system/cilium: has volume root with host path "/"',
            id="a host path",
        ),
    ],
)
def test_a_release_with_other_objects_is_refused_before_it_is_applied(
    site: Site, values: dict[str, Any], message: str
) -> None:
    site.apply(values=values)
    condition = site.wait_for("RenderRefused", ready="False")

    assert message in condition["message"]
    assert "remove the value that adds it from spec.values" in condition["message"]
    assert site.condition("Stalled") is not None
    assert site.revisions() == []
    assert not site.cluster.objects("serviceaccounts", "kube-system", selector="app.kubernetes.io/managed-by=Helm")

    site.apply()
    site.wait_for("InSync", ready="True")


def test_refused_values_do_not_change_a_running_cilium(site: Site) -> None:
    site.apply()
    site.wait_for("InSync", ready="True")
    before = site.agents()
    site.apply(values={"extraContainers": [{"name": "x", "image": "x", "securityContext": {"privileged": True}}]})
    condition = site.wait_for("RenderRefused")

    assert "runs container x privileged" in condition["message"]
    assert site.revisions() == [(1, "deployed")]
    assert site.agents() == before


def test_hubble_relay_and_ui_can_be_enabled_and_disabled_without_restarting_agents(site: Site) -> None:
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
