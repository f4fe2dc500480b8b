"""What has passed over a node's links, and when: measured in mission time, to be laid beside what was planned."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterator, Mapping

from relay.clock.paced_clock import PacedClock
from relay.spool.spool import Entry
from relay.wire import wire_pb2 as pb
from relay.wire.frames import bundle_bytes
from relay.wire.manifest import SLOW_CHUNK_BYTES

KEPT = 1 << 16  # the newest


class TransferLog:
    """The newest transfer records of one node; what its own application sends and fetches passes over no link."""

    def __init__(self, clock: PacedClock) -> None:
        self._clock = clock
        self._arriving_s: dict[bytes, float] = {}  # when each transfer in the spool began to come
        self._arrived: set[bytes] = set()  # of these
        self._transfer_records: deque[pb.TransferRecord] = deque(maxlen=KEPT)

    def arrives(self, entry: Entry) -> None:
        """More of a transfer has come from a neighbour; with the last of it, it has passed."""
        start_s = self._arriving_s.setdefault(entry.transfer_id, self._clock.now_s)
        if entry.verified and entry.transfer_id not in self._arrived:
            self._arrived.add(entry.transfer_id)
            self._add(entry, entry.sender, start_s, sent=False)

    def sent(self, entry: Entry, peer: str, start_s: float) -> None:
        """A neighbour has all of a transfer that was begun at this mission time."""
        self._add(entry, peer, start_s, sent=True)

    def dropped(self, transfer_id: bytes) -> None:
        """A transfer has left the spool."""
        self._arriving_s.pop(transfer_id, None)
        self._arrived.discard(transfer_id)

    def of_round(self, run: str, number: int) -> Iterator[pb.TransferRecord]:
        """Those of a round, in the order in which they ended."""
        for transfer_record in tuple(self._transfer_records):
            if transfer_record.run == run and transfer_record.round == number:
                yield transfer_record

    def newest(self, count: int) -> list[pb.TransferRecord]:
        """The last so many of all rounds, in the order in which they ended."""
        return list(itertools.islice(reversed(self._transfer_records), count))[::-1]

    def arriving(self, entries: Mapping[bytes, Entry], count: int) -> list[pb.TransferRecord]:
        """Those that have begun to come from neighbours and are not here yet, the last so many, by their beginning."""
        begun = [
            (entries[transfer_id], start_s)
            for transfer_id, start_s in self._arriving_s.items()
            if transfer_id in entries and transfer_id not in self._arrived
        ]
        return [self._record(entry, entry.sender, start_s, sent=False) for entry, start_s in begun[-count:]]

    def _add(self, entry: Entry, peer: str, start_s: float, *, sent: bool) -> None:
        self._transfer_records.append(self._record(entry, peer, start_s, sent=sent))

    def _record(self, entry: Entry, peer: str, start_s: float, *, sent: bool) -> pb.TransferRecord:
        manifest = entry.manifest
        signature_bytes = (
            entry.signed.ByteSize() - pb.SignedManifest(manifest=entry.signed.manifest).ByteSize()
        )
        return pb.TransferRecord(
            run=manifest.run,
            round=manifest.round,
            step=manifest.step,
            micro_batch=manifest.micro_batch,
            kind=manifest.kind.value,
            source=manifest.source,
            destination=manifest.destination,
            peer=peer,
            sent=sent,
            size_bytes=bundle_bytes(manifest, SLOW_CHUNK_BYTES, signature_bytes=signature_bytes)
            - entry.base_offset,
            start_s=start_s,
            end_s=max(start_s, self._clock.now_s),  # a clock that begins to stand may go a moment back
            arrived_bytes=0 if entry.complete else entry.end_offset - entry.base_offset,
        )
