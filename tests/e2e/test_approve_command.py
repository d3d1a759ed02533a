"""`cilium-hybrid approve` on an API server, where the test plays the operator: it writes the status."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from builders import DIGEST, OTHER_DIGEST, a_condition, a_raw_spec, a_status
from cilium_hybrid.api.conditions import ConditionType, Reason
from cilium_hybrid.api.status import PlanPhase, PlanStep, Version
from cilium_hybrid.reconcile.reconciler import dump
from e2e.command import CTRL_C, call, terminal
from testbed.cluster import Cluster
from testbed.operator import ROOT, wait_for_the_definition
from testbed.processes import wait_until

RESOURCES = "/apis/ciliumhybrid.io/v1alpha1/ciliumhybrids"
RESOURCE = f"{RESOURCES}/default"
APPROVE = "ciliumhybrid.io/approve"


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster without nodes, Cilium and operator."""
    with Cluster.start(tmp_path_factory.mktemp("cluster"), hybrid=0, cloud=0, cilium=False) as started:
        yield started


def _define(cluster: Cluster) -> None:
    cluster.kubectl("apply", "-k", ROOT / "crds")
    wait_for_the_definition(cluster)
    # One that was deleted a moment before is known again before it is served.
    wait_until(lambda: cluster.kubectl("get", "--raw", RESOURCES), timeout=30, what="the resource is served")


@pytest.fixture
def cluster(empty: Cluster) -> Iterator[Cluster]:
    """The same with the definition of the resource."""
    _define(empty)
    yield empty
    empty.kubectl("delete", "ciliumhybrid", "--all")


def _write(cluster: Cluster, digest: str, *, reason: Reason = Reason.AWAITING_APPROVAL, generation: int = 1) -> None:
    """Write the status as the operator would."""
    status = a_status(
        a_condition(ConditionType.READY, "False", reason, observed_generation=generation),
        version=Version(running="1.17.13-1", target="1.18.8-1"),
        plan=(PlanStep(version="1.18.8-1", phase=PlanPhase.PENDING, notes=("read this",)),),
        plan_digest=digest,
    )
    cluster.request("PUT", f"{RESOURCE}/status", cluster.request("GET", RESOURCE) | {"status": dump(status)})


def _make(cluster: Cluster, digest: str = DIGEST, **more: Any) -> None:
    """Make a resource without any annotation, and the status of a plan."""
    head = {"apiVersion": "ciliumhybrid.io/v1alpha1", "kind": "CiliumHybrid", "metadata": {"name": "default"}}
    cluster.request("POST", RESOURCES, head | {"spec": a_raw_spec()})
    _write(cluster, digest, **more)


def _annotations(cluster: Cluster) -> dict[str, str]:
    annotations: dict[str, str] = cluster.request("GET", RESOURCE)["metadata"].get("annotations", {})
    return annotations


@pytest.mark.parametrize("command", [("status",), ("status", "--watch"), ("approve", "--digest", DIGEST)], ids=" ".join)
def test_where_there_is_nothing_the_next_step_is_told(empty: Cluster, command: tuple[str, ...]) -> None:
    empty.kubectl("delete", "-k", ROOT / "crds", "--ignore-not-found")
    unknown = call(empty.env, *command)
    _define(empty)
    missing = call(empty.env, *command)

    assert (unknown.code, unknown.out) == (2, "")
    assert unknown.err == "cilium-hybrid: this cluster does not know CiliumHybrid: install the operator first\n"
    assert (missing.code, missing.out) == (2, "")
    assert missing.err == "cilium-hybrid: this cluster has no CiliumHybrid default: apply a manifest of one first\n"


@pytest.mark.parametrize("command", [("status",), ("approve", "--digest", DIGEST)], ids=" ".join)
def test_without_a_cluster_the_call_cannot_be_used(tmp_path: Path, command: tuple[str, ...]) -> None:
    said = call({"KUBECONFIG": str(tmp_path / "config")}, *command)

    assert (said.code, said.out) == (2, "")
    assert said.err == f"cilium-hybrid: cannot use {tmp_path}/config: there is no such file\n"


