"""Which transfers a node's own application has taken: the newest of every source, on disk and in memory.

A file of records of 40 bytes: transfer id, digest, and a tag of the source. Each source has room of its own, so that
one that sends very much makes nobody else's transfers forgotten. What is beyond it is forgotten oldest first, and the
file is written anew when half of its records are.
"""

from __future__ import annotations

import hashlib
import os
from collections import OrderedDict
from pathlib import Path

from relay.wire.manifest import DIGEST_BYTES, TRANSFER_ID_BYTES

KEPT_PER_SOURCE = 1 << 13
KEPT = 1 << 17  # in all: 5 MB on disk
_TAG_BYTES = 8
_RECORD_BYTES = TRANSFER_ID_BYTES + DIGEST_BYTES + _TAG_BYTES
_SLACK = 1 << 10  # records that the file may have beyond twice those in force


class DeliveryLog:
    """The deliveries of one spool folder. A record is in the hands of the operating system when `add` returns."""

    def __init__(self, folder: Path, *, kept_per_source: int = KEPT_PER_SOURCE, kept: int = KEPT) -> None:
        self._path = folder / "deliveries.log"
        self._kept_per_source = kept_per_source
        self._kept = kept
        self._digests: OrderedDict[bytes, tuple[bytes, bytes]] = (
            OrderedDict()
        )  # id → digest, tag; oldest first
        self._by_source: dict[bytes, OrderedDict[bytes, None]] = {}  # tag → ids, oldest first
        self._records = 0  # in the file
        before = folder / "delivered.log"  # of an older SkySplit: records without a tag
        if self._path.exists():
            self._read()
        elif before.exists():
            self._take_over(before)

    def __len__(self) -> int:
        return len(self._digests)

    def digest_of(self, transfer_id: bytes) -> bytes | None:
        """Return the digest of what was delivered by this id, or None."""
        known = self._digests.get(transfer_id)
        return known[0] if known else None

    def add(self, transfer_id: bytes, digest: bytes, source: str) -> None:
        """Note a delivery."""
        tag = hashlib.blake2b(source.encode(), digest_size=_TAG_BYTES).digest()
        file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            os.write(file, transfer_id + digest + tag)
        finally:
            os.close(file)
        self._records += 1
        self._remember(transfer_id, digest, tag)
        if self._records > 2 * len(self._digests) + _SLACK:
            self._rewrite()

    def _remember(self, transfer_id: bytes, digest: bytes, tag: bytes) -> None:
        self._forget(transfer_id)
        self._digests[transfer_id] = digest, tag
        of_source = self._by_source.setdefault(tag, OrderedDict())
        of_source[transfer_id] = None
        if len(of_source) > self._kept_per_source:
            self._forget(next(iter(of_source)))
        elif len(self._digests) > self._kept:
            fullest = max(self._by_source.values(), key=len)
            self._forget(next(iter(fullest)))

    def _forget(self, transfer_id: bytes) -> None:
        known = self._digests.pop(transfer_id, None)
        if known is not None:
            of_source = self._by_source[known[1]]
            del of_source[transfer_id]
            if not of_source:
                del self._by_source[known[1]]

    def _read(self) -> None:
        """Read the file; half a record at its end, from a kill in mid-write, is cut off."""
        data = self._path.read_bytes()
        whole = len(data) // _RECORD_BYTES * _RECORD_BYTES
        if whole < len(data):
            os.truncate(self._path, whole)
        for start in range(0, whole, _RECORD_BYTES):
            record = data[start : start + _RECORD_BYTES]
            tag_at = TRANSFER_ID_BYTES + DIGEST_BYTES
            self._remember(record[:TRANSFER_ID_BYTES], record[TRANSFER_ID_BYTES:tag_at], record[tag_at:])
        self._records = whole // _RECORD_BYTES

    def _take_over(self, before: Path) -> None:
        data = before.read_bytes()
        size = TRANSFER_ID_BYTES + DIGEST_BYTES
        for start in range(0, len(data) - size + 1, size):
            record = data[start : start + size]
            self._remember(record[:TRANSFER_ID_BYTES], record[TRANSFER_ID_BYTES:], bytes(_TAG_BYTES))
        self._rewrite()
        before.unlink()

    def _rewrite(self) -> None:
        temporary = self._path.with_name(self._path.name + ".tmp")
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            for transfer_id, (digest, tag) in self._digests.items():
                file.write(transfer_id + digest + tag)
        temporary.replace(self._path)
        self._records = len(self._digests)
