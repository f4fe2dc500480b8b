"""Labelled imagery opens from Parquet, folders and the generator, or says in one error what is wrong."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from splitmodel.imagery import ImageryError, open_imagery


def jpeg(shade: int, size: int = 8) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (size, size), (shade, shade, shade)).save(buffer, "PNG")
    return buffer.getvalue()


def parquet(path: Path, rows: int = 20, **columns: list[object]) -> Path:
    table = {
        "image": [{"bytes": jpeg(10 * i), "path": f"{i}.png"} for i in range(rows)],
        "label": [i % 2 for i in range(rows)],
        "split": ["test" if i % 5 == 0 else "train" for i in range(rows)],
    } | columns
    pq.write_table(pa.table({name: values for name, values in table.items() if values is not None}), path)
    return path


def test_a_parquet_file_gives_the_splits_it_names(tmp_path: Path) -> None:
    train, test = open_imagery("parquet", parquet(tmp_path / "a.parquet"), seed=0)
    assert (len(train), len(test)) == (16, 4)
    assert test.pixels([1])[0, 0, 0, 0] == 50  # row 5 of the file
    assert train.classes == ("0", "1")


def test_a_parquet_file_without_splits_is_split_by_seed(tmp_path: Path) -> None:
    path = parquet(tmp_path / "a.parquet", split=None)
    train, test = open_imagery("parquet", path, seed=3)
    again, _ = open_imagery("parquet", path, seed=3)
    assert (len(train), len(test)) == (16, 4)
    assert np.array_equal(train.pixels(range(16)), again.pixels(range(16)))
    shades = {int(image[0, 0, 0]) for images in (train, test) for image in images.pixels(range(len(images)))}
    assert shades == {10 * i for i in range(20)}


def test_a_folder_of_parquet_files_is_split_by_their_names(tmp_path: Path) -> None:
    parquet(tmp_path / "train-00000-of-00001.parquet", split=None)
    parquet(tmp_path / "test-00000-of-00001.parquet", rows=6, split=None)
    train, test = open_imagery("parquet", tmp_path, seed=0)
    assert (len(train), len(test)) == (20, 6)


def test_an_image_folder_is_labelled_by_its_folders(tmp_path: Path) -> None:
    for split, count in (("train", 3), ("test", 1)):
        for name in ("forest", "river"):
            (tmp_path / split / name).mkdir(parents=True)
            for i in range(count):
                (tmp_path / split / name / f"{i}.png").write_bytes(jpeg(100 if name == "river" else 5))
    train, test = open_imagery("folder", tmp_path, seed=0)
    assert train.classes == ("forest", "river")
    assert (len(train), len(test)) == (6, 2)
    assert [int(image[0, 0, 0]) for image in test.pixels([0, 1])] == [5, 100]


def test_synthetic_scenes_are_the_same_for_a_seed_and_differ_between_train_and_test() -> None:
    first, again = (
        open_imagery("synthetic", None, seed=1, train_samples=20, test_samples=20) for _ in range(2)
    )
    assert np.array_equal(first.train.pixels(range(20)), again.train.pixels(range(20)))
    assert not np.array_equal(first.train.pixels(range(20)), first.test.pixels(range(20)))


def test_a_cap_takes_evenly_from_every_class(tmp_path: Path) -> None:
    train, _ = open_imagery("parquet", parquet(tmp_path / "a.parquet", rows=100), seed=0, train_samples=10)
    assert np.bincount(train.labels).tolist() == [5, 5]


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        ({"label": None}, "column label is missing"),
        ({"image": None}, "column image is missing"),
        ({"label": [" "] * 20}, "row 0: label ' '"),
        ({"label": [-1] * 20}, "row 0: label -1"),
        ({"split": ["train"] * 20}, "holds no test image"),
    ],
)
def test_a_parquet_file_of_another_shape_is_refused(
    tmp_path: Path, columns: dict[str, list[object]], says: str
) -> None:
    path = parquet(tmp_path / "a.parquet", **columns)
    with pytest.raises(ImageryError, match=says):
        open_imagery("parquet", path, seed=0)


def test_an_unreadable_image_is_named_by_file_and_row(tmp_path: Path) -> None:
    images = [{"bytes": jpeg(i), "path": ""} for i in range(20)]
    images[7] = {"bytes": jpeg(7)[:40], "path": ""}
    train, _ = open_imagery("parquet", parquet(tmp_path / "a.parquet", image=images), seed=0)
    with pytest.raises(ImageryError, match=r"a\.parquet: row 7: not readable as an image"):
        train.pixels(range(len(train)))


def test_images_of_different_sizes_are_refused(tmp_path: Path) -> None:
    images = [{"bytes": jpeg(i, size=8 + i % 2), "path": ""} for i in range(20)]
    train, _ = open_imagery("parquet", parquet(tmp_path / "a.parquet", image=images), seed=0)
    with pytest.raises(ImageryError, match="differ in size"):
        train.pixels(range(4))


def test_a_source_that_is_not_there_is_one_error(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "a.parquet").write_text("not parquet")
    for source, path, says in (
        ("parquet", tmp_path / "a.parquet", "not readable as Parquet"),
        ("parquet", tmp_path / "empty", r"holds no \*\.parquet file"),
        ("folder", tmp_path / "empty", "holds no image"),
        ("folder", tmp_path / "a.parquet", "not a folder"),
        ("parquet", None, r'data\.path: found ""'),
    ):
        with pytest.raises(ImageryError, match=says):
            open_imagery(source, path, seed=0)


def test_eurosat_opens_with_its_class_names(shared_data: Path) -> None:
    train, test = open_imagery("eurosat", shared_data / "eurosat-dev" / "dev.parquet", seed=0)
    assert (len(train), len(test)) == (2000, 600)
    assert train.classes[-1] == "SeaLake"
    assert train.pixels([0, 1]).shape == (2, 64, 64, 3)
