"""A scenario file for one's own mission: every key with what it means, set where it is told, else as a comment."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field, replace
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from mission.presets import Source, Sourced, read_presets, scenario_figures, source_line
from mission.scenario import ScenarioError, parse_scenario
from mission.schema import Scenario
from mission.text.scenario_toml import toml_value
from orbit.motion.element_files import OnError, read_element_file
from orbit.motion.elements import ElementsWarning
from orbit.motion.frames import joined_julian_date
from skysplit.reference.scenario_keys import scenario_keys, table_descriptions

_HEAD = """# {title}
# Keys that are commented out have their defaults. Next: `skysplit plan {file}`, `skysplit run {file}`.
"""


@dataclass(frozen=True)
class PresetValues:
    """Values that presets give a scenario.

    Attributes:
        values: By dotted key; ``ground.stations`` is a list of mappings.
        comments: Where a value is from and how it comes about, by dotted key, a line each.
        heading: Lines on the presets and on the sources that the comments name.
    """

    values: dict[str, Any] = field(default_factory=dict)
    comments: dict[str, tuple[str, ...]] = field(default_factory=dict)
    _: KW_ONLY
    heading: tuple[str, ...] = ()

    def without(self, prefix: str) -> PresetValues:
        """The same without the keys of a table."""
        kept = {key: value for key, value in self.values.items() if not key.startswith(prefix)}
        return replace(self, values=kept)


def scenario_text(values: Mapping[str, Any], file: str, presets: PresetValues | None = None) -> str:
    """The text of a scenario file.

    Args:
        values: What to set, by dotted key; ``ground.stations`` is a list of mappings.
        file: Its name, for the first lines.
        presets: Where those of the values are from that presets gave.
    """
    described = table_descriptions()
    lines = [_HEAD.format(title=values.get("description") or "A mission", file=file)]
    origins = presets or PresetValues()
    lines.extend(f"# {line}" for line in origins.heading)

    def comments(key: str) -> Iterator[str]:
        if key in values and values[key] == origins.values.get(key):
            yield from (f"# {line}" for line in origins.comments[key])

    for table, keys in groupby(scenario_keys(), key=lambda key: key.table):
        if table == "ground.stations":
            continue
        if table:
            lines.append(f"\n[{table}] # {described[table]}")
        for key in keys:
            if key.dotted in ("name", "ground.stations"):  # the file's own; the last of its table
                continue
            comment = f" # {key.description}; {key.allowed}" if key.description else f" # {key.allowed}"
            lines.extend(comments(key.dotted))
            if key.dotted in values:
                lines.append(f"{key.name} = {toml_value(values[key.dotted])}{comment}")
            else:
                lines.append(f"# {key.name} = {key.default}{comment}")
        if table == "ground":
            of_station = ", ".join(key.name for key in scenario_keys() if key.table == "ground.stations")
            lines.append(f"# of a station: {of_station}")
            lines.extend(comments("ground.stations"))
            lines.append(f"stations = {toml_value(values['ground.stations'])}")
    return "\n".join(lines) + "\n"


def new_scenario(
    path: Path, values: Mapping[str, Any], presets: PresetValues | None = None
) -> tuple[Scenario, str]:
    """A scenario and the text of its file, which is not written yet.

    Args:
        path: A file that does not exist yet.
        values: See :func:`scenario_text`.
        presets: See :func:`scenario_text`.

    Raises:
        ScenarioError: The file exists already, its folder does not, or a value is not allowed.
    """
    require_new(path)
    text = scenario_text(values, path.name, presets)
    return parse_scenario(text, path), text


def require_new(path: Path) -> None:
    """Raise ScenarioError where a file cannot be written without overwriting one."""
    if path.exists():
        raise ScenarioError(f"{path}: exists already; name another file")
    if not path.absolute().parent.is_dir():
        raise ScenarioError(f"{path}: there is no folder {str(path.parent)!r}")


@dataclass(frozen=True)
class Shell:
    """A Walker delta shell T/P/F, as far as it is given: satellites, planes, phasing, inclination and height."""

    satellites: int | None = None
    planes: int | None = None
    _: KW_ONLY
    phasing: int | None = None
    inclination_deg: float | None = None
    altitude_km: float | None = None


def shell_values(shell: Shell, presets: PresetValues) -> dict[str, Any]:
    """Return the values of a shell.

    What it leaves open is the preset's, or 12 satellites in 2 planes at 53° and 1200 km.
    """
    given = {key.removeprefix("constellation."): value for key, value in presets.values.items()}
    planes = shell.planes or given.get("planes", 2)
    inclination_deg, altitude_km = shell.inclination_deg, shell.altitude_km
    return walker_values(
        shell.satellites or given.get("satellites", 12),
        planes,
        min(1, planes - 1) if shell.phasing is None else shell.phasing,
        given.get("inclination_deg", 53.0) if inclination_deg is None else inclination_deg,
        given.get("altitude_km", 1200.0) if altitude_km is None else altitude_km,
    )


def walker_values(
    satellites: int, planes: int, phasing: int, inclination_deg: float, altitude_km: float
) -> dict[str, Any]:
    """A Walker delta shell T/P/F; its mission starts at the beginning of the year."""
    shell = {
        "kind": "walker", "satellites": satellites, "planes": planes, "phasing": phasing,
        "inclination_deg": inclination_deg, "altitude_km": altitude_km,
    }  # fmt: skip
    title = f"Walker {inclination_deg:g}°: {satellites}/{planes}/{phasing} at {altitude_km:g} km"
    year = datetime.now(UTC).year
    return {
        "description": title,
        "epoch": datetime(year, 1, 1, tzinfo=UTC),
        **{f"constellation.{key}": value for key, value in shell.items()},
    }


def preset_values(satellite: str, ground: str) -> PresetValues:
    """Return the values of a satellite's and a ground segment's presets; an empty name is none.

    Raises:
        ScenarioError: There is no such preset; the message lists those that there are.
    """
    presets = read_presets()
    satellite_preset = presets.satellite(satellite) if satellite else None
    ground_preset = presets.ground(ground) if ground else None
    figures = scenario_figures(satellite_preset, ground_preset)
    values: dict[str, Any] = {key: figure.value for key, figure in figures.items()}
    comments: dict[str, tuple[str, ...]] = {key: (figure.comment,) for key, figure in figures.items()}
    heading: list[str] = []
    cited: dict[str, Source] = {}
    for kind, name, preset in (
        ("Satellites", satellite, satellite_preset),
        ("Ground segment", ground, ground_preset),
    ):
        if preset:
            heading.append(f"{kind} of the preset {name}: {preset.title}.")
            heading.extend(
                f"  {what}: {fact.text}; {source_line(fact)}" for what, fact in preset.facts.items()
            )
            cited |= presets.only(name).sources
    if ground_preset:
        stations = ground_preset.stations
        values["ground.stations"] = [
            station.model_dump(exclude=set(Sourced.model_fields), exclude_defaults=True)
            for station in stations
        ]
        comments["ground.stations"] = tuple(f"{station.name}: {source_line(station)}" for station in stations)
    sources = (f"  {name}: {source.title} ({source.kind})" for name, source in cited.items())
    if heading:
        heading += [
            "Sources that comments name; each figure is its source's, derated as said, or assumed:",
            *sources,
        ]
    return PresetValues(values, comments, heading=tuple(heading))


def element_values(path: Path, limit: int, skip: Sequence[str], on_error: OnError) -> dict[str, Any]:
    """The satellites of a TLE or OMM file; the mission starts at the newest epoch in it, to the hour.

    Raises:
        orbit.motion.elements.ElementsError: The file is not readable; the message names the line.
        OSError: There is no such file.
    """
    with warnings.catch_warnings():
        # The scenario's constellation is read from the file again, for its epoch, and warns of what is there.
        warnings.simplefilter("ignore", ElementsWarning)
        satellites = read_element_file(path, skip=skip, on_error=on_error)
    if limit:
        satellites = satellites.take(np.arange(min(limit, len(satellites.names))))
    elements = satellites.elements
    newest = np.argmax(elements.epoch_jd + elements.epoch_fraction)
    epoch = joined_julian_date(elements.epoch_jd[newest], elements.epoch_fraction[newest])
    start = epoch.to_datetime(timezone=UTC, leap_second_strict="silent")
    return {
        "description": f"Satellites of {path.name}",
        "epoch": start.replace(minute=0, second=0, microsecond=0),
        # Told by its content when it is read; the word is for people.
        "constellation.kind": "tle" if path.suffix in (".txt", ".tle") else "omm",
        "constellation.path": os.path.abspath(path),
        "constellation.limit": limit,
        "constellation.skip": tuple(skip),
        "constellation.on_error": on_error,
    }


def station_values(word: str) -> dict[str, Any]:
    """A station given as ``NAME,LAT,LON[,HEIGHT_M[,MASK_DEG]]``.

    Raises:
        ScenarioError: It is not.
    """
    name, *figures = (part.strip() for part in word.split(","))
    try:
        numbers = [float(figure) for figure in figures]
    except ValueError:
        numbers = []
    if not name or not 2 <= len(numbers) <= 4:
        raise ScenarioError(
            f"--station: found {word!r}, allowed: NAME,LAT,LON[,HEIGHT_M[,MASK_DEG]] in degrees, or a site of "
            "`skysplit presets sites`"
        )
    return {"name": name} | dict(zip(("lat_deg", "lon_deg", "height_m", "mask_deg"), numbers, strict=False))


def learning_values(model: str, data: Path | None) -> dict[str, Any]:
    """The model (a directory, or a name) and the data (an image folder, Parquet, or a CSV that lists images).

    Raises:
        ScenarioError: There is no such data.
    """
    values: dict[str, Any] = {}
    if model:
        directory = Path(model).expanduser()
        key = "model.path" if directory.is_dir() else "model.name"
        values[key] = os.path.abspath(directory) if directory.is_dir() else model
    if data is not None:
        if not data.exists():
            raise ScenarioError(f"--data: found {str(data)!r}, but there is no such file or directory")
        values["data.source"] = _source_of(data)
        values["data.path"] = os.path.abspath(data)
    return values


def _source_of(data: Path) -> str:
    if data.is_dir():
        return "parquet" if next(data.rglob("*.parquet"), None) else "folder"
    return "folder" if data.suffix.lower() == ".csv" else "parquet"
