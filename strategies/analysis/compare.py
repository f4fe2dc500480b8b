"""What the strategies gain: every case over many starts and as a whole mission, against each other and the bound."""

from __future__ import annotations

import math
import multiprocessing
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import KW_ONLY, dataclass
from typing import Any

import numpy as np

from mission.text.quantities import spoken_bytes, spoken_energy, spoken_time
from orbit.contact_plan import ContactPlan
from strategies.analysis.cases import ANSWERS, IMAGES_DOWN, SPLIT, headline_of
from strategies.analysis.closed_form import closed_form
from strategies.analysis.mission_totals import Case, World, plan_figures, plan_one_round
from strategies.analysis.sensitivity import break_even_of, knobs_of, mission_or_none
from strategies.problem.network import NoRouteError
from strategies.problem.plan import SPLIT_COLUMNS
from strategies.problem.workload import Workload
from strategies.uncertainty.draws import fly_draws
from strategies.uncertainty.flight import may_be_flown

# Rounds of a mission that are planned have about so many steps together, of cases in the headline and of others, and
# are at least so many. The others are interpolated. All 20 of `paper` have 91,000. Missions that wait for contacts are
# planned like those in the headline, for their rounds are not alike.
_STEPS, _STEPS_OF_OTHERS = 100_000, 16_000
_LEAST_PLANNED, _LEAST_OF_OTHERS = 6, 3
_AS_STEPS = 10  # a satellite's part of a round without steps takes about as long to plan as so many
_FEW_STARTS = 4
_START_S = 4.0  # about what it takes until a further process can plan: it has SciPy and astropy to load
_SIZES = ("down_bytes", "up_bytes", "isl_bytes")


@dataclass(frozen=True)
class _Job:
    """One round of a case from a start, or its whole mission."""

    case: int
    start_s: float
    _: KW_ONLY
    mission: bool = False


@dataclass(frozen=True)
class _BreakEvenJob:
    """Where the answer turns as one number grows or shrinks."""

    knob: int
    above: bool
    _: KW_ONLY
    start_s: float
    lengths_s: tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class _DrawJob:
    """One round of a case from a start, flown through so many draws of outages."""

    case: int
    start_s: float
    _: KW_ONLY
    draws: int


_AnyJob = _Job | _BreakEvenJob | _DrawJob


def even_starts(contact_plan: ContactPlan, count: int, part: float = 0.4) -> tuple[float, ...]:
    """``count`` start times spread over the first ``part`` of the contact plan, so that rounds end inside it."""
    return tuple(float(time_s) for time_s in np.arange(count) / count * part * contact_plan.horizon_s)


def compare(
    world: World,
    starts_s: Sequence[float],
    *,
    sensitivity: bool = False,
    draws: int = 0,
    processes: int = 1,
    progress: Callable[[float], None] | None = None,
) -> dict[str, Any]:
    """Compare every case: one round from many starts, and the whole mission from the first start, each plan checked.

    Cases outside the headline (:func:`strategies.analysis.cases.headline_of`) are planned from at most four of the
    starts, and fewer of their rounds. With more ``processes`` than one they share the work; the result is the same.

    Returns:
        JSON values. ``headline`` names the cases between which the answer lies; ``ground_has_labels`` where labels are
        made there. ``cases`` holds an object per case with ``name, alias, title``; of one round ``median_s, p95_s,
        gap_to_bound, bound_s, ratio_to`` (of medians, by name of the other case), ``starts`` that were planned,
        ``unplanned`` starts whose round does not end inside the contact plan, ``makespans_s``, median ``down_bytes,
        up_bytes, isl_bytes`` and the mean seconds of ``SPLIT_COLUMNS``; and ``mission`` as
        :class:`~strategies.analysis.mission_totals.MissionTotals`, or null where it does not end. ``rho`` is the split
        over the headline's case on board, in closed form, as planned for a round, and for the mission. With
        ``sensitivity``, ``break_evens`` says where the answer turns, by missions that were planned again
        (:class:`strategies.analysis.sensitivity.BreakEven`).
        With ``draws``, a case whose rounds can be taken up in the middle has ``draws``, one round from the first start
        flown through so many draws of the world's outages (:class:`strategies.uncertainty.draws.DrawnRounds`).
    """
    jobs: list[_Job | _DrawJob] = [*_draw_jobs(world, starts_s[0], draws), *_jobs(world, starts_s)]
    knobs = knobs_of(world) if sensitivity else ()
    steps = len(jobs) + 2 * len(knobs)
    count = 0

    def outcomes(jobs: Sequence[_AnyJob]) -> Iterator[tuple[Any, Any]]:
        nonlocal count
        for job, outcome in _results(world, jobs, processes):
            count += 1
            yield job, outcome
            if progress:
                progress(count / steps)

    results = _case_results(
        world, [job for job in jobs if isinstance(job, _Job)], outcome_of := dict(outcomes(jobs))
    )
    for job in jobs:
        if isinstance(job, _DrawJob):
            results[job.case]["draws"] = outcome_of[job]
    comparison: dict[str, Any] = {
        "cases": results,
        "headline": list(headline_of(world.cases)),
        "ground_has_labels": any(case.labels is not None for case in world.cases),
        "starts": len(starts_s),
        "rounds": max((case.rounds for case in world.cases), default=0),
    }
    rho = _rho(world, results)
    if rho:
        comparison["rho"] = rho
    if sensitivity:
        break_even_jobs = _break_even_jobs(world, results, len(knobs), starts_s[0])
        break_evens = dict(outcomes(break_even_jobs))
        comparison["break_evens"] = [
            break_evens[job].to_json() for job in break_even_jobs if break_evens[job] is not None
        ]
    return comparison


