"""Leader election over a Lease: one acts, and the one that lost it has stopped before another may start.

The kubernetes library's elector cannot make its Lease, and led for ten seconds beside another after a pause
(docs/decisions/0007). Times are seconds of the monotonic clock of this process, never the clocks of others.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from cilium_hybrid.adapters.kube.client import ApiError, KubeClient
from cilium_hybrid.adapters.kube.facts import moment
from cilium_hybrid.adapters.kube.informer import NOT_FOUND, Informer, WatchTarget
from cilium_hybrid.ports import ClusterUnavailableError

log = logging.getLogger(__name__)

LEASE: Final = "cilium-hybrid-operator"
LEASE_SECONDS: Final = 15
"""After so long without a renewal another takes the Lease."""
DEADLINE_SECONDS: Final = 10.0
"""After so long without a renewal the holder stops; the rest of the Lease is for its Helm to end."""
RENEW_SECONDS: Final = 5.0
"""How often the holder renews: one request each, which is most of what an operator at rest asks for."""
RETRY_SECONDS: Final = 1.0
"""How soon a try that failed is made again."""


@dataclass(frozen=True, slots=True)
class _Beat:
    """Who holds the Lease, and its last renewal; `seconds` is how long that lasts."""

    holder: str
    renewed: str
    seconds: float


class Elector:
    """Takes the Lease, keeps it, says when it is lost, and gives it back."""

    def __init__(
        self, client: KubeClient, namespace: str, identity: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._client, self._identity, self._clock = client, identity, clock
        self._collection = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"
        self._path = f"{self._collection}/{LEASE}"
        self._lease: Mapping[str, Any] | None = None
        self._renewed_at = float("-inf")
        self.renewed_before: datetime | None = None
        """When the Lease was last renewed before it became ours: till then somebody could see the cluster."""

    @property
    def holds(self) -> bool:
        """Whether the Lease is surely ours at this moment."""
        return self._clock() < self._renewed_at + DEADLINE_SECONDS

    async def acquire(self) -> None:
        """Return when the Lease is ours. Until then it is watched: standing by asks the API server for nothing."""
        index = Informer(
            self._client, WatchTarget(self._collection, fields=f"metadata.name={LEASE}"), _beat, lambda: None
        )
        watch = asyncio.ensure_future(index.run())
        try:
            await index.synced.wait()
            await self._acquire(index)
        finally:
            watch.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watch
        log.info("leading as %s", self._identity)

    async def _acquire(self, index: Informer[_Beat]) -> None:
        told = None
        while True:
            beat, seen_at = index.facts.get(LEASE), self._clock()
            if beat is not None and beat.holder not in {"", self._identity}:
                if beat.holder != told:
                    log.info("standing by: the Lease is held by %s", beat.holder)
                    told = beat.holder
                # The holder's life is counted from when we saw it beat: its clock may be another.
                if await index.until(_moved_on(beat), beat.seconds):
                    continue
                log.info("the Lease was not renewed for %.0f s: taking it", self._clock() - seen_at)
            if await self._take(beat):
                return
            await asyncio.sleep(RETRY_SECONDS)

    async def lost(self) -> str:
        """Keep the Lease; return why as soon as this process may no longer act."""
        pause = RENEW_SECONDS
        while True:
            await asyncio.sleep(min(pause, max(0.0, self._left())))
            if self._left() <= 0:
                # A process that was frozen finds out here, before it does anything else.
                return "the Lease was not renewed in time"
            try:
                async with asyncio.timeout(self._left()):
                    has_finalizer = await self._renew()
                    holder = self._identity if has_finalizer else await self._holder()
            except TimeoutError:
                return "the API server did not answer in time to renew the Lease"
            if holder not in {None, "", self._identity}:
                return f"the Lease is held by {holder}"
            pause = RENEW_SECONDS if has_finalizer else RETRY_SECONDS

    async def release(self) -> None:
        """Give the Lease back, so that another need not wait for its end."""
        if self._lease is None:
            return
        spec = {**self._lease["spec"], "holderIdentity": "", "leaseDurationSeconds": 1}
        try:
            await self._client.put(self._path, {**self._lease, "spec": spec})
        except (ApiError, ClusterUnavailableError) as error:
            log.info("could not give the Lease back: %s", error)

    def _left(self) -> float:
        return self._renewed_at + DEADLINE_SECONDS - self._clock()

    async def _take(self, timed: _Beat | None) -> bool:
        """Write ourselves into a Lease that is free, or whose beat is still the one that was `timed` to its end."""
        try:
            self._lease = await self._client.get(self._path)
        except ApiError as error:
            if error.status != NOT_FOUND:
                log.warning("cannot read the Lease: %s", error)
                return False
            self._lease = None
        except ClusterUnavailableError:
            return False
        if self._lease is not None:
            renewed = self._lease["spec"].get("renewTime")
            self.renewed_before = moment(renewed) if renewed else None
            found = _beat(self._lease)
            # A watch that lags would show a holder as dead that has renewed since.
            if found.holder not in {"", self._identity} and found != timed:
                return False
        return await self._renew()

    async def _renew(self) -> bool:
        """Write the Lease as ours over the version last seen: of two that try, one is refused."""
        # Counted from before the call: the server may have taken it at any moment since.
        started, body = self._clock(), self._body()
        try:
            if self._lease is None:
                self._lease = await self._client.post(self._collection, body)
            else:
                self._lease = await self._client.put(self._path, body)
        except (ApiError, ClusterUnavailableError) as error:
            log.info("could not renew the Lease: %s", error)
            return False
        self._renewed_at = started
        return True

    async def _holder(self) -> str | None:
        """Who holds the Lease now; None where nobody can tell. What is read is what the next renewal goes over."""
        try:
            self._lease = await self._client.get(self._path)
        except (ApiError, ClusterUnavailableError):
            return None
        return str(self._lease["spec"].get("holderIdentity") or "")

    def _body(self) -> dict[str, Any]:
        before: Mapping[str, Any] = {} if self._lease is None else self._lease["spec"]
        now = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        spec = {**before, "holderIdentity": self._identity, "leaseDurationSeconds": LEASE_SECONDS, "renewTime": now}
        if before.get("holderIdentity") != self._identity:
            spec |= {"acquireTime": now, "leaseTransitions": int(before.get("leaseTransitions") or 0) + 1}
        if self._lease is None:
            metadata = {"name": LEASE}
            return {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata, "spec": spec}
        return {**self._lease, "spec": spec}


def _moved_on(beat: _Beat) -> Callable[[Mapping[str, _Beat]], bool]:
    return lambda facts: facts.get(LEASE) != beat


def _beat(raw: Mapping[str, Any]) -> _Beat:
    spec = raw["spec"]
    seconds = float(spec.get("leaseDurationSeconds") or LEASE_SECONDS)
    return _Beat(str(spec.get("holderIdentity") or ""), str(spec.get("renewTime")), seconds)
