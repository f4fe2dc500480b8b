"""The lower bound: never above a plan, never raised by more means, and equal to closed forms where there are any."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
from bound_worlds import BoundCase, bound_cases
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import linprog
from scipy.sparse import coo_array
from synthetic_worlds import LADDER, RATES, drawn, make_workload, make_world

from orbit.contact_plan import ContactPlan, LinkKind
from strategies.analysis.closed_form import closed_form
from strategies.analysis.mission_totals import World
from strategies.bound.flows.flow import served_part
from strategies.bound.flows.flow_needs import FlowNeeds
from strategies.bound.flows.flow_over_time import flow_arcs, max_flow, max_flow_part
from strategies.bound.lower_bound import RoundBounds
from strategies.bound.reach import LinkNetwork
from strategies.bound.session_windows import cut_before, data_from_s, most_at_once, session_windows
from strategies.drawn_worlds import draw, make_problem
from strategies.planner.round_planner import plan_round
from strategies.problem.network import NoRouteError, PlanningError, groups_of
from strategies.problem.planning_problem import PlanningProblem
from strategies.problem.round_state import RoundState
from strategies.problem.sunlight import Sunlight
from strategies.problem.workload import ComputeRates, Resources

max_flow_module = pytest.importorskip("ortools.graph.python.max_flow", reason="OR-Tools is the second solver")

FAST = ComputeRates(1e18, 1e18)  # nothing but the links takes time
SEARCH = 2e-3  # precision of the search, and some


def lower_bound_s(problem: PlanningProblem, group: np.ndarray) -> float:
    return RoundBounds(problem).lower_bound_s(group)


def alone(satellites: int) -> np.ndarray:
    return np.arange(satellites)


def together(satellites: int) -> np.ndarray:
    return np.zeros(satellites, int)


def with_rates(world: ContactPlan, down_bps: list[float], up_bps: list[float]) -> ContactPlan:
    """The same contacts with a rate of its own for each station and direction."""
    contacts, first = world.contacts.copy(), len(world.satellites)
    down, up = contacts["kind"] == LinkKind.DOWNLINK, contacts["kind"] == LinkKind.UPLINK
    contacts["rate_bps"][down] = np.asarray(down_bps)[contacts["target"][down] - first]
    contacts["rate_bps"][up] = np.asarray(up_bps)[contacts["source"][up] - first]
    return dataclasses.replace(world, contacts=contacts)


def bound_of(case: BoundCase, contact_plan: ContactPlan | None = None, **changes: object) -> float:
    contact_plan = contact_plan or case.contact_plan
    case = dataclasses.replace(case, contact_plan=contact_plan, **changes)
    group = groups_of(
        contact_plan.of_kind(LinkKind.INTRA_ISL, LinkKind.INTER_ISL), len(contact_plan.satellites)
    )
    return lower_bound_s(
        make_problem(contact_plan, case.workload, case.start_s, rates=case.rates, resources=case.resources),
        group,
    )


def answered(case: BoundCase, end_s: float) -> bool:
    """Whether a round of the case may end by then, over all links that ever open."""
    links = case.contact_plan.of_kind(LinkKind.INTRA_ISL, LinkKind.INTER_ISL)
    group = groups_of(links, len(case.contact_plan.satellites))
    problem = make_problem(
        case.contact_plan, case.workload, case.start_s, rates=case.rates, resources=case.resources
    )
    return RoundBounds(problem).may_end_by(group, end_s)


@drawn(16)
@given(bound_cases(), st.sampled_from(sorted(LADDER)))
def test_no_plan_ends_before_its_bound(case: BoundCase, strategy: str) -> None:
    try:
        plan = plan_round(
            make_problem(
                case.contact_plan, case.workload, case.start_s, rates=case.rates, resources=case.resources
            ),
            LADDER[strategy],
        )
    except PlanningError:
        return  # what does not get through has no plan
    assert plan.lower_bound_s <= plan.makespan_s * (1.0 + 1e-9)
    if not case.workload.on_board:
        assert answered(case, plan.end_s + 1e-3)


def test_backward_passes_of_earlier_parts_fill_the_trip_of_the_last() -> None:
    """A satellite alone, whose steps cross in four parts: its bound lay 0.04 s above its plan."""
    case = draw(np.random.default_rng([15, 61]))
    plan = plan_round(case.problem(0.0), case.strategy_config)
    assert (
        plan.steps["end_s"].max() - plan.steps["start_s"].min() < 0.14
    )  # all but the ground's own time is hidden
    assert plan.lower_bound_s <= plan.makespan_s


@drawn(12)
@given(bound_cases())
def test_what_cannot_end_by_a_time_is_bounded_by_it(case: BoundCase) -> None:
    if case.workload.on_board:
        return
    try:
        bound_s = bound_of(case)
    except PlanningError:
        return
    assert answered(case, case.start_s + bound_s * (1.0 + SEARCH) + 1e-3)
    if not case.workload.aggregate_bytes + case.workload.update_bytes:  # no way back of an average
        assert not answered(case, case.start_s + bound_s * (1.0 - SEARCH) - 1e-3)


@drawn(10)
@given(bound_cases())
def test_faster_links_and_computers_more_beams_and_less_set_up_never_raise_the_bound(case: BoundCase) -> None:
    try:
        whole_s = bound_of(case)
    except NoRouteError:
        return
    faster = case.contact_plan.contacts.copy()
    faster["rate_bps"] *= 2.0
    rates = dataclasses.replace(
        case.rates,
        satellite_flops=2.0 * case.rates.satellite_flops,
        ground_flops=2.0 * case.rates.ground_flops,
    )
    beams = dataclasses.replace(case.resources, beams=case.resources.beams + 1)
    quick = dataclasses.replace(case.resources, setup_s=case.resources.setup_s / 2.0)
    for better_s in (
        bound_of(case, dataclasses.replace(case.contact_plan, contacts=faster)),
        bound_of(case, rates=rates),
        bound_of(case, resources=beams),
        bound_of(case, resources=quick),
    ):
        assert better_s <= whole_s * (1.0 + SEARCH)


@drawn(10)
@given(bound_cases(), st.data())
def test_a_lost_station_or_lost_links_never_lower_the_bound(case: BoundCase, data: st.DataObject) -> None:
    try:
        whole_s = bound_of(case)
    except NoRouteError:
        return
    contacts = case.contact_plan.contacts
    lost = data.draw(st.sampled_from(case.contact_plan.stations.tolist()))
    without_station = contacts[(contacts["source"] != lost) & (contacts["target"] != lost)]
    for poorer in (
        without_station,
        contacts[contacts["kind"] != LinkKind.INTER_ISL],
        contacts[contacts["kind"] != LinkKind.INTRA_ISL],
    ):
        try:
            poorer_s = bound_of(case, dataclasses.replace(case.contact_plan, contacts=poorer))
        except NoRouteError:
            continue
        assert poorer_s >= whole_s * (1.0 - SEARCH)


@drawn(8)
@given(bound_cases())
def test_a_later_start_never_ends_sooner(case: BoundCase) -> None:
    try:
        now_s = bound_of(case)
        later_s = bound_of(case, start_s=case.start_s + 50.0)
    except NoRouteError:
        return
    # The slots in which antennas are counted lie elsewhere.
    assert later_s + 50.0 >= now_s * (1.0 - 5.0 * SEARCH)


def test_one_satellite_under_one_station_is_bound_by_set_up_and_link() -> None:
    world = make_world(1, 1, 1, [(0, 0, 0.0, 5000.0)])
    workload = make_workload(1, 10_000, head_bytes=0.0)
    transfer_s = 10_000 * (workload.c1_bytes + workload.c3_bytes) * 8.0 / 200e6
    found = lower_bound_s(make_problem(world, workload), alone(1))
    assert found == pytest.approx(10.0 + transfer_s, rel=3e-3)


def test_antennas_that_point_at_each_other_already_need_no_set_up() -> None:
    world = make_world(1, 1, 1, [(0, 0, 0.0, 5000.0)])
    workload = make_workload(1, 10_000, head_bytes=0.0)
    transfer_s = 10_000 * (workload.c1_bytes + workload.c3_bytes) * 8.0 / 200e6
    resources = Resources(setup_s=60.0)
    for start_s in (0.0, 100.0):
        state = RoundState(pointed=frozenset({(0, 1)}))
        found = lower_bound_s(
            make_problem(world, workload, start_s, resources=resources, state=state), alone(1)
        )
        assert found == pytest.approx(transfer_s, rel=3e-3)
        assert lower_bound_s(
            make_problem(world, workload, start_s, resources=resources), alone(1)
        ) == pytest.approx(60.0 + transfer_s, rel=3e-3)


@pytest.mark.parametrize("setup_s", [0.0, 10.0, 60.0])
def test_features_come_down_to_one_station_and_answers_return_from_another(setup_s: float) -> None:
    # Station 0 hears 200 Mbit/s and says 0.05, station 1 hears 2 and says 50: each alone takes many minutes.
    passes = [(0, 0, 0.0, 5000.0), (0, 1, 0.0, 5000.0)]
    world = with_rates(make_world(1, 1, 2, passes), [200e6, 2e6], [0.05e6, 50e6])
    workload = make_workload(1, 2000, "head", returned_tokens=197, head_bytes=0.0)
    down_s, up_s = 2000 * workload.c1_bytes * 8.0 / 200e6, 2000 * workload.c2_bytes * 8.0 / 50e6
    by_hand_s = 2.0 * setup_s + down_s + up_s + 0.1
    found = lower_bound_s(
        make_problem(world, workload, rates=FAST, resources=Resources(setup_s=setup_s)), alone(1)
    )
    assert 0.9 * by_hand_s <= found <= by_hand_s


@pytest.mark.parametrize("satellites", [2, 3])
def test_one_beam_pays_a_set_up_for_each_satellite_in_the_best_of_all_orders(satellites: int) -> None:
    rng = np.random.default_rng(satellites)
    for _ in range(6):
        begin_s = rng.integers(0, 200, satellites).astype(float)
        need_s = rng.integers(20, 120, satellites).astype(float)
        setup_s = float(rng.choice([0.0, 10.0, 60.0]))
        world = make_world(
            satellites, 1, 1, [(k, 0, begin_s[k], 3000.0) for k in range(satellites)], inter_bps=0.0
        )
        workload = make_workload(satellites, (100 * need_s).astype(int), "downlink", raw_bytes=250e3)
        best_s = np.inf
        for order in itertools.permutations(range(satellites)):
            now_s = 0.0
            for k in order:
                now_s = max(now_s, begin_s[k]) + setup_s + need_s[k]
            best_s = min(best_s, now_s)
        found = lower_bound_s(
            make_problem(world, workload, rates=FAST, resources=Resources(setup_s=setup_s)), alone(satellites)
        )
        assert 0.9 * best_s <= found <= best_s + 0.1


def test_a_slow_chain_of_links_is_what_a_plane_waits_for() -> None:
    # Only the satellite in the middle is heard; its neighbours' features need a link of 5 Mbit/s each.
    world = make_world(1, 3, 1, [(1, 0, 0.0, 20_000.0)], isl_bps=5e6, ring=False)
    workload = make_workload(3, 500, head_bytes=0.0)
    crossing_s = 500 * (workload.c1_bytes + workload.c3_bytes) * 8.0 / 5e6
    found = lower_bound_s(
        make_problem(world, workload, rates=FAST, resources=Resources(setup_s=0.0)), together(3)
    )
    assert found == pytest.approx(crossing_s, rel=5e-3)


def test_what_is_embedded_in_the_dark_waits_for_the_sun() -> None:
    world = make_world(1, 1, 1, [(0, 0, 0.0, 20_000.0)])
    workload = make_workload(1, 1000, head_bytes=0.0)
    lit = Sunlight((np.array([[700.0, 900.0], [1500.0, np.inf]]),))
    rates = ComputeRates(workload.embedding_flops * 4.0, 1e18)  # four images a second: 200 s, then 50 s more
    found = lower_bound_s(
        make_problem(world, workload, rates=rates, resources=Resources(sunlight=lit)), alone(1)
    )
    assert found == pytest.approx(1550.0, rel=2e-3)


def test_later_passes_over_the_samples_come_after_the_last_features() -> None:
    # A hundred samples of a satellite; one answer takes a second, so that an epoch is seven steps of a second each.
    world = with_rates(make_world(1, 1, 1, [(0, 0, 0.0, 20_000.0)]), [200e6], [16 * 1536 * 8.0])
    works = [make_workload(1, 100, head_bytes=0.0, epochs=epochs) for epochs in (1, 3)]
    problems = [make_problem(world, work, rates=FAST, resources=Resources(setup_s=0.0)) for work in works]
    once, thrice = (lower_bound_s(problem, alone(1)) for problem in problems)
    assert thrice - once == pytest.approx(2.0 * 100 / 16, rel=0.05)


def test_steps_of_a_shared_adapter_follow_each_other_unless_they_are_joint_or_late() -> None:
    world = make_world(1, 4, 1, [(k, 0, 0.0, 20_000.0) for k in range(4)])
    resources = Resources(setup_s=0.0, beams=4)

    def bound_s(**changes: object) -> float:
        workload = make_workload(4, 1600, head_bytes=0.0, cached_fraction=1.0, shared_adapter=True, **changes)
        return lower_bound_s(make_problem(world, workload, rates=FAST, resources=resources), together(4))

    step_s = 2.0 * 0.004 + 16 * 1536 * 8.0 * (1 / 50e6 + 1 / 200e6)
    assert bound_s() == pytest.approx(400 * step_s, rel=5e-3)
    assert bound_s(satellites_per_step=4) == pytest.approx(100 * step_s, rel=5e-3)
    assert bound_s(gradient_delay=1) == pytest.approx(200 * step_s, rel=5e-3)
    assert bound_s(satellites_per_step=2, gradient_delay=1) == pytest.approx(100 * step_s, rel=5e-3)


def test_the_average_comes_back_to_every_satellite_through_a_later_pass() -> None:
    # The second satellite is heard first and waits for the average until its next pass.
    passes = [(0, 0, 1000.0, 500.0), (1, 0, 100.0, 500.0), (1, 0, 4000.0, 500.0)]
    world = make_world(2, 1, 1, passes, inter_bps=0.0)
    found = lower_bound_s(make_problem(world, make_workload(2, 32)), alone(2))
    assert found == pytest.approx(4010.0, abs=5.0)
    unsent = dataclasses.replace(make_workload(2, 32), update_bytes=0.0)
    assert lower_bound_s(make_problem(world, unsent), alone(2)) < 1200.0


def test_satellites_that_train_alone_meet_over_links_or_on_the_ground() -> None:
    passes = [(0, 0, 1000.0, 500.0), (1, 0, 2000.0, 500.0), (0, 0, 3000.0, 500.0)]
    workload = make_workload(2, 32, "onboard-lora")
    apart = make_world(2, 1, 1, passes, inter_bps=0.0)
    found = lower_bound_s(make_problem(apart, workload), alone(2))
    assert found == pytest.approx(3010.0, abs=5.0)
    linked = make_world(2, 1, 1, passes)
    trained_s = 32 * workload.onboard_flops / RATES.satellite_flops
    found = lower_bound_s(make_problem(linked, workload, resources=Resources(acquisition_s=0.0)), together(2))
    assert trained_s < found < trained_s + 2.0


def test_links_that_open_after_the_round_join_nobody() -> None:
    passes = [(0, 0, 0.0, 3000.0), (1, 0, 6000.0, 3000.0)]
    world = make_world(2, 1, 1, passes)
    contacts = world.contacts.copy()
    between = contacts["kind"] == LinkKind.INTER_ISL
    contacts["start_s"][between] = 5000.0
    world = dataclasses.replace(world, contacts=contacts)
    found = lower_bound_s(make_problem(world, make_workload(2, 64, head_bytes=0.0)), together(2))
    assert found == pytest.approx(5010.0, abs=10.0)


def flow_by_highs(arcs: tuple[np.ndarray, np.ndarray, np.ndarray]) -> float:
    """Maximum flow as a linear program, conservation at every node written out, by HiGHS."""
    tail, head, amount = arcs
    nodes, scale = int(max(tail.max(), head.max())) + 1, float(amount.max())
    numbers = np.arange(len(tail))
    balance = coo_array((np.ones(len(tail)), (head, numbers)), shape=(nodes, len(tail))) - coo_array(
        (np.ones(len(tail)), (tail, numbers)), shape=(nodes, len(tail))
    )
    found = linprog(
        -(head == 1).astype(float), A_eq=balance.tocsr()[2:], b_eq=np.zeros(nodes - 2),
        bounds=np.stack([np.zeros(len(tail)), amount / scale], axis=1), method="highs",
    )  # fmt: skip
    return -float(found.fun) * scale


def flow_by_or_tools(arcs: tuple[np.ndarray, np.ndarray, np.ndarray], total: float) -> float:
    tail, head, amount = arcs
    solver = max_flow_module.SimpleMaxFlow()
    units = np.ceil(np.minimum(amount / total, 10.0) * 1e9).astype(np.int64)
    solver.add_arcs_with_capacity(tail.astype(np.int32), head.astype(np.int32), units)
    assert solver.solve(0, 1) == solver.OPTIMAL
    return solver.optimal_flow() * total / 1e9


@drawn(8)
@given(bound_cases(), st.floats(300.0, 20_000.0))
def test_three_solvers_find_the_same_flow_and_it_relaxes_the_linear_program(
    case: BoundCase, end_s: float
) -> None:
    satellites = len(case.workload.samples)
    windows = session_windows(case.contact_plan, 0.0, case.resources.setup_s)
    links = case.contact_plan.of_kind(LinkKind.INTRA_ISL)
    beams = {node: case.resources.beams_of(node) for node in case.contact_plan.stations.tolist()}
    reach = LinkNetwork(windows, links, satellites=satellites, beams=beams).by(end_s)
    if not len(reach.windows):
        return
    samples = np.bincount(reach.group, case.workload.samples, minlength=reach.groups).astype(float)
    none, latest_s = np.zeros(reach.groups), np.full(reach.groups, end_s)
    needs = FlowNeeds(
        features=samples, feature_bits=1.2e6, features_until_s=latest_s, embedded=None, answers=none, up_bits=0.0,
        down_bits=0.0, answers_until_s=latest_s, held_s=none, ground_s=none, other_ground_s=none,
        ground_until_s=end_s, aboard_share=none,
    )  # fmt: skip
    resources, total = case.resources, float(samples.sum()) * 1.2e6
    arcs = flow_arcs(
        reach.windows, reach.window_group, "down", samples * 1.2e6, latest_s, none, resources, 0.0, end_s
    )
    mine = max_flow(*arcs, total)
    assert mine == pytest.approx(flow_by_highs(arcs), abs=2e-5 * total)
    assert mine == pytest.approx(flow_by_or_tools(arcs, total), abs=2e-5 * total)
    relaxed = max_flow_part(needs, reach.windows, reach.window_group, resources, 0.0, end_s)
    assert served_part(needs, reach, resources, 0.0) <= relaxed + 2e-5


@drawn(3)
@given(st.integers(1, 3), st.integers(2, 4), st.integers(1, 3), st.integers(2000, 5000), st.floats(5e7, 4e8))
def test_the_closed_form_is_within_15_percent_of_the_plan_where_the_link_is_the_bottleneck(
    planes, slots, stations, samples, down_bps
) -> None:
    count = planes * slots
    passes = [(k, g, 0.0, 39_000.0) for k in range(count) for g in range(min(stations, count))]
    world = make_world(planes, slots, min(stations, count), passes, down_bps=down_bps)
    ample = ComputeRates(0.5e12, 2000e12)
    split, onboard = make_workload(count, samples), make_workload(count, samples, "onboard-lora")
    resources = Resources(setup_s=0.0)
    law = closed_form(World(world, (), rates=ample, resources=resources), split, onboard)
    assert law["bound_by"] == "transfer"
    split_s = plan_round(make_problem(world, split, rates=ample, resources=resources), LADDER["e"]).makespan_s
    onboard_s = plan_round(
        make_problem(world, onboard, rates=ample, resources=resources), LADDER["e"]
    ).makespan_s
    assert split_s / onboard_s == pytest.approx(law["law"], rel=0.15)


def test_weights_that_go_in_parts_over_several_sessions_are_not_bounded_by_one_of_them() -> None:
    # Two planes, two of each in sight of a station of their own: each carries a half of the plane's average.
    passes = [(0, 0, 0.0, 600.0), (2, 1, 0.0, 600.0), (4, 2, 0.0, 600.0), (6, 3, 0.0, 600.0)]
    world = make_world(2, 4, 4, passes, isl_bps=1e10, inter_bps=0.0)
    problem = make_problem(world, make_workload(8, 4, "onboard-full"), rates=FAST)
    plan = plan_round(problem, LADDER["e"])
    one_link_s = 10.0 + 8.0 * 170e6 / 200e6 + 8.0 * 170e6 / 50e6
    assert plan.makespan_s < 0.7 * one_link_s
    assert plan.lower_bound_s == pytest.approx(10.0 + (one_link_s - 10.0) / 2.0, rel=0.05)
    assert plan.lower_bound_s <= plan.makespan_s


@drawn(40)
@given(bound_cases(), st.floats(300.0, 20_000.0), st.sampled_from(["down", "up"]))
def test_windows_carry_at_once_what_a_count_at_every_instant_finds(
    case: BoundCase, end_s: float, direction: str
) -> None:
    windows = cut_before(session_windows(case.contact_plan, 0.0, case.resources.setup_s), end_s)
    stations = case.contact_plan.stations.tolist()
    beams = {node: case.resources.beams_of(node) for node in stations}
    plane = windows["satellite"] % 2
    begin_s, close_s, rate_bps = (
        data_from_s(windows, direction),
        windows[f"{direction}_end_s"],
        windows[f"{direction}_bps"],
    )
    most_bps = [0.0, 0.0]
    for instant_s, group in itertools.product(begin_s[np.isfinite(begin_s)].tolist(), (0, 1)):
        is_open = (begin_s <= instant_s) & (instant_s < close_s) & (plane == group)
        at_once_bps = sum(
            rate_bps[np.flatnonzero(is_open & (windows["station"] == node))[: beams[node]]].sum()
            for node in stations
        )
        most_bps[group] = max(most_bps[group], at_once_bps)
    assert most_at_once(windows, direction, plane, 2, beams).tolist() == pytest.approx(
        most_bps, rel=1e-9, abs=1.0
    )


def test_a_world_without_downlinks_has_no_bound() -> None:
    world = make_world(1, 2, 1, [(0, 0, 0.0, 500.0)])
    deaf = dataclasses.replace(world, contacts=world.contacts[world.contacts["kind"] != LinkKind.DOWNLINK])
    with pytest.raises(ValueError, match=r"sat-0-0.*carry 0 of"):
        lower_bound_s(make_problem(deaf, make_workload(2, 10)), alone(2))
