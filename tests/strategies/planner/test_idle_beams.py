"""Between passes there is nothing to decide: the schedule of the beams goes from one to the next."""

from __future__ import annotations

import pytest
from synthetic_worlds import LADDER, make_workload, make_world

from strategies import space_ground
from strategies.checker.check import check_plan
from strategies.drawn_worlds import make_problem
from strategies.planner.round_planner import plan_round


@pytest.mark.parametrize("gap_s", [1_000.0, 19_000.0])
def test_a_longer_wait_for_a_pass_takes_no_more_decisions(
    gap_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    decisions = 0
    advance = space_ground._Beams.advance

    def counted(beams: space_ground._Beams, tick_s: float) -> bool:
        nonlocal decisions
        decisions += 1
        return advance(beams, tick_s)

    monkeypatch.setattr(space_ground._Beams, "advance", counted)
    passes = [(0, 0, gap_s, 300.0), (0, 0, 2.0 * gap_s, 300.0)]
    problem = make_problem(make_world(1, 1, 1, passes, inter_bps=0.0), make_workload(1, 64))
    plan = plan_round(problem, LADDER["d"])
    assert check_plan(plan, problem) == []
    assert plan.makespan_s > gap_s
    assert decisions < 100
