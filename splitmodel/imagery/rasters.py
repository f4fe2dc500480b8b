"""Images and masks from files, with every value as it was written.

Pictures of 8 bits are decoded by Pillow, with their EXIF orientation; TIFF, JPEG 2000 and PNG of 16 bits by GDAL
(rasterio), with band names, no-data values and masks. Nothing is scaled, cut or reduced to three channels.
"""

from __future__ import annotations

import io
import json
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, TiffImagePlugin, UnidentifiedImageError

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".webp", ".jp2"})
RGB = ("red", "green", "blue")
ALPHA = "alpha"
_PICTURE_BANDS = {
    "1": ("grey",),
    "L": ("grey",),
    "LA": ("grey", ALPHA),
    "RGB": RGB,
    "RGBA": (*RGB, ALPHA),
    "CMYK": ("cyan", "magenta", "yellow", "black"),
    "I;16": ("grey",),
    "I;16B": ("grey",),
    "I": ("grey",),
    "F": ("grey",),
}
_COLOURS = frozenset({*RGB, ALPHA, "cyan", "magenta", "yellow", "black"})
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_JPEG_2000 = (b"\0\0\0\x0cjP  ", b"\xff\x4f\xff\x51")
_PNG = b"\x89PNG\r\n\x1a\n"
_KEPT_DTYPES = (np.uint8, np.uint16, np.int16, np.float32)
_EXACT_IN_FLOAT32 = 2**24
_ORIENTATION, _PHOTOMETRIC = 274, 262  # tags of TIFF 6.0
_PALETTE, _CMYK, _LAB = 3, 5, (8, 9, 10)


class RasterError(ValueError):
    """A file is no image, or one that cannot be read without changing its values."""


@dataclass(frozen=True, eq=False)
class Raster:
    """One image as its file has it.

    Attributes:
        values: uint8, uint16, int16 or float32 of shape (height, width, bands).
        bands: Their names, empty where the file has none.
        holes: Where nothing was measured, by the file's own word, of the shape of ``values``; ``None`` where it does
            not say. In float32 NaN stands there as well.
        no_data: The value that stands in the holes, where the file declares one.
    """

    values: NDArray
    bands: tuple[str, ...]
    _: KW_ONLY
    holes: NDArray[np.bool_] | None = None
    no_data: float | None = None


def read_raster(file: Path | bytes) -> Raster:
    """Decode an image from its file or its bytes.

    Raises:
        RasterError: It is empty, damaged, or of a kind that would have to be converted.
    """
    with _one_error():
        header = _header(file)
        if header.startswith((*_TIFF, *_JPEG_2000)) or _is_deep_png(header):
            return _without_opaque_alpha(_by_gdal(file))
        return _without_opaque_alpha(_by_pillow(file))


def read_mask(file: Path | bytes) -> NDArray:
    """Decode a mask: one band of whole numbers or float32, shape (height, width); a palette's indices are the classes.

    Raises:
        RasterError: It is no image, has several bands, or is lossy.
    """
    with _one_error():
        header = _header(file)
        if header.startswith((*_TIFF, *_JPEG_2000, _PNG)):
            raster = _by_gdal(file, is_mask=True)
        else:
            with Image.open(_readable(file)) as image:
                if image.format not in ("BMP", "WEBP", "GIF"):
                    raise RasterError(
                        f"a mask in {image.format}; allowed: TIFF, PNG or BMP, which keep every value"
                    )
                raster = Raster(_height_width_bands(np.asarray(image)), ("",) * len(image.getbands()))
    if raster.values.shape[2] != 1:
        raise RasterError(f"a mask of {raster.values.shape[2]} bands; allowed: one band of class numbers")
    return raster.values[..., 0]


@contextmanager
def _one_error() -> Iterator[None]:
    """Turn whatever decoders raise into a RasterError."""
    try:
        yield
    except RasterError:
        raise
    except UnidentifiedImageError:
        raise RasterError("its format is unknown") from None
    # SyntaxError and struct.error are what Pillow raises for broken PNG and TIFF.
    except (OSError, ValueError, SyntaxError, EOFError, struct.error, Image.DecompressionBombError) as error:
        raise RasterError(" ".join(str(error).split())[:200]) from error


