"""A rendered preflight passes its own rules, with the test chart and with Cilium's chart."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from builders import a_spec
from chart.package import versions
from chart.rendering import AWS_VALUES, Rendered, render
from cilium_hybrid.plan.upgrade.preflight import preflight_values
from cilium_hybrid.rules.rendered.allowlist import PREFLIGHT_NODE_ACCESS, PREFLIGHT_OBJECTS
from cilium_hybrid.rules.rendered.rules import PREFLIGHT_RULES
from cilium_hybrid.rules.rule import all_violations

REAL_CHARTS = sorted(Path(os.environ.get("CILIUM_CHARTS", "nowhere")).glob("cilium-*.tgz"))
MIRROR: dict[str, Any] = {
    "image": {"repository": "mirror/cilium", "useDigest": False},
    "imagePullSecrets": [{"name": "mirror"}],
}
CHECKS = ("DaemonSet kube-system/cilium-pre-flight-check", "Deployment kube-system/cilium-pre-flight-check")

Render = Callable[..., Rendered]
every_chart = pytest.mark.parametrize("chart", [*versions(), *REAL_CHARTS], ids=lambda chart: Path(chart).name)


@pytest.fixture
def rendered(helm: Path, charts: Mapping[str, Path]) -> Render:
    """Return the preflight that the operator would release with `spec.values`, with `own` values on top."""

    def rendered(chart: str | Path, values: Mapping[str, Any], **own: Any) -> Rendered:
        archive = chart if isinstance(chart, Path) else charts[chart]
        spec = a_spec(version=archive.stem.removeprefix("cilium-"), values=values)
        return render(helm, archive, preflight_values(spec) | own)

    return rendered


def refused(rendered: Rendered) -> list[str]:
    return sorted({broken.path for broken in all_violations(PREFLIGHT_RULES, list(rendered.objects.values()))})


def pod(rendered: Rendered, workload: str) -> dict[str, Any]:
    spec: dict[str, Any] = rendered.objects[workload]["spec"]["template"]["spec"]
    return spec


@every_chart
def test_the_allowlist_has_exactly_the_rendered_objects(rendered: Render, chart: str | Path) -> None:
    made = rendered(chart, {})
    paths = {volume["hostPath"]["path"] for volume in pod(made, CHECKS[0])["volumes"]}

    assert refused(made) == []
    assert {(*place, name) for place, names in PREFLIGHT_OBJECTS.items() for name in names} == {
        (tree["apiVersion"], tree["kind"], tree["metadata"].get("namespace", ""), tree["metadata"]["name"])
        for tree in made.objects.values()
    }
    assert paths == PREFLIGHT_NODE_ACCESS["DaemonSet", "cilium-pre-flight-check"].host_paths
    assert "volumes" not in pod(made, CHECKS[1])


@every_chart
@pytest.mark.parametrize("workload", CHECKS)
def test_the_preflight_uses_the_image_of_the_agents(
    helm: Path, charts: Mapping[str, Path], rendered: Render, chart: str | Path, workload: str
) -> None:
    archive = chart if isinstance(chart, Path) else charts[chart]
    agent = render(helm, archive, AWS_VALUES | MIRROR | {"image": MIRROR["image"] | {"tag": "v1"}}).agent
    made = rendered(chart, MIRROR | {"image": MIRROR["image"] | {"tag": "v1"}})
    spec = pod(made, workload)

    assert {one["image"] for one in (*spec["containers"], *spec.get("initContainers", []))} == {
        agent["spec"]["template"]["spec"]["containers"][0]["image"]
    }
    assert spec["imagePullSecrets"] == MIRROR["imagePullSecrets"]
    assert refused(made) == []


@every_chart
@pytest.mark.parametrize(
    ("own", "expected"),
    [
        pytest.param({"preflight": {"enabled": True}}, set(CHECKS), id="no node selector"),
        pytest.param(
            {"operator": {"enabled": True}}, {"Deployment kube-system/cilium-operator"}, id="with the Cilium operator"
        ),
    ],
)
def test_other_values_would_be_refused(
    rendered: Render, chart: str | Path, own: dict[str, Any], expected: set[str]
) -> None:
    assert expected <= set(refused(rendered(chart, {}, **own)))
