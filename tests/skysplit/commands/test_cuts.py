"""`skysplit cuts`: the same round, planned with more and more of the model on board."""

import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

from learning.model import with_cut
from mission.orbits import constellation_of, contact_plan_of
from mission.record import read_run
from mission.scenario import load_scenario
from report.pages.cuts_page import pareto_front
from server_app.run import recorded_run
from skysplit.cli import app
from skysplit.cuts.model_cuts import ModelCut, SettledCut, cuts_of, settled

RUNNER = CliRunner()
SMALL = [
    word
    for setting in (
        "constellation.satellites=2",
        "planning.samples=32",
        "planning.profile=Galileo-Nano (S2-RGB, 64px p8)",
        "horizon_h=6",
    )
    for word in ("--set", setting)
]


@pytest.fixture(scope="module")
def rows() -> list[dict[str, Any]]:
    done = RUNNER.invoke(app, ["cuts", "walker-12", *SMALL, "--format", "json"])
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def test_every_cut_has_its_costs_and_a_planned_round(rows: list[dict[str, Any]]) -> None:
    assert [(row["onboard_blocks"], row["head_blocks"]) for row in rows] == [
        *((number, 0) for number in range(4)),
        *((0, number) for number in range(1, 4)),
    ]
    assert len({row["feature_bytes"] for row in rows}) == 1  # tokens are of one size behind every block
    assert {row["pixels_recovered"] for row in rows} == {None}  # a published profile has no weights
    for part in (rows[:4], [rows[0], *rows[4:]]):
        for key, grows in (
            ("onboard_flops", 1),
            ("onboard_bytes", 1),
            ("ground_flops", -1),
            ("adapter_bytes", -1),
        ):
            values = [row[key] * grows for row in part]
            assert values == sorted(values), key
            assert values[0] < values[-1], key
    # All tokens return, and a gradient of each, instead of one state.
    tokens = rows[0]["feature_bytes"] / 96  # of 192 values, a byte and some for the scales each
    assert rows[4]["up_bytes"] > 10 * rows[0]["up_bytes"]
    assert rows[4]["down_bytes"] > rows[0]["down_bytes"] + tokens


def test_the_table_fits_100_columns_and_the_page_opens_offline(tmp_path: Path) -> None:
    table = RUNNER.invoke(app, ["cuts", "walker-12", *SMALL]).stdout
    assert "where to cut" in table
    assert max(len(line) for line in table.splitlines()) <= 100
    out = tmp_path / "cuts.html"
    done = RUNNER.invoke(app, ["cuts", "walker-12", *SMALL, "--format", "html", "--out", str(out)])
    assert done.exit_code == 0, done.output
    page = out.read_text()
    assert 'id="pareto"' in page
    assert 'id="bytes"' in page
    heads = re.findall(r"<th [^>]*columnheader[^>]*>([^<]*)", page)
    assert "round, s" in heads
    assert "score" not in heads  # no run was given
    assert "prefers-color-scheme: dark" in page
    assert not re.search(r"<(script|link|img)[^>]+(src|href)=.https?:", page)


def test_figures_of_large_models_are_written_out(monkeypatch: pytest.MonkeyPatch) -> None:
    cut = ModelCut(
        0, 0, feature_bytes=1, down_bytes=223_400.0, up_bytes=15_200.0, onboard_flops=99.6e9, ground_flops=247e9,
        onboard_bytes=1_013e6, adapter_bytes=3_410e3, round_s=4802.2,
    )  # fmt: skip
    monkeypatch.setattr("skysplit.commands.cuts.cuts_of", lambda *_, **__: [cut])
    table = RUNNER.invoke(app, ["cuts", "walker-12", *SMALL]).stdout
    figures = [word.strip() for word in table.splitlines()[-3].split("│")]
    assert figures[1:-1] == ["0+0", "223.4", "15.2", "100", "247", "1013", "3410", "4802.2"]


