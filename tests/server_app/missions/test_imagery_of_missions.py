"""Missions over imagery that is no 8-bit RGB: bands, depth, no-data, sensors, sizes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import tifffile
from small_missions import Mission, interrupted, random_vit, resumed, same, trained

from mission.record import read_run
from splitmodel.imagery import ImageryError
from splitmodel.tasks import TaskError
from strategies.enrolment import FederationError

COUNT, HOLE = 60, -9999
MISSION = {
    "constellation.satellites": 4,
    "data.source": "folder",
    "data.partition": "iid",
    "data.train_samples": 0,
    "data.test_samples": 0,
    "training.mode": "head",
    "training.rounds": 1,
    "training.batch_size": 8,
    "training.augment": "none",
}
SENSORS = {"S2": "BGRNSW", "L7": "WSNRGBP"}


@pytest.fixture(scope="module")
def six_bands(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_vit(tmp_path_factory.mktemp("six-bands"), bands=6, image=16, patch=8)


def tile(kind: int, rng: np.random.Generator, size: int = 16) -> dict[str, np.ndarray]:
    """Two classes of ground by band."""
    level = {"B": 400, "G": 700, "R": 500, "N": [900, 2900][kind], "S": [2500, 800][kind], "W": 600, "P": 550}
    return {band: rng.normal(mean, 120, (size, size)).clip(1, 9000) for band, mean in level.items()}


@pytest.fixture(scope="module")
def tiles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """SENSOR/CLASS/IMAGE: int16 reflectance of two sensors, a corner not measured."""
    root, rng = tmp_path_factory.mktemp("tiles"), np.random.default_rng(0)
    for sensor, order in SENSORS.items():
        for i in range(COUNT // 2):
            path = root / sensor / ("wood", "sand")[i % 2] / f"{i:02}.tif"
            path.parent.mkdir(parents=True, exist_ok=True)
            bands = tile(i % 2, rng)
            values = np.stack([bands[name] for name in order], -1).astype(np.int16)
            values[:2, :3] = HOLE
            tifffile.imwrite(path, values, planarconfig="contig", photometric="minisblack")
    return root


def over(root: Path, model: Path) -> dict[str, object]:
    return MISSION | {
        "data.path": str(root),
        "model.path": str(model),
        "data.sensor_column": "folder1",
        "data.sensor_bands": tuple(f"{name} = {', '.join(order)}" for name, order in SENSORS.items()),
        "data.bands": tuple("BGRNSW"),
        "data.no_data": (float(HOLE),),
        "data.statistics": "computed",
    }


def test_satellites_compute_statistics_of_all_bands_together_and_train_on_them(
    fly: Mission, tiles: Path, six_bands: Path
) -> None:
    directory = fly(over(tiles, six_bands) | {"data.partition": "sensor"})
    run = read_run(directory)
    found = run["band_statistics"]
    assert found["bands"] == list("BGRNSW")
    names = np.array(["S2"] * 30 + ["L7"] * 30)
    files = sorted(tiles.glob("*/*/*.tif"))
    order = np.random.default_rng([run["scenario"]["seed"], COUNT]).permutation(COUNT)
    train = [files[row] for row in order[COUNT // 5 :]]
    pixels = []
    for file in train:
        sensor = file.parts[-3]
        values = tifffile.imread(file)[..., [SENSORS[sensor].index(band) for band in "BGRNSW"]]
        pixels.append(values[(values != HOLE).all(-1)])
    everything = np.concatenate(pixels).astype(np.float64)
    assert found["values"] == [len(everything)] * 6
    np.testing.assert_allclose(found["mean"], everything.mean(0), rtol=1e-12)
    np.testing.assert_allclose(found["deviation"], everything.std(0), rtol=1e-12)
    assert list(run["no_data"].values()) == pytest.approx([6 / 256] * 4)
    assert sum(run["samples"].values()) == len(train) < len(names)
    assert run["result"]["test_accuracy"] > 0.9
    card = (directory / "final" / "README.md").read_text()
    assert str(found["mean"][0])[:8] in card  # the exported model says how its pixels are normalised


def test_raw_images_of_any_depth_and_size_cross_to_the_ground(
    fly: Mission, six_bands: Path, tmp_path: Path
) -> None:
    rng = np.random.default_rng(1)
    for i in range(40):
        path = tmp_path / "tiles" / ("wood", "sand")[i % 2] / f"{i:02}.tif"
        path.parent.mkdir(parents=True, exist_ok=True)
        bands = tile(i % 2, rng, size=16 + 4 * (i % 3))
        values = np.stack([bands[name] for name in "BGRNSW"], -1).astype(np.uint16)
        tifffile.imwrite(path, values, planarconfig="contig", photometric="minisblack")
    mission = MISSION | {
        "training.mode": "downlink",
        "data.path": str(tmp_path / "tiles"),
        "model.path": str(six_bands),
        "data.statistics": "computed",
        "training.rounds": 2,
    }
    directory = fly(mission)
    files = sorted((tmp_path / "tiles").glob("*/*.tif"))
    seed = read_run(directory)["scenario"]["seed"]
    train = [files[row] for row in np.random.default_rng([seed, 40]).permutation(40)[8:]]
    raw = sum(tifffile.imread(file).nbytes + 8 for file in train)
    rows = pq.read_table(directory / "rounds.parquet").to_pylist()
    sent = sum(row["split_up_bytes"] for row in rows if row["round"] == 1)
    assert raw < sent < 1.1 * raw  # with a header each


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        ({"data.bands": ("B", "G", "R")}, "data.bands picks 3 bands, the model takes 6"),
        ({"data.statistics": "model"}, "found int16 values, but mean and deviation of this model"),
        ({"data.sensor_bands": ("S2 = B, G, R, N, S, W",)}, "its sensor 'L7' is not among data.sensor_bands"),
    ],
)
def test_imagery_that_does_not_fit_the_model_ends_a_run_before_any_round(
    fly: Mission, tiles: Path, six_bands: Path, overrides: dict[str, object], says: str
) -> None:
    with pytest.raises((ImageryError, FederationError), match=says):
        fly(over(tiles, six_bands) | overrides)


def test_masks_whose_classes_nobody_names_end_a_run_with_one_sentence(
    fly: Mission, shared_data: Path, six_bands: Path
) -> None:
    with pytest.raises(TaskError, match=r"task\.classes: found \[\], but .* has segmentation masks; allowed"):
        fly(MISSION | {"data.path": str(shared_data / "clouds-3sensors"), "model.path": str(six_bands)})


def test_a_resumed_run_goes_on_with_the_statistics_that_it_began_with(
    fly: Mission, grid_of: Callable[[int, int], Any], tiles: Path, six_bands: Path, tmp_path: Path
) -> None:
    whole = fly(over(tiles, six_bands) | {"training.rounds": 2, "constellation.satellites": 2})
    killed = interrupted(whole, tmp_path / "killed", 2)
    grid = grid_of(2, 2)
    resumed(grid, killed)
    assert read_run(killed)["band_statistics"] == read_run(whole)["band_statistics"]
    assert not any(question.endswith("statistics") for _, question in grid.handled)
    assert same(trained(killed), trained(whole))
