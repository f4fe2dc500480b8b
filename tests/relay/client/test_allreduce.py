import functools
import itertools
import queue
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mission.client_update import PIECE_BYTES
from relay.client.allreduce import GivenUp, all_reduce
from relay.client.message_link import LinkError, LinkTimeout
from relay.node.outgoing import Faults, Outage
from relay.wire.manifest import Bundle, Manifest, MessageKind
from strategies.aggregation.averages import plane_sum


def plane_of(count):
    return [f"sat-{index}" for index in range(count)]


def ring_links(fleet, members):
    return fleet.both_ways(
        *{tuple(sorted(pair)) for pair in zip(members, [*members[1:], members[0]], strict=True)}
    )


def chain_links(fleet, members):
    return fleet.both_ways(*itertools.pairwise(members))


def on_every(members, link_of, arrays, ring, **changes):
    """Every satellite's result, each in a thread of its own as its ClientApp would be; or what it raises."""

    def fly(index):
        with link_of(members[index]) as link:
            asked = {"ring": ring, "run": "run", "round": 1, "timeout_s": 20, **changes}
            try:
                return all_reduce(link, members, members[index], arrays[index], **asked)
            except LinkError as error:
                return error

    with ThreadPoolExecutor(len(members)) as pool:
        return list(pool.map(fly, range(len(members))))


def vectors(count, values=1001, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.normal(size=values) * rng.integers(1, 300) for _ in range(count)]


def assert_all_have(results, expected):
    assert [result.tobytes() for result in results] == [expected.tobytes()] * len(results)


class Wire:
    """A link to the others of a plane in memory, which mixes up what it carries."""

    def __init__(self, queues, name, seed):
        self._queues, self._name, self._random = queues, name, np.random.default_rng(seed)
        self._held = []

    def send(self, manifest, payload):
        self._queues[manifest.destination].put(Bundle(manifest, bytes(payload)))

    def receive(self, timeout_s):
        try:
            self._held.append(self._queues[self._name].get(timeout=0 if self._held else timeout_s))
            while self._random.random() < 0.5:
                self._held.append(self._queues[self._name].get_nowait())
        except queue.Empty:
            if not self._held:
                raise LinkTimeout("nothing") from None
        return self._held.pop(self._random.integers(len(self._held)))

    def __enter__(self):
        return self

    def __exit__(self, *config): ...


