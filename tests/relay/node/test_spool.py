import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.spool.spool import AlreadyDelivered, Quota, QuotaExceeded, Spool
from relay.wire import wire_pb2 as pb
from relay.wire.manifest import (
    Conflict,
    DigestMismatch,
    LimitExceeded,
    Limits,
    Manifest,
    MessageKind,
    OutOfOrder,
)

LIMITS = Limits()


def spool_in(folder, quota_bytes=1 << 20, sender_quota_bytes=1 << 20):
    quota, sender_quota = Quota(quota_bytes, 1000), Quota(sender_quota_bytes, 1000)
    return Spool(folder, quota=quota, sender_quota=sender_quota, limits=LIMITS)


def manifest_of(payload, step=0):
    return Manifest.describe(
        payload,
        run="run",
        kind=MessageKind.FEATURES,
        source="sat-0",
        destination="ground",
        dtype="uint8",
        shape=(len(payload),),
        step=step,
    )


def opened(spool, payload, step=0, via=("sat-0",), **changes):
    manifest = manifest_of(payload, step)
    return spool.open(pb.SignedManifest(manifest=manifest.to_bytes()), manifest, via=via, **changes)


@settings(deadline=None, max_examples=30)
@given(payload=st.binary(min_size=1, max_size=2000), cuts=st.lists(st.integers(0, 2000), max_size=6))
def test_after_any_number_of_kills_the_spool_goes_on_where_the_file_ends(tmp_path_factory, payload, cuts):
    folder = tmp_path_factory.mktemp("spool")
    for cut in [*sorted(cuts), len(payload)]:
        spool = spool_in(folder)  # the one before is simply gone: nothing was closed or flushed
        entry = opened(spool, payload)
        spool.append(entry, entry.end_offset, payload[entry.end_offset : cut])
    assert entry.complete
    spool.verify(entry)
    assert spool.read(entry, 0, len(payload)) == payload


def test_a_restart_finds_manifest_way_and_offset_again(tmp_path):
    entry = opened(spool_in(tmp_path), b"0123456789", via=("sat-0", "sat-1"), base_offset=2)
    again = spool_in(tmp_path).entries[entry.transfer_id]
    assert (again.manifest, again.via, again.base_offset) == (entry.manifest, ("sat-0", "sat-1"), 2)


def test_a_half_written_seal_and_a_part_without_one_are_swept_away(tmp_path):
    (tmp_path / "00.seal.tmp").write_bytes(b"half")
    (tmp_path / "01.part").write_bytes(b"orphan")
    assert spool_in(tmp_path).entries == {}
    assert list(tmp_path.iterdir()) == []


def test_what_was_delivered_is_never_taken_again_not_even_after_a_restart(tmp_path):
    spool = spool_in(tmp_path)
    entry = opened(spool, b"abc")
    spool.append(entry, 0, b"abc")
    spool.verify(entry)
    spool.deliver(entry)
    for each in (spool, spool_in(tmp_path)):
        with pytest.raises(AlreadyDelivered):
            opened(each, b"abc")
        with pytest.raises(Conflict):
            opened(each, b"xyz")


def test_a_torn_record_of_the_delivered_log_costs_only_itself(tmp_path):
    spool = spool_in(tmp_path)
    for step in range(2):
        entry = opened(spool, b"abc", step)
        spool.append(entry, 0, b"abc")
        spool.deliver(entry)
    log = tmp_path / "deliveries.log"
    os.truncate(log, log.stat().st_size - 5)
    spool = spool_in(tmp_path)
    with pytest.raises(AlreadyDelivered):
        opened(spool, b"abc", step=0)
    entry = opened(spool, b"abc", step=1)
    spool.append(entry, 0, b"abc")
    spool.deliver(entry)
    with pytest.raises(AlreadyDelivered):
        opened(spool_in(tmp_path), b"abc", step=1)


def test_the_same_id_with_other_contents_is_a_conflict(tmp_path):
    spool = spool_in(tmp_path)
    opened(spool, b"abc")
    with pytest.raises(Conflict):
        opened(spool, b"xyz")


def test_room_is_promised_at_opening_so_that_an_accepted_transfer_always_fits(tmp_path):
    spool = spool_in(tmp_path, quota_bytes=250, sender_quota_bytes=150)
    opened(spool, bytes(100), step=0)
    with pytest.raises(QuotaExceeded):
        opened(spool, bytes(100), step=1)
    opened(spool, bytes(100), step=1, via=("sat-0", "sat-7"))
    with pytest.raises(QuotaExceeded):
        opened(spool, bytes(100), step=2, via=("sat-0", "sat-8"))
    with pytest.raises(LimitExceeded, match="never"):
        opened(spool, bytes(200), step=3)
    assert sum(path.suffix == ".seal" for path in tmp_path.iterdir()) == 2


def test_a_full_disk_is_the_same_error_as_a_full_quota_and_keeps_the_offset(tmp_path, monkeypatch):
    spool = spool_in(tmp_path)
    entry = opened(spool, b"0123456789")
    spool.append(entry, 0, b"012")

    def no_space(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", no_space)
        with pytest.raises(QuotaExceeded, match="No space left"):
            spool.append(entry, 3, b"3456")
    assert entry.end_offset == 3
    spool.append(entry, 3, b"3456789")
    spool.verify(entry)


def test_gaps_are_refused_and_bytes_sent_twice_are_stored_once(tmp_path):
    spool = spool_in(tmp_path)
    entry = opened(spool, b"0123456789")
    with pytest.raises(OutOfOrder):
        spool.append(entry, 1, b"1")
    spool.append(entry, 0, b"01234")
    spool.append(entry, 2, b"23456")
    spool.append(entry, 0, b"0")
    with pytest.raises(OutOfOrder):
        spool.append(entry, 7, b"789x")
    spool.append(entry, 7, b"789")
    spool.verify(entry)


def test_other_bytes_than_announced_start_the_transfer_anew(tmp_path):
    spool = spool_in(tmp_path)
    entry = opened(spool, b"0123456789")
    spool.append(entry, 0, b"0123456780")
    with pytest.raises(DigestMismatch):
        spool.verify(entry)
    assert entry.end_offset == 0
    spool.append(entry, 0, b"0123456789")
    spool.verify(entry)


def test_a_transfer_that_jumped_ahead_over_another_way_drops_what_is_behind(tmp_path):
    spool = spool_in(tmp_path)
    entry = opened(spool, b"0123456789")
    spool.append(entry, 0, b"01")
    ahead = opened(spool, b"0123456789", base_offset=6)
    assert (ahead.base_offset, ahead.end_offset) == (6, 6)
    spool.append(ahead, 6, b"6789")
    assert spool.read(ahead, 7, 100) == b"789"
    with pytest.raises(OutOfOrder, match="past its end"):
        opened(spool_in(tmp_path / "other"), b"abc", base_offset=4)
