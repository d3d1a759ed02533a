"""What Helm stored of the revisions that decisions depend on, read once for each version of their Secrets."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from cilium_hybrid.plan.observation import Observation, ReleasePayload, Revision
from cilium_hybrid.plan.running import last_deployed
from cilium_hybrid.ports import Releases


@dataclass(slots=True)
class Payloads:
    """The payloads of the newest and of the last deployed revision."""

    releases: Releases
    _known: Mapping[tuple[int, str], ReleasePayload] = field(default_factory=dict)

    async def add_to(self, observation: Observation) -> Observation:
        """Return the observation with the payloads; StaleError if a revision is gone, ClusterUnavailableError."""
        needed = {revision.number: revision for revision in _needed(observation)}
        known: dict[tuple[int, str], ReleasePayload] = {}
        for revision in needed.values():
            key = (revision.number, revision.changed)
            known[key] = self._known[key] if key in self._known else await self.releases.payload(revision.number)
        self._known = known
        return replace(observation, payloads={number: payload for (number, _), payload in known.items()})


def _needed(observation: Observation) -> list[Revision]:
    found = (observation.newest, last_deployed(observation))
    return [revision for revision in found if revision is not None]
