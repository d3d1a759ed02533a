"""What a kubelet reports of its node: that it lives, and whether pods can have a network."""

import asyncio
import contextlib
import logging
from datetime import UTC, datetime
from typing import Any, Final

from testbed.cilium.kube import MERGE_PATCH, STRATEGIC_PATCH, TRANSIENT_ERRORS, KubeClient
from testbed.nodes import is_ready, ready_condition
from testbed.site.kubelet.sandbox import network_becomes

Object = dict[str, Any]

LEASES: Final = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"
RENEW_EVERY: Final = 5.0
LEASE_SECONDS: Final = 20
REPORT_EVERY: Final = 10.0
RETRY: Final = 1.0

log = logging.getLogger(__name__)


async def renew_lease(client: KubeClient, node: Object) -> None:
    """Renew the Lease of a node until cancelled."""
    name = node["metadata"]["name"]
    while True:
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        spec = {"holderIdentity": name, "leaseDurationSeconds": LEASE_SECONDS, "renewTime": now}
        try:
            if await client.request("PATCH", f"{LEASES}/{name}", {"spec": spec}, kind=MERGE_PATCH) is None:
                owner = {"apiVersion": "v1", "kind": "Node", "name": name, "uid": node["metadata"]["uid"]}
                metadata = {"name": name, "ownerReferences": [owner]}
                await client.request("POST", LEASES, {"metadata": metadata, "spec": spec})
        except TRANSIENT_ERRORS as error:
            log.info("lease: %r", error)
        await asyncio.sleep(RENEW_EVERY)


async def report_network(client: KubeClient, node: Object) -> None:
    """Report the node as Ready while the machine has a CNI configuration, until cancelled."""
    path = f"/api/v1/nodes/{node['metadata']['name']}"
    ready = False
    while True:
        try:
            found = await client.request("GET", path)
            if found is not None and is_ready(found) != ready:
                status = {"status": {"conditions": [ready_condition(ready=ready)]}}
                await client.request("PATCH", f"{path}/status", status, kind=STRATEGIC_PATCH)
        except TRANSIENT_ERRORS as error:
            log.info("node status: %r", error)
            await asyncio.sleep(RETRY)
            continue
        with contextlib.suppress(TimeoutError):
            # Something else may have changed the status, as the node controller does.
            await asyncio.wait_for(network_becomes(ready=not ready), REPORT_EVERY)
            ready = not ready
