"""Grids between planes: everybody has the same number of partners, seams and strays are found, grids can be given."""

from __future__ import annotations

import os
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from astropy.time import Time
from hypothesis import given, settings
from hypothesis import strategies as st

from orbit.constellation import Constellation, from_elements, from_file, walker
from orbit.contact_plan import LinkKind
from orbit.contact_plan_builder import (
    InterOrbitLink,
    IntraOrbitLink,
    LinkParameterError,
    Links,
    build_contact_plan,
)
from orbit.motion.elements import MeanElements
from orbit.search.ephemeris import ephemeris, ephemeris_step_s
from orbit.search.given_grid import GridError, given_grid, read_pairs
from orbit.search.intersatellite import (
    all_pairs,
    find_links,
    grid_neighbours,
    plane_neighbours,
    same_slot_neighbours,
    sight_bitmaps,
)

EPOCH = Time("2026-03-01T06:00:00")
TLE_FOLDER = Path(os.environ.get("SKYSPLIT_DATA", "/nonexistent")) / "tle"
needs_data = pytest.mark.skipif(
    not TLE_FOLDER.is_dir(), reason="SKYSPLIT_DATA with real element sets is not set"
)


def read_back(shell: Constellation) -> Constellation:
    """The same satellites as a file of their elements has them: planes and slots are recognised."""
    return from_elements(shell.names, shell.elements)


def partners(shell: Constellation, **options: int) -> np.ndarray:
    """How many satellites of other planes each is linked with in the grid."""
    pairs = grid_neighbours(shell, **options)
    assert len(np.unique(np.sort(pairs, axis=1), axis=0)) == len(pairs)
    assert (shell.plane[pairs[:, 0]] != shell.plane[pairs[:, 1]]).all()
    return np.bincount(pairs.ravel(), minlength=len(shell))


def partners_by_plane(shell: Constellation) -> np.ndarray:
    """How many partners each satellite (N,) has in each plane (P): (N, P)."""
    found = np.zeros((len(shell), shell.plane.max() + 1), int)
    for one, other in grid_neighbours(shell):
        found[one, shell.plane[other]] += 1
        found[other, shell.plane[one]] += 1
    return found


@settings(max_examples=150, deadline=None)
@given(
    planes=st.integers(1, 24),
    slots=st.integers(1, 12),
    inclination=st.floats(25, 155),
    raan=st.floats(0, 359),
    anomaly=st.floats(0, 359),
    star=st.booleans(),
    half_slot=st.booleans(),
    is_read_back=st.booleans(),
    data=st.data(),
)
def test_all_satellites_of_a_walker_pattern_have_one_partner_in_each_neighbouring_plane(
    planes, slots, inclination, raan, anomaly, star, half_slot, is_read_back, data
) -> None:
    phasing = data.draw(st.integers(0, planes - 1))
    shell = walker(
        f"{inclination:.3f}: {planes * slots}/{planes}/{phasing}",
        epoch=EPOCH,
        altitude_km=1200,
        star=star,
        raan_deg=raan,
        anomaly_deg=anomaly,
        phasing="half-slot" if half_slot else "walker",
    )
    if is_read_back:
        shell = read_back(shell)
    assert len(np.unique(shell.plane)) == planes
    found = partners_by_plane(shell)
    assert found.max(initial=0) <= 1
    neighbours = (found > 0).sum(axis=1)
    by_plane = {plane: set(neighbours[shell.plane == plane].tolist()) for plane in range(planes)}
    assert all(len(counts) == 1 for counts in by_plane.values())
    if star and planes > 2:
        assert sorted(counts.pop() for counts in by_plane.values()) == [1, 1] + [2] * (planes - 2)
    else:
        assert set(neighbours.tolist()) == {min(planes - 1, 2)}


