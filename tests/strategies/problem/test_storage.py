"""Storage of images: against closed forms and a storage run image by image; what rounds train on, what is refused."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic_worlds import LADDER, WORLD, make_workload

from mission.scenario import ScenarioError, load_scenario
from orbit.imaging.taken_images import TakenImages
from server_app.planning.imaging import image_bytes_of, require_all_on_board
from splitmodel.costs.published import published
from strategies.analysis.stored_images import camera_figures, storage_figures, storage_totals
from strategies.checker.check import check_plan
from strategies.drawn_worlds import make_problem
from strategies.planner.checked_plan import checked_plan
from strategies.problem.network import PlanningError
from strategies.problem.storage import Drop, Storage, course_in

SATELLITES = len(WORLD.satellites)
IMAGE_BYTES = 1e6


def steady(per_s: float, *, satellites: int = 1, until_s: float = 20_000.0) -> TakenImages:
    """The same rate at all times."""
    time_s, images = np.array([0.0, until_s]), np.array([0.0, per_s * until_s])
    return TakenImages((time_s,) * satellites, (images,) * satellites)


def storage(per_s: float = 0.1, **keys) -> Storage:
    given_keys = {"capacity_bytes": 100 * IMAGE_BYTES} | keys
    return Storage(steady(per_s, satellites=SATELLITES), IMAGE_BYTES, **given_keys)


def test_it_fills_linearly_and_is_full_after_its_capacity_over_the_rate() -> None:
    held = storage(0.25)
    assert held.full_s(0) == pytest.approx(100 / 0.25)
    assert [held.on_board(0, time_s) for time_s in (0.0, 3.9, 4.0, 200.0, 400.0, 401.0, 9000.0)] == [
        *(0, 0, 1, 50, 100, 100, 100)
    ]
    assert [held.dropped(0, time_s) for time_s in (403.9, 404.0, 9000.0)] == [0, 1, 2150]
    assert storage(capacity_bytes=math.inf).full_s(0) == math.inf
    assert storage(0.25, at_epoch=40).full_s(0) == pytest.approx(60 / 0.25)


def test_what_is_dropped_in_a_round_is_what_has_no_room() -> None:
    course = storage(0.1, at_epoch=30).course(0, 600.0, 1200.0)  # 90 on board, 60 come
    assert (course.arrived, course.dropped, course.peak) == (60, 50, 100)
    assert course.images[0] == 90
    assert course.time_s[course.images == 100][0] == pytest.approx(700.0)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    st.floats(0.005, 0.2),
    st.integers(0, 100),
    st.lists(st.floats(0.0, 999.0), max_size=40),
    st.integers(1, 100),
)
def test_a_round_is_that_of_a_storage_run_image_by_image(per_s, at_epoch, left_s, room) -> None:
    at_epoch = min(at_epoch, room)
    held = storage(per_s, capacity_bytes=room * IMAGE_BYTES, at_epoch=at_epoch)
    start_s, end_s = 500.0, 1500.0
    on_board = held.on_board(0, start_s)
    left_s = sorted(start_s + time_s for time_s in left_s)[:on_board]
    course = held.course(0, start_s, end_s, np.array(left_s))
    level, dropped, peak = on_board, 0, on_board
    first, last = math.floor(per_s * start_s + 1e-9) + 1, math.floor(per_s * end_s + 1e-9)
    events = [(time_s, 0) for time_s in left_s] + [(n / per_s, 1) for n in range(first, last + 1)]
    for _, comes in sorted(events):
        if not comes:
            level -= 1
        elif level < room:
            level += 1
        else:
            dropped += 1
        peak = max(peak, level)
    assert (course.arrived, course.dropped, course.peak) == (last - first + 1, dropped, peak)
    assert course.images[-1] == level


def test_the_oldest_image_that_is_trained_on_tells_the_policies_apart() -> None:
    fresh, stale = storage(0.1), storage(0.1, drop=Drop.NEWEST)
    # 200 have come by 2000 s; on board are the last 100 of them, or the first.
    assert fresh.oldest_s(0, 2000.0, 100) == pytest.approx(1010.0)
    assert fresh.oldest_s(0, 2000.0, 1) == pytest.approx(2000.0)
    assert stale.oldest_s(0, 2000.0, 100) == pytest.approx(10.0)
    assert stale.oldest_s(0, 2000.0, 1) == pytest.approx(1000.0)
    assert storage(0.1, at_epoch=5).oldest_s(0, 100.0, 15) == 0.0


def test_a_round_trains_on_what_is_on_board_and_no_more_than_it_is_to() -> None:
    held = storage(0.1)
    assert held.samples_at(250.0, [64, 16, 0] + [64] * (SATELLITES - 3)) == [25, 16, 0] + [25] * (
        SATELLITES - 3
    )
    with pytest.raises(PlanningError, match=r"no satellite has an image at 5 s; the first is at 10 s"):
        held.samples_at(5.0, [64] * SATELLITES)
    with pytest.raises(PlanningError, match=r"none is taken within the horizon"):
        storage(0.0).samples_at(5.0, [64] * SATELLITES)
    with pytest.raises(PlanningError, match=r"imaging\.on_board: found 101 images of 1000000 bytes, allowed"):
        storage(at_epoch=101)


def planned(held: Storage, mode: str = "lora", start_s: float = 300.0):
    samples = held.samples_at(start_s, [64] * SATELLITES)
    workload = dataclasses.replace(make_workload(SATELLITES, 64, mode), samples=tuple(samples))
    problem = dataclasses.replace(make_problem(WORLD, workload, start_s), storage=held)
    return checked_plan(problem, LADDER["d"]), problem


def test_a_plan_that_trains_on_images_that_are_not_there_is_refused() -> None:
    plan, problem = planned(storage(0.1))
    assert problem.workload.samples == (30,) * SATELLITES
    slower = dataclasses.replace(problem, storage=storage(0.09))
    found = [violation for violation in check_plan(plan, slower) if violation.rule == "storage"]
    assert len(found) == SATELLITES
    assert "trains on 30 images, 27 are on board at 300.000 s" in str(found[0])


def test_storage_of_which_nothing_may_be_dropped_ends_the_plan() -> None:
    plan, problem = planned(storage(0.5, capacity_bytes=math.inf))
    count = math.floor(0.5 * plan.end_s)  # of which 150 are there when the round begins
    assert count >= 154
    kept = storage(0.5, drop=Drop.REFUSE, capacity_bytes=count * IMAGE_BYTES)
    assert check_plan(plan, dataclasses.replace(problem, storage=kept)) == []
    tight = dataclasses.replace(kept, capacity_bytes=(count - 2) * IMAGE_BYTES)
    found = check_plan(plan, dataclasses.replace(problem, storage=tight))
    assert {violation.rule for violation in found} == {"storage"}
    assert f"has no room for 2 images by {plan.end_s:.3f} s" in str(found[0])
    with pytest.raises(PlanningError, match=r'with drop = "refuse"; \S+ has 2 more by the end of the round'):
        planned(tight)
    # What may be dropped is, and the plan stands.
    dropping = storage(0.5, capacity_bytes=70 * IMAGE_BYTES)
    assert check_plan(plan, dataclasses.replace(problem, storage=dropping)) == []


def test_images_that_are_down_make_room_for_others() -> None:
    held = storage(0.1, capacity_bytes=40 * IMAGE_BYTES)
    plan, problem = planned(held, "downlink")
    figures = storage_figures(plan, problem)
    for satellite, row in enumerate(figures):
        course = course_in(plan, problem.workload, held, satellite)
        assert course.images[-1] == 30 + row["arrived"] - row["dropped"] - 30
        assert row["peak_images"] <= 40
    stays, _ = planned(held)
    assert course_in(stays, problem.workload, held, 0).images[-1] <= 40
    totals = storage_totals(figures)
    assert totals["images_trained"] == 30 * SATELLITES
    assert totals["storage_peak_bytes"] == max(row["peak_images"] for row in figures) * IMAGE_BYTES


def test_a_camera_is_told_of_by_the_day() -> None:
    rows = camera_figures(["sat-a", "sat-b"], storage(0.1), 20_000.0)
    assert rows[1]["images_per_day"] == pytest.approx(8640.0)
    assert rows[1]["gb_per_day"] == pytest.approx(8.64)
    assert rows[0]["full_s"] == pytest.approx(1000.0)
    assert rows[0]["dropped"] == 1900


def test_an_image_takes_what_is_kept_of_it() -> None:
    costs = published("DOFA-base")
    sizes = {}
    for mode, keys in {
        "lora": {},
        "head": {},
        "onboard-lora": {"training.onboard_cache": "true"},
        "onboard-full": {},
    }.items():
        given_keys = {
            "training.mode": mode,
            "planning.image_bytes": "1000",
            "training.augment": "dihedral",
            **keys,
        }
        sizes[mode] = image_bytes_of(load_scenario("walker-12", given_keys), costs)
    assert sizes["lora"] == sizes["onboard-full"] == 1000.0
    assert sizes["head"] == 1000.0 + 8 * 4 * costs.hidden
    assert sizes["onboard-lora"] == 1000.0 + 8 * 4 * costs.tokens * costs.hidden


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (
            {"images_per_min": "1", "swath_km": "20", "image_km2": "9"},
            r"imaging\.swath_km: found 20 beside images_per_min",
        ),
        ({"swath_km": "20"}, r"imaging\.image_km2: found 0 with swath_km = 20"),
        (
            {"images_per_min": "1", "areas": "[[0.0, 20.0, 10.0, 10.0]]"},
            r"imaging\.areas\.0: found south 20 and north 10",
        ),
    ],
)
def test_half_a_camera_is_one_error(keys, message) -> None:
    with pytest.raises(ScenarioError, match=message):
        load_scenario("walker-12", {f"imaging.{key}": value for key, value in keys.items()})


def test_comparisons_refuse_images_that_arrive() -> None:
    scenario = load_scenario("walker-12", {"imaging.images_per_min": "6"})
    with pytest.raises(
        ScenarioError, match=r"imaging\.images_per_min: found 6 with skysplit compare.*allowed: 0"
    ):
        require_all_on_board(scenario, "skysplit compare")
    require_all_on_board(load_scenario("walker-12"), "skysplit compare")
