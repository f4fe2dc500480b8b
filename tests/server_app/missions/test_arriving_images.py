"""Runs of satellites that take images as they fly: each round trains on what is on board when it begins."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from small_missions import SMALL, Mission, interrupted, resumed, rows_as_planned, same, trained

from mission.record import RunRecord, read_run
from mission.scenario import ScenarioError, load_scenario
from orbit.imaging.numbered_images import positions
from server_app.run import ServerRun
from server_app.server_app import fine_tune
from strategies.problem.network import PlanningError

ARRIVING = {
    "training.rounds": 3,
    "imaging.images_per_min": 2.0,
    "imaging.lowest_sun_deg": -90.0,
    "imaging.on_board": 3,
}
FEW = {"imaging.storage_gb": 3.0e-5, "planning.image_bytes": 5000.0}  # room for six images


def images_of(directory: Path) -> dict[tuple[str, int], int]:
    rows = pq.read_table(directory / "rounds.parquet").to_pylist()
    return {(row["satellite"], row["round"]): row["samples"] for row in rows}


def starts_of(directory: Path) -> dict[int, float]:
    rows = pq.read_table(directory / "rounds.parquet").to_pylist()
    return {row["round"]: row["start_s"] for row in rows}


@pytest.mark.parametrize("mode", ["lora", "head"])
def test_each_round_trains_on_the_images_that_are_on_board_when_it_begins(
    shared_run: Mission, mode: str
) -> None:
    directory = shared_run(ARRIVING | {"training.mode": mode})
    images, starts = images_of(directory), starts_of(directory)
    share = read_run(directory)["samples"]  # of the data, as the satellites enrolled with them
    assert sum(share.values()) == 64
    for (name, number), count in images.items():
        came = 3 + int(starts[number] / 60.0 * 2.0)  # day and night, two a minute
        assert count == min(share[name], came)
    assert len(set(images.values())) > 1


@pytest.mark.parametrize("mode", ["lora", "head"])
def test_an_interrupted_run_resumes_on_the_same_images_bit_for_bit(
    shared_run: Mission, grid_of: Callable[[int, int], Any], bare_run: None, tmp_path: Path, mode: str
) -> None:
    whole = shared_run(ARRIVING | {"training.mode": mode})
    killed = interrupted(whole, tmp_path / "killed", 3)
    resumed(grid_of(4, 4), killed)
    assert same(trained(whole), trained(killed))
    assert rows_as_planned(whole) == rows_as_planned(killed)
    assert images_of(whole) == images_of(killed)


def test_whoever_computes_at_once_the_same_seed_gives_the_same_run(fly: Mission, shared_run: Mission) -> None:
    alone, together = fly(ARRIVING, max_concurrency=1), shared_run(ARRIVING | {"training.mode": "lora"})
    assert same(trained(alone), trained(together))


def test_a_full_storage_keeps_the_newest_or_the_first_images(shared_run: Mission) -> None:
    newest, first = (
        shared_run(ARRIVING | FEW | {"training.mode": "lora", "imaging.drop": drop})
        for drop in ("oldest", "newest")
    )
    for directory in (newest, first):
        assert max(images_of(directory).values()) == 6
    assert not same(trained(newest), trained(first))


def test_images_come_in_the_order_of_the_data_and_again_from_its_first() -> None:
    assert positions((3, 2), 4).tolist() == [3, 0]
    with pytest.raises(ValueError, match="images: found 5 in a round, allowed: 4"):
        positions((0, 5), 4)


def test_a_satellite_without_an_image_when_round_1_begins_is_one_error(
    grid_of: Callable[[int, int], Any], bare_run: None, tmp_path: Path
) -> None:
    settings = SMALL | ARRIVING | {"imaging.on_board": 0, "imaging.images_per_min": 1e-3}
    record = RunRecord(tmp_path / "run", load_scenario("walker-12", settings), command="")
    with pytest.raises(
        PlanningError, match=r"imaging: \S+ has no image when the round begins, at \d+ s; allowed"
    ):
        fine_tune(grid_of(4, 4), ServerRun(record, "run-1"))


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"training.mode": "downlink"}, r"training\.mode: found downlink with \[imaging\]"),
        ({"training.labels": "ground"}, r"training\.labels: found ground with \[imaging\]"),
        (
            {"training.mode": "head", "strategy.planes_per_round": 1},
            r"planes_per_round: found 1 .*allowed: 0",
        ),
        ({"training.mode": "head", "training.head_rows": "by-class"}, r"head_rows: found by-class"),
    ],
)
def test_what_trains_on_all_images_is_refused_with_one_error(
    keys: dict[str, Any], message: str, tmp_path: Path
) -> None:
    record = RunRecord(tmp_path / "run", load_scenario("walker-12", SMALL | ARRIVING | keys), command="")
    with pytest.raises(ScenarioError, match=message):
        ServerRun(record, "run-1")
