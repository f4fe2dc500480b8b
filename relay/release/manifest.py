"""The manifest of a release: its files, their sizes and digests, signed where the ground has a certificate.

The bytes that are signed begin with a line that no other message of the wire begins with, so that no signature of
something else passes for one of a release.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from relay.wire import wire_pb2 as pb
from relay.wire.identity import IdentityError, NodeIdentity
from relay.wire.manifest import WireError

_HEADER = b"skysplit release 1\n"


class ReleaseError(WireError):
    """A release, or a part of one, that cannot be used; the message says why."""


@dataclass(frozen=True)
class ReleaseFile:
    """One file.

    Attributes:
        path: Below the release's folder, with slashes.
        size: Bytes.
        sha256: Digest, in hex.
    """

    path: str
    size: int
    _: KW_ONLY
    sha256: str


@dataclass(frozen=True)
class ReleaseManifest:
    """All files of a release, in the order in which their bytes are sent one after the other."""

    files: tuple[ReleaseFile, ...]
    chunk_bytes: int

    def __post_init__(self) -> None:
        if self.chunk_bytes < 1:
            raise ReleaseError(f"chunk_bytes: found {self.chunk_bytes}, allowed: 1 or more")
        seen: set[str] = set()
        for file in self.files:
            path = PurePosixPath(file.path)
            if not file.path or path.is_absolute() or ".." in path.parts or file.path in seen:
                raise ReleaseError(f"files: found {file.path!r}, allowed: different paths below the release")
            if file.size < 0:
                raise ReleaseError(f"files: found {file.size} bytes of {file.path!r}, allowed: 0 or more")
            seen.add(file.path)

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)

    @property
    def chunks(self) -> int:
        """Number of chunks; the last one may be shorter."""
        return -(-self.size // self.chunk_bytes)

    @property
    def release(self) -> str:
        """The name of the release: SHA-256 of its manifest, in hex."""
        return hashlib.sha256(self.to_bytes()).hexdigest()

    def to_bytes(self) -> bytes:
        """The manifest as what is signed: equal manifests are equal bytes."""
        content = {"chunk_bytes": self.chunk_bytes, "files": [vars(file) for file in self.files]}
        return _HEADER + json.dumps(content, sort_keys=True, separators=(",", ":")).encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> ReleaseManifest:
        """Read a manifest. Raises ReleaseError for anything else."""
        if not data.startswith(_HEADER):
            raise ReleaseError("release manifest: not of version 1")
        try:
            content: Mapping[str, Any] = json.loads(data[len(_HEADER) :])
            files = tuple(
                ReleaseFile(str(file["path"]), int(file["size"]), sha256=str(file["sha256"]))
                for file in content["files"]
            )
            return cls(files, int(content["chunk_bytes"]))
        except (ValueError, TypeError, KeyError) as error:
            if isinstance(error, ReleaseError):
                raise
            raise ReleaseError(f"release manifest: cannot be read: {error!r}") from error


def manifest_of(folder: Path, paths: Iterable[str], chunk_bytes: int) -> ReleaseManifest:
    """Return the manifest of these files below a folder, in the order of their paths."""
    files = []
    for path in sorted(paths):
        with (folder / path).open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            files.append(ReleaseFile(path, file.tell(), sha256=digest))
    return ReleaseManifest(tuple(files), chunk_bytes)


def read_chunk(folder: Path, manifest: ReleaseManifest, number: int) -> bytes:
    """Return chunk ``number`` of a release whose files lie below a folder."""
    first = number * manifest.chunk_bytes
    end = min(first + manifest.chunk_bytes, manifest.size)
    if not 0 <= first < end:
        raise ReleaseError(f"chunk: found {number}, allowed: 0 to {manifest.chunks - 1}")
    pieces = []
    for file, begin, until in overlaps(manifest.files, first, end):
        with (folder / file.path).open("rb") as opened:
            opened.seek(begin)
            pieces.append(opened.read(until - begin))
    return b"".join(pieces)


def overlaps(files: Sequence[ReleaseFile], first: int, end: int) -> Iterable[tuple[ReleaseFile, int, int]]:
    """The files that bytes ``[first, end)`` of the release are in, each with the bytes of its own, half-open."""
    offset = 0
    for file in files:
        begin, until = max(first - offset, 0), min(end - offset, file.size)
        if begin < until:
            yield file, begin, until
        offset += file.size


def signed_manifest(manifest: ReleaseManifest, identity: NodeIdentity) -> bytes:
    """Return the manifest with the signature and the certificate of the node that releases it."""
    return identity.signed(manifest.to_bytes()).SerializeToString()


def verified_manifest(data: bytes, identity: NodeIdentity, source: str) -> ReleaseManifest:
    """Return a manifest that ``source`` has signed, as a node of the same authority reads it.

    Raises:
        ReleaseError: It is no manifest.
        IdentityError: Somebody else has signed it, or nobody.
    """
    try:
        signed = pb.SignedManifest.FromString(data)
    except Exception as error:  # protobuf's own, which has no public name
        raise IdentityError(f"release manifest of {source}: not a signed one") from error
    identity.verify(signed, source)
    return ReleaseManifest.from_bytes(signed.manifest)
