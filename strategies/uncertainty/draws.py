"""A round over many draws of its outages: when it ends, what planning anew saves, what margin keeps a promise."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any

import numpy as np

from mission.text.quantities import spoken_time
from strategies.planner.checked_plan import checked_plan
from strategies.problem.plan import Plan
from strategies.problem.planning_problem import PlanningProblem
from strategies.problem.workload import StrategyConfig
from strategies.uncertainty.flight import FlownRound, fly
from strategies.uncertainty.outages import OutageModel


@dataclass(frozen=True, eq=False)
class DrawnRounds:
    """A round and how it went in each draw.

    Attributes:
        plan: As planned under a clear sky.
        replanned: Draw by draw, planned anew when an outage interrupts it.
        held_up: The same draws where nobody plans anew.
    """

    plan: Plan
    replanned: tuple[FlownRound, ...]
    _: KW_ONLY
    held_up: tuple[FlownRound, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the figures as JSON values.

        ``draws``, ``clear_s`` (length of the plan), ``replanned`` and ``held_up`` with ``median_s, p5_s, p95_s`` of the
        length (null where so many draws do not end before the horizon) and how many are ``unfinished``; ``saved_s``
        (median over draws of what planning anew saves, where both end), ``margin_s`` (what to add to the plan's length
        so that 95 of 100 draws end by then, planned anew), ``interruptions`` (mean of a draw) and ``bookings_kept``
        (part of the sessions that were still to come when a plan was interrupted; null without any).
        """
        anew_s, held_s = (
            np.array([flown_round.end_s for flown_round in flown]) - self.plan.start_s
            for flown in (self.replanned, self.held_up)
        )
        both = np.isfinite(anew_s) & np.isfinite(held_s)
        replanned = _lengths(anew_s)
        booked = sum(flown_round.booked for flown_round in self.replanned)
        return {
            "draws": len(self.replanned),
            "clear_s": self.plan.makespan_s,
            "replanned": replanned,
            "held_up": _lengths(held_s),
            "saved_s": float(np.median((held_s - anew_s)[both])) if both.any() else None,
            "margin_s": None if replanned["p95_s"] is None else replanned["p95_s"] - self.plan.makespan_s,
            "interruptions": float(np.mean([flown_round.interruptions for flown_round in self.replanned])),
            "bookings_kept": sum(flown_round.kept for flown_round in self.replanned) / booked
            if booked
            else None,
        }


def fly_draws(
    problem: PlanningProblem,
    strategy_config: StrategyConfig,
    model: OutageModel,
    draws: int,
    *,
    progress: Callable[[float], None] | None = None,
) -> DrawnRounds:
    """Plan a round under a clear sky, then fly it through each draw: planned anew, and held up.

    Raises:
        strategies.problem.network.PlanningError: The round cannot be planned, or not be taken up in the middle.
    """
    plan = checked_plan(problem, strategy_config)
    replanned: list[FlownRound] = []
    held_up: list[FlownRound] = []
    for number in range(draws):
        outages = model.draw(problem.contact_plan, number)
        for flown, notice_s in ((replanned, model.notice_s), (held_up, None)):
            flown.append(fly(plan, problem, strategy_config, outages, notice_s=notice_s))
        if progress:
            progress((number + 1) / draws)
    return DrawnRounds(plan, tuple(replanned), held_up=tuple(held_up))


def _lengths(length_s: np.ndarray) -> dict[str, Any]:
    """Median, 5th and 95th percentile by rank, as draws that do not end have no number to interpolate with."""
    quantiles = {"p5_s": 5, "median_s": 50, "p95_s": 95}
    quantile_s = {
        name: np.percentile(length_s, part, method="inverted_cdf") for name, part in quantiles.items()
    }
    return {
        **{name: float(value) if math.isfinite(value) else None for name, value in quantile_s.items()},
        "unfinished": int(np.isinf(length_s).sum()),
    }


def draw_columns(figures: Mapping[str, Any]) -> dict[str, Any]:
    """A result of :meth:`DrawnRounds.to_json` as columns of a table, a number each."""
    lengths = {
        f"{name}_{column}": figures[key][column]
        for name, key in (("flown", "replanned"), ("held_up", "held_up"))
        for column in ("median_s", "p5_s", "p95_s", "unfinished")
    }
    rest = ("draws", "saved_s", "margin_s", "interruptions", "bookings_kept")
    return {**lengths, **{name: figures[name] for name in rest}}


def draw_facts(figures: Mapping[str, Any]) -> list[tuple[str, str]]:
    """A result of :meth:`DrawnRounds.to_json` as pairs of text."""
    facts = [("clear sky", spoken_time(figures["clear_s"]))]
    for words, key in (("planned anew", "replanned"), ("held up, without", "held_up")):
        lengths = figures[key]
        spoken = (_spoken(lengths[name]) for name in ("median_s", "p5_s", "p95_s"))
        facts.append((words, "{}, 5 % below {}, 5 % above {}".format(*spoken)))
        if lengths["unfinished"]:
            facts.append(("… not within the horizon", f"{lengths['unfinished']} of {figures['draws']}"))
    facts.append(("planning anew saves", _spoken(figures["saved_s"])))
    facts.append(("margin that 95 % keep", _spoken(figures["margin_s"])))
    facts.append(("interruptions of a draw", f"{figures['interruptions']:.1f}"))
    return [*facts, ("bookings kept", _part(figures["bookings_kept"]))]


def _spoken(time_s: float | None) -> str:
    return "–" if time_s is None else spoken_time(time_s)


def _part(part: float | None) -> str:
    return "–" if part is None else f"{100 * part:.0f} %"


def draw_rows(cases: Sequence[tuple[str, dict[str, Any]]]) -> list[dict[str, str]]:
    """Rounds over their draws as text, a row per (case, result of :meth:`DrawnRounds.to_json`)."""
    return [
        {
            "case": name,
            "clear sky": _spoken(figures["clear_s"]),
            "median": _spoken(figures["replanned"]["median_s"]),
            "p5": _spoken(figures["replanned"]["p5_s"]),
            "p95": _spoken(figures["replanned"]["p95_s"]),
            "held up": _spoken(figures["held_up"]["median_s"]),
            "saves": _spoken(figures["saved_s"]),
            "margin": _spoken(figures["margin_s"]),
            "no end": f"{figures['replanned']['unfinished']}",
            "kept": _part(figures["bookings_kept"]),
        }
        for name, figures in cases
    ]
