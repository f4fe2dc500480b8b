import asyncio
import threading

import numpy as np
import pytest

from relay.client.endpoint import RelayEndpoint
from relay.client.message_link import LinkTimeout, RemoteError
from relay.clock.timed_link import Window
from tests.relay.conftest import hidden


async def doubling(satellite, manifest, payload):
    if manifest.step == 13:
        raise KeyError("no such step")
    return [hidden(manifest, 2 * np.frombuffer(payload, "<f4"))]


def values(bundle):
    return np.frombuffer(bundle.payload, "<f4").tolist()


def test_a_split_step_goes_up_over_relays_and_its_answer_comes_down(fleet):
    relays = fleet(fleet.both_ways(("sat-0", "sat-1"), ("sat-1", "ground")))
    with (
        RelayEndpoint(doubling, ["sat-0", "sat-1"], address=relays.addresses["ground"], node="ground"),
        relays.link("sat-0") as first,
        relays.link("sat-1") as second,
    ):
        for step in range(3):
            for link, name in ((first, "sat-0"), (second, "sat-1")):
                link.send(*fleet.tensor([step, 1.0], name, "ground", step=step))
        for step in range(3):
            assert values(first.receive(60)) == [2.0 * step, 2.0]
            assert values(second.receive(60)) == [2.0 * step, 2.0]
    relays.until("ground", lambda status: status.delivered_transfers == 6 and status.queued_transfers == 0)


def test_what_the_handler_raises_reaches_the_satellite_over_the_relays(fleet):
    relays = fleet(fleet.both_ways(("sat-0", "ground")))
    with (
        RelayEndpoint(doubling, ["sat-0"], address=relays.addresses["ground"], node="ground"),
        relays.link("sat-0") as satellite,
    ):
        asked, payload = fleet.tensor([1.0], "sat-0", "ground", step=13)
        satellite.send(asked, payload)
        with pytest.raises(RemoteError, match="no such step") as caught:
            satellite.receive(60)
        assert caught.value.transfer_id == asked.transfer_id
        satellite.send(*fleet.tensor([1.0], "sat-0", "ground", step=14))
        assert values(satellite.receive(60)) == [2.0]


def test_a_relay_that_restarts_under_the_endpoint_loses_no_question_and_no_answer(fleet):
    relays = fleet(fleet.both_ways(("sat-0", "ground")))
    asked = []

    async def remembering(satellite, manifest, payload):
        asked.append(manifest.step)
        return await doubling(satellite, manifest, payload)

    with (
        RelayEndpoint(remembering, ["sat-0"], address=relays.addresses["ground"], node="ground"),
        relays.link("sat-0") as satellite,
    ):
        for step in range(6):
            satellite.send(*fleet.tensor([step], "sat-0", "ground", step=step))
            if step == 2:
                relays.stop("ground")
                relays.start("ground")
        seen = sorted(values(satellite.receive(60))[0] for _ in range(6))
    assert seen == [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]
    assert sorted(asked) == [0, 1, 2, 3, 4, 5]


def test_time_jumps_while_both_ends_wait_and_not_while_the_ground_computes(fleet):
    windows = (
        Window(3000.0, 3100.0, rate_bps=1e8, owlt_s=0.0),
        Window(7000.0, 8000.0, rate_bps=1e8, owlt_s=0.0),
    )
    relays = fleet(fleet.both_ways(("sat-0", "ground"), windows=windows), time_authority="ground")
    began = []

    async def slow(satellite, manifest, payload):
        began.append(relays.clocks["ground"].now_s)
        relays.probes(5)  # computes: the wall goes on, mission time must not jump
        began.append(relays.clocks["ground"].now_s)
        return await doubling(satellite, manifest, payload)

    with (
        RelayEndpoint(slow, ["sat-0"], address=relays.addresses["ground"], node="ground"),
        relays.link("sat-0") as satellite,
    ):
        satellite.send(*fleet.tensor([1.0], "sat-0", "ground"))
        assert values(satellite.receive(60)) == [2.0]
        assert began[0] >= 3000.0
        assert began[1] - began[0] < 60.0
        assert relays.clocks["ground"].now_s < 3060.0
        with pytest.raises(LinkTimeout):
            satellite.receive(0.2)


def test_a_handler_that_waits_for_others_does_not_hold_mission_time(fleet):
    """sat-0 is answered only when sat-1 has asked, whose window opens an hour later."""
    later = (Window(3600.0, 9000.0, rate_bps=1e8, owlt_s=0.0),)
    relays = fleet(
        {**fleet.both_ways(("sat-0", "ground")), **fleet.both_ways(("sat-1", "ground"), windows=later)},
        time_authority="ground",
    )
    second_came = asyncio.Event()

    async def in_turn(satellite, manifest, payload):
        if satellite == "sat-1":
            second_came.set()
        else:
            with ground.waiting():
                await second_came.wait()
        return await doubling(satellite, manifest, payload)

    with (
        RelayEndpoint(
            in_turn, ["sat-0", "sat-1"], address=relays.addresses["ground"], node="ground"
        ) as ground,
        relays.link("sat-0") as first,
        relays.link("sat-1") as second,
    ):
        for link, name in ((first, "sat-0"), (second, "sat-1")):
            link.send(*fleet.tensor([1.0], name, "ground"))
        with pytest.raises(LinkTimeout):
            second.receive(0.5)  # sat-0 does not wait yet, so time does not jump
        assert relays.clocks["ground"].now_s < 100.0
        receiving = threading.Thread(target=lambda: values(first.receive(60)))
        receiving.start()
        assert values(second.receive(60)) == [2.0]
        receiving.join(60)
        assert 3600.0 < relays.clocks["ground"].now_s < 3660.0
