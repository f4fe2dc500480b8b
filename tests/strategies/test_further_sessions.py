"""Steps that outlast the sessions of their group: the most urgent go first, or further sessions are taken."""

from __future__ import annotations

import numpy as np
import pytest
from synthetic_worlds import LADDER, RATES, RESOURCES, make_workload, make_world

from strategies.checker.check import check_plan
from strategies.drawn_worlds import make_problem
from strategies.planner import split_round
from strategies.planner.round_planner import plan_round
from strategies.planner.split.further_sessions import FurtherSessions
from strategies.problem.network import passes_of
from strategies.problem.plan import Kind, Plan
from strategies.problem.planning_problem import PlanningProblem
from strategies.problem.workload import ComputeRates
from strategies.space_ground import SESSION

_SETUP_S = RESOURCES.setup_s


def _further(
    passes: list[tuple[int, int, float, float]], held: list[tuple[int, float, float]]
) -> FurtherSessions:
    """Beside sessions (pass, start, limit) of satellites that are a group each."""
    contacts = passes_of(make_world(1, 3, 2, passes, inter_bps=0.0, ring=False), 0.0, 1e5)
    rows = []
    for index, start_s, limit_s in held:
        satellite, station = contacts["satellite"][index], contacts["station"][index]
        rows.append((index, satellite, satellite, station, start_s, start_s + _SETUP_S, limit_s, limit_s))
    return FurtherSessions(
        contacts, contacts["satellite"], sessions=np.array(rows, SESSION), resources=RESOURCES
    )


def test_a_further_session_is_the_soonest_that_lasts_as_long_as_wanted() -> None:
    further = _further([(0, 0, 0.0, 100.0), (0, 0, 1000.0, 50.0), (0, 0, 2000.0, 300.0)], [(0, 0.0, 100.0)])
    taken = further.take(0, 100.0, least_s=10.0, wanted_s=200.0)
    assert taken["pass_index"].tolist() == [2]
    assert taken["data_s"][0] == pytest.approx(2000.0 + _SETUP_S)
    assert taken["limit_s"][0] == pytest.approx(2300.0)


def test_where_none_lasts_as_long_the_longest_is_taken_and_each_but_once() -> None:
    further = _further([(0, 0, 0.0, 100.0), (0, 0, 1000.0, 90.0), (0, 0, 2000.0, 60.0)], [(0, 0.0, 100.0)])
    taken = [further.take(0, 100.0, least_s=20.0, wanted_s=500.0)["pass_index"].tolist() for _ in range(3)]
    assert taken == [[1], [2], []]


def test_a_further_session_begins_when_the_beam_is_free_and_ends_when_it_is_needed() -> None:
    passes = [(0, 0, 0.0, 50.0), (0, 0, 500.0, 1000.0), (1, 0, 400.0, 300.0), (2, 0, 1200.0, 100.0)]
    further = _further(passes, [(0, 0.0, 50.0), (1, 400.0, 700.0), (3, 1200.0, 1300.0)])
    taken = further.take(0, 60.0, least_s=20.0, wanted_s=100.0)
    assert taken["start_s"][0] == pytest.approx(700.0)
    assert taken["limit_s"][0] == pytest.approx(1200.0)


def _counted(monkeypatch: pytest.MonkeyPatch, problem: PlanningProblem) -> tuple[Plan, int]:
    """The plan of a round in own windows, and how often sessions were planned for it."""
    calls = 0
    plan_sessions = split_round.plan_sessions

    def counted(*args: object, **kwargs: object) -> object:
        nonlocal calls
        calls += 1
        return plan_sessions(*args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(split_round, "plan_sessions", counted)
    plan = plan_round(problem, LADDER["b"])
    assert check_plan(plan, problem) == []
    return plan, calls


def test_a_satellite_whose_pass_is_short_goes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    # The ground takes 0.1 s a sample.  The others have more left for 100 s, and satellite 0 then has no contact.
    passes = [(k, k, start_s, 300.0 if k else 70.0) for k in range(5) for start_s in (0.0, 9000.0)]
    workload = make_workload(5, [96, 352, 352, 352, 352])
    ground_flops = (workload.backbone_forward_flops + workload.backbone_backward_flops) / 0.1
    problem = make_problem(
        make_world(1, 5, 5, passes, inter_bps=0.0, ring=False),
        workload,
        rates=ComputeRates(RATES.satellite_flops, ground_flops),
    )
    plan, calls = _counted(monkeypatch, problem)
    backbone = plan.activities[plan.activities["kind"] == Kind.BACKBONE]
    assert calls == 1
    assert backbone["end_s"][backbone["satellite"] == 0].max() < 70.0
    assert backbone["end_s"].max() < 170.0
