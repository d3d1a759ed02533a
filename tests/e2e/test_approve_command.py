"""`cilium-hybrid approve` against an API server; the test writes the status in place of the operator."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from builders import DIGEST, OTHER_DIGEST, a_condition, a_raw_spec, a_status
from cilium_hybrid.api.conditions import ConditionType, Reason
from cilium_hybrid.api.status import PlanPhase, PlanStep, Version
from cilium_hybrid.reconcile.reconciler import dump
from e2e.command import CTRL_C, run, terminal
from testbed.cluster import Cluster
from testbed.operator import ROOT, wait_for_crd
from testbed.processes import wait_until

RESOURCES = "/apis/ciliumhybrid.io/v1alpha1/ciliumhybrids"
RESOURCE = f"{RESOURCES}/default"
APPROVE = "ciliumhybrid.io/approve"


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster without nodes, Cilium or operator."""
    with Cluster.start(tmp_path_factory.mktemp("cluster"), hybrid=0, cloud=0, cilium=False) as started:
        yield started


def _install_crd(cluster: Cluster) -> None:
    cluster.kubectl("apply", "-f", ROOT / "crds")
    wait_for_crd(cluster)
    # A CRD that was just deleted is established again before it is served.
    wait_until(lambda: cluster.kubectl("get", "--raw", RESOURCES), timeout=30, what="the resource is served")


@pytest.fixture
def cluster(empty: Cluster) -> Iterator[Cluster]:
    """The same cluster with the CRD."""
    _install_crd(empty)
    yield empty
    empty.kubectl("delete", "ciliumhybrid", "--all")


def _write_status(
    cluster: Cluster, digest: str, *, reason: Reason = Reason.AWAITING_APPROVAL, generation: int = 1
) -> None:
    """Write the status as the operator does."""
    status = a_status(
        a_condition(ConditionType.READY, "False", reason, observed_generation=generation),
        version=Version(running="1.17.13-1", target="1.18.8-1"),
        plan=(PlanStep(version="1.18.8-1", phase=PlanPhase.PENDING, notes=("read this",)),),
        plan_digest=digest,
    )
    cluster.request("PUT", f"{RESOURCE}/status", cluster.request("GET", RESOURCE) | {"status": dump(status)})


def _create(cluster: Cluster, digest: str = DIGEST, **more: Any) -> None:
    """Create a resource without annotations, with a plan in its status."""
    head = {"apiVersion": "ciliumhybrid.io/v1alpha1", "kind": "CiliumHybrid", "metadata": {"name": "default"}}
    cluster.request("POST", RESOURCES, head | {"spec": a_raw_spec()})
    _write_status(cluster, digest, **more)


def _annotations(cluster: Cluster) -> dict[str, str]:
    annotations: dict[str, str] = cluster.request("GET", RESOURCE)["metadata"].get("annotations", {})
    return annotations


@pytest.mark.parametrize("command", [("status",), ("status", "--watch"), ("approve", "--digest", DIGEST)], ids=" ".join)
def test_without_a_crd_or_a_resource_the_next_step_is_named(empty: Cluster, command: tuple[str, ...]) -> None:
    empty.kubectl("delete", "-f", ROOT / "crds", "--ignore-not-found")
    unknown = run(empty.env, *command)
    _install_crd(empty)
    missing = run(empty.env, *command)

    assert (unknown.code, unknown.out) == (2, "")
    assert unknown.err == "cilium-hybrid: the cluster does not have the CiliumHybrid CRD; install the operator first\n"
    assert (missing.code, missing.out) == (2, "")
    assert missing.err == "cilium-hybrid: the cluster has no CiliumHybrid default; apply a manifest first\n"


@pytest.mark.parametrize("command", [("status",), ("approve", "--digest", DIGEST)], ids=" ".join)
def test_without_a_cluster_it_is_a_usage_error(tmp_path: Path, command: tuple[str, ...]) -> None:
    result = run({"KUBECONFIG": str(tmp_path / "config")}, *command)

    assert (result.code, result.out) == (2, "")
    assert result.err == f"cilium-hybrid: cannot read kubeconfig {tmp_path}/config: no such file\n"


