"""Which satellites a file of elements stands for: each once, and none that cannot be flown, against sgp4 itself."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import numpy as np
import pytest
from astropy.time import Time, TimeDelta
from hypothesis import given, settings
from hypothesis import strategies as st
from iss_elements import OMM, as_csv, as_json, as_kvn, as_xml
from sgp4.api import WGS72, Satrec
from sgp4.exporter import export_tle
from typer.testing import CliRunner

from mission.orbits import constellation_of
from mission.scenario import ScenarioError, load_scenario
from orbit.constellation import Constellation, from_file, walker
from orbit.contact_plan_builder import IntraOrbitLink, Links, SpaceGroundLink, build_contact_plan
from orbit.flight_check import failures, warn_of_shared_places
from orbit.motion.element_files import read_element_file
from orbit.motion.elements import ElementsError, ElementsWarning, MeanElements, mean_elements, tle_sets
from orbit.motion.propagation import PROPAGATORS, PropagationError
from orbit.search.intersatellite import find_links, plane_neighbours
from orbit.stations import GroundStation
from skysplit.cli import app

RUNNER = CliRunner()
EPOCH = Time("2026-04-10T12:00:00")
DAY_OF_EPOCH = 27859.5  # after 1949-12-31T00:00
STATION = GroundStation("Matera", 40.65, lon_deg=16.70, height_m=540)


def model_of(number: int = 90001, **changes: float) -> Satrec:
    """An element set of a low orbit at ``EPOCH``, but for the changes; angles in degrees."""
    fields = {
        "days": DAY_OF_EPOCH,
        "bstar": 1.2345e-5,
        "ecc": 1.234e-4,
        "argp": 90.0,
        "inc": 53.0,
        "anomaly": 270.0,
    }
    fields |= {"motion": 15.05, "raan": 100.0, **changes}
    angles = {name: np.radians(fields[name]) for name in ("argp", "inc", "anomaly", "raan")}
    model = Satrec()
    model.sgp4init(
        WGS72, "i", number, fields["days"], fields["bstar"], 0.0, 0.0, fields["ecc"], angles["argp"], angles["inc"],
        angles["anomaly"], fields["motion"] * np.pi / 720, angles["raan"],
    )  # fmt: skip
    model.classification, model.intldesg = "U", "26001A"
    return model


def tle(name: str, model: Satrec) -> str:
    return "\n".join([*([name] if name else []), *export_tle(model)]) + "\n"


# Elements of 2024 with the drag of a satellite that came down that year; SGP4 still has positions for it in 2026.
FALLEN = model_of(90010, days=DAY_OF_EPOCH - 730.0, inc=69.9913, motion=15.34502222, bstar=3.275e-3)
FALLING = model_of(90011, motion=16.1, bstar=4e-3)  # comes down within days


def written(folder: Path, text: str, name: str = "elements.txt") -> Path:
    (folder / name).write_text(text)
    return folder / name


def scenario_of(folder: Path, elements: Path) -> str:
    path = folder / "mine.toml"
    path.write_text(
        f"""
