"""A relay's queue on disk: bounded, resumable by offset, and whole again after `kill -9`.

Per transfer there are two files named by its id: `.seal`, written first and renamed into place, says what it
is; `.part` holds its bytes and only ever grows, so that its length *is* the durable offset. (Durable means
handed to the operating system: it outlives the process, not a power cut.) What the node's own application has taken
is in a `DeliveryLog`, which is what makes a delivery happen once.

Everything a sender can make grow has a limit, per sender and in all: bytes held or promised, transfers, open files.
"""

from __future__ import annotations

import math
import os
import time
from collections import Counter, OrderedDict
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path

import xxhash

from relay.spool.deliveries import DeliveryLog
from relay.wire import wire_pb2 as pb
from relay.wire.manifest import (
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


class Contested(QuotaExceeded):
    """Bytes of two neighbours have been mixed in this transfer before; now one of them sends it alone."""


class AlreadyDelivered(WireError):
    """The transfer has been delivered before; nothing of it is wanted."""


OPEN_FILES = 64
REMEMBERED = 4096  # transfers whose bytes were found wrong
CONTEST_S = 10.0  # wall time for which a neighbour that sends nothing may hold a contested transfer


@dataclass(frozen=True)
class Quota:
    """The most that a spool holds, bytes promised included."""

    size_bytes: int
    transfers: int


@dataclass(eq=False)
class Entry:
    """A transfer in the spool. Its file holds the bytes from `base_offset` up to `end_offset`."""

    manifest: Manifest
    signed: pb.SignedManifest
    _: KW_ONLY
    via: tuple[str, ...]  # the nodes it came by
    base_offset: int
    end_offset: int
    hash: xxhash.xxh3_128 = field(repr=False)
    verified: bool = False
    delivered_offset: int = 0  # bytes known to be at the destination
    ready_s: float = -math.inf  # mission time at which the node's own application has computed it
    on_data_s: float = field(default_factory=time.monotonic, repr=False)  # wall time of its newest bytes
    writers: set[str] = field(default_factory=set, repr=False)  # neighbours whose bytes it holds

    @property
    def sender(self) -> str:
        """The neighbour, or own application, that it comes from; it counts against that one's quota."""
        return self.via[-1]

    @property
    def transfer_id(self) -> bytes:
        """Return the identifier of the transfer."""
        return self.manifest.transfer_id

    @property
    def complete(self) -> bool:
        """Whether all bytes are there."""
        return self.end_offset == self.manifest.total_bytes

    @property
    def reserved_bytes(self) -> int:
        """Return the bytes that the entry takes of the spool."""
        return self.manifest.total_bytes - self.base_offset


class Spool:
    """The transfers a node holds. One process owns the folder; all methods are called from one thread."""

    def __init__(self, folder: Path, *, quota: Quota, sender_quota: Quota, limits: Limits) -> None:
        self.quota = quota
        self.sender_quota = sender_quota
        self.entries: dict[bytes, Entry] = {}
        self._folder = folder
        self._bytes: Counter[str] = Counter()  # held or promised, by sender
        self._transfers: Counter[str] = Counter()
        self._files: OrderedDict[bytes, int] = OrderedDict()  # the most recently used last
        self._contested: OrderedDict[bytes, set[str]] = OrderedDict()  # transfer → who alone sent wrong bytes
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o700)
        self._delivered = DeliveryLog(folder)
        self._recover(limits)

    @property
    def used_bytes(self) -> int:
        """Bytes held or promised."""
        return self._bytes.total()

    @property
    def crowded(self) -> bool:
        """Whether more than half of the room is taken, so that promises nobody keeps are in the way."""
        return 2 * self.used_bytes > self.quota.size_bytes or 2 * len(self.entries) > self.quota.transfers

    def used_by(self, sender: str) -> int:
        """Bytes that a sender's entries take."""
        return self._bytes[sender]

    def open(
        self, signed: pb.SignedManifest, manifest: Manifest, *, via: tuple[str, ...], base_offset: int = 0
    ) -> Entry:
        """Make room for a transfer, or find the one begun earlier.

        Bytes below `base_offset` are at the destination already and will not come. Raises AlreadyDelivered;
        Conflict if the id is in use for other contents; QuotaExceeded before any byte is written;
        LimitExceeded for what can never fit.
        """
        transfer_id, sender = manifest.transfer_id, via[-1]
        known = self._delivered.digest_of(transfer_id)
        entry = self.entries.get(transfer_id)
        if {known, entry and entry.manifest.digest} - {None, manifest.digest}:
            raise Conflict(f"transfer {transfer_id.hex()} from {sender} is known with other contents")
        if known is not None:
            raise AlreadyDelivered(f"transfer {transfer_id.hex()} was delivered before")
        if base_offset > manifest.total_bytes:
            raise OutOfOrder(f"transfer {transfer_id.hex()} from {sender} begins past its end")
        if sender in self._contested.get(transfer_id, ()):
            raise DigestMismatch(f"transfer {transfer_id.hex()} from {sender} was not the payload announced")
        if entry is not None and not self.may_write(entry, sender):
            raise Contested(f"transfer {transfer_id.hex()} is coming from {entry.sender} now")
        transfer_header = pb.TransferHeader(signed=signed, base_offset=base_offset, via=via)
        if entry is not None and base_offset <= entry.end_offset:
            if entry.via != via:  # it goes on over another way
                transfer_header.base_offset = entry.base_offset
                self._write_seal(transfer_id, transfer_header)
                self._count(entry, -1)
                entry.via = via
                self._count(entry, +1)
            return entry
        if entry is not None:
            self.remove(transfer_id)  # the bytes between will not come, and are not needed
        need = manifest.total_bytes - base_offset
        if need > min(self.quota.size_bytes, self.sender_quota.size_bytes):
            raise LimitExceeded(f"transfer of {need} bytes from {sender}: the spool can never hold it")
        for quota, size_bytes, transfers in (
            (self.quota, self.used_bytes, len(self.entries)),
            (self.sender_quota, self.used_by(sender), self._transfers[sender]),
        ):
            if size_bytes + need > quota.size_bytes or transfers >= quota.transfers:
                raise QuotaExceeded(f"transfer of {need} bytes from {sender}: the spool is full for now")
        self._write_seal(transfer_id, transfer_header)
        return self._add(manifest, transfer_header)

    def may_write(self, entry: Entry, sender: str) -> bool:
        """Whether this sender's bytes are wanted: of a contested transfer, one neighbour's at a time only."""
        if entry.transfer_id not in self._contested or sender == entry.sender:
            return True
        return time.monotonic() - entry.on_data_s > CONTEST_S

    def append(self, entry: Entry, offset: int, payload: Buffer, sender: str = "") -> None:
        """Store the next bytes; those that are there already are passed over.

        Raises OutOfOrder for a gap or bytes past the end, QuotaExceeded if the disk itself is full.
        """
        size = memoryview(payload).nbytes
        if offset > entry.end_offset or offset + size > entry.manifest.total_bytes:
            raise OutOfOrder(f"bytes {offset}…{offset + size} where {entry.end_offset} is next")
        fresh = memoryview(payload)[entry.end_offset - offset :]
        try:
            written = os.pwrite(self._file(entry), fresh, entry.end_offset - entry.base_offset)
        except OSError as error:
            raise QuotaExceeded(f"spool folder: {error.strerror}") from error
        if written:
            entry.hash.update(fresh[:written])
            entry.end_offset += written
            entry.on_data_s = time.monotonic()
            entry.writers.add(sender or entry.sender)
        if written < fresh.nbytes:
            raise QuotaExceeded("spool folder: the disk is full")

    def read(self, entry: Entry, offset: int, size: int) -> bytes:
        """Bytes from an offset of the payload on, at most ``size``."""
        size = min(size, entry.end_offset - offset)
        return os.pread(self._file(entry), size, offset - entry.base_offset) if size > 0 else b""

    def read_into(self, entry: Entry, offset: int, buffer: memoryview) -> None:
        """Fill a buffer of the caller's, which need not be paid for with every chunk."""
        os.preadv(self._file(entry), [buffer], offset - entry.base_offset)

    def verify(self, entry: Entry) -> None:
        """Check a complete transfer against its digest; begin it anew and raise DigestMismatch if it differs.

        A transfer whose first bytes went another way cannot be checked here; its destination does. Where bytes of
        several neighbours were mixed it is not known whose were wrong: Contested is raised, and from then on one of
        them at a time may send it, until each has been judged by its own bytes.
        """
        if entry.base_offset == 0 and entry.hash.digest() != entry.manifest.digest:
            guilty = self._contested.setdefault(entry.transfer_id, set())
            while len(self._contested) > REMEMBERED:
                self._contested.popitem(last=False)
            mixed = len(entry.writers) > 1
            if not mixed:
                guilty |= entry.writers - {entry.manifest.source}
            self._restart(entry)
            text = f"transfer {entry.transfer_id.hex()}: not the payload announced"
            raise Contested(text) if mixed else DigestMismatch(text)
        self._contested.pop(entry.transfer_id, None)
        entry.verified = True

    def deliver(self, entry: Entry) -> None:
        """Note that the application has this transfer, then forget its bytes."""
        self._delivered.add(entry.transfer_id, entry.manifest.digest, entry.manifest.source)
        self.remove(entry.transfer_id)

    def remove(self, transfer_id: bytes) -> None:
        """Forget a transfer."""
        entry = self.entries.pop(transfer_id)
        self._count(entry, -1)
        self._close(transfer_id)
        # The seal first: a part without a seal is swept away by the next start.
        self._path(transfer_id, "seal").unlink(missing_ok=True)
        self._path(transfer_id, "part").unlink(missing_ok=True)

    def close(self) -> None:
        """Close all files; what they hold stays."""
        for transfer_id in list(self._files):
            self._close(transfer_id)
        self.entries.clear()

    def _path(self, transfer_id: bytes, suffix: str) -> Path:
        return self._folder / f"{transfer_id.hex()}.{suffix}"

    def _file(self, entry: Entry, *, create: bool = False) -> int:
        """Return the descriptor of an entry's bytes; the least recently used one beyond `OPEN_FILES` is closed."""
        file = self._files.pop(entry.transfer_id, None)
        if file is None:
            if len(self._files) >= OPEN_FILES:
                os.close(self._files.popitem(last=False)[1])
            try:
                flags = os.O_RDWR | (os.O_CREAT if create else 0)
                file = os.open(self._path(entry.transfer_id, "part"), flags, 0o600)
            except OSError as error:
                raise QuotaExceeded(f"spool folder: {error.strerror}") from error
        self._files[entry.transfer_id] = file
        return file

    def _close(self, transfer_id: bytes) -> None:
        file = self._files.pop(transfer_id, None)
        if file is not None:
            os.close(file)

    def _count(self, entry: Entry, sign: int) -> None:
        for counter, amount in ((self._bytes, entry.reserved_bytes), (self._transfers, 1)):
            counter[entry.sender] += sign * amount
            if not counter[entry.sender]:
                del counter[entry.sender]

    def _write_seal(self, transfer_id: bytes, transfer_header: pb.TransferHeader) -> None:
        path = self._path(transfer_id, "seal")
        temporary = path.with_name(path.name + ".tmp")
        try:
            temporary.write_bytes(transfer_header.SerializeToString())
            temporary.replace(path)
        except OSError as error:
            raise QuotaExceeded(f"spool folder: {error.strerror}") from error

    def _restart(self, entry: Entry) -> None:
        os.ftruncate(self._file(entry), 0)
        entry.end_offset = entry.base_offset
        entry.hash = xxhash.xxh3_128()
        entry.writers.clear()

    def _add(self, manifest: Manifest, transfer_header: pb.TransferHeader) -> Entry:
        base_offset, hash = transfer_header.base_offset, xxhash.xxh3_128()
        entry = Entry(
            manifest,
            transfer_header.signed,
            via=tuple(transfer_header.via),
            base_offset=base_offset,
            end_offset=base_offset,
            hash=hash,
        )
        file = self._file(entry, create=True)
        size = os.fstat(file).st_size
        for offset in range(0, size, 1 << 20):
            hash.update(os.pread(file, 1 << 20, offset))
        entry.end_offset += size
        if size:
            entry.writers.add(entry.sender)
        self.entries[manifest.transfer_id] = entry
        self._count(entry, +1)
        return entry

    def _recover(self, limits: Limits) -> None:
        """Take up what an earlier process left; what it left half-made is swept away."""
        for path in self._folder.glob("*.seal.tmp"):
            path.unlink()
        for path in self._folder.glob("*.part"):
            if not path.with_suffix(".seal").exists():
                path.unlink()
        for path in sorted(self._folder.glob("*.seal")):
            transfer_header = pb.TransferHeader.FromString(path.read_bytes())
            manifest = Manifest.from_bytes(transfer_header.signed.manifest, limits)
            entry = self._add(manifest, transfer_header)
            if (
                self._delivered.digest_of(manifest.transfer_id) is not None
            ):  # killed between the log and the sweep
                self.remove(manifest.transfer_id)
            elif entry.complete and entry.base_offset == 0:
                entry.verified = entry.hash.digest() == manifest.digest
                if not entry.verified:
                    self._restart(entry)