@pytest.mark.parametrize(
    "pattern",
    ["53: 12/2/1", "53: 24/4/2", "53: 24/6/3", "53: 48/8/4", "53: 60/6/3", "53: 72/6/3", "60: 12/3/0",
     "97.6: 12/3/0", "56: 24/3/1", "53: 72/72/5", "53: 720/144/5"],
)  # fmt: skip
def test_published_shells_are_uniform_whether_made_or_read(pattern: str) -> None:
    made = walker(pattern, epoch=EPOCH, altitude_km=1200)
    planes = made.plane.max() + 1
    for shell in (made, read_back(made)):
        assert set(partners(shell).tolist()) == {min(planes - 1, 2)}


@settings(max_examples=30, deadline=None)
@given(
    planes=st.integers(2, 8),
    slots=st.integers(2, 9),
    phasing=st.integers(0, 7),
    inclination=st.floats(0, 85),
    star=st.booleans(),
)
def test_no_other_match_of_two_planes_brings_partners_nearer(
    planes: int, slots: int, phasing: int, inclination: float, star: bool
) -> None:
    shell = walker(
        f"{inclination:.2f}: {planes * slots}/{planes}/{phasing % planes}",
        epoch=EPOCH, altitude_km=1200, star=star, propagator="j2",
    )  # fmt: skip
    motion = ephemeris(shell, EPOCH, 300, step_s=22.0, frame="TEME")
    position = motion.positions(np.linspace(0, 6556, 120, endpoint=False))  # a revolution
    square = (position**2).sum(axis=2)
    apart2_km2 = square.mean(axis=1)[:, None] + square.mean(axis=1)[None, :]
    apart2_km2 -= 2 * np.einsum("ikx,jkx->ij", position, position) / 120
    pairs = grid_neighbours(shell)
    for west, east in {tuple(sorted(pair)) for pair in shell.plane[pairs].tolist()}:
        here, there = (np.flatnonzero(shell.plane == plane) for plane in (west, east))
        ours = pairs[np.isin(pairs, here).any(axis=1) & np.isin(pairs, there).any(axis=1)]
        all_shifts = [apart2_km2[here, np.roll(there, shift)].sum() for shift in range(slots)]
        assert apart2_km2[ours[:, 0], ours[:, 1]].sum() <= min(all_shifts) * 1.003 + 1e4


def test_the_grid_of_the_scenario_that_init_writes_has_links() -> None:
    shell = walker("53: 12/2/1", epoch=EPOCH, altitude_km=1200)
    links = find_links(shell, grid_neighbours(shell), epoch=EPOCH, horizon_s=43200.0, max_range_km=5000.0)
    assert (links["end_s"] - links["start_s"]).sum() > 0.2 * 6 * 43200.0


def test_the_same_partners_are_chosen_whatever_the_last_digit() -> None:
    shell = walker("51.9: 1156/34/0", epoch=EPOCH, mean_motion_rev_day=14.8, phasing="half-slot")
    noise = np.random.default_rng(7).uniform(-1e-9, 1e-9, len(shell))
    other = replace(
        shell,
        elements=replace(shell.elements, mean_anomaly_rad=shell.elements.mean_anomaly_rad + noise),
    )
    np.testing.assert_array_equal(grid_neighbours(shell), grid_neighbours(other))


@pytest.mark.parametrize("raan", [0.0, 100.0, 179.9, 300.0, 345.0])
def test_the_seam_of_a_star_lies_between_planes_that_fly_against_each_other(raan: float) -> None:
    made = walker("86.4: 66/6/0", epoch=EPOCH, altitude_km=780, star=True, raan_deg=raan)
    for shell in (made, read_back(made)):
        node = np.degrees(shell.elements.raan_rad)
        pairs = grid_neighbours(shell)
        apart = np.abs((node[pairs[:, 0]] - node[pairs[:, 1]] + 180) % 360 - 180)
        np.testing.assert_allclose(apart, 30.0, atol=1e-6)
        assert len(pairs) == 5 * 11


