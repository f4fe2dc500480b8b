"""Readers of TLE and OMM: what they read, and that they refuse the rest in one clear sentence."""

from __future__ import annotations

import dataclasses
import io
import json
from contextlib import suppress
from datetime import datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from iss_elements import LINE_1, LINE_2, NAME, OMM, OMM_FORMS, TLE, as_csv, as_kvn, as_xml
from sgp4 import omm as sgp4_omm
from sgp4.api import WGS72, Satrec
from sgp4.exporter import export_tle
from sgp4.model import Satrec as PythonSatrec

from orbit.constellation import from_file
from orbit.motion.elements import ElementsError, MeanElements, read_tle, tle_sets
from orbit.motion.omm import looks_like_omm, omm_sets, read_omm

ELEMENTS = [field.name for field in dataclasses.fields(MeanElements)]


def with_checksum(line: str) -> str:
    return line[:68] + str(sum(int(c) if c in "0123456789" else c == "-" for c in line[:68]) % 10)


def with_line_2(line: str) -> str:
    """A set of line 1 and this line 2, its checksum put right."""
    return f"{LINE_1}\n{with_checksum(line)}"


def with_line_1(line: str, number: str = "25544") -> str:
    """A set of this line 1, its checksum put right, and line 2."""
    return f"{with_checksum(line)}\n{with_checksum(LINE_2.replace('25544', number))}"


def states(elements: MeanElements) -> np.ndarray:
    """Position and velocity a day after 2008-09-21, km and km/s."""
    return np.array([np.concatenate(model.sgp4(2454731.0, 0.25)[1:]) for model in elements.satrecs()])


def test_a_tle_flies_as_the_sgp4_library_flies_it() -> None:
    _, elements = read_tle(TLE)
    reference = np.concatenate(Satrec.twoline2rv(LINE_1, LINE_2).sgp4(2454731.0, 0.25)[1:])
    np.testing.assert_allclose(states(elements)[0], reference, atol=1e-5)


def test_two_line_sets_are_called_by_their_catalogue_number() -> None:
    names, elements = read_tle(f"{LINE_1}\n{LINE_2}\n\n# a comment\n{LINE_1}\n{LINE_2}")
    assert names == ("25544", "25544")
    assert len(elements) == 2


def as_xml_in_its_namespace(fields: dict[str, str]) -> str:
    return as_xml(fields).replace("<ndm>", '<ndm xmlns="urn:ccsds:schema:ndmxml">')


@pytest.mark.parametrize(
    "form", [json.dumps, lambda fields: json.dumps([fields]), as_kvn, as_xml, as_xml_in_its_namespace, as_csv]
)
def test_every_form_of_an_omm_says_what_the_tle_says(form) -> None:
    text = form(OMM)
    assert looks_like_omm(text)
    names, elements = read_omm(text)
    assert names == ("FIRST BEYOND",)
    np.testing.assert_allclose(states(elements), states(read_tle(TLE)[1]), atol=1e-4)


def test_a_kvn_file_holds_several_messages() -> None:
    names, _ = read_omm(as_kvn(OMM) + as_kvn({**OMM, "OBJECT_NAME": "SECOND"}))
    assert names == ("FIRST BEYOND", "SECOND")


def test_a_day_of_the_year_is_an_epoch_too() -> None:
    calendar, ordinal = (
        read_omm(json.dumps({**OMM, "EPOCH": epoch}))[1]
        for epoch in (OMM["EPOCH"], "2008-264T12:25:40.104192")
    )
    assert calendar.epoch_jd == ordinal.epoch_jd
    assert calendar.epoch_fraction == ordinal.epoch_fraction


