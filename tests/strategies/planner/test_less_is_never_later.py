"""A round that asks for less, or is given more, is never later; `benchmarks.truth` tries a thousand pairs."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.planner_inversions import ALIKE, easier, makespan_s
from benchmarks.planner_worlds import draw


# `python -m benchmarks.truth` plans pairs in a hundred worlds.
@pytest.mark.parametrize(
    "world", [0, 1, 2, *(pytest.param(world, marks=pytest.mark.slow) for world in (3, 4, 5))]
)
def test_less_to_move_faster_links_more_contacts_and_richer_strategies_are_never_later(world) -> None:
    rng = np.random.default_rng([7, world])
    drawn = draw(rng)
    length_s = makespan_s(drawn)
    later = {name: makespan_s(other) / length_s - 1.0 for name, other in easier(drawn, rng).items()}
    assert {name: part for name, part in later.items() if part > ALIKE} == {}
