"""Strategies of other packages: the example is installed, proven by the kit, planned, compared, run and emulated."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import sysconfig
import types
from collections.abc import Iterator, Sequence
from importlib.metadata import EntryPoint
from pathlib import Path

import numpy as np
import pytest
from installed_example import EXAMPLE, install
from synthetic_worlds import WORLD, make_workload
from typer.testing import CliRunner

from mission import entry_points as named
from mission.scenario import ScenarioError, load_scenario
from skysplit.cli import app
from strategies.analysis.cases import standard_cases
from strategies.beam_scheduling import FirstContact, Moment, SpaceGroundStrategy
from strategies.checker.check import check_plan
from strategies.drawn_worlds import make_problem
from strategies.inter_orbit import InterOrbitStrategy, Sighting
from strategies.intra_orbit import IntraOrbitStrategy, PlaneLinks
from strategies.planner.round_planner import plan_round
from strategies.problem.workload import Mode, StrategyConfig, WorkloadError
from strategies.registry import StrategyError
from strategies.testing import check_strategies

PAGE = Path(__file__).parents[2] / "docs" / "how-to-own-strategy.md"
SMALL = [
    word
    for setting in (
        "constellation.satellites=12", "constellation.planes=2", "constellation.altitude_km=1150", "horizon_h=12",
        "planning.samples=64", "training.rounds=1",
    )
    for word in ("--set", setting)
]  # fmt: skip
ONE_SATELLITE = [
    word
    for setting in (
        "constellation.satellites=1", "constellation.planes=1", "constellation.phasing=0",
        "data.train_samples=16", "data.test_samples=20", "data.alpha=5",
        "training.rounds=1", "strategy.space_ground=most-need",
    )
    for word in ("--set", setting)
]  # fmt: skip


@pytest.fixture
def example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder in which the example package is installed."""
    folder = install(tmp_path / "site")
    monkeypatch.syspath_prepend(str(folder))
    yield folder
    sys.modules.pop("most_need", None)


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """A module whose classes other names may be registered for: ``theirs.register(group, name, value)``."""
    theirs, points = types.ModuleType("theirs"), []

    def entry_points(group: str) -> list[EntryPoint]:
        return [point for point in points if point.group == group]

    monkeypatch.setitem(sys.modules, "theirs", theirs)
    monkeypatch.setattr(named, "entry_points", entry_points)
    theirs.register = lambda group, name, value: points.append(EntryPoint(name, value, group))  # type: ignore[attr-defined]
    return theirs


class Reversed(SpaceGroundStrategy):
    """The pass that began last; asked every 20 s, it drops what it held."""

    every_s = 20.0

    def choose(self, moment: Moment) -> Sequence[int]:
        return moment.open[::-1]


class Silent(SpaceGroundStrategy):
    def choose(self, moment: Moment) -> Sequence[int]:
        return []


class Careless(SpaceGroundStrategy):
    def choose(self, moment: Moment) -> Sequence[int]:
        return [len(moment.passes)]


class Broken(SpaceGroundStrategy):
    def choose(self, moment: Moment) -> Sequence[int]:
        return [moment.nothing_of_the_kind]  # type: ignore[attr-defined]


class Restless(SpaceGroundStrategy):
    """Another order each time, whatever it sees."""

    drawn = np.random.default_rng(0)

    def choose(self, moment: Moment) -> Sequence[int]:
        return self.drawn.permutation(moment.open)


class LastsLongest(InterOrbitStrategy):
    def choose(self, sighting: Sighting) -> Sequence[int]:
        return sighting.open[np.argsort(-sighting.left_s(), kind="stable")]


class AlwaysRound(IntraOrbitStrategy):
    def goes_round(self, plane: PlaneLinks, payload_bytes: float) -> bool:
        return True


class WholePayloads(IntraOrbitStrategy):
    stores_whole = True

    def goes_round(self, plane: PlaneLinks, payload_bytes: float) -> bool:
        return True


class Incomplete(SpaceGroundStrategy):
    pass


