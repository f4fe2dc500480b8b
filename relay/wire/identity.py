"""Who a node is: what it reads from its folder, what it signs, and whom it believes.

A certificate names its node twice: as the URI `spiffe://skysplit/<node>`, which a relay matches against the contact
plan, and as a DNS name, which the dialling side matches against the node it means to reach. `certificates` makes them.
"""

from __future__ import annotations

import datetime
import hashlib
import logging
import stat
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from functools import lru_cache
from pathlib import Path
from urllib.parse import quote, unquote

import grpc
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from relay.wire import wire_pb2 as pb
from relay.wire.manifest import Manifest, WireError

log = logging.getLogger(__name__)

TRUST_DOMAIN = "spiffe://skysplit/"
AUTHORITY, CERTIFICATE, KEY = "ca.crt", "node.crt", "node.key"
REVOKED = "revoked.crl"  # one list of each authority, if any
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


def read_key(path: Path) -> ec.EllipticCurvePrivateKey:
    """Read a private key. Raises IdentityError for one that others may read, or of another kind."""
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise IdentityError(f"{path}: others may read this key; `chmod 600` it")
    key = serialization.load_pem_private_key(path.read_bytes(), None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise IdentityError(f"{path}: not an elliptic-curve key")
    return key


@dataclass
class _Folder:
    """The files of a node's folder, read again when they have changed on disk."""

    path: Path
    stamp: object = None
    _: KW_ONLY
    authorities: tuple[x509.Certificate, ...] = ()
    revoked: frozenset[tuple[bytes, int]] = frozenset()  # authority's name, serial number
    pems: tuple[bytes, bytes, bytes] = (b"", b"", b"")

    def refresh(self) -> bool:
        """Read what has changed; returns whether anything has.

        A folder in the middle of a renewal, whose certificate and key do not belong together, is left for later.
        """
        stamp = tuple(map(_stamp, (self.path / name for name in (AUTHORITY, CERTIFICATE, KEY, REVOKED))))
        if stamp == self.stamp:
            return False
        authority, certificate, key = (
            (self.path / name).read_bytes() for name in (AUTHORITY, CERTIFICATE, KEY)
        )
        private = serialization.load_pem_private_key(key, None)
        if x509.load_pem_x509_certificate(certificate).public_key() != private.public_key():
            return False
        authorities = tuple(x509.load_pem_x509_certificates(authority))
        self.revoked = _revoked(self.path / REVOKED, authorities)
        self.authorities, self.pems, self.stamp = authorities, (authority, certificate, key), stamp
        return True


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino


def read_lists(path: Path) -> list[x509.CertificateRevocationList]:
    """Return the revocation lists in a file; none where it is missing. Raises IdentityError."""
    if not path.exists():
        return []
    begin = b"-----BEGIN X509 CRL-----"
    try:
        return [x509.load_pem_x509_crl(begin + text) for text in path.read_bytes().split(begin)[1:]]
    except ValueError as error:
        raise IdentityError(f"{path}: not a readable revocation list") from error


def _revoked(path: Path, authorities: Sequence[x509.Certificate]) -> frozenset[tuple[bytes, int]]:
    """Return what the lists of a file revoke. Raises IdentityError for one that none of the authorities signed."""
    revoked = set()
    for listed in read_lists(path):
        if not any(listed.is_signature_valid(authority.public_key()) for authority in authorities):  # type: ignore[arg-type]
            raise IdentityError(f"{path}: a revocation list that no authority of this mission signed")
        issuer = listed.issuer.public_bytes()
        revoked |= {(issuer, entry.serial_number) for entry in listed}
    return frozenset(revoked)


@dataclass(frozen=True, eq=False)
class NodeIdentity:
    """A node's own folder of certificates, read. `load` raises IdentityError for one that does not fit.

    Authorities, the revocation list, and what TLS uses follow the files on disk; a certificate renewed under the same
    key is taken up for signing by the next process.
    """

    name: str
    folder: Path
    _: KW_ONLY
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey
    _files: _Folder = field(repr=False)

    @classmethod
    def load(cls, folder: Path) -> NodeIdentity:
        """Read a node's folder."""
        for file in (AUTHORITY, CERTIFICATE, KEY):
            if not (folder / file).is_file():
                raise IdentityError(f"{folder}: no {file}; `skysplit certs` makes it")
        key = read_key(folder / KEY)
        files = _Folder(folder)
        try:
            fresh = files.refresh()
            certificate = x509.load_pem_x509_certificate(files.pems[1]) if fresh else None
        except _MALFORMED as error:
            raise IdentityError(f"{folder}: not readable as certificates and a key: {error}") from error
        if certificate is None:
            raise IdentityError(f"{folder}: {CERTIFICATE} is not that of {KEY}")
        return cls(
            certified_name(certificate, files.authorities),
            folder,
            certificate=certificate,
            key=key,
            _files=files,
        )

    @property
    def ends(self) -> datetime.datetime:
        """Return the first expiry among the node's certificate and the newest of its authorities."""
        self._refresh()
        newest = max(authority.not_valid_after_utc for authority in self._files.authorities)
        return min(newest, x509.load_pem_x509_certificate(self._files.pems[1]).not_valid_after_utc)

    def channel_credentials(self) -> grpc.ChannelCredentials:
        """For dialling another relay."""
        self._refresh()
        authority, certificate, key = self._files.pems
        return grpc.ssl_channel_credentials(authority, key, certificate)

    def server_credentials(self) -> grpc.ServerCredentials:
        """Credentials that demand a certificate of the caller and follow a renewal on disk."""
        taken = None

        def configuration() -> grpc.ServerCertificateConfiguration | None:
            nonlocal taken
            self._refresh()
            if self._files.pems == taken:
                # Nothing new. gRPC replaces its handshakers with every configuration that it is given, and one that
                # another thread uses at that moment is freed under it: many handshakes at once crashed the process.
                return None
            authority, certificate, key = taken = self._files.pems
            return grpc.ssl_server_certificate_configuration([(key, certificate)], authority)

        first = configuration()
        assert first is not None
        return grpc.dynamic_ssl_server_credentials(first, configuration, require_client_authentication=True)

    def sign(self, manifest: Manifest) -> pb.SignedManifest:
        """Sign a manifest, and with it the digest of its payload, end to end: TLS protects one hop only."""
        return self.signed(manifest.to_bytes())

    def signed(self, data: bytes) -> pb.SignedManifest:
        """Sign bytes, with the certificate that :meth:`verify` reads."""
        return pb.SignedManifest(
            manifest=data,
            signature=self.key.sign(data, ec.ECDSA(_HASH)),
            certificate=self.certificate.public_bytes(serialization.Encoding.DER),
        )

    def peer(self, auth_context: Mapping[str, Iterable[bytes]]) -> str:
        """Return the node at the other end of a connection. Raises IdentityError, also for a revoked certificate."""
        name = peer_name(auth_context)
        self._refresh()
        if self._files.revoked:
            for pem in auth_context.get("x509_pem_cert", ()):
                self._require_unrevoked(_read_pem(pem), name)
        return name

    @property
    def signature_bytes(self) -> int:
        """Return the most bytes that :meth:`sign` adds to a manifest; most signatures are a byte or two shorter."""
        certificate = self.certificate.public_bytes(serialization.Encoding.DER)
        signed = pb.SignedManifest(signature=bytes(_SIGNATURE_BYTES), certificate=certificate)
        return signed.ByteSize() + 1  # the message around it may need one more byte for its length

    def verify(self, signed: pb.SignedManifest, source: str) -> None:
        """Raise IdentityError unless `source` itself, certified by our authority, signed these bytes."""
        try:
            certificate = _read_certificate(signed.certificate)
        except _MALFORMED as error:
            raise IdentityError(f"manifest of {source}: no readable certificate") from error
        self._refresh()
        name = certified_name(certificate, self._files.authorities)
        if name != source:
            raise IdentityError(f"manifest of {source} is signed by {name}")
        self._require_unrevoked(certificate, name)
        try:
            key = certificate.public_key()
            assert isinstance(key, ec.EllipticCurvePublicKey)
            key.verify(signed.signature, signed.manifest, ec.ECDSA(_HASH))
        except (InvalidSignature, AssertionError, *_MALFORMED) as error:
            raise IdentityError(f"manifest of {source}: signature does not match") from error

    def _refresh(self) -> None:
        try:
            self._files.refresh()
        except (OSError, IdentityError, *_MALFORMED) as error:  # in the middle of a renewal, or a broken one
            log.warning("%s: kept as it was: %s", self.folder, error)

    def _require_unrevoked(self, certificate: x509.Certificate, name: str) -> None:
        if (certificate.issuer.public_bytes(), certificate.serial_number) in self._files.revoked:
            raise IdentityError(f"the certificate of {name} is revoked")


def certified_name(certificate: x509.Certificate, authorities: Sequence[x509.Certificate]) -> str:
    """The node a certificate names. Raises IdentityError unless an authority of ours issued it and both are valid."""
    now = datetime.datetime.now(datetime.UTC)
    for authority in authorities:
        try:
            uris = _issued_uris(certificate, authority)
        except (InvalidSignature, *_MALFORMED):
            continue
        for checked, text in ((certificate, "certificate"), (authority, "authority")):
            if not checked.not_valid_before_utc <= now <= checked.not_valid_after_utc:
                ended = f"{checked.not_valid_after_utc:%Y-%m-%d}"
                raise IdentityError(f"{text} expired {ended}, or is not valid yet")
        return _name_in(uris)
    raise IdentityError("certificate is not of this mission's authority")


# A satellite seals thousands of bundles with one certificate.
_read_certificate = lru_cache(1024)(x509.load_der_x509_certificate)
_read_pem = lru_cache(1024)(x509.load_pem_x509_certificate)


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
