"""The certificates of a mission: an authority, a certificate per node, one for each server, a revocation list.

`write_certificates` gives each node a folder that holds all this node may know: `ca.crt`, `node.crt`, `node.key` (mode
0600), and the revocation list where there is one. Extensions are those that RFC 5280 asks for, so that strict
verifiers accept them.

An authority is renewed in two steps, so that no node ever meets a certificate that it does not trust: first all get
the new authority beside the old one, and then certificates under the new one.
"""

from __future__ import annotations

import datetime
import ipaddress
import os
from collections.abc import Iterable
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from relay.wire.identity import (
    AUTHORITY,
    CERTIFICATE,
    KEY,
    REVOKED,
    node_folder,
    node_host,
    node_uri,
    read_key,
    read_lists,
)

AUTHORITY_KEY = "ca.key"
SERVER_CERTIFICATE, SERVER_KEY = "server.crt", "server.key"
WARN_DAYS = 30
AUTHORITY_DAYS = 5 * 365  # an authority must outlive what it signs
_HASH = hashes.SHA256()
_CLOCKS_DIFFER = datetime.timedelta(hours=1)


def write_certificates(
    directory: Path,
    nodes: Iterable[str],
    *,
    valid_days: int = 365,
    renew: bool = False,
    new_keys: bool = False,
) -> None:
    """Make the authority of `directory` unless it is there, and the certificates that are missing.

    With `renew`, all nodes get new certificates, of the newest authority, for the keys that they have, or for new ones
    with `new_keys`. Running relays take them up with the next connection.
    """
    directory.mkdir(parents=True, exist_ok=True)
    authority_key, authorities = _authority(directory)
    for node in nodes:
        folder = node_folder(directory, node)
        folder.mkdir(mode=0o700, exist_ok=True)
        if renew or not (folder / CERTIFICATE).exists():
            # Whoever stole a key that was revoked must not profit from a renewal.
            key = _key(folder / KEY, new=new_keys or _is_revoked(directory, folder / CERTIFICATE))
            names = [x509.UniformResourceIdentifier(node_uri(node)), x509.DNSName(node_host(node))]
            usages = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
            certificate = _issue(node, key, authority_key, authorities[0], names, usages, valid_days)
            _write_secret(folder / KEY, key)
            _write_public(folder / CERTIFICATE, _pem(certificate))
        _share_trust(directory, folder)


def write_server_certificate(
    directory: Path,
    folder: Path,
    hosts: Iterable[str],
    *,
    name: str = "server",
    valid_days: int = 365,
    new_keys: bool = False,
) -> None:
    """Make `ca.crt`, `server.crt`, `server.key` in `folder`, for a server that is dialled by host name or address.

    Its certificate is under the authority of `directory` and names no node: no relay takes it for one. A key that is
    there is kept unless `new_keys`.
    """
    authority_key, authorities = _authority(directory)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    key = _key(folder / SERVER_KEY, new=new_keys)
    names = [host_name(host) for host in hosts]
    usages = [ExtendedKeyUsageOID.SERVER_AUTH]
    certificate = _issue(name, key, authority_key, authorities[0], names, usages, valid_days)
    _write_secret(folder / SERVER_KEY, key)
    _write_public(folder / SERVER_CERTIFICATE, _pem(certificate))
    _share_trust(directory, folder)


def renew_authority(directory: Path, folders: Iterable[Path], *, valid_days: int = AUTHORITY_DAYS) -> None:
    """Make a new authority, trusted beside the one before it from now on, and put both into all folders.

    Certificates stay as they are, and are trusted by nodes with the old `ca.crt`, too; when every node has the new
    file, `write_certificates(…, renew=True)` issues under the new authority. Authorities older than the last one, and
    expired ones, are dropped.
    """
    _, before = _authority(directory)
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = _self_signed(key, valid_days)
    now = datetime.datetime.now(datetime.UTC)
    kept = [old for old in before[:1] if old.not_valid_after_utc > now]
    _write_secret(directory / AUTHORITY_KEY, key)
    _write_public(directory / AUTHORITY, b"".join(map(_pem, (certificate, *kept))))
    for folder in folders:
        _share_trust(directory, folder)


def revoke(directory: Path, nodes: Iterable[str], folders: Iterable[Path]) -> None:
    """Put the certificates that these nodes have now on the authority's list, and the list into all folders.

    Raises ValueError for a node without certificate, or whose certificate is of an authority before the present one.
    """
    key, authorities = _authority(directory)
    authority = authorities[0]
    path = directory / REVOKED
    before = read_lists(path)
    builder = x509.CertificateRevocationListBuilder().issuer_name(authority.subject)
    now = datetime.datetime.now(datetime.UTC)
    own = [entry for crl in before if crl.issuer == authority.subject for entry in crl]
    listed = {entry.serial_number: entry.revocation_date_utc for entry in own}
    for node in nodes:
        file = node_folder(directory, node) / CERTIFICATE
        if not file.exists():
            raise ValueError(f"{node} has no certificate in {directory}")
        certificate = x509.load_pem_x509_certificate(file.read_bytes())
        if certificate.issuer != authority.subject:
            raise ValueError(f"the certificate of {node} was issued by an earlier authority: renew it first")
        listed.setdefault(certificate.serial_number, now)
    for serial, when in sorted(listed.items()):
        entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(when)
        builder = builder.add_revoked_certificate(entry.build())
    identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key())
    newest = (
        builder.last_update(now - _CLOCKS_DIFFER)
        .next_update(authority.not_valid_after_utc)
        .add_extension(x509.CRLNumber(int(now.timestamp())), critical=False)
        .add_extension(identifier, critical=False)
        .sign(key, _HASH)
    )
    others = [crl for crl in before if crl.issuer in {old.subject for old in authorities[1:]}]
    _write_public(path, b"".join(crl.public_bytes(serialization.Encoding.PEM) for crl in (newest, *others)))
    for folder in folders:
        _share_trust(directory, folder)


