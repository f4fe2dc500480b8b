"""Antennas that a plan leaves pointed: a beam beside the one in use may stay, one that was needed elsewhere may not."""

from __future__ import annotations

import numpy as np
import pytest
from synthetic_worlds import make_workload, make_world

from orbit.contact_plan import LinkKind
from strategies.checker.judged_plan import JudgedPlan
from strategies.checker.sessions import still_pointed
from strategies.drawn_worlds import make_problem
from strategies.problem.plan import Kind, Plan, activities
from strategies.problem.round_state import RoundState
from strategies.problem.workload import Resources, StrategyConfig

STATION = 3
# Three satellites over one station, all in sight all the time.
WORLD = make_world(3, 1, 1, [(k, 0, 0.0, 1000.0) for k in range(3)], ring=False)


def rules(
    sessions: list[tuple[int, float, float]],
    pointed: set[int],
    beams: int,
    before: frozenset[tuple[int, int]] = frozenset(),
) -> list[str]:
    """What the checker says of sessions (satellite, start_s, end_s) in a round of 100 s, with these left pointed."""
    rows = activities(len(sessions), kind=Kind.SESSION, link=LinkKind.DOWNLINK, peer=STATION)
    rows["node"], rows["start_s"], rows["end_s"] = np.array(sessions).T
    plan = Plan(
        start_s=0.0,
        end_s=100.0,
        lower_bound_s=0.0,
        strategy_config=StrategyConfig.parse("none", "topology-aware", "none"),
        activities=rows,
        finish_s=np.full(3, 100.0),
        delivered_s=np.full(3, 100.0),
        names=tuple(node.name for node in WORLD.nodes),
        pointed=frozenset((satellite, STATION) for satellite in pointed),
    )
    resources = Resources(beams=beams, setup_s=1.0)
    case = JudgedPlan(
        plan, make_problem(WORLD, make_workload(3), resources=resources, state=RoundState(pointed=before))
    )
    return [str(violation) for violation in still_pointed(case)]


@pytest.mark.parametrize(
    ("sessions", "pointed"),
    [
        # One long session, and two that share the other beam: the long one never turned away.
        ([(0, 0.0, 90.0), (1, 10.0, 30.0), (2, 40.0, 60.0)], {0, 2}),
        ([(0, 0.0, 20.0), (1, 10.0, 30.0)], {0, 1}),
        ([(0, 0.0, 20.0), (1, 30.0, 50.0), (2, 60.0, 80.0)], {1, 2}),
    ],
)
def test_a_beam_that_nobody_else_needed_stays_pointed(
    sessions: list[tuple[int, float, float]], pointed: set[int]
) -> None:
    assert rules(sessions, pointed, beams=2) == []


@pytest.mark.parametrize(
    ("sessions", "pointed", "beams"),
    [
        ([(0, 0.0, 20.0), (1, 30.0, 50.0)], {0}, 1),
        ([(0, 0.0, 20.0), (1, 30.0, 50.0)], {0, 1}, 1),
        ([(0, 0.0, 20.0), (1, 30.0, 60.0), (2, 40.0, 60.0)], {0}, 2),
        ([(0, 0.0, 20.0), (1, 30.0, 50.0), (2, 60.0, 80.0)], {0, 1, 2}, 2),
        # Both beams keep what they had, and a third came in between.
        ([(0, 0.0, 20.0), (1, 0.0, 20.0), (2, 40.0, 60.0)], {0, 1}, 2),
    ],
)
def test_a_beam_that_was_needed_elsewhere_is_noticed(
    sessions: list[tuple[int, float, float]], pointed: set[int], beams: int
) -> None:
    assert any("turned away" in rule for rule in rules(sessions, pointed, beams))


def test_a_pair_from_before_the_round_stays_where_its_beam_was_not_needed() -> None:
    before = frozenset({(0, STATION)})
    assert rules([(1, 10.0, 30.0)], {0, 1}, beams=2, before=before) == []
    assert any("turned away" in rule for rule in rules([(1, 10.0, 30.0)], {0}, beams=1, before=before))
    assert any("never were" in rule for rule in rules([(1, 10.0, 30.0)], {0}, beams=2))
