from builders import a_lenient_spec
from cilium_hybrid.api.conditions import Reason
from cilium_hybrid.rules.change import Running
from cilium_hybrid.rules.cluster import validate_in_cluster
from cilium_hybrid.rules.cluster_facts import ClusterFacts, ClusterRuleInput


def test_another_cilium_comes_before_every_other_cluster_rule() -> None:
    facts = ClusterFacts(
        other_ciliums=["DaemonSet cilium/cilium"],
        blocks={"mi-0": ["192.168.0.0/24"]},
        foreign_cni={"mi-0": "kube-system/aws-node-x"},
    )
    first, *_ = validate_in_cluster(ClusterRuleInput(a_lenient_spec(), Running(), facts)).refusals

    assert first.reason is Reason.RELEASE_NOT_OWNED
    assert str(first) == (
        "spec: another Cilium runs, which this operator did not create: DaemonSet cilium/cilium; uninstall it, or "
        "delete this CiliumHybrid"
    )


def test_another_cni_is_refused_before_a_hybrid_node_has_joined() -> None:
    facts = ClusterFacts(foreign_objects=["DaemonSet kube-flannel/kube-flannel-ds (flannel)"])
    (violation,) = validate_in_cluster(ClusterRuleInput(a_lenient_spec(), Running(), facts)).refusals

    assert violation.reason is Reason.FOREIGN_CNI
    assert "DaemonSet kube-flannel/kube-flannel-ds (flannel)" in violation.message


def test_pods_on_hybrid_nodes_are_the_better_evidence() -> None:
    facts = ClusterFacts(
        foreign_objects=["DaemonSet kube-system/calico-node (Calico)"],
        foreign_cni={"mi-0": "kube-system/calico-node-x"},
    )
    (violation,) = validate_in_cluster(ClusterRuleInput(a_lenient_spec(), Running(), facts)).refusals

    assert "kube-system/calico-node-x on mi-0" in violation.message
