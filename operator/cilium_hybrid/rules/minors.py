"""The minor releases of Cilium that AWS supports on hybrid nodes: the one place that a new one is added to.

Sources: EKS user guide, "Configure CNI for hybrid nodes" and "Hybrid nodes gateway"; Cilium's upgrade guide.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from cilium_hybrid.api.versions import CiliumVersion


@dataclass(frozen=True, slots=True)
class Minor:
    """What one minor release asks for; `kernel` is the oldest one that its agents start on."""

    kernel: tuple[int, int] | None = None


MINORS: Final[Mapping[str, Minor]] = {
    "1.17": Minor(),
    "1.18": Minor(kernel=(5, 10)),
    "1.19": Minor(kernel=(5, 10)),
}


def is_at_least(version: CiliumVersion, series: str) -> bool:
    """Whether a version is of the minor release `series` (X.Y), or of a later one."""
    major, minor = map(int, series.split("."))
    return (version.major, version.minor) >= (major, minor)


def kernel_of(version: CiliumVersion) -> tuple[int, int] | None:
    """The oldest kernel that a version runs on; what the newest known minor asks for, a later one asks for too."""
    asked = [minor.kernel for series, minor in MINORS.items() if is_at_least(version, series)]
    return asked[-1] if asked else None
