"""A round begins: another contact plan is in force, and mission time waits for everybody."""

import asyncio
import contextlib
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from relay.client.control import enrol, start_round, status
from relay.client.endpoint import RelayEndpoint
from relay.client.message_link import LinkRefused
from relay.clock.paced_clock import Activity, PacedClock, RoundStart, TimeAuthority
from relay.clock.timed_link import LinkSchedule, Network, Window
from relay.node.outgoing import OutgoingLink
from relay.wire import wire_pb2 as pb
from relay.wire.manifest import MessageKind

PRE_LAUNCH = (Window(-1000.0, 0.0, rate_bps=1e9, owlt_s=0.0),)
NODES = ("ground", "sat-0", "sat-1")
UPLINK, PASS = (
    Window(500.0, 900.0, rate_bps=1e8, owlt_s=0.0),
    Window(2500.0, 2900.0, rate_bps=1e8, owlt_s=0.0),
)
ROUND = Network(
    NODES,
    {
        link: LinkSchedule((window,))
        for pair, window in ((("sat-0", "ground"), UPLINK), (("sat-1", "ground"), PASS))
        for link in (pair, pair[::-1])
    },
)


async def acknowledging(satellite, manifest, payload):
    reply = manifest.describe(
        b"",
        run=manifest.run,
        kind=MessageKind.HIDDEN,
        source="ground",
        destination=satellite,
        dtype="uint8",
        shape=(0,),
        round=manifest.round,
        step=manifest.step,
    )
    return [(reply, b"")]


@pytest.fixture
def relays(fleet):
    return fleet(
        fleet.both_ways(("ground", "sat-0"), ("ground", "sat-1"), windows=PRE_LAUNCH),
        time_authority="ground",
        clocks={name: PacedClock(-1000.0) for name in NODES},
    )


@contextlib.contextmanager
def waiting(link):
    """An application that waits for what does not come."""
    with link:
        link._tell(waiting=True)
        yield


def fly(relays, fleet, link, name, step):
    link.send(*fleet.tensor([1.0], name, "ground", step=step))
    link.receive(60)
    return link.mission_time_s()


def test_a_round_begins_when_all_have_come_and_follows_its_own_network(fleet, relays):
    with RelayEndpoint(acknowledging, NODES[1:], address=relays.addresses["ground"], node="ground"):
        with (
            relays.link("sat-0") as first,
            relays.link("sat-1") as second,
        ):  # on the pre-launch network, before round start
            assert max(fly(relays, fleet, first, "sat-0", 0), fly(relays, fleet, second, "sat-1", 0)) < -900.0
        start_round(relays.nodes["ground"].local_address, "ground", ROUND, start_s=100.0)
        with relays.link("sat-0") as first:
            first.send(*fleet.tensor([1.0], "sat-0", "ground", step=1))
            relays.probes(5)
            assert first.mission_time_s() == 100.0  # sat-1 has not come
            with relays.link("sat-1") as second, ThreadPoolExecutor() as beside:
                later = beside.submit(fly, relays, fleet, second, "sat-1", 1)
                first.receive(60)
                assert 500.0 <= first.mission_time_s() < 560.0
                first.close()
                assert 2500.0 <= later.result(60) < 2560.0
        relays.until("ground", lambda _: relays.clocks["ground"].standing)
        stood_s = relays.status("ground").mission_s
        relays.probes(3)
        for name in NODES:
            relays.until(name, lambda now: now.mission_s == stood_s)
        assert 2500.0 <= stood_s < 2560.0


def test_the_ground_may_restart_and_begin_the_round_again(fleet, relays):
    with RelayEndpoint(acknowledging, NODES[1:], address=relays.addresses["ground"], node="ground"):
        start_round(relays.nodes["ground"].local_address, "ground", ROUND, start_s=100.0)
        with relays.link("sat-1") as second:
            second.send(*fleet.tensor([1.0], "sat-1", "ground", step=1))
            with ThreadPoolExecutor() as beside:
                answered = beside.submit(second.receive, 60)
                with waiting(relays.link("sat-0")):
                    relays.until("sat-1", lambda now: now.mission_s > 100.0)
                relays.stop("ground")
                relays.clocks["ground"] = PacedClock(-1000.0)
                relays.start("ground")
                start_round(relays.nodes["ground"].local_address, "ground", ROUND, start_s=110.0)
                with waiting(relays.link("sat-0")):
                    relays.until("ground", lambda _: not relays.clocks["ground"].standing)
                answered.result(60)
            assert 2500.0 <= second.mission_time_s() < 2600.0


def test_a_ground_that_begins_anew_waits_for_nobody_of_a_round_that_died_with_the_last_one(fleet, relays):
    authority = relays.nodes["ground"].local_address, "ground"
    with RelayEndpoint(acknowledging, NODES[1:], address=relays.addresses["ground"], node="ground"):
        start_round(*authority, ROUND, start_s=100.0)  # to which nobody comes
        for name in NODES:
            relays.until(name, lambda now: now.mission_s == 100.0)
    with RelayEndpoint(acknowledging, NODES[1:], address=relays.addresses["ground"], node="ground"):
        enrol(*authority)
        with relays.link("sat-0") as first:
            assert 500.0 <= fly(relays, fleet, first, "sat-0", 0) < 560.0
        start_round(*authority, ROUND, start_s=700.0)
        with relays.link("sat-0") as first:
            first.send(*fleet.tensor([1.0], "sat-0", "ground", step=1))
            relays.probes(5)
            assert first.mission_time_s() == 700.0  # sat-1 has not come
            with waiting(relays.link("sat-1")):
                first.receive(60)


