"""Drift against an API server: edits of released objects are found with field and manager, and nothing is changed."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
import yaml

from cilium_hybrid.adapters.kube.client import KubeClient
from cilium_hybrid.adapters.kube.cluster import KubeCluster
from cilium_hybrid.adapters.kube.dry_run import FIELD_MANAGER
from cilium_hybrid.plan.observation import Difference
from contract.kube import with_watches
from testbed.cluster import Cluster

SET, CONFIG, SERVICE = "DaemonSet kube-system/tiny", "ConfigMap kube-system/tiny", "Service kube-system/tiny"

CONTAINERS = [
    {
        "name": "agent",
        "image": "tiny",
        "resources": {"requests": {"cpu": "0.1", "memory": "1024Mi"}},
        "env": [{"name": "LEVEL", "value": "info"}, {"name": "MODE", "value": "plain"}],
        "args": ["--debug"],
    },
    {"name": "side", "image": "tiny"},
]
RELEASED: Sequence[Mapping[str, Any]] = [
    {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "tiny"},
        "data": {"debug": "false", "mode": "vxlan"},
    },
    {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": {"name": "tiny", "namespace": "kube-system", "labels": {"of": "tiny"}},
        "spec": {
            "selector": {"matchLabels": {"app": "tiny"}},
            "template": {
                "metadata": {"labels": {"app": "tiny"}},
                "spec": {"containers": CONTAINERS, "nodeSelector": {"kubernetes.io/os": "linux"}},
            },
        },
    },
    {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "tiny"},
        "spec": {"selector": {"app": "tiny"}, "ports": [{"port": 80, "name": "http"}]},
    },
    {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "tiny"}, "stringData": {"a": "secret"}},
    # A kind that the chart does not use.
    {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "tiny"}, "spec": {"hard": {"pods": "0.5k"}}},
]
KINDS = ",".join(str(manifest["kind"]) for manifest in RELEASED)


@pytest.fixture
def released(testbed_cluster: Cluster) -> Cluster:
    """A cluster with these objects, applied as Helm does."""
    testbed_cluster.kubectl("delete", KINDS, "tiny", "-n", "kube-system", "--ignore-not-found")
    text = yaml.safe_dump_all(RELEASED)
    testbed_cluster.kubectl(
        "apply", "-f", "-", "-n", "kube-system", "--server-side", f"--field-manager={FIELD_MANAGER}", stdin=text
    )
    return testbed_cluster


def differences(cluster: Cluster) -> Sequence[Difference]:
    async def use(_: KubeClient, watched: KubeCluster) -> Sequence[Difference]:
        return await watched.differences(RELEASED)

    return with_watches(cluster.kubeconfig, use)


def test_unchanged_objects_do_not_differ(released: Cluster) -> None:
    assert differences(released) == ()


def test_fields_that_were_not_released_are_ignored(released: Cluster) -> None:
    for command in (
        ["label", "daemonset", "tiny", "mine=yes"],
        ["rollout", "restart", "daemonset", "tiny"],
        ["patch", "configmap", "tiny", "--patch", json.dumps({"data": {"mine": "yes"}})],
        ["patch", "secret", "tiny", "--patch", json.dumps({"stringData": {"a": "renewed"}})],
        # Sets the released value.
        ["set", "image", "daemonset/tiny", "agent=tiny"],
    ):
        released.kubectl(*command, "-n", "kube-system")

    assert differences(released) == ()


def _env(value: str) -> dict[str, Any]:
    containers = [{"name": "agent", "env": [{"name": "LEVEL", "value": value}]}]
    return {"spec": {"template": {"spec": {"containers": containers}}}}


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        pytest.param(
            ["set", "image", "daemonset/tiny", "side=other"],
            Difference(SET, ('.spec.template.spec.containers[name="side"].image',), ("kubectl-set",)),
            id="image",
        ),
        pytest.param(
            ["patch", "configmap", "tiny", "--patch", json.dumps({"data": {"debug": "true"}})],
            Difference(CONFIG, (".data.debug",), ("kubectl-patch",)),
            id="value changed",
        ),
        pytest.param(
            ["patch", "configmap", "tiny", "--type=merge", "--patch", json.dumps({"data": {"debug": None}})],
            Difference(CONFIG, (".data.debug",)),
            id="value removed",
        ),
        pytest.param(
            ["set", "env", "daemonset/tiny", "-c", "agent", "MODE-"],
            Difference(SET, ('.spec.template.spec.containers[name="agent"].env[name="MODE"]',)),
            id="named item removed",
        ),
        pytest.param(
            ["patch", "daemonset", "tiny", "--patch", json.dumps(_env("debug"))],
            Difference(
                SET, ('.spec.template.spec.containers[name="agent"].env[name="LEVEL"].value',), ("kubectl-patch",)
            ),
            id="named item changed",
        ),
        pytest.param(["label", "daemonset", "tiny", "of-"], Difference(SET, (".metadata.labels",)), id="label removed"),
        pytest.param(["delete", "service", "tiny"], Difference(SERVICE), id="object deleted"),
    ],
)
def test_an_edit_is_reported_with_field_and_manager(
    released: Cluster, command: list[str], expected: Difference
) -> None:
    released.kubectl(*command, "-n", "kube-system")
    before = released.objects("daemonsets", "kube-system")

    assert differences(released) == (expected,)
    assert released.objects("daemonsets", "kube-system") == before
