"""Drift of released objects is reported within seconds and changes nothing else."""

import json
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any

import pytest

from e2e.site import USER, Site
from testbed.processes import wait_until

LIMIT = 15.0
NO_DRIFT: dict[str, Any] = {"count": 0, "sample": []}
EDIT = json.dumps({"data": {"debug": "true"}})
EDITED = "ConfigMap kube-system/cilium-config (.data.debug, by kubectl-patch)"


@pytest.fixture
def clean_site(site: Site) -> Iterator[Site]:
    yield site
    site.clean()


@pytest.fixture
def installed(clean_site: Site) -> Site:
    clean_site.apply()
    clean_site.wait_for("InSync", ready="True")
    _wait_for(clean_site, NO_DRIFT)
    return clean_site


def _wait_for(site: Site, drift: object) -> None:
    wait_until(lambda: site.status().get("drift") == drift, timeout=LIMIT, what=f"drift {drift}", needs=[site.operator])


def _metric(site: Site) -> float:
    _, text = site.http_get("/metrics")
    (line,) = (line for line in text.splitlines() if line.startswith("cilium_hybrid_drift_objects "))
    return float(line.split()[-1])


def test_an_edit_is_reported_with_its_field_manager_and_undone_by_the_next_change(installed: Site) -> None:
    site = installed
    assert _metric(site) == 0
    site.cluster.kubectl("patch", "configmap", "cilium-config", "-n", "kube-system", "--patch", EDIT)
    _wait_for(site, {"count": 1, "sample": [EDITED]})

    assert [finding for finding in site.status()["findings"] if EDITED in finding]
    assert _metric(site) == 1
    site.wait_for("InSync", ready="True")
    assert site.revisions() == [(1, "deployed")]

    site.apply(values={"operator": {"prometheus": {"port": 9964}}})
    site.wait_for("InSync", ready="True")
    _wait_for(site, NO_DRIFT)

    assert site.cluster.get("configmap", "cilium-config", "kube-system")["data"]["debug"] == "false"


def test_the_operator_may_compare_every_object_of_the_chart(clean_site: Site) -> None:
    site = clean_site
    hubble = {"relay": {"enabled": True}, "ui": {"enabled": True}}
    site.apply(values={"hubble": hubble, "prometheus": {"enabled": True}})
    site.wait_for("InSync", ready="True")
    _wait_for(site, NO_DRIFT)
    events = [event for event in site.cluster.audit_events() if event["user"]["username"] == USER]
    comparisons = [
        event for event in events if "dryRun=All" in event["requestURI"] and "force=false" in event["requestURI"]
    ]
    forbidden = [event["requestURI"] for event in events if event["responseStatus"]["code"] == HTTPStatus.FORBIDDEN]

    assert len({event["requestURI"] for event in comparisons}) > 20
    assert forbidden == []


def test_a_reverted_edit_is_no_longer_reported(installed: Site) -> None:
    site = installed
    containers = site.cluster.get("daemonset", "cilium", "kube-system")["spec"]["template"]["spec"]["containers"]
    image = next(container["image"] for container in containers if container["name"] == "cilium-agent")

    def set_image(to: str) -> None:
        site.cluster.kubectl("set", "image", "daemonset/cilium", "-n", "kube-system", f"cilium-agent={to}")

    set_image("example.com/other:v1")
    field = '.spec.template.spec.containers[name="cilium-agent"].image'
    _wait_for(site, {"count": 1, "sample": [f"DaemonSet kube-system/cilium ({field}, by kubectl-set)"]})

    set_image(image)
    _wait_for(site, NO_DRIFT)


def test_an_object_deleted_while_the_operator_was_down_is_reported(installed: Site) -> None:
    site = installed
    site.operator.stop()
    site.cluster.kubectl("delete", "clusterrolebinding", "cilium-operator")
    site.operator.start()
    _wait_for(site, {"count": 1, "sample": ["ClusterRoleBinding cilium-operator is missing"]})
