"""Test that satellites at similar distances from the ground share a joint step."""

from __future__ import annotations

import numpy as np
from synthetic_worlds import LADDER, make_workload, make_world

from strategies.drawn_worlds import make_problem
from strategies.planner.round_planner import plan_round

_CACHED = {"shared_adapter": True, "cached_fraction": 1.0}


def batches(plan) -> list[np.ndarray]:
    steps = plan.steps
    return [steps[steps["batch"] == number] for number in np.unique(steps["batch"])]


def test_satellites_that_are_about_as_far_share_a_step_and_the_farthest_is_answered_first() -> None:
    # A line of nine whose middle sees the station: the round trip of a step is that of its farthest satellite.
    world = make_world(1, 9, 1, [(4, 0, 0.0, 4000.0)], ring=False)
    plan = plan_round(
        make_problem(world, make_workload(9, 96, satellites_per_step=3, **_CACHED)), LADDER["d"]
    )
    after_the_first_turn = batches(plan)[3:]
    assert len(after_the_first_turn) == 15
    for step in after_the_first_turn:
        hops = np.abs(step["satellite"] - 4).tolist()
        assert hops == sorted(hops, reverse=True)
        assert sorted(hops) in ([0, 1, 1], [2, 2, 3], [3, 4, 4])
