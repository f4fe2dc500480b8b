"""Parts of other packages: the example is installed, proven by the kit, and used where a scenario names it."""

from __future__ import annotations

import csv
import re
import shutil
import sys
import types
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord
from installed_example import install
from typer.testing import CliRunner

from learning.imagery import imagery_of
from mission import entry_points as named
from mission.orbits import constellation_of, contact_plan_of
from mission.scenario import ScenarioError, load_scenario
from orbit.contact_plan import LinkKind
from orbit.contact_plan_builder import PASS_SAMPLES
from report.totals import by_round, read_rounds
from report.trackers import TrackedRun, Tracker
from skysplit.cli import app
from skysplit.imagery_check import check_imagery
from skysplit.testing import (
    check_aggregation_rule,
    check_codec,
    check_head,
    check_imagery_source,
    check_link_model,
)
from splitmodel.crossing.codec import registered_codec
from splitmodel.imagery import ImageryError, ImageSource, Raster, classes
from strategies.aggregation.averages import AggregationError
from strategies.aggregation.rule import AggregationRule
from strategies.aggregation.server_optimizer import ServerOptimizer

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "own-parts"
PAGE = ROOT / "docs" / "how-to-own-parts.md"
SMALL = {
    "constellation.satellites": 2,
    "constellation.planes": 1,
    "constellation.phasing": 0,
    "horizon_h": 6.0,
}


@pytest.fixture
def example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    folder = install(tmp_path / "site", EXAMPLE)
    monkeypatch.syspath_prepend(str(folder))
    yield folder
    for module in ("own_parts", "own_codec", "own_head", "own_planner", "own_trackers"):
        sys.modules.pop(module, None)
    registered_codec.cache_clear()


@pytest.fixture
def register(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, Any], None]:
    """Register an object as ``mine`` under a group."""
    theirs, points = types.ModuleType("theirs"), []

    def register(group: str, value: Any) -> None:
        theirs.part = value  # type: ignore[attr-defined]
        points.append(EntryPoint("mine", "theirs:part", group))

    monkeypatch.setitem(sys.modules, "theirs", theirs)
    monkeypatch.setattr(named, "entry_points", lambda group: [p for p in points if p.group == group])
    return register


def source(
    count: int = 40, subsets: Any = None, values: Callable[[int], Any] = lambda index: index
) -> ImageSource:
    return ImageSource(
        where="mine",
        decode=lambda index: Raster(np.full((8, 8, 3), values(index), np.uint8), ("red", "green", "blue")),
        name=str,
        targets=classes(np.arange(40) % 2, ("a", "b")),
        subsets=[None] * count if subsets is None else subsets,
    )


def test_the_page_shows_the_example_as_it_is() -> None:
    page = PAGE.read_text(encoding="utf-8")
    code = "".join(path.read_text(encoding="utf-8") for path in sorted(EXAMPLE.glob("*.py")))
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert len(blocks) == 9
    assert [block for block in blocks[:-1] if block not in code] == []
    declared = (EXAMPLE / "pyproject.toml").read_text(encoding="utf-8")
    assert re.findall(r"```toml\n(.*?)```", page, re.DOTALL)[0] in declared


def test_the_kit_accepts_the_example(example: Path) -> None:
    check_imagery_source("checkerboards")
    check_link_model("adaptive")
    check_aggregation_rule("clipped")
    assert 0.01 < check_codec("six-bit") < 0.05
    check_head("two-layers")


def test_images_of_another_package_are_divided_capped_and_fit_the_model(example: Path) -> None:
    scenario = load_scenario("demo", {"data.source": "checkerboards", "data.train_samples": 60})
    imagery = imagery_of(scenario.data, scenario.seed)
    assert (len(imagery.train), len(imagery.test)) == (60, 90)
    assert imagery.train.classes == ("4 pixels", "8 pixels", "16 pixels")
    check_imagery(scenario)


def test_a_pass_has_the_mean_of_a_link_models_rates_over_it(register: Callable[[str, Any], None]) -> None:
    seen: list[np.ndarray] = []

    def by_range(range_km: np.ndarray, elevation_deg: np.ndarray) -> np.ndarray:
        seen.append(range_km)
        return 1e11 / range_km

    register(named.LINKS, by_range)
    scenario = load_scenario("demo", SMALL | {"links.sgl.down_model": "mine"})
    plan = contact_plan_of(scenario, constellation_of(scenario))
    down, up = plan.of_kind(LinkKind.DOWNLINK), plan.of_kind(LinkKind.UPLINK)
    ranges_km = np.concatenate(seen)
    assert ranges_km.shape == (len(down), PASS_SAMPLES)
    assert sorted(down["rate_bps"]) == pytest.approx(sorted((1e11 / ranges_km).mean(axis=1)))
    assert set(up["rate_bps"]) == {scenario.links.sgl.up_mbps * 1e6}
    contact_plan_of(scenario, constellation_of(scenario))
    assert len(seen) == 2  # its code may have changed, so the plan is computed again


