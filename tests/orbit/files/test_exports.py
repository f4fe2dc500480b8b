"""Contact plans and constellations for other programs, read by readers that know nothing of us."""

from __future__ import annotations

import csv
import io
import json
import tempfile
import warnings
from dataclasses import fields, replace
from pathlib import Path

import astropy.units as u
import numpy as np
import pytest
from astropy.time import Time
from dtn_readers import HdtnContact, IonAdmin, hdtn_contacts
from hypothesis import given, settings
from hypothesis import strategies as st
from sgp4 import omm
from sgp4.api import Satrec
from skyfield.api import EarthSatellite, load

from benchmarks.routing_cases import random_plan
from orbit.constellation import from_file, walker
from orbit.contact_plan import CONTACT, ContactPlan, LinkKind, Node
from orbit.contact_plan_builder import (
    InterOrbitLink,
    IntraOrbitLink,
    Links,
    SpaceGroundLink,
    build_contact_plan,
)
from orbit.files.contact_plan_files import (
    ContactPlanFileError,
    csv_metadata,
    from_csv,
    metadata_path,
    save,
    to_csv,
)
from orbit.files.contact_plan_files import load as load_plan
from orbit.files.dtn_files import from_hdtn, from_ion, to_hdtn, to_ion
from orbit.files.omm_export import omm_records, to_omm
from orbit.link_budget import LinkBudget
from orbit.motion.elements import MeanElements
from orbit.stations import GroundStation

EPOCH = Time("2026-03-01T06:00:00.4")
SHELL = walker("53: 24/2/1", epoch=EPOCH, altitude_km=550)
STATIONS = (
    GroundStation("Matera", 40.65, lon_deg=16.70, height_m=540),
    GroundStation("Perth", -31.8, lon_deg=115.89, height_m=250),
)
BUDGET = LinkBudget(8.2e9, 300e6, eirp_dbw=15.0, g_over_t_db_k=31.0)
RANDOM = random_plan()
NODES = (
    Node("a", "satellite", plane=0, slot=0),
    Node("b", "satellite", plane=1, slot=0),
    Node("g", "station"),
)


@pytest.fixture(scope="module")
def plan() -> ContactPlan:
    links = Links(
        SpaceGroundLink(BUDGET, 5e7),
        IntraOrbitLink(1e9),
        inter_orbit=InterOrbitLink(5e8, "all", max_range_km=3000),
    )
    return build_contact_plan(SHELL, STATIONS, links, epoch=EPOCH, horizon_s=7200.5)


def one_contact(**changes: float) -> ContactPlan:
    row = np.zeros(1, CONTACT)
    row["target"], row["end_s"], row["rate_bps"], row["kind"] = 2, 100.0, 1e6, LinkKind.DOWNLINK
    for field, value in changes.items():
        row[field] = value
    return ContactPlan(EPOCH, 1e10, nodes=NODES, contacts=row)


def unix_s(plan: ContactPlan, seconds: float) -> float:
    return plan.epoch.unix + seconds


