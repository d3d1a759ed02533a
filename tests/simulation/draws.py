"""How often each kind of event occurs, and with which arguments."""

from collections.abc import Callable, Mapping
from random import Random
from typing import Any, Final

from simulation.objects import Badness
from simulation.registry import VERSIONS
from simulation.specs import GOOD_MEMORY
from simulation.views import KINDS

DURATIONS: Final = (1, 5, 5, 15, 15, 40, 90, 150, 400)
ZONES: Final = ("a", "b")
NEW_KERNEL: Final = "6.8.0-51-generic"
OLD_KERNEL: Final = "4.18.0-553.el8"
FAULTY_CALLS: Final = ("apply", "apply", "apply", "delete_agent_pods", "mark", "unlock", "write_record")
BADNESS: Final = tuple(badness.value for badness in Badness)
Arguments = tuple[Any, ...]


def _index(r: Random) -> int:
    return r.randrange(6)


def _fault(r: Random) -> Arguments:
    kind = r.choice(("die", "die", "fail", "fail", "refuse", "stale", "freeze"))
    seconds = r.choice((3.0, 12.0, 20.0, 60.0)) if kind == "freeze" else 0.0
    if r.random() < 0.5:
        return r.randrange(1, 5), kind, seconds, r.choice(FAULTY_CALLS)
    return r.randrange(1, 30), kind, seconds


def _stall(r: Random) -> Arguments:
    lost = r.random() < 0.4
    return r.choice(KINDS), r.choice((4.0, 9.0, 25.0, 90.0 if lost else 50.0)), r.random() < 0.5, lost


DRAWS: Final[Mapping[str, tuple[float, Callable[[Random], Arguments]]]] = {
    "approve": (2, lambda r: (r.choice((None, None, None, "sha256:x")),)),
    "request": (2, lambda r: (f"value-{r.randrange(4)}",)),
    "delete_resource": (1, lambda _: ()),
    "replace_by_force": (0.5, lambda _: ()),
    "gitops": (0.5, lambda _: ()),
    "helm_upgrade": (
        1,
        lambda r: (
            r.choice(VERSIONS),
            r.choice((*GOOD_MEMORY, "1Mi")),
            r.choice(("deployed", "deployed", "failed", "pending")),
        ),
    ),
    "helm_rollback": (0.7, lambda r: (r.choice((1, 1, 2)),)),
    "helm_uninstall": (0.3, lambda r: (r.choice(("", "keep", "pending")),)),
    "finish_pending": (1, lambda r: (r.choice(("deployed", "failed")),)),
    "make_unreadable": (0.3, lambda _: ()),
    "repair_payload": (0.5, lambda _: ()),
    "delete_record": (0.5, lambda _: ()),
    "delete_kept_payload": (0.2, lambda _: ()),
    "delete_pod": (1, lambda r: (_index(r),)),
    "kill_container": (1, lambda r: (_index(r),)),
    "set_quota": (1, lambda r: (r.choice((None, None, -1, 0, 1)),)),
    "set_policy": (0.7, lambda r: (r.choice(("", "", "denied by policy x")),)),
    "foreign_cni": (0.7, lambda r: (r.choice((None, None, 0, 1)),)),
    "admin_preflight": (0.2, lambda _: ()),
    "join": (
        2,
        lambda r: (
            r.randrange(1, 8),
            r.choice(ZONES),
            NEW_KERNEL if r.random() < 0.9 else OLD_KERNEL,
        ),
    ),
    "delete_node": (0.7, lambda r: (_index(r),)),
    "label_node": (
        0.7,
        lambda r: (
            _index(r),
            r.random() < 0.6,
        ),
    ),
    "cordon": (
        0.5,
        lambda r: (
            _index(r),
            r.random() < 0.5,
        ),
    ),
    "disconnect": (
        2,
        lambda r: (
            _index(r),
            r.choice((None, 20.0, 60.0, 300.0)),
        ),
    ),
    "disconnect_zone": (
        0.7,
        lambda r: (
            r.choice(ZONES),
            r.choice((50.0, 300.0)),
        ),
    ),
    "reconnect_all": (1, lambda _: ()),
    "reboot": (
        2,
        lambda r: (
            _index(r),
            r.choice((15.0, 60.0)),
        ),
    ),
    "blink": (
        2,
        lambda r: (
            [_index(r) for _ in range(r.randrange(1, 6))],
            r.choice((1.0, 5.0)),
        ),
    ),
    "kubelet": (
        0.7,
        lambda r: (
            _index(r),
            r.random() < 0.6,
        ),
    ),
    "fill_disk": (
        0.7,
        lambda r: (
            _index(r),
            r.random() < 0.6,
        ),
    ),
    "fill_node": (
        0.5,
        lambda r: (
            _index(r),
            r.random() < 0.5,
        ),
    ),
    "stick": (
        0.4,
        lambda r: (
            _index(r),
            r.random() < 0.5,
        ),
    ),
    "skew_node": (
        0.5,
        lambda r: (
            _index(r),
            r.choice((0, 1440, -1)),
        ),
    ),
    "registry_down": (0.7, lambda r: (r.choice((30.0, 300.0)),)),
    "registry_silent": (0.4, lambda r: (r.choice((30.0, 300.0)),)),
    "publish_version": (0.5, lambda r: (r.choice(("1.18.99-1", "1.17.15-1")),)),
    "republish": (0.3, lambda r: (r.choice(VERSIONS),)),
    "break_version": (
        1,
        lambda r: (
            r.choice(VERSIONS),
            r.choice(BADNESS),
        ),
    ),
    "break_chart": (0.4, lambda r: (r.choice(VERSIONS),)),
    "break_preflight": (0.7, lambda r: (r.choice((*VERSIONS[2:], "*", "*")),)),
    "foreign_object": (0.4, lambda r: (r.choice(("", "", "flannel")),)),
    "node_config": (0.5, lambda r: (r.choice(([], [], ["mtu"], ["cluster-pool-ipv4-cidr"])),)),
    "peering_policies": (0.3, lambda r: (r.choice(([], ["x"])),)),
    "use_addresses": (0.3, lambda r: (r.choice(("", "10.86.1.1")),)),
    "lose_api": (1, lambda r: (r.choice((4.0, 20.0, 120.0)),)),
    "change_leader": (1, lambda _: ()),
    "die": (2, lambda _: ()),
    "operator_on": (0.3, lambda r: (r.randrange(6), r.choice((0.0, 0.0, 3600.0, -3600.0, -30.0)))),
    "fault": (6, _fault),
    "stall_watch": (3, _stall),
}
"""The weight of each kind of event, and how to draw its arguments; `generate.py` draws specs and time itself."""
