"""`skysplit sweep`: what a grid means, that nothing is planned twice, and that a sweep's figures are those of plans."""

from __future__ import annotations

import fcntl
import json
import math
from collections.abc import Callable
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

import skysplit
from mission.run_lock import RECORD, RunBusyError
from mission.scenario import ScenarioError
from skysplit.cli import app
from skysplit.sweeps import run as sweep_run
from skysplit.sweeps.page import sweep_page
from skysplit.sweeps.preparation import prepare
from skysplit.sweeps.results import LINES, TABLE
from skysplit.sweeps.study import Study, StudyError, parse_grid, read_study, study_of, variants_of
from skysplit.sweeps.summary import Point, effects_of, pareto_front, points_of

FIXED = {"planning.samples": 16, "planning.profile": "DOFA-base", "horizon_h": 3.0}
GRID = {"ground.beams": [1, 2], "ground.stations": [2, ["Kiruna"]], "strategy.space_ground": ["nearest"]}


class Counting(Executor):
    """Runs calls at once, in order, counts them by name, and stops as Ctrl-C does after so many rounds."""

    def __init__(self, rounds: float = math.inf) -> None:
        self.calls: list[str] = []
        self._rounds = rounds

    def submit(self, call: Callable[..., Any], /, *given: Any, **named: Any) -> Future[Any]:
        future: Future[Any] = Future()
        if self.calls.count("plan_job") < self._rounds:
            self.calls.append(call.__name__)
            future.set_result(call(*given, **named))
        else:
            future.set_exception(KeyboardInterrupt())
        return future


@pytest.fixture(scope="module")
def stations() -> list[str]:
    return [station.name for station in skysplit.scenario("walker-12").scenario.ground.stations]


@pytest.fixture(scope="module")
def study(stations: list[str]) -> Study:
    grid = {**GRID, "ground.stations": [2, [stations[-1]]]}
    return study_of("walker-12", fixed=FIXED, grid=grid, starts=2)


@pytest.fixture(scope="module")
def swept(
    study: Study, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, list[dict[str, Any]], list[str]]:
    """A sweep that was ended after its third round and then run again: directory, rows, calls of the second run."""
    directory = tmp_path_factory.mktemp("sweeps") / "walker-12"
    with pytest.raises(KeyboardInterrupt):
        sweep_run.run_sweep(study, directory, executor=Counting(rounds=3))
    with (directory / LINES).open("ab") as file:
        file.write(b'{"identity": "torn')
    again = Counting()
    rows = sweep_run.run_sweep(study, directory, executor=again)
    return directory, rows, again.calls


def test_a_sweep_that_was_ended_plans_only_the_rest_and_no_contact_plan_twice(
    swept: tuple[Path, list[dict[str, Any]], list[str]], study: Study
) -> None:
    directory, rows, calls = swept
    assert len(rows) == 8  # 2 × 2 × 1 combinations from two starts
    assert calls == ["plan_job"] * 5
    # One of each set of stations: how many beams they have changes no contact.
    assert len(list((directory / "contacts").glob("*.parquet"))) == 2
    done = Counting()
    assert sweep_run.run_sweep(study, directory, executor=done) == rows
    assert done.calls == []


def test_the_table_has_a_row_per_round_with_what_varies_and_the_figures_of_the_plan(
    swept: tuple[Path, list[dict[str, Any]], list[str]], stations: list[str]
) -> None:
    directory, _, _ = swept
    table = pq.read_table(directory / TABLE).to_pylist()
    assert [row["case"] for row in table] == list(range(8))
    assert {row["ground.stations"] for row in table} == {"2", f"[{stations[-1]}]"}
    assert {row["ground.beams"] for row in table} == {1, 2}
    found = next(row for row in table if (row["ground.beams"], row["ground.stations"]) == (2, "2"))
    tables = [station.model_dump() for station in skysplit.scenario("walker-12").scenario.ground.stations[:2]]
    keys = {"ground.beams": 2, "strategy.space_ground": "nearest", "ground.stations": tables}
    plan = skysplit.scenario("walker-12", **FIXED, **keys).plan(found["start_s"]).plan
    assert found["state"] == "planned"
    assert found["makespan_s"] == pytest.approx(plan.makespan_s, rel=1e-9)
    assert found["lower_bound_s"] == pytest.approx(plan.lower_bound_s, rel=1e-9)