def test_only_the_ground_s_own_application_begins_a_round(fleet, relays):
    with pytest.raises(LinkRefused, match="sat-0 cannot begin a round at ground"):
        start_round(relays.addresses["ground"], "sat-0", ROUND, start_s=0.0)
    with pytest.raises(LinkRefused, match="sat-0 cannot begin a round at ground"):
        enrol(relays.addresses["ground"], "sat-0")
    with pytest.raises(LinkRefused, match="cannot begin a round at sat-0"):
        start_round(relays.addresses["sat-0"], "sat-0", ROUND, start_s=0.0)
    with pytest.raises(LinkRefused, match="nodes of the mission"):
        start_round(relays.addresses["ground"], "ground", Network(("ground", "other"), {}), start_s=0.0)
    assert status(relays.addresses["ground"], "ground").mission_s < 0.0


def test_time_runs_while_anybody_is_there_once_all_have_been():
    def answers(*satellites, round_start=1):
        return {
            f"sat-{index}": Activity(
                False,
                np.inf,
                changes=0,
                round_start=round_start,
                session_alive=session_alive,
                attached=attached,
            )
            for index, (session_alive, attached) in enumerate(satellites)
        }

    here, gone, to_come = (True, True), (False, True), (False, False)
    round_start = RoundStart(1, "", satellites=["sat-0", "sat-1"])
    assert not round_start.runs(answers(here, here, round_start=0))  # they have not heard of it
    assert not round_start.runs(answers(here, to_come))
    assert round_start.runs(answers(gone, here))  # sat-0 had nothing to do and has gone
    assert not round_start.runs(answers(gone, gone))
    assert round_start.runs(answers(here, gone))  # it comes back


async def test_who_has_come_to_a_round_of_a_ground_that_died_has_not_come_to_that_of_the_next_one():
    network = Network(("ground", "sat-0"), {("sat-0", "ground"): LinkSchedule((UPLINK,))})

    async def probed(reports):
        """Begin a round, probe both nodes, take their reports of another round, and say which round this is."""
        authority = TimeAuthority(PacedClock(), network, satellites=["sat-0"])
        authority.start_round(network, 100.0)

        async def answers(probes):
            while True:
                report = pb.ClockReport(
                    probe=await probes.get(), session_alive=True, attached=True, **reports
                )
                yield report

        async def serve(node):
            probes = asyncio.Queue()
            stream = authority.serve(node, answers(probes))
            for _ in range(4):
                clock_time = await anext(stream)
                probes.put_nowait(clock_time.probe)
            return clock_time

        running = asyncio.create_task(authority.run())
        last, _ = await asyncio.wait_for(asyncio.gather(serve("sat-0"), serve("ground")), 30)
        running.cancel()
        return last

    before = await probed({"round_start": 1})
    assert before.standing
    after = await probed({"round_start": before.round_start})
    assert after.standing
    assert after.round_start != before.round_start


class Wall:
    """The wall clock that a sender sees; it can be set ahead."""

    ahead_s = 0.0

    def monotonic(self):
        return time.monotonic() + self.ahead_s


def test_what_is_on_its_way_is_not_sent_again_while_mission_time_stands(fleet, monkeypatch):
    relays = fleet(
        fleet.both_ways(("sat-0", "ground"), windows=(Window(0.0, 1e5, rate_bps=2e7, owlt_s=0.3),))
    )
    clock, wall, looks = relays.clocks["sat-0"], Wall(), []
    data = np.arange(75_000, dtype="<f4")  # 0.12 s of the link, and 0.3 s of light
    acked_bytes = OutgoingLink._acked_bytes

    def stand_when_all_is_on_its_way(link):
        if link.node == "sat-0" and link.sent_bytes >= data.nbytes:
            looks.append(clock.now_s)
            if len(looks) == 1:
                clock.pause(clock.now_s)
                wall.ahead_s = 60.0  # far longer than a sender waits for an acknowledgement
        return acked_bytes(link)

    async def go():
        clock.go()

    monkeypatch.setattr("relay.node.outgoing.time", wall)
    monkeypatch.setattr(OutgoingLink, "_acked_bytes", stand_when_all_is_on_its_way)
    with relays.link("sat-0") as satellite, relays.link("ground") as ground:
        satellite.send(*fleet.tensor(data, "sat-0", "ground"))
        relays.until("sat-0", lambda _: len(looks) >= 4)
        relays.run(go())
        assert np.array_equal(np.frombuffer(ground.receive(60).payload, "<f4"), data)
    assert relays.status("sat-0").links[0].resent_bytes == 0
