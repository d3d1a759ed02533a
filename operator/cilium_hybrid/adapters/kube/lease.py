"""Leader election over a Lease: a process that lost the Lease has stopped before another one may start to act.

The kubernetes library's elector cannot create its Lease, and after a pause of its process it led for ten seconds while
another process led too (docs/decisions/0007). Times are in seconds of a clock that also counts while the machine is
suspended: other replicas count that time too. Clocks of other machines are never compared.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, Final

from cilium_hybrid.adapters.clock import SystemClock
from cilium_hybrid.adapters.kube.client import ApiError, KubeClient
from cilium_hybrid.adapters.kube.informer import Informer, WatchTarget
from cilium_hybrid.ports import ClusterUnavailableError

log = logging.getLogger(__name__)

LEASE: Final = "cilium-hybrid-operator"
LEASE_SECONDS: Final = 15
"""Other replicas take over a Lease that was not renewed for this long."""
DEADLINE_SECONDS: Final = 10.0
"""The leader stops if it could not renew the Lease for this long; the rest of the Lease is for its Helm to end."""
RENEW_SECONDS: Final = 5.0
"""How often the leader renews. Each renewal is one request, which is most of the load of an idle operator."""
RETRY_SECONDS: Final = 1.0
"""Pause after a failed attempt."""
CHECK_SECONDS: Final = 1.0
"""How often the leader compares the deadline with the clock: timers stand still while the machine is suspended."""

_seconds_since_boot: Final = SystemClock().monotonic


@dataclass(frozen=True, slots=True)
class _LeaseRecord:
    """Who holds the Lease, its last renewal as written, and how long it is valid after that."""

    holder: str
    renew_time: str
    seconds: float


class LeaderElector:
    """Acquires the Lease, renews it, reports when it is lost, and releases it."""

    def __init__(
        self,
        client: KubeClient,
        namespace: str,
        identity: str,
        clock: Callable[[], float] = _seconds_since_boot,
    ) -> None:
        self._client, self._identity, self._clock = client, identity, clock
        self._collection = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"
        self._path = f"{self._collection}/{LEASE}"
        self._lease: Mapping[str, Any] | None = None
        self._renewed_at = float("-inf")
        self._attempted = self._waiting = False
        self.held_before = False
        """Whether the Lease was acquired from an earlier process of this same pod, and so from no other replica."""

    @property
    def is_leader(self) -> bool:
        """Whether this process certainly holds the Lease now."""
        return self._clock() < self._renewed_at + DEADLINE_SECONDS

    async def acquire(self) -> None:
        """Return when this process holds the Lease. Until then the Lease is watched, which costs no requests."""
        target = WatchTarget(self._collection, fields=f"metadata.name={LEASE}")
        informer = Informer(self._client, target, _lease_record, lambda: None)
        watch = asyncio.ensure_future(informer.run())
        try:
            await informer.synced.wait()
            await self._acquire(informer)
        finally:
            watch.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watch
        log.info("acquired the Lease as %s", self._identity)

    async def _acquire(self, informer: Informer[_LeaseRecord]) -> None:
        logged = None
        while True:
            record, observed_at = informer.facts.get(LEASE), self._clock()
            if record is not None and record.holder not in {"", self._identity}:
                if record.holder != logged:
                    log.info("standing by; the Lease is held by %s", record.holder)
                    logged = record.holder
                # The time is measured from when this process observed the renewal: the holder's clock may differ.
                if await informer.wait_for(_differs_from(record), record.seconds):
                    continue
                log.info("the Lease was not renewed for %.0f s; taking it over", self._clock() - observed_at)
            if await self._try_acquire(record):
                return
            await asyncio.sleep(RETRY_SECONDS)

    async def wait_until_lost(self) -> str:
        """Renew the Lease; return why as soon as this process may no longer act."""
        renewals = asyncio.ensure_future(self._renew_until_taken())
        try:
            while self._remaining() > 0:
                # A process or a machine that was suspended finds out here, before it does anything else.
                await asyncio.wait({renewals}, timeout=min(CHECK_SECONDS, self._remaining()))
                if renewals.done():
                    return f"the Lease is held by {renewals.result()}"
        finally:
            renewals.cancel()
            await asyncio.wait({renewals})
        if self._waiting:
            return "the API server did not answer in time to renew the Lease"
        return "the Lease was not renewed in time"

    async def _renew_until_taken(self) -> str:
        """Renew the Lease until another process holds it; return which."""
        pause = RENEW_SECONDS
        while True:
            await asyncio.sleep(pause)
            self._waiting = True
            renewed = await self._renew()
            holder = self._identity if renewed else await self._read_holder()
            self._waiting = False
            if holder not in {None, "", self._identity}:
                return str(holder)
            pause = RENEW_SECONDS if renewed else RETRY_SECONDS

    async def release(self) -> None:
        """Release the Lease, so that another replica can acquire it at once."""
        if self._lease is None:
            return
        spec = {**self._lease["spec"], "holderIdentity": "", "leaseDurationSeconds": 1}
        try:
            await self._client.put(self._path, {**self._lease, "spec": spec})
        except (ApiError, ClusterUnavailableError) as error:
            log.warning("cannot release the Lease: %s", error)

    def _remaining(self) -> float:
        return self._renewed_at + DEADLINE_SECONDS - self._clock()

    async def _try_acquire(self, expired: _LeaseRecord | None) -> bool:
        """Acquire the Lease if it is free, or if its record is still the `expired` one; return whether it succeeded."""
        try:
            self._lease = await self._client.get(self._path)
        except ApiError as error:
            if error.status != HTTPStatus.NOT_FOUND:
                log.warning("cannot read the Lease: %s", error)
                return False
            self._lease = None
        except ClusterUnavailableError:
            return False
        holder = None
        if self._lease is not None:
            found = _lease_record(self._lease)
            holder = found.holder
            # A watch that lags may not show that the holder has renewed since.
            if holder not in {"", self._identity} and found != expired:
                return False
        acquired = await self._renew()
        # A request without an answer may have succeeded: then this process finds its own name at the next attempt.
        self.held_before = acquired and holder == self._identity and not self._attempted
        self._attempted = True
        return acquired

    async def _renew(self) -> bool:
        """Write this process into the version of the Lease that was last read: of two writers, one gets a conflict."""
        # Counted from before the request: the API server may have stored it at any moment since.
        started, body = self._clock(), self._body()
        try:
            if self._lease is None:
                self._lease = await self._client.post(self._collection, body)
            else:
                self._lease = await self._client.put(self._path, body)
        except (ApiError, ClusterUnavailableError) as error:
            log.warning("cannot renew the Lease: %s", error)
            return False
        self._renewed_at = started
        return True

    async def _read_holder(self) -> str | None:
        """Return who holds the Lease, None if it cannot be read. The next renewal replaces the version read here."""
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


def _differs_from(record: _LeaseRecord) -> Callable[[Mapping[str, _LeaseRecord]], bool]:
    return lambda records: records.get(LEASE) != record


def _lease_record(raw: Mapping[str, Any]) -> _LeaseRecord:
    spec = raw["spec"]
    seconds = float(spec.get("leaseDurationSeconds") or LEASE_SECONDS)
    return _LeaseRecord(str(spec.get("holderIdentity") or ""), str(spec.get("renewTime")), seconds)