def test_a_file_tells_its_form_by_its_content(tmp_path) -> None:
    for text in (TLE, json.dumps(OMM), as_kvn(OMM), as_xml(OMM), as_csv(OMM)):
        path = tmp_path / "elements.txt"
        path.write_text(text)
        assert len(from_file(path)) == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (TLE.replace("2927", "2928"), "TLE, line 2: checksum: found '8', the line adds up to 7"),
        (TLE.replace("51.6416", "251.641"), "TLE, line 3: checksum"),
        (with_line_2(LINE_2.replace(" 51.6416", "191.6416")), "inclination: found 191.642, allowed is 0 to 180"),
        (with_line_2(LINE_2.replace("25544", "25545")), "line 1: catalogue number"),
        (with_line_2(LINE_2.replace("15.721", "99.721")), "mean motion: found 99.7213, allowed is 0.05 to 17.5"),
        (with_line_2(LINE_2.replace("130.5360", "13x.5360")), "argument of perigee: found '13x.5360'"),
        (with_line_2(LINE_2.replace("51.6416 ", "51.6416-")), "line 2: column 17: found '-', a TLE has ' ' there"),
        (with_line_1(LINE_1.replace(" 0  2927", " 4  2927")), "line 1: ephemeris type: found 4 (SGP4-XP)"),
        (with_line_1(LINE_1.replace("08264.5", "09366.5")), "found '366.51782528', but 2009 has the days 1 to 365"),
        (with_line_1(LINE_1.replace("08264.5", "08000.5")), "but 2008 has the days 1 to 366"),
        (with_line_1(LINE_1.replace("25544", "O0001"), "O0001"), "catalogue number: found 'O0001'"),
        (with_line_1(LINE_1.replace("-11606-4", "-1160x-4")), "B*: found '-1160x-4', allowed is like ' 12345-4'"),
        (LINE_2, "line 2 of a TLE without the line 1"),
        (LINE_1, "ends in the middle"),
        (f"{NAME}\n{NAME}", "line 2: found 'ISS (ZARYA)', expected line 1"),
        ("", "found no element set"),
    ],
)  # fmt: skip
def test_a_wrong_tle_is_refused_with_its_line_and_fault(text: str, message: str) -> None:
    with pytest.raises(ElementsError) as refusal:
        read_tle(text)
    assert message in str(refusal.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"REF_FRAME": "GCRF"}, "REF_FRAME: found 'GCRF', allowed is TEME"),
        ({"MEAN_ELEMENT_THEORY": "DSST"}, "MEAN_ELEMENT_THEORY: found 'DSST'"),
        ({"INCLINATION": "200"}, "INCLINATION: inclination: found 200, allowed is 0 to 180 degrees"),
        ({"ECCENTRICITY": "nan"}, "ECCENTRICITY: eccentricity: found nan"),
        ({"MEAN_MOTION": "fast"}, "MEAN_MOTION: found 'fast', which is no number"),
        ({"EPOCH": "yesterday"}, "EPOCH: found 'yesterday'"),
        ({"EPOCH": "2008-13-20T12:25:40"}, "EPOCH: found '2008-13-20T12:25:40'"),
        ({"EPOCH": "2026-02-30T00:00:00"}, "EPOCH: found '2026-02-30T00:00:00', which is no date"),
        ({"EPOCH": "2026-366T00:00:00"}, "EPOCH: found '2026-366T00:00:00', but 2026 has the days 1 to 365"),
        ({"EPOCH": "2026-000T00:00:00"}, "has the days 1 to 365"),
        ({"EPOCH": "2026-01-01T24:00:00"}, "which is no time of day"),
        ({"EPOCH": "2026-01-01T12:75:00"}, "which is no time of day"),
        ({"EPOCH": "2015-12-31T23:59:60"}, "which is no time of day"),  # no leap second that night
        ({"EPOCH": "2026-01-01 12:00:00"}, "allowed is like 2026-07-01T12:00:00.000"),
        ({"EPHEMERIS_TYPE": "4"}, "EPHEMERIS_TYPE: ephemeris type: found 4 (SGP4-XP), allowed is 0 (SGP4)"),
        ({"MEAN_ELEMENT_THEORY": "SGP4-XP"}, "MEAN_ELEMENT_THEORY: found 'SGP4-XP', allowed is SGP4"),
        ({"BSTAR": "", "BTERM": "0.02"}, "BTERM: found the drag term of SGP4-XP"),
        ({"NORAD_CAT_ID": "I0001"}, "NORAD_CAT_ID: catalogue number: found 'I0001'"),
        ({"INCLINATION": "5_1.6"}, "INCLINATION: found '5_1.6', which is no number"),
    ],
)
def test_a_wrong_omm_is_refused_with_its_record_and_key(changes: dict[str, str], message: str) -> None:
    with pytest.raises(ElementsError) as refusal:
        read_omm(json.dumps([OMM, {**OMM, **changes}]))
    assert "record 2" in str(refusal.value)
    assert message in str(refusal.value)


def test_an_omm_without_a_needed_key_names_it() -> None:
    fields = {key: value for key, value in OMM.items() if key != "INCLINATION"}
    with pytest.raises(ElementsError, match="INCLINATION: missing"):
        read_omm(json.dumps(fields))


def test_an_xml_file_with_entities_is_refused() -> None:
    with pytest.raises(ElementsError, match="document type"):
        read_omm('<!DOCTYPE x [<!ENTITY a "aaaa">]><ndm>&a;</ndm>')