def test_a_run_that_another_version_has_recorded_is_refused_by_its_name(tmp_path: Path) -> None:
    run = {"format": 1, "state": "completed", "scenario": {"description": "", "tides": 1}}
    (tmp_path / "run.json").write_text(json.dumps(run))
    done = RUNNER.invoke(app, ["cuts", "walker-12", *SMALL, "--run", str(tmp_path)])
    assert done.exit_code == 1
    said = "".join(done.output.split())
    assert f"--run:found{tmp_path},whichanotherversionhasrecorded:" in said
    assert "tides:unknownkey" in said


def test_the_front_holds_the_cuts_that_no_other_is_better_than_in_both() -> None:
    rows = [
        {"round_s": s, "pixels_recovered": leak}
        for s, leak in ((10, 0.9), (12, 0.95), (11, 0.7), (30, 0.7), (20, 0.1))
    ]
    assert [row["round_s"] for row in pareto_front(rows, "pixels_recovered")] == [10, 11, 20]


@pytest.mark.parametrize(("key", "row"), [("onboard_blocks", 2), ("head_blocks", 5)])
def test_the_seconds_of_a_cut_are_those_of_its_plan(rows: list[dict[str, Any]], key: str, row: int) -> None:
    words = ["plan", "walker-12", *SMALL, "--set", f"split.{key}=2", "--format", "json"]
    planned = json.loads(RUNNER.invoke(app, words).stdout)
    assert rows[row]["round_s"] == planned["end_s"] - planned["start_s"]


SYNTHETIC = [
    word
    for setting in ("constellation.satellites=2", "horizon_h=6", "training.augment=none")
    for word in ("--set", setting)
]


def test_the_cut_is_chosen_under_a_limit_of_the_leak(leaks: list[dict[str, Any]]) -> None:
    """The fewest blocks behind which no more is recovered than allowed."""
    recovered = [row["pixels_recovered"] for row in leaks[:4]]
    assert recovered == sorted(recovered, reverse=True)
    assert recovered[0] > 0.98
    limit = (recovered[1] + recovered[2]) / 2
    done = RUNNER.invoke(
        app,
        [
            "plan",
            "walker-12",
            *SYNTHETIC,
            "--set",
            "split.onboard_blocks=auto",
            "--set",
            f"split.leak_limit={limit}",
        ],
    )
    assert done.exit_code == 0, done.output
    says = " ".join((done.output + done.stderr).split())
    assert "split.onboard_blocks = 2: the fewest blocks on board that keep split.leak_limit" in says


@pytest.fixture(scope="module")
def leaks() -> list[dict[str, Any]]:
    done = RUNNER.invoke(app, ["cuts", "walker-12", *SYNTHETIC, "--format", "json"])
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def test_the_cut_is_chosen_under_a_limit_of_the_round() -> None:
    """The most blocks with which a round is no longer than allowed: a slow computer on board decides."""
    keys = dict(word.split("=", 1) for word in SMALL[1::2]) | {"compute.satellite_tflops": 5e-6}
    slow = load_scenario("walker-12", keys)
    contacts = contact_plan_of(slow, constellation_of(slow))
    lengths_s = [cut.round_s for cut in cuts_of(slow, contacts, [(number, 0) for number in range(4)])]
    limit_s = (lengths_s[0] + lengths_s[3]) / 2
    expected = max(blocks for blocks, length_s in enumerate(lengths_s) if length_s <= limit_s)
    assert expected < 3
    limited = {"split.onboard_blocks": "auto", "split.round_limit_s": limit_s}
    cut = settled(load_scenario("walker-12", keys | limited), contacts)
    assert cut.scenario == load_scenario("walker-12", keys | {"split.onboard_blocks": expected})
    assert cut.reason["why"].startswith("the most blocks on board that keep split.round_limit_s")
    assert load_scenario("walker-12", keys | limited | cut.overrides) == cut.scenario
    with pytest.raises(
        ValueError, match='found "auto", and no cut keeps split.round_limit_s = 1: 0 on board takes'
    ):
        settled(load_scenario("walker-12", keys | limited | {"split.round_limit_s": 1.0}), contacts)


