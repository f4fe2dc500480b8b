"""Who a node is: its certificate, its key, and what it signs.

`write_certificates` makes one authority and, per node, a folder that holds all this node may know: `ca.crt`,
`node.crt`, `node.key` (mode 0600). A certificate names its node twice: as the URI `spiffe://skysplit/<node>`,
which a relay matches against the contact plan, and as a DNS name, which the dialling side matches against the
node it means to reach.
"""

from __future__ import annotations

import datetime
import hashlib
import ipaddress
import os
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from urllib.parse import quote, unquote

import grpc
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from relay import wire_pb2 as pb
from relay.wire import Manifest, WireError

TRUST_DOMAIN = "spiffe://skysplit/"
_HASH = hashes.SHA256()
_SIGNATURE_BYTES = 72  # ECDSA on P-256 in DER: two integers of up to 33 bytes, with their headers
# What reading a certificate that somebody made up may raise; these have no base class of their own.
_MALFORMED = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.InvalidVersion,
    x509.ExtensionNotFound,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)


class IdentityError(WireError, PermissionError):
    """A certificate, key or signature that does not prove what it should."""


def node_uri(node: str) -> str:
    """The URI by which a certificate names a node."""
    return TRUST_DOMAIN + quote(node, safe="")


def node_host(node: str) -> str:
    """The DNS name in a node's certificate. Satellite names need not be valid host names, hence a hash."""
    return hashlib.blake2b(node.encode(), digest_size=12).hexdigest() + ".skysplit"


def node_folder(directory: Path, node: str) -> Path:
    """The folder that holds what a node may know."""
    return directory / quote(node, safe="")


def write_certificates(
    directory: Path, nodes: Iterable[str], *, valid_days: int = 365, renew: bool = False
) -> None:
    """Make the authority of `directory` unless it is there, and the certificates that are missing.

    With `renew`, all nodes get new keys and certificates under the same authority; running relays take them
    up with the next connection.
    """
    directory.mkdir(parents=True, exist_ok=True)
    authority_key, authority = _authority(directory, valid_days)
    for node in nodes:
        folder = node_folder(directory, node)
        if (folder / "node.crt").exists() and not renew:
            continue
        folder.mkdir(mode=0o700, exist_ok=True)
        key = ec.generate_private_key(ec.SECP256R1())
        names = [
            x509.UniformResourceIdentifier(node_uri(node)),
            x509.DNSName(node_host(node)),
        ]
        usages = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        certificate = (
            _builder(node, key, authority.subject, valid_days)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .sign(authority_key, _HASH)
        )
        _write_public(folder / "ca.crt", _pem(authority))
        _write_secret(folder / "node.key", key)
        _write_public(folder / "node.crt", _pem(certificate))


def write_server_certificate(
    directory: Path, folder: Path, hosts: Iterable[str], *, valid_days: int = 365
) -> None:
    """Make `ca.crt`, `server.crt`, `server.key` in `folder`, for a server that is dialled by host name or address.

    Its certificate is under the authority of `directory` and names no node: no relay takes it for one.
    """
    authority_key, authority = _authority(directory, valid_days)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = (
        _builder("server", key, authority.subject, valid_days)
        .add_extension(x509.SubjectAlternativeName([_host_name(host) for host in hosts]), critical=False)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .sign(authority_key, _HASH)
    )
    _write_public(folder / "ca.crt", _pem(authority))
    _write_secret(folder / "server.key", key)
    _write_public(folder / "server.crt", _pem(certificate))


def _host_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _authority(directory: Path, valid_days: int) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
    key_path, certificate_path = directory / "ca.key", directory / "ca.crt"
    if certificate_path.exists():
        return _read_key(key_path), x509.load_pem_x509_certificate(certificate_path.read_bytes())
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name("SkySplit authority")
    certificate = (
        _builder("SkySplit authority", key, name, valid_days)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, _HASH)
    )
    _write_secret(key_path, key)
    _write_public(certificate_path, _pem(certificate))
    return key, certificate


def _builder(
    name: str, key: ec.EllipticCurvePrivateKey, issuer: x509.Name, valid_days: int
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(_name(name))
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))  # the clocks of two nodes may differ
        .not_valid_after(now + datetime.timedelta(days=valid_days))
    )


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _write_public(path: Path, data: bytes) -> None:
    _replace(path, data, 0o644)


def _write_secret(path: Path, key: ec.EllipticCurvePrivateKey) -> None:
    data = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    _replace(path, data, 0o600)


def _replace(path: Path, data: bytes, mode: int) -> None:
    temporary = path.with_name(path.name + ".part")
    temporary.unlink(missing_ok=True)
    with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(data)
    temporary.replace(path)


