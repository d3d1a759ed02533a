"""What must hold when the operator changes the release: whose it is, its version, its pools and its values."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from cilium_hybrid.api.v1alpha1 import DeletionPolicy
from cilium_hybrid.api.versions import CiliumVersion
from simulation.ledger import spec_of
from simulation.objects import Pod, StoredRevision, pool_of
from simulation.writes import Write

if TYPE_CHECKING:
    from simulation.world import World

UNINSTALL_LOCKED_AFTER: Final = 599.0
TAKEOVER_SECONDS: Final = 15.0


def uninstalled_only_by_deletion(world: "World", write: Write) -> Iterator[str]:
    """Cilium is uninstalled only while the resource is deleted with Uninstall, and never someone else's."""
    if write.kind != "uninstall":
        return
    resource = world.users.resource
    if resource is None or not resource.deleting or resource.spec.get("deletionPolicy") != DeletionPolicy.UNINSTALL:
        yield "uninstalled although no deletion asks for it"
    if write.revision is not None and not write.revision.ours:
        yield f"uninstalled revision {write.revision.number}, which is someone else's"


def foreign_revisions_are_left_alone(world: "World", write: Write) -> Iterator[str]:
    """A revision of someone else is replaced only if the reconcile annotation asks for it, once for each new value."""
    newest = world.helm.newest
    if newest is None or newest.ours or newest.status == "uninstalled":
        return
    if write.kind == "unlock":
        yield f"unlocked revision {newest.number}, which is someone else's"
    if write.kind != "apply":
        return
    requested = "" if write.process.read is None else write.process.read.requested
    use = ("resume", newest.release, newest.number)
    record = world.record
    # What was asked for holds, although the resource was deleted and created again without the annotation.
    asked = record is not None and record.resumed == newest.number and record.handled in world.users.requests
    if not requested and not asked:
        yield f"applied over revision {newest.number}, which is someone else's"
    elif world.ledger.handled_for not in {None, use}:
        yield f"annotation value {requested} acted twice"
    world.ledger.handled_for = use


def applies_over_a_readable_newest(world: "World", write: Write) -> Iterator[str]:
    """Nothing is applied while the newest or the deployed revision is seen to be unreadable."""
    if write.kind != "apply":
        return
    newest, observed = world.helm.newest, write.process.observed
    running = world.helm.running
    for revision in (newest, running if running is not None and running.status == "deployed" else None):
        shown = None if revision is None else observed.payloads.get(revision.number)
        if revision is not None and shown is not None and not shown.readable and revision.status != "uninstalled":
            yield f"applied although revision {revision.number} cannot be read"


def a_helm_that_may_still_run_is_waited_for(world: "World", write: Write) -> Iterator[str]:
    """A process that took the Lease over does not unlock a revision that changed a moment ago, nor an admin's."""
    revision = write.revision
    if write.kind != "unlock" or revision is None:
        return
    unchanged = world.timeline.now - revision.changed_at
    if revision.status == "uninstalling" and unchanged < UNINSTALL_LOCKED_AFTER:
        yield f"unlocked revision {revision.number}, which is being uninstalled for {unchanged:.0f} s"
    if write.process.took_over and unchanged < TAKEOVER_SECONDS - 1:
        yield f"unlocked revision {revision.number}, which has changed {unchanged:.0f} s ago"


def foreign_preflights_are_left_alone(world: "World", write: Write) -> Iterator[str]:
    """A preflight that an admin installed is neither removed nor replaced."""
    release = world.preflight.release
    if write.kind in {"start_preflight", "end_preflight"} and release is not None and not release.managed:
        yield f"{write.kind} although an admin runs a preflight"


