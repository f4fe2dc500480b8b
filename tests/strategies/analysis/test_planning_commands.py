"""``skysplit plan`` and ``skysplit compare`` on a small scenario with a published model's sizes."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from skysplit.cli import app

SMALL = [
    word
    for setting in (
        "constellation.satellites=12", "constellation.planes=2", "constellation.altitude_km=1150", "horizon_h=12",
        "planning.samples=64",
    )
    for word in ("--set", setting)
]  # fmt: skip


# For comparisons.
ONE_PLANE = [
    word
    for setting in (
        "constellation.satellites=6",
        "constellation.planes=1",
        "constellation.phasing=0",
        "planning.samples=8",
    )
    for word in ("--set", setting)
]


def run(*words: str) -> str:
    done = CliRunner().invoke(app, [words[0], *SMALL, *words[1:]])
    assert done.exit_code == 0, done.output
    return done.stdout


def refused(*words: str) -> str:
    done = CliRunner().invoke(app, [words[0], *SMALL, *words[1:]])
    assert done.exit_code == 1
    assert done.stderr.count("error:") == 1
    return done.stderr


def test_a_plan_is_json_with_its_figures_and_every_activity() -> None:
    found = json.loads(run("plan", "paper", "--format", "json"))
    assert found["lower_bound_s"] <= found["makespan_s"] == pytest.approx(found["end_s"] - found["start_s"])
    kinds = {activity["kind"] for activity in found["activities"]}
    assert {"session", "features", "backbone", "hidden", "head", "gradient", "reduce"} <= kinds


def test_a_plan_says_first_when_it_ends_and_what_binds() -> None:
    found = json.loads(run("plan", "paper", "--format", "json"))
    said = run("plan", "paper").splitlines()[0]
    end = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=round(found["end_s"]))
    assert found["ends_utc"] == end.strftime("%Y-%m-%dT%H:%M:%SZ")
    assert said.startswith(f"Ends {end:%H:%M:%S} UTC on 2026-01-01, after ")
    assert f": {found['passes']} pass" in said
    assert said.endswith(f"; binds: {found['binds']}.")
    down = sum(row["bytes"] for row in found["activities"] if row["link"] == "downlink")
    assert found["downlink_bytes"] == pytest.approx(down, rel=1e-6)
    assert f"{found['downlink_bytes'] / 1e6:.0f} MB down" in said or " GB down" in said


def test_a_plan_lists_its_sessions_with_their_bytes_within_eighty_columns(tmp_path: Path) -> None:
    file = tmp_path / "plan.json"
    assert run("plan", "paper", "--format", "json", "--out", str(file)).strip() == str(file)
    found = json.loads(file.read_text(encoding="utf-8"))
    used = {
        (row["node"], row["peer"])
        for row in found["activities"]
        if row["link"] == "downlink" and row["bytes"]
    }
    said = run("plan", "paper")
    assert max(len(line) for line in said.splitlines()[1:]) <= 80
    listed = re.findall(r"^ (\d\d:\d\d:\d\d) .* (\S+) – (\S+) ", said, re.MULTILINE)
    assert {(gateway, station) for _, gateway, station in listed} == used


@pytest.mark.parametrize("command", ["plan", "compare"])
def test_a_table_is_not_written_to_a_file_in_silence(command: str) -> None:
    assert "--out: found --format table, allowed: json" in refused(command, "paper", "--out", "x.txt")


def test_the_paper_s_all_gather_is_planned() -> None:
    found = json.loads(run("plan", "paper", "--format", "json", "--set", "strategy.intra_orbit=all-gather"))
    assert found["intra_orbit"] == "all-gather"


def test_the_rest_of_a_round_is_planned_without_what_was_lost() -> None:
    whole = json.loads(run("plan", "paper", "--format", "json"))
    gateway = next(row["node"] for row in whole["activities"] if row["kind"] == "session")
    after = str(0.5 * whole["makespan_s"])
    rest = json.loads(run("plan", "paper", "--format", "json", "--after", after, "--lose", gateway))
    assert rest["start_s"] == pytest.approx(float(after))
    assert all(gateway not in (row["node"], row["peer"]) for row in rest["activities"])
    slow = json.loads(run("plan", "paper", "--format", "json", "--after", after, "--slow", f"{gateway}=0.5"))
    assert slow["end_s"] > whole["end_s"]


def test_a_quorum_ends_the_round_and_every_plane_says_when_it_delivers() -> None:
    by_plane = ["--set", "training.mode=head", "--set", "strategy.inter_orbit=none", "--format", "json"]
    whole = json.loads(run("plan", "paper", *by_plane))
    first = json.loads(run("plan", "paper", *by_plane, "--set", "strategy.planes_per_round=1"))
    assert whole["planes_delivered_s"] == first["planes_delivered_s"]
    assert whole["end_s"] > max(whole["planes_delivered_s"].values())  # the average is back on board
    assert first["end_s"] == min(whole["planes_delivered_s"].values()) < whole["end_s"]
    assert max(activity["end_s"] for activity in first["activities"]) <= first["end_s"] + 1e-6


def test_a_comparison_has_the_documented_keys_and_mission_time_per_point_of_a_run(
    tmp_path, headline_cases
) -> None:
    pq.write_table(
        pa.table({"round": [1, 1, 2, 2], "test_accuracy": [0.5, 0.5, 0.6, 0.6]}), tmp_path / "rounds.parquet"
    )
    words = ("--starts", "1", "--format", "json", "--curve", str(tmp_path))
    found = json.loads(run("compare", "paper", *ONE_PLANE, *words))
    for case in found["cases"]:
        assert {"name", "alias", "median_s", "p95_s", "gap_to_bound", "ratio_to"} <= case.keys()
        mission = case["mission"]
        if mission is not None:
            assert {"start_s", "end_s", "down_bytes", "up_bytes", "isl_bytes", "binds"} <= mission.keys()
            assert mission["rounds"] == 2
            assert case["per_point_s"] == pytest.approx(mission["length_s"] / 10.0)


def test_the_page_of_a_comparison_of_two_models_holds_both_and_needs_no_network(
    tmp_path, headline_cases
) -> None:
    path = tmp_path / "page.html"
    names = ("Prithvi-EO-2.0-300M (T1)", "Clay v1.5 large (256px p8, 10b)")
    run(
        "compare",
        "paper",
        *ONE_PLANE,
        "--set",
        "training.rounds=2",
        "--starts",
        "1",
        "--models",
        ",".join(names),
        "--format",
        "html",
        "--out",
        str(path),
    )
    page = path.read_text()
    for name in names:
        answer = page.split(f'<h2>{name}</h2><p class="answer">')[1].split("</p>")[0]
        assert re.match(r".* (pays|finishes first) here: 2 rounds take ", answer)
    assert "<script src" not in page
    assert page.index("What binds the split is") < page.index("How long a round takes")
    assert "images-down: raw images down, the ground trains alone" in page


def test_a_run_of_one_round_is_no_curve(tmp_path) -> None:
    pq.write_table(pa.table({"round": [1, 1], "test_score": [0.5, 0.5]}), tmp_path / "rounds.parquet")
    said = refused("compare", "paper", "--starts", "1", "--curve", str(tmp_path))
    assert "--curve: found 1 round" in said
    assert "allowed is a run of two or more" in said


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["plan", "paper", "--lose", "Madrid"], "--after"),
        (["plan", "paper", "--after", "5", "--lose", "Paris"], "found no node 'Paris'"),
        (["plan", "paper", "--after", "5", "--slow", "Madrid=2"], "at most 1"),
        (["compare", "paper", "--starts", "1", "--curve", "nowhere"], "found no nowhere"),
        (["compare", "paper", "--models", "GPT-2"], "GPT-2"),
    ],
)
def test_bad_words_are_one_error(words, says) -> None:
    assert says in refused(*words)