def _read_key(path: Path) -> ec.EllipticCurvePrivateKey:
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise IdentityError(f"{path}: others may read this key; `chmod 600` it")
    key = serialization.load_pem_private_key(path.read_bytes(), None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise IdentityError(f"{path}: not an elliptic-curve key")
    return key


@dataclass(frozen=True, eq=False)
class NodeIdentity:
    """A node's own folder of certificates, read. `load` raises IdentityError for one that does not fit."""

    name: str
    folder: Path
    authority: x509.Certificate
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @classmethod
    def load(cls, folder: Path) -> NodeIdentity:
        """Read a node's folder."""
        for file in ("ca.crt", "node.crt", "node.key"):
            if not (folder / file).is_file():
                raise IdentityError(f"{folder}: no {file}; `skysplit certs` makes it")
        authority = x509.load_pem_x509_certificate((folder / "ca.crt").read_bytes())
        certificate = x509.load_pem_x509_certificate((folder / "node.crt").read_bytes())
        name = certified_name(certificate, authority)
        return cls(name, folder, authority, certificate, _read_key(folder / "node.key"))

    def _pems(self) -> tuple[bytes, bytes, bytes]:
        ca, certificate, key = (self.folder / file for file in ("ca.crt", "node.crt", "node.key"))
        return ca.read_bytes(), certificate.read_bytes(), key.read_bytes()

    def channel_credentials(self) -> grpc.ChannelCredentials:
        """For dialling another relay."""
        ca, certificate, key = self._pems()
        return grpc.ssl_channel_credentials(ca, key, certificate)

    def server_credentials(self) -> grpc.ServerCredentials:
        """Credentials that demand a certificate of the caller and follow a renewal on disk."""

        def configuration() -> grpc.ServerCertificateConfiguration:
            ca, certificate, key = self._pems()
            return grpc.ssl_server_certificate_configuration([(key, certificate)], ca)

        return grpc.dynamic_ssl_server_credentials(
            configuration(), configuration, require_client_authentication=True
        )

    def seal(self, manifest: Manifest) -> pb.SealedManifest:
        """Sign a manifest, and with it the digest of its payload, end to end: TLS protects one hop only."""
        data = manifest.to_bytes()
        return pb.SealedManifest(
            manifest=data,
            signature=self.key.sign(data, ec.ECDSA(_HASH)),
            certificate=self.certificate.public_bytes(serialization.Encoding.DER),
        )

    @property
    def seal_bytes(self) -> int:
        """What :meth:`seal` adds to a manifest, with the longest signature (most are a byte or two shorter)."""
        certificate = self.certificate.public_bytes(serialization.Encoding.DER)
        return pb.SealedManifest(signature=bytes(_SIGNATURE_BYTES), certificate=certificate).ByteSize()

    def verify(self, sealed: pb.SealedManifest, source: str) -> None:
        """Raise IdentityError unless `source` itself, certified by our authority, signed these bytes."""
        try:
            certificate = _read_certificate(sealed.certificate)
        except _MALFORMED as error:
            raise IdentityError(f"manifest of {source}: no readable certificate") from error
        name = certified_name(certificate, self.authority)
        if name != source:
            raise IdentityError(f"manifest of {source} is signed by {name}")
        try:
            key = certificate.public_key()
            assert isinstance(key, ec.EllipticCurvePublicKey)
            key.verify(sealed.signature, sealed.manifest, ec.ECDSA(_HASH))
        except (InvalidSignature, AssertionError, *_MALFORMED) as error:
            raise IdentityError(f"manifest of {source}: signature does not match") from error


def certified_name(certificate: x509.Certificate, authority: x509.Certificate) -> str:
    """The node a certificate names. Raises IdentityError unless our authority issued it and it is valid."""
    try:
        uris = _issued_uris(certificate, authority)
    except (InvalidSignature, *_MALFORMED) as error:
        raise IdentityError("certificate is not of this mission's authority") from error
    now = datetime.datetime.now(datetime.UTC)
    if not certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc:
        raise IdentityError(
            f"certificate expired {certificate.not_valid_after_utc:%Y-%m-%d}, or is not valid yet"
        )
    return _name_in(uris)


# A satellite seals thousands of parcels with one certificate.
_read_certificate = lru_cache(1024)(x509.load_der_x509_certificate)


@lru_cache(1024)
def _issued_uris(certificate: x509.Certificate, authority: x509.Certificate) -> list[str]:
    certificate.verify_directly_issued_by(authority)
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return names.get_values_for_type(x509.UniformResourceIdentifier)


def peer_name(auth_context: Mapping[str, Iterable[bytes]]) -> str:
    """The node at the other end of a mutually authenticated gRPC connection. Raises IdentityError."""
    return _name_in([uri.decode("utf-8", "replace") for uri in auth_context.get("peer_spiffe_id", ())])


def _name_in(uris: list[str]) -> str:
    if len(uris) != 1 or not uris[0].startswith(TRUST_DOMAIN):
        raise IdentityError(f"certificate names no node of SkySplit: {uris!r:.120}")
    return unquote(uris[0].removeprefix(TRUST_DOMAIN))
