"""How users change the spec: what they mean, what they get wrong, and what a schema would refuse."""

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from random import Random
from typing import Any, Final

from builders import a_raw_spec
from simulation.objects import MEMORY, OPERATOR_MEMORY
from simulation.registry import MISSING_CHART, VERSIONS

Spec = dict[str, Any]
GOOD_MEMORY: Final = ("512Mi", "513Mi", "514Mi")
ODD_VALUES: Final[tuple[Mapping[str, Any], ...]] = (
    {"ingressController": {"enabled": True}, "kubeProxyReplacement": {}},
    {"hubble": {"relay": {"enabled": True}}},
    {"ipam": {"mode": "x"}},
    {"operator": None},
    {"operator": []},
    {"operator": {"replicas": 1}},
    {"loadBalancer": []},
    {"debug": {"enabled": True}},
    {"debug": {"verbose": "flow"}},
    {"tunnelPort": 8473},
    {"x": {"y": 1}},
    {},
)


class SpecWriter:
    """The spec that users have written last, and how they change it."""

    def __init__(
        self, random: Random, weights: Mapping[str, float] | None = None, memory: Sequence[str] = tuple(MEMORY)
    ) -> None:
        self._random, self._weights = random, weights
        self._odd = random.random() < 0.25
        self.memory = memory
        self.spec = self._first()
        self._before = [deepcopy(self.spec)]

    def _first(self) -> Spec:
        random = self._random
        rollout: Spec = {
            "soak": random.choice(("0s", "10s", "30s")),
            "progressDeadline": random.choice(("1m", "2m", "5m")),
        }
        if random.random() < 0.3:
            rollout["maxUnavailable"] = random.choice((2, "50%"))
        if random.random() < 0.15:
            rollout["strategy"] = "RollingUpdate"
        if random.random() < 0.2:
            rollout["canary"] = 2
        upgrade: Spec = {"rollout": rollout}
        if random.random() < 0.2:
            upgrade["onFailure"] = "Pause"
        if random.random() < 0.2:
            upgrade["preflight"] = {"enabled": False}
        more: Spec = {"upgrade": upgrade}
        if random.random() < 0.25:
            more["deletionPolicy"] = "Uninstall"
        pools = ("10.85.0.0/24",) if random.random() < 0.05 else ("10.85.0.0/16",)
        version = random.choice(VERSIONS[:4])
        return a_raw_spec(version=version, pod_cidrs=pools, **more)

    def change(self) -> Spec:
        """Return the next spec."""
        random = self._random
        if random.random() < 0.15 and len(self._before) > 1:
            self.spec = deepcopy(random.choice(self._before))
        odd = False
        for _ in range(random.choice((1, 1, 1, 2, 3))):
            odd = self._change_once() or odd
        if self._weights is None and self._odd and random.random() < 0.3:
            random.choice(ODD_CHANGES)(random, self.spec)
            odd = True
        if odd:
            written, self.spec = self.spec, deepcopy(self._before[-1])
            return written
        self._before.append(deepcopy(self.spec))
        return deepcopy(self.spec)

    def _change_once(self) -> bool:
        """Change the spec, and return whether the change is one that users take back."""
        if not self._weights:
            change = self._random.choices([change for change, _ in CHANGES], [weight for _, weight in CHANGES])[0]
        else:
            name = self._random.choices(list(self._weights), list(self._weights.values()))[0]
            change = CHANGE_NAMES[name]
        if change is _bad_memory:
            set_field(self.spec, "resources.agent.limits.memory", self._random.choice(self.memory))
        else:
            change(self._random, self.spec)
        return change in ODD_CHANGES


def set_field(spec: Spec, path: str, value: Any) -> None:
    """Set a field of a spec; `path` has dots."""
    *parents, last = path.split(".")
    for parent in parents:
        inner = spec.get(parent)
        spec[parent] = inner = dict(inner) if isinstance(inner, dict) else {}
        spec = inner
    spec[last] = value


def _good_memory(random: Random, spec: Spec) -> None:
    set_field(spec, "resources.agent.limits.memory", random.choice(GOOD_MEMORY))


def _bad_memory(random: Random, spec: Spec) -> None:
    set_field(spec, "resources.agent.limits.memory", random.choice(list(MEMORY)))


