"""Credentials of a mission: relay certificates, the SuperLink's certificate, the SuperNodes' keys."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from relay.wire.certificates import SERVER_CERTIFICATE, hosts_of, write_certificates, write_server_certificate
from relay.wire.identity import node_folder

SUPERLINK = "superlink"  # folder with ca.crt, server.crt, server.key
GATEWAY = "gateway"  # the same, of what satellites dial
REGISTRATION = "registration"  # folder with ca.crt and the public keys of all SuperNodes
RESERVED = frozenset(
    {SUPERLINK, GATEWAY, REGISTRATION, "ground", "runs", "state", "systemd"}
)  # folders of a deployment
SUPERNODE_KEY = "supernode.key"
SUPERNODE_PUBLIC_KEY = "supernode.pub"


def write_credentials(
    directory: Path,
    satellites: Sequence[str],
    ground: str,
    superlink_hosts: Iterable[str],
    *,
    renew: bool = False,
    new_keys: bool = False,
) -> list[str]:
    """Write what is missing, or all certificates anew, and return what others must be told of, a sentence each.

    A node's folder holds what this node may know: its certificate and key for the relay (mTLS and signed manifests)
    and, on a satellite, the key by which the SuperLink knows its SuperNode. Private keys have mode 0600; the
    authority's stays in ``directory`` and is needed by no node.

    Args:
        directory: Made if needed.
        satellites: Their names.
        ground: The ground's name.
        superlink_hosts: Names and addresses by which nodes and operators dial the SuperLink or its gateway. Where a
            certificate is there already, those that it lacks make a new one, for all of both.
        renew: Make new certificates for the keys and host names that are there.
        new_keys: Make new keys, too.

    Raises:
        ValueError: A satellite has a name that a deployment needs for itself.
    """
    taken = sorted({*satellites} & RESERVED)
    if taken:
        raise ValueError(f"constellation: found satellites called {', '.join(taken)}; those names are taken")
    news = []
    renewed = renew or new_keys
    write_certificates(directory, (*satellites, ground), renew=renewed, new_keys=new_keys)
    added = [host.removeprefix("[").removesuffix("]") for host in superlink_hosts]
    for server in (SUPERLINK, GATEWAY):
        folder = directory / server
        certificate_file = folder / SERVER_CERTIFICATE
        known = hosts_of(certificate_file) if certificate_file.exists() else ()
        missing = {*added, server} - {*known}
        if renewed or missing:
            hosts = tuple(dict.fromkeys((*known, server, *added)))
            write_server_certificate(directory, folder, hosts, name=server, new_keys=new_keys)
            if known and missing:
                news.append(
                    f"{server}: its certificate is new, for {', '.join(hosts)}; copy its folder again"
                )
    for name in satellites:
        folder = node_folder(directory, name)
        known_key = (folder / SUPERNODE_PUBLIC_KEY).exists()
        if new_keys or not known_key:
            _write_supernode_key(folder)
            if known_key:
                news.append(
                    f"{name}: its SuperNode has a new key; unregister the old one, register the new one"
                )
    return news


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