def test_ionadmin_loads_every_contact_and_takes_nothing_for_a_command(plan: ContactPlan) -> None:
    ion = IonAdmin(to_ion(plan))
    assert ion.refused == []
    lasting = plan.contacts[plan.contacts["end_s"] - plan.contacts["start_s"] > 2]
    assert len(lasting) - 5 < len(ion.contacts) <= len(plan.contacts)
    for found in ion.contacts:
        between = plan.between(found.source - 1, found.target - 1)
        start_s, end_s = found.start_unix_s - plan.epoch.unix, found.end_unix_s - plan.epoch.unix
        whole = between[(between["start_s"] <= start_s + 1e-6) & (between["end_s"] >= end_s - 1e-6)]
        assert len(whole) == 1
        assert start_s - whole["start_s"][0] < 1.0
        assert whole["end_s"][0] - end_s < 1.0
        assert found.bytes_per_s == int(whole["rate_bps"][0] // 8)


def test_ion_has_a_range_for_the_time_of_every_contact(plan: ContactPlan) -> None:
    ion = IonAdmin(to_ion(plan))
    ranges = {(one.start_unix_s, one.end_unix_s, one.source, one.target) for one in ion.ranges}
    assert len(ranges) == len(ion.ranges)
    assert ranges == {(one.start_unix_s, one.end_unix_s, one.source, one.target) for one in ion.contacts}


def test_hdtn_reads_whole_seconds_and_whole_bits_that_are_within_the_contact(plan: ContactPlan) -> None:
    contacts: list[HdtnContact] = hdtn_contacts(to_hdtn(plan))
    assert [one.contact for one in contacts] == list(range(len(contacts)))
    for one in contacts:
        between = plan.between(one.source - 1, one.dest - 1)
        whole = between[(between["start_s"] <= one.start_s) & (between["end_s"] >= one.end_s)]
        assert len(whole) == 1
        assert 0 <= whole["rate_bps"][0] - one.rate_bps < 1


@given(st.floats(0, 50), st.booleans())
@settings(max_examples=60)
def test_nothing_is_written_at_rate_0(rate_bps: float, is_hdtn: bool) -> None:
    plan = one_contact(rate_bps=rate_bps)
    if is_hdtn:
        rates = [one.rate_bps for one in hdtn_contacts(to_hdtn(plan))]
        assert rates == ([int(rate_bps)] if rate_bps >= 1 else [])
    else:
        rates = [one.bytes_per_s for one in IonAdmin(to_ion(plan)).contacts]
        assert rates == ([int(rate_bps // 8)] if rate_bps >= 8 else [])


@given(st.floats(8, 3e10), st.floats(0, 0.999999), st.floats(0, 5000), st.floats(2.5, 5000))
@settings(max_examples=100)
def test_what_comes_back_has_the_exact_rate_and_epoch_and_lies_within(rate, fraction, start, lasts) -> None:
    plan = one_contact(rate_bps=rate, start_s=start, end_s=start + lasts)
    plan = replace(plan, epoch=Time("2026-03-01T06:00:00") + fraction * u.s)
    for back in (from_ion(to_ion(plan)), from_hdtn(to_hdtn(plan))):
        assert back.epoch_utc == plan.epoch_utc
        assert back.nodes == plan.nodes
        (found,) = back.contacts
        assert found["rate_bps"] == rate
        assert start - 1e-5 <= found["start_s"] < start + 1
        assert start + lasts - 1 < found["end_s"] <= start + lasts + 1e-5


def test_numbers_above_32_bits_are_refused_for_ion() -> None:
    assert IonAdmin(to_ion(one_contact(rate_bps=8.0 * (2**32 - 1)))).contacts[0].bytes_per_s == 2**32 - 1
    for changes in ({"rate_bps": 8.0 * 2**32}, {"end_s": 2.0**32 + 1}):
        with pytest.raises(ContactPlanFileError, match=r"contact a → g: found 42949672\d\d, ION has 32 bits"):
            to_ion(one_contact(**changes))
    with pytest.raises(ContactPlanFileError, match="HDTN has 64 bits"):
        to_hdtn(one_contact(rate_bps=1e20))
    assert hdtn_contacts(to_hdtn(one_contact(rate_bps=1e11)))[0].rate_bps == 100_000_000_000


def test_a_name_too_long_for_a_line_of_ion_is_refused_not_cut() -> None:
    plan = one_contact()
    for name in ("名" * 64, "two\nlines", "no\u00a0break \u2028 \x85", 'a "quoted" \\ name #'):
        named = replace(plan, nodes=(Node(name, "satellite"), *NODES[1:]))
        assert from_ion(to_ion(named)).nodes == named.nodes
        assert len(IonAdmin(to_ion(named)).contacts) == 1
        assert IonAdmin(to_ion(named)).refused == []
    with pytest.raises(ContactPlanFileError, match=r"found 3\d\d bytes, a line of ION has 255 at most"):
        to_ion(replace(plan, nodes=(Node("x" * 300, "satellite"), *NODES[1:])))


def test_a_rate_of_0_is_not_read_from_hdtn_as_no_rate() -> None:
    text = '{"contacts": [{"contact": 0, "source": 1, "dest": 2, "startTime": 0, "endTime": 9, "rateBitsPerSec": 0}]}'
    with pytest.raises(
        ContactPlanFileError, match=r"contacts\[0\].rateBitsPerSec: found 0, which HDTN takes"
    ):
        from_hdtn(text, epoch=EPOCH)
    (older,) = from_hdtn(text.replace('"rateBitsPerSec": 0', '"rate": 3'), epoch=EPOCH).contacts
    assert older["rate_bps"] == 3e6


def test_files_of_before_are_still_read() -> None:
    header = json.dumps(
        {"format": "skysplit-contact-plan-1", "epoch": "2026-03-01T06:00:00.000000000Z", "horizon_s": 100.0,
         "nodes": [{"name": "a", "kind": "satellite", "plane": 0, "slot": 0},
                   {"name": "g", "kind": "station", "plane": -1, "slot": -1}]}
    )  # fmt: skip
    ion = from_ion(f"# {header}\n@ 2026/03/01-06:00:00\na contact +1 +9 1 2 1000\na range +1 +9 1 2 0\n")
    columns = ",".join(CONTACT.names)
    table = from_csv(f"# {header}\n{columns}\na,g,downlink,1.0,9.0,8000.0,0.01,45.0,700.0,False,False\n")
    for plan in (ion, table):
        assert [node.name for node in plan.nodes] == ["a", "g"]
        assert plan.contacts[["start_s", "end_s", "rate_bps"]].tolist() == [(1.0, 9.0, 8000.0)]


def test_a_dict_reader_reads_the_csv_as_it_is(plan: ContactPlan) -> None:
    rows = list(csv.DictReader(io.StringIO(to_csv(plan))))
    assert len(rows) == len(plan.contacts)
    for row, contact in zip(rows, plan.contacts, strict=True):
        assert (row["source"], row["target"]) == tuple(
            plan.nodes[contact[end]].name for end in ("source", "target")
        )
        assert row["kind"] == LinkKind(contact["kind"]).name.lower()
        for field in ("start_s", "end_s", "rate_bps", "owlt_s"):
            assert float(row[field]) == contact[field]
        for edge in ("start", "end"):
            utc = Time(row[f"{edge}_utc"].removesuffix("Z"), scale="utc")
            assert (utc - plan.epoch).to_value("s") == pytest.approx(contact[f"{edge}_s"], abs=2e-9)


def test_a_csv_without_its_metadata_still_says_who_is_linked_when(plan: ContactPlan) -> None:
    back = from_csv(to_csv(plan))
    assert back.epoch_utc == plan.epoch_utc
    assert {node.name for node in back.nodes} == {node.name for node in plan.nodes}
    assert sorted(map(sorted, back.planes.values())) != []
    assert {frozenset(back.nodes[index].name for index in members) for members in back.planes.values()} == {
        frozenset(plan.nodes[index].name for index in members) for members in plan.planes.values()
    }
    np.testing.assert_array_equal(np.sort(back.volume_bytes()), np.sort(plan.volume_bytes()))


def test_metadata_of_another_plan_are_refused(plan: ContactPlan, tmp_path: Path) -> None:
    path = tmp_path / "plan.csv"
    save(plan, path)
    assert load_plan(path).digest() == plan.digest()
    metadata_path(path).write_text(csv_metadata(replace(plan, epoch=plan.epoch + 1 * u.s)))
    with pytest.raises(ContactPlanFileError, match="they are of two plans"):
        load_plan(path)


@given(st.integers(0, 2**31), st.sampled_from([".csv", ".npz", ".parquet", ".ion", ".json"]))
@settings(max_examples=40, deadline=None)
def test_every_format_brings_back_what_it_can_say(tmp_path_factory, seed: int, ending: str) -> None:
    chosen = np.random.default_rng(seed).choice(len(RANDOM.contacts), 20, replace=False)
    plan = replace(RANDOM, contacts=RANDOM.contacts[np.sort(chosen)])
    path = tmp_path_factory.getbasetemp() / f"round{ending}"
    save(plan, path)
    back = load_plan(path)
    if ending in (".csv", ".npz", ".parquet"):
        assert back.digest() == plan.digest()
        return
    lasting = plan.contacts[np.floor(plan.contacts["end_s"]) > np.ceil(plan.contacts["start_s"])]
    lasting = lasting[lasting["rate_bps"] >= 8]
    for field in ("source", "target", "rate_bps"):
        assert sorted(back.contacts[field].tolist()) == sorted(lasting[field].tolist())
    save(back, path)
    assert load_plan(path).digest() == back.digest()


def position_km(model: Satrec, time: Time) -> np.ndarray:
    error, position, _ = model.sgp4(time.jd1, time.jd2)
    assert error == 0
    return np.array(position)


def test_sgp4_and_skyfield_fly_our_omm_as_we_do() -> None:
    eccentric = walker("97.6: 12/3/1", epoch=EPOCH, altitude_km=550, ecc=0.01, argp_deg=70)
    fleet = replace(
        eccentric,
        elements=replace(eccentric.elements, bstar=np.linspace(0, 1e-4, 12)),
        catalogue_number=(25544, 80001, *[0] * 10),
        designator=("1998-067A", *[""] * 11),
    )
    timescale = load.timescale(builtin=True)
    later = EPOCH + 0.3 * u.day
    records = json.loads(to_omm(fleet))
    assert records == omm_records(fleet)
    numbers = [record["NORAD_CAT_ID"] for record in records]
    assert numbers[:2] == [25544, 80001]
    assert len(set(numbers)) == 12
    for record, ours in zip(records, fleet.elements.satrecs(), strict=True):
        theirs = Satrec()
        omm.initialize(theirs, {key: str(value) for key, value in record.items()})
        away_km = np.linalg.norm(position_km(theirs, later) - position_km(ours, later))
        assert away_km < 2e-5
        skyfield = EarthSatellite.from_omm(timescale, {key: str(value) for key, value in record.items()})
        assert skyfield.name == record["OBJECT_NAME"]
        assert np.linalg.norm(position_km(skyfield.model, later) - position_km(ours, later)) < 2e-5


@settings(deadline=None, max_examples=30)
@given(
    epoch=st.sampled_from(["2016-12-31T23:59:60.5", "1990-01-01T00:00:00", "2026-07-01T12:34:56.789012"]),
    planes=st.integers(1, 5),
    slots=st.integers(1, 6),
    angles=st.tuples(*[st.floats(-360, 360) | st.sampled_from([-360.0, -1e-15, 0.0, 360.0])] * 3),
    inclination=st.floats(0, 180),
    altitude_km=st.floats(300, 36_000),
    bstar=st.floats(-1, 1),
    known=st.integers(0, 2),
)
def test_our_omm_is_read_back_as_the_same_satellites(
    epoch: str,
    planes: int,
    slots: int,
    angles: tuple,
    inclination: float,
    altitude_km: float,
    bstar: float,
    known: int,
) -> None:
    shell = walker(
        f"{inclination:.6f}: {planes * slots}/{planes}/0", epoch=Time(epoch), altitude_km=altitude_km, ecc=0.01,
        raan_deg=angles[0], argp_deg=angles[1], anomaly_deg=angles[2],
    )  # fmt: skip
    identities = [(25544, "1998-067A"), (80001, ""), *[(0, "")] * len(shell)]
    fleet = replace(
        shell,
        elements=replace(shell.elements, bstar=np.full(len(shell), bstar)),
        catalogue_number=tuple(number for number, _ in identities[2 - known :][: len(shell)]),
        designator=tuple(word for _, word in identities[2 - known :][: len(shell)]),
    )
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("error")
        path = Path(folder, "fleet.json")
        path.write_text(to_omm(fleet))
        back = from_file(path)
    assert back.names == fleet.names
    assert back.designator == fleet.designator
    assert len(set(back.catalogue_number)) == len(fleet)
    for ours, theirs in zip(fleet.catalogue_number, back.catalogue_number, strict=True):
        assert theirs == ours if ours else 80_000 < theirs < 90_000
    assert np.abs((back.element_epoch - fleet.element_epoch).to_value("s")).max() < 1e-6
    for field in fields(MeanElements):
        if not field.name.startswith("epoch"):
            ours, theirs = (getattr(one.elements, field.name) for one in (fleet, back))
            np.testing.assert_allclose(theirs, ours, rtol=1e-15, atol=1e-15, err_msg=field.name)
