"""Bands of files are matched with a model's by name or as the user says, or one sentence says what to set."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from splitmodel.imagery import ImageryError, ImageSet, Reading, open_imagery
from splitmodel.imagery.bands import BandError, picked_bands
from splitmodel.imagery.fitting import fitted
from splitmodel.imagery.statistics import BandStatistics, merge, survey
from splitmodel.preprocess import Preprocess

S2 = ("B02", "B03", "B04", "B08")


@pytest.mark.parametrize(
    ("found", "wanted", "model", "channels", "picks"),
    [
        (("red", "green", "blue"), (), (), 3, (0, 1, 2)),
        (("", "", ""), (), (), 3, (0, 1, 2)),
        (("", "", "", ""), (4, 1, 2), (), 3, (3, 0, 1)),
        (("",), (1, 1, 1), (), 3, (0, 0, 0)),
        (S2, ("B04", "B03", "B02"), (), 3, (2, 1, 0)),
        (S2, (), ("B8", "b4"), 2, (3, 2)),
        (S2, ("B02", "B08", "B04"), ("B04", "B02", "B08"), 3, (2, 0, 3)),
        (S2, ("B04", "B03"), ("near", "far"), 2, (2, 1)),
        (("", ""), (2, 1), ("B2", "B3"), 2, (1, 0)),
    ],
)
def test_bands_are_picked_by_name_or_number(
    found: Any, wanted: Any, model: Any, channels: int, picks: tuple[int, ...]
) -> None:
    assert picked_bands(found, wanted, model, channels) == picks


@pytest.mark.parametrize(
    ("found", "wanted", "model", "channels", "says"),
    [
        (("grey",), (), (), 3, r"1 band \(grey\); the model takes 3; .*data\.bands = \[1, 1, 1\] to repeat"),
        (("",) * 13, (), (), 3, r"13 bands without names; the model takes 3; .*data\.bands = \[1, 2, 3\]"),
        (S2, (), ("B02", "B11", "B12"), 3, "of which B11, B12 are missing; name the bands"),
        (
            ("",) * 2,
            (),
            ("B02", "B03"),
            2,
            r"without names; the model takes 2 \(B02, B03\); name the bands of",
        ),
        (S2, ("B02",), (), 3, "picks 1 bands, the model takes 3"),
        (S2, ("B02", "B09"), (), 2, "found 'B09', which none of the file's bands is called"),
        (S2, (0, 1), (), 2, "found 0, but the file has 4 bands .*; allowed: 1 to 4"),
        (S2, (5, 1), (), 2, "found 5"),
        (("a", "A"), ("a", "a"), (), 2, "which 2 of the file's bands is called"),
        (S2, ("B02", "B03"), ("B02", "B04"), 2, "data.bands lacks B04"),
    ],
)
def test_bands_that_do_not_fit_say_what_to_set(
    found: Any, wanted: Any, model: Any, channels: int, says: str
) -> None:
    with pytest.raises(BandError, match=says):
        picked_bands(found, wanted, model, channels)


@pytest.mark.parametrize("wanted", [("B02",), ("B02", "B03"), ()])
def test_a_model_that_names_its_bands_may_be_had_with_fewer_of_them(wanted: tuple[str, ...]) -> None:
    with pytest.raises(BandError, match=r"; model\.bands chooses among the model's bands"):
        picked_bands(S2, wanted, ("B02", "B11"), 2)
    with pytest.raises(BandError) as without_names:
        picked_bands(S2, wanted, (), 3)
    assert "model.bands" not in str(without_names.value)


def tiles(root: Path, make: Any, count: int = 10, suffix: str = "tif") -> Path:
    for i in range(count):
        path = root / "ab"[i % 2] / f"{i}.{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        value = make(i)
        if suffix == "tif":
            tifffile.imwrite(path, value, planarconfig="contig", photometric="minisblack")
        else:
            Image.fromarray(value).save(path)
    return root


def opened(root: Path, **reading: Any) -> ImageSet:
    """All images of a folder, none set apart."""
    source = open_imagery("folder", root, seed=0, reading=Reading(**reading)).train.source
    return ImageSet(source, np.arange(len(source.subsets)))


def test_grey_pictures_are_no_rgb_unless_one_says_so(tmp_path: Path) -> None:
    rgb = Preprocess(8, 8)
    root = tiles(tmp_path, lambda i: np.full((8, 8), 20 * i, np.uint8), suffix="png")
    with pytest.raises(ImageryError, match=r"a/0\.png: found 1 band \(grey\); the model takes 3"):
        opened(root).for_model(rgb)
    image = opened(root, bands=(1, 1, 1)).for_model(rgb).image(1)
    assert image.shape == (8, 8, 3)
    assert np.ptp(image) == 0


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda i: np.zeros((8, 8, 5 if i else 6), np.uint16), r"a/2\.tif: found 5 bands, .*a/0\.tif has 6"),
        (
            lambda i: np.zeros((8, 8, 2), np.uint16 if i else np.uint8),
            r"a/2\.tif: found uint16 values, .* uint8",
        ),
    ],
)
def test_files_that_differ_in_bands_or_depth_are_named(tmp_path: Path, make: Any, says: str) -> None:
    images = opened(tiles(tmp_path, make))
    with pytest.raises(ImageryError, match=says):
        images.images(range(len(images)))


def test_values_of_16_bits_need_statistics_of_their_own(tmp_path: Path) -> None:
    images = opened(tiles(tmp_path, lambda i: np.full((8, 8, 3), 900 + i, np.uint16)))
    with pytest.raises(ImageryError, match='found uint16 values, .*allowed: data.statistics = "computed"'):
        fitted(Preprocess(8, 8), images.for_model(Preprocess(8, 8)))
    found = fitted(Preprocess(8, 8), images, mean=(905.0,) * 3, deviation=(2.0,) * 3)
    assert float(images.prepared([0], found)[0, 0, 0, 0]) == pytest.approx((900 - 905) / 2, abs=5)
    assert fitted(Preprocess(8, 8, rescale_factor=1e-4), images).rescale_factor == 1e-4


def test_sensors_of_different_bands_become_the_model_s(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    truth = {}
    for sensor, order, dtype in (("S2", "BGRN", np.uint16), ("L7", "NRGBP", np.int16)):
        for i in range(6):
            bands = {band: rng.integers(1, 3000, (8, 8)) for band in "BGRNP"}
            path = tmp_path / sensor / "ab"[i % 2] / f"{i}.tif"
            path.parent.mkdir(parents=True, exist_ok=True)
            values = np.stack([bands[band] for band in order], -1).astype(dtype)
            tifffile.imwrite(path, values, planarconfig="contig", photometric="minisblack")
            truth[str(path)] = np.stack([bands[band] for band in "RGB"], -1)
    names = {"S2": ("blue", "green", "red", "nir"), "L7": ("nir", "red", "green", "blue", "pan")}
    model = Preprocess(8, 8, bands=("red", "green", "blue"))
    images = opened(tmp_path, sensor_column="folder1", sensor_bands=names).for_model(model)
    assert images.source.format.dtype == np.float32  # holds both exactly
    for index in range(len(images)):
        assert np.array_equal(images.image(index), truth[images.name(index)])
    short = names | {"L7": ("nir", "red", "green", "swir", "pan")}
    with pytest.raises(ImageryError, match=r"L7/a/0\.tif: .*of which blue are missing"):
        opened(tmp_path, sensor_column="folder1", sensor_bands=short).for_model(model)
    with pytest.raises(ImageryError, match=r"L7/a/0\.tif: its sensor 'L7' is not among data\.sensor_bands"):
        opened(tmp_path, sensor_column="folder1", sensor_bands={"S2": names["S2"]}).for_model(model)
    with pytest.raises(ImageryError, match="found 5 bands, but .* name 4"):
        opened(tmp_path, sensor_column="folder1", band_names=names["S2"]).for_model(model)


def with_holes(i: int) -> np.ndarray:
    values = np.full((8, 8, 2), 100 + i, np.int16)
    values[i % 8, :, 1] = -9999
    return values


def test_no_data_is_left_out_of_statistics_counted_and_zero_for_the_model(tmp_path: Path) -> None:
    plain = Preprocess(8, 8, mean=(0.0,) * 2, std=(1.0,) * 2, rescale_factor=1.0)
    images = opened(tiles(tmp_path, with_holes), no_data=(-9999,)).for_model(plain)
    seen = survey(images, plain, statistics=True)
    assert seen.no_data == pytest.approx(1 / 16)
    shades = [100 + int(Path(images.name(index)).stem) for index in range(len(images))]
    assert seen.bands.mean.tolist() == pytest.approx([np.mean(shades)] * 2)
    assert seen.bands.deviation.tolist() == pytest.approx([np.std(shades)] * 2)
    preprocess = fitted(plain, images, mean=seen.bands.mean.tolist(), deviation=[2.0, 2.0])
    ready = images.prepared([0], preprocess)
    hole = int(Path(images.name(0)).stem) % 8
    assert ready[0, 1, hole].abs().max() == 0.0
    assert ready[0, 0, hole].abs().max() == pytest.approx(abs(shades[0] - np.mean(shades)) / 2, rel=1e-5)


@pytest.mark.parametrize(
    ("make", "no_data", "says"),
    [
        (
            lambda i: np.full((8, 8, 2), 0 if i == 2 else 7, np.uint16),
            (0,),
            r"a/2\.tif: holds no measured value",
        ),
        (
            lambda i: np.full((8, 8, 2), np.nan if i == 2 else 7, np.float32),
            (),
            r"a/2\.tif: holds no measured",
        ),
    ],
)
def test_an_image_without_any_measured_value_is_named(
    tmp_path: Path, make: Any, no_data: tuple[float, ...], says: str
) -> None:
    plain = Preprocess(8, 8, mean=(0.0,) * 2, std=(1.0,) * 2, rescale_factor=1.0)
    images = opened(tiles(tmp_path, make), no_data=no_data).for_model(plain)
    with pytest.raises(ImageryError, match=says):
        survey(images, plain, statistics=False)


@given(
    st.lists(st.lists(st.integers(-30_000, 30_000), min_size=2, max_size=30), min_size=1, max_size=6),
    st.floats(0, 1e6),
)
def test_statistics_of_parts_merge_into_those_of_the_whole(parts: list[list[int]], offset: float) -> None:
    arrays = [np.array(part, np.float64)[:, None, None] + offset for part in parts]
    whole = np.concatenate(arrays).ravel()
    if np.ptp(whole) == 0:
        return
    merged = merge(BandStatistics.from_rows(BandStatistics.of(a, None).to_rows()) for a in arrays)
    assert merged.count[0] == whole.size
    assert merged.mean[0] == pytest.approx(whole.mean(), rel=1e-12, abs=1e-9)
    assert merged.deviation[0] == pytest.approx(whole.std(), rel=1e-9, abs=1e-6)


def test_a_band_that_never_varies_has_no_statistics() -> None:
    flat = BandStatistics.of(np.full((4, 4, 1), 7.0), None)
    with pytest.raises(ImageryError, match="band 1 .* has the value 7 in all pixels"):
        merge([flat, flat])
    nothing = BandStatistics.of(np.full((4, 4, 1), 7.0), np.zeros((4, 4, 1), bool))
    with pytest.raises(ImageryError, match="band 1 .* has no measured value"):
        merge([nothing])
