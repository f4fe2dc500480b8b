"""What a person chooses for a new scenario, by option or by answer, and the values of keys that follow from it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import KW_ONLY, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mission.presets import source_line
from mission.scenario import ScenarioError
from mission.sites.ground_sites import read_sites
from orbit.motion.element_files import OnError
from skysplit.new_mission.new_scenario import (
    PresetValues,
    Shell,
    element_values,
    learning_values,
    preset_values,
    shell_values,
    station_values,
)
from splitmodel.costs.published import Profile, published_profiles
from splitmodel.shipped import SHIPPED

if TYPE_CHECKING:
    from collections.abc import Mapping

# Of four operators in four continents, for those who have no stations of their own yet.
STATIONS = ("Cebreros", "Santiago", "Dongara", "Wallops")
PATTERNS = ("delta", "star", "train")
ISLS = ("none", "in-plane", "grid")
BITS = (8, 16, 32)
SPACING_DEG = 10.0  # of a train, where nothing is said
# The option that sets a key, for errors: who wrote no file yet knows options, not keys.
_OPTIONS = {
    "constellation.satellites": "--satellites",
    "constellation.planes": "--planes",
    "constellation.phasing": "--phasing",
    "constellation.inclination_deg": "--inclination-deg",
    "constellation.altitude_km": "--altitude-km",
    "constellation.train_spacing_deg": "--spacing-deg",
    "links.sgl.down_mbps": "--down-mbps",
    "links.sgl.up_mbps": "--up-mbps",
    "links.intra_orbit.mbps": "--isl-mbps",
    "links.inter_orbit.mbps": "--isl-mbps",
    "compute.satellite_tflops": "--tflops",
    "compute.ground_tflops": "--ground-tflops",
    "model.image_size": "--tile-size",
    "data.bands": "--bands",
    "planning.samples": "--images",
    "task.classes": "--classes",
    "training.mode": "--mode",
}


@dataclass(frozen=True)
class DescribedImages:
    """Images as far as they are described instead of given.

    Attributes:
        bands: Names separated by commas, or how many.
        bits: Of a value.
        tile_size: Side of a tile, in pixels.
        images: That a satellite trains with in a round.
        classes: Names of a mask's values, separated by commas.
    """

    bands: str = ""
    bits: int | None = None
    _: KW_ONLY
    tile_size: int | None = None
    images: int | None = None
    classes: str = ""


@dataclass(frozen=True)
class Rates:
    """Links and compute rates, as far as they are given: Mbit/s, and sustained TFLOP/s."""

    down_mbps: float | None = None
    up_mbps: float | None = None
    _: KW_ONLY
    isl: str | None = None
    isl_mbps: float | None = None
    satellite_tflops: float | None = None
    ground_tflops: float | None = None


@dataclass(frozen=True)
class Elements:
    """Satellites of a TLE or OMM file: how many of them, without whom, and what becomes of broken ones."""

    path: Path | None = None
    limit: int = 0
    _: KW_ONLY
    skip: tuple[str, ...] = ()
    on_error: OnError = "error"


@dataclass(frozen=True)
class MissionChoices:
    """All that a person can choose for a new scenario; what is left empty is a preset's, or the default."""

    satellite: str = ""
    ground: str = ""
    _: KW_ONLY
    shell: Shell = field(default_factory=Shell)
    pattern: str | None = None
    spacing_deg: float | None = None
    elements: Elements = Elements()
    stations: tuple[str, ...] = ()
    rates: Rates = Rates()
    model: str = ""
    data: Path | None = None
    imagery: DescribedImages = DescribedImages()
    mode: str = "lora"


def chosen_values(choices: MissionChoices) -> tuple[dict[str, Any], PresetValues]:
    """Return the values of all keys that the choices set, and where those come from that a source gives.

    Raises:
        ScenarioError: A choice is not possible, alone or beside another; it names option, found and allowed.
        ValueError, OSError: The element file or the images cannot be read.
    """
    origins = preset_values(choices.satellite, choices.ground)
    profile = planned_profile(choices.model)
    if choices.model or choices.data:
        origins = origins.without("planning.")  # the images are others than the preset's
    if choices.elements.path:
        origins = origins.without("constellation.")
    orbits = _orbit_values(choices, origins)
    if choices.stations or "ground.stations" not in origins.values:
        origins = _with_stations(origins, choices.stations or STATIONS)
    origins = _with_image_size(origins, choices)
    values = origins.values | orbits | _rate_values(choices.rates)
    trained = "" if profile else choices.model
    values |= learning_values(trained or "synthetic-vit", choices.data) | {"training.mode": choices.mode}
    if profile:
        values["planning.profile"] = profile.name
    values |= _image_values(choices)
    return values, origins