def test_a_rule_makes_the_next_weights_and_is_resumed_bit_for_bit(
    register: Callable[[str, Any], None],
) -> None:
    class Momentum(AggregationRule):
        def __init__(self, learning_rate: float) -> None:
            super().__init__(learning_rate)
            self.speed: dict[str, Any] = {}

        def step(self, round_number: int, sent: Any, mean: Any) -> Any:
            change = {key: self.learning_rate * (mean[key] - sent[key]) for key in mean}
            self.speed = {key: 0.5 * self.speed.get(key, 0.0) + change[key] for key in mean}
            return {key: sent[key] + self.speed[key] for key in mean}

        def state(self) -> Any:
            return self.speed

        def load_state(self, state: Any) -> None:
            self.speed = dict(state)

    register(named.AGGREGATION, Momentum)
    assert load_scenario("demo", {"training.mode": "head", "training.server_optimizer": "mine"})
    rule, arrays = ServerOptimizer("mine", 2.0), ArrayRecord({"head": Array(np.zeros(2, np.float32))})
    for number, mean in enumerate(([1.0, 2.0], [2.0, 4.0]), 1):
        arrays = rule.step(number, arrays, ArrayRecord({"head": Array(np.array(mean, np.float32))}))
    # Round 1 moves by 2 · (1, 2), round 2 by half of that and 2 · ((2, 4) − (2, 4)).
    assert arrays["head"].numpy().tolist() == [3.0, 6.0]
    assert arrays["head"].numpy().dtype == np.float32
    check_aggregation_rule("mine")


def test_the_kit_finds_parts_that_are_wrong(register: Callable[[str, Any], None]) -> None:
    class Forgetful(AggregationRule):
        steps = 0

        def step(self, round_number: int, sent: Any, mean: Any) -> Any:
            self.steps += 1
            return {key: value / self.steps for key, value in mean.items()}

    register(named.AGGREGATION, Forgetful)
    with pytest.raises(AssertionError, match="resumed in the middle, it ends with other weights"):
        check_aggregation_rule("mine")
    drawn = np.random.default_rng(0)
    register(named.IMAGERY, lambda path, seed: source(values=lambda index: drawn.integers(0, 255)))
    sys.modules["theirs"].part = lambda path, seed: source(values=lambda index: drawn.integers(0, 255))  # type: ignore[attr-defined]
    with pytest.raises(AssertionError, match=r"train: image \d+, decoded again, differs"):
        check_imagery_source("mine")


@pytest.mark.parametrize(
    ("part", "message"),
    [
        (lambda path, seed: 1 / 0, r"data\.source 'mine': failed: ZeroDivisionError"),
        (lambda path, seed: [1], r"returned a list; allowed: a splitmodel\.imagery\.ImageSource"),
        (lambda path, seed: source(39), r"gave 40 labels, 39 subsets; allowed: one of each for every image"),
        (
            lambda path, seed: source(subsets=["training"] * 40),
            r"found the subset 'training'; allowed: train, val",
        ),
        (lambda path, seed: source(subsets=["train"] * 40), r"mine: holds no test image"),
    ],
)
def test_imagery_that_cannot_be_used_is_one_error(
    register: Callable[[str, Any], None], part: Any, message: str
) -> None:
    register(named.IMAGERY, part)
    with pytest.raises(ImageryError, match=message):
        imagery_of(load_scenario("demo", {"data.source": "mine"}).data, 0)


@pytest.mark.parametrize(
    ("part", "message"),
    [
        (lambda range_km, elevation_deg: range_km.nothing, "link model 'mine': failed: AttributeError"),
        (lambda range_km, elevation_deg: 1e6, r"gave rates of shape \(\); allowed: \(\d+, 24\)"),
        (
            lambda range_km, elevation_deg: -range_km,
            r"gave -\d+\S* bit/s at \d+ km, .*°; allowed: finite rates",
        ),
        ("text", "theirs:part is a str; allowed: a function"),
    ],
)
def test_a_link_model_that_cannot_be_used_is_one_error(
    register: Callable[[str, Any], None], part: Any, message: str
) -> None:
    register(named.LINKS, part)
    scenario = load_scenario("demo", SMALL | {"links.sgl.up_model": "mine"})
    with pytest.raises(ScenarioError, match=message):
        contact_plan_of(scenario, constellation_of(scenario))


