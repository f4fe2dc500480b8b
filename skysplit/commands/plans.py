"""`skysplit plan` and `skysplit models`: what a round takes, and the models whose sizes are known.

What pulls in torch is imported where it is used, so that the other commands start at once.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Sequence
from dataclasses import KW_ONLY, dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich import box
from rich.table import Table

from mission.schema import Scenario
from mission.text.quantities import spoken_time
from orbit.contact_plan import ContactPlan
from skysplit.commands.arguments import (
    DrawsOption,
    OutOption,
    ScenarioArgument,
    SetOption,
    TextFormat,
    deliver,
    fail,
    read_scenario,
    require_outages,
)
from skysplit.commands.orbits import chosen_cut, planned_contacts
from skysplit.planning_inputs import costs_of, round_images
from skysplit.terminal import Terminal, busy, progress_bar
from splitmodel.costs.published import Profile, published_profiles
from splitmodel.shipped import SHIPPED

if TYPE_CHECKING:
    from splitmodel.families import Family
    from strategies.problem.plan import Plan
    from strategies.problem.planning_problem import PlanningProblem

_TABLE_WIDTH = 100  # of the tables of models
_MOST_SESSIONS = _MOST_SATELLITES = 24  # a longer list is not read


class PlanFormat(StrEnum):
    """Formats in which a plan is shown."""

    TABLE = "table"
    JSON = "json"
    GANTT = "gantt"


AtOption = Annotated[float, typer.Option(min=0.0, help="Start of the round in seconds of mission time.")]
AfterOption = Annotated[
    float | None,
    typer.Option(min=0.0, help="Replan the rest of the round this many seconds after its start."),
]
LoseOption = Annotated[
    list[str] | None, typer.Option(metavar="NAME", help="With --after: a node that has failed. Repeatable.")
]
SlowOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME=PART", help="With --after: a node whose links keep only PART of their rate. Repeatable."
    ),
]
FormatOption = Annotated[
    PlanFormat, typer.Option("--format", help="gantt is a page with a timeline per node.")
]


@dataclass(frozen=True, eq=False)
class PlannedRound:
    """A plan, the problem that it solves, and what went into that.

    Attributes:
        plan: Cut where the scenario's quorum ends the round.
        problem: With the links and nodes that are left after a loss.
        costs: Sizes and FLOPs of the model's parts.
        samples: Training images of each satellite.
        delivered_s: When each plane delivers, mission time; empty where the round waits for all.
    """

    plan: Plan
    problem: PlanningProblem
    _: KW_ONLY
    costs: Profile
    samples: list[int]
    delivered_s: dict[int, float]


def plan(
    scenario: ScenarioArgument,
    settings: SetOption = None,
    at: AtOption = 0.0,
    after: AfterOption = None,
    lose: LoseOption = None,
    slow: SlowOption = None,
    draws: DrawsOption = 0,
    output: FormatOption = PlanFormat.TABLE,
    out: OutOption = None,
) -> None:
    """Plan one round: who sends what to whom and when, and the distance to the lower bound.

    Example: `skysplit plan paper --at 3600`

    To see the cost of a failure: `skysplit plan paper --after 40 --lose sat-0-03`
    """
    from report.pages.plan_page import plan_page
    from strategies.analysis.plan_words import answer

    resolved = read_scenario(scenario, settings)
    if (lose or slow) and after is None:
        fail("--lose, --slow: allowed only with --after, the time of the failure")
    if draws and after is not None:
        fail("--draws: found beside --after, allowed is one of them")
    if out is not None and output is PlanFormat.TABLE:
        fail("--out: found --format table, allowed: json, gantt")
    if draws:
        require_outages(resolved)
        _require_flyable(resolved)
    contacts = planned_contacts(resolved)
    with busy("planning the round"):
        resolved = chosen_cut(resolved, contacts)
        try:
            planned = _planned(resolved, contacts, at, after, lose or [], slow or [])
        except ValueError as error:
            fail(str(error))
        cost_per_min = {station.name: station.cost_per_min for station in resolved.ground.stations}
        result = answer(planned.plan, planned.problem, resolved.epoch, cost_per_min)
    if draws:
        try:
            result["draws"] = _drawn(resolved, planned.problem, draws)
        except ValueError as error:
            fail(str(error))
    if output is PlanFormat.JSON:
        planes = {"planes_delivered_s": {str(plane): time_s for plane, time_s in planned.delivered_s.items()}}
        figures = {**planned.plan.summary(), **result, **planes}
        deliver(json.dumps({**figures, "activities": list(planned.plan.to_rows())}), out)
        return
    part = "one round" if after is None else "the rest of a round"
    title = f"{resolved.name}: {part} from {planned.plan.start_s:g} s, {planned.costs.name}"
    if output is PlanFormat.GANTT:
        page = plan_page(
            title,
            resolved.description,
            planned.plan,
            planned.problem.contact_plan,
            setup_s=resolved.ground.setup_s,
        )
        deliver(page, out or Path(f"{resolved.name}-plan.html"))
        return
    _print_round(resolved, planned, result, title)


def _planned(
    scenario: Scenario,
    contacts: ContactPlan,
    at_s: float,
    after_s: float | None,
    lose: list[str],
    slow: list[str],
) -> PlannedRound:
    """Plan the scenario's first round, or with ``after_s`` what is left of it then; every plan is checked."""
    from server_app.planning.round_planner import (
        framing_of,
        problem_of,
        quorum_of,
        require_rounds,
        strategy_config_of,
    )
    from server_app.planning.workloads import MissionWorkloads, variant_of
    from strategies.aggregation.quorum import cut
    from strategies.planner.checked_plan import checked_plan
    from strategies.problem.round_state import state_at

    require_rounds(scenario, "skysplit plan")
    costs = costs_of(scenario)
    images = round_images(scenario, contacts, costs, at_s)
    samples = images.samples
    workloads = MissionWorkloads(scenario, costs, samples=samples, framing=framing_of(contacts))
    workload = workloads.of_round(variant_of(scenario))
    quorum = quorum_of(scenario, contacts, samples)
    problem, strategy_config = (
        problem_of(scenario, contacts, workload, start_s=at_s, storage=images.storage),
        strategy_config_of(scenario),
    )
    planned = checked_plan(problem, strategy_config)
    if after_s is not None:
        contacts, lost = _struck(contacts, lose, slow)
        problem = dataclasses.replace(
            problem,
            contact_plan=contacts,
            start_s=at_s + after_s,
            state=state_at(planned, workload, at_s + after_s, lost),
        )
        planned = checked_plan(problem, strategy_config)
    delivered_s = quorum.deliveries_s(planned)
    return PlannedRound(
        cut(planned, quorum.end_s(planned)), problem, costs=costs, samples=samples, delivered_s=delivered_s
    )


