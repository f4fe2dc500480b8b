import numpy as np
import pytest
from astropy.time import Time
from hypothesis import given, settings
from hypothesis import strategies as st

from orbit.contact_plan import CONTACT, ContactPlan, LinkKind, Node
from relay.clock.timed_link import LinkModel, LinkSchedule, Network, NoContact, Window, fastest


def plan_of(*contacts, nodes=("a", "b"), stations=(), horizon_s=1e6):
    everyone = [*nodes, *stations]
    kinds = {
        (False, False): LinkKind.INTRA_ISL,
        (False, True): LinkKind.DOWNLINK,
        (True, False): LinkKind.UPLINK,
    }
    rows = np.zeros(len(contacts), CONTACT)
    for row, (source, target, start_s, end_s, rate_bps, owlt_s) in zip(rows, contacts, strict=True):
        row["source"], row["target"] = everyone.index(source), everyone.index(target)
        row["kind"] = kinds[source in stations, target in stations]
        row["start_s"], row["end_s"], row["rate_bps"], row["owlt_s"] = start_s, end_s, rate_bps, owlt_s
    named = [Node(name, "satellite", 0, slot) for slot, name in enumerate(nodes)]
    named += [Node(name, "station") for name in stations]
    return ContactPlan(Time("2026-01-01"), horizon_s, tuple(named), rows)


@st.composite
def schedules(draw):
    edges = draw(st.lists(st.integers(0, 5000), min_size=2, max_size=16, unique=True).map(sorted))
    pairs = zip(edges[::2], edges[1::2], strict=False)
    windows = [
        Window(float(a), float(b), draw(st.sampled_from([8e3, 1e6, 2.5e7])), draw(st.floats(0, 0.02)))
        for a, b in pairs
    ]
    return LinkSchedule(tuple(windows))


@settings(deadline=None)
@given(schedules(), st.integers(0, 10**7), st.floats(0, 6000))
def test_the_time_of_arrival_is_that_of_the_passage_and_never_where_the_plan_ends_before(
    schedule, size, start
):
    try:
        expected = schedule.transfer_record(size, start).arrival_s
    except NoContact:
        expected = np.inf
    assert schedule.arrival_s(size, start) == pytest.approx(expected, rel=1e-12)


@settings(deadline=None)
@given(schedules(), st.lists(st.tuples(st.integers(0, 10**7), st.floats(0, 6000)), max_size=12))
def test_no_byte_passes_outside_a_window_none_is_lost_and_the_link_is_first_in_first_out(schedule, requests):
    model = LinkModel(Network(("a", "b"), {("a", "b"): schedule}))
    transfer_records = []
    for size_bytes, now_s in requests:
        try:
            transfer_record = model.reserve("a", "b", size_bytes, now_s)
        except NoContact:
            continue
        assert transfer_record.start_s >= now_s
        assert sum(piece.size_bytes for piece in transfer_record.pieces) == pytest.approx(
            size_bytes, abs=1e-3
        )
        for piece in transfer_record.pieces:
            window = next(w for w in schedule.windows if w.start_s <= piece.start_s <= piece.end_s <= w.end_s)
            assert piece.size_bytes * 8 <= window.rate_bps * (piece.end_s - piece.start_s) + 1e-3
        last = next(w for w in reversed(schedule.windows) if w.start_s <= transfer_record.sent_s <= w.end_s)
        assert transfer_record.arrival_s == pytest.approx(transfer_record.sent_s + last.owlt_s, abs=0.02)
        if transfer_records:
            assert transfer_record.start_s >= transfer_records[-1].sent_s
        transfer_records.append(transfer_record)


@settings(deadline=None)
@given(schedules(), st.integers(0, 10**7), st.floats(0, 6000), st.integers(1, 10**6))
def test_more_bytes_or_a_later_start_never_arrive_earlier(schedule, size_bytes, now_s, more):
    def sent_s(size, start):
        try:
            return schedule.transfer_record(size, start).sent_s
        except NoContact:
            return np.inf

    assert sent_s(size_bytes + more, now_s) >= sent_s(size_bytes, now_s)
    assert sent_s(size_bytes, now_s + more / 1e3) >= sent_s(size_bytes, now_s) - 1e-9


