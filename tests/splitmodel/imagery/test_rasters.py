"""Every value of an image file is read as it was written; what cannot be is an error that says why."""

from __future__ import annotations

import io
import json
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import rasterio
import tifffile
from PIL import Image

from splitmodel.imagery.rasters import RasterError, read_mask, read_raster

RNG = np.random.default_rng(0)


def written(path: Path, values: np.ndarray, **options: object) -> Path:
    """A TIFF by tifffile, whose writer shares nothing with GDAL."""
    tifffile.imwrite(path, values, **options)
    return path


def with_gdal(path: Path, values_HWC: np.ndarray, **profile: object) -> Path:
    height, width, count = values_HWC.shape
    with rasterio.open(
        path, "w", driver="GTiff", height=height, width=width, count=count, dtype=values_HWC.dtype, **profile
    ) as file:
        file.write(np.moveaxis(values_HWC, -1, 0))
    return path


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
@pytest.mark.parametrize("compress", [None, "deflate", "lzw", "zstd", "packbits"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32"])
@pytest.mark.parametrize("count", [1, 2, 6, 13])
def test_values_of_every_depth_count_and_compression_are_those_written(
    tmp_path: Path, compress: str | None, dtype: str, count: int
) -> None:
    low, high = (0, 256) if dtype == "uint8" else (-3000, 3000) if dtype == "int16" else (0, 60_000)
    values = RNG.integers(low, high, (20, 24, count)).astype(dtype)
    found = read_raster(with_gdal(tmp_path / "a.tif", values, compress=compress or "none"))
    assert found.values.dtype == dtype
    assert np.array_equal(found.values, values)
    assert len(found.bands) == count


@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_planes_and_pixels_in_either_order_are_the_same(tmp_path: Path, planar: str) -> None:
    values = RNG.integers(0, 65_536, (16, 18, 3)).astype(np.uint16)
    stored = values if planar == "contig" else values.transpose(2, 0, 1)
    found = read_raster(written(tmp_path / "a.tif", stored, photometric="rgb", planarconfig=planar))
    assert np.array_equal(found.values, values)
    assert found.bands == ("red", "green", "blue")


@pytest.mark.parametrize(("bands_last", "noted"), [(True, True), (False, True), (False, False)])
def test_pages_are_bands_as_array_libraries_write_them(tmp_path: Path, bands_last: bool, noted: bool) -> None:
    values = RNG.integers(0, 9000, (32, 30, 5)).astype(np.uint16)
    stored = values if bands_last else values.transpose(2, 0, 1)
    metadata = {} if noted else None
    path = written(tmp_path / "a.tif", stored, photometric="minisblack", metadata=metadata)
    assert np.array_equal(read_raster(path).values, values)


def test_pages_of_several_sizes_are_refused(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(np.zeros((8, 8), np.uint16))
        file.write(np.zeros((4, 4), np.uint16))
    with pytest.raises(RasterError, match="2 pages .*allowed: one page"):
        read_raster(tmp_path / "a.tif")


@pytest.mark.parametrize(
    ("dtype", "becomes"),
    [("int8", "int16"), ("int32", "float32"), ("uint32", "float32"), ("float64", "float32")],
)
def test_other_depths_become_the_next_that_holds_them(tmp_path: Path, dtype: str, becomes: str) -> None:
    values = RNG.integers(0, 100, (8, 8)).astype(dtype)
    found = read_raster(written(tmp_path / "a.tif", values)).values
    assert found.dtype == becomes
    assert np.array_equal(found[..., 0], values)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        (np.full((4, 4), 2**30, np.int32), "which float32 cannot hold"),
        (np.full((4, 4), 1e300), "beyond float32"),
        (np.full((4, 4), np.inf, np.float32), "infinite"),
        (np.zeros((4, 4), np.complex64), "complex64"),
    ],
)
def test_values_that_would_change_are_refused(tmp_path: Path, values: np.ndarray, says: str) -> None:
    with pytest.raises(RasterError, match=says):
        read_raster(written(tmp_path / "a.tif", values))


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_no_data_values_are_known_and_nan_stands_for_them_in_floats(tmp_path: Path) -> None:
    values = np.full((4, 4, 2), 5, np.int16)
    values[0, 0, 1] = -9999
    found = read_raster(with_gdal(tmp_path / "a.tif", values, nodata=-9999))
    assert found.no_data == -9999
    assert found.holes is not None
    assert np.argwhere(found.holes).tolist() == [[0, 0, 1]]
    lowest = np.finfo(np.float64).min
    deep = np.full((4, 4, 1), 0.5)
    deep[1, 2] = lowest
    found = read_raster(with_gdal(tmp_path / "b.tif", deep, nodata=lowest))
    assert np.argwhere(np.isnan(found.values)).tolist() == [[1, 2, 0]]


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_band_names_are_those_of_the_file(tmp_path: Path) -> None:
    path = with_gdal(tmp_path / "a.tif", np.zeros((4, 4, 2), np.uint16))
    with rasterio.open(path, "r+") as file:
        file.descriptions = ("B04", "B8A")
    assert read_raster(path).bands == ("B04", "B8A")


def deep_png(values: np.ndarray) -> bytes:
    """A PNG of 16 bits, by the standard rather than by a library."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    height, width = values.shape[:2]
    colour = 2 if values.ndim == 3 else 0
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    header = struct.pack(">IIBBBBB", width, height, 16, colour, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("shape", [(6, 7), (6, 7, 3)])
def test_png_of_16_bits_keeps_them(shape: tuple[int, ...]) -> None:
    values = RNG.integers(0, 65_536, shape).astype(np.uint16)
    assert np.array_equal(read_raster(deep_png(values)).values.reshape(shape), values)


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def test_pictures_of_8_bits_are_read_as_pillow_does_and_as_before() -> None:
    values = RNG.integers(0, 256, (9, 11, 3), np.uint8)
    for kind in ("PNG", "BMP", "JPEG", "WEBP", "TIFF"):
        data = encoded(Image.fromarray(values), kind)
        with Image.open(io.BytesIO(data)) as image:
            wanted = np.asarray(image.convert("RGB"))
        found = read_raster(data)
        assert np.array_equal(found.values, wanted), kind
        assert found.bands == ("red", "green", "blue")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_honoured(kind: str, orientation: int) -> None:
    values = np.zeros((16, 32, 3), np.uint8)
    values[:8, :8] = 250  # the first corner, as stored
    exif = Image.Exif()
    exif[274] = orientation
    data = encoded(Image.fromarray(values), kind, exif=exif)
    found = read_raster(data).values
    # EXIF 2.32, table of orientations: where the stored row 0 and column 0 are seen.
    row, column = {1: "tl", 2: "tr", 3: "br", 4: "bl", 5: "lt", 6: "rt", 7: "rb", 8: "lb"}[orientation]
    sides = {row, column}
    corner = found[0 if "t" in sides else -1, 0 if "l" in sides else -1, 0]
    assert found.shape[:2] == ((16, 32) if orientation < 5 else (32, 16))
    assert corner > 200
    assert int((found[..., 0] > 125).sum()) == 64


def test_palettes_are_the_colours_they_stand_for() -> None:
    colours = np.array([[250, 0, 0], [0, 250, 0], [0, 0, 250]], np.uint8)
    index = RNG.integers(0, 3, (6, 6)).astype(np.uint8)
    image = Image.fromarray(index, "P")
    image.putpalette(colours.tobytes())
    for kind in ("PNG", "TIFF", "BMP"):
        assert np.array_equal(read_raster(encoded(image, kind)).values, colours[index]), kind
    assert np.array_equal(read_mask(encoded(image, "PNG")), index)  # of a mask the index is what counts
    assert np.array_equal(read_mask(encoded(image, "TIFF")), index)


def test_alpha_that_says_nothing_is_dropped_and_other_alpha_marks_what_is_not_there() -> None:
    values = RNG.integers(0, 256, (6, 6, 4), np.uint8)
    values[..., 3] = 255
    opaque = read_raster(encoded(Image.fromarray(values), "PNG"))
    assert np.array_equal(opaque.values, values[..., :3])
    values[0, 0, 3] = 0
    see_through = read_raster(encoded(Image.fromarray(values), "PNG"))
    assert see_through.bands == ("red", "green", "blue", "alpha")
    assert see_through.holes is not None
    assert see_through.holes[0, 0].tolist() == [True, True, True, False]


def test_grey_and_cmyk_stay_what_they_are() -> None:
    grey = Image.fromarray(RNG.integers(0, 256, (8, 8), np.uint8))
    assert read_raster(encoded(grey, "PNG")).bands == ("grey",)
    assert read_raster(encoded(grey, "JPEG")).values.shape == (8, 8, 1)
    cmyk = read_raster(encoded(Image.new("CMYK", (8, 8)), "JPEG"))
    assert cmyk.bands == ("cyan", "magenta", "yellow", "black")


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "it is empty"),
        (b"no image at all", "its format is unknown"),
        (b"II*\0\x08\0\0\0", "."),
        (encoded(Image.new("RGB", (64, 64)), "PNG")[:60], "."),
        (encoded(Image.new("RGB", (64, 64)), "TIFF")[:600], "."),
        (b"\x89PNG\r\n\x1a\n", "."),
    ],
)
def test_damaged_files_are_one_error(tmp_path: Path, data: bytes, says: str) -> None:
    path = tmp_path / "a.tif"
    path.write_bytes(data)
    for read in (read_raster, read_mask):
        for source in (path, data):
            with pytest.raises(RasterError, match=says):
                read(source)


def test_names_of_files_may_hold_any_character(tmp_path: Path) -> None:
    for name in ("a b", "é#1", "50%", "a?b", "x!y", "[1]", "zip+z", "a:b"):
        path = written(tmp_path / f"{name}.tif", np.full((4, 4), 7, np.uint16))
        assert int(read_raster(path).values[0, 0, 0]) == 7, name


def test_masks_of_few_bits_give_their_numbers(tmp_path: Path) -> None:
    index = RNG.integers(0, 2, (8, 16)).astype(np.uint8)
    one_bit = Image.fromarray(index * 255).convert("1")
    assert np.array_equal(read_mask(encoded(one_bit, "PNG")), index)
    deep = RNG.integers(0, 900, (8, 8)).astype(np.uint16)
    assert np.array_equal(read_mask(written(tmp_path / "m.tif", deep)), deep)
    with pytest.raises(RasterError, match="3 bands; allowed: one band"):
        read_mask(encoded(Image.new("RGB", (8, 8)), "PNG"))
    with pytest.raises(RasterError, match="a mask in JPEG"):
        read_mask(encoded(Image.new("L", (8, 8)), "JPEG"))


def test_what_tifffile_notes_of_a_shape_is_what_we_read(tmp_path: Path) -> None:
    path = written(tmp_path / "a.tif", np.zeros((64, 64, 13), np.uint16))
    with tifffile.TiffFile(path) as file:
        assert json.loads(file.pages[0].description)["shape"] == [64, 64, 13]
    assert read_raster(path).values.shape == (64, 64, 13)


@pytest.mark.parametrize("shape", [(12, 8, 8), (5, 9, 30), (3, 8, 8)])
def test_the_axis_of_bands_is_told_by_the_shape(tmp_path: Path, shape: tuple[int, ...]) -> None:
    values = RNG.integers(0, 999, shape).astype(np.uint16)
    found = read_raster(written(tmp_path / "a.tif", values, photometric="minisblack"))
    assert np.array_equal(found.values, values.transpose(1, 2, 0))


def test_arrays_of_frames_and_bands_are_refused(tmp_path: Path) -> None:
    values = np.zeros((2, 6, 8, 8), np.uint16)
    with pytest.raises(RasterError, match="an array of 2 × 6 × 8 × 8; allowed"):
        read_raster(written(tmp_path / "a.tif", values, photometric="minisblack"))


@pytest.mark.parametrize("bits", [np.uint8, np.uint16])
def test_white_as_nought_changes_no_value(tmp_path: Path, bits: type) -> None:
    values = RNG.integers(0, 200, (8, 8)).astype(bits)
    found = read_raster(written(tmp_path / "a.tif", values, photometric="miniswhite"))
    assert np.array_equal(found.values[..., 0], values)


def test_four_bands_that_their_writer_called_rgb_and_alpha_stay_four(tmp_path: Path) -> None:
    values = RNG.integers(0, 4000, (8, 8, 4)).astype(np.uint16)
    values[0, 0, 3] = 0
    found = read_raster(written(tmp_path / "a.tif", values))
    assert np.array_equal(found.values, values)
    assert found.holes is None


def test_colours_of_tiff_are_never_turned_into_others() -> None:
    cmyk = read_raster(encoded(Image.new("CMYK", (8, 8), (1, 2, 3, 4)), "TIFF"))
    assert cmyk.bands == ("cyan", "magenta", "yellow", "black")
    assert cmyk.values[0, 0].tolist() == [1, 2, 3, 4]
    with pytest.raises(RasterError, match="CIELab"):
        read_raster(encoded(Image.new("RGB", (8, 8)).convert("LAB"), "TIFF"))