def test_a_leap_second_is_a_time_of_day_where_there_was_one() -> None:
    _, elements = read_omm(json.dumps({**OMM, "EPOCH": "2016-12-31T23:59:60.5"}))
    assert (elements.epoch_jd[0], elements.epoch_fraction[0] * 86400) == (2457753.5, pytest.approx(86400.5))


def elements_of(elements: MeanElements) -> np.ndarray:
    """All but the epochs, as SGP4 takes them; (N, 7)."""
    return np.array([getattr(elements, name) for name in ELEMENTS[2:]]).T


def elements_of_model(model: Satrec | PythonSatrec) -> list[float]:
    angles = [model.inclo, model.nodeo, model.argpo, model.mo]
    return [model.ecco, *angles, model.no_kozai, model.bstar]


def assert_reads_as_sgp4_does(text: str) -> None:
    """What is read of a text of two-line sets is what the sgp4 library reads of the same lines."""
    lines = [
        line.rstrip() for line in text.splitlines() if line.rstrip() and line[0] in "12" and len(line) > 60
    ]
    _, elements = read_tle(text)
    assert len(lines) == 2 * len(elements)
    for k, (first, second) in enumerate(zip(lines[::2], lines[1::2], strict=True)):
        # Rates of the mean motion, set and revolution number are not read: SGP4 does not use them.
        first = first[:33] + LINE_1[33:52] + first[52:63] + LINE_1[63:]
        model = PythonSatrec.twoline2rv(first, second[:63] + LINE_2[63:])
        np.testing.assert_allclose(elements_of(elements)[k], elements_of_model(model), rtol=1e-12, atol=1e-15)
        date = elements.epoch_jd[k] + elements.epoch_fraction[k] - 2433281.5
        assert date == pytest.approx(model.jdsatepoch + model.jdsatepochF - 2433281.5, abs=1e-9)


TLE_FIELDS = st.fixed_dictionaries(
    {
        "satnum": st.integers(1, 339_999),
        "days": st.floats(2558.0, 38715.0).map(lambda days: round(days, 8)),  # 1957 to 2055
        "bstar": st.integers(-900_000, 900_000).map(lambda drag: drag / 1e7),
        "ecc": st.floats(0.0, 0.9),
        "angles_deg": st.tuples(*[st.floats(0, 359.9999)] * 3),
        "inc_deg": st.floats(0.0, 180.0),
        "motion": st.floats(0.1, 17.0),
    }
)


@given(st.lists(TLE_FIELDS, min_size=1, max_size=3))
def test_what_the_sgp4_library_writes_is_read_as_it_reads_it(sets) -> None:
    text = []
    for number, one in enumerate(sets):
        model = PythonSatrec()
        raan, argp, anomaly = np.radians(one["angles_deg"])
        model.sgp4init(
            WGS72, "i", one["satnum"], one["days"], one["bstar"], 0.0, 0.0, one["ecc"], argp,
            np.radians(one["inc_deg"]), anomaly, one["motion"] * 2 * np.pi / 1440, raan,
        )  # fmt: skip
        model.classification, model.intldesg = "U", "26001ABC"
        text += [f"SAT {number}", *export_tle(model)]
    assert_reads_as_sgp4_does("\n".join(text))
    read = [one.read() for one in tle_sets("\n".join(text), "TLE")]
    assert [one.name for one in read] == [f"SAT {number}" for number in range(len(sets))]
    assert [one.catalogue_number for one in read] == [one["satnum"] for one in sets]
    assert {one.designator for one in read} == {"2026-001ABC"}


@given(st.data())
def test_a_damaged_tle_is_refused_or_says_what_the_sgp4_library_reads_in_it(data) -> None:
    text = list(TLE)
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(text) - 1))
        text[place] = data.draw(st.one_of(st.just(""), st.characters(), st.sampled_from("0123456789+-. \n")))
    damaged = "".join(text)
    repaired = "\n".join(with_checksum(line) if len(line) == 69 else line for line in damaged.split("\n"))
    for tried in (damaged, repaired):
        try:
            _, elements = read_tle(tried)
        except ElementsError:
            continue
        assert np.isfinite(np.array([getattr(elements, name) for name in ELEMENTS])).all()
        assert_reads_as_sgp4_does(tried)


@given(st.one_of(st.text(), st.text(alphabet='{}[]<>/=":,\n 0123456789.EPOCHMAN_', max_size=200)))
def test_any_text_is_read_or_refused(text: str) -> None:
    for read in (read_tle, read_omm):
        with suppress(ElementsError):
            read(text)


