"""`skysplit contacts` and `skysplit constellation`: who flies where, and when which link can carry data."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, fields
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.table import Table

from mission.orbits import constellation_of, contact_plan_of, epoch_of, stations_of
from mission.record import write_text
from mission.schema import Scenario
from mission.text.quantities import spoken_bytes, spoken_time
from orbit.access_summary import (
    Access,
    access_of_all,
    access_of_pairs,
    access_of_satellites,
    access_of_stations,
)
from orbit.constellation import warn_of_old_elements
from orbit.contact_plan import ContactPlan
from orbit.files.contact_plan_files import csv_metadata, metadata_path, to_csv, to_json, to_rows
from orbit.files.dtn_files import to_hdtn, to_ion
from orbit.files.omm_export import to_omm
from orbit.motion.earth_orientation import warn_of_old_orientation
from report.charts.ground_map import map_page
from skysplit.commands.arguments import ScenarioArgument, SetOption, deliver, fail, read_scenario
from skysplit.constellation_views import constellation_czml, constellation_json
from skysplit.terminal import Terminal, busy, progress_bar


class ContactFormat(StrEnum):
    """Formats in which contacts are printed."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"
    ION = "ion"
    HDTN = "hdtn"
    HTML = "html"


_WRITERS = {
    ContactFormat.JSON: to_json,
    ContactFormat.CSV: to_csv,
    ContactFormat.ION: to_ion,
    ContactFormat.HDTN: to_hdtn,
}


def contacts(
    scenario: ScenarioArgument,
    settings: SetOption = None,
    hours: Annotated[
        float | None, typer.Option(help="Horizon in hours; the default is the scenario's.")
    ] = None,
    output: Annotated[
        ContactFormat, typer.Option("--format", help="html is a page with charts of access and contacts.")
    ] = ContactFormat.TABLE,
    summary: Annotated[
        bool,
        typer.Option(
            "--summary",
            help="Print passes, gaps and daily volume by station and satellite instead, as table, json or csv.",
        ),
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(
            help="File to write; the default is the terminal, and NAME-contacts.html for a page. "
            "A CSV of contacts gets a second file with the data that do not fit in a table."
        ),
    ] = None,
) -> None:
    """Print the contact plan: every link that can carry data, with start, end, rate and volume.

    Example: `skysplit contacts walker-72 --hours 2 --format ion > contacts.ionrc`

    To see the service by station and satellite: `skysplit contacts walker-72 --summary`
    """
    if summary and output not in (ContactFormat.TABLE, ContactFormat.JSON, ContactFormat.CSV):
        fail(f"--summary: found --format {output}, allowed: table, json, csv")
    if out is not None and output is ContactFormat.TABLE:
        fail("--out: found --format table, allowed: json, csv, ion, hdtn, html")
    horizon = [] if hours is None else [f"horizon_h={hours}"]
    resolved = read_scenario(scenario, [*(settings or []), *horizon])
    plan = planned_contacts(resolved)
    if output is ContactFormat.TABLE:
        span = f"{plan.horizon_s / 3600:g} h from {plan.epoch_utc[:19]} UTC"
        if summary:
            _print_summary(resolved, plan, span)
        else:
            Terminal().print_table(f"{len(plan.contacts)} contacts, {span}", _table(plan))
        hint = "" if summary else " By station and satellite: --summary."
        Terminal().say(_in_a_sentence(plan) + hint)
        return
    try:
        if output is ContactFormat.HTML:
            from report.pages.access_page import access_page

            text = access_page(f"{resolved.name}: contacts", resolved.description, plan)
            out = out or Path(f"{resolved.name}-contacts.html")
        elif summary:
            images = _images_taken(resolved, plan)
            text = _summary_json(plan, images) if output is ContactFormat.JSON else _summary_csv(plan)
        else:
            text = _WRITERS[output](plan)
        if out is not None and output is ContactFormat.CSV and not summary:
            write_text(metadata_path(out), csv_metadata(plan))
        deliver(text, out)
    except (ValueError, OSError) as error:
        fail(str(error))


