"""`skysplit cuts`: what it costs, and what it hides, to run blocks of the backbone on board."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from mission.record import read_run, scenario_of
from mission.scenario import ScenarioError, given_path
from mission.schema import Scenario
from skysplit.commands.arguments import ScenarioArgument, SetOption, deliver, fail, read_scenario
from skysplit.commands.comparisons import CompareFormat, FormatOption
from skysplit.commands.orbits import planned_contacts
from skysplit.cuts.model_cuts import ModelCut, cuts_of
from skysplit.terminal import Terminal, busy

_TABLE_WIDTH = 100  # of any terminal: no figure is cut
_COLUMNS = (
    "first + last blocks",
    "kB down an image",
    "kB up an image",
    "GFLOP on board",
    "GFLOP on ground",
    "MB held on board",
    "kB of adapter",
    "round, s",
    "pixels seen",
    "score",
)


def cuts(
    scenario: ScenarioArgument,
    settings: SetOption = None,
    at: Annotated[float, typer.Option(min=0.0, help="Start of the round in seconds of mission time.")] = 0.0,
    runs: Annotated[
        list[Path] | None,
        typer.Option("--run", help="Directory of a run, whose score is shown at its cut. Repeatable."),
    ] = None,
    output: FormatOption = CompareFormat.TABLE,
    out: Annotated[
        Path | None, typer.Option(help="File to write; the default for html is NAME-cuts.html.")
    ] = None,
) -> None:
    """Show bytes, FLOPs and memory on board, length of a round and pixels recovered for every cut of the model.

    Example: `skysplit cuts demo --format html`; on real sizes: `skysplit cuts paper`
    """
    if out is not None and output is CompareFormat.TABLE:
        fail("--out: found --format table, allowed: json, html")
    resolved = read_scenario(scenario, settings)
    contacts = planned_contacts(resolved)
    try:
        scores = _scores(resolved, runs or [])
        with busy("planning a round for every cut"):
            model_cuts = cuts_of(resolved, contacts, at_s=at)
    except (ValueError, OSError) as error:
        fail(str(error))
    rows = [
        dataclasses.replace(cut, score=scores.get((cut.onboard_blocks, cut.head_blocks)))
        for cut in model_cuts
    ]
    if output is CompareFormat.JSON:
        deliver(json.dumps([dataclasses.asdict(row) for row in rows]), out)
        return
    title = f"{resolved.name}: where to cut {resolved.planning.profile or resolved.model.path or resolved.model.name}"
    columns, lines = _with_figures([_line(row) for row in rows])
    if output is CompareFormat.HTML:
        from report.pages.cuts_page import cuts_page

        table = cuts_page(
            title, resolved.description, [dataclasses.asdict(row) for row in rows], columns, lines
        )
        deliver(table, out or Path(f"{resolved.name}-cuts.html"))
        return
    _print_table(title, columns, lines)


def _scores(scenario: Scenario, directories: Sequence[Path]) -> dict[tuple[int, int], float]:
    """Scores of runs, by their cuts.

    Raises:
        ValueError: A run is of another model or not over, or two are cut alike.
    """
    scores: dict[tuple[int, int], float] = {}
    for directory in directories:
        try:
            run = read_run(directory)
            flown, result = scenario_of(run), run.get("result") or {}
        except FileNotFoundError:
            raise ValueError(f"--run: {directory} holds no run") from None
        except ScenarioError as error:
            raise ValueError(
                f"--run: found {directory}, which another version has recorded: {error}"
            ) from error
        if _model(flown) != _model(scenario):
            raise ValueError(
                f"--run: found {directory} with model {flown.model.path or flown.model.name!r}, allowed: runs of "
                f"{scenario.model.path or scenario.model.name!r} as the scenario sets it"
            )
        if result.get("test_score") is None:
            raise ValueError(f"--run: found {directory}, which has no score; allowed: a run that is complete")
        place = flown.split.blocks_on_board, flown.split.head_blocks
        if place in scores:
            raise ValueError(
                f"--run: found two runs with {place[0]} + {place[1]} blocks on board, allowed: one a cut"
            )
        scores[place] = float(result["test_score"])
    return scores


def _model(scenario: Scenario) -> dict[str, Any]:
    """Its keys, with the folder that they mean."""
    path = given_path(scenario.model.path, "model.path")
    return {**scenario.model.model_dump(), "path": path and path.expanduser().resolve()}


def _line(row: ModelCut) -> list[str]:
    return [
        f"{row.onboard_blocks}+{row.head_blocks}",
        f"{row.down_bytes / 1e3:.1f}",
        f"{row.up_bytes / 1e3:.1f}",
        _figure(row.onboard_flops / 1e9, 2),
        _figure(row.ground_flops / 1e9, 2),
        _figure(row.onboard_bytes / 1e6, 3),
        _figure(row.adapter_bytes / 1e3, 3),
        "–" if row.round_s is None else f"{row.round_s:.1f}",
        "–" if row.pixels_recovered is None else f"{100 * row.pixels_recovered:.1f} %",
        "–" if row.score is None else f"{row.score:.3f}",
    ]


def _figure(value: float, digits: int) -> str:
    """Return a number with so many digits, or with all digits of its whole part if these are more."""
    return f"{value:.{digits}g}" if value < 10**digits - 0.5 else f"{value:.0f}"


def _with_figures(lines: Sequence[Sequence[str]]) -> tuple[list[str], list[list[str]]]:
    """Return the columns in which some cut has a figure, and each line's entries in them."""
    shown = [number for number in range(len(_COLUMNS)) if any(line[number] != "–" for line in lines)]
    return [_COLUMNS[number] for number in shown], [[line[number] for number in shown] for line in lines]


def _print_table(title: str, columns: Sequence[str], lines: Sequence[Sequence[str]]) -> None:
    table = Table(
        caption="Per image of a round; pixels seen: their variance that a linear map recovers from features.",
    )
    for number, column in enumerate(columns):
        widest = max(len(line[number]) for line in lines)
        table.add_column(column, justify="right" if number else "left", min_width=widest)
    for line in lines:
        table.add_row(*line)
    Terminal(width=_TABLE_WIDTH).print_table(title, table)