def _require_flyable(scenario: Scenario) -> None:
    """End the command with one error where a round cannot be taken up in the middle."""
    training = scenario.training
    if training.on_ground or training.mode not in ("head", "lora"):
        fail(
            f"training.mode: found {training.mode} with --draws and labels = {training.labels}; allowed: head or lora, "
            "with labels on board"
        )


def _drawn(scenario: Scenario, problem: PlanningProblem, draws: int) -> dict[str, Any]:
    """The round through draws of the scenario's outages, with a progress bar."""
    from server_app.planning.round_planner import strategy_config_of
    from server_app.planning.uncertainty import outage_model_of
    from strategies.uncertainty.draws import fly_draws

    with progress_bar("draws") as progress:
        strategy_config, outages = strategy_config_of(scenario), outage_model_of(scenario)
        return fly_draws(problem, strategy_config, outages, draws, progress=progress).to_json()


def _print_round(scenario: Scenario, planned: PlannedRound, result: dict[str, Any], title: str) -> None:
    """Print warnings, the sentence that says most, and tables of the round, its links and its stations."""
    from server_app.planning.advice import advice
    from server_app.planning.round_planner import framing_of
    from strategies.analysis.plan_words import link_rows, round_facts, sentence, session_rows, station_rows
    from strategies.analysis.stored_images import storage_rows
    from strategies.uncertainty.draws import draw_facts

    contacts = planned.problem.contact_plan
    with busy("adding up what crosses"):
        warnings = advice(scenario, planned.costs, planned.samples, framing_of(contacts))
    for line in warnings:
        Terminal(stderr=True).say(f"WARNING: {line}")
    console = Terminal()
    console.say(sentence(planned.plan, result), style="bold")
    _print_picture(console, planned)
    facts = round_facts(planned.plan, result)
    for plane, time_s in planned.delivered_s.items():
        late = ", in a later round" if time_s > planned.plan.end_s else ""
        facts.append((f"plane {plane} delivers after", spoken_time(time_s - planned.plan.start_s) + late))
    console.print_table(title, _plain_table(("the round", ""), facts))
    if drawn := result.get("draws"):
        title = f"{drawn['draws']} draws of outages"
        console.print_table(title, _plain_table(("the round", ""), draw_facts(drawn)))
    if imaging := result.get("imaging"):
        columns = ("images", "on board", "trained", "oldest", "arrive", "dropped", "peak")
        rows = storage_rows(imaging["satellites"])
        console.print(_plain_table(columns, rows[:_MOST_SATELLITES]))
        if len(rows) > _MOST_SATELLITES:
            console.print(f"{len(rows) - _MOST_SATELLITES} more satellites: --format json", highlight=False)
    headings = ("links", "transfers", "features, images", "all else")
    console.print(_plain_table(headings, link_rows(planned.plan)))
    stations = station_rows(planned.plan, contacts)
    if stations:
        console.print(_plain_table(("station", "passes", "down", "up"), stations))
    sessions = session_rows(planned.plan, scenario.epoch)
    if sessions:
        of_sessions = ("UTC", "after", "for", "session", "down", "up", "of")
        console.print(_plain_table(of_sessions, sessions[:_MOST_SESSIONS]))
    if len(sessions) > _MOST_SESSIONS:
        console.print(
            f"{len(sessions) - _MOST_SESSIONS} more sessions: --format gantt or json", highlight=False
        )


