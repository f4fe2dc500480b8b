"""`skysplit compare`: what the strategies gain, as whole missions and round by round, and whether the split pays.

What pulls in torch is imported where it is used, so that the other commands start at once.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich import box
from rich.table import Table

from mission.schema import Scenario
from orbit.contact_plan import ContactPlan
from skysplit.commands.arguments import (
    DrawsOption,
    OutOption,
    ScenarioArgument,
    SetOption,
    deliver,
    fail,
    read_scenario,
    require_outages,
)
from skysplit.commands.orbits import chosen_cut, planned_contacts
from skysplit.planning_inputs import compared, costs_of, samples_of
from skysplit.terminal import Terminal, busy, progress_bar
from splitmodel.costs.published import Profile
from strategies.analysis.compare import headings_of

_NARROWEST, _IN_A_FILE = (
    100,
    120,
)  # columns of the tables of a comparison: no figure is cut, whatever a terminal wraps


class CompareFormat(StrEnum):
    """Formats in which a comparison can be printed."""

    TABLE = "table"
    JSON = "json"
    HTML = "html"


StartsOption = Annotated[
    int, typer.Option(min=1, help="Number of start times, spread over the contact plan.")
]
ModelsOption = Annotated[
    str | None, typer.Option(help="Published models, separated by commas; see `skysplit models`.")
]
FormatOption = Annotated[CompareFormat, typer.Option("--format", help="html is a page with charts.")]
CurveOption = Annotated[
    Path | None,
    typer.Option(
        help="Directory of a run. Its accuracies give the mission time per point of accuracy for every case."
    ),
]
SchedulesOption = Annotated[
    bool, typer.Option("--schedules", help="Also compare schedules from published papers.")
]
SensitivityOption = Annotated[
    bool,
    typer.Option(
        "--sensitivity", help="Replan the missions with other rates, stations and sizes. Takes minutes."
    ),
]


def compare(
    scenario: ScenarioArgument,
    settings: SetOption = None,
    starts: StartsOption = 48,
    models: ModelsOption = None,
    output: FormatOption = CompareFormat.TABLE,
    curve: CurveOption = None,
    schedules: SchedulesOption = False,
    sensitivity: SensitivityOption = False,
    draws: DrawsOption = 0,
    out: OutOption = None,
) -> None:
    """Compare the split with its baselines, as whole missions and round by round; say whether it pays.

    Example: `skysplit compare paper --starts 12`
    """
    from strategies.analysis.closed_form import add_mission_times

    if out is not None and output is CompareFormat.TABLE:
        fail("--out: found --format table, allowed: json, html")
    resolved = read_scenario(scenario, settings)
    if draws:
        require_outages(resolved)
    try:
        accuracy = _accuracies(curve) if curve else []
    except ValueError as error:
        fail(str(error))
    contacts = planned_contacts(resolved)
    try:
        with busy("reading the model and counting its images"):
            resolved = chosen_cut(resolved, contacts)
            samples = samples_of(resolved, contacts)
            profiles = _profiles(resolved, models or "")
        if accuracy:  # missions of as many rounds as the run had
            training = resolved.training.model_copy(update={"rounds": len(accuracy)})
            resolved = resolved.model_copy(update={"training": training})
        asked: dict[str, Any] = {"sensitivity": sensitivity, "schedules": schedules, "draws": draws}
        comparisons = {
            costs.name: watched(resolved, contacts, costs, samples, starts, **asked) for costs in profiles
        }
        for comparison in comparisons.values():
            add_mission_times(comparison, accuracy)
    except ValueError as error:
        fail(str(error))
    if output is CompareFormat.JSON:
        # One model: its comparison itself, as documented; several: each by name.
        shown = comparisons if len(comparisons) > 1 else next(iter(comparisons.values()))
        deliver(json.dumps(shown), out)
    elif output is CompareFormat.HTML:
        from report.pages.comparison_page import comparison_page

        title = f"{resolved.name}: what the strategies gain"
        path = out or Path(f"{resolved.name}-comparison.html")
        conditions = _conditions(resolved, contacts, samples, starts)
        _say_answers(comparisons)
        deliver(comparison_page(title, conditions, comparisons), path)
    else:
        for name, comparison in comparisons.items():
            _print_comparison(resolved, name, comparison, starts)


def _say_answers(comparisons: Mapping[str, Mapping[str, Any]]) -> None:
    """Print the answer of each comparison on standard error, beside the page whose name is the output."""
    from strategies.analysis.summary import summary_lines

    for comparison in comparisons.values():
        for line in summary_lines(comparison)[:1]:
            Terminal(stderr=True).say(line, style="bold")


def _conditions(scenario: Scenario, contacts: ContactPlan, samples: Sequence[int], starts: int) -> str:
    """What the comparison is of, in a sentence and the scenario's description."""
    return (
        f"{len(contacts.satellites)} satellites at {scenario.compute.satellite_tflops:g} TFLOP/s each, "
        f"{len(contacts.stations)} stations, {scenario.compute.ground_tflops:g} TFLOP/s on the ground, "
        f"{sum(samples)} images a round, start{'s' * (starts > 1)}: {starts}. {scenario.description}"
    )


