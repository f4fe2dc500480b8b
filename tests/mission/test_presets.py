"""Presets: every figure has a source, a derating or a count; a file with a fault is one error that names it."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from mission.presets import (
    ASSUMED,
    SHIPPED,
    read_presets,
    scenario_figures,
    source_line,
    sourced_parts,
)
from mission.scenario import ScenarioError, load_scenario, parse_scenario
from mission.text.scenario_toml import toml_value
from splitmodel.costs.published import published

PRESETS = read_presets()
SATELLITES, GROUNDS = sorted(PRESETS.satellites), sorted(PRESETS.grounds)
ALL = PRESETS.by_name
# Which presets a shipped scenario is made of.
SCENARIOS = {
    "dove-3u": ("dove-3u", "dove-network"),
    "orin-fleet": ("orin-optical", "polar-commercial"),
    "optical-72": ("optical-relay", "polar-commercial"),
    "six-band": ("landsat-class", "landsat-network"),
}
SMALL = """
[sources]
sheet = { kind = "data sheet", title = "a data sheet" }
[satellites.one]
title = "a satellite"
[satellites.one.figures]
"links.sgl.up_mbps" = { value = 0.25, source = "sheet" }
[grounds.two]
title = "a ground segment"
stations = [{ name = "Kiruna", lat_deg = 67.9, lon_deg = 21.0, source = "assumed", note = "why" }]
[grounds.two.figures]
"ground.beams" = { value = 1, source = "assumed", note = "why" }
"""


def file_of(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "ours.toml"
    path.write_text(text)
    return path


@pytest.mark.parametrize("name", sorted(ALL))
def test_every_part_of_a_preset_names_an_entry_of_the_sources_or_says_why_it_is_assumed(name: str) -> None:
    parts = sourced_parts(ALL[name])
    assert parts
    for what, part in parts.items():
        if part.source == ASSUMED:
            assert part.note, what
            assert source_line(part) == f"assumed: {part.note}"
        else:
            assert PRESETS.sources[part.source].title


def test_every_source_is_cited() -> None:
    assert {source for name in ALL for source in PRESETS.only(name).sources} == set(PRESETS.sources)


@pytest.mark.parametrize("name", sorted(ALL))
def test_compute_says_how_it_was_derated_or_that_it_is_assumed(name: str) -> None:
    """At the least ÷ 4 from a dense 16-bit peak, ÷ 16 from a sparse 8-bit one, except where training was measured."""
    for key, figure in ALL[name].figures.items():
        if key.startswith("compute."):
            if figure.peak is None:
                assert figure.source == ASSUMED
                continue
            total = math.prod(step.divide_by for step in figure.derating)
            assert figure.amount == pytest.approx(figure.peak / total, rel=0.005)
            measured = any("llama3" in step.why for step in figure.derating)
            assert figure.derating[-1].divide_by >= 4.0 or measured
            assert all(f"÷ {step.divide_by:g} ({step.why})" in figure.derivation for step in figure.derating)


@pytest.mark.parametrize("name", SATELLITES)
def test_an_image_is_counted_by_bands_bytes_and_pixels_for_a_published_model(name: str) -> None:
    figures = PRESETS.satellites[name].figures
    image = figures["planning.image_bytes"]
    assert set(image.factors) == {"bands", "bytes of a value", "rows", "columns"}
    assert image.amount == math.prod(image.factors.values())
    profile = published(str(figures["planning.profile"].amount))
    # Models of 16-pixel patches with a class token: 224 = 14 × 16.
    assert profile.tokens == (image.factors["rows"] // 16) * (image.factors["columns"] // 16) + 1


@pytest.mark.parametrize("name", SATELLITES)
def test_no_preset_sends_up_faster_than_a_tenth_of_what_it_sends_down(name: str) -> None:
    figures = PRESETS.satellites[name].figures
    assert 10 * float(figures["links.sgl.up_mbps"].amount) <= float(figures["links.sgl.down_mbps"].amount)


@pytest.mark.parametrize("satellite", SATELLITES)
@pytest.mark.parametrize("ground", GROUNDS)
def test_every_pair_makes_a_scenario_with_the_lower_rate_of_both_ends(satellite: str, ground: str) -> None:
    ends = PRESETS.satellite(satellite), PRESETS.ground(ground)
    figures = scenario_figures(*ends)
    stations = [
        {"name": one.name, "lat_deg": one.lat_deg, "lon_deg": one.lon_deg} for one in ends[1].stations
    ]
    text = "".join(f"{key} = {toml_value(figure.value)}\n" for key, figure in figures.items())
    scenario = parse_scenario(
        f'epoch = "2026-01-01T00:00:00Z"\nground.stations = {toml_value(stations)}\n{text}', Path("pair.toml")
    )
    for key, figure in figures.items():
        found = scenario
        for part in key.split("."):
            found = getattr(found, part)
        assert found == figure.value, key
    for key, rate in {
        "down_mbps": scenario.links.sgl.down_mbps,
        "up_mbps": scenario.links.sgl.up_mbps,
    }.items():
        assert rate == min(float(end.figures[f"links.sgl.{key}"].amount) for end in ends)
        assert source_line(ends[0].figures[f"links.sgl.{key}"]) in figures[f"links.sgl.{key}"].comment
        assert source_line(ends[1].figures[f"links.sgl.{key}"]) in figures[f"links.sgl.{key}"].comment


@pytest.mark.parametrize("name", sorted(SCENARIOS))
def test_a_shipped_scenario_has_the_figures_of_its_presets(name: str) -> None:
    satellite, ground = (
        preset(one) for preset, one in zip((PRESETS.satellite, PRESETS.ground), SCENARIOS[name], strict=True)
    )
    scenario = load_scenario(name)
    for key, figure in scenario_figures(satellite, ground).items():
        found = scenario
        for part in key.split("."):
            found = getattr(found, part)
        assert found == figure.value, key
    assert [station.model_dump() for station in scenario.ground.stations] == [
        station.model_dump(exclude={"source", "note"}) for station in ground.stations
    ]


@pytest.mark.parametrize("name", sorted(SCENARIOS))
def test_a_shipped_scenario_says_of_every_number_where_it_is_from(name: str) -> None:
    """A comment on the line, on its table, or on the list that it stands in; what the mission chooses needs none."""
    chosen = (
        "kind",
        "phasing",
        "horizon_h",
        "seed",
        "description",
        "intra_orbit",
        "space_ground",
        "inter_orbit",
    )
    explained = False
    for line in (SHIPPED.parent.parent / "scenarios" / f"{name}.toml").read_text().splitlines():
        if line.startswith("["):
            explained = "#" in line
        elif line.startswith("stations"):
            assert "#" in line
        elif " = " in line and not line.startswith(("#", " ", *chosen)):
            assert explained or "#" in line or (line.startswith("planes") and name == "optical-72"), line


def test_an_amount_of_derated_compute_is_the_one_worked_out_by_hand() -> None:
    """275 sparse TOPS of a Jetson AGX Orin, 170 of them by its GPU: 170 / 2 / 2 / 4 = 10.6."""
    assert PRESETS.satellite("orin-agx").figures["compute.satellite_tflops"].amount == 10.6
    assert PRESETS.ground("aws").figures["compute.ground_tflops"].amount == 3170.0
    assert PRESETS.satellite("landsat-class").figures["planning.image_bytes"].amount == 602_112.0


def test_a_small_file_is_read(tmp_path: Path) -> None:
    presets = read_presets(file_of(tmp_path, SMALL))
    assert scenario_figures(presets.satellite("one"), None)["links.sgl.up_mbps"].value == 0.25


@pytest.mark.parametrize(
    ("before", "after", "says"),
    [
        (
            'source = "sheet"',
            'source = "shete"',
            ["satellites.one: links.sgl.up_mbps", "found 'shete'", "assumed, sheet"],
        ),
        (', source = "sheet" }', " }", ["satellites.one.figures.links.sgl.up_mbps.source", "missing"]),
        (
            '{ value = 1, source = "assumed", note = "why" }',
            '{ value = 1, source = "assumed" }',
            ["ground.beams", "note", "needed"],
        ),
        (
            '"links.sgl.up_mbps"',
            '"links.sgl.up_mpbs"',
            ["satellites.one.figures", "'links.sgl.up_mpbs'", "allowed"],
        ),
        ('"ground.beams"', '"training.rounds"', ["grounds.two.figures", "'training.rounds'", "allowed"]),
        (
            "value = 0.25",
            "value = 0.25, factors = { bands = 3 }",
            ["links.sgl.up_mbps.value", "allowed is one of"],
        ),
        ("value = 0.25", "peak = 3.0", ["links.sgl.up_mbps.peak", "together with peak_is and derating"]),
        (
            "value = 0.25",
            'peak = 3.0, peak_is = "TOPS", derating = [{ divide_by = 0.5, why = "x" }]',
            ["divide_by", "found 0.5", "greater than or equal to 1"],
        ),
        ("lat_deg = 67.9", "lat_deg = 167.9", ["grounds.two.stations.0.lat_deg", "found 167.9", "90"]),
        ('title = "a satellite"', 'title = "a\\nsatellite"', ["satellites.one.title", "found"]),
        ('title = "a satellite"', 'titel = "a satellite"', ["satellites.one.titel", "unknown key"]),
        (
            'kind = "data sheet"',
            'kind = "hearsay"',
            ["sources.sheet.kind", "found 'hearsay'", "'data sheet'"],
        ),
        ("[grounds.two", "[grounds.one", ["grounds", "found one", "also the name of a satellite"]),
        ("[sources]", "[sources", ["not readable as TOML"]),
    ],
)
def test_a_fault_in_a_file_of_presets_is_named(
    before: str, after: str, says: list[str], tmp_path: Path
) -> None:
    assert before in SMALL
    path = file_of(tmp_path, SMALL.replace(before, after))
    with pytest.raises(ScenarioError) as refused:
        read_presets(path)
    for words in (str(path), *says):
        assert words in str(refused.value)


@pytest.mark.parametrize(
    ("ask", "name", "says"),
    [
        (PRESETS.satellite, "dove", "satellite preset: found 'dove', allowed: dove-3u, "),
        (PRESETS.satellite, "12", "a number of satellites is --satellites"),
        (PRESETS.ground, "dove-3u", "ground preset: found 'dove-3u', allowed: kiruna, "),
        (PRESETS.only, "nowhere", "preset: found 'nowhere', allowed: satellites dove-3u, "),
    ],
)
def test_an_unknown_name_is_one_error_with_those_that_there_are(ask, name: str, says: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ScenarioError) as refused:
        ask(name)
    assert says in str(refused.value)
    assert "\n" not in str(refused.value)
