"""The resource in the API server, and the writes of users and of the operator to it."""

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from cilium_hybrid.api.crd import NOT_OBSERVED
from cilium_hybrid.plan.inputs import Resource
from cilium_hybrid.ports import StaleError

if TYPE_CHECKING:
    from simulation.world import World


class Users:
    """The CiliumHybrid, None if it does not exist. `removed` counts how often it was deleted completely."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self.resource: Resource | None = None
        self.removed = 0
        self._version = 0
        self.requests: set[str] = set()

    def apply(self, spec: Mapping[str, Any]) -> None:
        """Create the resource, or replace its spec, as `kubectl apply` does."""
        before = self.resource
        if before is None:
            self._put(Resource(1, "", spec, {"observedGeneration": NOT_OBSERVED}, uid=f"resource-{self._version}"))
        elif before.spec != spec and not before.deleting:
            self._put(replace(before, generation=before.generation + 1, spec=spec))

    def approve(self, digest: str | None) -> None:
        """Set the annotation that approves a plan; None: the plan of the status."""
        if self.resource is not None:
            self._put(replace(self.resource, approved=digest or self.resource.status.get("planDigest")))

    def request(self, value: str) -> None:
        """Set the reconcile annotation."""
        if self.resource is not None and self.resource.requested != value:
            self._put(replace(self.resource, requested=value))
            self.requests.add(value)

    def delete(self) -> None:
        """Delete the resource: it stays while it has finalizers."""
        before = self.resource
        if before is not None and before.finalizers:
            if not before.deleting:
                self._put(replace(before, generation=before.generation + 1, deleting=True))
        elif before is not None:
            self._put(None)

    def replace_by_force(self) -> None:
        """Delete the resource and create it again without its status, as `kubectl replace --force` does."""
        before = self.resource
        if before is not None and not before.finalizers:
            self._put(None)
            self.apply(before.spec)

    def write(
        self, resource: Resource, status: Mapping[str, Any] | None = None, finalizers: tuple[str, ...] | None = None
    ) -> None:
        """Write as the operator does, to exactly this version of the resource; StaleError."""
        now = self.resource
        if now is None or now.resource_version != resource.resource_version:
            raise StaleError("the resource has changed since it was read")
        if finalizers is not None:
            now = replace(now, finalizers=finalizers)
            self._put(None if now.deleting and not finalizers else now)
        else:
            self._put(replace(now, status=status or {}))

    def _put(self, resource: Resource | None) -> None:
        self._version += 1
        if resource is None:
            self.removed += 1
        before = self.resource
        self.resource = None if resource is None else replace(resource, resource_version=str(self._version))
        self._world.ledger.resource_changed(before, self.resource)
        self._world.wake_processes()
