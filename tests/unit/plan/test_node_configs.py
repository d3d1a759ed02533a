from dataclasses import replace

from cilium_hybrid.api.conditions import Reason
from cilium_hybrid.plan.actions import RestartAgents
from cilium_hybrid.plan.node_configs import ipam_override, node_config_findings
from cilium_hybrid.plan.observation import NodeConfigOverride, Observation
from unit.plan.cores import DEBUG, an_installed_core, applied, run_until

UNRELATED = NodeConfigOverride("kube-system/gpu", ("devices", "mtu"))
MASQUERADE = NodeConfigOverride("kube-system/lab", ("enable-ipv4-masquerade",))
POOL = NodeConfigOverride("kube-system/old", ("cluster-pool-ipv4-cidr", "devices"))


def test_unrelated_keys_are_no_finding() -> None:
    observation = Observation(node_configs=(UNRELATED,))

    assert list(node_config_findings(observation)) == []
    assert ipam_override(observation) is None


def test_owned_keys_are_named_but_only_ipam_keys_stop_restarts() -> None:
    observation = Observation(node_configs=(MASQUERADE, UNRELATED))

    (finding,) = node_config_findings(observation)
    assert "kube-system/lab (enable-ipv4-masquerade)" in finding
    assert ipam_override(observation) is None


def test_ipam_keys_stop_restarts() -> None:
    assert "kube-system/old (cluster-pool-ipv4-cidr)" in (ipam_override(Observation(node_configs=(POOL,))) or "")


def test_no_change_is_applied_while_ipam_keys_are_overridden() -> None:
    core = an_installed_core()
    core.observation = replace(core.observation, node_configs=(POOL,))
    core.edit(values=DEBUG)
    decision = core.settle().decision

    assert (applied(core), decision.reason, decision.stalled) == ([], Reason.ROLLOUT_STALLED, True)
    assert "kube-system/old (cluster-pool-ipv4-cidr)" in decision.message


def test_no_further_agent_is_restarted_once_ipam_keys_are_overridden() -> None:
    core = an_installed_core()
    core.edit(values=DEBUG)
    core.perform(run_until(core, RestartAgents))
    core.observation = replace(core.observation, node_configs=(POOL,))
    before = sum(isinstance(action, RestartAgents) for action in core.actions)
    decision = core.settle().decision

    assert sum(isinstance(action, RestartAgents) for action in core.actions) == before
    assert decision.reason is Reason.ROLLOUT_STALLED

    core.observation = replace(core.observation, node_configs=())
    assert core.settle().decision.reason is Reason.IN_SYNC
