"""The certificates of Hubble, which end in silence: told in time, with what makes each of them anew."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from cilium_hybrid.plan.observation import Certificate, CertificateMaker, Observation
from cilium_hybrid.rules.lenient_spec import read_lenient_spec
from cilium_hybrid.rules.text import list_names

AUTHORITY: Final = "cilium-ca"
"""It signs the others, and lives three years; they live one."""
CERTIFICATES: Final = (AUTHORITY, "hubble-relay-client-certs", "hubble-server-certs")
"""The Secrets of the chart that hold one, all of them in kube-system."""
TOLD_BEFORE: Final = timedelta(days=30)

# The relay reads it and the agents do not: such a change is a revision that restarts none of them.
_RELEASED_ANEW: Final = (
    "then change an annotation in spec.values.hubble.relay.podAnnotations: the revision that this makes has new ones, "
    "and no agent restarts"
)


def certificate_findings(observation: Observation, raw_spec: object, now: datetime) -> tuple[str, ...]:
    """A sentence for those that end on the same day and are renewed in the same way; the same until they are, or end.

    Source: templates/hubble/tls-* of the charts, which since 1.18 keep the certificates that they find.
    """
    ending = [one for one in observation.certificates if one.ends <= now + TOLD_BEFORE]
    values = read_lenient_spec(raw_spec).values
    found: dict[tuple[str, str], list[str]] = {}
    for one in sorted(ending, key=lambda one: (one.ends.date(), one.secret)):
        when = f"{'ended' if one.ends <= now else 'end'} on {one.ends.date()}"
        found.setdefault((when, _what_to_do(one, observation, values)), []).append(one.secret)
    return tuple(f"certificates that {when}: {list_names(names)}: {advice}" for (when, advice), names in found.items())


def _what_to_do(one: Certificate, observation: Observation, values: Mapping[str, Any]) -> str:
    if one.maker is CertificateMaker.CERT_MANAGER:
        return "see why cert-manager does not renew them: kubectl -n kube-system get certificates"
    if one.maker is CertificateMaker.OTHER:
        return "renew them where they come from: release cilium did not make these Secrets of kube-system"
    if _at(values, "hubble", "tls", "auto", "enabled") is False:
        return f"write newer ones into spec.values, at {'tls.ca' if one.secret == AUTHORITY else 'hubble'}"
    if one.secret != AUTHORITY:
        return f"delete these Secrets of kube-system, {_RELEASED_ANEW}"
    # A certificate that is kept would go on under an authority that is there no more.
    signed = sorted(other.secret for other in observation.certificates if other.secret != AUTHORITY)
    if not _at(values, "tls", "ca", "cert"):
        return f"delete Secrets {', '.join([AUTHORITY, *signed])} of kube-system, {_RELEASED_ANEW}"
    newer = "write a newer one into spec.values.tls.ca"
    return f"delete Secrets {', '.join(signed)} of kube-system, then {newer}" if signed else newer


def _at(values: Mapping[str, Any], *path: str) -> Any:
    """The value at a path, None where there is none."""
    found: Any = values
    for key in path:
        found = found.get(key) if isinstance(found, Mapping) else None
    return found
