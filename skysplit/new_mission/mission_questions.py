"""`skysplit init` without options: a few questions in plain words, each with a default and checked when answered."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import typer

from mission.presets import read_presets
from skysplit.new_mission.mission_choices import (
    BITS,
    ISLS,
    PATTERNS,
    SPACING_DEG,
    STATIONS,
    DescribedImages,
    Elements,
    MissionChoices,
    Rates,
    chosen_values,
    planned_profile,
    station_words,
)
from skysplit.new_mission.new_scenario import Shell, preset_values
from skysplit.terminal import Terminal

_Answer = TypeVar("_Answer")
_NONE = "none"


def asked() -> MissionChoices:
    """Ask for a mission, and return what was chosen; an answer that is not possible is asked for again."""
    presets = read_presets()
    Terminal().say(f"Satellites with sourced figures: {', '.join(presets.satellites)} (skysplit presets)")
    satellite = _ask("Start from one of them?", _NONE, _one_of((_NONE, *presets.satellites)))
    choices = MissionChoices(satellite="" if satellite == _NONE else satellite)
    choices = _orbits(choices)
    words = _ask(
        "Ground stations: names (skysplit presets sites), or NAME,LAT,LON; separated by ;",
        "; ".join(STATIONS),
        lambda text: _checked(replace(choices, stations=tuple(station_words(text)))).stations,
    )
    choices = replace(choices, stations=words)
    if not choices.satellite:
        choices = replace(choices, rates=_rates())
    return _learning(choices)


def _orbits(choices: MissionChoices) -> MissionChoices:
    answer = _ask(
        "Orbits: delta or star (rings around the Earth), train (one behind the other), or a TLE or OMM file",
        "delta",
        lambda text: text if text in PATTERNS else _file(text, f"{', '.join(PATTERNS)}, or a file"),
    )
    if answer not in PATTERNS:
        elements = Elements(path=Path(answer))
        return _ask(
            "How many of its satellites (0: all)",
            "12",
            lambda text: _checked(replace(choices, elements=replace(elements, limit=_whole(text, least=0)))),
        )
    given = preset_values(choices.satellite, "").values
    satellites = _ask("Satellites", str(given.get("constellation.satellites", 12)), _whole)
    several = satellites % 2 == 0 and answer != "train"
    planes = _ask(
        "Planes, equally full",
        str(given.get("constellation.planes", 2 if several else 1)),
        lambda text: _dividing(satellites, _whole(text)),
    )
    altitude_km = _ask("Height, km", f"{given.get('constellation.altitude_km', 550.0):g}", _number)
    inclination_deg = _ask(
        "Inclination, degrees", f"{given.get('constellation.inclination_deg', 53.0):g}", _number
    )
    spacing_deg = (
        _ask("Degrees between neighbours", f"{SPACING_DEG:g}", _number) if answer == "train" else None
    )
    return replace(
        choices,
        pattern=answer,
        spacing_deg=spacing_deg,
        shell=Shell(satellites, planes, altitude_km=altitude_km, inclination_deg=inclination_deg),
    )


def _rates() -> Rates:
    return Rates(
        down_mbps=_ask("Mbit/s from satellite to ground", "200", _number),
        up_mbps=_ask("Mbit/s from ground to satellite (small satellites: 0.25 to 2)", "2", _number),
        isl=_ask(
            "Links between satellites: none, in-plane, grid (also between planes)", "none", _one_of(ISLS)
        ),
        satellite_tflops=_ask("TFLOP/s that a satellite sustains in training", "0.5", _number),
    )


def _learning(choices: MissionChoices) -> MissionChoices:
    model = _ask(
        "Model: synthetic-vit (shipped), a directory, a name on the hub, or a published size (skysplit models)",
        "synthetic-vit",
        lambda text: _checked(replace(choices, model=text)).model,
    )
    choices = replace(choices, model=model)
    data = _ask(
        "Your images: a folder, Parquet or CSV; none: synthetic ones",
        _NONE,
        lambda text: text if text == _NONE else _file(text, "a folder, Parquet, CSV, or none"),
    )
    if data != _NONE:
        return replace(choices, data=Path(data))
    if planned_profile(model) is None:
        return choices
    return replace(
        choices,
        imagery=DescribedImages(
            bands=_ask("Bands of an image", "6", lambda text: str(_whole(text))),
            bits=int(_ask("Bits of a value", "16", _one_of(tuple(map(str, BITS))))),
            tile_size=_ask("Side of a tile, pixels", "224", _whole),
            images=_ask("Images that a satellite trains with in a round", "500", _whole),
        ),
    )


def _ask(question: str, default: str, read: Callable[[str], _Answer]) -> _Answer:
    """Ask until the answer can be read; lines of the question end between words."""

    def value_of(text: Any) -> _Answer:
        try:
            return read(str(text).strip())
        except (ValueError, OSError) as error:
            raise typer.BadParameter(str(error)) from error

    room = Terminal().width - len(": ")
    lines = textwrap.wrap(f"{question} [{default}]", room, break_long_words=False, break_on_hyphens=False)
    answer: _Answer = typer.prompt("\n".join(lines), default=default, show_default=False, value_proc=value_of)
    return answer


def _checked(choices: MissionChoices) -> MissionChoices:
    """The same choices, if a scenario can have them."""
    chosen_values(choices)
    return choices


def _one_of(allowed: tuple[str, ...]) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in allowed:
            raise ValueError(f"found {text!r}, allowed: {', '.join(allowed)}")
        return text

    return read


def _file(text: str, allowed: str) -> str:
    if not Path(text).expanduser().exists():
        raise ValueError(f"found {text!r}, which is no file or folder here; allowed: {allowed}")
    return str(Path(text).expanduser())


def _whole(text: str, least: int = 1) -> int:
    if not text.isdecimal() or int(text) < least:
        raise ValueError(f"found {text!r}, allowed: a whole number from {least} on")
    return int(text)


def _dividing(satellites: int, planes: int) -> int:
    if satellites % planes:
        raise ValueError(f"found {planes}, allowed: a number that divides {satellites} satellites")
    return planes


def _number(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0.0 < number < float("inf"):
        raise ValueError(f"found {text!r}, allowed: a number above 0")
    return number