def _print_comparison(scenario: Scenario, name: str, comparison: Mapping[str, Any], starts: int) -> None:
    """Print the summary, the tables of missions and rounds, and what the cases are."""
    from strategies.analysis.compare import interpolation_note, mission_rows, part_rows, round_rows
    from strategies.analysis.summary import summary_lines
    from strategies.uncertainty.draws import draw_rows

    console = Terminal()
    for place, line in enumerate(summary_lines(comparison)):
        console.say(line, style="" if place else "bold")
    rounds = scenario.training.rounds
    missions = (
        f"{scenario.name}, {name}: the mission, {rounds} round{'s' * (rounds > 1)} from the first start"
    )
    wide = Terminal(width=max(console.width, _NARROWEST if console.is_terminal else _IN_A_FILE))
    drawn = [(case["name"], case["draws"]) for case in comparison["cases"] if case.get("draws")]
    one_round = f"one round, median of up to {starts} starts" if starts > 1 else "one round, from one start"
    tables = [
        (missions, mission_rows(comparison)),
        (one_round, round_rows(comparison)),
        ("where the time of a satellite goes in a round, mean", part_rows(comparison)),
    ]
    if drawn:
        title = f"one round through {drawn[0][1]['draws']} draws of outages: length planned anew, or held up"
        tables.insert(2, (title, draw_rows(drawn)))
    for title, rows in tables:
        wide.print_table(title, comparison_table(rows, wide))
        if note := interpolation_note(rows):
            wide.say(note)
    console.print(
        *(f"{case['name']}: {case['title']}" for case in comparison["cases"]), sep="; ", highlight=False
    )


def watched(
    scenario: Scenario,
    contacts: ContactPlan,
    costs: Profile,
    samples: list[int],
    starts: int,
    *,
    sensitivity: bool = False,
    schedules: bool = False,
    draws: int = 0,
    headline: bool = False,
) -> dict[str, Any]:
    """Compare, with a progress bar; with ``headline``, the cases alone between which the answer lies."""
    with progress_bar(costs.name) as progress:
        return compared(
            scenario, contacts, costs, samples, starts, schedules=schedules, sensitivity=sensitivity, draws=draws,
            headline=headline,
            processes=os.cpu_count() or 1,
            progress=progress,
        )  # fmt: skip


def comparison_table(rows: list[dict[str, str]], console: Terminal) -> Table:
    """Rows of ``strategies.analysis.compare`` as a table, its columns closer together where it would be too wide."""
    headings = headings_of(rows)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column("case", no_wrap=True)
    for heading in headings:
        is_words = heading == "binds"
        table.add_column(
            heading.replace("÷ ", "÷\n"), justify="left" if is_words else "right", no_wrap=not is_words
        )
    for row in rows:
        table.add_row(row["case"], *(row.get(heading, "–") for heading in headings))
    without_limit = console.options.update(width=10 * console.width)
    for table.padding in ((0, 1, 0, 1), (0, 1, 0, 0), (0, 0, 0, 0)):
        if console.measure(table, options=without_limit).maximum <= console.width:
            break
    return table


def _profiles(scenario: Scenario, models: str) -> list[Profile]:
    """Sizes of the published models that are named, or of the scenario's own."""
    names = re.split(r",(?![^(]*\))", models) if models else []  # names may hold commas in brackets
    planning = [scenario.planning.model_copy(update={"profile": name.strip()}) for name in names]
    planned = [scenario.model_copy(update={"planning": table}) for table in planning] or [scenario]
    return [costs_of(case) for case in planned]


def _accuracies(run: Path) -> list[float]:
    """Return the test score after each round of a run, per cent.

    Raises:
        ValueError: The directory is not that of a run, or its run has a single round, whose gain is not known.
    """
    import pyarrow.parquet as pq

    path = run / "rounds.parquet"
    if not path.exists():
        raise ValueError(f"--curve: found no {path}; allowed is the directory of a run")
    table = pq.read_table(path)
    score = "test_score" if "test_score" in table.column_names else "test_accuracy"  # of an older version
    by_round = dict(zip(table["round"].to_pylist(), table[score].to_pylist(), strict=True))
    if len(by_round) < 2:
        raise ValueError(f"--curve: found {len(by_round)} round in {path}; allowed is a run of two or more")
    return [100.0 * by_round[number] for number in sorted(by_round)]
