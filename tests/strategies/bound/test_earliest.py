"""The search for the earliest time by which everything can be done."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from synthetic_worlds import drawn

from strategies.bound.earliest import PRECISION, earliest_s


@drawn(300)
@given(
    truth_s=st.floats(1.0, 1e5),
    low=st.floats(0.0, 1.0),
    steps=st.lists(st.tuples(st.floats(0.0, 1.0), st.floats(0.0, 0.99)), max_size=4),
    slope=st.booleans(),
)
def test_it_is_found_to_the_precision_whatever_leads_there(
    truth_s: float, low: float, steps: list[tuple[float, float]], slope: bool
) -> None:
    # Before the truth the part grows in steps, and with the time if ``slope``.
    def served(time_s: float) -> float:
        if time_s >= truth_s:
            return 1.0
        reached = max([part for at, part in steps if time_s >= at * truth_s], default=0.0)
        return max(reached, 0.99 * time_s / truth_s if slope else 0.0)

    found_s = earliest_s(served, 0.0, low * truth_s, 1e6)
    assert found_s is not None
    assert found_s <= truth_s <= found_s * (1.0 + 2.0 * PRECISION) + 0.1


def test_a_good_first_guess_is_worth_its_while() -> None:
    # All but one satellite are done when a first guess says, the last shortly after.
    tried = []

    def served(time_s: float) -> float:
        tried.append(time_s)
        return 1.0 if time_s >= 8083.0 else 0.68

    assert earliest_s(served, 0.0, 8068.0, 1e5) is not None
    assert len(tried) <= 8