def test_a_run_records_the_chosen_cut_and_why_and_a_resumed_one_keeps_it(tmp_path: Path) -> None:
    reason = {"onboard_blocks": 2, "why": "the fewest blocks on board that keep split.leak_limit = 0.94"}
    asked = load_scenario("walker-12", {"split.onboard_blocks": "auto", "split.leak_limit": 0.94})
    cut = SettledCut(
        with_cut(asked, 2),
        {"split.onboard_blocks": 2, "split.leak_limit": 1.0, "split.round_limit_s": 0.0},
        reason=reason,
    )
    config = {
        "scenario": "walker-12", "out": str(tmp_path / "run"), "resume": "", "backbone-address": "127.0.0.1:0",
        "relay": "", "max-concurrency": 0, "cut": "", **cut.as_run_config,
    }  # fmt: skip
    with recorded_run(SimpleNamespace(run_config=config, run_id=1)) as run:
        run.record.note(phase="training")
    recorded = read_run(tmp_path / "run")
    assert recorded["cut"] == reason
    assert recorded["scenario"]["split"]["onboard_blocks"] == 2
    again = {**config, "cut": "", "resume": str(tmp_path / "run")}
    with recorded_run(SimpleNamespace(run_config=again, run_id=2)) as run:
        assert run.scenario == cut.scenario
    assert read_run(tmp_path / "run")["cut"] == reason


def test_a_cut_that_cannot_be_is_refused() -> None:
    for words, message in (
        (["plan", "walker-12", *SMALL, "--set", "split.onboard_blocks=4"], "split.onboard_blocks: found 4"),
        (
            ["plan", "walker-12", *SMALL, "--set", "split.onboard_blocks=2", "--set", "split.head_blocks=2"],
            "split.head_blocks: found 2, Galileo-Nano (S2-RGB, 64px p8) has 4 blocks, 2 of them in "
            "split.onboard_blocks; allowed: 0 to 1",
        ),
        (
            ["plan", "walker-12", "--set", "split.onboard_blocks=some"],
            "split.onboard_blocks: found 'some', allowed: a whole number from 0 to 1000, or \"auto\"",
        ),
        (
            ["plan", "walker-12", "--set", "split.onboard_blocks=auto"],
            'split.onboard_blocks: found "auto" without a limit; allowed with leak_limit below 1 or round_limit_s',
        ),
        (
            ["plan", "walker-12", "--set", "split.leak_limit=0.5"],
            'split.leak_limit: found 0.5 with onboard_blocks = 0; allowed with onboard_blocks = "auto"',
        ),
        (
            [
                "plan",
                "walker-12",
                *SMALL,
                "--set",
                "split.onboard_blocks=auto",
                "--set",
                "split.leak_limit=0.5",
            ],
            "split.leak_limit: found 0.5, and there are no weights or no images to measure the leak with",
        ),
        (
            ["plan", "walker-12", "--set", "training.labels=ground", "--set", "split.head_blocks=1"],
            'split.head_blocks: found 1 with training.labels = "ground", where nothing returns',
        ),
        (
            ["plan", "walker-12", "--set", "split.bottleneck=8", "--set", "split.head_blocks=1"],
            "split.bottleneck: found 8 with split.head_blocks = 1, whose blocks take whole tokens",
        ),
        (["cuts", "walker-12", *SMALL, "--run", "nowhere"], "--run: nowhere holds no run"),
        (["cuts", "walker-12", "--set", "training.mode=downlink"], "found 'downlink', which has no split"),
        (
            [
                "plan",
                "walker-12",
                *SMALL,
                "--set",
                "split.onboard_blocks=1",
                "--set",
                "training.augment=token-dihedral",
            ],
            'training.augment: found "token-dihedral" with split.onboard_blocks = 1',
        ),
        (
            [
                "plan",
                "walker-12",
                *SMALL,
                "--set",
                "split.onboard_blocks=auto",
                "--set",
                "split.round_limit_s=1000",
                "--set",
                "training.augment=token-dihedral",
            ],
            'training.augment: found "token-dihedral" with split.onboard_blocks = "auto"',
        ),
        (
            ["plan", "walker-12", "--set", "training.mode=downlink", "--set", "split.onboard_blocks=1"],
            "split.onboard_blocks: found 1 in mode downlink",
        ),
    ):
        done = RUNNER.invoke(app, words)
        assert done.exit_code == 1
        assert message in " ".join((done.output + done.stderr).split())
