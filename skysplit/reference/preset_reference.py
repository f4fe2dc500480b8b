"""The page of all presets and ground sites, from their files:

python -m skysplit.reference.preset_reference > docs/presets.md
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from mission.presets import GroundPreset, SatellitePreset, read_presets
from mission.sites.ground_sites import read_sites
from skysplit.reference.preset_tables import (
    GROUND_HEADINGS,
    SATELLITE_HEADINGS,
    SITE_HEADINGS,
    figure_rows,
    ground_row,
    satellite_row,
    site_row,
)

_HEAD = """# Presets

Satellites and ground segments with the figures of real missions, to start a scenario from:

```bash
skysplit presets orin-agx
skysplit init doves.toml --satellite dove-3u --ground dove-network
```

`skysplit init` writes every figure into the scenario, with its source in a comment above it. Options win over presets:
satellites, planes, height and inclination, `--station` for your own stations, `--elements` for your own orbits; with
`--model` or `--data` plans count your model and images instead of the preset's. A space-ground link has the lower rate
of its two ends.

Where nothing was read, the source is *assumed*, and a note says why. Rates of compute are sustained training TFLOP/s,
which no data sheet gives: they are peaks, divided by what stands beside them. The last factor, from dense peak to
sustained training, is the one to doubt: `skysplit plan doves.toml --set compute.satellite_tflops=0.02`.

**Uplinks** are 25 to 1,000 times slower than downlinks: a Dove has 250 kbit/s. A scenario that says nothing has
50 Mbit/s, which is wrong for a small satellite.

Written from `mission/presets.toml` and `mission/sites/ground_sites.toml` by
`python -m skysplit.reference.preset_reference`.
"""

_SITES = """`skysplit init ours.toml --station Svalbard --station "Punta Arenas"` takes places from here; capitals and
accents do not matter. Coordinates are the site's or the named place's, to about 1 km, which shifts a pass by 0.1 s;
heights are the ground's, to about 50 m. Which antennas a mission gets, and from which elevation on, is agreed with the
operator: 5° is assumed."""


def reference() -> Iterator[str]:
    """The lines of the page, in Markdown."""
    presets = read_presets()
    yield from _HEAD.splitlines()
    yield from ("", "## Satellites", "")
    yield from _table(SATELLITE_HEADINGS, (satellite_row(*item) for item in presets.satellites.items()))
    yield from ("", "## Ground segments", "")
    yield from _table(GROUND_HEADINGS, (ground_row(*item) for item in presets.grounds.items()))
    sites = read_sites()
    yield from ("", "## Ground sites", "", *_SITES.splitlines(), "")
    yield from _table(SITE_HEADINGS, (site_row(*item) for item in sites.sites.items()))
    for name, preset in presets.by_name.items():
        yield from _every_figure(name, preset)
    yield from ("", "## Sources", "")
    sources = presets.sources | sites.sources
    rows = ((f"`{name}`", source.kind, source.title) for name, source in sources.items())
    yield from _table(("source", "kind", "is"), rows)


def _every_figure(name: str, preset: SatellitePreset | GroundPreset) -> Iterator[str]:
    yield from ("", f"## `{name}`", "", f"{preset.title[0].upper()}{preset.title[1:]}.", "")
    keys = preset.figures
    rows = ((f"`{what}`" if what in keys else what, *rest) for what, *rest in figure_rows(preset))
    yield from _table(("figure", "value", "from"), rows)


def _table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(headings)} |"
    yield "|" + "---|" * len(headings)
    for row in rows:
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |"


if __name__ == "__main__":
    print("\n".join(reference()))
