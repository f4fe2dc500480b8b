"""`skysplit plan`, `skysplit compare` and `skysplit models`: what a round takes, and what the strategies gain.

What pulls in torch is imported where it is used, so that the other commands start at once.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich import box
from rich.markup import escape
from rich.progress import Progress
from rich.table import Table

from mission.record import write_text
from mission.schema import Scenario
from mission.text.plain_text import plain
from mission.text.quantities import spoken_time
from orbit.contact_plan import ContactPlan
from skysplit.commands.arguments import ScenarioArgument, SetOption, TextFormat, fail, read_scenario
from skysplit.commands.orbits import planned_contacts
from skysplit.planning_inputs import compared, costs_of, samples_of
from skysplit.terminal import Terminal
from splitmodel.costs.published import Profile, published, published_profiles
from splitmodel.shipped import SHIPPED
from strategies.analysis.compare import headings_of

if TYPE_CHECKING:
    from splitmodel.families import Family

_TABLE_WIDTH = 120  # of the tables of a comparison


class PlanFormat(StrEnum):
    """How a plan is shown."""

    TABLE = "table"
    JSON = "json"
    GANTT = "gantt"


class CompareFormat(StrEnum):
    """How a comparison is shown."""

    TABLE = "table"
    JSON = "json"
    HTML = "html"


OutOption = Annotated[Path | None, typer.Option(help="File to write for pictures; the default is NAME.html.")]


def plan(
    scenario: ScenarioArgument,
    settings: SetOption = None,
    at: Annotated[float, typer.Option(min=0.0, help="Start of the round, seconds of mission time.")] = 0.0,
    after: Annotated[
        float | None,
        typer.Option(min=0.0, help="Plan the rest of the round anew, so many seconds after its start."),
    ] = None,
    lose: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="With --after: a node that is gone. Repeatable.")
    ] = None,
    slow: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=PART", help="With --after: a node whose links keep PART of their rate."),
    ] = None,
    output: Annotated[
        PlanFormat, typer.Option("--format", help="gantt is a page: who did what when.")
    ] = PlanFormat.TABLE,
    out: OutOption = None,
) -> None:
    """Plan one round: who sends what to whom and when, and how far that is from the lower bound.

    Example: `skysplit plan paper --at 3600`; what a failure costs: `skysplit plan paper --after 40 --lose sat-0-03`
    """
    from report.plan_page import plan_page
    from server_app.planning.advice import advice
    from server_app.planning.round_planner import (
        framing_of,
        mode_of,
        quorum_of,
        rates_of,
        resources_of,
        strategy_config_of,
        workload_of,
    )
    from strategies.aggregation.quorum import cut
    from strategies.analysis.plan_words import answer, link_rows, round_facts, sentence, station_rows
    from strategies.checker.check import require_feasible
    from strategies.planner.round_planner import plan_round
    from strategies.problem.round_state import state_at

    resolved = read_scenario(scenario, settings)
    if (lose or slow) and after is None:
        fail("--lose, --slow: allowed with --after only, which tells when")
    contacts = planned_contacts(resolved)
    try:
        costs = costs_of(resolved)
        samples = samples_of(resolved, contacts)
        workload = workload_of(resolved, costs, samples, mode_of(resolved), framing=framing_of(contacts))
        quorum = quorum_of(resolved, contacts, samples)
        rates, resources = rates_of(resolved), resources_of(resolved)
        planned = plan_round(contacts, workload, rates, resources, strategy_config_of(resolved), start_s=at)
        require_feasible(planned, contacts, workload, rates, resources)
        if after is not None:
            contacts, lost = _struck(contacts, lose or [], slow or [])
            state = state_at(planned, workload, at + after, lost)
            planned = plan_round(
                contacts,
                workload,
                rates,
                resources,
                strategy_config_of(resolved),
                start_s=at + after,
                state=state,
            )
            require_feasible(planned, contacts, workload, rates, resources, state)
    except ValueError as error:
        fail(str(error))
    delivered_s = quorum.deliveries_s(planned)
    planned = cut(planned, quorum.end_s(planned))
    told = answer(planned, contacts, workload, rates, resolved.epoch)
    if output is PlanFormat.JSON:
        planes = {"planes_delivered_s": {str(plane): time_s for plane, time_s in delivered_s.items()}}
        figures = {**planned.summary(), **told, **planes}
        print(json.dumps({**figures, "activities": list(planned.to_rows())}))
        return
    part = "one round" if after is None else "the rest of a round"
    title = f"{resolved.name}: {part} from {planned.start_s:g} s, {costs.name}"
    if output is PlanFormat.GANTT:
        path = out or Path(f"{resolved.name}-plan.html")
        write_text(path, plan_page(title, resolved.description, planned, contacts))
        print(path)
        return
    for line in advice(resolved, costs, samples, framing_of(contacts)):
        Terminal(stderr=True).print(f"WARNING: {line}", soft_wrap=True, highlight=False)
    console = Terminal()
    console.print(sentence(planned, told), soft_wrap=True, highlight=False, style="bold")
    facts = round_facts(planned, told)
    for plane, time_s in delivered_s.items():
        late = ", in a later round" if time_s > planned.end_s else ""
        facts.append((f"plane {plane} delivers after", spoken_time(time_s - planned.start_s) + late))
    console.print(_plain_table(title, ("the round", ""), facts))
    console.print(
        _plain_table("", ("links", "transfers", "features, images", "all else"), link_rows(planned))
    )
    stations = station_rows(planned, contacts)
    if stations:
        console.print(_plain_table("", ("station", "passes", "down", "up"), stations))


def compare(
    scenario: ScenarioArgument,
    settings: SetOption = None,
    starts: Annotated[int, typer.Option(min=1, help="Start times over the contact plan.")] = 48,
    models: Annotated[
        str | None, typer.Option(help="Published models, separated by commas; see `skysplit models`.")
    ] = None,
    output: Annotated[
        CompareFormat, typer.Option("--format", help="html is a page with charts.")
    ] = CompareFormat.TABLE,
    curve: Annotated[
        Path | None,
        typer.Option(help="Directory of a run: its accuracies tell mission time per point for every case."),
    ] = None,
    schedules: Annotated[
        bool,
        typer.Option("--schedules", help="Set schedules that papers publish beside them."),
    ] = False,
    sensitivity: Annotated[
        bool,
        typer.Option(
            "--sensitivity", help="Plan the missions again with other rates, stations and sizes: minutes."
        ),
    ] = False,
    out: OutOption = None,
) -> None:
    """Compare the split with its baselines, as whole missions and round by round; say whether it pays.

    Example: `skysplit compare paper --starts 12`
    """
    from strategies.analysis.closed_form import add_mission_times
    from strategies.analysis.compare import mission_rows, part_rows, round_rows
    from strategies.analysis.summary import verdict

    resolved = read_scenario(scenario, settings)
    contacts = planned_contacts(resolved)
    names = re.split(r",(?![^(]*\))", models) if models else []  # names may hold commas in brackets
    try:
        samples = samples_of(resolved, contacts)
        profiles = [published(name.strip()) for name in names] or [costs_of(resolved)]
        accuracy = _accuracies(curve) if curve else []
        if len(accuracy) > 1:  # missions of as many rounds as the run had
            training = resolved.training.model_copy(update={"rounds": len(accuracy)})
            resolved = resolved.model_copy(update={"training": training})
        found = {
            costs.name: watched(resolved, contacts, costs, samples, starts, sensitivity, schedules)
            for costs in profiles
        }
        for comparison in found.values():
            add_mission_times(comparison, accuracy)
    except ValueError as error:
        fail(str(error))
    if output is CompareFormat.JSON:
        # One model: its comparison itself, as documented; several: each by name.
        print(json.dumps(found if len(found) > 1 else next(iter(found.values()))))
        return
    if output is CompareFormat.HTML:
        from report.comparison_page import comparison_page

        title = f"{resolved.name}: what the strategies gain"
        told = (
            f"{len(contacts.satellites)} satellites at {resolved.compute.satellite_tflops:g} TFLOP/s each, "
            f"{len(contacts.stations)} stations, {resolved.compute.ground_tflops:g} TFLOP/s on the ground, "
            f"{sum(samples)} images a round, start{'s' * (starts > 1)}: {starts}. {resolved.description}"
        )
        path = out or Path(f"{resolved.name}-comparison.html")
        write_text(path, comparison_page(title, told, found))
        print(path)
        return
    console = Terminal()
    for name, comparison in found.items():
        for place, line in enumerate(verdict(comparison)):
            console.print(line, soft_wrap=True, highlight=False, style="" if place else "bold")
        rounds = resolved.training.rounds
        missions = (
            f"{resolved.name}, {name}: the mission, {rounds} round{'s' * (rounds > 1)} from the first start"
        )
        wide = Terminal(
            width=max(console.width, _TABLE_WIDTH)
        )  # no figure is cut, whatever the terminal wraps
        wide.print(_table(mission_rows(comparison), missions))
        wide.print(_table(round_rows(comparison), f"one round, median of starts: {starts} at most"))
        wide.print(_table(part_rows(comparison), "where the time of a satellite goes in a round, mean"))
        console.print(
            *(f"{case['name']}: {case['title']}" for case in comparison["cases"]), sep="; ", highlight=False
        )


def models(
    output: Annotated[
        TextFormat, typer.Option("--format", help="How the answer is printed.")
    ] = TextFormat.TABLE,
) -> None:
    """List model families that can be trained, and the published models whose sizes `plan` and `compare` know.

    Example: `skysplit models --format json`
    """
    from splitmodel.families import ModelLoadError, families

    try:
        known = families().values()
    except ModelLoadError as error:
        fail(str(error))
    profiles = published_profiles().values()
    names = {family.name for family in known}
    if output is TextFormat.JSON:
        sizes = [
            {"kind": "size", **vars(profile), "trainable": profile.family in names} for profile in profiles
        ]
        print(json.dumps([*sizes, *(_facts(family) for family in known)]))
        return
    table = Table("family", "images", "pooling", "LoRA on", title="families: trainable")
    for family in known:
        images = "named bands" if family.own_bands else "RGB"
        table.add_row(family.name, images, family.pooling, ", ".join(family.lora_targets))
    of_sizes = Table(
        "name",
        "tokens",
        "hidden",
        "backbone, M",
        "forward, GFLOP",
        "trained as",
        title=f"known sizes; shipped with weights: {', '.join(SHIPPED)}",
    )
    for profile in profiles:
        of_sizes.add_row(
            profile.name,
            str(profile.tokens),
            str(profile.hidden),
            f"{profile.backbone_params / 1e6:.1f}",
            f"{profile.backbone_flops / 1e9:.2f}",
            profile.family if profile.family in names else "planned only",
        )
    console = Terminal()
    wide = Terminal(width=max(console.width, _TABLE_WIDTH))
    wide.print(table)
    wide.print(of_sizes)


def _facts(family: Family) -> dict[str, Any]:
    """A family, as JSON says it."""
    return {
        "kind": "family",
        "name": family.name,
        "trainable": True,
        "pooling": family.pooling,
        "bands": "named" if family.own_bands else "RGB",
        "lora_targets": list(family.lora_targets),
        "token_views": family.token_views,
    }


def watched(
    scenario: Scenario,
    contacts: ContactPlan,
    costs: Profile,
    samples: list[int],
    starts: int,
    sensitivity: bool = False,
    schedules: bool = False,
    names: Sequence[str] = (),
) -> dict[str, Any]:
    """Compare, with a progress bar; with ``names``, these cases alone."""
    console = Terminal(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(escape(plain(costs.name)), total=1.0)
        return compared(
            scenario, contacts, costs, samples, starts, schedules=schedules, sensitivity=sensitivity, names=names,
            processes=os.cpu_count() or 1,
            progress=lambda done: progress.update(task, completed=done),
        )  # fmt: skip


def _struck(contacts: ContactPlan, lose: list[str], slow: list[str]) -> tuple[ContactPlan, frozenset[int]]:
    """The contact plan with slower links, and the nodes that are lost."""
    from strategies.problem.round_state import slowed

    def node(name: str) -> int:
        try:
            return contacts.index(name)
        except KeyError:
            names = [node.name for node in contacts.nodes]
            raise ValueError(f"found no node {name!r}; allowed are {names[0]} … {names[-1]}") from None

    lost = frozenset(node(name) for name in lose)
    for word in slow:
        name, equals, part = word.partition("=")
        try:
            factor = float(part)
        except ValueError:
            factor = -1.0
        if not equals or not 0.0 < factor <= 1.0:
            raise ValueError(f"--slow: found {word!r}, allowed: NAME=PART with PART above 0, at most 1")
        contacts = slowed(contacts, node(name), factor)
    return contacts, lost


def _table(rows: list[dict[str, str]], title: str) -> Table:
    """Rows of ``strategies.analysis.compare`` as a table."""
    headings = headings_of(rows)
    table = Table(title=title, box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("case", no_wrap=True)
    for heading in headings:
        table.add_column(heading, justify="left" if heading == "binds" else "right", no_wrap=True)
    for row in rows:
        table.add_row(row["case"], *(row.get(heading, "–") for heading in headings))
    return table


def _plain_table(title: str, headings: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    table = Table(title=title or None, box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column(headings[0], no_wrap=True)
    for heading in headings[1:]:
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    return table


def _accuracies(run: Path) -> list[float]:
    """Test score after each round of a run, per cent."""
    import pyarrow.parquet as pq

    path = run / "rounds.parquet"
    if not path.exists():
        raise ValueError(f"--curve: found no {path}; allowed is the directory of a run")
    table = pq.read_table(path)
    score = "test_score" if "test_score" in table.column_names else "test_accuracy"  # of an older version
    by_round = dict(zip(table["round"].to_pylist(), table[score].to_pylist(), strict=True))
    return [100.0 * by_round[number] for number in sorted(by_round)]
