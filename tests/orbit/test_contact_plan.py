"""The contact plan: how it is built, what it refuses, and that its files bring it back."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from astropy.time import Time
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.routing_cases import random_plan
from orbit import contact_plan_builder
from orbit.constellation import walker
from orbit.contact_plan import CONTACT, ContactPlan, ContactPlanError, LinkKind, Node
from orbit.contact_plan_builder import (
    InterOrbitLink,
    IntraOrbitLink,
    LinkParameterError,
    Links,
    SpaceGroundLink,
    build_contact_plan,
)
from orbit.files.contact_plan_files import ContactPlanFileError, load, save, to_json
from orbit.files.dtn_files import from_hdtn, from_ion, to_hdtn, to_ion
from orbit.link_budget import LinkBudget
from orbit.search.contacts import find_passes
from orbit.stations import GroundStation

EPOCH = Time("2026-03-01T06:00:00.123456789")
HORIZON_S = 7200.5
SHELL = walker("53: 24/2/1", epoch=EPOCH, altitude_km=550)
STATIONS = (
    GroundStation("Matera", 40.65, lon_deg=16.70, height_m=540),
    GroundStation("Perth", -31.8, lon_deg=115.89, height_m=250),
)
BUDGET = LinkBudget(8.2e9, 300e6, eirp_dbw=15.0, g_over_t_db_k=31.0)
LINKS = Links(
    SpaceGroundLink(BUDGET, 5e7),
    IntraOrbitLink(1e9),
    inter_orbit=InterOrbitLink(5e8, "all", max_range_km=3000),
)
NODES = (
    Node("a", "satellite", plane=0, slot=0),
    Node("b", "satellite", plane=1, slot=0),
    Node("g", "station"),
)


@pytest.fixture(scope="module")
def plan() -> ContactPlan:
    return build_contact_plan(SHELL, STATIONS, LINKS, epoch=EPOCH, horizon_s=HORIZON_S)


def contact(**changes) -> np.ndarray:
    row = np.zeros(1, CONTACT)
    row["target"], row["end_s"], row["rate_bps"], row["kind"] = 2, 10.0, 1e6, LinkKind.DOWNLINK
    for field, value in changes.items():
        row[field] = value
    return row


def test_every_link_of_the_mission_is_in_the_plan_in_both_directions(plan: ContactPlan) -> None:
    assert len(plan.nodes) == 26
    assert plan.nodes[plan.index("Perth")] == Node("Perth", "station")
    assert plan.planes == {0: tuple(range(12)), 1: tuple(range(12, 24))}
    assert plan.stations.tolist() == [24, 25]
    for kind, back in (
        (LinkKind.DOWNLINK, LinkKind.UPLINK),
        (LinkKind.INTRA_ISL,) * 2,
        (LinkKind.INTER_ISL,) * 2,
    ):
        there = plan.of_kind(kind)
        again = plan.of_kind(back)
        assert len(there) > 0
        key = {(c["source"], c["target"], c["start_s"], c["end_s"]) for c in there}
        assert key == {(c["target"], c["source"], c["start_s"], c["end_s"]) for c in again}
    ring = plan.of_kind(LinkKind.INTRA_ISL)
    assert len(ring) == 48
    assert (ring["start_s"] == 0).all()
    assert (ring["end_s"] == HORIZON_S).all()
    assert np.isnan(ring["max_elevation_deg"]).all()
    inter = plan.of_kind(LinkKind.INTER_ISL)
    assert (SHELL.plane[inter["source"]] != SHELL.plane[inter["target"]]).all()


def test_downlinks_are_the_passes_and_carry_what_the_budget_says(plan: ContactPlan) -> None:
    passes = find_passes(SHELL, STATIONS, epoch=EPOCH, horizon_s=HORIZON_S)
    down = plan.of_kind(LinkKind.DOWNLINK)
    np.testing.assert_array_equal(np.sort(passes["start_s"]), np.sort(down["start_s"]))
    lowest = BUDGET.rate_bps(np.array(2000.0), np.array(10.0))
    highest = BUDGET.rate_bps(down["min_range_km"], down["max_elevation_deg"])
    assert ((lowest < down["rate_bps"]) & (down["rate_bps"] < highest)).all()
    assert (down["owlt_s"] * 299792.458 > down["min_range_km"] - 1e-6).all()
    assert (plan.of_kind(LinkKind.UPLINK)["rate_bps"] == 5e7).all()
    volume = plan.volume_bytes()[plan.contacts["kind"] == LinkKind.UPLINK]
    seconds = plan.of_kind(LinkKind.UPLINK)["end_s"] - plan.of_kind(LinkKind.UPLINK)["start_s"]
    np.testing.assert_allclose(volume, seconds * 5e7 / 8)


def test_look_ups_find_what_a_scan_finds(plan: ContactPlan) -> None:
    rows = plan.contacts
    assert (np.diff(rows["start_s"]) >= 0).all()
    for source, target in ((0, 1), (0, 24), (24, 0), (3, 17)):
        expected = rows[(rows["source"] == source) & (rows["target"] == target)]
        assert (plan.between(source, target)["start_s"] == expected["start_s"]).all()
    assert sorted(plan.leaving(5).tolist()) == np.flatnonzero(rows["source"] == 5).tolist()
    expected = rows[(rows["start_s"] < 2000) & (rows["end_s"] > 1000)]
    np.testing.assert_array_equal(plan.during(1000, 2000)["start_s"], expected["start_s"])
    assert not plan.contacts.flags.writeable


def test_a_plan_is_built_again_only_when_something_changed(tmp_path: Path, monkeypatch) -> None:
    def build(**changes) -> ContactPlan:
        said = {
            "constellation": SHELL,
            "stations": STATIONS,
            "links": LINKS,
            "epoch": EPOCH,
            "horizon_s": 600.0,
            **changes,
        }
        return build_contact_plan(cache_dir=tmp_path, **said)

    first = build()
    with monkeypatch.context() as patch:
        patch.setattr(contact_plan_builder, "find_links", None)  # building would fail
        assert build().digest() == first.digest()
    monkeypatch.setattr(contact_plan_builder, "find_links", lambda *_, **__: pytest.fail("built"))
    changes = [
        {"horizon_s": 601.0},
        {"stations": STATIONS[:1]},
        {"epoch": Time("2026-03-01T07:00:00")},
        {"constellation": SHELL.propagated_by("j2")},
        {"links": replace(LINKS, intra_orbit=IntraOrbitLink(2e9))},
    ]
    for change in changes:
        with pytest.raises(pytest.fail.Exception):
            build(**change)
    monkeypatch.setattr(contact_plan_builder, "ENGINE_VERSION", 0)
    with pytest.raises(pytest.fail.Exception):
        build()


def test_each_grid_has_a_plan_of_its_own_in_the_cache(tmp_path: Path) -> None:
    grids = [
        InterOrbitLink(5e8),
        InterOrbitLink(5e8, terminals=1),
        InterOrbitLink(5e8, pairs="same-slot"),
        InterOrbitLink(5e8, pairs=(("sat-0-00", "sat-1-00"),)),
        InterOrbitLink(5e8, pairs=(("sat-0-00", "sat-1-01"),)),
        InterOrbitLink(5e8, "all"),
    ]
    for grid in grids:
        links = Links(inter_orbit=grid)
        build_contact_plan(SHELL, STATIONS, links, epoch=EPOCH, horizon_s=60.0, cache_dir=tmp_path)
    assert len(list(tmp_path.iterdir())) == len(grids)


def test_a_broken_cache_is_built_anew(tmp_path: Path) -> None:
    first = build_contact_plan(SHELL, STATIONS, LINKS, epoch=EPOCH, horizon_s=600.0, cache_dir=tmp_path)
    (cached,) = tmp_path.iterdir()
    cached.write_bytes(cached.read_bytes()[:100])
    again = build_contact_plan(SHELL, STATIONS, LINKS, epoch=EPOCH, horizon_s=600.0, cache_dir=tmp_path)
    assert again.digest() == first.digest()


def test_progress_goes_from_nothing_to_all() -> None:
    reported: list[float] = []
    build_contact_plan(SHELL, STATIONS, LINKS, epoch=EPOCH, horizon_s=600.0, progress=reported.append)
    assert reported == sorted(reported)
    assert reported[-1] == pytest.approx(1.0)
    assert len(reported) >= 3


@given(st.floats(1.0, 30000.0))
@settings(max_examples=10)
def test_no_contact_leaves_the_horizon(horizon_s: float) -> None:
    links = replace(LINKS, space_ground=SpaceGroundLink(1e8))
    plan = build_contact_plan(SHELL, STATIONS, links, epoch=EPOCH, horizon_s=horizon_s)
    assert (plan.contacts["end_s"] <= horizon_s).all()
    assert (plan.contacts["open_end"] == (plan.contacts["end_s"] == horizon_s)).all()
    assert not len(plan.of_kind(LinkKind.UPLINK))


@pytest.mark.parametrize("ending", [".npz", ".parquet", ".csv"])
def test_exact_files_bring_back_the_plan_bit_by_bit(plan: ContactPlan, tmp_path: Path, ending: str) -> None:
    path = tmp_path / "new" / f"plan{ending}"
    save(plan, path)
    assert load(path).digest() == plan.digest()
    beside = ["plan.csv-metadata.json"] if ending == ".csv" else []
    assert sorted(file.name for file in path.parent.iterdir()) == [path.name, *beside]


@pytest.mark.parametrize("ending", [".ion", ".json"])
def test_dtn_files_bring_back_the_plan_in_whole_seconds(
    plan: ContactPlan, tmp_path: Path, ending: str
) -> None:
    path, second = tmp_path / f"plan{ending}", tmp_path / f"again{ending}"
    save(plan, path)
    back = load(path)
    assert back.nodes == plan.nodes
    assert back.epoch_utc == plan.epoch_utc
    kept = plan.contacts[np.floor(plan.contacts["end_s"]) > np.ceil(plan.contacts["start_s"])]
    assert sorted(back.contacts[["source", "target", "kind"]].tolist()) == sorted(
        kept[["source", "target", "kind"]].tolist()
    )
    for one in back.contacts:
        whole = plan.between(one["source"], one["target"])
        around = whole[(whole["start_s"] <= one["start_s"]) & (whole["end_s"] >= one["end_s"])]
        assert len(around) == 1
        assert abs(around["rate_bps"][0] - one["rate_bps"]) <= 4
        assert one["start_s"] - around["start_s"][0] < 1
        assert around["end_s"][0] - one["end_s"] < 1
    save(back, second)
    assert second.read_text() == path.read_text()


def test_plans_of_others_are_read_with_numbers_for_names() -> None:
    ion = from_ion(
        "# made elsewhere\n@ 2026/03/01-06:00:00\nm horizon +0\n"
        "a contact +10 +70 7 9 125000\na range +10 +70 9 7 2\n"
        "a contact 2026/03/01-06:02:00 2026/03/01-06:03:00 9 7 1000\n"
    )
    assert [node.name for node in ion.nodes] == ["7", "9"]
    first, second = ion.contacts
    assert (first["source"], first["target"], first["start_s"], first["end_s"]) == (0, 1, 10, 70)
    assert (first["rate_bps"], first["owlt_s"]) == (1e6, 2)
    assert (second["source"], second["start_s"], second["end_s"]) == (1, 120, 180)
    hdtn = from_hdtn(
        '{"contacts": [{"contact": 0, "source": 1, "dest": 2, "startTime": 0, "endTime": 9, '
        '"rateBitsPerSec": 1000, "owlt": 1}]}',
        epoch=EPOCH,
    )
    assert (hdtn.contacts["rate_bps"][0], hdtn.contacts["owlt_s"][0], hdtn.horizon_s) == (1000, 1, 9)


def test_json_says_what_a_program_needs(plan: ContactPlan) -> None:
    said = json.loads(to_json(plan))
    assert said["epoch"] == "2026-03-01T06:00:00.123456789Z"
    assert said["horizon_s"] == HORIZON_S
    keys = "source target kind start_s end_s max_elevation_deg min_range_km rate_bps volume_bytes"
    assert len(said["contacts"]) == len(plan.contacts)
    assert set(said["contacts"][0]) == set(keys.split())
    assert {row["kind"] for row in said["contacts"]} == {"downlink", "uplink", "intra_isl", "inter_isl"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"source": 7}, "contacts[0].source: found 7, allowed are node indices 0 to 2"),
        ({"target": 0}, "contacts[0].target: found 0, a contact joins two different nodes"),
        ({"kind": 9}, "contacts[0].kind: found 9"),
        ({"kind": LinkKind.UPLINK}, "contacts[0].kind: found 1, which does not fit the source"),
        ({"kind": LinkKind.INTER_ISL}, "contacts[0].kind: found 3, which does not fit the target"),
        ({"start_s": -1.0}, "contacts[0].start_s: found -1.0"),
        ({"end_s": 101.0}, "contacts[0].end_s: found 101.0"),
        ({"rate_bps": np.nan}, "contacts[0].rate_bps: found nan"),
        ({"owlt_s": -1.0}, "contacts[0].owlt_s: found -1.0"),
    ],
)
def test_a_contradictory_contact_is_refused_with_row_and_field(changes: dict, message: str) -> None:
    ContactPlan(EPOCH, 100.0, nodes=NODES, contacts=contact())
    with pytest.raises(ContactPlanError) as refusal:
        ContactPlan(EPOCH, 100.0, nodes=NODES, contacts=contact(**changes))
    assert message in str(refusal.value)


def test_contacts_of_one_link_do_not_overlap() -> None:
    both = np.concatenate([contact(), contact(start_s=9.0, end_s=20.0)])
    with pytest.raises(ContactPlanError, match="inside the contact before it"):
        ContactPlan(EPOCH, 100.0, nodes=NODES, contacts=both)


def test_names_are_unique_and_satellites_come_first() -> None:
    with pytest.raises(ContactPlanError, match="two are called 'a'"):
        ContactPlan(EPOCH, 100.0, nodes=(NODES[0], NODES[0]), contacts=contact()[:0])
    with pytest.raises(ContactPlanError, match="satellites come first"):
        ContactPlan(EPOCH, 100.0, nodes=(NODES[2], NODES[0]), contacts=contact()[:0])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SpaceGroundLink(0.0), "space_ground.downlink: found 0.0"),
        (lambda: SpaceGroundLink(1e6, float("nan")), "space_ground.uplink: found nan"),
        (lambda: IntraOrbitLink(-1.0), "intra_orbit.rate_bps: found -1.0"),
        (lambda: InterOrbitLink(1e6, "star"), "inter_orbit.topology: found 'star', allowed are grid and all"),
    ],
)
def test_an_impossible_link_is_refused(make, message: str) -> None:
    with pytest.raises(LinkParameterError, match=message):
        make()


@given(st.sampled_from([".npz", ".csv", ".ion", ".json", ".parquet"]), st.data())
@settings(max_examples=150)
def test_no_damage_to_a_file_does_more_than_raise_a_contact_plan_error(
    tmp_path_factory, ending: str, data
) -> None:
    path = tmp_path_factory.getbasetemp() / f"damaged{ending}"
    whole = tmp_path_factory.getbasetemp() / f"whole{ending}"
    if not whole.exists():
        few = random_plan()
        save(replace(few, contacts=few.contacts[:12]), whole)
    content = bytearray(whole.read_bytes())
    for _ in range(data.draw(st.integers(1, 5))):
        place = data.draw(st.integers(0, len(content) - 1))
        content[place : place + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    path.write_bytes(bytes(content))
    try:
        read = load(path)
    except ContactPlanFileError as error:
        assert str(path) in str(error)
        return
    assert isinstance(read, ContactPlan)


@given(st.text(max_size=80))
def test_any_text_is_a_contact_plan_or_refused(text: str) -> None:
    for read in (from_ion, from_hdtn):
        with suppress(ContactPlanError):
            read(text)


def test_whole_seconds_never_lengthen_a_contact() -> None:
    plan = random_plan()
    for back in (from_ion(to_ion(plan)), from_hdtn(to_hdtn(plan))):
        assert back.volume_bytes().sum() <= plan.volume_bytes().sum()
