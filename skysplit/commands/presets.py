"""`skysplit presets`: satellites and ground segments of real missions, each figure with its source."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.table import Table

from mission.presets import (
    GroundPreset,
    Presets,
    SatellitePreset,
    read_presets,
    source_line,
)
from mission.scenario import ScenarioError
from mission.sites.ground_sites import Sites, read_sites
from skysplit.commands.arguments import TextFormat, completed_from, fail
from skysplit.reference.preset_tables import (
    GROUND_HEADINGS,
    SATELLITE_HEADINGS,
    SITE_HEADINGS,
    figure_rows,
    ground_row,
    satellite_row,
    site_row,
)
from skysplit.terminal import Terminal

_SITES = "sites"


def presets(
    name: Annotated[
        str,
        typer.Argument(
            help="Show all figures of this satellite or ground segment; `sites` lists ground sites; default: list all.",
            autocompletion=completed_from(lambda: (*read_presets().by_name, _SITES)),
        ),
    ] = "",
    output: Annotated[TextFormat, typer.Option("--format", help="Format of the output.")] = TextFormat.TABLE,
) -> None:
    """List satellites and ground segments for `skysplit init`, or every figure of one with source and derating.

    Example: `skysplit presets orin-agx`

    Ground sites for `--station`, with coordinates and operators: `skysplit presets sites`
    """
    if name == _SITES:
        _tell_sites(read_sites(), output)
        return
    every_preset = read_presets()
    try:
        shown = every_preset.only(name) if name else every_preset
    except ScenarioError as error:
        fail(str(error))
    if output is TextFormat.JSON:
        print(json.dumps(_as_json(shown)))
    elif name:
        _print_one(shown)
    else:
        _print_all(shown)
        sites = read_sites().sites
        Terminal(soft_wrap=True).print(f"{len(sites)} ground sites for --station: skysplit presets {_SITES}")


def _tell_sites(sites: Sites, output: TextFormat) -> None:
    """Print every ground site by name, with the source of its coordinates."""
    if output is TextFormat.JSON:
        print(sites.model_dump_json())
        return
    console = Terminal(highlight=False)
    table = Table(*SITE_HEADINGS, box=SIMPLE_HEAD, pad_edge=False)
    for name, site in sites.sites.items():
        table.add_row(*site_row(name, site))
    console.print_table("ground sites", table)
    for name, source in sites.sources.items():
        console.print(f"{name}: {source.title} ({source.kind})", soft_wrap=True)


def _print_all(presets: Presets) -> None:
    console = Terminal()
    satellites = Table(*SATELLITE_HEADINGS, box=SIMPLE_HEAD, pad_edge=False)
    for name, satellite in presets.satellites.items():
        satellites.add_row(*satellite_row(name, satellite))
    grounds = Table(*GROUND_HEADINGS, box=SIMPLE_HEAD, pad_edge=False)
    for name, ground in presets.grounds.items():
        grounds.add_row(*ground_row(name, ground))
    console.print_table("satellites", satellites)
    console.print_table("ground segments", grounds)


def _print_one(presets: Presets) -> None:
    console = Terminal(highlight=False)
    for name, preset in presets.by_name.items():
        table = Table(box=SIMPLE_HEAD, pad_edge=False)
        table.add_column("figure", no_wrap=True)
        table.add_column("value")
        table.add_column("from", ratio=1)
        for row in figure_rows(preset):
            table.add_row(*row)
        console.print_table(f"{name}: {preset.title}", table)
    for name, source in presets.sources.items():
        console.print(f"{name}: {source.title} ({source.kind})", soft_wrap=True)


def _as_json(presets: Presets) -> dict[str, Any]:
    def figures(preset: SatellitePreset | GroundPreset) -> dict[str, Any]:
        return {
            "title": preset.title,
            "figures": {
                key: {"value": figure.amount, "derivation": figure.derivation, "source": source_line(figure)}
                | figure.model_dump(include={"peak", "peak_is", "derating", "factors"}, exclude_defaults=True)
                for key, figure in preset.figures.items()
            },
            "facts": {
                what: {"text": fact.text, "source": source_line(fact)} for what, fact in preset.facts.items()
            },
        }

    return {
        "satellites": {name: figures(preset) for name, preset in presets.satellites.items()},
        "grounds": {
            name: figures(preset) | {"stations": [station.model_dump() for station in preset.stations]}
            for name, preset in presets.grounds.items()
        },
        "sources": {name: source.model_dump() for name, source in presets.sources.items()},
    }