def planned_profile(model: str) -> Profile | None:
    """Return the published model whose sizes a name stands for: written out, or its beginning, in any capitals.

    Returns:
        None for a directory, a model that ships, and what looks like a name on the hub.

    Raises:
        ScenarioError: Several begin like that, or a word names nothing known.
    """
    profiles = published_profiles()
    if not model or model in SHIPPED or Path(model).expanduser().is_dir():
        return None
    exact = [profile for name, profile in profiles.items() if name.casefold() == model.casefold()]
    begun = [profile for name, profile in profiles.items() if name.casefold().startswith(model.casefold())]
    matches = exact or begun
    if len(matches) > 1:
        raise ScenarioError(
            f"--model: found {model!r}, allowed: {', '.join(profile.name for profile in matches)}"
        )
    if not matches and "/" not in model:
        raise ScenarioError(
            f"--model: found {model!r}, allowed: a directory, {', '.join(SHIPPED)}, a name on the hub with its owner "
            f"(OWNER/NAME), or for plans alone {', '.join(profiles)}"
        )
    return matches[0] if matches else None


def option_errors(message: str, file: str, stations: tuple[str, ...]) -> str:
    """Return what is wrong with a file that nobody has written yet in words of the options that made it."""
    for key, option in _OPTIONS.items():
        message = message.replace(f"{file}: {key}:", f"{option}:")
    for number, word in enumerate(stations or STATIONS):
        message = message.replace(f"{file}: ground.stations.{number}.", f"--station {word}: ")
    return message.replace(f"{file}: ground.stations:", "--station:")


def _orbit_values(choices: MissionChoices, origins: PresetValues) -> dict[str, Any]:
    """The constellation: of a file, or a pattern."""
    elements, shell = choices.elements, choices.shell
    given = {
        **{f"--{name.replace('_', '-')}": value for name, value in vars(shell).items()},
        "--pattern": choices.pattern,
        "--spacing-deg": choices.spacing_deg,
    }
    if elements.path:
        for option, value in given.items():
            if value is not None:
                raise ScenarioError(
                    f"{option}: found {value!r} with --elements, whose satellites have orbits of their own; allowed "
                    "with --elements: --limit, --skip, --on-error"
                )
        return element_values(elements.path, elements.limit, elements.skip, elements.on_error)
    for option, value in {"--limit": elements.limit, "--skip": ", ".join(elements.skip)}.items():
        if value:
            raise ScenarioError(f"{option}: found {value!r} without --elements, allowed with it")
    values = shell_values(shell, origins)
    if choices.spacing_deg is not None and choices.pattern != "train":
        raise ScenarioError(f"--spacing-deg: found {choices.spacing_deg:g}, allowed with --pattern train")
    if choices.pattern == "star":
        values["constellation.pattern"] = "star"
    elif choices.pattern == "train":
        spacing_deg = SPACING_DEG if choices.spacing_deg is None else choices.spacing_deg
        if spacing_deg <= 0.0:
            raise ScenarioError(f"--spacing-deg: found {spacing_deg:g}, allowed: above 0")
        values["constellation.train_spacing_deg"] = spacing_deg
    return values


def _with_stations(origins: PresetValues, words: tuple[str, ...]) -> PresetValues:
    """The same with stations by name or by coordinates; of those by name the source stands above them."""
    sites = read_sites()
    stations: list[dict[str, Any]] = []
    notes: list[str] = []
    cited: dict[str, str] = {}
    for word in words:
        if "," in word:
            stations.append(station_values(word))
            continue
        try:
            name = sites.name_of(word)
        except ScenarioError as error:
            raise ScenarioError(f"--station: {error}") from error
        site = sites.sites[name]
        stations.append(site.station(name).model_dump(exclude_defaults=True))
        notes.append(f"{name}: {site.operator}; {source_line(site)}")
        source = sites.sources[site.source]
        cited[site.source] = f"  {site.source}: {source.title} ({source.kind})"
    heading = origins.heading
    if cited:
        heading = (*heading, "Sources of the ground stations:", *cited.values())
    return replace(
        origins,
        values=origins.values | {"ground.stations": stations},
        comments=origins.comments | {"ground.stations": tuple(notes)},
        heading=heading,
    )


