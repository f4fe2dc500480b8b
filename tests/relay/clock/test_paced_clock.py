import asyncio
import contextlib
import time

import numpy as np
import pytest

from relay.client.message_link import LinkTimeout
from relay.clock.paced_clock import Activity, PacedClock, TimeAuthority, keep_time
from relay.clock.timed_link import LinkSchedule, Network, Window
from relay.wire.manifest import MessageKind
from relay.wire.wire_pb2 import ClockReport, ClockTime


async def test_a_jump_wakes_who_sleeps_past_it_and_time_never_runs_back():
    clock = PacedClock(100.0)
    sleeper = asyncio.create_task(clock.sleep_until(5000.0))
    await asyncio.sleep(0)
    clock.advance_to(50.0)
    assert 100.0 <= clock.now_s < 1000.0
    clock.advance_to(4000.0)
    for _ in range(10):
        await asyncio.sleep(0)  # whoever was woken runs
    assert not sleeper.done()
    clock.advance_to(6000.0)
    await asyncio.wait_for(sleeper, 60)


class Node:
    """A node as the authority sees it: answers every probe with what it is set to."""

    def __init__(self, **activity):
        self.activity = {"busy": False, "wake_s": np.inf, "changes": 0, **activity}
        self.probes = 0

    async def serve(self, authority, name):
        answers = asyncio.Queue()

        async def reports():
            while True:
                yield await answers.get()

        async for config in authority.serve(name, reports()):
            self.probes += 1
            answers.put_nowait(ClockReport(probe=config.probe, **self.activity))


DAY_S = 86400.0
# Every node sees the ground at 700 s, at 900 s and ten days later, whatever it reports.
PLANNED = tuple(
    Window(start_s, start_s + 50.0, rate_bps=1e8, owlt_s=0.0) for start_s in (700.0, 900.0, 10 * DAY_S)
)


PROBES = 6  # two in a row in which nothing happens let time jump


async def run_authority(nodes, expected=None, during=None, windows=PLANNED):
    """Mission time after some probes, or soon where none begins as somebody has not come."""
    names = tuple(expected or nodes)
    network = Network((*names, "ground"), {(name, "ground"): LinkSchedule(windows) for name in names})
    nodes = {**nodes, "ground": Node()}

    clock = PacedClock()
    authority = TimeAuthority(clock, network)
    tasks = [asyncio.create_task(authority.run())]
    tasks += [asyncio.create_task(node.serve(authority, name)) for name, node in nodes.items()]
    if during:
        tasks.append(asyncio.create_task(during()))
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(60.0 if nodes.keys() >= {*names} else 0.5):
            while any(node.probes < PROBES for node in nodes.values()):
                await asyncio.sleep(0.01)
    for task in tasks:
        task.cancel()
    return clock.now_s


async def test_time_jumps_to_the_first_instant_at_which_anybody_has_something_to_do():
    nodes = {"a": Node(wake_s=700.0), "b": Node(wake_s=700.0), "c": Node()}
    assert 700.0 < await run_authority(nodes) < 760.0


@pytest.mark.parametrize(
    "wake_s", [10 * DAY_S, 900.0, 699.9, 1e9, 1e308, np.nan, -np.inf, -1e308, 5e-324, 699.0]
)
async def test_a_node_that_reports_a_time_at_which_the_plan_opens_no_link_of_its_moves_nobody(wake_s):
    assert await run_authority({"liar": Node(wake_s=wake_s), "b": Node()}) < 60.0


@pytest.mark.parametrize("wake_s", [10 * DAY_S, np.nan, -np.inf])
async def test_a_node_that_lies_does_not_keep_the_others_from_their_windows(wake_s):
    assert 700.0 < await run_authority({"liar": Node(wake_s=wake_s), "b": Node(wake_s=700.0)}) < 760.0


@pytest.mark.parametrize("mission_s", [np.nan, np.inf, -np.inf])
def test_a_clock_does_not_follow_a_time_that_is_no_time(mission_s):
    clock = PacedClock(100.0)
    for standing in (True, False):
        keep_time(clock, ClockTime(mission_s=mission_s, standing=standing))
        assert 100.0 <= clock.now_s < 160.0


async def test_time_does_not_jump_while_one_node_is_busy_or_has_not_come():
    assert await run_authority({"a": Node(wake_s=700.0), "b": Node(busy=True)}) < 60.0
    assert await run_authority({"a": Node(wake_s=700.0)}, expected=["a", "late"]) < 60.0


async def test_time_does_not_jump_when_nobody_waits_for_anything():
    assert await run_authority({"a": Node(), "b": Node()}) < 60.0


