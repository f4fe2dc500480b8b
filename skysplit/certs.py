"""Credentials of a mission: relay certificates, the SuperLink's certificate, the SuperNodes' keys."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from relay.certificates import write_certificates, write_server_certificate
from relay.identity import node_folder

SUPERLINK = "superlink"  # folder with ca.crt, server.crt, server.key
SUPERNODE_KEY = "supernode.key"
SUPERNODE_PUBLIC_KEY = "supernode.pub"


def write_credentials(
    directory: Path,
    satellites: Sequence[str],
    ground: str,
    superlink_hosts: Iterable[str],
    *,
    renew: bool = False,
) -> None:
    """Write what is missing, or all but the authority anew.

    A node's folder holds what this node may know: its certificate and key for the relay (mTLS and signed manifests)
    and, on a satellite, the key by which the SuperLink knows its SuperNode. Private keys have mode 0600; the
    authority's stays in ``directory`` and is needed by no node.

    Args:
        directory: Made if needed.
        satellites: Their names.
        ground: The ground's name.
        superlink_hosts: Names and addresses by which nodes and operators dial the SuperLink.
        renew: Make new keys and certificates under the same authority.
    """
    write_certificates(directory, (*satellites, ground), renew=renew)
    if renew or not (directory / SUPERLINK / "server.crt").exists():
        write_server_certificate(directory, directory / SUPERLINK, superlink_hosts)
    for name in satellites:
        folder = node_folder(directory, name)
        if renew or not (folder / SUPERNODE_PUBLIC_KEY).exists():
            _write_supernode_key(folder)


def _write_supernode_key(folder: Path) -> None:
    """A key pair as Flower wants it: P-384, in the format of OpenSSH."""
    key = ec.generate_private_key(ec.SECP384R1())
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    (folder / SUPERNODE_KEY).unlink(missing_ok=True)
    (folder / SUPERNODE_KEY).touch(mode=0o600)
    (folder / SUPERNODE_KEY).write_bytes(private)
    (folder / SUPERNODE_PUBLIC_KEY).write_bytes(public + b"\n")