def _rate_values(rates: Rates) -> dict[str, Any]:
    """Links and compute rates that are given."""
    if rates.isl not in (None, *ISLS):
        raise ScenarioError(f"--isl: found {rates.isl!r}, allowed: {', '.join(ISLS)}")
    if rates.isl == "none" and rates.isl_mbps is not None:
        raise ScenarioError(
            f"--isl-mbps: found {rates.isl_mbps:g} with --isl none, allowed with in-plane or grid"
        )
    values: dict[str, Any] = {
        "links.sgl.down_mbps": rates.down_mbps,
        "links.sgl.up_mbps": rates.up_mbps,
        "compute.satellite_tflops": rates.satellite_tflops,
        "compute.ground_tflops": rates.ground_tflops,
        "links.intra_orbit.mbps": rates.isl_mbps,
        "links.inter_orbit.mbps": rates.isl_mbps,
    }
    if rates.isl is not None:
        values["links.intra_orbit.enabled"] = rates.isl != "none"
        values["links.inter_orbit.topology"] = "grid" if rates.isl == "grid" else "none"
    return {key: value for key, value in values.items() if value is not None}


def _with_image_size(origins: PresetValues, choices: MissionChoices) -> PresetValues:
    """The same with the bytes of an image, where images are described and not given."""
    imagery = choices.imagery
    if choices.data or not (imagery.bands or imagery.bits or imagery.tile_size):
        return origins
    if imagery.bits not in (None, *BITS):
        raise ScenarioError(f"--bits: found {imagery.bits}, allowed: {', '.join(map(str, BITS))}")
    factors = {
        "bands": _band_count(imagery.bands) if imagery.bands else 3,
        "bytes of a value": (imagery.bits or 8) // 8,
        "rows": imagery.tile_size or 224,
        "columns": imagery.tile_size or 224,
    }
    return replace(
        origins,
        values=origins.values | {"planning.image_bytes": float(math.prod(factors.values()))},
        comments=origins.comments
        | {
            "planning.image_bytes": (" × ".join(f"{count} ({name})" for name, count in factors.items()),),
        },
    )


def _band_count(bands: str) -> int:
    """How many bands there are: the number that is given, or the number of names."""
    if bands.strip().isdecimal():
        if not int(bands):
            raise ScenarioError(f"--bands: found {bands}, allowed: at least 1, or names separated by commas")
        return int(bands)
    return len(_names("--bands", bands))


def _image_values(choices: MissionChoices) -> dict[str, Any]:
    """What is said of the images beside their bytes."""
    imagery = choices.imagery
    values: dict[str, Any] = {}
    if imagery.images is not None:
        values["planning.samples"] = imagery.images
    if imagery.classes:
        values["task.kind"] = "segmentation"
        values["task.classes"] = class_names(imagery.classes)
    if choices.data:
        if imagery.bits is not None:
            raise ScenarioError(f"--bits: found {imagery.bits} with --data, whose files say it")
        if imagery.bands:
            values["data.bands"] = _names("--bands", imagery.bands)
        if imagery.tile_size is not None:
            values["model.image_size"] = imagery.tile_size
    return values


def class_names(text: str) -> tuple[str, ...]:
    """Return the classes of a mask that are given as ``NAME,NAME,…``.

    Raises:
        ScenarioError: They are fewer than two, one is empty, or two are alike.
    """
    return _names("--classes", text, least=2)


def _names(option: str, text: str, least: int = 1) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(","))
    if not all(names) or not least <= len(set(names)) == len(names):
        count = "two or more names" if least == 2 else "names"
        raise ScenarioError(f"{option}: found {text!r}, allowed: {count} that differ, separated by commas")
    return names


def station_words(text: str) -> Iterator[str]:
    """Yield stations that were typed in one line: names separated by commas, or anything separated by semicolons."""
    parts = [part.strip() for part in text.split(";")]
    for part in parts:
        has_figures = any(
            word.strip().lstrip("+-").replace(".", "", 1).isdecimal() for word in part.split(",")
        )
        yield from [part] if has_figures else (name.strip() for name in part.split(","))


def model_words(choices: MissionChoices, values: Mapping[str, Any]) -> str:
    """Say of the model whether it is trained or only planned with; empty for one that a run loads as it is."""
    profile = planned_profile(choices.model)
    if profile is None:
        return ""
    if not profile.family:
        return f"{profile.name}: planned only, no family of SkySplit trains it; a run trains {values['model.name']}"
    return (
        f"{profile.name}: trainable as {profile.family}, once model.path or model.name names its files; until then "
        f"plans assume its sizes and a run trains {values['model.name']}"
    )
