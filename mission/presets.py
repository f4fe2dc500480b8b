"""Presets of satellites and ground segments, each figure with its source: ``presets.toml`` beside this file.

    presets = read_presets()
    figures = scenario_figures(presets.satellite("dove-3u"), presets.ground("dove-network"))

A figure is a key of a scenario with a value as it was read, with a peak rate and what it is divided by, or with a
product of counts. :func:`scenario_figures` joins a satellite and a ground segment to the keys of one scenario.
"""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError, model_validator

from mission.scenario import ScenarioError, scalar_keys, validation_message
from mission.schema import Positive, Station, Table

ASSUMED = "assumed"
SHIPPED = Path(__file__).with_name("presets.toml")
_SATELLITE_TABLES = ("constellation.", "links.", "compute.satellite_tflops", "power.", "planning.")
_GROUND_TABLES = ("ground.beams", "ground.setup_s", "links.sgl.", "compute.ground_tflops")
# What each end of a link gives is the most that it can do.
_OF_BOTH_ENDS = ("links.sgl.down_mbps", "links.sgl.up_mbps")
_SIGNIFICANT_DIGITS = 3  # of a derated rate: no factor of it is known better

# One line of print: it becomes a comment of a scenario.
Line = Annotated[str, Field(min_length=1, pattern=r"^[^\x00-\x1f\x7f]+$")]


class Source(Table):
    """A publication or page from which figures were read."""

    kind: Literal["paper", "data sheet", "agency", "vendor", "press"]
    title: Line


class Sourced(Table):
    """Something with a source: an entry of ``[sources]``, or ``assumed`` with a note that says why."""

    source: Line
    note: Line | None = None

    @model_validator(mode="after")
    def _says_why_it_is_assumed(self) -> Sourced:
        if self.source == ASSUMED and not self.note:
            raise ValueError('note: needed with source = "assumed"')
        return self


class Derating(Table):
    """One factor between a peak and what is sustained."""

    divide_by: float = Field(ge=1.0)
    why: Line


class Figure(Sourced):
    """The value of one key: as read, derated from a peak, or counted."""

    value: bool | int | float | str | None = None
    peak: Positive | None = None
    peak_is: Line | None = None
    derating: tuple[Derating, ...] = ()
    factors: dict[Line, Annotated[int, Field(ge=1)]] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _is_given_one_way(self) -> Figure:
        ways = (self.value is not None, self.peak is not None, bool(self.factors))
        if sum(ways) != 1:
            raise ValueError("value: allowed is one of value, peak with derating, and factors")
        if (self.peak is not None) != bool(self.derating) or (self.peak is not None) != bool(self.peak_is):
            raise ValueError("peak: allowed together with peak_is and derating")
        return self

    @property
    def amount(self) -> bool | int | float | str:
        """The value that is written into a scenario."""
        if self.value is not None:
            return self.value
        if self.factors:
            return float(math.prod(self.factors.values()))
        assert self.peak is not None
        sustained = self.peak / math.prod(step.divide_by for step in self.derating)
        return float(f"{sustained:.{_SIGNIFICANT_DIGITS}g}")

    @property
    def derivation(self) -> str:
        """The arithmetic behind the amount, on one line; empty if the value was read as it is."""
        if self.factors:
            return " × ".join(f"{count} ({name})" for name, count in self.factors.items())
        if self.peak is None:
            return ""
        steps = "".join(f" ÷ {step.divide_by:g} ({step.why})" for step in self.derating)
        return f"{self.peak:g} ({self.peak_is}){steps}"


class Fact(Sourced):
    """Something worth knowing that no key of a scenario takes."""

    text: Line


class SourcedStation(Station, Sourced):
    """A ground station of a preset."""


class SatellitePreset(Table):
    """A satellite: its orbit, links, compute and imagery, by key of a scenario."""

    title: Line
    figures: dict[str, Figure] = Field(min_length=1)
    facts: dict[Line, Fact] = Field(default_factory=dict)


class GroundPreset(Table):
    """A ground segment: its stations, and the rest by key of a scenario."""

    title: Line
    stations: tuple[SourcedStation, ...] = Field(min_length=1)
    figures: dict[str, Figure] = Field(min_length=1)
    facts: dict[Line, Fact] = Field(default_factory=dict)