def rolls_back_to_an_older_verified_revision(world: "World", write: Write) -> Iterator[str]:
    """The way back leads to an older verified revision of ours, with no foreign one in between."""
    expected = write.expected
    if write.kind != "apply" or expected is None or expected.rolled_back_to is None:
        return
    to, newest = expected.rolled_back_to, world.helm.newest
    target = world.helm.find(to)
    kept = world.helm.kept
    known = target is not None or (kept is not None and kept.number == to)
    if newest is None or to >= newest.number or not known:
        yield f"rolled back from {newest and newest.number} to {to}"
        return
    if target is not None and (not target.ours or not world.ledger.is_verified(target)):
        yield f"rolled back to {to}, which is not verified"
    between = [found.number for found in world.helm.revisions if found.number > to and not found.ours]
    if between:
        yield f"rolled back to {to} over someone else's revision {between[0]}"
    minors = [CiliumVersion.parse(pod.template.version).minor for pod in _pods(world)]
    version = target.version if target is not None else kept.version if kept is not None else ""
    if minors and max(minors) - CiliumVersion.parse(version).minor > 1:
        yield f"rolled back to {version} while an agent runs 1.{max(minors)}"


def no_rejected_release_is_retried(world: "World", write: Write) -> Iterator[str]:
    """A rejected release is applied again only after another release, another spec, or on request."""
    expected, rejection = write.expected, world.ledger.rejection
    if write.kind != "apply" or expected is None or rejection is None or expected.rolled_back_to is not None:
        return
    if expected.spec_digest == rejection.digest and rejection.digest and not rejection.may_retry:
        yield f"revision {expected.number} is the rejected release again"


def no_minor_is_skipped(world: "World", write: Write) -> Iterator[str]:
    """No minor is skipped, and none is entered before the present one is verified and the preflight has passed."""
    expected, running = write.expected, world.helm.running
    if write.kind != "apply" or expected is None or expected.rolled_back_to is not None or running is None:
        return
    step = CiliumVersion.parse(expected.chart_version).minor - running.minor
    if step > 1:
        yield f"applied {expected.chart_version} over {running.version}"
    if step < 0 and (step < -1 or expected.chart_version not in world.ledger.ran):
        yield f"downgraded from {running.version} to {expected.chart_version}"
    if step == 1:
        yield from _may_enter(world, write, running, expected.chart_version)


def _may_enter(world: "World", write: Write, running: StoredRevision, version: str) -> Iterator[str]:
    spec = None if write.process.read is None else spec_of(write.process.read.spec)
    if spec is not None and spec.upgrade.preflight.enabled and version not in world.preflight.passed:
        yield f"applied {version} without a passed preflight"
    verified = (running.ours and world.ledger.is_verified(running)) or (not running.ours and _runs(write, version))
    anything = any(node.labelled for node in world.machines.nodes.values()) or world.controllers.blocks
    if not verified and anything:
        yield f"applied {version} before revision {running.number} ({running.version}) is verified"


def _runs(write: Write, version: str) -> bool:
    """Return whether the process sees an agent of this minor: nothing older may be applied."""
    shown = [found.version for found in write.process.observed.agents.values() if found.version is not None]
    return any(CiliumVersion.parse(found).minor == CiliumVersion.parse(version).minor for found in shown)


def running_pools_are_kept(world: "World", write: Write) -> Iterator[str]:
    """No apply removes a pool of cilium-config or one that a node has a block of, or changes the mask of blocks."""
    if write.kind != "apply" or write.values is None:
        return
    pool, config = pool_of(write.values), world.controllers.config
    if pool is None:
        yield "applied without pools"
        return
    if config is not None and (lost := [cidr for cidr in config.pod_cidrs if cidr not in pool.pod_cidrs]):
        yield f"removed pod CIDR {lost[0]}"
    blocks = [block for found in world.controllers.blocks.values() for block in found]
    if blocks and pool.mask_size is not None and not blocks[0].endswith(f"/{pool.mask_size}"):
        yield f"changed the mask size to {pool.mask_size} while {blocks[0]} is in use"


def upgrade_compatibility_is_constant(world: "World", write: Write) -> Iterator[str]:
    """The value upgradeCompatibility is always the minor version that ran first."""
    if write.kind != "apply" or write.values is None or world.ledger.first_series is None:
        return
    value = write.values.get("upgradeCompatibility")
    if value != world.ledger.first_series:
        yield f"upgradeCompatibility is {value!r}, not {world.ledger.first_series!r}"


def _pods(world: "World") -> Iterator[Pod]:
    return (pod for node in world.machines.nodes.values() for pod in node.pods)