class ConstellationFormat(StrEnum):
    """Formats in which a constellation is shown."""

    MAP = "map"
    CZML = "czml"
    JSON = "json"
    OMM = "omm"


def constellation(
    scenario: ScenarioArgument,
    settings: SetOption = None,
    output: Annotated[
        ConstellationFormat,
        typer.Option("--format", help="map is a page, czml a scene for Cesium, omm the elements."),
    ] = ConstellationFormat.MAP,
    out: Annotated[
        Path | None,
        typer.Option(help="File to write; the default is NAME.html for a map, else the terminal."),
    ] = None,
) -> None:
    """Show the constellation: a map of ground tracks and stations, CZML for Cesium, JSON, or its elements as OMM.

    Example: `skysplit constellation walker-72 --format czml --out walker-72.czml`
    """
    resolved = read_scenario(scenario, settings)
    try:
        with busy("placing satellites and stations"):
            stations, epoch, satellites = (
                stations_of(resolved),
                epoch_of(resolved),
                constellation_of(resolved),
            )
        match output:
            case ConstellationFormat.MAP:
                with busy("drawing the map"):
                    text = map_page(resolved.name, satellites, stations, epoch)
                out = out or Path(f"{resolved.name}.html")
            case ConstellationFormat.CZML:
                text = constellation_czml(satellites, stations, planned_contacts(resolved), epoch)
            case ConstellationFormat.JSON:
                text = constellation_json(satellites, stations, epoch, resolved.horizon_s)
            case ConstellationFormat.OMM:
                text = to_omm(satellites)
        if output is not ConstellationFormat.CZML:  # of which the contacts warn
            warn_of_old_elements(satellites, epoch, resolved.horizon_s)
            warn_of_old_orientation(epoch, resolved.horizon_s)
    except ValueError as error:
        fail(str(error))
    deliver(text, out)


def planned_contacts(scenario: Scenario) -> ContactPlan:
    """The scenario's contact plan, with a progress bar, or the end of the command with one error."""
    try:
        with progress_bar("contacts") as progress:
            return contact_plan_of(scenario, constellation_of(scenario), progress=progress)
    except ValueError as error:
        fail(str(error))


def _table(plan: ContactPlan) -> Table:
    """A table that is read at 80 columns: names give way and are folded, figures never are."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
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
            "" if row["min_range_km"] is None else f"{row['min_range_km']:.0f}",
            _short(row["rate_bps"] / 1e6),
            _short(row["volume_bytes"] / 1e6),
        )
    return table


_SUMMARY_COLUMNS = {
    "passes_per_day": "passes/day",
    "mean_pass_s": "pass s",
    "mean_gap_s": "gap min",
    "longest_gap_s": "longest min",
    "down_gb_per_day": "down GB/day",
    "up_gb_per_day": "up GB/day",
}


def _summary_tables(plan: ContactPlan) -> dict[str, Table]:
    """A table of the stations and one of the satellites, by what a row is."""
    tables = {}
    for subject, accesses in (
        ("station", access_of_stations(plan)),
        ("satellite", access_of_satellites(plan)),
    ):
        rows = [
            (
                access.station or access.satellite,
                f"{access.passes_per_day:.1f}",
                f"{access.mean_pass_s:.0f}",
                f"{access.mean_gap_s / 60:.1f}",
                f"{access.longest_gap_s / 60:.1f}",
                _short(access.down_gb_per_day),
                _short(access.up_gb_per_day),
            )
            for access in accesses
        ]
        tables[subject] = _figures_by(subject, _SUMMARY_COLUMNS.values(), rows)
    return tables


def _figures_by(subject: str, figures: Iterable[str], rows: Iterable[Sequence[str | None]]) -> Table:
    """A table of names on the left, and their figures."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column(subject, overflow="fold")
    for name in figures:
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    return table


