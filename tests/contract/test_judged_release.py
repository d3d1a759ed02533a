"""What Helm applies, restores and keeps, with charts that render something else each time."""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from builders import DIGEST
from chart.package import package, versions
from chart.rendering import AWS_VALUES
from cilium_hybrid.adapters.helm.upgrade import parse
from cilium_hybrid.adapters.kube.helm_secret import VERIFIED_SECRET
from cilium_hybrid.ports import ApplyFailedError, ChartRefusedError, Rendered, StaleError
from cilium_hybrid.rules.rendered.reading import kind_and_name
from contract import tiny_chart
from contract.release_harness import VERSION, HelmHarness, on_cluster, states
from testbed.cluster import Cluster

# One stand-in chart of each minor version. With CILIUM_CHARTS, also Cilium's own.
REAL = sorted(path.name[7:-4] for path in Path(os.environ.get("CILIUM_CHARTS", "/nowhere")).glob("cilium-*.tgz"))
CHARTS = (*{version.rpartition(".")[0]: version for version in versions()}.values(), *REAL)

LOOKUP = """\
apiVersion: v1
kind: ConfigMap
metadata: {name: looked-up, namespace: kube-system}
data:
  found: {{ lookup "v1" "ConfigMap" "default" "evidence" | empty | not | quote }}
  api: {{ .Capabilities.APIVersions.Has "hostile.example/v1" | quote }}
  revision: {{ printf "%d %t" .Release.Revision .Release.IsUpgrade | quote }}
  random: {{ randAlphaNum 20 | quote }}
"""
DEFINITION = """\
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: hostiles.hostile.example}
spec:
  group: hostile.example
  scope: Cluster
  names: {kind: Hostile, plural: hostiles}
  versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object}}}]
"""
HOOK = """\
apiVersion: v1
kind: ConfigMap
metadata:
  name: hook-{{ randAlphaNum 8 | lower }}
  namespace: kube-system
  annotations: {helm.sh/hook: "pre-install,pre-upgrade"}
"""


def data_of(rendered: Rendered, name: str) -> Any:
    return next(found["data"] for found in rendered.manifests if found["metadata"]["name"] == name)


@pytest.fixture
def helm(testbed_cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HelmHarness]:
    monkeypatch.setenv("KUBECONFIG", str(testbed_cluster.kubeconfig))
    with on_cluster(testbed_cluster, tmp_path) as harness:
        yield harness


@pytest.fixture
def hostile(helm: HelmHarness) -> Iterator[HelmHarness]:
    """A chart that renders something else whenever the cluster has changed."""
    (helm.chart / "templates/looked-up.yaml").write_text(LOOKUP)
    yield helm
    helm.cluster.kubectl("delete", "crd", "hostiles.hostile.example", "--ignore-not-found")
    helm.cluster.kubectl("delete", "cm", "evidence", "-n", "default", "--ignore-not-found")
    helm.cluster.kubectl("delete", "cm", "looked-up", "-n", "kube-system", "--ignore-not-found")


def test_what_was_judged_is_applied_although_the_chart_now_renders_something_else(hostile: HelmHarness) -> None:
    judged = []

    def change_the_cluster() -> None:
        judged.append(hostile.render({"data": "one"}))
        hostile.cluster.kubectl("create", "configmap", "evidence", "-n", "default")
        hostile.cluster.apply(DEFINITION)
        hostile.cluster.kubectl("wait", "--for=condition=Established", "crd/hostiles.hostile.example")

    hostile.apply(1, {"data": "one"}, before=change_the_cluster)
    applied = hostile.cluster.get("configmap", "looked-up", "kube-system")
    next_one = data_of(hostile.render({"data": "one"}), "looked-up")

    expected_data = {"found": "false", "api": "false", "revision": "1 false"}
    assert applied["data"] == expected_data | {"random": applied["data"]["random"]}
    assert applied["data"]["random"] != data_of(judged[0], "looked-up")["random"]
    assert "annotations" not in applied["metadata"] or not any(
        name.startswith("postrenderer") for name in applied["metadata"]["annotations"]
    )
    assert next_one | {"random": ""} == {"found": "true", "api": "true", "revision": "2 true", "random": ""}
    assert dict(hostile.manifests(1))["ConfigMap kube-system/looked-up"] == applied["data"]