def test_the_page_shows_the_example_as_it_is_and_it_has_thirty_lines_at_most() -> None:
    text = (EXAMPLE / "most_need.py").read_text(encoding="utf-8")
    assert f"```python\n{text}```" in PAGE.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 30
    entry = '[project.entry-points."skysplit.space_ground"]\nmost-need = "most_need:MostNeed"\n'
    assert entry in (EXAMPLE / "pyproject.toml").read_text(encoding="utf-8")
    assert entry in PAGE.read_text(encoding="utf-8")


def test_the_example_passes_the_kit(example: Path) -> None:
    proof = check_strategies(space_ground="most-need", worlds=2)
    assert proof.followed == proof.worlds
    assert re.match(r"2 rounds and the rests of \d planned, checked and above their bounds", str(proof))


def test_a_plan_follows_the_installed_example_and_stands_beside_its_bound(example: Path) -> None:
    done = CliRunner().invoke(
        app, ["plan", "paper", *SMALL, "--set", "strategy.space_ground=most-need", "--format", "json"]
    )
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["space_ground"] == "most-need"
    assert 0 < found["lower_bound_s"] <= found["makespan_s"]


def test_a_comparison_has_a_case_for_every_strategy_that_is_installed(
    example: Path, registered: types.ModuleType
) -> None:
    theirs = registered
    theirs.MostNeed, theirs.LastsLongest, theirs.AlwaysRound = FirstContact, LastsLongest, AlwaysRound
    for group, name, value in (
        (named.SPACE_GROUND, "most-need", "theirs:MostNeed"),
        (named.INTER_ORBIT, "lasts-longest", "theirs:LastsLongest"),
        (named.INTRA_ORBIT, "always-round", "theirs:AlwaysRound"),
    ):
        theirs.register(group, name, value)
    cases = standard_cases(lambda how: (make_workload(6, mode=how.mode),))
    found = {case.name: (case.strategy_config, case.title) for case in cases}
    assert found["split-most-need"] == (
        StrategyConfig("parallel", "most-need", inter_orbit="min-latency"),
        "split, most-need instead of topology-aware",
    )
    assert found["split-lasts-longest"][0].inter_orbit == "lasts-longest"
    assert found["split-always-round"][0].intra_orbit == "always-round"


@pytest.mark.parametrize("intra", ["parallel", "always-round", "whole-payloads"])
@pytest.mark.parametrize("mode", [Mode.LORA, Mode.ONBOARD_LORA])
def test_strategies_of_all_three_doors_give_plans_that_the_checker_accepts(
    registered: types.ModuleType, intra: str, mode: Mode
) -> None:
    registered.Reversed, registered.LastsLongest = Reversed, LastsLongest
    registered.AlwaysRound, registered.WholePayloads = AlwaysRound, WholePayloads
    registered.register(named.SPACE_GROUND, "reversed", "theirs:Reversed")
    registered.register(named.INTER_ORBIT, "lasts-longest", "theirs:LastsLongest")
    registered.register(named.INTRA_ORBIT, "always-round", "theirs:AlwaysRound")
    registered.register(named.INTRA_ORBIT, "whole-payloads", "theirs:WholePayloads")
    inter = "none" if mode is Mode.ONBOARD_LORA else "lasts-longest"  # planes sum by themselves
    strategy_config = StrategyConfig.parse(intra, "reversed", inter)
    workload = make_workload(6, mode=mode)
    plan = plan_round(make_problem(WORLD, workload), strategy_config)
    assert check_plan(plan, make_problem(WORLD, workload)) == []
    assert plan.strategy_config.intra_orbit == intra
    assert plan.strategy_config.space_ground == "reversed"
    assert plan.makespan_s >= plan.lower_bound_s