@pytest.mark.parametrize("inclination", [53.75, 86.25, 97.5])
def test_planes_whose_inclinations_differ_a_little_are_one_shell(inclination: float) -> None:
    shell = walker(f"{inclination}: 66/6/1", epoch=EPOCH, altitude_km=780, star=inclination > 80)
    uneven = np.radians(0.02) * np.where(shell.plane % 2, 1, -1)
    read = read_back(
        replace(shell, elements=replace(shell.elements, inc_rad=shell.elements.inc_rad + uneven))
    )
    node = np.degrees(read.elements.raan_rad)
    pairs = grid_neighbours(read)
    apart = np.abs((node[pairs[:, 0]] - node[pairs[:, 1]] + 180) % 360 - 180)
    np.testing.assert_allclose(apart, 30.0 if inclination > 80 else 60.0, atol=1e-6)
    assert len(pairs) == (55 if inclination > 80 else 66)


def joined(*shells: Constellation) -> Constellation:
    """Several constellations as one catalogue has them."""
    elements = (
        np.concatenate([getattr(shell.elements, field.name) for shell in shells])
        for field in fields(MeanElements)
    )
    names = [f"{number} {name}" for number, shell in enumerate(shells) for name in shell.names]
    return from_elements(names, MeanElements.of_columns(elements))


def test_a_stray_satellite_has_no_partner_and_takes_none() -> None:
    star = walker("87.9: 36/3/0", epoch=EPOCH, altitude_km=1200, star=True)
    stray = walker("87.9: 1/1/0", epoch=EPOCH, altitude_km=1200, raan_deg=20)
    alone = partners(joined(star, stray))
    assert alone[-1] == 0
    assert sorted(alone[:-1].tolist()) == [1] * 24 + [2] * 12
    assert len(plane_neighbours(joined(star, stray))) == 36


def test_a_plane_that_is_half_filled_is_a_plane() -> None:
    full = walker("53: 48/4/1", epoch=EPOCH, altitude_km=1200)
    gone = (full.plane == 2) & (full.slot >= 5)
    fleet = read_back(full.take(np.flatnonzero(~gone)))
    found = partners_by_plane(fleet)
    assert (found[fleet.plane == 2][:, [1, 3]] == 1).all()
    assert found.max() == 1


def test_shells_of_different_inclination_have_grids_of_their_own() -> None:
    both = joined(
        walker("53: 24/4/1", epoch=EPOCH, altitude_km=550), walker("70: 30/5/1", epoch=EPOCH, altitude_km=570)
    )
    assert set(partners(both).tolist()) == {2}
    pairs = grid_neighbours(both)
    assert ((pairs < 24).sum(axis=1) != 1).all()


@needs_data
@pytest.mark.parametrize("name", ["iridium-NEXT", "oneweb", "planet", "spire"])
@pytest.mark.parametrize("terminals", [1, 2])
def test_no_satellite_of_a_real_constellation_has_more_links_than_terminals(
    name: str, terminals: int
) -> None:
    fleet = from_file(TLE_FOLDER / f"{name}.txt")
    assert partners(fleet, terminals=terminals).max() <= terminals
    in_plane = np.bincount(plane_neighbours(fleet).ravel(), minlength=len(fleet))
    assert in_plane.max() <= 2
    assert partners_by_plane(fleet).max() <= 1


@needs_data
def test_iridium_is_a_star_of_six_planes_and_oneweb_of_twelve() -> None:
    for name, planes, size in (("iridium-NEXT", 6, 11), ("oneweb", 12, 40)):
        fleet = from_file(TLE_FOLDER / f"{name}.txt")
        pairs = fleet.plane[grid_neighbours(fleet)]
        assert len(np.unique(np.sort(pairs, axis=1), axis=0)) == planes - 1
        assert (np.bincount(fleet.plane)[np.unique(pairs)] >= size).all()
        node = np.degrees(fleet.elements.raan_rad)
        links = grid_neighbours(fleet)
        apart = np.abs((node[links[:, 0]] - node[links[:, 1]] + 180) % 360 - 180)
        assert np.median(apart) == pytest.approx(180 / planes, abs=3)


