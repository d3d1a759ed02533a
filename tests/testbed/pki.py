"""Certificates, tokens and kubeconfig files of one cluster."""

import secrets
from pathlib import Path

import trustme
import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

# Each client is a separate user, so that the audit log shows which one sent a request.
USERS = {
    "admin": "testbed:admin",
    "controllers": "system:kube-controller-manager",
    "scheduler": "system:kube-scheduler",
    "kubelets": "testbed:kubelets",
    "cilium": "testbed:cilium",
}
# At these addresses, the machines of a site reach the API server: the ClusterIP of Service `kubernetes` and the router.
SITE_ADDRESSES = ("10.250.0.1", "10.200.255.254")


class Pki:
    """The files in a directory; created once, and reused when a process attaches to the cluster."""

    def __init__(self, folder: Path) -> None:
        self.ca = folder / "ca.pem"
        self.certificate = folder / "apiserver.pem"
        self.account_key = folder / "service-accounts.key"
        self.account_public = folder / "service-accounts.pub"
        self.tokens = folder / "tokens.csv"
        folder.mkdir(parents=True, exist_ok=True)
        if not self.tokens.exists():
            self._create()

    def token(self, client: str) -> str:
        """Return the token of one of `USERS`."""
        rows = (row.split(",") for row in self.tokens.read_text().splitlines())
        return next(row[0] for row in rows if row[1] == USERS[client])

    def write_kubeconfig(self, path: Path, *, server: str, token: str) -> Path:
        """Write a kubeconfig that authenticates with a token; return its path."""
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "testbed",
            "clusters": [{"name": "testbed", "cluster": {"server": server, "certificate-authority": str(self.ca)}}],
            "users": [{"name": "testbed", "user": {"token": token}}],
            "contexts": [{"name": "testbed", "context": {"cluster": "testbed", "user": "testbed"}}],
        }
        path.touch(mode=0o600)
        path.write_text(yaml.safe_dump(config))
        return path

    def _create(self) -> None:
        ca = trustme.CA()
        ca.cert_pem.write_to_path(self.ca)
        server = ca.issue_cert("127.0.0.1", "localhost", "kubernetes.default.svc", *SITE_ADDRESSES)
        server.private_key_and_cert_chain_pem.write_to_path(self.certificate)
        key = ec.generate_private_key(ec.SECP256R1())
        self.account_key.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        self.account_public.write_bytes(
            key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        )
        self.tokens.touch(mode=0o600)
        self.tokens.write_text(
            "".join(f"{secrets.token_hex(16)},{user},{user},system:masters\n" for user in USERS.values())
        )