async def test_time_does_not_jump_between_two_probes_in_which_something_changed():
    node = Node(wake_s=700.0)

    async def restless():
        while True:
            await asyncio.sleep(0.03)
            node.activity["changes"] += 1

    assert await run_authority({"a": node, "b": Node()}, during=restless) < 60.0


def test_activity_fields_are_those_of_the_report():
    assert set(Activity._fields) == {field.name for field in ClockReport.DESCRIPTOR.fields} - {"probe"}


GAP = (
    Window(0.0, 0.4, rate_bps=1e7, owlt_s=0.002),
    Window(4000.0, 4000.4, rate_bps=1e7, owlt_s=0.002),
    Window(9000.0, 9900.0, rate_bps=1e7, owlt_s=0.002),
)


def test_a_transfer_over_three_windows_hours_apart_takes_only_the_time_that_bytes_move(fleet):
    relays = fleet(fleet.both_ways(("sat-0", "ground"), windows=GAP), time_authority="ground")
    data = np.arange(350_000, dtype="<f4")  # 1.4 MB; a short window carries 0.5 MB
    started = time.monotonic()
    with relays.link("sat-0") as satellite:
        satellite.send(*fleet.tensor(data, "sat-0", "ground"))
    with relays.link("ground") as ground:
        bundle = ground.receive(60)
        arrived_s = relays.clocks["ground"].now_s
    assert np.array_equal(np.frombuffer(bundle.payload, "<f4"), data)
    assert 9000.2 < arrived_s < 9060.0
    assert time.monotonic() - started < 600.0
    assert relays.status("sat-0").links[0].resent_bytes <= 0.1 * data.nbytes


def test_time_stands_at_1x_while_an_application_computes(fleet):
    later = (Window(5000.0, 6000.0, rate_bps=1e8, owlt_s=0.0),)
    relays = fleet(fleet.both_ways(("sat-0", "ground"), windows=later), time_authority="ground")
    with relays.link("sat-0") as satellite, relays.link("ground") as ground:
        satellite.send(*fleet.tensor([1.0], "sat-0", "ground"))
        relays.probes(6)  # the satellite computes, the ground too
        assert relays.clocks["ground"].now_s < 100.0
        with pytest.raises(LinkTimeout):
            ground.receive(0.6)  # the ground waits, but the satellite still computes
        assert relays.clocks["ground"].now_s < 100.0
        satellite.close()
        assert np.frombuffer(ground.receive(60).payload, "<f4").tolist() == [1.0]
        assert relays.clocks["ground"].now_s > 5000.0
        ground.send(*fleet.tensor([2.0], "ground", "sat-0", kind=MessageKind.HIDDEN))


def test_what_is_still_to_come_in_does_not_hold_mission_time_on_an_open_link(fleet):
    """sat-1 always sees the ground, and waits there with half a transfer until sat-0 sees sat-1 again."""
    relays = fleet(
        {**fleet.both_ways(("sat-0", "sat-1"), windows=GAP), **fleet.both_ways(("sat-1", "ground"))},
        time_authority="ground",
    )
    data = np.arange(350_000, dtype="<f4")
    with relays.link("sat-0") as satellite:
        satellite.send(*fleet.tensor(data, "sat-0", "ground"))
    with relays.link("ground") as ground:
        assert np.array_equal(np.frombuffer(ground.receive(60).payload, "<f4"), data)
    assert 9000.2 < relays.clocks["ground"].now_s < 9060.0


def test_who_waits_for_room_does_not_hold_mission_time_either(fleet):
    """Each relay has room for one bundle, and sat-1 sees the ground only an hour later."""
    later = (Window(3600.0, 9000.0, rate_bps=1e8, owlt_s=0.0),)
    relays = fleet(
        {**fleet.both_ways(("sat-0", "sat-1")), **fleet.both_ways(("sat-1", "ground"), windows=later)},
        time_authority="ground",
        quota_bytes=600_000,
        neighbour_quota_bytes=600_000,
    )
    with relays.link("sat-0") as satellite:
        for step in range(
            3
        ):  # one rests on sat-1, one on sat-0, the third finds no room until the hour is over
            satellite.send(*fleet.tensor(np.full(100_000, step), "sat-0", "ground", step=step))
            relays.until("sat-1", lambda status: status.queued_transfers == 1 or status.mission_s > 3600.0)
        assert relays.clocks["ground"].now_s > 3600.0
    with relays.link("ground") as ground:
        for _ in range(3):
            ground.receive(60)
            ground.acknowledge()
    assert relays.clocks["ground"].now_s < 3700.0