def test_the_judged_hooks_are_run(helm: HelmHarness) -> None:
    (helm.chart / "templates/hook.yaml").write_text(HOOK)
    helm.apply(1, {"data": "one"})
    stored = json.loads(helm.cluster.helm("get", "metadata", "cilium", "-n", "kube-system", "-o", "json"))
    hooks = helm.cluster.helm("get", "hooks", "cilium", "-n", "kube-system")
    created = helm.cluster.kubectl("get", "cm", "-n", "kube-system", "-o", "name").split()
    names = [name.removeprefix("configmap/") for name in created if name.startswith("configmap/hook-")]
    judged = [found["metadata"]["name"] for found in parse(hooks.encode())]
    for name in names:
        helm.cluster.kubectl("delete", "cm", name, "-n", "kube-system")

    assert stored["version"] == VERSION
    assert names == judged
    assert len(names) == 1
    assert "# Source: cilium/templates/hook.yaml" in hooks


def test_hooks_are_judged(helm: HelmHarness) -> None:
    (helm.chart / "templates/hook.yaml").write_text(HOOK)
    rendered = helm.render({"data": "one"})

    assert [found["kind"] for found in rendered.manifests if "annotations" in found["metadata"]] == ["ConfigMap"]


@pytest.mark.parametrize("folder", ["crds", "charts/sub/crds"], ids=["chart", "subchart"])
def test_a_chart_with_crds_is_refused(helm: HelmHarness, folder: str) -> None:
    if folder != "crds":
        (helm.chart / "charts/sub").mkdir(parents=True)
        (helm.chart / "charts/sub/Chart.yaml").write_text("apiVersion: v2\nname: sub\nversion: 1.0.0\n")
    (helm.chart / folder).mkdir()
    (helm.chart / folder / "definition.yaml").write_text(DEFINITION)

    with pytest.raises(ChartRefusedError, match="has a folder crds"):
        helm.render({"data": "one"})


def test_a_chart_for_another_kubernetes_is_refused(helm: HelmHarness) -> None:
    with (helm.chart / "Chart.yaml").open("a") as file:
        file.write('kubeVersion: ">= 9.0.0"\n')

    with pytest.raises(ChartRefusedError, match=r"cannot run in this cluster: chart requires kubeVersion: >= 9.0.0"):
        helm.render({"data": "one"})


def test_helm_creates_no_revision_if_it_cannot_get_what_was_judged(helm: HelmHarness, tmp_path: Path) -> None:
    helm.apply(1, {"data": "one"})
    script = tmp_path / "post_renderer.py"
    script.write_text("raise SystemExit(1)")

    with pytest.raises(ApplyFailedError, match=r"post.?render"):
        helm.apply(2, {"data": "two"}, before=lambda: helm.use_post_renderer(script))
    assert states(helm) == [(1, "deployed", True)]
    assert helm.values() == {"data": "one"}


def test_no_chart_is_rendered_while_a_revision_is_pending(helm: HelmHarness) -> None:
    helm.apply(1, {"data": "one"})
    helm.interrupt()

    with pytest.raises(StaleError):
        helm.render({"data": "two"})


def test_the_restored_chart_renders_what_helm_stored(helm: HelmHarness) -> None:
    (helm.chart / "templates/file.yaml").write_text(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: file, namespace: kube-system}\n"
        'data: {number: {{ .Values.number | quote }}, {{ (.Files.Glob "files/*").AsConfig | indent 2 | trim }}}\n'
    )
    (helm.chart / "files").mkdir()
    (helm.chart / "files/umlaut.txt").write_text("ü")
    (helm.chart / "values.yaml").write_text(json.dumps(tiny_chart.DEFAULTS)[:-1] + ', "number": 1.10}')
    (helm.chart / ".helmignore").write_text("*.bak\n")
    helm.apply(1, {"data": "one"})
    stored = helm.cluster.helm("get", "manifest", "cilium", "-n", "kube-system")
    helm.apply(2, {"data": "two"})
    chart, values = helm.restore(1)
    rendered = helm.cluster.helm(
        "template", "cilium", chart.path, "-n", "kube-system", "--values", "-", stdin=json.dumps(values)
    )
    helm.cluster.kubectl("delete", "cm", "file", "-n", "kube-system")

    assert (values, chart.version, chart.digest) == ({"data": "one"}, VERSION, DIGEST)
    assert parse(rendered.encode()) == parse(stored.encode())