def _operator_memory(random: Random, spec: Spec) -> None:
    set_field(spec, "resources.operator.limits.memory", random.choice(("256Mi", "257Mi", *OPERATOR_MEMORY)))


def _version(random: Random, spec: Spec) -> None:
    spec["version"] = random.choice(VERSIONS)


def _pools(random: Random, spec: Spec) -> None:
    pools = list(spec["ipam"]["podCIDRs"])
    if len(pools) > 1 and random.random() < 0.5:
        pools.pop()
    else:
        added = random.choice(("10.86.0.0/16", "10.87.0.0/24", "10.80.0.0/24"))
        pools += [] if added in pools else [added]
    set_field(spec, "ipam.podCIDRs", pools)


def _mask(random: Random, spec: Spec) -> None:
    set_field(spec, "ipam.maskSize", random.choice((25, 25, 26)))


def _rollout(random: Random, spec: Spec) -> None:
    name, values = random.choice(
        (
            ("strategy", ("Gated", "Gated", "RollingUpdate")),
            ("canary", (1, 2)),
            ("maxUnavailable", (1, 2, "50%", "100%")),
            ("groupBy", ("topology.kubernetes.io/zone", "example.com/rack")),
            ("soak", ("0s", "10s", "30s", "1m")),
            ("progressDeadline", ("1m", "2m", "5m")),
        )
    )
    set_field(spec, f"upgrade.rollout.{name}", random.choice(values))


def _upgrade(random: Random, spec: Spec) -> None:
    name, values = random.choice(
        (
            ("onFailure", ("Rollback", "Pause")),
            ("approval", ("Manual", "Automatic")),
            ("preflight.enabled", (True, False)),
            ("via", ([], [{"version": "1.18.8-1"}])),
        )
    )
    set_field(spec, f"upgrade.{name}", random.choice(values))


def _switches(random: Random, spec: Spec) -> None:
    name, values = random.choice(
        (
            ("suspend", (True, False)),
            ("deletionPolicy", ("Retain", "Uninstall")),
            ("masquerade", (True, False)),
            ("allowUnsupported", (True, False)),
        )
    )
    spec[name] = random.choice(values)


def _unsuspend(_: Random, spec: Spec) -> None:
    spec["suspend"] = False


CHANGES: Final[tuple[tuple[Callable[[Random, Spec], None], float], ...]] = (
    (_good_memory, 5),
    (_bad_memory, 5),
    (_operator_memory, 1),
    (_version, 5),
    (_pools, 2),
    (_mask, 0.5),
    (_rollout, 2),
    (_upgrade, 2),
    (_switches, 2),
    (_unsuspend, 1),
)


def _odd_values(random: Random, spec: Spec) -> None:
    spec["values"] = dict(random.choice(ODD_VALUES))


def _odd_version(random: Random, spec: Spec) -> None:
    spec["version"] = random.choice(("1.18.99-1", "1.16.1-0", "2.0.0", "x", 5, "1.20.1-0"))


def _odd_field(random: Random, spec: Spec) -> None:
    name, value = random.choice(
        (
            ("ipam", None),
            ("x", 1),
            ("values", []),
            ("upgrade", {"rollout": {"soak": "x"}}),
            ("networks", {"nodeCIDRs": ["10.85.0.0/20"]}),
        )
    )
    spec[name] = value


def _odd_chart(random: Random, spec: Spec) -> None:
    field, value = random.choice(
        (("digest", "sha256:" + "0" * 64), ("ref", MISSING_CHART), ("ref", "oci://other.example/x"))
    )
    set_field(spec, f"chart.{field}", value)


def _odd_cpu(random: Random, spec: Spec) -> None:
    set_field(spec, "resources.agent.limits.cpu", random.choice(("invalid", "refused", "1")))


ODD_CHANGES: Final = (_odd_values, _odd_version, _odd_field, _odd_chart, _odd_cpu)
CHANGE_NAMES: Final[Mapping[str, Callable[[Random, Spec], None]]] = {
    change.__name__.removeprefix("_"): change for change in (*(change for change, _ in CHANGES), *ODD_CHANGES)
}
"""All changes by their names."""
