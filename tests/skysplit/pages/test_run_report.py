"""The report of a run: what is on the page, and that it adds up."""

from __future__ import annotations

import base64
import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from plotly.colors import sample_colorscale, unlabel_rgb
from plotly.offline import get_plotlyjs
from typer.testing import CliRunner

from mission.record import read_run, write_text
from mission.scenario import load_scenario, scenario_to_dict, shipped_scenarios
from mission.text.quantities import spoken_bytes
from mission.text.scenario_toml import scenario_toml
from report.charts.figures import learning_figure, loss_range, waits_figure
from report.charts.gantt import gantt_figure, thinned, time_unit, union, windows_in_use
from report.charts.score_figures import confusion_figure
from report.page import plotly_script
from report.run_report import report_view, write_report
from report.story import link_totals, run_total
from report.totals import by_round, read_rounds
from skysplit.cli import app
from strategies.problem.plan import SPLIT_COLUMNS

SPANS = st.lists(
    st.tuples(st.integers(0, 200), st.integers(1, 20)).map(lambda span: (float(span[0]), float(sum(span)))),
    max_size=40,
)


def figures_of(page: str) -> dict[str, Any]:
    """The figures that a page draws, by name."""
    inside = re.search(r'<script type="application/json" id="figures">(.*?)</script>', page, re.DOTALL)
    assert inside
    return json.loads(inside.group(1))


def test_a_simulated_run_shows_every_chart_but_the_measured_one(simulated_page: Path) -> None:
    page = simulated_page.read_text(encoding="utf-8")
    assert list(figures_of(page)) == ["curve", "gantt", "map", "globe", "bytes", "seconds", "waits"]
    assert "sent over the split" in page


def test_an_emulated_run_also_shows_planned_against_measured(emulated_page: Path) -> None:
    page = emulated_page.read_text(encoding="utf-8")
    figures = figures_of(page)
    assert [trace["name"] for trace in figures["measured"]["data"]] == ["planned", "measured"]
    assert {trace["name"] for trace in figures["links"]["data"]} == {
        "down to the ground", "up to the satellites", "within planes", "as planned",
    }  # fmt: skip
    assert "What crossed the links" in page
    laid_over = [trace["name"] for trace in figures["gantt"]["data"] if "measured" in trace["name"]]
    assert laid_over == ["inter-satellite link, measured", "space-ground link, measured", "done, measured"]


def test_the_gantt_has_every_transfer_at_its_time_and_every_end(emulated_run: Path) -> None:
    rows = pq.read_table(emulated_run / "transfer_records.parquet").to_pylist()
    done_s = [(row["satellite"], row["measured_end_s"]) for row in read_rounds(emulated_run).to_pylist()]
    names = list(dict.fromkeys(name for name, _ in done_s))
    end_s = max(time_s for _, time_s in done_s)
    _, unit_s = time_unit(end_s)
    figure = gantt_figure(names, [], [], end_s, transfer_records=rows, done_s=done_s)
    *_, between, to_ground, done = figure.data
    for row in rows:
        passed = between if row["link"].endswith("_isl") else to_ground
        covered = [
            start <= row["start_s"] / unit_s + 1e-4 and row["end_s"] / unit_s <= end + 1e-4
            and round(y) == names.index(row["satellite"])
            for start, end, y in zip(passed.x[0::5], passed.x[1::5], passed.y[0::5], strict=True)
        ]  # fmt: skip
        assert any(covered), row
    assert sorted(done.x) == pytest.approx(sorted(time_s / unit_s for _, time_s in done_s), abs=1e-5)


def test_one_zooms_to_the_windows_in_which_antennas_are_held() -> None:
    held = [
        {"kind": "session", "start_s": s, "end_s": e} for s, e in ((10.0, 20.0), (15.0, 40.0), (500.0, 560.0))
    ]
    views = windows_in_use([*held, {"kind": "embed", "start_s": 0.0, "end_s": 90.0}], 600.0, 24)
    assert list(views) == ["all of it", "10.0 to 40.0 s", "500.0 to 560.0 s"]
    assert views["all of it"] == (0.0, 600.0)
    start, end = views["500.0 to 560.0 s"]
    assert 490.0 < start < 500.0
    assert 560.0 < end < 570.0
    assert len(windows_in_use(held, 600.0, 1)) == 2


