"""`skysplit scenarios` and `skysplit init`: missions that ship, and one's own."""

from __future__ import annotations

import json
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from click.core import ParameterSource
from rich.box import SIMPLE_HEAD
from rich.table import Table

from mission.presets import read_presets
from mission.scenario import ScenarioError, load_scenario, shipped_scenarios
from mission.schema import Scenario
from mission.sites.ground_sites import read_sites
from orbit.contact_plan import ContactPlan
from skysplit.commands.arguments import TextFormat, completed_from, fail
from skysplit.terminal import Terminal, busy
from splitmodel.costs.published import published_profiles
from splitmodel.shipped import SHIPPED

if TYPE_CHECKING:
    from skysplit.new_mission.mission_choices import MissionChoices

_SATELLITES, _GROUND = "Satellites and their orbits", "Ground stations"
_RATES, _LEARNING = "Links and compute", "Model and images"


class Pattern(StrEnum):
    """Patterns in which the satellites of a shell are spread."""

    DELTA = "delta"
    STAR = "star"
    TRAIN = "train"


class Isl(StrEnum):
    """The links between satellites that there may be."""

    NONE = "none"
    IN_PLANE = "in-plane"
    GRID = "grid"


class OnError(StrEnum):
    """Ways to treat element sets that cannot be read or flown."""

    ERROR = "error"
    SKIP = "skip"


def scenarios(
    output: Annotated[TextFormat, typer.Option("--format", help="Format of the output.")] = TextFormat.TABLE,
) -> None:
    """List the scenarios that come with SkySplit.

    Example: `skysplit scenarios --format json`
    """
    listed = [(load_scenario(name), path) for name, path in shipped_scenarios().items()]
    if output is TextFormat.JSON:
        rows = [
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
            for scenario, path in listed
        ]
        print(json.dumps(rows))
        return
    table = Table("name", "what it is", "mode", "rounds", box=SIMPLE_HEAD, pad_edge=False)
    for scenario, _ in listed:
        training = scenario.training
        table.add_row(scenario.name, scenario.description, training.mode, str(training.rounds))
    Terminal().print(table)


