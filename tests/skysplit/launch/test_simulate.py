"""What `skysplit run` tells Flower of the machine, and that it starts Flower again where Ray does not start."""

import contextlib
import json
import os
from pathlib import Path
from typing import Any

import pytest

from mission.scenario import load_scenario
from skysplit.launch import simulate
from skysplit.launch.flower_run import RayNotStarted


@pytest.fixture
def arguments_of(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """`arguments_of(max_concurrency)`: what Flower is told for the demo, whose twelve satellites fit into memory."""
    monkeypatch.setattr(simulate, "start_superlink", lambda processes, *words: None)
    monkeypatch.setattr(os, "cpu_count", lambda: 4)

    def run(max_concurrency: int | None) -> tuple[int, list[str]]:
        asked = []

        def run_app(link, config, directory, on_progress, *words):
            asked.append((config["max-concurrency"], words[-1].split()))
            return {"result": {}}

        monkeypatch.setattr(simulate, "run_app", run_app)
        simulate.simulate(load_scenario("demo"), {}, tmp_path, max_concurrency, lambda _: None)
        [found] = asked
        return found

    return run


def test_flower_gets_a_core_for_each_satellite_that_computes_at_once(arguments_of, monkeypatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    assert arguments_of(3) == (
        3,
        ["num-supernodes=12", "client-resources-num-cpus=1", "init-args-num-cpus=3"],
    )


def test_a_cluster_that_runs_already_keeps_the_cores_that_it_has(arguments_of, monkeypatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:6379")
    assert arguments_of(8) == (8, ["num-supernodes=12", "client-resources-num-cpus=1"])


def test_more_at_once_than_flower_serves_is_an_error_before_anything_starts(arguments_of) -> None:
    with pytest.raises(ValueError, match="found 9, allowed is 1 to 8"):
        arguments_of(9)
    with pytest.raises(ValueError, match="found 0, allowed is 1 to 8"):
        arguments_of(0)


BEFORE_ROUNDS = {"state": "running", "phase": "asking the satellites for their data"}
IN_ROUNDS = {"state": "running", "phase": "training", "start_up_s": 20.0}


@pytest.mark.parametrize(
    ("failures", "recorded", "starts"),
    [(2, None, 3), (3, None, 3), (2, BEFORE_ROUNDS, 3), (1, IN_ROUNDS, 1)],
)
def test_ray_that_did_not_start_is_started_again_unless_rounds_had_begun(
    monkeypatch, tmp_path: Path, failures: int, recorded: dict[str, Any] | None, starts: int
) -> None:
    monkeypatch.setattr(simulate, "start_superlink", lambda processes, *words: None)
    begun, phases = [], []

    def run_app(*_):
        begun.append(len(begun))
        if len(begun) <= failures:
            assert not (tmp_path / "run.json").exists()  # which no new run would overwrite
            if recorded:
                (tmp_path / "run.json").write_text(json.dumps(recorded))
            raise RayNotStarted("Ray's raylet ended before the run did")
        return {"result": {"rounds": 1}}

    monkeypatch.setattr(simulate, "run_app", run_app)
    ends_well = failures < 3 and recorded is not IN_ROUNDS
    with contextlib.nullcontext() if ends_well else pytest.raises(RayNotStarted):
        result = simulate.simulate(
            load_scenario("demo"), {}, tmp_path, 2, lambda run: phases.append(run["phase"])
        )
        assert result == {"rounds": 1}
    assert len(begun) == starts
    assert sum("again" in phase for phase in phases) == starts - 1


@pytest.mark.parametrize(
    ("rounds", "epochs", "is_short"), [(5, 2, True), (10, 1, True), (11, 1, False), (4, 3, False)]
)
def test_a_short_run_starts_no_more_processes_than_there_are_cores(
    monkeypatch: pytest.MonkeyPatch, rounds: int, epochs: int, is_short: bool
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    monkeypatch.setattr(os, "sysconf", lambda name: 4096 if name == "SC_PAGE_SIZE" else 64 << 20)
    scenario = load_scenario("demo", {"training.rounds": rounds, "training.local_epochs": epochs})
    assert simulate._chosen_concurrency(scenario) == (4 if is_short else 8)


def test_little_memory_limits_a_short_run_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 16)
    monkeypatch.setattr(
        os, "sysconf", lambda name: 4096 if name == "SC_PAGE_SIZE" else int(5.5 * 700e6 * 2 / 4096)
    )
    assert simulate._chosen_concurrency(load_scenario("demo", {"training.rounds": 1})) == 5