def test_the_report_has_the_ablation_once_it_was_asked_for(
    one_plane_run: Path, tmp_path: Path, headline_cases: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("skysplit.commands.runs._STARTS", 1)
    run = tmp_path / "run"
    shutil.copytree(one_plane_run, run)
    done = CliRunner().invoke(app, ["report", str(run), "--compare"])
    assert done.exit_code == 0, done.stderr
    page = (run / "report.html").read_text(encoding="utf-8")
    [comparison] = json.loads((run / "comparison.json").read_text(encoding="utf-8")).values()
    medians_s = [case["median_s"] for case in comparison["cases"] if case["median_s"]]
    rounds, bounds = figures_of(page)["ablation"]["data"]
    assert rounds["x"] == medians_s
    assert all(bound <= median for bound, median in zip(bounds["x"], medians_s, strict=True))
    assert "÷ onboard" in page
    assert "on board" in page  # computing of the whole missions


def a_case(name: str, title: str, ends_s: list[float]) -> dict[str, Any]:
    mission = {"length_s": ends_s[-1], "round_ends_s": ends_s, "down_bytes": 3e6, "up_bytes": 2e5, "isl_bytes": 0.0,
               "ground_compute_s": 1.0, "onboard_compute_s": 1.0, "binds": "the downlink",
               "planned": len(ends_s), "rounds": len(ends_s)}  # fmt: skip
    times = dict.fromkeys(("median_s", "p95_s", "bound_s", *SPLIT_COLUMNS), ends_s[0])
    sizes = {"down_bytes": 3e6, "up_bytes": 2e5, "isl_bytes": 0.0, "gap_to_bound": 0.0}
    return {"name": name, "title": title, "mission": mission, "starts": 1, "ratio_to": {}, **times, **sizes}


def test_the_curve_begins_before_fine_tuning_and_has_on_board_training_beside_it(
    simulated_run: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(simulated_run, run)
    cases = [
        a_case("split", "split, all strategies", [100.0, 200.0]),
        a_case("onboard-lora", "on-board LoRA", [3000.0, 7000.0]),
        a_case("images-down", "raw images down", [50.0, 60.0]),
    ]
    write_text(run / "comparison.json", json.dumps({"a-model": {"cases": cases, "starts": 1, "rounds": 2}}))
    page = write_report(run).read_text(encoding="utf-8")
    _, accuracy, beside, _ = figures_of(page)["curve"]["data"]
    result = read_run(run)["result"]
    assert (accuracy["x"][0], accuracy["y"][0]) == (0.0, 100 * result["initial_test_accuracy"])
    _, unit_s = time_unit(7000.0)
    assert beside["x"] == [0.0, 3000.0 / unit_s, 7000.0 / unit_s]
    assert beside["y"] == accuracy["y"]
    assert beside["name"].startswith("on-board LoRA")
    [missions] = figures_of(page)["missions"]["data"]
    assert missions["x"] == [60.0 / unit_s, 200.0 / unit_s, 7000.0 / unit_s]
    assert missions["text"][0] == " 60.0 s<br> 3.00 MB down<br> 200 kB up"
    assert "Bringing the images down finishes first here" in page


def test_the_page_loads_nothing_from_elsewhere(simulated_page: Path) -> None:
    page = simulated_page.read_text(encoding="utf-8")
    assert page.count("plotly.js v") == 1  # inlined, once
    markup = re.sub(r"<script\b.*?</script>", "", page, flags=re.DOTALL)
    assert not re.findall(r"""(?:src|href)=["'](?!#|data:)""", markup)


def test_what_a_page_says_to_do_again_is_the_same_scenario_and_names_no_folder(
    simulated_run: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(simulated_run, run)
    said = read_run(run)
    said["scenario"]["data"] |= {"source": "parquet", "path": "/somewhere/else/tiles.parquet"}
    said["command"] = f"skysplit run {tmp_path}/ours.toml --out {tmp_path}/out"
    write_text(run / "run.json", json.dumps(said))
    page = write_report(run).read_text(encoding="utf-8")
    assert "skysplit run walker-12.toml" in page
    assert "tiles.parquet" in page
    assert "/somewhere" not in page
    assert str(tmp_path) not in page
    [content] = re.findall(r'download="walker-12.toml" href="data:application/toml;base64,([^"]*)"', page)
    (tmp_path / "again.toml").write_bytes(base64.b64decode(content))
    again = load_scenario(str(tmp_path / "again.toml"))
    expected = said["scenario"] | {"data": said["scenario"]["data"] | {"path": "$FILES/tiles.parquet"}}
    assert scenario_to_dict(again) == expected


@pytest.mark.parametrize("name", sorted(shipped_scenarios()))
def test_every_shipped_scenario_survives_being_written_as_a_file(name: str, tmp_path: Path) -> None:
    scenario = load_scenario(name)
    text, files = scenario_toml(scenario)
    if files:
        return  # its files have another folder then
    (tmp_path / "again.toml").write_text(text, encoding="utf-8")
    assert load_scenario(str(tmp_path / "again.toml")) == scenario


def test_facts_and_story_count_an_enrolment_alike_whether_flown_or_not(
    simulated_run: Path, tmp_path: Path
) -> None:
    rounds = by_round(read_rounds(simulated_run))
    for flown in (True, False):
        run = tmp_path / f"flown-{flown}"
        shutil.copytree(simulated_run, run)
        said = read_run(run)
        sizes = dict.fromkeys(("downlink_bytes", "uplink_bytes", "isl_bytes", "split_up_bytes"), 5_000_000)
        said["enrolment"] = {"start_s": 0.0, "end_s": 1.0, "flown": flown, "split_down_bytes": 0, **sizes}
        write_text(run / "run.json", json.dumps(said))
        facts = report_view(run).body
        for column, term in {
            "downlink_bytes": "planned down",
            "split_up_bytes": "sent over the split",
        }.items():
            total = sum(rounds[column].to_pylist()) + 5_000_000 * flown
            assert f"<dt>{term}</dt><dd>{spoken_bytes(total)}</dd>" in facts
        assert link_totals(said, rounds)["downlink_bytes"] == run_total(said, rounds, "downlink_bytes")


def test_a_bar_says_satellite_station_time_bytes_and_rate() -> None:
    activities = [
        {"kind": "features", "link": "downlink", "satellite": "sat-0", "node": "sat-0", "peer": "Svalbard",
         "start_s": 10.0, "end_s": 20.0, "bytes": 2_500_000},
        {"kind": "features", "link": "downlink", "satellite": "sat-0", "node": "sat-0", "peer": "Svalbard",
         "start_s": 20.0, "end_s": 30.0, "bytes": 2_500_000},
        {"kind": "features", "link": "downlink", "satellite": "sat-0", "node": "sat-0", "peer": "Troll",
         "start_s": 70.0, "end_s": 80.0, "bytes": 1_000_000},
    ]  # fmt: skip
    figure = gantt_figure(["sat-0"], [], activities, 100.0)
    words = {text for trace in figure.data if trace.text is not None for text in trace.text}
    assert words == {
        "sat-0 – Svalbard<br>10 to 30 s<br>5.00 MB at 2 Mbit/s",  # 40 Mbit in 20 s
        "sat-0 – Troll<br>70 to 80 s<br>1.00 MB at 0.8 Mbit/s",
    }


def test_an_antenna_that_another_satellite_has_just_left_is_handed_over() -> None:
    def session(satellite: str, start_s: float, end_s: float, station: str = "Troll") -> dict[str, Any]:
        return {"kind": "session", "link": "", "satellite": "", "node": satellite, "peer": station,
                "start_s": start_s, "end_s": end_s, "bytes": 0}  # fmt: skip

    activities = [
        session("a", 0.0, 40.0),
        session("b", 42.0, 80.0),
        session("b", 85.0, 90.0),
        session("a", 200.0, 240.0),
    ]
    figure = gantt_figure(["a", "b"], [], activities, 240.0, setup_s=10.0)
    bars = {
        trace.name: sorted(zip(trace.x[0::5], trace.x[1::5], strict=True))
        for trace in figure.data
        if trace.fill
    }
    assert bars["hand-over"] == [(42.0, 52.0)]
    assert bars["set-up"] == [(0.0, 10.0), (85.0, 90.0), (200.0, 210.0)]


def test_the_bar_of_every_satellite_adds_up_to_its_rounds(simulated_run: Path) -> None:
    rows = read_rounds(simulated_run)
    figure = waits_figure(rows)
    names = list(dict.fromkeys(rows["satellite"].to_pylist()))
    assert list(figure.data[0].y) == names
    for number, name in enumerate(names):
        spent_s = sum(
            row[column] for row in rows.to_pylist() if row["satellite"] == name for column in SPLIT_COLUMNS
        )
        unit_s = time_unit(spent_s)[1]
        assert sum(trace.x[number] for trace in figure.data) == pytest.approx(spent_s / unit_s)
    last = [int(re.match(r"done last in (\d+) of 2", text)[1]) for text in figure.data[0].text]
    assert sum(last) == 2


def test_several_runs_stand_on_one_page_with_their_differences(
    simulated_run: Path, emulated_run: Path, tmp_path: Path
) -> None:
    out = tmp_path / "both.html"
    done = CliRunner().invoke(app, ["report", str(simulated_run), str(emulated_run), "--out", str(out)])
    assert done.exit_code == 0, done.stderr
    page = out.read_text(encoding="utf-8")
    curve = figures_of(page)["curve"]["data"]
    assert len(curve) == 2
    assert simulated_run.name != emulated_run.name or simulated_run.parent.name in page
    twice = CliRunner().invoke(app, ["report", str(simulated_run), str(simulated_run)])
    assert twice.exit_code == 1
    assert "allowed: directories that differ" in twice.stderr


def test_the_map_has_a_frame_of_all_satellites_at_every_instant(
    simulated_run: Path, simulated_page: Path
) -> None:
    figure = figures_of(simulated_page.read_text(encoding="utf-8"))["map"]
    frames = figure["frames"]
    assert len(frames) >= 48
    assert {tuple(frame["traces"]) for frame in frames} == {tuple(frames[0]["traces"])}
    [moving] = frames[0]["traces"]
    named = figure["data"][moving]["text"]
    assert len(named) == len(read_run(simulated_run)["satellites"])
    assert frames[0]["data"][0]["x"] != frames[1]["data"][0]["x"]


def test_a_run_of_an_older_version_is_shown_without_what_it_lacks(
    simulated_run: Path, tmp_path: Path
) -> None:
    old = tmp_path / "old"
    shutil.copytree(simulated_run, old)
    rounds = pq.read_table(old / "rounds.parquet")
    later = ["measured_end_s", "split_up_bytes", "split_down_bytes"]
    pq.write_table(rounds.drop_columns(later), old / "rounds.parquet")
    run = read_run(old)
    run["scenario"]["constellation"]["shape"] = "unknown today"
    write_text(old / "run.json", json.dumps(run))
    page = write_report(old).read_text(encoding="utf-8")
    assert list(figures_of(page)) == ["curve", "gantt", "bytes", "seconds", "waits"]
    assert "sent over the split" not in page


def test_a_running_mission_is_shown_before_its_first_round_ends(simulated_run: Path, tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    shutil.copytree(simulated_run, begun)
    (begun / "rounds.parquet").unlink()
    (begun / "plan.jsonl").write_text('{"round": 1, "kind": "sess')  # torn
    assert list(figures_of(write_report(begun).read_text(encoding="utf-8"))) == ["map", "globe"]


def test_totals_are_those_of_the_rows(emulated_run: Path) -> None:
    rows, totals = read_rounds(emulated_run).to_pylist(), by_round(read_rounds(emulated_run)).to_pylist()
    assert [total["round"] for total in totals] == sorted({row["round"] for row in rows})
    for total in totals:
        own = [row for row in rows if row["round"] == total["round"]]
        assert total["satellites"] == len(own)
        assert total["downlink_bytes"] == sum(row["downlink_bytes"] for row in own)
        assert total["waiting_s"] == pytest.approx(np.mean([row["waiting_s"] for row in own]))
        assert total["measured_end_s"] == max(row["measured_end_s"] for row in own)


@given(SPANS)
def test_a_union_covers_the_same_instants_without_overlap(spans: list[tuple[float, float]]) -> None:
    found = union(spans)
    instants = np.arange(0.0, 225.0, 0.5) + 0.25
    for instant in instants:
        covered = any(start <= instant <= end for start, end in spans)
        assert covered == any(start <= instant <= end for start, end in found)
    assert (found[1:, 0] > found[:-1, 1]).all()


@given(st.dictionaries(st.integers(0, 5), SPANS, max_size=6), st.integers(1, 60))
def test_thinning_keeps_to_its_number_and_loses_no_interval(
    rows: dict[int, list[tuple[float, float]]], most: int
) -> None:
    found = thinned(rows, 220.0, most)
    assert sum(map(len, found.values())) <= max(most, len(rows))
    for key, spans in rows.items():
        for start, end in spans:
            assert any(first <= start and end <= last for first, last in found[key])


def test_a_loss_that_falls_slowly_is_seen_to_fall_and_the_axis_never_goes_below_zero_in_vain() -> None:
    rounds = pa.table({"round": [1, 2], "test_score": [0.5, 0.6], "test_loss": [2.30, 2.28]})
    figure = learning_figure(rounds, [10.0, 20.0], windows=np.empty((0, 2)), before=(0.1, 2.31))
    loss = next(trace for trace in figure.data if trace.name == "test loss")
    assert (list(loss.x), list(loss.y)) == ([0.0, 10.0, 20.0], [2.31, 2.30, 2.28])
    axis = figure.layout.yaxis2
    assert (axis.rangemode, axis.autorangeoptions.clipmin) == (None, 0.0)
    assert loss_range([-0.5, None, 1.0]) == {}


@pytest.mark.parametrize(
    ("length_s", "unit"), [(30.0, "s"), (600.0, "s"), (601.0, "min"), (18_000.0, "min"), (18_001.0, "h")]
)
def test_the_unit_of_time_follows_the_length(length_s: float, unit: str) -> None:
    assert time_unit(length_s)[0] == unit


def test_a_gantt_of_many_activities_stays_drawable() -> None:
    rng = np.random.default_rng(1)
    names = [f"sat-{number}" for number in range(72)]
    starts = rng.uniform(0.0, 7000.0, 60_000)
    sent = {"kind": "features", "link": "downlink", "node": ""}
    activities = [
        {**sent, "satellite": names[k % 72], "start_s": start_s, "end_s": start_s + 0.01}
        for k, start_s in enumerate(starts.tolist())
    ]
    figure = gantt_figure(names, [], activities, 7010.0)
    bars = sum(np.isnan(trace.x).sum() for trace in figure.data)
    assert 0 < bars <= 20_000


def test_the_function_around_the_library_of_charts_is_found_and_put_in_parentheses() -> None:
    before, after = get_plotlyjs(), plotly_script()
    assert len(after) == len(before) + 2
    assert ": this, (() => {" in after[:1000]
    assert after.rstrip().endswith("})));")


def test_each_number_of_a_confusion_matrix_can_be_read_on_its_cell() -> None:
    confusion = [[share, 200 - share] for share in range(201)]
    for first in range(0, 200, 10):
        rows = confusion[first : first + 10]
        cells, numbers = confusion_figure(
            [[*row, *[0] * 8] for row in rows], list("abcdefghij"), "images"
        ).data
        shares, scale = np.array(cells.z), [list(stop) for stop in cells.colorscale]
        for x, y, text, colour in zip(
            numbers.x, numbers.y, numbers.text, numbers.textfont.color, strict=True
        ):
            share = shares[list(cells.y).index(y), list(cells.x).index(x)]
            assert text == ("<1" if share < 0.005 else f"{100 * share:.0f}")
            ink, ground = (_luminance(one) for one in (colour, sample_colorscale(scale, [share])[0]))
            assert (max(ink, ground) + 0.05) / (min(ink, ground) + 0.05) >= 4.5
    assert len(confusion_figure([[1] * 13] * 13, [str(k) for k in range(13)], "images").data) == 1


def _luminance(colour: str) -> float:
    """Relative luminance by the definition of WCAG 2.2."""
    is_hex = colour.startswith("#")
    channels = [int(colour[k : k + 2], 16) for k in (1, 3, 5)] if is_hex else unlabel_rgb(colour)
    linear = [c / 255 / 12.92 if c / 255 <= 0.04045 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