@pytest.mark.slow  # another executor is used above, processes of the same kind in test_compare_and_numbers.py
def test_two_processes_find_what_one_does(
    swept: tuple[Path, list[dict[str, Any]], list[str]], study: Study, tmp_path: Path
) -> None:
    few = study_of("walker-12", fixed=FIXED, grid={**study.grid, "ground.beams": [1]}, starts=1)
    rows = sweep_run.run_sweep(few, tmp_path / "two", processes=2)
    known = [row for row in swept[1] if row["ground.beams"] == 1 and row["start_s"] == 0.0]
    figures = [
        {key: value for key, value in row.items() if key not in ("case", "planning_cpu_s")} for row in rows
    ]
    assert figures == [
        {key: value for key, value in row.items() if key not in ("case", "planning_cpu_s")} for row in known
    ]


def test_a_round_without_a_plan_is_a_row_that_says_why(tmp_path: Path, stations: list[str]) -> None:
    pole = {"name": "Pole", "lat_deg": -90.0, "lon_deg": 0.0}  # never sees the shell
    grid = {"ground.stations": [[stations[0]], [pole]]}
    study = study_of("walker-12", fixed={**FIXED, "horizon_h": 0.2}, grid=grid, starts_s=[0.0])
    some, none = sweep_run.run_sweep(study, tmp_path, executor=Counting())
    assert some["state"] == none["state"] == "no plan"
    assert "carry 0 of" in some["reason"]
    assert "no contact between 12 satellites and 1 stations" in none["reason"]


def test_another_process_sweeps_into_no_directory_in_use(study: Study, tmp_path: Path) -> None:
    with (tmp_path / RECORD).open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # as the other process holds it
        with pytest.raises(RunBusyError):
            sweep_run.run_sweep(study, tmp_path, executor=Counting())
    assert len(sweep_run.run_sweep(study_of("walker-12", fixed=FIXED, grid={"seed": [1]}), tmp_path)) == 1


def test_a_file_means_what_the_same_words_on_the_command_line_mean(tmp_path: Path) -> None:
    file = tmp_path / "study.toml"
    file.write_text(
        'scenario = "walker-72"\nstarts = 3\n[set]\nplanning.samples = 64\n[grid]\n'
        '"ground.beams" = [1, 2]\n"constellation.satellites, constellation.planes" = [[24, 4], [72, 6]]\n'
    )
    grid = parse_grid(["ground.beams=1,2", "constellation.satellites, constellation.planes=[24, 4],[72, 6]"])
    assert read_study(file) == study_of("walker-72", fixed={"planning.samples": 64}, grid=grid, starts=3)
    variants = variants_of(read_study(file))
    shells = [(v.scenario.constellation.satellites, v.scenario.constellation.planes) for v in variants]
    assert shells == [(24, 4), (72, 6), (24, 4), (72, 6)]


def test_what_all_cases_override_is_checked_with_each_of_them_and_not_by_itself() -> None:
    """Five planes do not divide the 12 satellites of the scenario, but those of the cases."""
    grid = {"constellation.satellites": [10, 20], "ground.stations": [1, 2]}
    study = study_of("walker-12", fixed={"constellation.planes": 5}, grid=grid)
    shapes = [
        (v.scenario.constellation.satellites, len(v.scenario.ground.stations)) for v in variants_of(study)
    ]
    assert shapes == [(10, 1), (10, 2), (20, 1), (20, 2)]
    grid["constellation.satellites"] = [10, 12]
    with pytest.raises(
        ScenarioError, match=r"case constellation\.satellites = 12, ground\.stations = 1: .*planes"
    ):
        variants_of(study_of("walker-12", fixed={"constellation.planes": 5}, grid=grid))