def _header(file: Path | bytes) -> bytes:
    if isinstance(file, bytes):
        header = file[:32]
    else:
        with file.open("rb") as stream:
            header = stream.read(32)
    if not header:
        raise RasterError("it is empty")
    return header


def _is_deep_png(header: bytes) -> bool:
    return header.startswith(_PNG) and len(header) > 24 and header[24] == 16


def _readable(file: Path | bytes) -> Any:
    return io.BytesIO(file) if isinstance(file, bytes) else file


def _by_pillow(file: Path | bytes) -> Raster:
    with Image.open(_readable(file)) as opened:
        frames = int(getattr(opened, "n_frames", 1))
        if (
            frames > 1 and opened.format != "MPO"
        ):  # of which the first is the picture, the others its previews
            raise RasterError(f"it holds {frames} frames; allowed: one image per file")
        image: Image.Image = opened
        is_transparent = "transparency" in image.info
        if image.mode in ("P", "PA"):  # the colours that the palette stands for
            image = image.convert("RGBA" if is_transparent or image.mode == "PA" else "RGB")
        elif is_transparent:
            image = image.convert("LA" if image.mode in ("1", "L") else "RGBA")
        image = ImageOps.exif_transpose(image)
        bands = _PICTURE_BANDS.get(image.mode)
        if bands is None:
            raise RasterError(
                f"its colours are {image.mode}; allowed: grey, RGB, a palette, with or without alpha, CMYK"
            )
        values = _height_width_bands(np.asarray(image))
        if image.mode == "1":
            values = values.astype(np.uint8) * np.uint8(255)
    return Raster(_exact(values), bands)


def _by_gdal(file: Path | bytes, *, is_mask: bool = False) -> Raster:
    try:
        import rasterio
        from rasterio.errors import NotGeoreferencedWarning, RasterioError
        from rasterio.io import MemoryFile
    except ImportError as error:  # of a shared library of the system
        raise RasterError(f"it needs rasterio, which does not load here: {error}") from error

    driver, tags = _driver(_header(file)), _tags(file)
    if tags.photometric == _CMYK:  # which GDAL would turn into RGB
        return _by_pillow(file)
    if tags.photometric in _LAB:
        raise RasterError(
            "its colours are CIELab; allowed: grey, RGB, a palette, CMYK, or bands of any meaning"
        )
    is_palette = tags.photometric == _PALETTE and not is_mask
    # Most training tiles have no coordinates. Not for a block alone: images are read in threads.
    warnings.filterwarnings("ignore", category=NotGeoreferencedWarning)
    try:
        with rasterio.Env(GDAL_DISABLE_READDIR_ON_OPEN="TRUE"):
            if isinstance(file, bytes):
                with MemoryFile(file) as memory, memory.open(driver=driver) as dataset:
                    raster = _of_dataset(dataset, is_palette, is_mask)
            else:
                with rasterio.open(file, driver=driver) as dataset:
                    raster = _of_dataset(dataset, is_palette, is_mask)
    except RasterioError as error:
        raise RasterError(" ".join(str(error).split())[:200] or type(error).__name__) from error
    turn = tags.orientation
    if turn == 1:
        return raster
    holes = None if raster.holes is None else _turned(raster.holes, turn)
    return Raster(_turned(raster.values, turn), raster.bands, holes=holes, no_data=raster.no_data)


def _driver(header: bytes) -> str:
    """Return the one driver that may read a file, so that a picture cannot name files elsewhere."""
    if header.startswith(_TIFF):
        return "GTiff"
    return "PNG" if header.startswith(_PNG) else "JP2OpenJPEG"


def _of_dataset(dataset: Any, is_palette: bool, is_mask: bool) -> Raster:
    if dataset.subdatasets:
        return _of_pages(dataset)
    values = np.moveaxis(dataset.read(), 0, -1)
    colours = [colour.name for colour in dataset.colorinterp]
    if colours == ["palette"] and is_palette:
        table = np.zeros((np.iinfo(values.dtype).max + 1, 4), np.uint8)
        for index, entry in dataset.colormap(1).items():
            table[index] = entry
        return Raster(table[values[..., 0]], (*RGB, ALPHA))
    bands = tuple(
        description or (colour if colour in _COLOURS else "")
        for description, colour in zip(dataset.descriptions, colours, strict=True)
    )
    if is_mask and values.dtype.kind in "iu":
        return Raster(_class_numbers(values), bands)
    return _with_holes(values, bands, dataset)


