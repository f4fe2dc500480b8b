"""`skysplit scenarios` and `skysplit init`: missions that ship, and one's own."""

from __future__ import annotations

import json
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.table import Table

from mission.presets import read_presets
from mission.scenario import ScenarioError, load_scenario, shipped_scenarios
from mission.schema import Scenario
from orbit.contact_plan import ContactPlan
from skysplit.commands.arguments import TextFormat, completed_from, fail
from skysplit.terminal import Terminal

# Sites of known antennas in four continents, for those who have none of their own yet.
_STATIONS = [
    "Madrid,40.43,-4.25,720",
    "Santiago,-33.15,-70.67,720",
    "Canberra,-35.40,148.98,690",
    "Wallops,37.94,-75.46",
]


class OnError(StrEnum):
    """What becomes of element sets that cannot be read or flown."""

    ERROR = "error"
    SKIP = "skip"


def scenarios(
    output: Annotated[
        TextFormat, typer.Option("--format", help="How the answer is printed.")
    ] = TextFormat.TABLE,
) -> None:
    """List the scenarios that come with SkySplit.

    Example: `skysplit scenarios --format json`
    """
    found = [(load_scenario(name), path) for name, path in shipped_scenarios().items()]
    if output is TextFormat.JSON:
        said = [
            {
                "name": scenario.name,
                "description": scenario.description,
                "constellation": scenario.constellation.kind,
                "stations": len(scenario.ground.stations),
                "data": scenario.data.source,
                "mode": scenario.training.mode,
                "rounds": scenario.training.rounds,
                "file": str(path),
            }
            for scenario, path in found
        ]
        print(json.dumps(said))
        return
    table = Table("name", "what it is", "mode", "rounds", box=SIMPLE_HEAD, pad_edge=False)
    for scenario, _ in found:
        training = scenario.training
        table.add_row(scenario.name, scenario.description, training.mode, str(training.rounds))
    Terminal().print(table)


SatelliteOption = Annotated[
    str,
    typer.Option(
        metavar="PRESET",
        help="Orbit, links, compute and imagery of a real satellite; see `skysplit presets`.",
        autocompletion=completed_from(lambda: read_presets().satellites),
    ),
]
GroundOption = Annotated[
    str,
    typer.Option(
        metavar="PRESET",
        help="Stations, rates and compute of a ground segment; see `skysplit presets`.",
        autocompletion=completed_from(lambda: read_presets().grounds),
    ),
]
SatellitesOption = Annotated[
    int | None,
    typer.Option(min=1, help="Of a Walker shell, in all (its T); the default is the preset's, or 12."),
]
PlanesOption = Annotated[
    int | None, typer.Option(min=1, help="Planes of the shell (P); the default is the preset's, or 2.")
]
PhasingOption = Annotated[
    int | None,
    typer.Option(min=0, help="Phasing between its planes (F); the default is 1, with one plane 0."),
]
InclinationOption = Annotated[
    float | None, typer.Option(help="Inclination of the shell; the default is the preset's, or 53.")
]
AltitudeOption = Annotated[
    float | None, typer.Option(help="Height of the shell; the default is the preset's, or 1200.")
]
ElementsOption = Annotated[
    Path | None,
    typer.Option(help="A TLE or OMM file, e.g. a group of CelesTrak's: real satellites, not a shell."),
]
LimitOption = Annotated[int, typer.Option(min=0, help="With --elements: only the first so many; 0 is all.")]
SkipOption = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME", help="With --elements: leave out a name or a catalogue number. Repeatable."),
]
OnErrorOption = Annotated[
    OnError,
    typer.Option(help="With --elements: what cannot be read or flown is an error, or is left out (skip)."),
]
StationOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME,LAT,LON[,HEIGHT_M[,MASK_DEG]]",
        help="A ground station, instead of a preset's. Repeatable.",
    ),
]
ModelOption = Annotated[
    str | None, typer.Option(help="A transformers directory, or a name; the default is synthetic-vit.")
]
DataOption = Annotated[
    Path | None,
    typer.Option(help="An image folder, Parquet (a file or a folder), or a CSV of images."),
]
ClassesOption = Annotated[
    str | None,
    typer.Option(
        metavar="NAME,NAME[,…]",
        help="Classes of the values 0, 1, … of masks; left out with masks, a terminal is asked for them.",
    ),
]
ModeOption = Annotated[
    str, typer.Option(help="head, lora, onboard-head, onboard-lora, onboard-full or downlink.")
]


