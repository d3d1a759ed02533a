"""deploy/ and its overlays on a real API server and scheduler, before any hybrid node has a pod network."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from testbed.cluster import Cluster
from testbed.operator import NAMESPACE, ROOT
from testbed.processes import CommandError, wait_until

OPERATOR = "app.kubernetes.io/name=cilium-hybrid-operator"
DEPLOYMENT = "deployment/cilium-hybrid-operator"
HYBRID = "mi-"
DEPLOY = ROOT / "deploy"
OVERLAYS = sorted((DEPLOY / "overlays").iterdir())
CLOUD_NODES = DEPLOY / "overlays" / "cloud-nodes"
CLOUD_NODE_COUNT = 2
RESOURCE = "ciliumhybrids.ciliumhybrid.io"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with Cluster.start(tmp_path_factory.mktemp("cluster"), hybrid=2, cloud=CLOUD_NODE_COUNT) as started:
        yield started


@pytest.fixture
def on_two_nodes(cluster: Cluster) -> Iterator[Cluster]:
    """The operator deployed on the cloud nodes, which are as many as it has replicas."""
    cluster.kubectl("apply", "-k", CLOUD_NODES)
    wait_until(lambda: _running(cluster), timeout=40, what="two running replicas")
    yield cluster
    cluster.kubectl("delete", "-k", CLOUD_NODES, "--timeout=60s")


def _running(cluster: Cluster) -> list[dict[str, Any]]:
    pods = cluster.objects("pods", NAMESPACE, selector=OPERATOR)
    running = [
        pod for pod in pods if pod["status"].get("phase") == "Running" and "deletionTimestamp" not in pod["metadata"]
    ]
    return running if len(running) == len(pods) == 2 else []


def _nodes(cluster: Cluster, overlay: Path) -> set[str]:
    cluster.kubectl("apply", "-k", overlay)
    pods = wait_until(lambda: _running(cluster), timeout=40, what=f"two running replicas of {overlay.name}")
    nodes = {str(pod["spec"]["nodeName"]) for pod in pods}
    cluster.kubectl("delete", "-k", overlay, "--timeout=60s")
    return nodes


def test_the_replicas_run_on_different_nodes_and_prefer_cloud_nodes(cluster: Cluster) -> None:
    nodes = _nodes(cluster, DEPLOY)

    assert len(nodes) == 2
    assert not [node for node in nodes if node.startswith(HYBRID)]


def test_the_replicas_start_on_hybrid_nodes_without_a_pod_network(cluster: Cluster) -> None:
    nodes = _nodes(cluster, DEPLOY / "overlays" / "hybrid-nodes")

    assert len(nodes) == 2
    assert all(node.startswith(HYBRID) for node in nodes)


def test_a_change_of_the_pod_template_rolls_out_on_two_eligible_nodes(on_two_nodes: Cluster) -> None:
    """With the default surge the new pod would wait for ever for a third node: every pod has the same host port."""
    before = {pod["metadata"]["uid"] for pod in _running(on_two_nodes)}

    on_two_nodes.kubectl("-n", NAMESPACE, "rollout", "restart", DEPLOYMENT)
    on_two_nodes.kubectl("-n", NAMESPACE, "rollout", "status", DEPLOYMENT, "--timeout=60s")

    after = wait_until(lambda: _running(on_two_nodes), timeout=20, what="two running replicas")
    assert not before & {pod["metadata"]["uid"] for pod in after}
    assert len({pod["spec"]["nodeName"] for pod in after}) == CLOUD_NODE_COUNT


def test_the_default_surge_does_not_roll_out_on_two_eligible_nodes(on_two_nodes: Cluster) -> None:
    """The reason for maxSurge: 0."""
    default = '{"spec":{"strategy":{"rollingUpdate":{"maxSurge":"25%","maxUnavailable":"25%"}}}}'
    on_two_nodes.kubectl("-n", NAMESPACE, "patch", DEPLOYMENT, "-p", default)

    on_two_nodes.kubectl("-n", NAMESPACE, "rollout", "restart", DEPLOYMENT)
    with pytest.raises(CommandError):
        on_two_nodes.kubectl("-n", NAMESPACE, "rollout", "status", DEPLOYMENT, "--timeout=5s")

    (pending,) = (
        pod for pod in on_two_nodes.objects("pods", NAMESPACE, selector=OPERATOR) if pod["status"]["phase"] == "Pending"
    )
    assert "free ports" in pending["status"]["conditions"][0]["message"]


@pytest.mark.parametrize("overlay", OVERLAYS, ids=lambda path: path.name)
def test_every_overlay_is_accepted(cluster: Cluster, overlay: Path) -> None:
    cluster.kubectl("create", "namespace", NAMESPACE)
    answer = cluster.kubectl("apply", "-k", overlay, "--dry-run=server")
    cluster.kubectl("delete", "namespace", NAMESPACE, "--timeout=60s")

    assert "deployment.apps/cilium-hybrid-operator created (server dry run)" in answer


@pytest.mark.parametrize("kustomization", [DEPLOY, DEPLOY / "monitoring"], ids=lambda path: path.name)
def test_every_object_has_the_recommended_labels(cluster: Cluster, kustomization: Path) -> None:
    documents = [*yaml.safe_load_all(cluster.kubectl("kustomize", kustomization))]
    recommended = {f"app.kubernetes.io/{name}" for name in ("name", "component", "part-of", "managed-by", "version")}

    assert documents
    assert not [
        f"{document['kind']} {document['metadata']['name']}"
        for document in documents
        if not recommended <= document["metadata"]["labels"].keys()
    ]


def test_the_default_roles_of_kubernetes_grant_nothing_on_the_resource(cluster: Cluster) -> None:
    cluster.kubectl("apply", "-k", DEPLOY)
    for role in ("view", "edit", "admin"):
        rules = cluster.get("clusterrole", role)["rules"]

        assert not [rule for rule in rules if "ciliumhybrid.io" in rule.get("apiGroups", [])]


@pytest.mark.parametrize(
    ("role", "allowed"),
    [
        ("ciliumhybrid-viewer", {"get", "list", "watch"}),
        ("ciliumhybrid-editor", {"get", "list", "watch", "create", "update", "patch", "delete"}),
    ],
)
def test_the_roles_for_users_grant_what_their_names_say(cluster: Cluster, role: str, allowed: set[str]) -> None:
    cluster.kubectl("apply", "-k", DEPLOY)
    user = f"user-of-{role}"
    cluster.kubectl("create", "clusterrolebinding", user, f"--clusterrole={role}", f"--user={user}")

    def granted(resource: str) -> set[str]:
        verbs = ("get", "list", "watch", "create", "update", "patch", "delete", "deletecollection")
        return {verb for verb in verbs if _can(cluster, user, verb, resource)}

    # The API server sees a new binding a moment later.
    wait_until(lambda: _can(cluster, user, "get", RESOURCE), timeout=20, what="the binding is in force")
    assert granted(RESOURCE) == allowed
    assert granted(f"{RESOURCE}/status") == {"get", "list", "watch"}
    assert not granted("secrets")


def _can(cluster: Cluster, user: str, verb: str, resource: str) -> bool:
    name, _, subresource = resource.partition("/")
    plural, _, group = name.partition(".")
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {
            "user": user,
            "resourceAttributes": {"verb": verb, "group": group, "resource": plural, "subresource": subresource},
        },
    }
    answer = cluster.request("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", review)
    return bool(answer["status"]["allowed"])
