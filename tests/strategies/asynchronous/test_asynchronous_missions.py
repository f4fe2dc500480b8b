"""Missions without rounds: what they take in closed form, what is averaged when, and what the judge lets pass."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from synthetic_worlds import RATES, RESOURCES, WORLD, drawn, make_workload, make_world, worlds

from orbit.contact_plan import ContactPlan, LinkKind
from strategies.asynchronous.mission import (
    ASYNC_UPDATE,
    AsyncMission,
    AsyncSchedule,
    Buffer,
    Goal,
    PlannedSlots,
    Unit,
    members_of,
)
from strategies.asynchronous.planner import plan_asynchronous
from strategies.asynchronous.replay import check_mission
from strategies.drawn_worlds import make_problem
from strategies.problem.network import NoRouteError
from strategies.problem.plan import Kind
from strategies.problem.planning_problem import PlanningProblem
from strategies.problem.workload import Mode, Resources, Workload, WorkloadError

EACH = AsyncSchedule(Unit.SATELLITE, Buffer(1))
SYNCHRONOUS = AsyncSchedule(Unit.SATELLITE, Buffer())
SCHEDULES = {
    "each": EACH,
    "of two": AsyncSchedule(Unit.SATELLITE, Buffer(2)),
    "synchronous, trains on": AsyncSchedule(Unit.SATELLITE, Buffer(), trains_on=True),
    "of three, trains on": AsyncSchedule(Unit.SATELLITE, Buffer(3), trains_on=True, one_way=True),
    "slots": AsyncSchedule(Unit.SATELLITE, PlannedSlots(slot_s=300.0, tried=50), one_way=True),
    "planes": AsyncSchedule(Unit.PLANE, Buffer(1)),
    "all planes": AsyncSchedule(Unit.PLANE, Buffer()),
}
OWLT_S = 0.004  # of make_world's passes


def workload_of(satellites: int) -> Workload:
    return make_workload(satellites, 16, mode=Mode.ONBOARD_FULL)


def flown(
    world: ContactPlan, schedule: AsyncSchedule, rounds: int, resources: Resources = RESOURCES
) -> tuple[AsyncMission, PlanningProblem]:
    problem = make_problem(world, workload_of(len(world.satellites)), resources=resources)
    members = members_of(world, problem.workload, schedule.unit)
    mission = plan_asynchronous(problem, schedule, Goal(updates=rounds * len(members)))
    assert check_mission(mission, problem, schedule) == []
    assert mission.plan.makespan_s >= mission.plan.lower_bound_s > 0.0
    return mission, problem


def parts_s(workload: Workload) -> tuple[float, float, float]:
    """Seconds of training, of the way down and of the way up, light time included."""
    bits = 8.0 * workload.aggregate_bytes
    train_s = 16 * workload.onboard_flops / RATES.satellite_flops
    return train_s, bits / 200e6 + OWLT_S, bits / 50e6 + OWLT_S


def test_a_satellite_in_sight_goes_round_in_training_and_the_ways_down_and_up() -> None:
    world = make_world(1, 1, 1, [(0, 0, 100.0, 3000.0)])
    train_s, down_s, up_s = parts_s(workload_of(1))
    for rounds in (1, 2, 5):
        mission, _ = flown(world, EACH, rounds)
        first_s = 100.0 + RESOURCES.setup_s + down_s
        assert mission.averaged_s[0] == pytest.approx(first_s)
        wanted_s = first_s + (rounds - 1) * (up_s + train_s + down_s) + up_s
        assert mission.plan.end_s == pytest.approx(wanted_s)
        # Nobody is in its way: it is later than the bound by the set-up alone.
        assert mission.plan.lower_bound_s == pytest.approx(wanted_s - RESOURCES.setup_s)


def test_features_of_all_samples_go_down_with_the_weights_and_only_weights_go_up() -> None:
    world = make_world(1, 1, 1, [(0, 0, 100.0, 3000.0)])
    weights = workload_of(1)
    workload = dataclasses.replace(weights, c1_bytes=150e3)
    problem = make_problem(world, workload)
    mission = plan_asynchronous(problem, EACH, Goal(updates=2))
    assert check_mission(mission, problem, EACH) == []
    train_s, down_s, up_s = parts_s(weights)
    down_s += 16 * 8 * 150e3 / 200e6
    wanted_s = 100.0 + RESOURCES.setup_s + down_s + up_s + train_s + down_s + up_s
    assert mission.plan.end_s == pytest.approx(wanted_s)
    assert mission.plan.lower_bound_s == pytest.approx(wanted_s - RESOURCES.setup_s)
    without = plan_asynchronous(make_problem(world, weights), EACH, Goal(updates=2))
    assert any("bytes of weights" in str(wrong) for wrong in check_mission(without, problem, EACH))


def test_planes_do_not_deliver_features() -> None:
    problem = make_problem(WORLD, dataclasses.replace(workload_of(6), c1_bytes=1.0))
    with pytest.raises(WorkloadError, match="c1_bytes: found 1, allowed is 0 where planes deliver"):
        plan_asynchronous(problem, AsyncSchedule(Unit.PLANE, Buffer(1)), Goal(updates=2))


def test_a_satellite_that_gets_an_average_in_one_pass_sends_in_the_next() -> None:
    world = make_world(1, 1, 1, [(0, 0, 1000.0 * turn + 100.0, 300.0) for turn in range(9)])
    _, down_s, up_s = parts_s(workload_of(1))
    schedule = AsyncSchedule(Unit.SATELLITE, Buffer(1), one_way=True)
    for rounds in (1, 2, 4):
        mission, problem = flown(world, schedule, rounds)
        wanted_s = 1000.0 * (rounds - 1) + 100.0 + RESOURCES.setup_s + down_s + up_s
        assert mission.plan.end_s == pytest.approx(wanted_s)
        assert mission.plan.lower_bound_s == pytest.approx(wanted_s - RESOURCES.setup_s)
    both_in_one, _ = flown(world, EACH, 2)
    assert any("pass of its average" in str(wrong) for wrong in check_mission(both_in_one, problem, schedule))


def test_a_transfer_resumes_in_the_next_pass() -> None:
    # 27.2 s up at 50 Mbit/s do not fit into passes of 30 s after a set-up of 10 s; 6.8 s down do.
    world = make_world(1, 1, 1, [(0, 0, 100.0 * turn, 30.0) for turn in range(1, 20)])
    _, down_s, up_s = parts_s(workload_of(1))
    mission, _ = flown(world, EACH, 1)
    up = mission.plan.of_kind(Kind.UPDATE)
    assert len(up) == 2
    assert up["bytes"].sum() == pytest.approx(workload_of(1).update_bytes)
    in_first_s = 30.0 - RESOURCES.setup_s - down_s
    assert mission.plan.end_s == pytest.approx(200.0 + RESOURCES.setup_s + up_s - in_first_s, abs=1e-3)


def test_a_satellite_in_sight_more_often_delivers_more_and_the_other_grows_stale() -> None:
    # Satellite 0 is in sight every 200 s, satellite 1 every 1000 s; 100 s are enough for one cycle and no more.
    often = [(0, 0, 200.0 * turn, 45.0) for turn in range(1, 60)]
    seldom = [(1, 1, 1000.0 * turn + 50.0, 45.0) for turn in range(1, 12)]
    mission, _ = flown(make_world(2, 1, 2, [*often, *seldom]), EACH, 5)
    assert mission.per_member.sum() == 10
    assert mission.per_member[0] > 3 * mission.per_member[1] > 0
    stale = mission.staleness[mission.updates["member"] == 1]
    assert stale.max() == 5
    assert mission.staleness[mission.updates["member"] == 0].max() <= 1


def test_a_buffer_of_all_is_the_synchronous_round() -> None:
    mission, _ = flown(WORLD, SYNCHRONOUS, 3)
    assert (mission.staleness == 0).all()
    assert (mission.per_member == 3).all()
    assert len(mission.averaged_s) == 3


def test_an_average_is_made_of_as_many_updates_as_the_buffer_holds() -> None:
    mission, _ = flown(WORLD, SCHEDULES["of two"], 3)
    assert np.bincount(mission.updates["version"])[1:].tolist() == [2] * 9
    assert mission.reached_s(6) == mission.averaged_s[2]
    assert mission.reached_s(18) == mission.plan.end_s


def test_satellites_that_train_on_stop_when_one_more_round_would_not_be_over_in_time() -> None:
    mission, problem = flown(WORLD, SCHEDULES["synchronous, trains on"], 2)
    once_s, _, _ = parts_s(problem.workload)
    down = mission.plan.of_kind(Kind.REDUCE)
    for row in mission.plan.of_kind(Kind.TRAIN):
        sent_s = down["start_s"][
            (down["node"] == row["node"]) & (down["start_s"] >= row["end_s"] - 1e-6)
        ].min()
        assert 0.0 <= sent_s - row["end_s"] + 1e-6 < once_s + 2e-6
    assert len(mission.plan.of_kind(Kind.TRAIN)) == 12


def test_planes_sum_before_they_deliver() -> None:
    mission, problem = flown(WORLD, SCHEDULES["all planes"], 2)
    down = mission.plan.of_kind(Kind.REDUCE)
    on_ground = down[down["link"] == LinkKind.DOWNLINK]
    assert on_ground["bytes"].sum() == pytest.approx(4 * problem.workload.aggregate_bytes)
    assert (
        down["link"] == LinkKind.INTRA_ISL
    ).sum() == 8  # two of three satellites send to the third, four times


@given(world=worlds())
@drawn(25)
def test_every_schedule_is_flown_above_its_bound_in_any_world(
    world: tuple[ContactPlan, Workload, Resources],
) -> None:
    contact_plan, drawn_workload, resources = world
    workload = make_workload(len(drawn_workload.samples), drawn_workload.samples, mode=Mode.ONBOARD_FULL)
    problem = make_problem(contact_plan, workload, resources=resources)
    for name, schedule in SCHEDULES.items():
        try:
            mission = plan_asynchronous(problem, schedule, Goal(averages=2))
        except NoRouteError:
            continue
        assert check_mission(mission, problem, schedule) == [], name
        assert mission.plan.makespan_s >= mission.plan.lower_bound_s, name


def test_what_cannot_come_before_the_horizon_is_an_error() -> None:
    world = make_world(2, 1, 1, [(0, 0, 100.0, 300.0), (1, 0, 500.0, 300.0)])
    with pytest.raises(NoRouteError, match="before the contact plan ends"):
        flown(world, SYNCHRONOUS, 3)
    with pytest.raises(WorkloadError, match="allowed for satellites"):
        AsyncSchedule(Unit.PLANE, Buffer(), trains_on=True)


Change = Callable[[AsyncMission], AsyncMission]


def updates_with(field: str, index: int, change: float) -> Change:
    def changed(mission: AsyncMission) -> AsyncMission:
        updates = mission.updates.copy()
        updates[field][index] += change
        return dataclasses.replace(mission, updates=updates)

    return changed


def rows_with(kind: Kind, link: LinkKind | None, field: str, factor: float) -> Change:
    """Change a field of the third such activity; a factor of 0 takes it out."""

    def changed(mission: AsyncMission) -> AsyncMission:
        rows = mission.plan.activities.copy()
        index = np.flatnonzero((rows["kind"] == kind) & (True if link is None else rows["link"] == link))[2]
        rows[field][index] *= factor
        rows = np.delete(rows, index) if factor == 0.0 else rows
        return dataclasses.replace(mission, plan=dataclasses.replace(mission.plan, activities=rows))

    return changed


def averaged_with(index: int, change_s: float) -> Change:
    def changed(mission: AsyncMission) -> AsyncMission:
        averaged_s = mission.averaged_s.copy()
        averaged_s[index] += change_s
        return dataclasses.replace(mission, averaged_s=averaged_s)

    return changed


def without_last_update(mission: AsyncMission) -> AsyncMission:
    return dataclasses.replace(mission, updates=mission.updates[:-1])


def without_a_return(mission: AsyncMission) -> AsyncMission:
    return dataclasses.replace(mission, returns=mission.returns[1:])


def with_an_update_twice(mission: AsyncMission) -> AsyncMission:
    updates = np.concatenate([mission.updates, mission.updates[-1:]]).astype(ASYNC_UPDATE)
    return dataclasses.replace(mission, updates=updates)


CHANGES: dict[str, Change] = {
    "delivered sooner than it came": updates_with("delivered_s", 1, -5.0),
    "from an average that it did not get": updates_with("base", -1, 1),
    "averaged before it came": updates_with("version", -1, -1),
    "of another member": updates_with("member", 0, 1),
    "an average made too soon": averaged_with(1, -20.0),
    "an average made too late": averaged_with(0, 0.5),
    "no training": rows_with(Kind.TRAIN, None, "flops", 0.0),
    "half a training": rows_with(Kind.TRAIN, None, "flops", 0.5),
    "half the weights down": rows_with(Kind.REDUCE, LinkKind.DOWNLINK, "bytes", 0.5),
    "half the weights up": rows_with(Kind.UPDATE, LinkKind.UPLINK, "bytes", 0.5),
    "a way down that is missing": rows_with(Kind.REDUCE, LinkKind.DOWNLINK, "bytes", 0.0),
    "a way up that is missing": rows_with(Kind.UPDATE, LinkKind.UPLINK, "bytes", 0.0),
    "a sum that is missing": rows_with(Kind.REDUCE, LinkKind.INTRA_ISL, "bytes", 0.0),
    "a copy that is missing": rows_with(Kind.UPDATE, LinkKind.INTRA_ISL, "bytes", 0.0),
    "a session that is missing": rows_with(Kind.SESSION, None, "bytes", 0.0),
    "an update left out": without_last_update,
    "an update counted twice": with_an_update_twice,
    "a member without the last average": without_a_return,
}


@pytest.mark.parametrize("what", CHANGES)
def test_the_judge_names_what_cannot_be(what: str) -> None:
    schedule = AsyncSchedule(Unit.PLANE, Buffer(1))
    # Each plane is in sight in its turn, so that averages are made between the updates of a member.
    world = make_world(
        2, 3, 2, [(k, k % 2, 200.0 * turn + 100.0 * (k // 3), 60.0) for turn in range(40) for k in (0, 4)]
    )
    mission, problem = flown(world, schedule, 3)
    assert len(mission.updates) == 6
    assert (mission.per_member == 3).all()
    assert check_mission(CHANGES[what](mission), problem, schedule), what
