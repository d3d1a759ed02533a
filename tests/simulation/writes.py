"""A write of the operator, as the invariants judge it before it takes effect."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cilium_hybrid.plan.observation import Revision
from cilium_hybrid.plan.record import Record
from simulation.objects import Pod, StoredRevision, Values

if TYPE_CHECKING:
    from simulation.process import Process


@dataclass(frozen=True, slots=True)
class Write:
    """A write: `kind` is the call of a port, and the fields are its arguments."""

    kind: str
    process: "Process"
    status: Mapping[str, Any] | None = None
    pod: Pod | None = None
    record: Record | None = None
    expected: Revision | None = None
    values: Values | None = None
    revision: StoredRevision | None = None
    mark: str = ""
