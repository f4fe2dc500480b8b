"""A relay's queue on disk: bounded, resumable by offset, and whole again after `kill -9`.

Per transfer there are two files named by its id: `.seal`, written first and renamed into place, says what it
is; `.part` holds its bytes and only ever grows, so that its length *is* the durable offset. (Durable means
handed to the operating system: it outlives the process, not a power cut.) `delivered.log` lists what the
node's own application has taken, which is what makes a delivery happen once.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import xxhash

from relay import wire_pb2 as pb
from relay.wire import (
    DIGEST_BYTES,
    TRANSFER_ID_BYTES,
    Buffer,
    Conflict,
    DigestMismatch,
    LimitExceeded,
    Limits,
    Manifest,
    OutOfOrder,
    WireError,
)


class QuotaExceeded(LimitExceeded):
    """No room for this transfer now; later there may be."""


class AlreadyDelivered(WireError):
    """The transfer has been delivered before; nothing of it is wanted."""


@dataclass(eq=False)
class Entry:
    """A transfer in the spool. Its file holds the bytes from `base_offset` up to `end_offset`."""

    manifest: Manifest
    sealed: pb.SealedManifest
    via: tuple[str, ...]  # the nodes it came by
    base_offset: int
    end_offset: int
    file: int = field(repr=False)
    hash: xxhash.xxh3_128 = field(repr=False)
    verified: bool = False
    delivered_offset: int = 0  # bytes known to be at the destination

    @property
    def sender(self) -> str:
        """The neighbour, or own application, that it comes from; it counts against that one's quota."""
        return self.via[-1]

    @property
    def transfer_id(self) -> bytes:
        """Whose payload it is."""
        return self.manifest.transfer_id

    @property
    def complete(self) -> bool:
        """Whether all bytes are there."""
        return self.end_offset == self.manifest.total_bytes

    @property
    def reserved_bytes(self) -> int:
        """What the entry takes of the spool."""
        return self.manifest.total_bytes - self.base_offset