def test_a_plan_is_shown_and_approved_by_a_yes(cluster: Cluster) -> None:
    _make(cluster)
    with terminal(cluster.env, "approve") as asked:
        shown = asked.wait_for(lambda out: "Approve this plan? [y/N]: " in out, "it is asked")
        before = _annotations(cluster)
        asked.type("y\n")
        code = asked.end()

    assert code == 0
    assert shown.splitlines()[:4] == [
        "version: 1.17.13-1 runs, 1.18.8-1 is wanted",
        "plan: 1.18.8-1: Pending",
        "note: 1.18.8-1: read this",
        f"digest: {DIGEST}",
    ]
    assert before == {}
    assert _annotations(cluster) == {APPROVE: DIGEST}


def _something_else_changed(cluster: Cluster) -> None:
    cluster.kubectl("annotate", "ciliumhybrid", "default", "somebody=else")


def _nothing_changed(_: Cluster) -> None:
    pass


@pytest.mark.parametrize(
    ("meanwhile", "answer", "said"),
    [
        pytest.param(_nothing_changed, "\n", "not approved", id="no answer is a no"),
        pytest.param(_nothing_changed, "n\n", "not approved", id="a no"),
        pytest.param(_nothing_changed, CTRL_C, "Aborted", id="Ctrl-C"),
        pytest.param(lambda one: _write(one, OTHER_DIGEST), "y\n", "changed while", id="another plan meanwhile"),
        pytest.param(
            lambda one: one.kubectl("patch", "chy", "default", "--type=merge", "-p", '{"spec":{"suspend":true}}'),
            "y\n",
            "changed while",
            id="another spec meanwhile",
        ),
        pytest.param(_something_else_changed, "y\n", "changed while", id="a first annotation meanwhile"),
        pytest.param(
            lambda one: one.kubectl("delete", "chy", "default"), "y\n", "changed while", id="it was deleted meanwhile"
        ),
    ],
)
def test_nothing_but_a_yes_to_what_is_still_so_approves(
    cluster: Cluster, meanwhile: Callable[[Cluster], None], answer: str, said: str
) -> None:
    _make(cluster)
    with terminal(cluster.env, "approve") as asked:
        asked.wait_for(lambda out: "[y/N]: " in out, "it is asked")
        meanwhile(cluster)
        if answer == CTRL_C:
            asked.interrupt_by_key()
        else:
            asked.type(answer)
        code = asked.end()
        out = asked.out

    assert code == 1
    assert said in out
    listed = cluster.request("GET", RESOURCES)["items"]
    assert all(APPROVE not in one["metadata"].get("annotations", {}) for one in listed)


def test_what_has_no_part_in_the_plan_may_change_meanwhile(cluster: Cluster) -> None:
    _make(cluster)
    _something_else_changed(cluster)
    with terminal(cluster.env, "approve") as asked:
        asked.wait_for(lambda out: "[y/N]: " in out, "it is asked")
        cluster.kubectl("annotate", "ciliumhybrid", "default", "another=one")
        _write(cluster, DIGEST)
        asked.type("y\n")
        code = asked.end()

    assert code == 0
    assert _annotations(cluster) == {APPROVE: DIGEST, "somebody": "else", "another": "one"}


def test_a_script_names_the_plan_that_it_means(cluster: Cluster) -> None:
    _make(cluster)
    nameless, other = call(cluster.env, "approve"), call(cluster.env, "approve", "--digest", OTHER_DIGEST)
    untouched = _annotations(cluster)
    first, again = (call(cluster.env, "approve", "--digest", DIGEST) for _ in range(2))

    assert (nameless.code, other.code) == (2, 1)
    assert "--digest" in nameless.err
    assert other.err == f"cilium-hybrid: the plan is {DIGEST}, and not {OTHER_DIGEST}\n"
    assert untouched == {}
    assert (first.code, again.code) == (0, 0)
    assert first.out.splitlines()[-1] == f"approved: {DIGEST}"
    assert again.out == f"approved before: {DIGEST}\n"
    assert _annotations(cluster) == {APPROVE: DIGEST}


def test_where_no_plan_waits_there_is_nothing_to_approve(cluster: Cluster) -> None:
    _make(cluster, reason=Reason.UPGRADING)
    said = call(cluster.env, "approve", "--digest", DIGEST)

    assert (said.code, said.out) == (1, "")
    assert said.err == "cilium-hybrid: nothing awaits approval: Ready is False Upgrading: as it was\n"
    assert _annotations(cluster) == {}