def hosts_of(certificate: Path) -> tuple[str, ...]:
    """Return the host names and addresses in a server's certificate."""
    names = x509.load_pem_x509_certificate(certificate.read_bytes()).extensions.get_extension_for_class(
        x509.SubjectAlternativeName
    )
    addresses = names.value.get_values_for_type(x509.IPAddress)
    return (*names.value.get_values_for_type(x509.DNSName), *map(str, addresses))


def host_name(host: str) -> x509.GeneralName:
    """Return a host as a certificate names it: an IPv4 or IPv6 address (in brackets or not), or a DNS name."""
    bare = host.removeprefix("[").removesuffix("]")
    try:
        return x509.IPAddress(ipaddress.ip_address(bare))
    except ValueError:
        return x509.DNSName(bare)


def days_left(path: Path) -> float:
    """Return the days until the first certificate of a file expires; below 0 once it has.

    Of several authorities, which overlap on purpose, the newest counts.
    """
    certificates = x509.load_pem_x509_certificates(path.read_bytes())
    ends = max(certificate.not_valid_after_utc for certificate in certificates)
    return (ends - datetime.datetime.now(datetime.UTC)).total_seconds() / 86400.0


def _is_revoked(directory: Path, certificate: Path) -> bool:
    if not certificate.exists():
        return False
    loaded = x509.load_pem_x509_certificate(certificate.read_bytes())
    lists = [crl for crl in read_lists(directory / REVOKED) if crl.issuer == loaded.issuer]
    return any(crl.get_revoked_certificate_by_serial_number(loaded.serial_number) for crl in lists)


def _authority(directory: Path) -> tuple[ec.EllipticCurvePrivateKey, list[x509.Certificate]]:
    """Read or make the authority; the newest certificate first."""
    key_path, certificate_path = directory / AUTHORITY_KEY, directory / AUTHORITY
    if certificate_path.exists():
        return read_key(key_path), x509.load_pem_x509_certificates(certificate_path.read_bytes())
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = _self_signed(key, AUTHORITY_DAYS)
    _write_secret(key_path, key)
    _write_public(certificate_path, _pem(certificate))
    return key, [certificate]


def _self_signed(key: ec.EllipticCurvePrivateKey, valid_days: int) -> x509.Certificate:
    # The name tells two authorities of a mission apart, so that verifiers find the right one by it.
    name = _name(f"SkySplit authority {x509.random_serial_number():040x}"[:40])
    return (
        _builder(name, key, name, valid_days)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(authority=True), critical=True)
        .sign(key, _HASH)
    )


def _issue(
    name: str,
    key: ec.EllipticCurvePrivateKey,
    authority_key: ec.EllipticCurvePrivateKey,
    authority: x509.Certificate,
    names: list[x509.GeneralName],
    usages: list[x509.ObjectIdentifier],
    valid_days: int,
) -> x509.Certificate:
    issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key())
    return (
        _builder(_name(name), key, authority.subject, valid_days)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(authority=False), critical=True)
        .add_extension(issuer, critical=False)
        .sign(authority_key, _HASH)
    )


def _builder(
    subject: x509.Name, key: ec.EllipticCurvePrivateKey, issuer: x509.Name, valid_days: int
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCKS_DIFFER)
        .not_valid_after(now + datetime.timedelta(days=valid_days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _key_usage(*, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not authority,
        key_cert_sign=authority,
        crl_sign=authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _key(path: Path, *, new: bool) -> ec.EllipticCurvePrivateKey:
    return read_key(path) if path.exists() and not new else ec.generate_private_key(ec.SECP256R1())


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _share_trust(directory: Path, folder: Path) -> None:
    """Put what every node must know of the authority into a folder, where that has changed."""
    for name in (AUTHORITY, REVOKED):
        source, target = directory / name, folder / name
        if source.exists() and (not target.exists() or target.read_bytes() != source.read_bytes()):
            _write_public(target, source.read_bytes())


def _write_public(path: Path, data: bytes) -> None:
    _replace(path, data, 0o644)


def _write_secret(path: Path, key: ec.EllipticCurvePrivateKey) -> None:
    data = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    _replace(path, data, 0o600)


def _replace(path: Path, data: bytes, mode: int) -> None:
    """Write a file in one step; one that is replaced keeps its owner, who may be a container's user."""
    temporary = path.with_name(path.name + ".part")
    temporary.unlink(missing_ok=True)
    with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(data)
        if path.exists() and os.geteuid() == 0:
            owner = path.stat()
            os.fchown(file.fileno(), owner.st_uid, owner.st_gid)
    temporary.replace(path)