def init(
    file: Annotated[Path, typer.Argument(help="The TOML file to write.")],
    satellite: SatelliteOption = "",
    ground: GroundOption = "",
    satellites: SatellitesOption = None,
    planes: PlanesOption = None,
    phasing: PhasingOption = None,
    inclination_deg: InclinationOption = None,
    altitude_km: AltitudeOption = None,
    elements: ElementsOption = None,
    limit: LimitOption = 0,
    skip: SkipOption = None,
    on_error: OnErrorOption = OnError.ERROR,
    station: StationOption = None,
    model: ModelOption = None,
    data: DataOption = None,
    classes: ClassesOption = None,
    mode: ModeOption = "lora",
) -> None:
    """Write a commented scenario for your own constellation, stations, model and data, and check it.

    Example: `skysplit init ours.toml --satellites 24 --planes 4 --altitude-km 800 --station Kiruna,67.86,20.96,400`

    With a real mission's figures and sources: `skysplit init doves.toml --satellite dove-3u --ground dove-network`

    Without --satellite the uplink is the default of 50 Mbit/s, far more than small satellites have (250 kbit/s).

    Real orbits: `skysplit init planet.toml --elements planet.txt --limit 12`
    """
    from mission.record import write_text
    from skysplit.commands.orbits import planned_contacts
    from skysplit.imagery_check import check_imagery
    from skysplit.new_scenario import (
        Shell,
        element_values,
        learning_values,
        new_scenario,
        preset_values,
        shell_values,
        station_values,
    )
    from skysplit.trained_model import check_model

    try:
        presets = preset_values(satellite, ground)
        if model or data:
            presets = presets.without("planning.")  # the images are others than the preset's
        shell = Shell(
            satellites, planes, phasing=phasing, inclination_deg=inclination_deg, altitude_km=altitude_km
        )
        orbits = shell_values(shell, presets)
        if elements:
            presets = presets.without("constellation.")
            orbits = element_values(elements, limit, skip or [], on_error.value)
        values: dict[str, Any] = {"ground.stations": [station_values(word) for word in _STATIONS]}
        values |= presets.values | orbits
        values |= learning_values(model or "synthetic-vit", data, classes) | {"training.mode": mode}
        if station:
            values["ground.stations"] = [station_values(word) for word in station]
        scenario, text = new_scenario(file, values, presets)
        values |= _label_values(scenario, data) if data else {}
        scenario, text = new_scenario(file, values, presets)
        check_model(scenario)
        if data:
            check_imagery(scenario)
        contacts = planned_contacts(scenario)
        write_text(file, text)  # last, so that nothing is left behind of what does not work
    except (ValueError, OSError) as error:
        fail(str(error))
    _print_written(file, scenario, contacts, values)


def _label_values(scenario: Scenario, data: Path) -> dict[str, Any]:
    """What a scenario has to say of images that are not of one class each, and of masks that name no classes."""
    from skysplit.imagery_check import labels_of

    labels = labels_of(scenario)
    values: dict[str, Any] = {"task.classes": _asked_classes(data)} if labels.unnamed_masks else {}
    return values if labels.one_class_each else values | {"data.partition": "iid"}


def _asked_classes(data: Path) -> tuple[str, ...]:
    """The names of the classes of masks, as somebody at a terminal gives them.

    Raises:
        ScenarioError: Nobody is there, or they are no names.
    """
    from skysplit.new_scenario import class_names

    if not _has_somebody():
        raise ScenarioError(
            f"--classes: missing, and {data} has segmentation masks, which do not name theirs; allowed: the names of "
            "their values 0, 1, …, for example clear,cloud"
        )
    return class_names(
        typer.prompt(f"{data} has masks; classes of their values 0, 1, …, by commas", err=True)
    )


def _has_somebody() -> bool:
    return sys.stdin.isatty()


def _print_written(file: Path, scenario: Scenario, contacts: ContactPlan, values: dict[str, Any]) -> None:
    """Print what the scenario has, which of its numbers want attention, and the next commands."""
    console = Terminal(soft_wrap=True, highlight=False)
    console.print(
        f"{file}: {len(contacts.satellites)} satellites, {len(contacts.stations)} stations, "
        f"{len(contacts.contacts)} contacts in {scenario.horizon_h:g} h"
    )
    if "planning.profile" in values:
        planning = scenario.planning
        console.print(
            f"plans assume {planning.profile} and {planning.samples} images a satellite of "
            f"{planning.image_bytes / 1e3:,.0f} kB; "
            f"a run trains {scenario.model.name} on {scenario.data.source} scenes until you set model and data"
        )
    if "links.sgl.up_mbps" not in values:
        console.print(
            f"links.sgl.up_mbps is {scenario.links.sgl.up_mbps:g} Mbit/s, the default; small satellites have 0.25 to "
            "2: set yours, or start from a real one (skysplit presets)"
        )
    console.print(f"next: skysplit plan {file}, skysplit run {file}")