def test_the_copy_of_an_earlier_installation_is_not_restored(helm: HelmHarness) -> None:
    helm.apply(1, {"data": "one"})
    helm.mark(1, "verified")
    helm.cluster.helm("uninstall", "cilium", "-n", "kube-system")
    helm.apply(1, {"data": "other"})
    helm.apply(2, {"data": "two"})
    helm.prune(1)

    with pytest.raises(ApplyFailedError, match="no longer has revision 1"):
        helm.restore(1)


def test_uninstalling_deletes_the_copy_of_the_verified_revision(helm: HelmHarness) -> None:
    helm.apply(1, {"data": "one"})
    helm.mark(1, "verified")
    kept = helm.cluster.get("secret", VERIFIED_SECRET, "kube-system")
    helm.uninstall(1)

    assert kept["type"] == "ciliumhybrid.io/release"
    assert helm.cluster.get("secret", VERIFIED_SECRET, "kube-system") is None


def test_a_revision_of_an_admin_is_not_marked(helm: HelmHarness) -> None:
    helm.apply(1, {"data": "one"})
    helm.upgrade({"data": "admin"})

    with pytest.raises(StaleError, match="not made by the operator"):
        helm.mark(2, "verified")
    assert helm.cluster.get("secret", VERIFIED_SECRET, "kube-system") is None


def test_an_interrupted_uninstall_is_unlocked(helm: HelmHarness) -> None:
    helm.interrupt_uninstall()
    interrupted = states(helm)
    helm.unlock(1)
    unlocked = states(helm)
    helm.apply(2, {"data": "two"})

    assert interrupted == [(1, "uninstalling", True)]
    assert unlocked == [(1, "failed", True)]
    assert states(helm) == [(1, "superseded", True), (2, "deployed", True)]


@pytest.fixture(params=[*CHARTS])
def cilium_chart(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    version = request.param
    real = Path(os.environ.get("CILIUM_CHARTS", ""), f"cilium-{version}.tgz")
    return real if real.is_file() else package(version, tmp_path)


def by_name(manifests: Sequence[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    # The chart creates the keys of some Secrets at each rendering.
    return {
        f"{found['apiVersion']} {kind_and_name(found)}": found if found["kind"] != "Secret" else {}
        for found in manifests
    }


def uninstall(cluster: Cluster) -> None:
    """Uninstall Cilium, and wait until its namespace is deleted."""
    cluster.helm("uninstall", "cilium", "-n", "kube-system")
    cluster.kubectl("wait", "--for=delete", "namespace/cilium-secrets", "--timeout=30s")


def test_the_chart_that_helm_stored_renders_the_same(
    helm: HelmHarness, cilium_chart: Path, request: pytest.FixtureRequest
) -> None:
    release = ("cilium", "-n", "kube-system")
    request.addfinalizer(lambda: uninstall(helm.cluster))
    helm.cluster.helm("install", "cilium", cilium_chart, *release[1:], "--values", "-", stdin=json.dumps(AWS_VALUES))
    stored = helm.cluster.helm("get", "manifest", *release)
    chart, values = helm.restore(1)
    rendered = helm.render_chart(chart, values)

    assert by_name(rendered.manifests) == by_name(parse(stored.encode()))
    assert values == AWS_VALUES


def test_a_chart_that_now_renders_nothing_still_applies_what_was_judged(helm: HelmHarness) -> None:
    for template in (helm.chart / "templates").iterdir():
        nothing = '{{- if not (lookup "v1" "ConfigMap" "default" "evidence") }}\n'
        template.write_text(f"{nothing}{template.read_text()}\n{{{{- end }}}}\n")
    try:
        helm.apply(
            1,
            {"data": "one"},
            before=lambda: helm.cluster.kubectl("create", "configmap", "evidence", "-n", "default"),
        )
        assert helm.cluster.get("daemonset", "cilium", "kube-system")
        assert len(helm.manifests(1)) == len(tiny_chart.objects({"data": "one"}))
        with pytest.raises(ChartRefusedError, match="renders no objects"):
            helm.render({"data": "one"})
    finally:
        helm.cluster.kubectl("delete", "cm", "evidence", "-n", "default", "--ignore-not-found")
