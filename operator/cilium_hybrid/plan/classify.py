"""What the newest Helm revision is, and whose. Every other decision depends on this one."""

from collections.abc import Sequence
from enum import StrEnum

from cilium_hybrid.plan.observation import Observation, Revision

_UNINSTALLED = "uninstalled"


class ReleaseClass(StrEnum):
    """What the newest revision of release `cilium` is.

    It is ours if its label carries its own number: Helm writes labels together with the revision, and copies them to
    those that others make later. NOT_OWNED: the operator has no part in the installation.
    UNREADABLE: the newest revision cannot be read, or it is ours and the deployed one below it cannot.
    """

    NONE = "None"
    UNINSTALLED = "Uninstalled"
    UNREADABLE = "Unreadable"
    NOT_OWNED = "NotOwned"
    OURS_DEPLOYED = "OursDeployed"
    OURS_FAILED = "OursFailed"
    OURS_PENDING = "OursPending"
    OURS_UNINSTALLING = "OursUninstalling"
    FOREIGN_DEPLOYED = "ForeignDeployed"
    FOREIGN_FAILED = "ForeignFailed"
    FOREIGN_PENDING = "ForeignPending"
    FOREIGN_UNINSTALLING = "ForeignUninstalling"

    @property
    def absent(self) -> bool:
        """Whether there is no release, so that the next revision is an install."""
        return self in {ReleaseClass.NONE, ReleaseClass.UNINSTALLED}

    @property
    def foreign(self) -> bool:
        """Whether the newest revision of the operator's release was made by something else."""
        return self.value.startswith("Foreign")

    @property
    def in_progress(self) -> bool:
        """Whether an operation of Helm is in progress, or was interrupted."""
        return self.value.endswith(("Pending", "Uninstalling"))


def classify(observation: Observation) -> ReleaseClass:
    """Return what the newest revision is."""
    newest = observation.newest
    if newest is None:
        return ReleaseClass.NONE
    unreadable = unreadable_revision(observation)
    if unreadable == newest.number or (unreadable is not None and newest.managed):
        return ReleaseClass.UNREADABLE
    if newest.status == _UNINSTALLED:
        return ReleaseClass.UNINSTALLED
    if not newest.managed and not _has_part(observation, newest):
        return ReleaseClass.NOT_OWNED
    whose = "Ours" if newest.managed else "Foreign"
    return ReleaseClass(f"{whose}{_status(newest)}")


def unreadable_revision(observation: Observation) -> int | None:
    """Return the number of the newest or the deployed revision, if it cannot be read: what runs is not known then."""
    deployed = next((found for found in reversed(installation(observation)) if found.status == "deployed"), None)
    for revision in (observation.newest, deployed):
        payload = None if revision is None else observation.payloads.get(revision.number)
        if revision is not None and payload is not None and not payload.readable:
            return revision.number
    return None


def installation(observation: Observation) -> Sequence[Revision]:
    """Return the revisions of this installation: `helm uninstall --keep-history` leaves those of earlier ones."""
    revisions = observation.revisions
    start = max((index + 1 for index, found in enumerate(revisions) if found.status == _UNINSTALLED), default=0)
    return revisions[start:]


def _has_part(observation: Observation, newest: Revision) -> bool:
    """Whether the operator made a revision of this installation; Helm may have pruned it, so the record counts too."""
    if any(revision.managed for revision in installation(observation)):
        return True
    ended = max((found.number for found in observation.revisions if found.status == _UNINSTALLED), default=0)
    return observation.record is not None and ended < observation.record.revision <= newest.number


def _status(newest: Revision) -> str:
    if newest.status.startswith("pending"):
        return "Pending"
    if newest.status == "uninstalling":
        return "Uninstalling"
    return "Deployed" if newest.status in {"deployed", "superseded"} else "Failed"
