import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.clock.timed_link import LinkSchedule, Network, Window, fastest


@st.composite
def schedules(draw):
    edges = draw(st.lists(st.integers(0, 5000), min_size=2, max_size=16, unique=True).map(sorted))
    pairs = zip(edges[::2], edges[1::2], strict=False)
    windows = [
        Window(
            float(a),
            float(b),
            rate_bps=draw(st.sampled_from([8e3, 1e6, 2.5e7])),
            owlt_s=draw(st.floats(0, 0.02)),
        )
        for a, b in pairs
    ]
    return LinkSchedule(tuple(windows))


def sent_through(windows, size_bytes, now_s):
    """When the last bit is there, counted window by window."""
    bits = 8.0 * size_bytes
    for window in windows:
        start_s = max(now_s, window.start_s)
        room = (window.end_s - start_s) * window.rate_bps
        if start_s < window.end_s and bits <= room * (1 + 1e-12):
            return start_s + bits / window.rate_bps + window.owlt_s
        bits -= max(room, 0.0)
    return np.inf


@settings(deadline=None)
@given(schedules(), st.integers(0, 10**7), st.floats(0, 6000))
def test_a_payload_arrives_when_its_last_bit_has_found_room_in_a_window(schedule, size_bytes, now_s):
    expected_s = sent_through(schedule.windows, size_bytes, now_s)
    assert schedule.arrival_s(size_bytes, now_s) == pytest.approx(expected_s, rel=1e-9, abs=1e-6)


@settings(deadline=None)
@given(schedules(), st.integers(0, 10**7), st.floats(0, 6000), st.integers(1, 10**6))
def test_more_bytes_never_arrive_earlier_and_a_later_start_never_sends_earlier(
    schedule, size_bytes, now_s, more
):
    light_s = max(window.owlt_s for window in schedule.windows)  # of another window, perhaps
    assert schedule.arrival_s(size_bytes + more, now_s) >= schedule.arrival_s(size_bytes, now_s) - light_s
    later_s = schedule.arrival_s(size_bytes, now_s + more / 1e3)
    assert later_s >= schedule.arrival_s(size_bytes, now_s) - light_s - 1e-9


def test_nothing_takes_no_time_where_sums_of_bits_round() -> None:
    windows = [Window(2.0 * n, 2.0 * n + 1.0, rate_bps=8e3, owlt_s=0.0) for n in range(6)]
    windows += [
        Window(12.0, 17.0, rate_bps=2.5e7, owlt_s=0.0),
        Window(18.0, 1165.0, rate_bps=8e3, owlt_s=0.0),
    ]
    assert LinkSchedule(tuple(windows)).arrival_s(0, 1164.9035482379213) == 1164.9035482379213


def test_a_payload_waits_for_its_window_and_goes_on_in_the_next():
    schedule = LinkSchedule(
        (Window(10, 20, rate_bps=8e6, owlt_s=0.003), Window(100, 200, rate_bps=4e6, owlt_s=0.005))
    )
    # 10 MB in the first window, 2 MB in the second.
    assert schedule.arrival_s(12_000_000, 0.0) == pytest.approx(104.005)


def test_a_payload_that_just_fills_a_window_does_not_wait_for_the_next_and_one_byte_more_does():
    schedule = LinkSchedule((Window(0, 10, rate_bps=8e6, owlt_s=0), Window(50, 60, rate_bps=8e6, owlt_s=0)))
    assert schedule.arrival_s(10_000_000, 0.0) == pytest.approx(10.0)
    assert schedule.arrival_s(10_000_001, 0.0) == pytest.approx(50.000001)
    assert schedule.arrival_s(20_000_001, 0.0) == np.inf


def test_of_overlapping_windows_the_fastest_is_used():
    windows = fastest(
        [Window(0, 100, rate_bps=1e6, owlt_s=0.002), Window(50, 150, rate_bps=2e6, owlt_s=0.003)]
    )
    assert windows == (Window(0, 50, rate_bps=1e6, owlt_s=0.002), Window(50, 150, rate_bps=2e6, owlt_s=0.003))


def test_a_network_survives_its_file_and_a_link_of_an_unknown_node_does_not():
    links = {
        ("a", "b"): LinkSchedule((Window(0, 10, rate_bps=8e6, owlt_s=0.001),)),
        ("b", "a"): LinkSchedule((Window(5, 10, rate_bps=1e6, owlt_s=0.002),)),
    }
    network = Network(("a", "b"), links)
    again = Network.from_json(network.to_json())
    assert again.nodes == network.nodes
    assert network.neighbours("a") == ("b",)
    windows = {link: schedule.windows for link, schedule in network.links.items()}
    assert {link: schedule.windows for link, schedule in again.links.items()} == windows
    with pytest.raises(ValueError, match="unknown nodes b"):
        Network.from_json(network.to_json().replace('"nodes": ["a", "b"]', '"nodes": ["a"]'))


def test_windows_that_touch_and_agree_become_one():
    assert fastest([Window(0, 5, rate_bps=1e6, owlt_s=0), Window(5, 9, rate_bps=1e6, owlt_s=0)]) == (
        Window(0, 9, rate_bps=1e6, owlt_s=0),
    )


@pytest.mark.parametrize(
    "windows",
    [
        (Window(0, 10, rate_bps=1e6, owlt_s=0), Window(5, 15, rate_bps=1e6, owlt_s=0)),
        (Window(5, 5, rate_bps=1e6, owlt_s=0),),
        (Window(0, 5, rate_bps=0, owlt_s=0),),
    ],
)
def test_overlapping_empty_or_dead_windows_are_no_schedule(windows):
    with pytest.raises(ValueError, match="disjoint"):
        LinkSchedule(windows)