SatelliteOption = Annotated[
    str,
    typer.Option(
        metavar="PRESET",
        rich_help_panel=_SATELLITES,
        help="Orbit, links, compute and imagery of a real satellite; see `skysplit presets`.",
        autocompletion=completed_from(lambda: read_presets().satellites),
    ),
]
SatellitesOption = Annotated[
    int | None,
    typer.Option(
        min=1,
        rich_help_panel=_SATELLITES,
        help="Total satellites of the shell (T); the default is the preset's, or 12.",
    ),
]
PlanesOption = Annotated[
    int | None,
    typer.Option(
        min=1,
        rich_help_panel=_SATELLITES,
        help="Planes of the shell (P); the default is the preset's, or 2.",
    ),
]
PatternOption = Annotated[
    Pattern | None,
    typer.Option(
        rich_help_panel=_SATELLITES,
        help="delta: planes over 360°; star: planes over 180°; train: satellites of a plane close behind each other.",
    ),
]
SpacingOption = Annotated[
    float | None,
    typer.Option(
        rich_help_panel=_SATELLITES,
        help="With --pattern train: angle from one satellite to the next; the default is 10.",
    ),
]
PhasingOption = Annotated[
    int | None,
    typer.Option(
        min=0,
        rich_help_panel=_SATELLITES,
        help="Phasing between planes (F); the default is 1, or 0 with one plane.",
    ),
]
InclinationOption = Annotated[
    float | None,
    typer.Option(
        rich_help_panel=_SATELLITES, help="Inclination of the shell; the default is the preset's, or 53."
    ),
]
AltitudeOption = Annotated[
    float | None,
    typer.Option(
        rich_help_panel=_SATELLITES, help="Altitude of the shell; the default is the preset's, or 1200."
    ),
]
ElementsOption = Annotated[
    Path | None,
    typer.Option(
        rich_help_panel=_SATELLITES,
        help="A TLE or OMM file of real satellites, such as a CelesTrak group, instead of a shell.",
    ),
]
LimitOption = Annotated[
    int,
    typer.Option(
        min=0, rich_help_panel=_SATELLITES, help="With --elements: use only this many satellites; 0 is all."
    ),
]
SkipOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME",
        rich_help_panel=_SATELLITES,
        help="With --elements: skip a satellite by name or catalogue number. Repeatable.",
    ),
]
OnErrorOption = Annotated[
    OnError,
    typer.Option(
        rich_help_panel=_SATELLITES,
        help="With --elements: stop at satellites that cannot be read or flown, or skip them.",
    ),
]
GroundOption = Annotated[
    str,
    typer.Option(
        metavar="PRESET",
        rich_help_panel=_GROUND,
        help="Stations, rates and compute of a ground segment; see `skysplit presets`.",
        autocompletion=completed_from(lambda: read_presets().grounds),
    ),
]
StationOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="SITE|NAME,LAT,LON[,HEIGHT_M[,MASK_DEG]]",
        rich_help_panel=_GROUND,
        help="A ground station: a site of `skysplit presets sites`, or coordinates. Replaces the preset's. Repeatable.",
        autocompletion=completed_from(lambda: read_sites().sites),
    ),
]
DownOption = Annotated[
    float | None, typer.Option(rich_help_panel=_RATES, help="Rate from satellite to ground, Mbit/s.")
]
UpOption = Annotated[
    float | None,
    typer.Option(
        rich_help_panel=_RATES, help="Rate from ground to satellite, Mbit/s; small satellites have 0.25 to 2."
    ),
]
IslOption = Annotated[
    Isl | None,
    typer.Option(
        rich_help_panel=_RATES,
        help="Links between satellites: none, in-plane between neighbours, or grid, also between planes.",
    ),
]
IslRateOption = Annotated[
    float | None, typer.Option(rich_help_panel=_RATES, help="Rate of these links in each direction, Mbit/s.")
]
TflopsOption = Annotated[
    float | None,
    typer.Option(rich_help_panel=_RATES, help="Sustained training rate of a satellite, not its peak."),
]
GroundTflopsOption = Annotated[
    float | None, typer.Option(rich_help_panel=_RATES, help="Sustained training rate of the ground.")
]
ModelOption = Annotated[
    str | None,
    typer.Option(
        rich_help_panel=_LEARNING,
        help="A directory, a hub name, or a published model to plan with (`skysplit models`); the default is "
        "synthetic-vit.",
        autocompletion=completed_from(lambda: (*SHIPPED, *published_profiles())),
    ),
]
DataOption = Annotated[
    Path | None,
    typer.Option(
        rich_help_panel=_LEARNING,
        help="An image folder, a Parquet file or folder, or a CSV that lists images.",
    ),
]
BandsOption = Annotated[
    str,
    typer.Option(
        metavar="NAME,NAME,…|NUMBER",
        rich_help_panel=_LEARNING,
        help="Bands of the model's input, in order; without --data a number is enough.",
    ),
]
BitsOption = Annotated[
    int | None,
    typer.Option(rich_help_panel=_LEARNING, help="Without --data: bits per value, 8, 16 or 32."),
]
TileOption = Annotated[
    int | None,
    typer.Option(
        min=1,
        rich_help_panel=_LEARNING,
        help="Side of a tile in pixels: with --data the model's input, otherwise to size images in plans.",
    ),
]
ImagesOption = Annotated[
    int | None,
    typer.Option(
        min=1, rich_help_panel=_LEARNING, help="Training images per satellite and round, for plans."
    ),
]
ClassesOption = Annotated[
    str,
    typer.Option(
        metavar="NAME,NAME,…",
        rich_help_panel=_LEARNING,
        help="For masks: names of the values 0, 1, …; with --data and a terminal, init asks for them.",
    ),
]
ModeOption = Annotated[
    str,
    typer.Option(
        rich_help_panel=_LEARNING,
        help="head, lora, onboard-head, onboard-lora, onboard-full or downlink.",
        autocompletion=completed_from(
            lambda: ("head", "lora", "onboard-head", "onboard-lora", "onboard-full", "downlink")
        ),
    ),
]