class Presets(Table):
    """All presets of a file."""

    sources: dict[str, Source]
    satellites: dict[str, SatellitePreset]
    grounds: dict[str, GroundPreset]

    @model_validator(mode="after")
    def _names_keys_and_sources_that_exist(self) -> Presets:
        if twice := sorted(self.satellites.keys() & self.grounds.keys()):
            raise ValueError(f"grounds: found {', '.join(twice)}, which is also the name of a satellite")
        known = dict(scalar_keys())
        for kind, presets, allowed in (
            ("satellites", self.satellites, _SATELLITE_TABLES),
            ("grounds", self.grounds, _GROUND_TABLES),
        ):
            for name, preset in presets.items():
                for key in preset.figures:
                    if key not in known or not key.startswith(allowed):
                        raise ValueError(
                            f"{kind}.{name}.figures: found {key!r}, allowed: keys of a scenario in {', '.join(allowed)}"
                        )
                for what, sourced in sourced_parts(preset).items():
                    if sourced.source not in (*self.sources, ASSUMED):
                        raise ValueError(
                            f"{kind}.{name}: {what}: source: found {sourced.source!r}, "
                            f"allowed: {ASSUMED}, {', '.join(self.sources)}"
                        )
        return self

    @property
    def by_name(self) -> dict[str, SatellitePreset | GroundPreset]:
        """Satellites, then ground segments."""
        return {**self.satellites, **self.grounds}

    def satellite(self, name: str) -> SatellitePreset:
        """The satellite of a name.

        Raises:
            ScenarioError: There is none; the message lists those that there are.
        """
        if name not in self.satellites:
            number = "; a number of satellites is --satellites" if name.isdecimal() else ""
            raise ScenarioError(
                f"satellite preset: found {name!r}, allowed: {', '.join(self.satellites)}{number}"
            )
        return self.satellites[name]

    def only(self, name: str) -> Presets:
        """One satellite or ground segment alone, with the sources that it cites.

        Raises:
            ScenarioError: There is none; the message lists those that there are.
        """
        if name not in self.by_name:
            raise ScenarioError(
                f"preset: found {name!r}, allowed: satellites {', '.join(self.satellites)}; "
                f"ground segments {', '.join(self.grounds)}"
            )
        cited = {
            word
            for part in sourced_parts(self.by_name[name]).values()
            for word in cited_names(part, self.sources)
        }
        return Presets(
            sources={key: source for key, source in self.sources.items() if key in cited},
            satellites={key: preset for key, preset in self.satellites.items() if key == name},
            grounds={key: preset for key, preset in self.grounds.items() if key == name},
        )

    def ground(self, name: str) -> GroundPreset:
        """The ground segment of a name.

        Raises:
            ScenarioError: There is none; the message lists those that there are.
        """
        if name not in self.grounds:
            raise ScenarioError(f"ground preset: found {name!r}, allowed: {', '.join(self.grounds)}")
        return self.grounds[name]


@dataclass(frozen=True)
class ScenarioFigure:
    """A value that presets give a key of a scenario.

    Attributes:
        value: Of the key.
        comment: Where it is from and how it comes about, one line.
    """

    value: bool | int | float | str
    comment: str


@cache
def read_presets(path: Path = SHIPPED) -> Presets:
    """Read and check a file of presets.

    Raises:
        ScenarioError: Unreadable file, unknown key or source, wrong type, a figure without a source. All findings
            are in one message, a line each.
    """
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ScenarioError(f"{path}: not readable as TOML: {error}") from error
    try:
        return Presets.model_validate(_tuples(tables))
    except ValidationError as error:
        raise ScenarioError(validation_message(error, str(path), known={})) from error


def sourced_parts(preset: SatellitePreset | GroundPreset) -> dict[str, Sourced]:
    """Everything of a preset that has a source, by what it is."""
    stations = preset.stations if isinstance(preset, GroundPreset) else ()
    return {
        **preset.figures,
        **{f"station {station.name}": station for station in stations},
        **preset.facts,
    }


def cited_names(sourced: Sourced, sources: Collection[str]) -> set[str]:
    """Entries of ``[sources]`` that something rests on: its source, and those named in brackets in its texts."""
    texts = [sourced.note or ""]
    if isinstance(sourced, Figure):
        texts += [step.why for step in sourced.derating]
    named = {word for text in texts for word in re.findall(r"\(([\w-]+)\)", text)}
    return ({sourced.source} | named) & set(sources)


def source_line(sourced: Sourced) -> str:
    """The source of something and the note beside it, in one line."""
    note = f" ({sourced.note})" if sourced.note and sourced.source != ASSUMED else ""
    return f"assumed: {sourced.note}" if sourced.source == ASSUMED else f"{sourced.source}{note}"


def scenario_figures(
    satellite: SatellitePreset | None, ground: GroundPreset | None
) -> dict[str, ScenarioFigure]:
    """The keys of a scenario that a satellite and a ground segment give, without the stations.

    The rates of a space-ground link are the lower of what both ends can do.
    """
    ends = [preset.figures for preset in (satellite, ground) if preset]
    joined: dict[str, ScenarioFigure] = {}
    for key in dict.fromkeys(key for figures in ends for key in figures):
        values = [figures[key] for figures in ends if key in figures]
        joined[key] = _lower(values) if key in _OF_BOTH_ENDS and len(values) > 1 else _of(values[-1])
    return joined


def _of(figure: Figure) -> ScenarioFigure:
    origin = "; ".join(part for part in (figure.derivation, source_line(figure)) if part)
    return ScenarioFigure(figure.amount, origin)


def _lower(figures: list[Figure]) -> ScenarioFigure:
    """The lower of what the satellite and the ground segment can do."""
    low, high = sorted(figures, key=lambda figure: float(figure.amount))
    words = {id(end): word for end, word in zip(figures, ("satellite", "ground"), strict=True)}
    slower = _of(low)
    return ScenarioFigure(
        slower.value,
        f"the {words[id(low)]}'s: {slower.comment}; the {words[id(high)]} could {high.amount:g} ({source_line(high)})",
    )


def _tuples(value: object) -> object:
    """Lists as tuples, in tables too: the schema is strict."""
    if isinstance(value, Mapping):
        return {key: _tuples(item) for key, item in value.items()}
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value
