"""What the operator's own values render passes its own rules, with the stand-in and with Cilium's chart."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from builders import a_spec
from chart.package import versions
from chart.rendering import Rendered, render
from cilium_hybrid.plan.rollout.operator_deployment import with_the_old_going_first
from cilium_hybrid.plan.values import helm_values
from cilium_hybrid.rules.rendered.allowlist import CILIUM_NODE_ACCESS, CILIUM_OBJECTS
from cilium_hybrid.rules.rendered.rules import MANIFEST_RULES
from cilium_hybrid.rules.rule import all_violations

# The stand-in in every version, and Cilium's own where CILIUM_CHARTS names a folder with it.
CILIUMS_OWN = sorted(Path(os.environ.get("CILIUM_CHARTS", "nowhere")).glob("cilium-*.tgz"))
HUBBLE = {"hubble": {"relay": {"enabled": True}, "ui": {"enabled": True}}}
AGENTS = "DaemonSet kube-system/cilium"

# Volumes and containers of one's own.
ROOT = {"name": "root", "hostPath": {"path": "/"}}
FREE = {"name": "free", "image": "mine"}
PRIVILEGED = FREE | {"securityContext": {"privileged": True}}
LOOKING = FREE | {"volumeMounts": [{"name": "hostproc", "mountPath": "/x"}]}
HOST = {"name": "host", "hostPath": "/etc", "mountPath": "/x", "readOnly": True}

Render = Callable[..., Rendered]
every_version = pytest.mark.parametrize("chart", [*versions(), *CILIUMS_OWN], ids=lambda chart: Path(chart).name)
one_and_ciliums = pytest.mark.parametrize("chart", ["1.18.8-1", *CILIUMS_OWN], ids=lambda chart: Path(chart).name)
where_it_is_there = pytest.mark.skipif(not CILIUMS_OWN, reason="CILIUM_CHARTS names no folder with Cilium's own")
every_one_of_ciliums = pytest.mark.parametrize("chart", CILIUMS_OWN, ids=lambda chart: chart.name)


@pytest.fixture
def released(helm: Path, charts: Mapping[str, Path]) -> Render:
    """What the operator would release of a chart with `spec.values`."""

    def rendered(chart: str | Path, values: Mapping[str, Any]) -> Rendered:
        archive = chart if isinstance(chart, Path) else charts[chart]
        spec = a_spec(version=archive.stem.removeprefix("cilium-"), values=values)
        return render(helm, archive, helm_values(spec))

    return rendered


def refused(rendered: Rendered) -> list[str]:
    violations = all_violations(MANIFEST_RULES, list(rendered.objects.values()))
    return sorted({broken.path for broken in violations})


@every_version
@pytest.mark.parametrize("values", [{}, HUBBLE], ids=["the smallest spec", "Hubble's relay and UI"])
def test_what_the_operator_releases_is_accepted(released: Render, chart: str | Path, values: dict[str, Any]) -> None:
    assert refused(released(chart, values)) == []


@every_version
def test_cilium_s_operator_makes_way_for_the_next_where_it_is_told_to(
    helm: Path, charts: Mapping[str, Path], chart: str | Path
) -> None:
    archive = chart if isinstance(chart, Path) else charts[chart]
    values = helm_values(a_spec(version=archive.stem.removeprefix("cilium-")))
    plain, placed = (
        render(helm, archive, told).operator["spec"] for told in (values, with_the_old_going_first(values))
    )

    assert placed["strategy"] == {
        "type": "RollingUpdate",
        "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "100%"},
    }
    assert {**placed, "strategy": plain["strategy"]} == plain


@pytest.mark.parametrize(
    "charts_of_minors",
    [
        pytest.param(versions(), id="of the stand-in"),
        pytest.param(CILIUMS_OWN, id="of Cilium", marks=where_it_is_there),
    ],
)
def test_no_more_is_known_than_is_rendered(released: Render, charts_of_minors: list[str | Path]) -> None:
    rendered = [tree for chart in charts_of_minors for tree in released(chart, HUBBLE).objects.values()]
    known = {(*place, name) for place, names in CILIUM_OBJECTS.items() for name in names}
    agents = [tree["spec"]["template"]["spec"] for tree in rendered if tree["kind"] == "DaemonSet"]
    paths = {volume["hostPath"]["path"] for pod in agents for volume in pod["volumes"] if "hostPath" in volume}

    assert known == {
        (tree["apiVersion"], tree["kind"], tree["metadata"].get("namespace", ""), tree["metadata"]["name"])
        for tree in rendered
    }
    assert paths == CILIUM_NODE_ACCESS["DaemonSet", "cilium"].host_paths


@one_and_ciliums
@pytest.mark.parametrize(
    ("values", "expected"),
    [
        pytest.param({"extraVolumes": [{"name": "mine", "emptyDir": {}}]}, [], id="a volume"),
        pytest.param({"extraContainers": [FREE]}, [], id="a container"),
        pytest.param({"extraContainers": [PRIVILEGED]}, [AGENTS], id="a privileged container"),
        pytest.param({"extraInitContainers": [LOOKING]}, [AGENTS], id="a container that looks into the node"),
        pytest.param({"extraHostPathMounts": [HOST]}, [AGENTS], id="a path of the node"),
        pytest.param({"extraVolumes": [ROOT]}, [AGENTS], id="a volume on the node"),
        pytest.param({"cni": {"binPath": "/usr/bin"}}, [AGENTS], id="another path for binaries"),
        pytest.param({"securityContext": {"privileged": True}}, [AGENTS], id="privileged agents"),
        pytest.param({"securityContext": {"capabilities": {"ciliumAgent": ["ALL"]}}}, [AGENTS], id="every capability"),
        pytest.param(
            {"serviceAccounts": {"operator": {"name": "mine"}}}, ["ServiceAccount kube-system/mine"], id="an account"
        ),
    ],
)
def test_what_values_add_is_judged(
    released: Render, chart: str | Path, values: dict[str, Any], expected: list[str]
) -> None:
    assert refused(released(chart, values)) == expected


@where_it_is_there
@every_one_of_ciliums
@pytest.mark.parametrize(
    ("values", "expected"),
    [
        pytest.param({"waitForKubeProxy": True, "monitor": {"enabled": True}}, [], id="what is seldom on"),
        pytest.param(
            {"hubble": {"metrics": {"enabled": ["dns"]}}}, ["Service kube-system/hubble-metrics"], id="Hubble's metrics"
        ),
        pytest.param(
            {"hubble": {"relay": {"enabled": True, "extraVolumes": [ROOT]}}},
            ["Deployment kube-system/hubble-relay"],
            id="a path of the node in the relay",
        ),
        pytest.param(
            {"kubeConfigPath": "/etc/kubernetes/x"}, [AGENTS, "Deployment kube-system/cilium-operator"], id="a login"
        ),
    ],
)
def test_what_values_add_to_ciliums_own_chart_is_judged(
    released: Render, chart: Path, values: dict[str, Any], expected: list[str]
) -> None:
    assert refused(released(chart, values)) == expected


@where_it_is_there
@every_one_of_ciliums
def test_the_jobs_that_make_certificates_are_judged_too(released: Render, chart: Path) -> None:
    rendered = released(chart, {"hubble": {"tls": {"auto": {"method": "cronJob"}}}})
    # Up to 1.18 one of them is a hook.
    jobs = {name for name, tree in rendered.objects.items() if tree["kind"] in {"CronJob", "Job"}}

    assert len(jobs) == 2
    assert jobs <= set(refused(rendered))