def test_cases_of_their_own_are_each_combined_with_the_grid_and_equal_ones_are_one() -> None:
    study = study_of(
        "walker-12", fixed={}, grid={"seed": [1, 2]},
        cases=[{"ground.beams": 1}, {"ground.beams": 2}, {"ground.beams": 2}],
    )  # fmt: skip
    found = [(v.scenario.seed, v.scenario.ground.beams) for v in variants_of(study)]
    assert found == [(1, 1), (2, 1), (1, 2), (2, 2)]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["grund.beams=1,2"],
            r"case grund\.beams = 1: grund\.beams: unknown key; did you mean ground\.beams\?",
        ),
        (
            ["ground.beams=1,0"],
            r"case ground\.beams = 0: ground\.beams: found 0, allowed: greater than or equal",
        ),
        (["strategy.space_ground=nearest,farthest"], r"found 'farthest', allowed: own-window"),
        (["ground.stations=1,99"], r"ground\.stations: found 99, allowed: 1 to \d+"),
        (['ground.stations=["Atlantis"]'], r"ground\.stations: found 'Atlantis', allowed: "),
        (["seed"], r"--grid: found 'seed', allowed: KEY=VALUE,VALUE"),
        (["seed=1", "seed=2"], r"--grid: seed: found twice"),
        (
            ["constellation.satellites,constellation.planes=[24,4],72"],
            "found 72, allowed: a list of 2 values",
        ),
        (["strategy.planes_per_round=99", "training.mode=head"], "planes_per_round: found 99, allowed 1 to"),
        (["planning.profile=no-such-model"], "no-such-model"),
    ],
)
def test_a_bad_key_or_value_is_one_error_and_nothing_is_planned(
    words: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    options = [part for word in words for part in ("--grid", word)]
    fixed = [
        part
        for key, value in FIXED.items()
        if "planning.profile" not in words[0]
        for part in ("--set", f"{key}={value}")
    ]
    done = CliRunner().invoke(app, ["sweep", "walker-12", *options, *fixed])
    assert done.exit_code == 1
    assert done.stderr.count("error:") == 1
    with pytest.raises(AssertionError, match=message):
        raise AssertionError(" ".join(done.stderr.split()))
    assert not (tmp_path / "sweeps").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("scenario = 3\ngrid.seed = [1]\n", "scenario: found 3, allowed: a file or a shipped scenario"),
        ('scenario = "walker-12"\ngrid.seed = 1\n', r"grid: seed: found 1, allowed: a list of values"),
        (
            'scenario = "walker-12"\nstart = 2\ngrid.seed = [1]\n',
            r"start: unknown key; known here: scenario, starts",
        ),
        (
            'scenario = "walker-12"\nstarts = 0\ngrid.seed = [1]\n',
            r"starts: found 0, allowed: a whole number",
        ),
        (
            'scenario = "walker-12"\nstarts_s = [-1]\ngrid.seed = [1]\n',
            r"starts_s: found \[-1\], allowed: a list",
        ),
        ('scenario = "walker-12"\nset.seed = 1\ngrid.seed = [1]\n', "seed: found twice"),
        ('scenario = "walker-12"\ncases = [1]\n', "cases: found"),
        ('scenario = "walker-12"\ngrid = {}\n', "found nothing that varies"),
    ],
)
def test_a_bad_file_is_one_error_that_names_it(text: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "study.toml"
    file.write_text(text)
    with pytest.raises(StudyError, match=f"study.toml: {message}"):
        read_study(file)


def test_a_station_may_be_a_table_and_an_impossible_one_is_refused() -> None:
    table = {"name": "North", "lat_deg": 80.0, "lon_deg": 0.0}
    [variant] = variants_of(study_of("walker-12", fixed={}, grid={"ground.stations": [[table]]}))
    assert [station.name for station in variant.scenario.ground.stations] == ["North"]
    with pytest.raises(ScenarioError, match="lat_deg: found 95.0"):
        variants_of(study_of("walker-12", fixed={}, grid={"ground.stations": [[{**table, "lat_deg": 95.0}]]}))


def row(time_s: float, down: float, **values: Any) -> dict[str, Any]:
    return {
        **values, "state": "planned", "makespan_s": time_s, "gap_to_bound": 0.0, "down_bytes": down, "up_bytes": 0.0,
        "isl_bytes": 0.0,
    }  # fmt: skip


def test_the_front_holds_what_no_other_combination_beats_in_time_and_bytes() -> None:
    rows = [
        row(10.0, 5.0, a=1),
        row(20.0, 3.0, a=2),
        row(20.0, 4.0, a=3),
        row(30.0, 3.0, a=4),
        row(40.0, 1.0, a=5),
    ]
    front: list[Point] = pareto_front(points_of(rows, ["a"]))
    assert [point.values["a"] for point in front] == [1, 2, 5]
    unplanned = {"a": 6, "state": "no plan"}
    half = [*rows, row(1.0, 1.0, a=6), unplanned]
    assert [point.values["a"] for point in pareto_front(points_of(half, ["a"]))] == [1, 2, 5]


def test_effects_are_spans_of_medians_the_largest_first() -> None:
    rows = [row(time_s, 1.0, a=a, b=b) for a, b, time_s in [(1, 1, 10), (1, 2, 12), (2, 1, 30), (2, 2, 32)]]
    effects = effects_of(rows, ["b", "a"])
    assert [(effect.key, effect.span_s) for effect in effects] == [("a", 20.0), ("b", 2.0)]
    assert effects[0].medians_s == {"1": 11.0, "2": 31.0}


def test_the_page_shows_front_heat_map_tornado_and_every_combination(
    swept: tuple[Path, list[dict[str, Any]], list[str]],
    study: Study,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    directory, _, _ = swept
    file = tmp_path / "study.toml"
    lines = [f'"{key}" = {json.dumps(value)}' for key, value in study.grid.items()]
    settings = [f'"{key}" = {json.dumps(value)}' for key, value in study.fixed.items()]
    file.write_text("\n".join(['scenario = "walker-12"', "starts = 2", "[set]", *settings, "[grid]", *lines]))
    monkeypatch.setattr(sweep_run, "plan_job", None)  # all is there
    done = CliRunner().invoke(app, ["sweep", str(file), "--out", str(directory), "--processes", "1"])
    assert done.exit_code == 0, done.output
    assert "4 combinations, 8 rounds" in done.stdout
    page = (directory / "sweep.html").read_text(encoding="utf-8")
    for anchor in ("pareto", "heat", "tornado", "all"):
        assert f'id="{anchor}-title"' in page
    assert page.count("<tr ") == 1 + 4


def test_the_same_from_python_shows_itself(
    swept: tuple[Path, list[dict[str, Any]], list[str]], study: Study
) -> None:
    directory, rows, _ = swept
    found = skysplit.sweep("walker-12", grid=study.grid, fixed=FIXED, starts=2, out=directory)
    assert found.rows == rows
    assert "combinations 4, rounds 8" in repr(found)
    assert len(found.plot().data) >= 2


def test_a_mission_of_a_sweep_is_its_rounds_one_after_the_other(tmp_path: Path) -> None:
    """Features cross in the first round of mode lora alone: two bring down less than twice as much."""
    grid = {"training.rounds": [1, 2]}
    one, two = sweep_run.run_sweep(study_of("walker-12", fixed=FIXED, grid=grid, missions=True), tmp_path)
    first, _ = sweep_run.run_sweep(study_of("walker-12", fixed=FIXED, grid=grid), tmp_path)
    assert one["state"] == two["state"] == "planned"
    assert (one["rounds"], two["rounds"]) == (1, 2)
    assert one["makespan_s"] == pytest.approx(first["makespan_s"])
    assert one["down_bytes"] == pytest.approx(first["down_bytes"])
    assert one["makespan_s"] < two["makespan_s"]
    assert one["down_bytes"] < two["down_bytes"] < 2 * one["down_bytes"]
    assert two["lower_bound_s"] is None


def test_missions_that_do_not_wait_for_all_planes_are_one_error(tmp_path: Path) -> None:
    fixed = FIXED | {"training.mode": "head", "strategy.planes_per_round": 1}
    asked = study_of("walker-12", fixed=fixed, grid={"seed": [0, 1]}, missions=True)
    with pytest.raises(StudyError, match=r"strategy\.planes_per_round: found 1 with missions, allowed: 0"):
        sweep_run.run_sweep(asked, tmp_path)
    with pytest.raises(StudyError, match="missions: found 3, allowed: true, false"):
        study_of("walker-12", fixed=FIXED, grid={"seed": [0, 1]}, missions=3)


def test_rounds_through_draws_have_their_median_and_percentiles(tmp_path: Path) -> None:
    fixed = {
        **FIXED,
        "planning.samples": 4,
        "strategy.planes_per_round": 0,
        "uncertainty.station_outage_h": 0.1,
    }
    grid = {"uncertainty.station_outage": [0.0, 0.3]}
    rows = sweep_run.run_sweep(study_of("walker-12", fixed=fixed, grid=grid, draws=1), tmp_path / "drawn")
    calm, stormy = rows
    assert {row["state"] for row in rows} == {"planned"}
    for name in ("flown_median_s", "flown_p5_s", "flown_p95_s", "held_up_median_s"):
        assert calm[name] == pytest.approx(calm["makespan_s"])
    assert (calm["interruptions"], calm["saved_s"]) == (0.0, 0.0)
    # The same as the plan of the command, which draws by the same seed.
    command = ["plan", "walker-12", "--draws", "1", "--format", "json"]
    settings = {**fixed, "uncertainty.station_outage": 0.3}
    command += [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
    drawn = json.loads(CliRunner().invoke(app, command).stdout)["draws"]
    assert stormy["flown_median_s"] == pytest.approx(drawn["replanned"]["median_s"])
    assert stormy["flown_p95_s"] == pytest.approx(drawn["replanned"]["p95_s"])
    assert stormy["held_up_p95_s"] == pytest.approx(drawn["held_up"]["p95_s"])
    point = points_of(rows, ["uncertainty.station_outage"])[1]
    assert point.flown_s[0] == stormy["flown_median_s"]
    assert "through draws" in sweep_page("drawn", "", rows, ["uncertainty.station_outage"])


@pytest.mark.parametrize(
    ("keys", "asked", "message"),
    [
        ({}, {"draws": 2}, r"draws: found 2 without outages in any case"),
        ({"uncertainty.isl_outage": 0.1}, {"draws": 2, "missions": True}, r"draws: found 2 with missions"),
        ({"uncertainty.isl_outage": 0.1}, {"draws": -1}, r"draws: found -1, allowed: a whole number"),
        (
            {"uncertainty.isl_outage": 0.1, "training.mode": "downlink", "strategy.planes_per_round": 0},
            {"draws": 2},
            r"training\.mode: found downlink with draws",
        ),
    ],
)
def test_draws_that_cannot_be_flown_are_one_error(
    keys: dict[str, Any], asked: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=message):
        sweep_run.run_sweep(
            study_of("walker-12", fixed={**FIXED, **keys}, grid={"seed": [1]}, **asked), tmp_path / "drawn"
        )


def test_rounds_of_two_tasks_have_heads_and_names_of_their_own(tmp_path: Path) -> None:
    fixed = {"planning.profile": "Prithvi-EO-2.0-300M (T1)", "planning.samples": 4, "horizon_h": 1.0}
    grid = {"task.kind": ["classification", "segmentation"]}
    classes, masks = (
        case.job for case in prepare(study_of("walker-12", fixed=fixed, grid=grid, starts=1), tmp_path).cases
    )
    assert masks.workload.c2_bytes > 100 * classes.workload.c2_bytes  # the states of all tokens return
    assert masks.identity != classes.identity