def test_with_one_terminal_every_second_pair_of_planes_is_linked() -> None:
    shell = walker("53: 48/8/3", epoch=EPOCH, altitude_km=1200)
    assert set(partners(shell, terminals=1).tolist()) == {1}
    odd = walker("53: 42/7/3", epoch=EPOCH, altitude_km=1200)
    assert sorted(set(partners(odd, terminals=1).tolist())) == [0, 1]
    plan = build_contact_plan(
        shell, [], Links(inter_orbit=InterOrbitLink(1e9, terminals=1)), epoch=EPOCH, horizon_s=600.0
    )
    contacts = plan.of_kind(LinkKind.INTER_ISL)
    pairs = np.unique(np.stack([contacts["source"], contacts["target"]], axis=1), axis=0)
    assert np.bincount(pairs[:, 0]).max() == 1


SHELL = walker("53: 24/4/1", epoch=EPOCH, altitude_km=1200)


def test_a_given_grid_is_flown_as_given() -> None:
    pairs = tuple((f"sat-0-{slot:02d}", f"sat-2-{5 - slot:02d}") for slot in range(6))
    links = Links(inter_orbit=InterOrbitLink(1e9, pairs=pairs, grazing_altitude_km=-100.0))
    plan = build_contact_plan(SHELL, [], links, epoch=EPOCH, horizon_s=86400.0)
    seen = {(plan.nodes[c["source"]].name, plan.nodes[c["target"]].name) for c in plan.contacts}
    assert seen <= {*pairs, *((b, a) for a, b in pairs)}
    expected = find_links(
        SHELL,
        np.array([[SHELL.names.index(name) for name in pair] for pair in pairs]),
        epoch=EPOCH,
        horizon_s=86400.0,
        grazing_altitude_km=-100.0,
    )
    assert len(plan.contacts) == 2 * len(expected) > 0


def test_equal_slots_are_paired_whatever_their_phases() -> None:
    shell = walker("51.9: 60/6/0", epoch=EPOCH, altitude_km=630, phasing="half-slot")
    pairs = same_slot_neighbours(shell)
    assert (shell.slot[pairs[:, 0]] == shell.slot[pairs[:, 1]]).all()
    assert set(np.bincount(pairs.ravel()).tolist()) == {2}


@pytest.mark.parametrize(
    "text",
    [
        "# a grid\nsat-0-00 sat-1-00\n\nsat-3-05 sat-2-01\n",
        "sat-0-00,sat-1-00\r\nsat-3-05, sat-2-01\r\n",
        "0 6\n23 13\n",
        '"0","6"\n23,13\n',
    ],
)
def test_pairs_are_read_by_name_and_by_number(text: str, tmp_path: Path) -> None:
    (tmp_path / "grid.txt").write_text(text)
    pairs = read_pairs(tmp_path / "grid.txt", SHELL.names)
    assert pairs == (("sat-0-00", "sat-1-00"), ("sat-3-05", "sat-2-01"))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("sat-0-00 sat-1-00 sat-2-00\n", "line 1: found 'sat-0-00 sat-1-00 sat-2-00', expected two"),
        ("0 6\n0 24\n", "line 2: found satellite 24, allowed are 0 to 23"),
        ("sat-0-00 sat-1-00\n\nsat-0-00 sat-9-00", "line 3: found 'sat-9-00', which is no satellite's name"),
        ("# nothing\n", "found no pair of satellites"),
    ],
)
def test_a_wrong_line_of_pairs_is_one_error_with_its_number(text: str, says: str, tmp_path: Path) -> None:
    (tmp_path / "grid.txt").write_text(text)
    with pytest.raises(GridError) as refusal:
        read_pairs(tmp_path / "grid.txt", SHELL.names)
    assert says in str(refusal.value)
    assert "grid.txt" in str(refusal.value)


@pytest.mark.parametrize(
    ("pairs", "says"),
    [
        ([("sat-0-00", "sat-9-00")], "found 'sat-9-00', which is no satellite's name"),
        ([("sat-0-00", "sat-0-00")], "a link joins two different satellites"),
        ([("sat-0-00", "sat-0-02")], "both fly in plane 0"),
        (
            [("sat-0-00", f"sat-{plane}-00") for plane in (1, 2, 3)],
            "'sat-0-00' has 3 partners, allowed is 2 (inter_orbit.terminals)",
        ),
    ],
)
def test_an_impossible_pair_is_refused_by_name(pairs: list[tuple[str, str]], says: str) -> None:
    with pytest.raises(GridError) as refusal:
        given_grid(SHELL, pairs, terminals=2, rings=True)
    assert says in str(refusal.value)