def _jobs(world: World, starts_s: Sequence[float]) -> list[_Job]:
    """The mission of every case, then its rounds."""
    few, headline = list(starts_s)[:: -(-len(starts_s) // _FEW_STARTS)], headline_of(world.cases)
    jobs = [_Job(number, starts_s[0], mission=True) for number in range(len(world.cases))]
    for number, case in enumerate(world.cases):
        jobs += [_Job(number, start_s) for start_s in (starts_s if case.name in headline else few)]
    return jobs


def _draw_jobs(world: World, start_s: float, draws: int) -> list[_DrawJob]:
    """One round of each case that can be flown through outages."""
    return [
        _DrawJob(number, start_s, draws=draws)
        for number, case in enumerate(world.cases)
        if draws and may_be_flown(case.one_round)
    ]


def _case_results(
    world: World, jobs: Sequence[_Job], outcomes: Mapping[Any, dict[str, Any] | None]
) -> list[dict[str, Any]]:
    """What is said of each case, from the outcomes of its jobs."""
    results = []
    for number, case in enumerate(world.cases):
        rounds = [outcomes[job] for job in jobs if job.case == number and not job.mission]
        mission = next(outcomes[job] for job in jobs if job.case == number and job.mission)
        results.append({**_summary(case, rounds), "mission": mission})
    by_name = {result["name"]: result for result in results}
    for result in results:
        result["ratio_to"] = {
            name: result["median_s"] / other["median_s"]
            for name, other in by_name.items()
            if name != result["name"] and other["median_s"] and result["median_s"]
        }
    return results


def _rho(world: World, results: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """The split over the same trained on board; None where one of them is not compared, or cannot be planned."""
    by_name = {result["name"]: result for result in results}
    on_board = next((name for name in headline_of(world.cases) if name.startswith("onboard")), None)
    if on_board is None or SPLIT not in by_name[on_board]["ratio_to"]:
        return None
    one_round = {case.name: case.one_round for case in reversed(world.cases)}
    missions = [by_name[name]["mission"] for name in (SPLIT, on_board)]
    return {
        **closed_form(world, one_round[SPLIT], one_round[on_board]),
        "planned": by_name[SPLIT]["ratio_to"][on_board],
        "mission": missions[0]["length_s"] / missions[1]["length_s"] if all(missions) else None,
    }


def _break_even_jobs(
    world: World, results: Sequence[Mapping[str, Any]], knobs: int, start_s: float
) -> list[_BreakEvenJob]:
    """Each number smaller and larger, beside the lengths of the headline missions as it is."""
    by_name = {result["name"]: result for result in results}
    lengths_s = tuple(
        (name, by_name[name]["mission"]["length_s"] if by_name[name]["mission"] else math.inf)
        for name in headline_of(world.cases)
    )
    return [
        _BreakEvenJob(number, above=above, start_s=start_s, lengths_s=lengths_s)
        for number in range(knobs)
        for above in (False, True)
    ]


def _results(world: World, jobs: Sequence[_AnyJob], processes: int) -> Iterator[tuple[_AnyJob, Any]]:
    """The outcome of every job, in any order.

    This process begins, with the short jobs, which come last. Others are started where what is left takes longer than
    starting them does, judged by the shortest job so far.
    """
    rest, began_s = list(jobs), time.monotonic()
    least_s = math.inf  # for a job, once what is loaded or compiled on first use is there

    def stays_alone() -> bool:
        left_s = least_s * len(rest) if math.isfinite(least_s) else 0.0
        is_short = isinstance(rest[-1], _Job) and max(time.monotonic() - began_s, left_s) < _START_S
        return processes <= 1 or len(rest) == 1 or is_short

    while rest and stays_alone():
        job, job_began_s = rest.pop(), time.monotonic()
        outcome = _outcome(world, job)
        if len(rest) < len(jobs) - 1:
            least_s = min(least_s, time.monotonic() - job_began_s)
        yield job, outcome
    if not rest:
        return
    # Processes that are spawned inherit neither threads nor locks of whatever the caller has loaded.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(
        min(processes, len(rest)), mp_context=context, initializer=_enter, initargs=(world,)
    ) as pool:
        futures = {pool.submit(_outcome_here, job): job for job in rest}
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


_here: World | None = None  # of a process of the pool


def _enter(world: World) -> None:
    global _here
    _here = world


def _outcome_here(job: _AnyJob) -> Any:
    assert _here is not None
    return _outcome(_here, job)


def _outcome(world: World, job: _AnyJob) -> Any:
    """The figures of a round or of a mission, None where it does not end inside the contact plan; or a break-even."""
    if isinstance(job, _BreakEvenJob):
        knob, known = knobs_of(world)[job.knob], dict(job.lengths_s)
        return break_even_of(world, knob, above=job.above, start_s=job.start_s, known=known)
    case = world.cases[job.case]
    if isinstance(job, _Job) and job.mission:
        totals = mission_or_none(
            world, case, job.start_s, most_planned(case), most_waiting=most_if_waiting(case)
        )
        return None if totals is None else totals.to_json()
    if isinstance(job, _DrawJob):
        assert world.outages is not None
        problem = world.problem(case.one_round, job.start_s)
        try:
            return fly_draws(problem, case.strategy_config, world.outages, job.draws).to_json()
        except NoRouteError:
            return None
    try:
        plan = plan_one_round(world, case, job.start_s)
    except NoRouteError:
        return None
    figures = plan_figures(plan, world.link_rates, world.rates)
    return {
        "makespan_s": plan.makespan_s,
        "bound_s": plan.lower_bound_s,
        "gap": plan.gap,
        "parts_s": plan.time_split().mean(axis=0).tolist(),
        **{name: getattr(figures, name) for name in _SIZES},
    }


def most_planned(case: Case) -> int:
    """Return the number of rounds of a case's mission that a comparison plans."""
    if case.name in ANSWERS:
        return most_if_waiting(case)
    return max(_LEAST_OF_OTHERS, _STEPS_OF_OTHERS // _steps_of(case.workloads[0]))


def most_if_waiting(case: Case) -> int:
    """Return the same for a mission that waits for contacts, whose rounds are not alike: as of one in the headline."""
    return max(_LEAST_PLANNED, _STEPS // _steps_of(case.workloads[0]))


def _steps_of(work: Workload) -> int:
    """Steps that take about as long to plan as a round does."""
    if work.chained:
        return work.passes * sum(-(-count // work.micro_batch) for count in work.samples)
    return _AS_STEPS * len(work.samples)


def _summary(case: Case, rounds: Sequence[Mapping[str, Any] | None]) -> dict[str, Any]:
    planned = [figures for figures in rounds if figures is not None]

    def median(key: str) -> float | None:
        return float(np.median([figures[key] for figures in planned])) if planned else None

    makespan_s = [figures["makespan_s"] for figures in planned]
    parts_s = np.mean([figures["parts_s"] for figures in planned], axis=0) if planned else np.zeros(5)
    return {
        "name": case.name,
        "alias": case.alias,
        "title": case.title,
        "median_s": median("makespan_s"),
        "p95_s": float(np.percentile(makespan_s, 95)) if planned else None,
        "bound_s": median("bound_s"),
        "gap_to_bound": median("gap"),
        "starts": len(planned),
        "unplanned": len(rounds) - len(planned),
        "makespans_s": makespan_s,
        **{name: median(name) for name in _SIZES},
        **dict(zip(SPLIT_COLUMNS, parts_s.tolist(), strict=True)),
    }


def mission_rows(comparison: Mapping[str, Any]) -> list[dict[str, str]]:
    """The missions of ``compare`` as text, a row per case: time, bytes, computing, and what binds.

    Times of missions that have rounds which are interpolated begin with ``≈``, see :func:`interpolation_note`.
    """
    rows = []
    for case in comparison["cases"]:
        totals = case["mission"]
        row = {"case": case["name"], "what": case["title"]}
        if totals is None:
            rows.append({**row, **dict.fromkeys(_MISSION_HEADINGS, "–"), "binds": "contact plan too short"})
            continue
        about = f"{_ABOUT} " * (totals["planned"] < totals["rounds"])
        values = (
            about + spoken_time(totals["length_s"]),
            *(spoken_bytes(totals[name]) for name in _SIZES),
            spoken_time(totals["ground_compute_s"]),
            spoken_time(totals["onboard_compute_s"]),
        )
        energy_j = totals.get("onboard_energy_j")
        energy = {} if energy_j is None else {"energy": spoken_energy(energy_j)}
        curve = {
            heading: spoken_time(case[key]) if case[key] else "–"
            for key, heading in (("per_point_s", "a point"), ("to_target_s", "to best"))
            if key in case
        }
        rows.append(
            {
                **row,
                **dict(zip(_MISSION_HEADINGS, values, strict=True)),
                **energy,
                **curve,
                "binds": totals["binds"],
            }
        )
    return rows


_ABOUT = "≈"
_MISSION_HEADINGS = ("mission", "down", "up", "ISL", "ground", "on board")  # the last two: computing


def interpolation_note(rows: Iterable[Mapping[str, str]]) -> str:
    """Return what the mark of :func:`mission_rows` means; empty where none of the rows has it."""
    if not any(row.get("mission", "").startswith(_ABOUT) for row in rows):
        return ""
    return f"{_ABOUT}: some rounds are interpolated between others that are planned, so it may be a few per cent off."


def round_rows(comparison: Mapping[str, Any]) -> list[dict[str, str]]:
    """One round of every case of ``compare`` as text: time, bound, ratios, bytes; from several starts their 95 %."""
    rows = []
    of_starts = (("p95", "p95_s"),) if comparison["starts"] > 1 else ()
    others = [name for name in comparison["headline"] if name.startswith("onboard") or name == IMAGES_DOWN]
    for case in comparison["cases"]:
        times = {
            heading: "–" if case[key] is None else spoken_time(case[key])
            for heading, key in (("median", "median_s"), *of_starts, ("bound", "bound_s"))
        }
        sizes = {
            heading: "–" if case[key] is None else spoken_bytes(case[key])
            for heading, key in zip(("down", "up", "ISL"), _SIZES, strict=True)
        }
        ratios = {
            f"÷ {other.partition('-')[0]}": "1.00"
            if other == case["name"]
            else f"{case['ratio_to'][other]:.2f}"
            if other in case["ratio_to"]
            else "–"
            for other in others
        }
        gap = "–" if case["gap_to_bound"] is None else f"{100 * case['gap_to_bound']:.0f} %"
        rows.append({"case": case["name"], "what": case["title"], **times, "gap": gap, **ratios, **sizes})
    return rows


def part_rows(comparison: Mapping[str, Any]) -> list[dict[str, str]]:
    """Return the share of a satellite's time by activity in a round, as text, one row per case."""
    return [
        {
            "case": case["name"],
            "what": case["title"],
            **{column[:-2]: spoken_time(case[column]) if case["starts"] else "–" for column in SPLIT_COLUMNS},
        }
        for case in comparison["cases"]
    ]


def headings_of(rows: Iterable[Mapping[str, str]]) -> list[str]:
    """The columns of such rows beside the case and what it is, in their order."""
    return list(dict.fromkeys(key for row in rows for key in row if key not in ("case", "what")))