def test_nothing_takes_no_time_where_sums_of_bits_round() -> None:
    windows = [Window(2.0 * n, 2.0 * n + 1.0, 8e3, 0.0) for n in range(6)]
    windows += [Window(12.0, 17.0, 2.5e7, 0.0), Window(18.0, 1165.0, 8e3, 0.0)]
    transfer_record = LinkSchedule(tuple(windows)).transfer_record(0, 1164.9035482379213)
    assert transfer_record.start_s == transfer_record.sent_s == 1164.9035482379213


def test_a_payload_waits_for_its_window_and_goes_on_in_the_next():
    schedule = LinkSchedule((Window(10, 20, 8e6, 0.003), Window(100, 200, 4e6, 0.005)))
    transfer_record = schedule.transfer_record(
        12_000_000, 0.0
    )  # 10 MB in the first window, 2 MB in the second
    assert transfer_record.start_s == 10
    assert transfer_record.sent_s == pytest.approx(104.0)
    assert transfer_record.arrival_s == pytest.approx(104.005)
    assert [piece.size_bytes for piece in transfer_record.pieces] == pytest.approx([10e6, 2e6])


def test_a_payload_that_just_fills_a_window_does_not_wait_for_the_next():
    schedule = LinkSchedule((Window(0, 10, 8e6, 0), Window(50, 60, 8e6, 0)))
    assert schedule.transfer_record(10_000_000, 0.0).sent_s == pytest.approx(10.0)
    assert schedule.transfer_record(1, 10.0).start_s == 50


def test_a_plan_that_ends_too_early_is_an_error_and_books_nothing():
    model = LinkModel(Network.from_plan(plan_of(("a", "b", 0, 10, 8e6, 0.0))))
    with pytest.raises(NoContact, match="1 bytes short"):
        model.reserve("a", "b", 10_000_001, 0.0)
    assert model.reserve("a", "b", 10_000_000, 0.0).sent_s == pytest.approx(10.0)
    with pytest.raises(NoContact, match="no contact from b to a"):
        model.reserve("b", "a", 1, 0.0)


def test_pooled_stations_are_one_node_and_the_faster_of_two_overlapping_windows_is_used():
    plan = plan_of(
        ("a", "kiruna", 0, 100, 1e6, 0.002),
        ("a", "svalbard", 50, 150, 2e6, 0.003),
        ("kiruna", "a", 0, 100, 1e6, 0.002),
        nodes=("a",),
        stations=("kiruna", "svalbard"),
    )
    network = Network.from_plan(plan, ground="ground")
    assert network.nodes == ("a", "ground")
    assert network.neighbours("ground") == ("a",)
    assert network.links["a", "ground"].windows == (
        Window(0, 50, 1e6, 0.002),
        Window(50, 150, 2e6, 0.003),
    )


def test_a_network_survives_its_file_and_a_link_of_an_unknown_node_does_not():
    network = Network.from_plan(plan_of(("a", "b", 0, 10, 8e6, 0.001), ("b", "a", 5, 10, 1e6, 0.002)))
    again = Network.from_json(network.to_json())
    assert again.nodes == network.nodes
    windows = {link: schedule.windows for link, schedule in network.links.items()}
    assert {link: schedule.windows for link, schedule in again.links.items()} == windows
    with pytest.raises(ValueError, match="unknown nodes b"):
        Network.from_json(network.to_json().replace('"nodes": ["a", "b"]', '"nodes": ["a"]'))


def test_windows_that_touch_and_agree_become_one():
    assert fastest([Window(0, 5, 1e6, 0), Window(5, 9, 1e6, 0)]) == (Window(0, 9, 1e6, 0),)


@pytest.mark.parametrize(
    "windows",
    [
        (Window(0, 10, 1e6, 0), Window(5, 15, 1e6, 0)),
        (Window(5, 5, 1e6, 0),),
        (Window(0, 5, 0, 0),),
    ],
)
def test_overlapping_empty_or_dead_windows_are_no_schedule(windows):
    with pytest.raises(ValueError, match="disjoint"):
        LinkSchedule(windows)