def _class_numbers(values: NDArray) -> NDArray:
    """Whole numbers of whatever depth as whole numbers, where 16 bits hold them: masks are often written as int64."""
    for dtype in (np.uint8, np.uint16, np.int16):
        limits = np.iinfo(dtype)
        if limits.min <= values.min() and values.max() <= limits.max:
            return values.astype(dtype)
    return _exact(values)


def _with_holes(values: NDArray, bands: tuple[str, ...], dataset: Any) -> Raster:
    """Mark what the file declares as not measured: its no-data values, its own mask, NaN."""
    holes: NDArray[np.bool_] | None = None
    declared = [value for value in dataset.nodatavals if value is not None]
    if declared:
        holes = np.zeros(values.shape, bool)
        for band, value in enumerate(dataset.nodatavals):
            if value is not None:
                column = values[..., band]
                holes[..., band] = np.isnan(column) if np.isnan(value) else column == column.dtype.type(value)
    elif any(
        "per_dataset" in _flags(flags) and ALPHA not in _flags(flags) for flags in dataset.mask_flag_enums
    ):
        holes = np.broadcast_to((dataset.dataset_mask() == 0)[..., None], values.shape).copy()
    exact = _exact(values, holes)
    if exact.dtype == np.float32:
        if holes is not None:
            exact = np.where(holes, np.float32(np.nan), exact)
        unknown = np.isnan(exact)
        return Raster(exact, bands, holes=unknown if unknown.any() or holes is not None else None)
    return Raster(exact, bands, holes=holes, no_data=declared[0] if declared else None)


def _flags(flags: Any) -> set[str]:
    return {flag.name for flag in flags}


def _of_pages(dataset: Any) -> Raster:
    """Read a file of several pages as its bands, as array libraries write (bands, height, width).

    tifffile notes the shape of the array beside the pages: one of (height, width, bands) stands there row by row.
    """
    import rasterio

    pages = []
    # Named GTIFF_DIR:1:FILE, GTIFF_DIR:10:FILE …, in the order of text.
    for name in sorted(dataset.subdatasets, key=lambda name: int(name.split(":")[1])):
        with rasterio.open(name, driver="GTiff") as page:
            pages.append(page.read())
    if len({(page.shape, page.dtype) for page in pages}) > 1 or pages[0].shape[0] != 1:
        raise RasterError(
            f"it holds {len(pages)} pages of {pages[0].shape[0]} bands or of different sizes; "
            "allowed: one page, or one page a band, all of one size"
        )
    stacked = np.concatenate(pages)
    noted = [
        length for length in _noted_shape(dataset.tags().get("TIFFTAG_IMAGEDESCRIPTION", "")) if length > 1
    ]
    if len(noted) > 3:
        raise RasterError(
            f"it holds an array of {' × '.join(map(str, noted))}; allowed: (bands, height, width) or "
            "(height, width, bands)"
        )
    is_rows = tuple(noted) == stacked.shape and _has_bands_last(noted)
    return _with_page_holes(stacked if is_rows else np.moveaxis(stacked, 0, -1))


def _has_bands_last(shape: list[int]) -> bool:
    """Whether an array of three axes has its bands last: the two others are alike, or it has fewer of them."""
    first, middle, last = shape
    if (first == middle) != (middle == last):
        return first == middle
    return last < first


def _with_page_holes(values: NDArray) -> Raster:
    exact = _exact(values)
    unknown = np.isnan(exact) if exact.dtype == np.float32 else None
    holes = unknown if unknown is not None and unknown.any() else None
    return Raster(exact, ("",) * exact.shape[2], holes=holes)


def _noted_shape(description: str) -> list[int]:
    try:
        return [int(length) for length in json.loads(description)["shape"]]
    except (ValueError, KeyError, TypeError):
        return []