def _in_a_sentence(plan: ContactPlan) -> str:
    """How well the constellation as a whole is served."""
    access = access_of_all(plan)
    if not access.passes:
        return f"In {spoken_time(plan.horizon_s)} no satellite sees a station."
    gap = (
        f"The longest time without a satellite in view of a station is {spoken_time(access.longest_gap_s)}."
        if access.longest_gap_s
        else "At every moment, some satellite is in view of a station."
    )
    return (
        f"Over {spoken_time(plan.horizon_s)}: {access.passes_per_day:,.0f} passes a day, of "
        f"{spoken_time(access.mean_pass_s)} on average. {gap} With an antenna for every pass, "
        f"{spoken_bytes(access.down_gb_per_day * 1e9)} come down and {spoken_bytes(access.up_gb_per_day * 1e9)} go up "
        "a day."
    )


def _print_summary(scenario: Scenario, plan: ContactPlan, span: str) -> None:
    """Print the access of stations and satellites, and what cameras take where there are any."""
    for subject, table in _summary_tables(plan).items():
        Terminal().print_table(f"access, by {subject}: {span}", table)
    if images := _images_taken(scenario, plan):
        Terminal().print_table(f"images, while none leaves: {span}", _images_table(images))


def _images_taken(scenario: Scenario, plan: ContactPlan) -> list[dict[str, Any]]:
    """Return the images that each satellite takes; an empty list if the scenario has no camera."""
    if not scenario.imaging.enabled:
        return []
    from server_app.planning.imaging import storage_of
    from skysplit.planning_inputs import costs_of
    from strategies.analysis.stored_images import camera_figures

    with busy("following cameras along the ground track"):
        storage = storage_of(scenario, costs_of(scenario))
    assert storage is not None
    names = [plan.nodes[index].name for index in plan.satellites.tolist()]
    return camera_figures(names, storage, plan.horizon_s)


def _images_table(images: list[dict[str, Any]]) -> Table:
    rows = [
        (
            row["satellite"],
            _short(row["images_per_day"]),
            _short(row["gb_per_day"]),
            "–" if row["full_s"] is None else spoken_time(row["full_s"]),
            f"{row['dropped']:,}",
        )
        for row in images
    ]
    return _figures_by("satellite", ("images/day", "GB/day", "full after", "dropped"), rows)


def _summary_json(plan: ContactPlan, images: list[dict[str, Any]]) -> str:
    """Access of stations, of satellites and of pairs as one JSON object, and what cameras take where there are any."""
    values = {"epoch": plan.epoch_utc, "horizon_s": plan.horizon_s}
    parts = {
        "stations": access_of_stations(plan),
        "satellites": access_of_satellites(plan),
        "pairs": access_of_pairs(plan),
    }
    return json.dumps(
        {
            **values,
            **{name: [asdict(access) for access in part] for name, part in parts.items()},
            **({"images": images} if images else {}),
        },
        indent=1,
    )


def _summary_csv(plan: ContactPlan) -> str:
    """Access of stations, of satellites and of pairs, a line each; an empty name stands for all."""
    text = io.StringIO()
    rows = csv.DictWriter(text, [field.name for field in fields(Access)], lineterminator="\n")
    rows.writeheader()
    for access in (*access_of_stations(plan), *access_of_satellites(plan), *access_of_pairs(plan)):
        rows.writerow(asdict(access))
    return text.getvalue()


def _short(value: float) -> str:
    """Three digits, zeros too, so that points stand below each other; all of the whole part of what is large."""
    return f"{value:#.3g}" if value < 99.95 else f"{value:.0f}"


def chosen_cut(scenario: Scenario, contacts: ContactPlan) -> Scenario:
    """The scenario with a number where it leaves its cut open, which is said; or the end of the command."""
    from skysplit.cuts.model_cuts import settled, spoken_choice

    try:
        cut = settled(scenario, contacts)
    except (ValueError, OSError) as error:
        fail(str(error))
    if cut.reason is not None:
        Terminal(stderr=True).say(spoken_choice(cut.reason))
    return cut.scenario
