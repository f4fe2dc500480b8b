"""Imagery that does not fit ends `init`, `plan` and `run` with one sentence, before anything is written or started."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tifffile
from PIL import Image
from typer.testing import CliRunner

from mission.scenario import load_scenario
from skysplit.cli import app

RUNNER = CliRunner()


def rgb(path: Path, i: int) -> None:
    Image.fromarray(np.full((32, 32, 3), 20 * i, np.uint8)).save(path)


def grey(path: Path, i: int) -> None:
    Image.fromarray(np.full((32, 32), 20 * i, np.uint8)).save(path)


def thirteen(path: Path, i: int) -> None:
    tifffile.imwrite(path.with_suffix(".tif"), np.full((32, 32, 13), 100 * i, np.uint16))


def deep(path: Path, i: int) -> None:
    tifffile.imwrite(path.with_suffix(".tif"), np.full((32, 32, 3), 100 * i, np.uint16), photometric="rgb")


def empty(path: Path, i: int) -> None:
    path.write_bytes(b"")


def folder(root: Path, write: Callable[[Path, int], None], names: tuple[str, ...] = ("lake", "wood")) -> Path:
    for i in range(24):
        path = root / names[i % len(names)] / f"{i:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        write(path, i % 12)
    return root


ONE_SATELLITE = ["--satellites", "2", "--planes", "1"]


@pytest.mark.parametrize(
    ("write", "names", "says"),
    [
        (grey, ("lake", "wood"), r"found 1 band (grey); the model takes 3"),
        (thirteen, ("lake", "wood"), "found 13 bands without names; the model takes 3"),
        (deep, ("lake", "wood"), 'allowed: data.statistics = "computed"'),
        (empty, ("lake", "wood"), "not readable as an image: it is empty"),
        (rgb, ("lake",), "holds one class, lake; allowed: two or more"),
        (rgb, ("images", "masks"), "has no mask"),
        (rgb, ("test/a", "test/b"), "no training images; found only the subset test"),
    ],
)
def test_init_checks_the_data_that_it_is_given_and_writes_nothing_where_they_do_not_fit(
    tmp_path: Path, write: Callable[[Path, int], None], names: tuple[str, ...], says: str
) -> None:
    data, file = folder(tmp_path / "data", write, names), tmp_path / "ours.toml"
    done = RUNNER.invoke(app, ["init", str(file), *ONE_SATELLITE, "--data", str(data)])
    assert done.exit_code == 1
    assert says in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not file.exists()


@pytest.mark.parametrize("kind", ["folder", "parquet", "csv", "shards"])
def test_init_takes_data_as_people_have_them(tmp_path: Path, kind: str) -> None:
    images = folder(tmp_path / "data", rgb)
    files = sorted(images.glob("*/*.png"))
    table = pa.table(
        {"image": [file.read_bytes() for file in files], "label": [f.parent.name for f in files]}
    )
    given = {
        "folder": images,
        "parquet": tmp_path / "a.parquet",
        "csv": images / "manifest.csv",
        "shards": tmp_path / "hub",
    }
    if kind == "parquet":
        pq.write_table(table, given[kind])
    if kind == "csv":
        rows = [f"{file.relative_to(images)},{file.parent.name}" for file in files]
        given[kind].write_text("\n".join(["file_name,label", *rows]))
    if kind == "shards":
        (given[kind] / "data").mkdir(parents=True)
        pq.write_table(table, given[kind] / "data/train-00000-of-00001.parquet")
        pq.write_table(table, given[kind] / "data/test-00000-of-00001.parquet")
    file = tmp_path / "ours.toml"
    done = RUNNER.invoke(app, ["init", str(file), *ONE_SATELLITE, "--data", str(given[kind])])
    assert done.exit_code == 0, done.stderr
    data = load_scenario(str(file)).data
    assert data.source == ("parquet" if kind in ("parquet", "shards") else "folder")
    assert Path(data.path) == given[kind]


@pytest.mark.parametrize("command", ["run", "plan"])
def test_run_and_plan_end_before_anything_starts(tmp_path: Path, command: str, shared_data: Path) -> None:
    cases = {
        "has segmentation masks; allowed: the names of two or more classes": ["data.source=folder"],
        "found 13 bands without names; the model takes 3": [
            "data.source=folder",
            f"data.path={folder(tmp_path / 'tiles', thirteen)}",
        ],
        "data.bands picks 4 bands, the model takes 3": ["data.bands=[1, 2, 3, 3]"],
    }
    for says, settings in cases.items():
        clouds = [f"data.path={shared_data / 'clouds-3sensors'}"] if settings[0].endswith("folder") else []
        words = [f"--set={setting}" for setting in [*clouds, *settings]]
        out = ["--out", str(tmp_path / "run")] if command == "run" else []
        done = RUNNER.invoke(app, [command, "walker-12", *words, *out])
        assert done.exit_code == 1, done.stdout
        assert says in done.stderr
        assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (["data.partition=sensor"], 'data.sensor_column: needed for partition = "sensor", found ""'),
        (["data.partition=column"], 'data.partition_column: needed for partition = "column", found ""'),
        (
            ["data.sensor_bands=['S2']", "data.sensor_column=s"],
            "found 'S2', allowed: \"sensor = band, band, …\"",
        ),
        (["data.sensor_bands=['S2 = B1']"], "data.sensor_column: needed for sensor_bands"),
        (["data.no_data=['x']"], "data.no_data.0: found 'x', allowed: number"),
    ],
)
def test_keys_that_need_one_another_are_one_error(settings: list[str], says: str) -> None:
    done = RUNNER.invoke(app, ["plan", "walker-12", *(f"--set={setting}" for setting in settings)])
    assert done.exit_code == 1
    assert says in done.stderr
