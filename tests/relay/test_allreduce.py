import itertools
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from relay.allreduce import all_reduce
from relay.client import LinkTimeout
from relay.outgoing import Faults, Outage
from strategies.aggregation import ring_all_reduce, weighted_mean


def plane_of(count):
    return [f"sat-{index}" for index in range(count)]


def ring_links(fleet, members):
    return fleet.both_ways(
        *{tuple(sorted(pair)) for pair in zip(members, [*members[1:], members[0]], strict=True)}
    )


def chain_links(fleet, members):
    return fleet.both_ways(*itertools.pairwise(members))


def reduce_everywhere(relays, members, arrays, weights, shape, **changes):
    """Every satellite's result, each in a thread of its own as its ClientApp would be."""

    def fly(index):
        with relays.link(members[index]) as link:
            asked = {"shape": shape, "run": "run", "round": 1, "timeout_s": 20, **changes}
            return all_reduce(link, members, members[index], arrays[index], weights[index], **asked)

    with ThreadPoolExecutor(len(members)) as pool:
        return list(pool.map(fly, range(len(members))))


def payloads(count, values=1001, seed=0):
    rng = np.random.default_rng(seed)
    arrays = [rng.normal(size=(values,)).astype("<f4") for _ in range(count)]
    return arrays, [float(weight) for weight in rng.integers(1, 300, count)]


def two_way_reference(arrays, weights):
    one, other = zip(*(np.array_split(array, 2) for array in arrays), strict=True)
    way_back = ring_all_reduce(other[::-1], weights[::-1])
    return np.concatenate([ring_all_reduce(one, weights)[0], way_back[0]])


@pytest.mark.parametrize("count", [2, 3, 5])
def test_a_two_way_ring_gives_every_satellite_the_bits_of_the_strategy(fleet, count):
    members = plane_of(count)
    arrays, weights = payloads(count)
    relays = fleet(ring_links(fleet, members))
    results = reduce_everywhere(relays, members, arrays, weights, "ring")
    expected = two_way_reference(arrays, weights)
    assert all(result.tobytes() == expected.tobytes() for result in results)
    np.testing.assert_allclose(expected, weighted_mean(arrays, weights), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("count", [2, 4])
def test_a_chain_gives_every_satellite_the_bits_of_the_weighted_mean(fleet, count):
    members = plane_of(count)
    arrays, weights = payloads(count, values=999)
    relays = fleet(chain_links(fleet, members))
    results = reduce_everywhere(relays, members, arrays, weights, "chain")
    expected = weighted_mean(arrays, weights)
    assert all(result.tobytes() == expected.tobytes() for result in results)


def test_fewer_values_than_satellites_and_other_shapes_are_reduced_too(fleet):
    members = plane_of(3)
    relays = fleet(ring_links(fleet, members))
    arrays = [np.full((2, 1), value, "<f8") for value in (1.0, 2.0, 6.0)]
    for shape, round in (("ring", 1), ("chain", 2)):
        for result in reduce_everywhere(relays, members, arrays, [1.0, 1.0, 2.0], shape, round=round):
            assert result.tolist() == [[3.75], [3.75]]


def test_a_broken_link_of_the_ring_is_gone_round_with_the_same_bits(fleet):
    members = plane_of(4)
    arrays, weights = payloads(4)
    cuts = (Outage("sat-0", "sat-1", 0.0, 1e5), Outage("sat-1", "sat-0", 0.0, 1e5))
    relays = fleet(ring_links(fleet, members), faults=Faults(outages=cuts))
    results = reduce_everywhere(relays, members, arrays, weights, "ring")
    expected = two_way_reference(arrays, weights)
    assert all(result.tobytes() == expected.tobytes() for result in results)


def test_a_plane_torn_apart_reduces_over_the_ground_with_the_same_bits(fleet):
    members = plane_of(3)
    arrays, weights = payloads(3)
    links = {**chain_links(fleet, members), **fleet.both_ways(("sat-0", "ground"), ("sat-2", "ground"))}
    cuts = tuple(Outage(a, b, 0.0, 1e5) for a, b in (("sat-1", "sat-2"), ("sat-2", "sat-1")))
    relays = fleet(links, faults=Faults(outages=cuts))
    results = reduce_everywhere(relays, members, arrays, weights, "chain")
    assert all(result.tobytes() == weighted_mean(arrays, weights).tobytes() for result in results)


def test_a_satellite_that_never_comes_is_a_timeout_not_a_wrong_mean(fleet):
    members = plane_of(3)
    relays = fleet(ring_links(fleet, members))
    arrays, weights = payloads(3)
    with relays.link("sat-0") as link, pytest.raises(LinkTimeout, match="all-reduce|within"):
        all_reduce(
            link, members, "sat-0", arrays[0], weights[0], shape="ring", run="run", round=1, timeout_s=0.5
        )


def test_one_satellite_is_its_own_mean_and_a_stranger_is_refused(fleet):
    relays = fleet(fleet.both_ways(("sat-0", "sat-1")))
    arrays, weights = payloads(1)
    asked = {"shape": "ring", "run": "run", "round": 1, "timeout_s": 1}
    with relays.link("sat-0") as link:
        alone = all_reduce(link, ["sat-0"], "sat-0", arrays[0], weights[0], **asked)
        assert alone.tobytes() == weighted_mean(arrays, weights).tobytes()
        with pytest.raises(ValueError, match="sat-0 must be among them"):
            all_reduce(link, ["sat-1"], "sat-0", arrays[0], weights[0], **asked)
