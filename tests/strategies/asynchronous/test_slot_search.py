"""FedSpace's search: a prediction against one written down plainly, and the best of all schedules."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from synthetic_worlds import WORLD, make_workload

from strategies.asynchronous.mission import PlannedSlots
from strategies.asynchronous.slot_search import SlotStates, connections, flown, planned_averages_s
from strategies.drawn_worlds import make_problem
from strategies.problem.workload import Mode, WorkloadError

A = 0.5


def plainly(connected: np.ndarray, schedule: tuple[bool, ...]) -> float:
    """The worth of a schedule, satellite by satellite."""
    slots, satellites = connected.shape
    version, worth = 0, 0.0
    holds, has_update = [0] * satellites, [True] * satellites
    ground: list[int] = []
    for slot in range(slots):
        here = [k for k in range(satellites) if connected[slot, k]]
        for k in here:
            if has_update[k]:
                ground.append(holds[k])
                has_update[k] = False
        if schedule[slot] and ground:
            worth += sum((1 + version - base) ** -A for base in ground)
            version, ground = version + 1, []
        for k in here:
            if not has_update[k] and holds[k] < version:
                holds[k], has_update[k] = version, True
    return worth


@pytest.mark.parametrize("seed", range(5))
def test_the_prediction_is_that_of_a_plain_simulation_for_every_schedule(seed: int) -> None:
    connected = np.random.default_rng(seed).random((7, 4)) < 0.4
    schedules = np.array(list(itertools.product([False, True], repeat=7)))
    start = SlotStates.fresh(4).of(np.zeros(len(schedules), int))
    worth, _ = flown(start, connected, schedules, A)
    assert worth == pytest.approx([plainly(connected, tuple(row)) for row in schedules])


def test_a_window_goes_on_where_the_one_before_ended() -> None:
    connected = np.random.default_rng(7).random((8, 5)) < 0.4
    schedule = np.array([[True, False, True, False, False, True, False, True]])
    whole, _ = flown(SlotStates.fresh(5), connected, schedule, A)
    first, state = flown(SlotStates.fresh(5), connected[:3], schedule[:, :3], A)
    second, _ = flown(state, connected[3:], schedule[:, 3:], A)
    assert first + second == pytest.approx(whole)


def test_averaging_waits_for_satellites_that_come_soon() -> None:
    # Satellite 0 comes in slot 0, 1 and 2 in slot 1: one average after slot 1 leaves none of them stale.
    problem = make_problem(WORLD, make_workload(6, 16, mode=Mode.ONBOARD_FULL))
    slots = PlannedSlots(slot_s=100.0, window=10, fewest=1, most=10, tried=2000)
    averages_s = planned_averages_s(problem, slots)
    connected = connections(problem, 100.0)
    chosen = np.isin(100.0 * (np.arange(10) + 1.0), averages_s)
    schedules = np.array(list(itertools.product([False, True], repeat=10)))[1:]
    best = max(plainly(connected[:10], tuple(row)) for row in schedules)
    # 2000 draws of 1023 schedules of ten slots leave out some of them.
    assert plainly(connected[:10], tuple(chosen)) >= 0.97 * best


def test_a_satellite_is_connected_in_every_slot_that_its_pass_touches() -> None:
    problem = make_problem(WORLD, make_workload(6, [16, 16, 0, 16, 16, 16], mode=Mode.ONBOARD_FULL))
    connected = connections(problem, 250.0)
    assert connected.shape == (160, 5)  # satellites with images
    # Satellite 1 has a pass from 100 to 400 s.
    assert connected[:3, 1].tolist() == [True, True, False]


def test_impossible_slots_are_refused() -> None:
    with pytest.raises(WorkloadError, match="fewest ≤ most"):
        PlannedSlots(fewest=9, most=8)
