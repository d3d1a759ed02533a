"""Faults of a process at one of its next calls."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from simulation.ports import Pause

KINDS: Final = ("die", "fail", "freeze", "refuse", "stale")


@dataclass(slots=True)
class Fault:
    """A fault at the `calls`-th next pause of a process; only pauses of one call of a port count if it is given.

    `die`: it ends. `fail`: the API server's answer is lost, so that the call may have taken effect; Helm is killed.
    `refuse`: the API server refuses an object, so that Helm fails. `stale`: the cluster has changed. `freeze`: the
    machine stands still for so many seconds.
    """

    calls: int
    kind: str
    seconds: float = 0.0
    call: str = ""

    def concerns(self, pause: "Pause") -> bool:
        """Whether the fault may strike at a pause: one of its call, at which it does something."""
        return self.call in {"", pause.call} and (self.kind in {"die", "freeze"} or self.raises(pause))

    def raises(self, pause: "Pause") -> bool:
        """Whether the call fails."""
        if pause.call in {"fetch", "versions", "defaults", "render"}:
            return False
        return (
            self.kind == "fail"
            or (self.kind == "refuse" and pause.phase == "during")
            or (self.kind == "stale" and pause.phase == "before" and pause.call != "resource")
        )
