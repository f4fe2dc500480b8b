"""Paths over links that are open, against trying all of them."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orbit.contact_plan import CONTACT, LinkKind
from strategies.problem.routes import Routes

COUNT, GATEWAY = 5, 0
LENGTHS_S, RATES_BPS = [0.001, 0.004, 0.02], [1e5, 1e6, 1e9]


def contacts(links: dict[tuple[int, int], tuple[float, float]]) -> np.ndarray:
    """Links that are always open, both ways, by light time and rate."""
    return np.array(
        [
            (*ends, LinkKind.INTRA_ISL, 0.0, 1e4, rate_bps, owlt_s, np.nan, 900.0, False, False)
            for (a, b), (owlt_s, rate_bps) in links.items()
            for ends in ((a, b), (b, a))
        ],
        CONTACT,
    )


@settings(max_examples=25)
@given(
    st.dictionaries(
        st.sampled_from(list(itertools.combinations(range(COUNT), 2))),
        st.tuples(st.sampled_from(LENGTHS_S), st.sampled_from(RATES_BPS)),
        min_size=1,
    ),
    st.sampled_from([0.0, 1e3, 1e5]),
)
def test_no_other_path_has_a_message_there_sooner(
    links: dict[tuple[int, int], tuple[float, float]], message_bits: float
) -> None:
    tree = Routes(contacts(links), COUNT, message_bits=message_bits).tree(GATEWAY, 100.0)

    def there_s(path: tuple[int, ...]) -> float:
        hops = [links.get((min(hop), max(hop)), (np.inf, 1.0)) for hop in itertools.pairwise(path)]
        return sum(owlt_s + message_bits / rate_bps for owlt_s, rate_bps in hops)

    for satellite in range(1, COUNT):
        others = [node for node in range(1, COUNT) if node != satellite]
        paths = [
            (satellite, *between, GATEWAY)
            for count in range(COUNT - 1)
            for between in itertools.permutations(others, count)
        ]
        quickest_s = min(there_s(path) for path in paths)
        if np.isinf(quickest_s):
            assert np.isinf(tree.flight_s[satellite])
        else:
            assert there_s(tuple(tree.path(satellite))) <= quickest_s + 1e-4 * COUNT


def test_slow_links_are_used_for_as_few_hops_as_possible() -> None:
    # A train of six whose ends see each other, at five times the distance of neighbours.
    near, far = (0.0016, 2.5e5), (0.008, 2.5e5)
    train = contacts({(k, k + 1): near for k in range(5)} | {(0, 5): far})
    assert Routes(train, 6, message_bits=33e3).tree(5, 0.0).path(1) == [1, 0, 5]
    assert Routes(train, 6).tree(5, 0.0).path(1) == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("rate_bps", RATES_BPS)
def test_of_paths_as_quick_the_one_with_fewer_hops_is_taken(rate_bps: float) -> None:
    links = {(0, 1): (0.002, rate_bps), (0, 2): (0.001, rate_bps), (1, 2): (0.001, rate_bps)}
    assert Routes(contacts(links), 3).tree(0, 0.0).path(1) == [1, 0]
