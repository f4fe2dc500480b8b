"""Real ground sites by name, each with its operator and source: ``ground_sites.toml`` beside this file.

site = read_sites().site("Svalbard")
"""

from __future__ import annotations

import difflib
import tomllib
import unicodedata
from functools import cache
from pathlib import Path

from pydantic import Field, ValidationError, model_validator

from mission.presets import Line, Source, Sourced
from mission.scenario import ScenarioError, validation_message
from mission.schema import Station, Table

SHIPPED = Path(__file__).with_name("ground_sites.toml")
_MASK_DEG = 5.0  # assumed of every site; see the file
_CLOSE = 5  # names that an error offers


class Site(Sourced):
    """A place with antennas.

    Attributes:
        operator: Who runs the antennas there.
        lat_deg: Geodetic latitude (WGS-84), north positive.
        lon_deg: Longitude, east positive.
        height_m: Of the ground.
    """

    operator: Line
    lat_deg: float = Field(ge=-90.0, le=90.0)
    lon_deg: float = Field(ge=-180.0, le=180.0)
    height_m: float = Field(ge=-500.0, le=9_000.0)

    def station(self, name: str) -> Station:
        """Return the site as a station of a scenario."""
        return Station(
            name=name,
            lat_deg=self.lat_deg,
            lon_deg=self.lon_deg,
            height_m=self.height_m,
            mask_deg=_MASK_DEG,
        )


class Sites(Table):
    """All sites of a file."""

    sources: dict[str, Source]
    sites: dict[Line, Site]

    @model_validator(mode="after")
    def _cites_sources_and_has_distinct_names(self) -> Sites:
        for name, site in self.sites.items():
            if site.source not in self.sources:
                raise ValueError(
                    f"sites.{name}.source: found {site.source!r}, allowed: {', '.join(self.sources)}"
                )
        if len({plain_name(name) for name in self.sites}) < len(self.sites):
            raise ValueError("sites: two names differ in accents or capitals alone")
        return self

    def name_of(self, text: str) -> str:
        """Return the name of a site; capitals, accents and the spelling ø or o do not matter.

        Raises:
            ScenarioError: There is none; the message offers the names that come close.
        """
        names = {plain_name(name): name for name in self.sites}
        if (site := names.get(plain_name(text))) is not None:
            return site
        close = difflib.get_close_matches(plain_name(text), names, n=_CLOSE, cutoff=0.6)
        offered = ", ".join(names[each] for each in close)
        hint = f"did you mean {offered}?" if offered else f"e.g. {', '.join(list(self.sites)[:_CLOSE])}"
        raise ScenarioError(
            f"found {text!r}, which is not among the {len(self.sites)} sites of `skysplit presets sites`; {hint} "
            "Allowed: such a name, or NAME,LAT,LON[,HEIGHT_M[,MASK_DEG]] in degrees"
        )


@cache
def read_sites(path: Path = SHIPPED) -> Sites:
    """Read and check a file of sites.

    Raises:
        ScenarioError: Unreadable file, unknown key or source, value out of range.
    """
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
        return Sites.model_validate(tables)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ScenarioError(f"{path}: not readable as TOML: {error}") from error
    except ValidationError as error:
        raise ScenarioError(validation_message(error, str(path), known={})) from error


def plain_name(name: str) -> str:
    """Return a name in small letters without accents, by which it is looked up."""
    decomposed = unicodedata.normalize("NFKD", name.strip().casefold().replace("ø", "o"))
    return "".join(letter for letter in decomposed if not unicodedata.combining(letter))
