"""Presets in rows of text, for the terminal and for the page of presets."""

from __future__ import annotations

from collections.abc import Iterator

from mission.presets import GroundPreset, SatellitePreset, source_line
from mission.sites.ground_sites import Site

SATELLITE_HEADINGS = (
    "name",
    "what it is",
    "TFLOP/s",
    "down, Mbit/s",
    "up, Mbit/s",
    "laser, Mbit/s",
    "image, kB",
)
GROUND_HEADINGS = ("name", "what it is", "stations", "beams", "down, Mbit/s", "up, Mbit/s", "TFLOP/s")

SITE_HEADINGS = ("site", "operator", "latitude", "longitude", "height, m", "source")


def site_row(name: str, site: Site) -> tuple[str, ...]:
    """A ground site in the columns of :data:`SITE_HEADINGS`."""
    where = f"{site.lat_deg:.2f}", f"{site.lon_deg:.2f}", f"{site.height_m:.0f}"
    return name, site.operator, *where, source_line(site)


def satellite_row(name: str, preset: SatellitePreset) -> tuple[str, ...]:
    """A satellite in the columns of :data:`SATELLITE_HEADINGS`."""
    return (
        name,
        preset.title,
        _amount(preset, "compute.satellite_tflops"),
        _amount(preset, "links.sgl.down_mbps"),
        _amount(preset, "links.sgl.up_mbps"),
        _amount(preset, "links.intra_orbit.mbps"),
        _amount(preset, "planning.image_bytes", per=1e3),
    )


def ground_row(name: str, preset: GroundPreset) -> tuple[str, ...]:
    """A ground segment in the columns of :data:`GROUND_HEADINGS`."""
    return (
        name,
        preset.title,
        str(len(preset.stations)),
        _amount(preset, "ground.beams"),
        _amount(preset, "links.sgl.down_mbps"),
        _amount(preset, "links.sgl.up_mbps"),
        _amount(preset, "compute.ground_tflops"),
    )


def figure_rows(preset: SatellitePreset | GroundPreset) -> Iterator[tuple[str, str, str]]:
    """Return the figures of a preset: name, value, source and derivation."""
    for key, figure in preset.figures.items():
        derived = "; ".join(part for part in (figure.derivation, source_line(figure)) if part)
        yield key, _short(figure.amount), derived
    if isinstance(preset, GroundPreset):
        for station in preset.stations:
            place = f"{station.lat_deg:g}°, {station.lon_deg:g}°, {station.height_m:g} m, from {station.mask_deg:g}° up"
            yield f"station {station.name}", place, source_line(station)
    for what, fact in preset.facts.items():
        yield what, fact.text, source_line(fact)


def _amount(preset: SatellitePreset | GroundPreset, key: str, per: float = 1.0) -> str:
    """A number of a preset, in short; a dash where it has none."""
    figure = preset.figures.get(key)
    return _short(float(figure.amount) / per) if figure else "–"


def _short(amount: bool | int | float | str) -> str:
    """A value to read: numbers of four digits, or whole from a thousand."""
    if isinstance(amount, bool):
        return str(amount).lower()
    if isinstance(amount, str):
        return amount
    return f"{amount:,.0f}" if amount >= 1000 else f"{amount:.4g}"