def test_neighbours_in_a_plane_may_stand_in_a_grid_that_has_rings_anyway() -> None:
    pairs = [("sat-0-00", "sat-0-01"), ("sat-0-00", "sat-1-00"), ("sat-1-00", "sat-0-00")]
    assert given_grid(SHELL, pairs, terminals=2, rings=True).tolist() == [[0, 6]]
    with pytest.raises(GridError, match="both fly in plane 0"):
        given_grid(SHELL, pairs, terminals=2, rings=False)


def test_a_grid_that_is_given_goes_with_the_topology_grid_alone() -> None:
    with pytest.raises(LinkParameterError, match="inter_orbit.pairs: found with topology 'all'"):
        InterOrbitLink(1e9, "all", pairs="same-slot")
    with pytest.raises(LinkParameterError, match="inter_orbit.terminals: found 0"):
        InterOrbitLink(1e9, terminals=0)


def lasting(condition: np.ndarray) -> np.ndarray:
    """Where a condition that is looked at every five seconds holds ten seconds before and after, too."""
    held = np.pad(condition, 2, constant_values=True)
    return np.all([held[k : k + len(condition)] for k in range(5)], axis=0)


@settings(max_examples=4, deadline=None)
@given(st.floats(300, 900), st.floats(0.0, 0.03), st.booleans())
def test_a_satellite_below_the_grazing_sphere_sees_nobody(grazing: float, ecc: float, compiled: bool) -> None:
    if compiled:
        pytest.importorskip("numba", reason="the extra [fast] is not installed")
    low = walker("53: 4/2/1", epoch=EPOCH, altitude_km=600, ecc=ecc)
    high = walker("53: 4/2/1", epoch=EPOCH, altitude_km=2000, raan_deg=40)
    fleet = joined(low, high)
    horizon_s, sphere_km = 12000.0, 6378.137 + grazing
    pairs = all_pairs(fleet)
    links = find_links(
        fleet, pairs, epoch=EPOCH, horizon_s=horizon_s, grazing_altitude_km=grazing, compiled=compiled
    )
    seconds = np.arange(0, horizon_s, 5.0)
    step_s = ephemeris_step_s(fleet, horizon_s, 0.1)
    motion = ephemeris(fleet, EPOCH, round(horizon_s / step_s), step_s=step_s, frame="TEME")
    position = motion.positions(seconds)
    bits = sight_bitmaps(fleet, epoch=EPOCH, seconds=seconds, grazing_altitude_km=grazing, compiled=compiled)
    seen = np.unpackbits(bits, axis=-1, count=len(fleet)).astype(bool)
    for pair in pairs:
        r1, r2 = position[pair[0]], position[pair[1]]
        along = r2 - r1
        nearest = np.clip(-(r1 * along).sum(-1) / (along * along).sum(-1), 0, 1)
        spare_km = np.linalg.norm(r1 + nearest[:, None] * along, axis=1) - sphere_km
        mine = links[(links["first"] == pair[0]) & (links["second"] == pair[1])]
        found = ((seconds >= mine["start_s"][:, None]) & (seconds <= mine["end_s"][:, None])).any(axis=0)
        # What lasts for less than ten seconds may be missed.
        assert found[lasting(spare_km > 0.1)].all()
        assert not found[lasting(spare_km < -0.1)].any()
        assert seen[spare_km > 0.1, pair[0], pair[1]].all()
        assert not seen[spare_km < -0.1, pair[0], pair[1]].any()


def test_rings_and_grid_of_a_shell_below_the_grazing_height_are_empty() -> None:
    shell = walker("53: 40/4/1", epoch=EPOCH, altitude_km=550)
    links = Links(
        intra_orbit=IntraOrbitLink(1e9, grazing_altitude_km=600.0),
        inter_orbit=InterOrbitLink(1e9, grazing_altitude_km=600.0),
    )
    assert not len(build_contact_plan(shell, [], links, epoch=EPOCH, horizon_s=86400.0).contacts)