def _print_picture(console: Terminal, planned: PlannedRound) -> None:
    """Print the round as a row of characters per satellite; plain ones where the terminal has no others."""
    from orbit.files.contact_plan_files import to_rows
    from report.plan_picture import ASCII, UNICODE, WIDEST, plan_picture

    contacts, plan = planned.problem.contact_plan, planned.plan
    lines = plan_picture(
        [contacts.nodes[index].name for index in contacts.satellites],
        to_rows(contacts),
        list(plan.to_rows()),
        (plan.start_s, plan.end_s),
        width=min(console.width, WIDEST),
        signs=ASCII if console.options.ascii_only else UNICODE,
    )
    for line in lines:
        console.print(line, no_wrap=True, highlight=False)


def models(
    output: Annotated[TextFormat, typer.Option("--format", help="Format of the output.")] = TextFormat.TABLE,
) -> None:
    """List model families that can be trained, and the published models whose sizes `plan` and `compare` know.

    Example: `skysplit models --format json`
    """
    with busy("loading model families"):
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
    table = Table("family", "images", "pooling", "LoRA on")
    for family in known:
        images = "named bands" if family.own_bands else "RGB"
        table.add_row(family.name, images, family.pooling, ", ".join(family.lora_targets))
    of_sizes = _plain_table(
        ("name", "tokens", "hidden", "backbone, M", "GFLOP", "trained as"),
        [
            (
                profile.name,
                str(profile.tokens),
                str(profile.hidden),
                f"{profile.backbone_params / 1e6:.1f}",
                f"{profile.backbone_flops / 1e9:.2f}",
                profile.family if profile.family in names else "planned only",
            )
            for profile in profiles
        ],
    )
    console = Terminal()
    wide = Terminal(width=max(console.width, _TABLE_WIDTH))
    wide.print_table("families: trainable", table)
    wide.print_table(
        f"known sizes, GFLOP a forward pass; shipped with weights: {', '.join(SHIPPED)}", of_sizes
    )


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


def _plain_table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column(headings[0], no_wrap=True)
    for heading in headings[1:]:
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    return table