NAMES = st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="<>&[]"), min_size=1)
OMM_FIELDS = st.fixed_dictionaries(
    {
        "OBJECT_NAME": NAMES.filter(lambda name: name.strip(' "') == name),
        "OBJECT_ID": st.sampled_from(["1998-067A", "2026-001ABC"]),
        "EPOCH": st.datetimes(
            min_value=datetime(1960, 1, 1), max_value=datetime(2060, 1, 1)
        ).map(lambda time: time.strftime("%Y-%m-%dT%H:%M:%S.%f")),
        "MEAN_MOTION": st.floats(0.1, 17.0),
        "ECCENTRICITY": st.floats(0.0, 0.9),
        "INCLINATION": st.floats(0.0, 180.0),
        "RA_OF_ASC_NODE": st.floats(0.0, 360.0),
        "ARG_OF_PERICENTER": st.floats(0.0, 360.0),
        "MEAN_ANOMALY": st.floats(0.0, 360.0),
        "EPHEMERIS_TYPE": st.just(0),
        "CLASSIFICATION_TYPE": st.just("U"),
        "NORAD_CAT_ID": st.integers(1, 999_999_999),
        "ELEMENT_SET_NO": st.just(999),
        "REV_AT_EPOCH": st.just(1),
        "BSTAR": st.floats(-0.5, 0.5),
        "MEAN_MOTION_DOT": st.just(0.0),
        "MEAN_MOTION_DDOT": st.just(0.0),
    }
)  # fmt: skip


@given(st.sampled_from(OMM_FORMS), OMM_FIELDS)
def test_every_omm_form_is_read_as_the_sgp4_library_reads_its_fields(form, fields) -> None:
    fields = {key: str(value) for key, value in fields.items()}
    [one] = [found.read() for found in omm_sets(form(fields), "OMM")]
    model = PythonSatrec()
    sgp4_omm.initialize(model, {**fields, "NORAD_CAT_ID": "1"})  # it knows numbers up to 339,999
    np.testing.assert_allclose(one.values[2:], elements_of_model(model), rtol=1e-12, atol=1e-15)
    assert one.values[0] + one.values[1] == pytest.approx(model.jdsatepoch + model.jdsatepochF, abs=1e-9)
    assert (one.name, one.designator) == (fields["OBJECT_NAME"], fields["OBJECT_ID"])
    assert one.catalogue_number == int(fields["NORAD_CAT_ID"])
    assert one.has_bstar


def test_csv_as_a_catalogue_writes_it_is_read_as_the_sgp4_library_reads_it() -> None:
    rows = [
        {**OMM, "OBJECT_NAME": 'CUBE, "NO. 1"', "NORAD_CAT_ID": "100001"},
        {**OMM, "OBJECT_NAME": "SECOND", "NORAD_CAT_ID": "100002", "MEAN_ANOMALY": "11.25"},
    ]
    text = as_csv(rows[0]) + as_csv(rows[1]).partition("\n")[2] + "\n"  # a blank line is none
    read = [one.read() for one in omm_sets(text.replace("\n", "\r\n"), "OMM")]
    theirs = list(sgp4_omm.parse_csv(io.StringIO(text)))
    assert [one.name for one in read] == [one["OBJECT_NAME"] for one in theirs] == ['CUBE, "NO. 1"', "SECOND"]
    assert np.degrees(read[1].values[6]) == pytest.approx(float(theirs[1]["MEAN_ANOMALY"]))
    short = text + "1,2,3\n"
    with pytest.raises(ElementsError, match="line 5: found 3 values, expected 14"):
        read_omm(short)


@given(
    st.sampled_from(OMM_FORMS),
    st.dictionaries(st.sampled_from(sorted(OMM)), st.text(max_size=12), max_size=3),
)
def test_an_omm_with_any_values_is_refused_or_read_as_they_are(form, changes: dict[str, str]) -> None:
    try:
        _, elements = read_omm(form({**OMM, **changes}))
    except ElementsError:
        return
    known = {key: value.strip() for key, value in {**OMM, **changes}.items() if value.strip()}
    assert np.degrees(elements.inc_rad[0]) == pytest.approx(float(known["INCLINATION"]), abs=1e-9)
    assert elements.ecc[0] == float(known["ECCENTRICITY"])
    assert elements.bstar[0] == float(known.get("BSTAR", 0))


@pytest.mark.parametrize("letter", "ABCDEFGHJKLMNPQRSTUVWXYZ")
def test_a_catalogue_number_in_alpha_5_is_the_sgp4_librarys(letter: str) -> None:
    text = with_line_1(LINE_1.replace("25544", f"{letter}0042"), f"{letter}0042")
    names, _ = read_tle(text)
    assert names == (str(Satrec.twoline2rv(*text.split("\n")).satnum),)
    assert int(names[0]) >= 100_000