def test_a_link_model_beside_a_budget_is_one_error(register: Callable[[str, Any], None]) -> None:
    register(named.LINKS, len)
    with pytest.raises(
        ScenarioError, match=r'down_model: found "mine" beside down_budget\.enabled, allowed is one'
    ):
        load_scenario("demo", {"links.sgl.down_model": "mine", "links.sgl.down_budget.enabled": True})


class _Wrong(AggregationRule):
    answer: Any = None

    def step(self, round_number: int, sent: Any, mean: Any) -> Any:
        return self.answer


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ({}, "gave weights called ; allowed: head"),
        ({"head": np.zeros(3)}, r"gave head in shape \(3,\); allowed: finite values in shape \(2,\)"),
        ({"head": np.array([0.0, np.nan])}, r"gave head in shape \(2,\), not all of it finite"),
        (7, "failed when asked in round 1: TypeError"),
    ],
)
def test_a_rule_that_gives_what_are_no_weights_is_one_error(
    register: Callable[[str, Any], None], answer: Any, message: str
) -> None:
    register(named.AGGREGATION, type("Wrong", (_Wrong,), {"answer": answer}))
    zeros = ArrayRecord({"head": Array(np.zeros(2, np.float32))})
    with pytest.raises(AggregationError, match=rf"training\.server_optimizer 'mine': {message}"):
        ServerOptimizer("mine", 0.1).step(1, zeros, zeros)


def test_a_rule_that_cannot_be_used_ends_a_run_before_it_begins(register: Callable[[str, Any], None]) -> None:
    register(named.AGGREGATION, ServerOptimizer)
    words = ["run", "demo", "--set", "training.mode=head", "--set", "training.server_optimizer=mine"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 1
    assert "theirs:part is a class ServerOptimizer; allowed: a subclass of" in " ".join(done.output.split())


def test_an_unknown_part_is_one_error_that_lists_what_is_allowed() -> None:
    for key, allowed in (
        ("data.source", "synthetic, synthetic-clouds, eurosat, parquet, folder, or a name"),
        ("links.sgl.down_model", "given, or a name"),
        ("training.server_optimizer", "fedavg, fedavgm, fedadam, fedyogi, fedadagrad, or a name"),
    ):
        with pytest.raises(ScenarioError, match=rf"{re.escape(key)}: found 'yours', allowed: {allowed}"):
            load_scenario("demo", {"training.mode": "head", key: "yours"})


def test_a_run_is_tracked_by_the_example(example: Path, simulated_run: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(simulated_run, run)
    done = CliRunner().invoke(app, ["track", str(run), "--tracker", "csv"])
    assert done.output.strip() == str(run / "rounds.csv")
    with (run / "rounds.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    found = [(int(row["round"]), float(row["value"])) for row in rows if row["figure"] == "bytes/isl"]
    assert found == [(row["round"], row["isl_bytes"]) for row in by_round(read_rounds(run)).to_pylist()]


def test_weights_and_biases_keeps_a_run_offline(example: Path, simulated_run: Path, tmp_path: Path) -> None:
    pytest.importorskip("wandb", reason="wandb is not installed")
    run = tmp_path / "run"
    shutil.copytree(simulated_run, run)
    done = CliRunner().invoke(app, ["track", str(run), "--tracker", "wandb"])
    assert done.exit_code == 0, done.output
    assert list((run / "wandb").glob("offline-run-*/run-*.wandb"))


def test_a_tracker_that_fails_or_is_none_is_one_error(
    register: Callable[[str, Any], None], simulated_run: Path
) -> None:
    class Failing(Tracker):
        def begin(self, run: TrackedRun) -> None:
            raise OSError("no room")

        def log(self, round_number: int, utc_s: float, figures: Any) -> None: ...

        def end(self) -> str:
            return ""

    register(named.TRACKERS, Failing)
    for name, message in (
        ("mine", "--tracker mine: .*Failing: failed: OSError: no room"),
        (
            "yours",
            r"--tracker: entry point skysplit\.trackers: found none called 'yours', allowed: tensorboard, mine",
        ),
    ):
        done = CliRunner().invoke(app, ["track", str(simulated_run), "--tracker", name])
        assert done.exit_code == 1
        assert re.search(message, " ".join(done.output.split())), done.output
