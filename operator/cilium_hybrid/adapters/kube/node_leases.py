"""Whether nodes still report to the API server: the kubelet renews the Lease of its node every ten seconds.

The node controller marks a node that has lost contact only after 40 or 50 seconds, and a soak time may be shorter. The
Leases are read only while it matters: a watch of them would deliver hundreds of events a second at a large site.
"""

import logging
import time
from collections.abc import Collection, Mapping
from typing import Final

from cilium_hybrid.adapters.kube.client import ApiError, KubeClient

log = logging.getLogger(__name__)

FORGET_AFTER: Final = 10.0
"""Seconds without a call after which what was known of the Leases does not count any more."""
PATH: Final = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"


class NodeLeases:
    """The Leases of the nodes that were asked about last."""

    def __init__(self, client: KubeClient) -> None:
        self._client = client
        self._first: Mapping[tuple[str, str], str] = {}
        self._asked_at = 0.0

    async def renewed(self, nodes: Collection[tuple[str, str]]) -> bool:
        """Return whether each of these nodes has renewed its Lease since the first call about it and its agent pod.

        After a pause, the next call is the first again: a node may have been away and back meanwhile. A Lease that does
        not exist, or may not be read, is not renewed. ClusterUnavailableError.
        """
        if time.monotonic() - self._asked_at > FORGET_AFTER:
            self._first = {}
        now = {node: await self._renew_time(node[0]) for node in nodes}
        self._asked_at = time.monotonic()
        self._first = {node: self._first.get(node) or renewed for node, renewed in now.items()}
        return all(renewed and renewed != self._first[node] for node, renewed in now.items())

    async def _renew_time(self, name: str) -> str:
        """Return when the kubelet renewed the Lease, by its own clock; empty if that is not known."""
        try:
            lease = await self._client.get(f"{PATH}/{name}")
        except ApiError as error:
            # Not for ever: a canary is asked about for a minute at most.
            log.warning("cannot read the Lease of node %s, so the rollout waits longer: %s", name, error)
            return ""
        return str((lease.get("spec") or {}).get("renewTime") or "")