epoch = "2026-04-10T12:00:00Z"
horizon_h = 6.0
constellation = {{ kind = "tle", path = "{elements}" }}
ground.stations = [{{ name = "Matera", lat_deg = 40.65, lon_deg = 16.70 }}]
"""
    )
    return str(path)


def flown(folder: Path, elements: Path, **overrides: str) -> Constellation:
    return constellation_of(load_scenario(scenario_of(folder, elements), overrides))


@settings(deadline=None, max_examples=30)
@given(
    st.lists(st.integers(0, 40), min_size=2, max_size=6, unique=True), st.floats(-10.0, 50.0), st.randoms()
)
def test_of_several_sets_of_an_object_the_one_nearest_to_the_epoch_is_flown(
    tmp_path_factory, days: list[int], at: float, random
) -> None:
    models = {day: model_of(days=DAY_OF_EPOCH + day, anomaly=float(8 * day)) for day in days}
    sets = [tle("ALDER 1", model) for model in models.values()] + [tle("BIRCH", model_of(90002, raan=10.0))]
    random.shuffle(sets)
    path = written(tmp_path_factory.mktemp("sets"), "".join(sets))
    with pytest.warns(ElementsWarning, match=f"ALDER 1: {len(days)} sets"):
        found = read_element_file(path, epoch=EPOCH + TimeDelta(at, format="jd"))
    assert sorted(found.names) == ["ALDER 1", "BIRCH"]
    number = found.names.index("ALDER 1")
    assert found.catalogue_number[number] == 90001
    nearest = min(abs(at - day) for day in days)
    flown_day = (
        found.elements.epoch_jd[number] + found.elements.epoch_fraction[number] - 2433281.5 - DAY_OF_EPOCH
    )
    assert abs(at - flown_day) == pytest.approx(nearest, abs=1e-6)
    assert np.degrees(found.elements.mean_anomaly_rad[number]) == pytest.approx(
        8 * round(flown_day), abs=1e-4
    )


def test_without_an_epoch_the_newest_set_counts_and_of_two_as_old_the_later_one(tmp_path: Path) -> None:
    old, new, newer = (
        tle("A", model_of(days=DAY_OF_EPOCH + day, raan=raan)) for day, raan in ((0, 1), (2, 2), (2, 3))
    )
    with pytest.warns(ElementsWarning, match="the newest counts"):
        found = from_file(written(tmp_path, new + old + newer))
    assert np.degrees(found.elements.raan_rad) == pytest.approx(3)


def test_name_number_and_elements_stay_together_in_whatever_order_a_file_has_them(tmp_path: Path) -> None:
    models = {90000 + k: model_of(90000 + k, raan=float(3 * k)) for k in range(1, 8)}
    for number, model in models.items():
        model.intldesg = f"26001{'ABCDEFG'[number - 90001]}"
    identities = []
    for order in (list(models), list(models)[::-1]):
        path = written(tmp_path, "".join(tle("OBJECT A", models[number]) for number in order))
        found = from_file(path).take(slice(1, None))  # takes keep the identities, too
        raan = np.degrees(found.elements.raan_rad).round(3).tolist()
        identities.append(dict(zip(found.names, zip(found.catalogue_number, raan, strict=True), strict=True)))
    common = identities[0].keys() & identities[1].keys()
    assert common == {f"OBJECT A (2026-001{letter})" for letter in "BCDEF"}
    for name in common:
        assert identities[0][name] == identities[1][name]
    assert identities[0]["OBJECT A (2026-001C)"] == (90003, 9.0)


def test_epoch_and_drag_of_each_satellite_are_those_of_its_set(tmp_path: Path) -> None:
    path = written(
        tmp_path, tle("A", model_of()) + tle("B", model_of(90002, days=DAY_OF_EPOCH + 1.25, bstar=2e-4))
    )
    found = from_file(path)
    assert found.element_epoch.isot.tolist() == ["2026-04-10T12:00:00.000", "2026-04-11T18:00:00.000"]
    assert found.bstar.tolist() == pytest.approx([1.2345e-5, 2e-4])


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({**OMM, "OBJECT_NAME": None}, "100001"),
        ({**OMM, "OBJECT_NAME": None, "NORAD_CAT_ID": None, "OBJECT_ID": "2026-001A"}, "2026-001A"),
        ({**OMM, "OBJECT_NAME": " "}, "100001"),
        ({**OMM, "NORAD_CAT_ID": None}, "FIRST BEYOND"),
        ({**OMM, "NORAD_CAT_ID": 270288123}, "FIRST BEYOND"),
        ({**OMM, "OBJECT_NAME": "UNKNOWN"}, "100001"),
        ({**OMM, "OBJECT_ID": "UNKNOWN"}, "FIRST BEYOND"),
    ],
)
def test_an_object_without_a_name_is_called_by_what_identifies_it(
    fields: dict, name: str, tmp_path: Path
) -> None:
    found = from_file(written(tmp_path, json.dumps([fields])))
    assert found.names == (name,)
    assert found.catalogue_number == (int(fields["NORAD_CAT_ID"] or 0),)
    assert "UNKNOWN" not in found.designator


def test_objects_of_one_name_and_no_known_designator_are_told_apart_by_number(tmp_path: Path) -> None:
    objects = [{**OMM, "OBJECT_NAME": "DEB", "OBJECT_ID": "UNKNOWN", "NORAD_CAT_ID": n} for n in (7, 8)]
    assert from_file(written(tmp_path, json.dumps(objects))).names == ("DEB (7)", "DEB (8)")


@pytest.mark.parametrize("form", [as_json, as_kvn, as_xml, as_csv])
@pytest.mark.parametrize("blank", ["", None])
def test_elements_without_drag_are_flown_without_it_and_said_to_be(
    form, blank: str | None, tmp_path: Path
) -> None:
    fields = {key: value for key, value in OMM.items() if key != "BSTAR"}
    if blank is not None:
        fields["BSTAR"] = blank
    with pytest.warns(ElementsWarning, match=r"1 of 1 satellites have no B\* \(FIRST BEYOND\)"):
        found = from_file(written(tmp_path, form(fields)))
    assert found.bstar.tolist() == [0.0]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        from_file(written(tmp_path, form({**fields, "BSTAR": "0"})))


def test_a_satellite_that_has_come_down_is_refused_or_left_out_by_name(tmp_path: Path) -> None:
    path = written(tmp_path, tle("ALDER 1", model_of()) + tle("FALLEN 2", FALLEN))
    with pytest.raises(
        ScenarioError, match="satellite 'FALLEN 2': SGP4 fails 0 s after the epoch"
    ) as refusal:
        flown(tmp_path, path)
    assert "constellation.skip" in str(refusal.value)
    with pytest.warns(ElementsWarning, match="left out 1 of 2 satellites: satellite 'FALLEN 2'"):
        assert flown(tmp_path, path, **{"constellation.on_error": "skip"}).names == ("ALDER 1",)
    for word in ('"FALLEN 2"', '"fallen 2"', "90010", '"90010"'):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert flown(tmp_path, path, **{"constellation.skip": f"[{word}]"}).names == ("ALDER 1",)
    assert flown(tmp_path, path, **{"constellation.limit": "1"}).names == (
        "ALDER 1",
    )  # of the others no word


def test_a_satellite_that_sgp4_flies_without_an_error_at_an_absurd_height_is_refused() -> None:
    for days in range(200, 1500, 20):
        at = Time("2024-04-09T12:00:00") + TimeDelta(days, format="jd")
        error, position, _ = FALLEN.sgp4(at.jd1, at.jd2)
        if error == 0 and np.linalg.norm(position) > 8000:
            break
    else:
        pytest.fail("the example is none any more")
    high = elements_of([FALLEN])
    assert list(failures(high, at, 3600.0)) == [0]
    with pytest.raises(PropagationError, match=r"it would be \d+ km high, its elements allow 80 to \d+ km"):
        PROPAGATORS["sgp4"](high, at, np.array([0.0]))


def elements_of(models: list[Satrec]) -> MeanElements:
    return mean_elements([one.read() for one in tle_sets("".join(tle("", model) for model in models), "TLE")])


def day_of_failure(model: Satrec) -> float:
    """Days after the epoch of the elements at which SGP4 itself first reports an error, or is below 80 km."""
    minutes = np.arange(0, 60 * 1440, 1.0)
    for minute in minutes:
        error, position, _ = model.sgp4_tsince(minute)
        if error or np.linalg.norm(position) < 6378.135 + 80:
            return minute / 1440
    raise AssertionError("it does not come down")


def test_what_comes_down_after_the_horizon_or_before_the_elements_is_flown() -> None:
    # As the exporter rounds it, so that the reference flies the same set.
    falling = Satrec.twoline2rv(*export_tle(FALLING))
    days = day_of_failure(falling)
    assert 0.5 < days < 30
    elements = elements_of([model_of(), FALLING])
    assert list(failures(elements, EPOCH, (days + 0.02) * 86400)) == [1]
    assert failures(elements, EPOCH, (days - 0.02) * 86400) == {}


def test_a_plan_that_ends_just_before_a_satellite_comes_down_is_made(tmp_path: Path) -> None:
    falling = Satrec.twoline2rv(*export_tle(FALLING))
    horizon_s = day_of_failure(falling) * 86400 - 90.0  # the ephemeris looks some minutes farther
    path = written(
        tmp_path, tle("ALDER 1", model_of()) + tle("FALLING", FALLING) + tle("B", model_of(90003, raan=9))
    )
    links = Links(SpaceGroundLink(downlink=1e8))
    whole = build_contact_plan(from_file(path), [STATION], links, epoch=EPOCH, horizon_s=horizon_s)
    alone = build_contact_plan(
        from_file(path, skip=["FALLING"]), [STATION], links, epoch=EPOCH, horizon_s=horizon_s
    )
    ours = whole.contacts[whole.contacts["source"] != 1]
    assert len(whole.contacts) > len(ours) == len(alone.contacts) > 5
    np.testing.assert_allclose(ours["start_s"], alone.contacts["start_s"], atol=1e-3)


def test_a_bad_set_blocks_a_file_unless_it_is_left_out(tmp_path: Path) -> None:
    bent = tle("BENT", model_of(90003)).replace("90003", "9000X", 1)
    path = written(tmp_path, tle("ALDER 1", model_of()) + bent + tle("BIRCH", model_of(90005, anomaly=100.0)))
    with pytest.raises(ElementsError, match="line 5: checksum"):
        from_file(path)
    with pytest.warns(ElementsWarning, match=r"left out 1 of 3 element sets: BENT \(.*line 5: checksum"):
        assert from_file(path, on_error="skip").names == ("ALDER 1", "BIRCH")
    for skip in (["BENT"], [90003], ["90003"]):
        assert from_file(path, skip=skip).names == ("ALDER 1", "BIRCH")
    with pytest.warns(ElementsWarning, match="constellation.skip names OAK, which is not in the file"):
        from_file(path, skip=["BENT", "OAK"])
    with pytest.raises(ElementsError, match="or all are skipped"):
        from_file(path, skip=["BENT", "BIRCH", "ALDER 1"])


@pytest.mark.parametrize(
    "damage",
    [
        lambda name, first, second: [name, second],
        lambda name, first, second: [name, first],
        lambda name, first, second: [name],
        lambda name, first, second: [name, "", first, second[:60]],
        lambda name, first, second: [name, first[:-1], second],
    ],
)
def test_what_follows_a_broken_set_is_read_all_the_same(damage, tmp_path: Path) -> None:
    broken = "\n".join(damage("BENT", *export_tle(model_of(90003)))) + "\n"
    path = written(
        tmp_path, tle("ALDER 1", model_of()) + broken + tle("BIRCH", model_of(90005, anomaly=100.0))
    )
    with pytest.raises(ElementsError, match="elements.txt, line"):
        from_file(path)
    with pytest.warns(ElementsWarning, match="left out"):
        assert from_file(path, on_error="skip").names == ("ALDER 1", "BIRCH")
    assert from_file(path, skip=["BENT"]).names == ("ALDER 1", "BIRCH")


def test_a_bad_record_of_an_omm_is_left_out_like_a_bad_tle(tmp_path: Path) -> None:
    bad = {**OMM, "OBJECT_NAME": "BENT", "NORAD_CAT_ID": "100003", "EPOCH": "2026-02-30T00:00:00"}
    rows = as_csv(OMM) + "1,2,3\n" + as_csv(bad).partition("\n")[2]
    for text in (json.dumps([OMM, bad, 7]), rows):
        path = written(tmp_path, text)
        with pytest.raises(ElementsError):
            from_file(path)
        with pytest.warns(ElementsWarning, match="left out 2 of 3 element sets: .*BENT"):
            assert from_file(path, on_error="skip").names == ("FIRST BEYOND",)


@pytest.mark.parametrize(
    ("text", "quoted"),
    [
        ("No GP data found\n", "No GP data found"),
        ('Invalid query: "GROUP=everything&FORMAT=tle" (GROUP=everything not found)', "Invalid query:"),
        ('{"error":"You\'ve exceeded your query rate limit."}', "exceeded your query rate limit"),
        ("[]", "[]"),
        ("<!DOCTYPE html>\n<html><style>p {}</style><body><h1>403 Forbidden</h1></body></html>", '"403 Forbidden"'),
        ("<html><title>Error\n 503</title></html>", "Error 503"),
        ("<error><code>Gone</code></error>", "Gone"),
    ],
)  # fmt: skip
def test_a_message_in_place_of_elements_is_quoted(text: str, quoted: str, tmp_path: Path) -> None:
    with pytest.raises(ElementsError) as refusal:
        from_file(written(tmp_path, text))
    assert "elements.txt: found no element set but a message:" in str(refusal.value)
    assert quoted in str(refusal.value)
    assert "<" not in str(refusal.value).split("message:")[1]
    assert "\n" not in str(refusal.value)


def test_docked_objects_are_said_to_be_in_one_place_and_keep_their_link(tmp_path: Path) -> None:
    text = (
        tle("HUB", model_of()) + tle("FERRY", model_of(90002)) + tle("OTHER", model_of(90004, anomaly=300.0))
    )
    path = written(tmp_path, text)
    with pytest.warns(ElementsWarning, match="at the same position .*: HUB and FERRY. "):
        station_and_guests = flown(tmp_path, path)
    pairs = plane_neighbours(station_and_guests)
    links = find_links(station_and_guests, pairs, epoch=EPOCH, horizon_s=20000.0, max_slew_deg_s=0.05)
    [docked] = links[(links["first"] == 0) & (links["second"] == 1)]
    assert (docked["start_s"], docked["end_s"], docked["min_range_km"]) == (0.0, 20000.0, 0.0)
    for field in ("start_s", "end_s", "mean_range_km", "min_range_km"):
        assert np.isfinite(links[field]).all()
    plan = build_contact_plan(
        station_and_guests,
        [],
        Links(intra_orbit=IntraOrbitLink(1e9, max_slew_deg_s=0.05)),
        epoch=EPOCH,
        horizon_s=6e3,
    )
    assert np.isfinite(plan.contacts["owlt_s"]).all()
    assert {(0, 1), (1, 0)} <= set(
        zip(plan.contacts["source"].tolist(), plan.contacts["target"].tolist(), strict=True)
    )


def test_neighbours_and_crossing_satellites_are_not_in_one_place() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_shared_places(walker("53: 1584/72/39", epoch=EPOCH, altitude_km=550), EPOCH)
        # All planes cross over the poles, where satellites of two planes meet at kilometres a second.
        warn_of_shared_places(walker("90: 24/4/0", epoch=EPOCH, altitude_km=550, anomaly_deg=90), EPOCH)
    with pytest.warns(ElementsWarning, match="; and 7 more|, and 7 more"):
        # Planes of an equatorial shell are one plane.
        warn_of_shared_places(walker("0: 24/2/0", epoch=EPOCH, altitude_km=550), EPOCH)


def test_satellites_of_a_shell_are_left_out_by_name(tmp_path: Path) -> None:
    path = tmp_path / "shell.toml"
    path.write_text(
        'epoch = "2026-01-01T00:00:00Z"\nground.stations = [{ name = "A", lat_deg = 1, lon_deg = 1 }]\n'
    )
    shell = constellation_of(load_scenario(str(path), {"constellation.skip": '["sat-0-02"]'}))
    assert len(shell) == 11
    assert "sat-0-02" not in shell.names
    with pytest.raises(
        ScenarioError, match="constellation.skip: found 'sat-7-00', allowed are 'sat-0-00' to 'sat-1-05'"
    ):
        constellation_of(load_scenario(str(path), {"constellation.skip": '["sat-7-00"]'}))
    for key, value in (("path", "planet.txt"), ("limit", "3")):
        with pytest.raises(
            ScenarioError, match=f'constellation.{key}: found .* with kind = "walker", allowed with kind'
        ):
            load_scenario(str(path), {f"constellation.{key}": value})


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (tle("ALDER 1", model_of()) + tle("FALLEN 2", FALLEN), []),
        ("No GP data found\n", []),
        (tle("ALDER 1", model_of(inc=0.1)), ["--station", "Pole,89,0"]),  # no contact
        (tle("ALDER 1", model_of()), ["--mode", "everything"]),
        (tle("ALDER 1", model_of()).replace("15.05", "15.06"), []),
    ],
)
def test_init_leaves_no_file_behind_when_it_fails(
    text: str, words: list[str], tmp_path: Path, monkeypatch
) -> None:
    (tmp_path / "astropy").mkdir()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    elements, file = written(tmp_path, text), tmp_path / "ours.toml"
    done = RUNNER.invoke(app, ["init", str(file), "--elements", str(elements), *words])
    assert done.exit_code == 1
    assert "error: " in done.stderr
    assert not [path for path in tmp_path.iterdir() if "ours" in path.name]


def test_init_leaves_out_what_it_is_told_to(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "astropy").mkdir()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    elements = written(tmp_path, tle("ALDER 1", model_of()) + tle("FALLEN 2", FALLEN))
    for name, words in (
        ("a", ["--skip", "FALLEN 2"]),
        ("b", ["--skip", "90010"]),
        ("c", ["--on-error", "skip"]),
    ):
        file = tmp_path / f"{name}.toml"
        done = RUNNER.invoke(app, ["init", str(file), "--elements", str(elements), *words])
        assert done.exit_code == 0, done.stderr
        assert constellation_of(load_scenario(str(file))).names == ("ALDER 1",)


def test_init_says_once_what_it_does_with_a_file(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "astropy").mkdir()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    elements = written(tmp_path, 2 * tle("ALDER 1", model_of()))
    done = RUNNER.invoke(app, ["init", str(tmp_path / "ours.toml"), "--elements", str(elements)])
    assert done.exit_code == 0, done.stderr
    assert done.stderr.count("warning: ") == done.stderr.count("ALDER 1: 2 sets") == 1
