from pathlib import Path

import pytest

from cilium_hybrid.settings import Settings, SettingsError


@pytest.fixture
def helm(tmp_path: Path) -> str:
    path = tmp_path / "helm"
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return str(path)


def settings(helm: str, **more: str) -> Settings:
    return Settings.from_environment({"CILIUM_HYBRID_HELM": helm, **more})


def test_every_setting_has_a_default(helm: str) -> None:
    made = settings(helm)

    assert made.helm == Path(helm)
    assert made.resync_seconds == 600
    assert made.log_format == "json"
    assert made.leader_election is True
    assert made.namespace == "cilium-hybrid-system"
    assert (made.metrics_host, made.metrics_port) == ("0.0.0.0", 9947)  # noqa: S104 # probes come from outside
    assert made.kubeconfig == str(Path.home() / ".kube" / "config")
    assert made.cache.is_absolute()
    assert made.chart_registries == ()
    assert made.node_name is None


def test_every_setting_can_be_set(helm: str) -> None:
    made = settings(
        helm,
        CILIUM_HYBRID_CACHE_DIR="/cache",
        CILIUM_HYBRID_RESYNC="30s",
        NODE_NAME="mi-1",
        CILIUM_HYBRID_LOG_FORMAT="text",
        CILIUM_HYBRID_LEADER_ELECTION="false",
        CILIUM_HYBRID_NAMESPACE="network",
        CILIUM_HYBRID_METRICS_ADDR="[::1]:1234",
        KUBECONFIG="/kubeconfig",
        CILIUM_HYBRID_CHART_REGISTRIES="public.ecr.aws/eks, registry.example:5000",
        POD_NAME="operator-0",
    )

    assert made == Settings(
        helm=Path(helm),
        cache=Path("/cache"),
        resync_seconds=30,
        log_format="text",
        kubeconfig="/kubeconfig",
        namespace="network",
        identity="operator-0",
        leader_election=False,
        metrics_host="::1",
        metrics_port=1234,
        chart_registries=("public.ecr.aws/eks", "registry.example:5000"),
        node_name="mi-1",
    )


@pytest.mark.parametrize(("text", "seconds"), [("1s", 1), ("10m", 600), ("2h", 7200)])
def test_a_duration_needs_a_unit(helm: str, text: str, seconds: float) -> None:
    assert settings(helm, CILIUM_HYBRID_RESYNC=text).resync_seconds == seconds


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("HELM", "/no/such/helm"),
        ("LOG_FORMAT", "xml"),
        ("RESYNC", "10"),
        ("RESYNC", "0s"),
        ("RESYNC", "-1m"),
        ("RESYNC", "1.5h"),
        ("LEADER_ELECTION", "yes"),
        ("METRICS_ADDR", "9947"),
        ("METRICS_ADDR", ":9947"),
        ("METRICS_ADDR", "localhost:http"),
        ("METRICS_ADDR", "localhost:65536"),
        ("CHART_REGISTRIES", "oci://public.ecr.aws/eks"),
    ],
)
def test_an_invalid_setting_is_named_with_its_value(helm: str, name: str, value: str) -> None:
    with pytest.raises(
        SettingsError, match=f"^CILIUM_HYBRID_{name}: Invalid value: |Helm not found.*CILIUM_HYBRID_{name}"
    ):
        settings(helm, **{f"CILIUM_HYBRID_{name}": value})


def test_helm_is_looked_up_on_the_path_of_the_given_environment(helm: str) -> None:
    assert Settings.from_environment({"PATH": str(Path(helm).parent)}).helm == Path(helm)


def test_a_path_without_helm_is_an_error() -> None:
    with pytest.raises(SettingsError, match="Helm not found"):
        Settings.from_environment({"PATH": "/no/such/folder"})


def test_a_pod_uses_its_service_account(helm: str) -> None:
    assert settings(helm, KUBERNETES_SERVICE_HOST="10.0.0.1").kubeconfig is None


def test_two_processes_on_one_host_have_different_identities(helm: str) -> None:
    assert settings(helm).identity != settings(helm).identity