class Spool:
    """The transfers a node holds. One process owns the folder; all methods are called from one thread."""

    def __init__(self, folder: Path, *, quota_bytes: int, sender_quota_bytes: int, limits: Limits) -> None:
        self.quota_bytes = quota_bytes
        self.sender_quota_bytes = sender_quota_bytes
        self.entries: dict[bytes, Entry] = {}
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o700)
        self._delivered_path = folder / "delivered.log"
        self._delivered = dict(_read_log(self._delivered_path))
        self._recover(limits)

    @property
    def used_bytes(self) -> int:
        """Bytes held or promised."""
        return sum(entry.reserved_bytes for entry in self.entries.values())

    def used_by(self, sender: str) -> int:
        """Bytes that a sender's entries take."""
        return sum(entry.reserved_bytes for entry in self.entries.values() if entry.sender == sender)

    def open(
        self, sealed: pb.SealedManifest, manifest: Manifest, *, via: tuple[str, ...], base_offset: int = 0
    ) -> Entry:
        """Make room for a transfer, or find the one begun earlier.

        Bytes below `base_offset` are at the destination already and will not come. Raises AlreadyDelivered;
        Conflict if the id is in use for other contents; QuotaExceeded before any byte is written;
        LimitExceeded for what can never fit.
        """
        transfer_id, sender = manifest.transfer_id, via[-1]
        known = self._delivered.get(transfer_id)
        entry = self.entries.get(transfer_id)
        if {known, entry and entry.manifest.digest} - {None, manifest.digest}:
            raise Conflict(f"transfer {transfer_id.hex()} from {sender} is known with other contents")
        if known is not None:
            raise AlreadyDelivered(f"transfer {transfer_id.hex()} was delivered before")
        if base_offset > manifest.total_bytes:
            raise OutOfOrder(f"transfer {transfer_id.hex()} from {sender} begins past its end")
        opening = pb.Opening(sealed=sealed, base_offset=base_offset, via=via)
        if entry is not None and base_offset <= entry.end_offset:
            if entry.via != via:  # it goes on over another way
                opening.base_offset, entry.via = entry.base_offset, via
                self._write_seal(transfer_id, opening)
            return entry
        if entry is not None:
            self.remove(transfer_id)  # the bytes between will not come, and are not needed
        need = manifest.total_bytes - base_offset
        if need > min(self.quota_bytes, self.sender_quota_bytes):
            raise LimitExceeded(f"transfer of {need} bytes from {sender}: the spool can never hold it")
        if need + self.used_bytes > self.quota_bytes or need + self.used_by(sender) > self.sender_quota_bytes:
            raise QuotaExceeded(f"transfer of {need} bytes from {sender}: the spool is full for now")
        self._write_seal(transfer_id, opening)
        return self._add(manifest, opening)

    def append(self, entry: Entry, offset: int, payload: Buffer) -> None:
        """Store the next bytes; those that are there already are passed over.

        Raises OutOfOrder for a gap or bytes past the end, QuotaExceeded if the disk itself is full.
        """
        size = memoryview(payload).nbytes
        if offset > entry.end_offset or offset + size > entry.manifest.total_bytes:
            raise OutOfOrder(f"bytes {offset}…{offset + size} where {entry.end_offset} is next")
        fresh = memoryview(payload)[entry.end_offset - offset :]
        try:
            written = os.pwrite(entry.file, fresh, entry.end_offset - entry.base_offset)
        except OSError as error:
            raise QuotaExceeded(f"spool folder: {error.strerror}") from error
        entry.hash.update(fresh[:written])
        entry.end_offset += written
        if written < fresh.nbytes:
            raise QuotaExceeded("spool folder: the disk is full")

    def read(self, entry: Entry, offset: int, size: int) -> bytes:
        """Bytes from an offset of the payload on, at most ``size``."""
        return os.pread(entry.file, min(size, entry.end_offset - offset), offset - entry.base_offset)

    def read_into(self, entry: Entry, offset: int, buffer: memoryview) -> None:
        """Fill a buffer of the caller's, which need not be paid for with every chunk."""
        os.preadv(entry.file, [buffer], offset - entry.base_offset)

    def verify(self, entry: Entry) -> None:
        """Check a complete transfer against its digest; begin it anew and raise DigestMismatch if it differs.

        A transfer whose first bytes went another way cannot be checked here; its destination does.
        """
        if entry.base_offset == 0 and entry.hash.digest() != entry.manifest.digest:
            self._restart(entry)
            raise DigestMismatch(f"transfer {entry.transfer_id.hex()}: not the payload announced")
        entry.verified = True

    def deliver(self, entry: Entry) -> None:
        """Note that the application has this transfer, then forget its bytes."""
        record = entry.transfer_id + entry.manifest.digest
        log = os.open(self._delivered_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            os.write(log, record)
        finally:
            os.close(log)
        self._delivered[entry.transfer_id] = entry.manifest.digest
        self.remove(entry.transfer_id)

    def remove(self, transfer_id: bytes) -> None:
        """Forget a transfer."""
        entry = self.entries.pop(transfer_id)
        os.close(entry.file)
        # The seal first: a part without a seal is swept away by the next start.
        self._path(transfer_id, "seal").unlink(missing_ok=True)
        self._path(transfer_id, "part").unlink(missing_ok=True)

    def close(self) -> None:
        """Close all files; what they hold stays."""
        for entry in self.entries.values():
            os.close(entry.file)
        self.entries.clear()

    def _path(self, transfer_id: bytes, suffix: str) -> Path:
        return self._folder / f"{transfer_id.hex()}.{suffix}"

    def _write_seal(self, transfer_id: bytes, opening: pb.Opening) -> None:
        path = self._path(transfer_id, "seal")
        temporary = path.with_name(path.name + ".tmp")
        try:
            temporary.write_bytes(opening.SerializeToString())
            temporary.replace(path)
        except OSError as error:
            raise QuotaExceeded(f"spool folder: {error.strerror}") from error

    def _restart(self, entry: Entry) -> None:
        os.ftruncate(entry.file, 0)
        entry.end_offset = entry.base_offset
        entry.hash = xxhash.xxh3_128()

    def _add(self, manifest: Manifest, opening: pb.Opening) -> Entry:
        path = self._path(manifest.transfer_id, "part")
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        hash = xxhash.xxh3_128()
        size = os.fstat(file).st_size
        for offset in range(0, size, 1 << 20):
            hash.update(os.pread(file, 1 << 20, offset))
        base_offset = opening.base_offset
        entry = Entry(
            manifest, opening.sealed, tuple(opening.via), base_offset, base_offset + size, file, hash
        )
        self.entries[manifest.transfer_id] = entry
        return entry

    def _recover(self, limits: Limits) -> None:
        """Take up what an earlier process left; what it left half-made is swept away."""
        for path in self._folder.glob("*.seal.tmp"):
            path.unlink()
        for path in self._folder.glob("*.part"):
            if not path.with_suffix(".seal").exists():
                path.unlink()
        for path in sorted(self._folder.glob("*.seal")):
            opening = pb.Opening.FromString(path.read_bytes())
            manifest = Manifest.from_bytes(opening.sealed.manifest, limits)
            entry = self._add(manifest, opening)
            if manifest.transfer_id in self._delivered:  # killed between the log and the sweep
                self.remove(manifest.transfer_id)
            elif entry.complete and entry.base_offset == 0:
                entry.verified = entry.hash.digest() == manifest.digest
                if not entry.verified:
                    self._restart(entry)


def _read_log(path: Path) -> Iterator[tuple[bytes, bytes]]:
    """The records of a delivered log; half a record at its end, from a kill in mid-write, is cut off."""
    if not path.exists():
        return
    data = path.read_bytes()
    record = TRANSFER_ID_BYTES + DIGEST_BYTES
    whole = len(data) // record * record
    if whole < len(data):
        os.truncate(path, whole)
    for start in range(0, whole, record):
        yield data[start : start + TRANSFER_ID_BYTES], data[start + TRANSFER_ID_BYTES : start + record]