def init(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="The TOML file to write.")],
    satellite: SatelliteOption = "",
    satellites: SatellitesOption = None,
    planes: PlanesOption = None,
    pattern: PatternOption = None,
    spacing_deg: SpacingOption = None,
    phasing: PhasingOption = None,
    inclination_deg: InclinationOption = None,
    altitude_km: AltitudeOption = None,
    elements: ElementsOption = None,
    limit: LimitOption = 0,
    skip: SkipOption = None,
    on_error: OnErrorOption = OnError.ERROR,
    ground: GroundOption = "",
    station: StationOption = None,
    down_mbps: DownOption = None,
    up_mbps: UpOption = None,
    isl: IslOption = None,
    isl_mbps: IslRateOption = None,
    tflops: TflopsOption = None,
    ground_tflops: GroundTflopsOption = None,
    model: ModelOption = None,
    data: DataOption = None,
    bands: BandsOption = "",
    bits: BitsOption = None,
    tile_size: TileOption = None,
    images: ImagesOption = None,
    classes: ClassesOption = "",
    mode: ModeOption = "lora",
) -> None:
    """Write a commented scenario for your own constellation, stations, model and data, and check it.

    Without options it asks; with any option, and in scripts, it takes the defaults for the rest.

    Example: `skysplit init ours.toml --satellites 24 --planes 4 --altitude-km 800 --station Svalbard --station Awarua`

    With figures and sources of a real mission: `skysplit init doves.toml --satellite dove-3u --ground dove-network`

    Without --satellite the uplink has the default of 50 Mbit/s, far above that of small satellites (250 kbit/s).

    To use real orbits: `skysplit init planet.toml --elements planet.txt --limit 12`
    """
    from skysplit.new_mission.mission_choices import DescribedImages, Elements, MissionChoices, Rates
    from skysplit.new_mission.mission_questions import asked
    from skysplit.new_mission.new_scenario import Shell

    _require_new(file)  # before anybody is asked anything
    if _is_told_nothing(context) and is_interactive():
        _write_scenario(file, asked())
        return
    shell = Shell(
        satellites, planes, phasing=phasing, inclination_deg=inclination_deg, altitude_km=altitude_km
    )
    rates = Rates(
        down_mbps, up_mbps, isl=isl and isl.value, isl_mbps=isl_mbps,
        satellite_tflops=tflops, ground_tflops=ground_tflops,
    )  # fmt: skip
    choices = MissionChoices(
        satellite=satellite, ground=ground, shell=shell, pattern=pattern and pattern.value, spacing_deg=spacing_deg,
        elements=Elements(elements, limit, skip=tuple(skip or ()), on_error=on_error.value),
        stations=tuple(station or ()), rates=rates, model=model or "", data=data, mode=mode,
        imagery=DescribedImages(bands, bits, tile_size=tile_size, images=images, classes=classes),
    )  # fmt: skip
    _write_scenario(file, choices)


def _require_new(file: Path) -> None:
    """End the command where a file would be overwritten."""
    from skysplit.new_mission.new_scenario import require_new

    try:
        require_new(file)
    except ValueError as error:
        fail(str(error))


def is_interactive() -> bool:
    """Whether a person is there who can be asked."""
    return sys.stdin.isatty() and sys.stdout.isatty()


def _is_told_nothing(context: typer.Context) -> bool:
    """Whether the command line has the file alone."""
    options = (name for name in context.params if name != "file")
    return all(context.get_parameter_source(name) is ParameterSource.DEFAULT for name in options)