def test_own_windows_never_stand_in_for_a_scheduler_of_another_package(registered: types.ModuleType) -> None:
    registered.Reversed = Reversed
    registered.register(named.SPACE_GROUND, "reversed", "theirs:Reversed")
    contained = StrategyConfig.parse("parallel", "reversed", "grid").contained()
    assert [tuple(vars(strategy_config).values())[:3] for strategy_config in contained] == [
        ("parallel", "reversed", "grid"),
        ("parallel", "reversed", "none"),
        ("none", "reversed", "none"),
    ]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("Silent", "not all gets through, though contacts suffice"),
        ("Restless", "planned again, it is another plan"),
    ],
)
def test_the_kit_finds_a_strategy_that_is_wrong(
    registered: types.ModuleType, value: str, message: str
) -> None:
    registered.Silent, registered.Restless = Silent, Restless
    registered.register(named.SPACE_GROUND, "wrong", f"theirs:{value}")
    with pytest.raises(AssertionError, match=message):
        check_strategies(space_ground="wrong", worlds=1, seed=5)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (
            "theirs:Careless",
            r"'mine': chose \d+ at 0\.0 s; allowed: indices of moment\.open and moment\.held",
        ),
        ("theirs:Broken", r"'mine': failed at 0\.0 s: AttributeError: .*nothing_of_the_kind"),
        ("no_such_module:X", "no_such_module:X cannot be imported: ModuleNotFoundError"),
        ("json:dumps", "json:dumps is a function; allowed: a subclass of strategies"),
        ("theirs:LastsLongest", "theirs:LastsLongest is a class LastsLongest; allowed: a subclass of"),
        ("theirs:Incomplete", "theirs:Incomplete lacks choose"),
    ],
)
def test_what_breaks_the_rules_is_one_error_that_names_the_strategy(
    registered: types.ModuleType, value: str, message: str
) -> None:
    registered.Careless, registered.Broken = Careless, Broken
    registered.LastsLongest, registered.Incomplete = LastsLongest, Incomplete
    registered.register(named.SPACE_GROUND, "mine", value)
    strategy_config = StrategyConfig.parse("parallel", "mine", "none")
    with pytest.raises(StrategyError, match=message):
        plan_round(make_problem(WORLD, make_workload(6)), strategy_config)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["nearest"], "theirs:Reversed is called 'nearest', as one of ours is; allowed: another name"),
        (
            ["mine", "mine"],
            "theirs:Reversed and theirs:Silent are both called 'mine'; allowed: different names",
        ),
    ],
)
def test_a_name_that_is_taken_is_refused(
    registered: types.ModuleType, names: list[str], message: str
) -> None:
    registered.Reversed, registered.Silent = Reversed, Silent
    for name, value in zip(names, ("Reversed", "Silent"), strict=False):
        registered.register(named.SPACE_GROUND, name, f"theirs:{value}")
    with pytest.raises(StrategyError, match=message):
        standard_cases(lambda how: (make_workload(6, mode=how.mode),))


def test_an_unknown_name_is_one_error_that_lists_what_is_allowed(registered: types.ModuleType) -> None:
    registered.register(named.SPACE_GROUND, "mine", "theirs:Reversed")
    allowed = "own-window, first-contact, nearest, longest-window, topology-aware, mine"
    with pytest.raises(ScenarioError, match=rf"strategy\.space_ground: found 'yours', allowed: {allowed}"):
        load_scenario("demo", {"strategy.space_ground": "yours"})
    with pytest.raises(WorkloadError, match=rf"space-ground: found 'yours', allowed: {allowed}"):
        StrategyConfig.parse("parallel", "yours", "none")
    assert load_scenario("demo", {"strategy.space_ground": "mine"}).strategy.space_ground == "mine"


@pytest.mark.flower
@pytest.mark.slow
def test_the_installed_example_plans_the_rounds_of_an_emulation(tmp_path: Path) -> None:
    """And those of a run, which is not slow: see `tests/skysplit/launch/test_flower_run.py`."""
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(
            [str(install(tmp_path / "site")), *filter(None, [os.environ.get("PYTHONPATH")])]
        )
    }
    done = subprocess.run(
        [
            f"{sysconfig.get_path('scripts')}/skysplit", "emulate", "walker-12",
            *ONE_SATELLITE, "--out", str(tmp_path / "run"),
        ],
        env=environment, capture_output=True, text=True, timeout=1200, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    run = json.loads((tmp_path / "run" / "run.json").read_text(encoding="utf-8"))
    assert run["state"] == "completed"
    assert run["scenario"]["strategy"]["space_ground"] == "most-need"
