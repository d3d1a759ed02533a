"""Releases that the operator renders pass its own rules, with the test chart and with Cilium's chart."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from builders import a_spec
from chart.package import versions
from chart.rendering import Rendered, render
from cilium_hybrid.plan.rollout.operator_deployment import with_old_operator_stopped_first
from cilium_hybrid.plan.values import helm_values
from cilium_hybrid.rules.rendered.allowlist import CILIUM_NODE_ACCESS, CILIUM_OBJECTS
from cilium_hybrid.rules.rendered.rules import MANIFEST_RULES
from cilium_hybrid.rules.rule import all_violations

# Every version of the test chart, and Cilium's charts if CILIUM_CHARTS names a folder with them.
REAL_CHARTS = sorted(Path(os.environ.get("CILIUM_CHARTS", "nowhere")).glob("cilium-*.tgz"))
HUBBLE = {"hubble": {"relay": {"enabled": True}, "ui": {"enabled": True}}}
AGENTS = "DaemonSet kube-system/cilium"

# Additional volumes and containers.
ROOT = {"name": "root", "hostPath": {"path": "/"}}
SIDECAR = {"name": "sidecar", "image": "mine"}
PRIVILEGED = SIDECAR | {"securityContext": {"privileged": True}}
MOUNTING_PROC = SIDECAR | {"volumeMounts": [{"name": "hostproc", "mountPath": "/x"}]}
HOST = {"name": "host", "hostPath": "/etc", "mountPath": "/x", "readOnly": True}

Render = Callable[..., Rendered]
every_version = pytest.mark.parametrize("chart", [*versions(), *REAL_CHARTS], ids=lambda chart: Path(chart).name)
one_and_real_charts = pytest.mark.parametrize("chart", ["1.18.8-1", *REAL_CHARTS], ids=lambda chart: Path(chart).name)
needs_real_charts = pytest.mark.skipif(not REAL_CHARTS, reason="CILIUM_CHARTS names no folder with charts of Cilium")
every_real_chart = pytest.mark.parametrize("chart", REAL_CHARTS, ids=lambda chart: chart.name)


@pytest.fixture
def released(helm: Path, charts: Mapping[str, Path]) -> Render:
    """Return what the operator would release from a chart with `spec.values`."""

    def rendered(chart: str | Path, values: Mapping[str, Any]) -> Rendered:
        archive = chart if isinstance(chart, Path) else charts[chart]
        spec = a_spec(version=archive.stem.removeprefix("cilium-"), values=values)
        return render(helm, archive, helm_values(spec))

    return rendered


def refused(rendered: Rendered) -> list[str]:
    violations = all_violations(MANIFEST_RULES, list(rendered.objects.values()))
    return sorted({broken.path for broken in violations})


@every_version
@pytest.mark.parametrize("values", [{}, HUBBLE], ids=["minimal spec", "Hubble Relay and UI"])
def test_a_release_of_the_operator_is_accepted(released: Render, chart: str | Path, values: dict[str, Any]) -> None:
    assert refused(released(chart, values)) == []


@every_version
def test_the_old_cilium_operator_can_be_stopped_first(
    helm: Path, charts: Mapping[str, Path], chart: str | Path
) -> None:
    archive = chart if isinstance(chart, Path) else charts[chart]
    values = helm_values(a_spec(version=archive.stem.removeprefix("cilium-")))
    default, stopped_first = (
        render(helm, archive, each).operator["spec"] for each in (values, with_old_operator_stopped_first(values))
    )

    assert stopped_first["strategy"] == {
        "type": "RollingUpdate",
        "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "100%"},
    }
    assert {**stopped_first, "strategy": default["strategy"]} == default


@pytest.mark.parametrize(
    "charts_of_minors",
    [
        pytest.param(versions(), id="test chart"),
        pytest.param(REAL_CHARTS, id="Cilium's charts", marks=needs_real_charts),
    ],
)
def test_the_allowlist_has_exactly_the_rendered_objects(released: Render, charts_of_minors: list[str | Path]) -> None:
    rendered = [tree for chart in charts_of_minors for tree in released(chart, HUBBLE).objects.values()]
    allowed = {(*place, name) for place, names in CILIUM_OBJECTS.items() for name in names}
    agents = [tree["spec"]["template"]["spec"] for tree in rendered if tree["kind"] == "DaemonSet"]
    paths = {volume["hostPath"]["path"] for pod in agents for volume in pod["volumes"] if "hostPath" in volume}

    assert allowed == {
        (tree["apiVersion"], tree["kind"], tree["metadata"].get("namespace", ""), tree["metadata"]["name"])
        for tree in rendered
    }
    assert paths == CILIUM_NODE_ACCESS["DaemonSet", "cilium"].host_paths


@one_and_real_charts
@pytest.mark.parametrize(
    ("values", "expected"),
    [
        pytest.param({"extraVolumes": [{"name": "mine", "emptyDir": {}}]}, [], id="a volume"),
        pytest.param({"extraContainers": [SIDECAR]}, [], id="a container"),
        pytest.param({"extraContainers": [PRIVILEGED]}, [AGENTS], id="a privileged container"),
        pytest.param(
            {"extraInitContainers": [MOUNTING_PROC]}, [AGENTS], id="an init container with a host path volume"
        ),
        pytest.param({"extraHostPathMounts": [HOST]}, [AGENTS], id="a host path mount"),
        pytest.param({"extraVolumes": [ROOT]}, [AGENTS], id="a host path volume"),
        pytest.param({"cni": {"binPath": "/usr/bin"}}, [AGENTS], id="another path for CNI binaries"),
        pytest.param({"securityContext": {"privileged": True}}, [AGENTS], id="privileged agents"),
        pytest.param({"securityContext": {"capabilities": {"ciliumAgent": ["ALL"]}}}, [AGENTS], id="all capabilities"),
        pytest.param(
            {"serviceAccounts": {"operator": {"name": "mine"}}},
            ["ServiceAccount kube-system/mine"],
            id="another ServiceAccount",
        ),
    ],
)
def test_additions_by_values_are_validated(
    released: Render, chart: str | Path, values: dict[str, Any], expected: list[str]
) -> None:
    assert refused(released(chart, values)) == expected


@needs_real_charts
@every_real_chart
@pytest.mark.parametrize(
    ("values", "expected"),
    [
        pytest.param({"waitForKubeProxy": True, "monitor": {"enabled": True}}, [], id="rarely used features"),
        pytest.param(
            {"hubble": {"metrics": {"enabled": ["dns"]}}}, ["Service kube-system/hubble-metrics"], id="Hubble metrics"
        ),
        pytest.param(
            {"hubble": {"relay": {"enabled": True, "extraVolumes": [ROOT]}}},
            ["Deployment kube-system/hubble-relay"],
            id="a host path volume in Hubble Relay",
        ),
        pytest.param(
            {"kubeConfigPath": "/etc/kubernetes/x"},
            [AGENTS, "Deployment kube-system/cilium-operator"],
            id="a kubeconfig",
        ),
    ],
)
def test_additions_by_values_to_ciliums_chart_are_validated(
    released: Render, chart: Path, values: dict[str, Any], expected: list[str]
) -> None:
    assert refused(released(chart, values)) == expected


@needs_real_charts
@every_real_chart
def test_the_jobs_that_generate_certificates_are_validated(released: Render, chart: Path) -> None:
    rendered = released(chart, {"hubble": {"tls": {"auto": {"method": "cronJob"}}}})
    # Up to 1.18 one of them is a Helm hook.
    jobs = {name for name, tree in rendered.objects.items() if tree["kind"] in {"CronJob", "Job"}}

    assert len(jobs) == 2
    assert jobs <= set(refused(rendered))