def _exact(values: NDArray, holes: NDArray[np.bool_] | None = None) -> NDArray:
    """Return the values in the smallest of our dtypes that holds each of their dtype's; float64 is rounded to float32.

    Raises:
        RasterError: Whole numbers are too large for float32, or numbers are infinite or complex.
    """
    if values.dtype.kind == "f":
        with np.errstate(over="ignore"):
            small = values.astype(np.float32)
        is_infinite = np.isinf(small) if holes is None else np.isinf(small) & ~holes
        if is_infinite.any():
            raise RasterError("it holds infinite values, or ones beyond float32; mark them as no-data")
        return small
    if values.dtype in _KEPT_DTYPES:
        return np.ascontiguousarray(values.astype(values.dtype.newbyteorder("="), copy=False))
    if values.dtype == np.bool_:
        return values.astype(np.uint8)
    if values.dtype == np.int8:
        return values.astype(np.int16)
    if values.dtype.kind in "iu":
        kept = values if holes is None else values[~holes]
        if kept.size and max(abs(int(kept.min())), abs(int(kept.max()))) > _EXACT_IN_FLOAT32:
            raise RasterError(
                f"it holds {values.dtype} values beyond {_EXACT_IN_FLOAT32:,}, which float32 cannot hold; "
                "allowed: smaller ones, or uint8, uint16, int16, float32"
            )
        return values.astype(np.float32)
    raise RasterError(f"its values are {values.dtype}; allowed: whole numbers or floating point")


def _without_opaque_alpha(raster: Raster) -> Raster:
    """Drop an alpha band that says nothing; where one of all or nothing is 0 nothing was measured.

    Alpha of other values may be a fourth band that its writer called so, and stays one.
    """
    if ALPHA not in raster.bands or len(raster.bands) == 1:
        return raster
    position = raster.bands.index(ALPHA)
    alpha, values = raster.values[..., position], raster.values
    top = 1.0 if values.dtype == np.float32 else np.iinfo(values.dtype).max
    if (alpha == top).all():
        keep = [band for band in range(len(raster.bands)) if band != position]
        return Raster(
            np.ascontiguousarray(values[..., keep]),
            tuple(raster.bands[band] for band in keep),
            holes=None if raster.holes is None else raster.holes[..., keep],
            no_data=raster.no_data,
        )
    if not ((alpha == 0) | (alpha == top)).all():
        return raster
    holes = np.broadcast_to((alpha == 0)[..., None], values.shape).copy()
    holes[..., position] = False
    return Raster(
        values,
        raster.bands,
        holes=holes if raster.holes is None else holes | raster.holes,
        no_data=raster.no_data,
    )


def _height_width_bands(values: NDArray) -> NDArray:
    return values[..., None] if values.ndim == 2 else values


class _Tags(NamedTuple):
    """What a TIFF or PNG says and GDAL does not tell: how it is turned, and what its colours are."""

    orientation: int = 1
    photometric: int = 1


def _tags(file: Path | bytes) -> _Tags:
    """Return what a file says of itself; the defaults where it says nothing."""
    # Of what is damaged; the decoder says so itself.
    warnings.filterwarnings("ignore", message="Corrupt EXIF data", category=UserWarning)
    try:
        with io.BytesIO(file) if isinstance(file, bytes) else file.open("rb") as stream:
            header = stream.read(8)
            if header.startswith(_PNG):
                stream.seek(0)
                with Image.open(stream) as image:
                    return _Tags(int(image.getexif().get(_ORIENTATION, 1)))
            if not header.startswith(_TIFF):
                return _Tags()
            if header[2:3] == b"+" or header[3:4] == b"+":
                header += stream.read(8)
            directory = TiffImagePlugin.ImageFileDirectory_v2(header)
            stream.seek(directory.next)
            directory.load(stream)
            return _Tags(int(directory.get(_ORIENTATION, 1)), int(directory.get(_PHOTOMETRIC, 1)))
    except (OSError, ValueError, SyntaxError, EOFError, struct.error, TypeError):
        return _Tags()


def _turned(values: NDArray, orientation: int) -> NDArray:
    match orientation:
        case 2:
            values = values[:, ::-1]
        case 3:
            values = values[::-1, ::-1]
        case 4:
            values = values[::-1]
        case 5:
            values = values.swapaxes(0, 1)
        case 6:
            values = np.rot90(values, -1)
        case 7:
            values = values.swapaxes(0, 1)[::-1, ::-1]
        case 8:
            values = np.rot90(values, 1)
    return np.ascontiguousarray(values)
