"""`skysplit contacts` and `skysplit constellation`: who flies where, and when which link can carry data."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from mission.orbits import constellation_of, contact_plan_of, epoch_of, stations_of
from mission.record import write_text
from mission.schema import Scenario
from orbit.constellation import warn_of_old_elements
from orbit.contact_plan import ContactPlan
from orbit.contact_plan_files import to_csv, to_json, to_rows
from orbit.dtn_files import to_hdtn, to_ion
from orbit.earth_orientation import warn_of_old_orientation
from server_app.ground_map import map_page
from skysplit.arguments import ScenarioArgument, SetOption, fail, read_scenario
from skysplit.constellation_views import constellation_czml, constellation_json

_STDERR = Console(stderr=True)


class ContactFormat(StrEnum):
    """How contacts are printed."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"
    ION = "ion"
    HDTN = "hdtn"


_WRITERS = {
    ContactFormat.JSON: to_json,
    ContactFormat.CSV: to_csv,
    ContactFormat.ION: to_ion,
    ContactFormat.HDTN: to_hdtn,
}


def contacts(
    scenario: ScenarioArgument,
    settings: SetOption = None,
    hours: Annotated[float | None, typer.Option(help="Horizon; the default is the scenario's.")] = None,
    output: Annotated[ContactFormat, typer.Option("--format")] = ContactFormat.TABLE,
) -> None:
    """Print the contact plan: every link that can carry data, with start, end, rate and volume.

    Example: `skysplit contacts walker-72 --hours 2 --format ion > contacts.ionrc`
    """
    horizon = [] if hours is None else [f"horizon_h={hours}"]
    plan = planned_contacts(read_scenario(scenario, [*(settings or []), *horizon]))
    if output is ContactFormat.TABLE:
        Console().print(_table(plan))
    else:
        print(_WRITERS[output](plan), end="")


class ConstellationFormat(StrEnum):
    """How a constellation is shown."""

    MAP = "map"
    CZML = "czml"
    JSON = "json"


def constellation(
    scenario: ScenarioArgument,
    settings: SetOption = None,
    output: Annotated[ConstellationFormat, typer.Option("--format")] = ConstellationFormat.MAP,
    out: Annotated[
        Path | None,
        typer.Option(help="File to write; the default is NAME.html for a map, else the terminal."),
    ] = None,
) -> None:
    """Show the constellation: a map of ground tracks and stations, CZML for Cesium, or JSON.

    Example: `skysplit constellation walker-72 --format czml --out walker-72.czml`
    """
    resolved = read_scenario(scenario, settings)
    stations, epoch = stations_of(resolved), epoch_of(resolved)
    try:
        satellites = constellation_of(resolved)
        match output:
            case ConstellationFormat.MAP:
                text, out = (
                    map_page(resolved.name, satellites, stations, epoch),
                    out or Path(f"{resolved.name}.html"),
                )
            case ConstellationFormat.CZML:
                text = constellation_czml(satellites, stations, planned_contacts(resolved), epoch)
            case ConstellationFormat.JSON:
                text = constellation_json(satellites, stations, epoch, resolved.horizon_s)
        if output is not ConstellationFormat.CZML:  # of which the contacts warn
            warn_of_old_elements(satellites, epoch, resolved.horizon_s)
            warn_of_old_orientation(epoch, resolved.horizon_s)
    except ValueError as error:
        fail(str(error))
    if out is None:
        print(text)
        return
    write_text(out, text)
    print(out)


def planned_contacts(scenario: Scenario) -> ContactPlan:
    """The scenario's contact plan, with a progress bar, or the end of the command with one error."""
    try:
        with Progress(console=_STDERR, transient=True, disable=not _STDERR.is_terminal) as progress:
            task = progress.add_task("contacts", total=1.0)
            return contact_plan_of(
                scenario,
                constellation_of(scenario),
                progress=lambda done: progress.update(task, completed=done),
            )
    except ValueError as error:
        fail(str(error))


def _table(plan: ContactPlan) -> Table:
    """A table that is read at 80 columns: names give way and are folded, figures never are."""
    table = Table(
        title=f"{len(plan.contacts)} contacts, {plan.horizon_s / 3600:g} h from {plan.epoch_utc[:19]} UTC",
        box=SIMPLE_HEAD,
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )
    for name in ("source", "target"):
        table.add_column(name, overflow="fold")
    table.add_column("kind", no_wrap=True)
    for name in ("start s", "end s", "el °", "km", "Mbit/s", "MB"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in to_rows(plan):
        elevation = row["max_elevation_deg"]
        table.add_row(
            row["source"],
            row["target"],
            row["kind"],
            f"{row['start_s']:.1f}",
            f"{row['end_s']:.1f}",
            "" if elevation is None else f"{elevation:.0f}",
            f"{row['min_range_km']:.0f}",
            _short(row["rate_bps"] / 1e6),
            _short(row["volume_bytes"] / 1e6),
        )
    return table


def _short(value: float) -> str:
    """Three digits of what is small, all of the whole part of what is large, never an exponent of the latter."""
    return f"{value:.3g}" if value < 100 else f"{value:.0f}"
