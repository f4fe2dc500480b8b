"""What an application computes takes mission time by its own count, whatever it takes on the wall."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.client.endpoint import RelayEndpoint
from relay.clock.computer import Computer
from relay.clock.paced_clock import PacedClock
from relay.wire.manifest import MessageKind


class Standing(PacedClock):
    """A clock that is set by hand."""

    def __init__(self, now_s):
        super().__init__(now_s)
        self.pause(now_s)


def test_work_begins_when_there_is_something_to_do_and_what_was_begun_before_is_done():
    clock = Standing(100.0)
    computer = Computer(clock)
    computer.begin()
    assert computer.done_s(2.0) == 102.0
    assert computer.computes
    clock.pause(101.0)
    computer.wake()  # a bundle comes while the computer is at work
    assert computer.done_s(2.5) == 102.5
    clock.pause(110.0)
    assert not computer.computes
    computer.wake()
    assert computer.done_s(4.0) == 111.5
    assert computer.done_s(3.0) == 110.5  # of what has been told later than something after it
    computer.begin()  # another process
    assert computer.done_s(1.0) == 112.5


@given(
    st.lists(
        st.tuples(
            st.integers(0, 10), st.lists(st.sampled_from([0.0, 0.25, 1.0, 4.5]), min_size=1, max_size=4)
        ),
        min_size=1,
        max_size=10,
    )
)
def test_work_is_done_in_order_never_before_it_came_and_without_pauses(works):
    """Against a plain queue: each piece begins when it is there and the one before is done."""
    clock, computed_s, free_s, now_s = Standing(0.0), 0.0, -math.inf, 0.0
    computer = Computer(clock)
    for after_s, pieces in works:
        now_s += after_s
        clock.pause(now_s)
        computer.wake()
        for piece_s in pieces:
            computed_s += piece_s
            if piece_s:
                free_s = max(free_s, now_s) + piece_s
            assert computer.done_s(computed_s) == pytest.approx(free_s)


@pytest.mark.parametrize("computed_s", [-1.0, math.nan, math.inf])
def test_what_is_no_time_is_refused(computed_s):
    with pytest.raises(ValueError, match="allowed: 0 or more"):
        Computer(PacedClock()).done_s(computed_s)


def test_what_both_ends_compute_is_late_by_that_much_mission_time(fleet):
    relays = fleet(fleet.both_ways(("sat-0", "ground")))

    async def compute(satellite, manifest, payload):
        reply, values = fleet.tensor([1.0], "ground", satellite, kind=MessageKind.HIDDEN)
        return [(reply, values, endpoint.compute(3.0))]

    endpoint = RelayEndpoint(compute, ["sat-0"], address=relays.addresses["ground"], node="ground")
    with endpoint, relays.link("sat-0") as satellite:
        began_s = satellite.mission_time_s()
        satellite.compute(2.0)
        assert satellite.mission_time_s() >= began_s + 2.0
        satellite.send(*fleet.tensor([1.0], "sat-0", "ground"))
        assert np.frombuffer(satellite.receive(60).payload, "<f4").tolist() == [1.0]
        assert satellite.mission_time_s() - began_s >= 5.0
    ready = relays.status("sat-0")
    assert ready.computes_until_s >= began_s + 2.0
