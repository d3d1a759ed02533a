"""What somebody changes of what is released is told within seconds, and changes nothing but what is told."""

import json
import urllib.request
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any

import pytest

from e2e.site import USER, Site
from testbed.processes import wait_until

SECONDS = 15.0
NOTHING: dict[str, Any] = {"count": 0, "sample": []}
EDIT = json.dumps({"data": {"debug": "true"}})
EDITED = "ConfigMap kube-system/cilium-config (.data.debug, by kubectl-patch)"


@pytest.fixture
def cleaned(site: Site) -> Iterator[Site]:
    yield site
    site.clean()


@pytest.fixture
def installed(cleaned: Site) -> Site:
    cleaned.apply()
    cleaned.wait_for("InSync", ready="True")
    _wait_for(cleaned, NOTHING)
    return cleaned


def _wait_for(site: Site, drift: object) -> None:
    wait_until(
        lambda: site.status().get("drift") == drift, timeout=SECONDS, what=f"drift {drift}", needs=[site.operator]
    )


def _told(site: Site) -> float:
    address = site.operator.env["CILIUM_HYBRID_METRICS_ADDR"]
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=5) as answer:
        lines = answer.read().decode().splitlines()
    (line,) = (line for line in lines if line.startswith("cilium_hybrid_drift_objects "))
    return float(line.split()[-1])


def test_an_edit_is_told_with_who_did_it_and_undone_by_the_next_change(installed: Site) -> None:
    site = installed
    assert _told(site) == 0
    site.cluster.kubectl("patch", "configmap", "cilium-config", "-n", "kube-system", "--patch", EDIT)
    _wait_for(site, {"count": 1, "sample": [EDITED]})

    assert [finding for finding in site.status()["findings"] if EDITED in finding]
    assert _told(site) == 1
    site.wait_for("InSync", ready="True")
    assert site.revisions() == [(1, "deployed")]

    site.apply(values={"operator": {"prometheus": {"port": 9964}}})
    site.wait_for("InSync", ready="True")
    _wait_for(site, NOTHING)

    assert site.cluster.get("configmap", "cilium-config", "kube-system")["data"]["debug"] == "false"


def test_every_object_of_the_chart_may_be_compared(cleaned: Site) -> None:
    site = cleaned
    hubble = {"relay": {"enabled": True}, "ui": {"enabled": True}}
    site.apply(values={"hubble": hubble, "prometheus": {"enabled": True}})
    site.wait_for("InSync", ready="True")
    _wait_for(site, NOTHING)
    events = [event for event in site.cluster.audit_events() if event["user"]["username"] == USER]
    compared = [
        event for event in events if "dryRun=All" in event["requestURI"] and "force=false" in event["requestURI"]
    ]
    refused = [event["requestURI"] for event in events if event["responseStatus"]["code"] == HTTPStatus.FORBIDDEN]

    assert len({event["requestURI"] for event in compared}) > 20
    assert refused == []


def test_an_edit_that_is_taken_back_is_told_no_more(installed: Site) -> None:
    site = installed
    containers = site.cluster.get("daemonset", "cilium", "kube-system")["spec"]["template"]["spec"]["containers"]
    image = next(container["image"] for container in containers if container["name"] == "cilium-agent")

    def set_image(to: str) -> None:
        site.cluster.kubectl("set", "image", "daemonset/cilium", "-n", "kube-system", f"cilium-agent={to}")

    set_image("example.com/other:v1")
    field = '.spec.template.spec.containers[name="cilium-agent"].image'
    _wait_for(site, {"count": 1, "sample": [f"DaemonSet kube-system/cilium ({field}, by kubectl-set)"]})

    set_image(image)
    _wait_for(site, NOTHING)


def test_an_object_that_is_gone_is_told_by_an_operator_that_was_away(installed: Site) -> None:
    site = installed
    site.operator.stop()
    site.cluster.kubectl("delete", "clusterrolebinding", "cilium-operator")
    site.operator.start()
    _wait_for(site, {"count": 1, "sample": ["ClusterRoleBinding cilium-operator is gone"]})