def test_a_plan_is_shown_and_approved_after_confirmation(cluster: Cluster) -> None:
    _create(cluster)
    with terminal(cluster.env, "approve") as command:
        shown = command.wait_for(lambda out: "Approve this plan? [y/N]: " in out, "the prompt")
        before = _annotations(cluster)
        command.type("y\n")
        code = command.wait()

    assert code == 0
    assert shown.splitlines()[:4] == [
        "version: 1.17.13-1 running, 1.18.8-1 target",
        "plan: 1.18.8-1: Pending",
        "note: 1.18.8-1: read this",
        f"digest: {DIGEST}",
    ]
    assert before == {}
    assert _annotations(cluster) == {APPROVE: DIGEST}


def _annotate(cluster: Cluster) -> None:
    cluster.kubectl("annotate", "ciliumhybrid", "default", "team=network")


def _no_change(_: Cluster) -> None:
    pass


@pytest.mark.parametrize(
    ("meanwhile", "answer", "expected"),
    [
        pytest.param(_no_change, "\n", "not approved", id="no answer"),
        pytest.param(_no_change, "n\n", "not approved", id="declined"),
        pytest.param(_no_change, CTRL_C, "Aborted", id="Ctrl-C"),
        pytest.param(
            lambda cluster: _write_status(cluster, OTHER_DIGEST), "y\n", "has changed since", id="another plan"
        ),
        pytest.param(
            lambda cluster: cluster.kubectl(
                "patch", "chy", "default", "--type=merge", "-p", '{"spec":{"suspend":true}}'
            ),
            "y\n",
            "has changed since",
            id="another spec",
        ),
        pytest.param(_annotate, "y\n", "has changed since", id="a first annotation"),
        pytest.param(
            lambda cluster: cluster.kubectl("delete", "chy", "default"), "y\n", "has changed since", id="deleted"
        ),
    ],
)
def test_only_a_confirmed_and_unchanged_plan_is_approved(
    cluster: Cluster, meanwhile: Callable[[Cluster], None], answer: str, expected: str
) -> None:
    _create(cluster)
    with terminal(cluster.env, "approve") as command:
        command.wait_for(lambda out: "[y/N]: " in out, "the prompt")
        meanwhile(cluster)
        if answer == CTRL_C:
            command.interrupt_by_key()
        else:
            command.type(answer)
        code = command.wait()
        out = command.out

    assert code == 1
    assert expected in out
    listed = cluster.request("GET", RESOURCES)["items"]
    assert all(APPROVE not in item["metadata"].get("annotations", {}) for item in listed)


def test_unrelated_changes_do_not_prevent_the_approval(cluster: Cluster) -> None:
    _create(cluster)
    _annotate(cluster)
    with terminal(cluster.env, "approve") as command:
        command.wait_for(lambda out: "[y/N]: " in out, "the prompt")
        cluster.kubectl("annotate", "ciliumhybrid", "default", "owner=site")
        _write_status(cluster, DIGEST)
        command.type("y\n")
        code = command.wait()

    assert code == 0
    assert _annotations(cluster) == {APPROVE: DIGEST, "team": "network", "owner": "site"}


def test_a_script_must_pass_the_digest(cluster: Cluster) -> None:
    _create(cluster)
    without, other = run(cluster.env, "approve"), run(cluster.env, "approve", "--digest", OTHER_DIGEST)
    untouched = _annotations(cluster)
    first, again = (run(cluster.env, "approve", "--digest", DIGEST) for _ in range(2))

    assert (without.code, other.code) == (2, 1)
    assert "--digest" in without.err
    assert other.err == f"cilium-hybrid: the current plan is {DIGEST}, not {OTHER_DIGEST}\n"
    assert untouched == {}
    assert (first.code, again.code) == (0, 0)
    assert first.out.splitlines()[-1] == f"approved: {DIGEST}"
    assert again.out == f"already approved: {DIGEST}\n"
    assert _annotations(cluster) == {APPROVE: DIGEST}


def test_without_a_pending_plan_there_is_nothing_to_approve(cluster: Cluster) -> None:
    _create(cluster, reason=Reason.UPGRADING)
    result = run(cluster.env, "approve", "--digest", DIGEST)

    assert (result.code, result.out) == (1, "")
    assert result.err == "cilium-hybrid: nothing awaits approval: Ready is False Upgrading: unchanged\n"
    assert _annotations(cluster) == {}
