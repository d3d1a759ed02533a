"""The minor releases of Cilium that AWS supports on hybrid nodes: the one place that a new one is added to.

Sources: EKS user guide, "Configure CNI for hybrid nodes" and "Hybrid nodes gateway"; Cilium's upgrade guide.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from cilium_hybrid.api.versions import CiliumVersion


@dataclass(frozen=True, slots=True)
class Minor:
    """What one minor release asks for; `kernel` is the oldest one that its agents start on.

    `notes`: what to know before a step from the minor release below, one sentence each.
    """

    kernel: tuple[int, int] | None = None
    notes: tuple[str, ...] = ()


MINORS: Final[Mapping[str, Minor]] = {
    "1.17": Minor(
        notes=(
            "cluster.name is validated strictly",
            "Services are told apart by protocol: to go back to 1.16 makes them anew and cuts connections",
        )
    ),
    "1.18": Minor(
        kernel=(5, 10),
        notes=(
            "every hybrid node needs Linux 5.10 or newer, which Ubuntu 20.04 and RHEL 8 do not have",
            "Cilium's operator no longer tolerates every taint: tainted or cordoned nodes need operator.tolerations",
            "BGP resources move to cilium.io/v2, and v2alpha1 is deprecated",
            "CiliumExternalWorkload is gone",
        ),
    ),
    "1.19": Minor(
        kernel=(5, 10),
        notes=(
            "CiliumBGPPeeringPolicy is gone: move to CiliumBGPClusterConfig first",
            "NodePort and HostPort, and with them Ingress and Gateway, need kubeProxyReplacement",
            "fromRequires and toRequires are gone from network policies",
            "a DNS pattern that begins with `**.` matches more names than before",
            "CiliumLoadBalancerIPPool moves to cilium.io/v2, and v2alpha1 is deprecated",
        ),
    ),
}


def is_at_least(version: CiliumVersion, series: str) -> bool:
    """Whether a version is of the minor release `series` (X.Y), or of a later one."""
    major, minor = map(int, series.split("."))
    return (version.major, version.minor) >= (major, minor)


def kernel_of(version: CiliumVersion) -> tuple[int, int] | None:
    """The oldest kernel that a version runs on; what the newest known minor asks for, a later one asks for too."""
    asked = [minor.kernel for series, minor in MINORS.items() if is_at_least(version, series)]
    return asked[-1] if asked else None


def notes_of(version: CiliumVersion) -> tuple[str, ...]:
    """What to know before a step to a version from the minor release below it."""
    return MINORS.get(version.series, Minor()).notes