@given(
    count=st.integers(1, 7),
    values=st.one_of(st.integers(1, 40), st.just(PIECE_BYTES // 8 * 2 + 3)),
    ring=st.booleans(),
    seed=st.integers(0, 2**31 - 1),
)
def test_ring_and_chain_of_any_size_give_every_satellite_the_bits_of_the_strategy(count, values, ring, seed):
    members, arrays = plane_of(count), vectors(count, values, seed)
    queues = {name: queue.SimpleQueue() for name in members}
    links = {name: Wire(queues, name, seed) for name in members}
    results = on_every(members, links.__getitem__, arrays, ring)
    assert_all_have(results, plane_sum(arrays, ring=ring))
    np.testing.assert_allclose(results[0], functools.reduce(np.add, arrays), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("count", "ring"), [(2, True), (3, True), (5, True), (2, False), (4, False)])
def test_over_relays_every_satellite_has_the_bits_of_the_strategy(fleet, count, ring):
    members, arrays = plane_of(count), vectors(count)
    relays = fleet(ring_links(fleet, members) if ring else chain_links(fleet, members))
    assert_all_have(on_every(members, relays.link, arrays, ring), plane_sum(arrays, ring=ring))


def test_a_ring_that_is_cut_is_summed_along_the_chain_that_is_left_with_the_same_bits(fleet):
    members, arrays = plane_of(4), vectors(4)
    cuts = (
        Outage("sat-0", "sat-1", start_s=0.0, end_s=1e5),
        Outage("sat-1", "sat-0", start_s=0.0, end_s=1e5),
    )
    relays = fleet(ring_links(fleet, members), faults=Faults(outages=cuts))
    assert_all_have(on_every(members, relays.link, arrays, True), plane_sum(arrays, ring=True))


@pytest.mark.parametrize("ring", [True, False])
def test_a_plane_torn_apart_is_summed_over_the_ground_with_the_same_bits(fleet, ring):
    members, arrays = plane_of(3), vectors(3)
    links = {**chain_links(fleet, members), **fleet.both_ways(("sat-0", "ground"), ("sat-2", "ground"))}
    cuts = tuple(Outage(a, b, start_s=0.0, end_s=1e5) for a, b in (("sat-1", "sat-2"), ("sat-2", "sat-1")))
    relays = fleet(links, faults=Faults(outages=cuts))
    assert_all_have(on_every(members, relays.link, arrays, ring), plane_sum(arrays, ring=ring))


def test_a_relay_that_is_killed_and_comes_back_changes_nothing(fleet):
    members, arrays = plane_of(3), vectors(3, values=200_000)
    relays = fleet(chain_links(fleet, members))

    def restart():
        relays.until("sat-1", lambda status: status.received_bytes > 0)
        relays.stop("sat-1")
        relays.start("sat-1")

    meanwhile = threading.Thread(target=restart)
    meanwhile.start()
    results = on_every(members, relays.link, arrays, False)
    meanwhile.join()
    assert_all_have(results, plane_sum(arrays, ring=False))


@pytest.mark.parametrize("ring", [True, False])
def test_where_one_never_comes_all_others_give_up_together_and_so_does_one_who_comes_late(fleet, ring):
    members, arrays = plane_of(4), vectors(4)
    relays = fleet(ring_links(fleet, members))
    there = members[:3]

    def fly(index):
        with relays.link(members[index]) as link:
            timeout_s = 1.0 if index == 0 else 600.0
            asked = {"ring": ring, "run": "run", "round": 1, "timeout_s": timeout_s}
            with pytest.raises(LinkError) as raised:
                all_reduce(link, members, members[index], arrays[index], **asked)
            return raised.value

    started_s = time.monotonic()
    with ThreadPoolExecutor(3) as pool:
        first, *others = pool.map(fly, range(len(there)))
    assert "sat-0: the sum of its plane is given up" in str(first)
    assert all(isinstance(error, GivenUp) for error in others)
    assert isinstance(fly(3), GivenUp)
    assert time.monotonic() - started_s < 300.0


def test_what_came_early_is_taken_and_what_is_of_another_round_or_run_is_not(fleet):
    members, arrays = plane_of(2), vectors(2)
    queues = {name: queue.SimpleQueue() for name in members}

    def part(run, number, values):
        payload = values.tobytes()
        facts = {"dtype": "float64", "shape": values.shape, "source": "sat-0", "destination": "sat-1"}
        return Bundle(
            Manifest.describe(payload, run=run, round=number, kind=MessageKind.AGGREGATE, **facts), payload
        )

    early = [part("other", 1, arrays[1]), part("run", 2, arrays[1]), part("run", 1, arrays[0])]
    asked = {"ring": False, "run": "run", "round": 1, "timeout_s": 0.1}
    total = all_reduce(Wire(queues, "sat-1", 0), members, "sat-1", arrays[1], early=early, **asked)
    assert total.tobytes() == plane_sum(arrays, ring=False).tobytes()
    lies = [part("run", 1, arrays[0][:-1])]
    with pytest.raises(LinkError, match=r"sat-0 sends float64\[1000\]: allowed is float64\[1001\]"):
        all_reduce(Wire(queues, "sat-1", 0), members, "sat-1", arrays[1], early=lies, **asked)


def test_one_satellite_is_its_own_sum_and_a_stranger_or_another_type_is_refused():
    [values] = vectors(1)
    asked = {"ring": True, "run": "run", "round": 1, "timeout_s": 1}
    assert all_reduce(None, ["sat-0"], "sat-0", values, **asked) is values
    with pytest.raises(ValueError, match="sat-0 must be among them"):
        all_reduce(None, ["sat-1"], "sat-0", values, **asked)
    with pytest.raises(ValueError, match=r"values of float32\[1001\]"):
        all_reduce(None, ["sat-0"], "sat-0", values.astype("<f4"), **asked)
