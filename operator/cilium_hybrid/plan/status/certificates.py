"""Findings on Hubble's certificates that expire soon, with how to renew each of them."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from cilium_hybrid.plan.observation import Certificate, CertificateIssuer, Observation
from cilium_hybrid.rules.lenient_spec import LenientSpec
from cilium_hybrid.rules.text import list_names

CA_CERTIFICATE: Final = "cilium-ca"
"""The Secret of the CA that signs the others. It is valid for three years, they are valid for one."""
CERTIFICATES: Final = (CA_CERTIFICATE, "hubble-relay-client-certs", "hubble-server-certs")
"""The Secrets of the chart that hold a certificate, all in kube-system."""
WARN_BEFORE: Final = timedelta(days=30)

# Only the relay reads this annotation: the change makes a revision and restarts no agent.
_RECREATE: Final = (
    "then change an annotation in spec.values.hubble.relay.podAnnotations: the new revision recreates them "
    "and restarts no agent"
)


def certificate_findings(observation: Observation, spec: LenientSpec, now: datetime) -> tuple[str, ...]:
    """Return a sentence for all certificates that expire on the same day and are renewed in the same way.

    A sentence stays the same until the certificates are renewed or expire.
    Source: templates/hubble/tls-* of the charts, which keep existing certificates since 1.18.
    """
    expiring = [certificate for certificate in observation.certificates if certificate.not_after <= now + WARN_BEFORE]
    found: dict[tuple[str, str], list[str]] = {}
    for certificate in sorted(expiring, key=lambda certificate: (certificate.not_after.date(), certificate.secret)):
        verb = "expired" if certificate.not_after <= now else "expire"
        fix = _fix(certificate, observation, spec.values)
        found.setdefault((f"{verb} on {certificate.not_after.date()}", fix), []).append(certificate.secret)
    return tuple(f"certificates {when}: {list_names(names)}; {fix}" for (when, fix), names in found.items())


def _fix(certificate: Certificate, observation: Observation, values: Mapping[str, Any]) -> str:
    if certificate.issuer is CertificateIssuer.CERT_MANAGER:
        return "find out why cert-manager does not renew them: kubectl -n kube-system get certificates"
    if certificate.issuer is CertificateIssuer.OTHER:
        return "renew them at their source: release cilium did not create these Secrets in kube-system"
    is_ca = certificate.secret == CA_CERTIFICATE
    if _at(values, "hubble", "tls", "auto", "enabled") is False:
        return f"replace them in spec.values.{'tls.ca' if is_ca else 'hubble'}"
    if not is_ca:
        return f"delete these Secrets in kube-system, {_RECREATE}"
    # Certificates that are kept would still be signed by the old CA.
    signed = sorted(other.secret for other in observation.certificates if other.secret != CA_CERTIFICATE)
    if not _at(values, "tls", "ca", "cert"):
        return f"delete Secrets {', '.join([CA_CERTIFICATE, *signed])} in kube-system, {_RECREATE}"
    replace_ca = "replace the CA in spec.values.tls.ca"
    return f"delete Secrets {', '.join(signed)} in kube-system, then {replace_ca}" if signed else replace_ca


def _at(values: Mapping[str, Any], *path: str) -> Any:
    """Return the value at a path, None if there is none."""
    found: Any = values
    for key in path:
        found = found.get(key) if isinstance(found, Mapping) else None
    return found
