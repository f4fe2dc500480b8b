"""Readers of TLE and OMM: what they read, and that they refuse the rest in one clear sentence."""

from __future__ import annotations

import json
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from iss_elements import LINE_1, LINE_2, NAME, OMM, TLE, as_kvn, as_xml
from sgp4.api import Satrec

from orbit.constellation import from_file
from orbit.elements import ElementsError, MeanElements, read_tle
from orbit.omm import looks_like_omm, read_omm


def with_checksum(line: str) -> str:
    return line[:68] + str(sum(int(c) if c in "0123456789" else c == "-" for c in line[:68]) % 10)


def with_line_2(line: str) -> str:
    """A set of line 1 and this line 2, its checksum put right."""
    return f"{LINE_1}\n{with_checksum(line)}"


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
    "form", [json.dumps, lambda fields: json.dumps([fields]), as_kvn, as_xml, as_xml_in_its_namespace]
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
    for text in (TLE, json.dumps(OMM), as_kvn(OMM), as_xml(OMM)):
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


@given(st.data())
def test_no_damage_to_a_tle_does_more_than_raise_an_elements_error(data) -> None:
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
        assert np.isfinite(np.array([getattr(elements, name) for name in MeanElements.__annotations__])).all()


@given(st.one_of(st.text(), st.text(alphabet='{}[]<>/=":,\n 0123456789.EPOCHMAN_', max_size=200)))
def test_any_text_is_read_or_refused(text: str) -> None:
    for read in (read_tle, read_omm):
        with suppress(ElementsError):
            read(text)


@given(
    st.sampled_from([json.dumps, as_kvn, as_xml]),
    st.dictionaries(st.sampled_from(sorted(OMM)), st.text(max_size=12), max_size=3),
)
def test_no_value_in_an_omm_does_more_than_raise_an_elements_error(form, changes: dict[str, str]) -> None:
    with suppress(ElementsError):
        read_omm(form({**OMM, **changes}))