def _write_scenario(file: Path, choices: MissionChoices) -> None:
    """Check all that was chosen, write the file last, and say what it has and what to do next."""
    with busy("loading model families"):
        from mission.record import write_text
        from skysplit.commands.orbits import planned_contacts
        from skysplit.imagery_check import check_imagery
        from skysplit.new_mission.mission_choices import chosen_values, model_words, option_errors
        from skysplit.new_mission.new_scenario import new_scenario
        from skysplit.trained_model import check_model
        from splitmodel.families import NoTokenViewsError

    try:
        with busy("checking what was chosen"):
            values, origins = chosen_values(choices)
            scenario, text = new_scenario(file, values, origins)
        if choices.data:
            values |= _label_values(scenario, choices.data)
            scenario, text = new_scenario(file, values, origins)
        with busy("checking the model and its images"):
            try:
                check_model(scenario)
            except NoTokenViewsError:
                values |= {"training.augment": "dihedral"}
                scenario, text = new_scenario(file, values, origins)
                check_model(scenario)
            if choices.data:
                check_imagery(scenario)
        contacts = planned_contacts(scenario)
        write_text(file, text)  # last, so that nothing is left behind of what does not work
    except (ValueError, OSError) as error:
        fail(option_errors(str(error), str(file), choices.stations))
    _print_written(
        file, scenario, contacts, next_to=model_words(choices, values), uplink="links.sgl.up_mbps" in values
    )


def _label_values(scenario: Scenario, data: Path) -> dict[str, Any]:
    """What a scenario has to say of images that are not of one class each, and of masks that name no classes."""
    with busy("reading the labels"):
        from skysplit.imagery_check import labels_of

        labels = labels_of(scenario)
    values: dict[str, Any] = {"task.classes": _asked_classes(data)} if labels.unnamed_masks else {}
    return values if labels.one_class_each else values | {"data.partition": "iid"}


def _asked_classes(data: Path) -> tuple[str, ...]:
    """The names of the classes of masks, as somebody at a terminal gives them.

    Raises:
        ScenarioError: Nobody is there, or they are no names.
    """
    from skysplit.new_mission.mission_choices import class_names

    if not is_interactive():
        raise ScenarioError(
            f"--classes: missing, and {data} has segmentation masks, which do not name theirs; allowed: the names of "
            "their values 0, 1, …, for example clear,cloud"
        )
    return class_names(
        typer.prompt(f"{data} has masks; classes of their values 0, 1, …, by commas", err=True)
    )


def _print_written(
    file: Path, scenario: Scenario, contacts: ContactPlan, *, next_to: str, uplink: bool
) -> None:
    """Print what the scenario has, which of its numbers want attention, and the next commands.

    Args:
        file: That was written.
        scenario: In it.
        contacts: Of its mission.
        said: On its model; may be empty.
        uplink: Whether the rate of the uplink was chosen.
    """
    console = Terminal(soft_wrap=True, highlight=False)
    satellites, stations = len(contacts.satellites), len(contacts.stations)
    console.print(
        f"{file}: {satellites} satellite{'s' * (satellites != 1)}, {stations} station{'s' * (stations != 1)}, "
        f"{len(contacts.contacts)} contacts in {scenario.horizon_h:g} h"
    )
    planning = scenario.planning
    if next_to:
        console.say(next_to)
    elif planning.profile:
        console.say(
            f"plans assume {planning.profile} and {planning.samples} images a satellite of "
            f"{planning.image_bytes / 1e3:,.0f} kB; "
            f"a run trains {scenario.model.name} on {scenario.data.source} scenes until you set model and data"
        )
    if not uplink:
        console.say(
            f"links.sgl.up_mbps is {scenario.links.sgl.up_mbps:g} Mbit/s, the default; small satellites have 0.25 to "
            "2: set yours (--up-mbps), or start from a real one (skysplit presets)"
        )
    console.print("next:")
    for command, does in (
        ("plan", "one round: who sends what to whom, and when"),
        ("compare", "the split against training on board and raw images"),
        ("run", "train, and write the report"),
    ):
        console.print(f"  {f'skysplit {command} {file}':<40} # {does}")
