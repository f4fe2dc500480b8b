"""What has been delivered is remembered within bounds, and one source's many make nobody else's forgotten."""

import hashlib

import pytest

from relay.spool.deliveries import DeliveryLog


def ids(count, start=0):
    return [hashlib.blake2b(str(n).encode(), digest_size=16).digest() for n in range(start, start + count)]


DIGEST = bytes(16)


def test_one_source_that_sends_very_much_makes_nobody_else_s_deliveries_forgotten(tmp_path):
    log = DeliveryLog(tmp_path, kept_per_source=50, kept=200)
    honest = ids(20, start=10**6)
    for transfer_id in honest:
        log.add(transfer_id, DIGEST, "sat-honest")
    for transfer_id in ids(5000):
        log.add(transfer_id, DIGEST, "sat-hostile")
    assert len(log) == 70
    for reread in (log, DeliveryLog(tmp_path, kept_per_source=50, kept=200)):
        assert all(reread.digest_of(transfer_id) == DIGEST for transfer_id in honest)
        assert all(reread.digest_of(transfer_id) for transfer_id in ids(5000)[-50:])
        assert reread.digest_of(ids(1)[0]) is None
    assert (tmp_path / "deliveries.log").stat().st_size <= 40 * (2 * 70 + 1024 + 1)


def test_the_sources_with_most_give_way_when_all_together_are_too_many(tmp_path):
    log = DeliveryLog(tmp_path, kept_per_source=100, kept=150)
    for source in range(3):
        for transfer_id in ids(100, start=1000 * source):
            log.add(transfer_id, DIGEST, f"sat-{source}")
    assert len(log) == 150
    assert all(sum(map(bool, map(log.digest_of, ids(100, 1000 * source)))) >= 49 for source in range(3))


@pytest.mark.parametrize("cut", [1, 20, 39])
def test_half_a_record_at_the_end_is_cut_off(tmp_path, cut):
    log = DeliveryLog(tmp_path)
    for transfer_id in ids(3):
        log.add(transfer_id, DIGEST, "sat-0")
    path = tmp_path / "deliveries.log"
    path.write_bytes(path.read_bytes()[:-cut])
    log = DeliveryLog(tmp_path)
    assert [log.digest_of(transfer_id) for transfer_id in ids(3)] == [DIGEST, DIGEST, None]


def test_the_log_of_an_older_version_is_taken_over(tmp_path):
    (tmp_path / "delivered.log").write_bytes(
        b"".join(transfer_id + DIGEST for transfer_id in ids(5)) + b"torn"
    )
    for _ in range(2):
        log = DeliveryLog(tmp_path)
        assert all(log.digest_of(transfer_id) == DIGEST for transfer_id in ids(5))
    assert not (tmp_path / "delivered.log").exists()
