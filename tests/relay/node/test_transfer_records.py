"""What has passed over the links of a round, as the ground collects it."""

import logging
import time
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

from mission.run_config import GROUND
from orbit.contact_plan import Node
from relay.clock.timed_link import Window
from relay.node.settings import LocalRelay
from relay.wire.frames import bundle_bytes
from relay.wire.manifest import SLOW_CHUNK_BYTES, MessageKind
from server_app.emulated_clock import EmulatedClock
from strategies.problem.workload import Resources

NODES = (
    Node("a-0", "satellite", plane=0, slot=0),
    Node("a-1", "satellite", plane=0, slot=1),
    Node("b-0", "satellite", plane=1, slot=0),
)

SENT = (
    (MessageKind.FEATURES, "a-0", GROUND),
    (MessageKind.HIDDEN, GROUND, "a-0"),
    (MessageKind.AGGREGATE, "a-1", "a-0"),
)


@pytest.fixture
def relays(fleet):
    """Two satellites of a plane, one of another, in a row to the ground."""
    return fleet(fleet.both_ways(("a-0", "a-1"), ("a-1", "b-0"), ("b-0", GROUND)))


def transfer_records(relays, run="run", number=3):
    folder = relays.folder / GROUND
    relay = LocalRelay(
        GROUND, relays.nodes[GROUND].local_address, identity=None, folder=folder, peers=relays.addresses
    )
    plan = SimpleNamespace(nodes=(*NODES, Node("station", "station")))
    flight = EmulatedClock(datetime(2026, 1, 1, tzinfo=UTC), relay, contact_plan=plan, resources=Resources())
    return list(flight.transfer_records(run, number))


def send(relays, tensor, source, destination, kind):
    with relays.link(source) as link, relays.link(destination) as there:
        link.send(*tensor([1.0, 2.0], source, destination, kind=kind, round=3))
        there.receive(60)


def test_every_hop_is_told_by_the_class_of_its_link_and_by_whose_tensor_it_is(relays, fleet):
    for kind, *ends in SENT:
        send(relays, fleet.tensor, *ends, kind)
    expected = {
        ("features", "intra_isl", "a-1", "a-0", "a-0"),
        ("features", "inter_isl", "b-0", "a-1", "a-0"),
        ("features", "downlink", GROUND, "b-0", "a-0"),
        ("hidden", "uplink", GROUND, "b-0", "a-0"),
        ("hidden", "inter_isl", "a-1", "b-0", "a-0"),
        ("hidden", "intra_isl", "a-0", "a-1", "a-0"),
        ("aggregate", "intra_isl", "a-0", "a-1", "a-1"),
    }
    deadline_s = time.monotonic() + 60  # the ground counts as sent what has been acknowledged
    while len(rows := transfer_records(relays)) < len(expected) and time.monotonic() < deadline_s:
        time.sleep(0.02)
    hops = [(row["kind"], row["link"], row["node"], row["peer"], row["satellite"]) for row in rows]
    assert sorted(hops) == sorted(expected)
    assert all(row["round"] == 3 and row["start_s"] <= row["end_s"] for row in rows)
    sent = {kind: fleet.tensor([1.0, 2.0], *ends, kind=kind, round=3)[0] for kind, *ends in SENT}
    sizes = {kind.name.lower(): bundle_bytes(manifest, 1000) for kind, manifest in sent.items()}
    assert all(row["bytes"] == sizes[row["kind"]] > 8 for row in rows)  # with manifest and header
    newest = relays.nodes["a-0"].status().newest_transfers  # in the order in which they ended
    assert [(one.peer, one.kind) for one in newest if not one.sent] == [
        ("a-1", MessageKind.HIDDEN), ("a-1", MessageKind.AGGREGATE),
    ]  # fmt: skip
    assert transfer_records(relays, number=2) == transfer_records(relays, run="another") == []


def test_of_a_relay_that_does_not_answer_nothing_is_recorded_and_the_rest_is(relays, fleet, caplog):
    send(relays, fleet.tensor, "a-0", GROUND, MessageKind.FEATURES)
    before = transfer_records(relays)
    relays.stop("a-1")
    with caplog.at_level(logging.WARNING):
        left = transfer_records(relays)
    assert left == [row for row in before if row["node"] != "a-1"]
    assert len(left) == len(before) - 1
    assert "links of a-1 are not recorded" in caplog.text


def test_what_arrives_is_told_with_its_bytes_so_far_until_it_has_passed(fleet):
    slow = (Window(0.0, 1e5, rate_bps=4e5, owlt_s=0.0),)
    relays = fleet(fleet.both_ways(("a-0", GROUND), windows=slow))
    manifest, payload = fleet.tensor([1.0] * 20_000, "a-0", GROUND, round=3)

    async def status():
        return relays.nodes[GROUND].status()

    with relays.link("a-0") as link, relays.link(GROUND) as there:
        link.send(manifest, payload)
        deadline_s = time.monotonic() + 60
        while not (arriving := relays.run(status()).arriving_transfers) or not arriving[0].arrived_bytes:
            assert time.monotonic() < deadline_s
            time.sleep(0.02)
        [one] = arriving
        assert (one.peer, one.kind, one.round, one.sent) == ("a-0", MessageKind.FEATURES, 3, False)
        assert (
            0 < one.arrived_bytes < len(payload) < one.size_bytes == bundle_bytes(manifest, SLOW_CHUNK_BYTES)
        )
        there.receive(60)
    after = relays.run(status())
    assert not after.arriving_transfers
    assert [(passed.size_bytes, passed.arrived_bytes) for passed in after.newest_transfers] == [
        (one.size_bytes, 0)
    ]
