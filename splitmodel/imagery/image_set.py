"""Labelled images that are decoded when they are asked for, in the bands that a model takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from splitmodel.imagery.bands import BandError, picked_bands
from splitmodel.imagery.errors import ImageryError
from splitmodel.imagery.rasters import RGB, Raster, RasterError
from splitmodel.imagery.reading import Reading
from splitmodel.imagery.targets import Targets, classes
from splitmodel.preprocess import Preprocess

_TYPICAL = 32


class Format(NamedTuple):
    """Properties that all images of a source share.

    Attributes:
        dtype: uint8, uint16, int16 or float32; it holds the values of every sensor exactly.
        no_data: The whole number that stands for "not measured"; ``None`` where there is none (float32 has NaN).
    """

    dtype: np.dtype
    no_data: float | None


@dataclass(frozen=True, eq=False)
class ImageSource:
    """All images that a source holds, before any is set apart to train or to score.

    Attributes:
        where: Path or name, for messages.
        decode: Decodes image i; raises RasterError.
        name: What to call image i in an error.
        targets: Labels of all images.
        subsets: Subset of each image, ``None`` where nothing names it.
        columns: What else is known of each image, by column: sensor, place.
        reading: How the user says that files are read.
        hold: Keep these images' encoded bytes at hand, and few others'.
    """

    where: str
    decode: Callable[[int], Raster]
    _: KW_ONLY
    name: Callable[[int], str]
    targets: Targets
    subsets: Sequence[str | None]
    columns: Mapping[str, NDArray[np.str_]] = field(default_factory=dict)
    reading: Reading = field(default_factory=Reading)
    hold: Callable[[NDArray[np.int64]], None] = lambda rows: None

    def raster(self, row: int) -> Raster:
        """Return an image as its file has it, band names as the user gives them.

        Raises:
            ImageryError: It cannot be decoded, or has another number of bands than names; the file is named.
        """
        try:
            raster = self.decode(row)
        except RasterError as error:
            raise ImageryError(f"{self.name(row)}: not readable as an image: {error}") from error
        self._sizes[row] = raster.values.shape[:2]
        names = self._given_band_names(row)
        if not names:
            return raster
        if len(names) != len(raster.bands):
            raise ImageryError(
                f"{self.name(row)}: found {len(raster.bands)} bands, but data.band_names or data.sensor_bands name "
                f"{len(names)} ({', '.join(names)})"
            )
        return replace(raster, bands=names)

    @cached_property
    def _sizes(self) -> dict[int, tuple[int, ...]]:
        return {}

    def size(self, row: int) -> tuple[int, ...]:
        """Return height and width of an image; it is decoded for that once."""
        if row not in self._sizes:
            self.raster(row)
        return self._sizes[row]

    @cached_property
    def format(self) -> Format:
        """The common format, as the first image of each sensor has it."""
        firsts = list(self.first_of_sensor.values())
        kinds = {raster.values.dtype for _, raster in firsts}
        common = np.result_type(*kinds)
        if common not in (np.uint8, np.uint16, np.int16):
            return Format(np.dtype(np.float32), None)
        declared = [*self.reading.no_data, *(r.no_data for _, r in firsts if r.no_data is not None)]
        fitting = [value for value in declared if _fits(value, common)]
        return Format(common, fitting[0] if fitting else None)

    def values(self, row: int, model: tuple[str, ...], channels: int | None) -> NDArray:
        """Return an image in the channels of a model and in the common format, shape (height, width, channels).

        Args:
            row: Which image.
            model: Names of the model's channels.
            channels: How many there are; ``None`` takes the bands as they are, or as the user picks them.

        Raises:
            ImageryError: As :meth:`raster`; or its bands, depth or no-data value do not fit; the file is named.
        """
        raster = self.raster(row)
        self._require_as_the_first(row, raster)
        wanted = self.reading.bands
        if channels is None:
            channels = len(wanted) or len(raster.bands)
        try:
            picks = picked_bands(raster.bands, wanted, model, channels)
        except BandError as error:
            raise ImageryError(f"{self.name(row)}: {error}") from error
        is_whole = picks == tuple(range(len(raster.bands)))
        values = raster.values if is_whole else np.ascontiguousarray(raster.values[..., list(picks)])
        holes = self._holes(values, raster, picks)
        if holes is None:
            return values.astype(self.format.dtype, copy=False)
        return self._with_holes_marked(row, values, holes)

    def _holes(self, values: NDArray, raster: Raster, picks: tuple[int, ...]) -> NDArray[np.bool_] | None:
        """Where nothing was measured, ``None`` where there is no such value."""
        holes = None if raster.holes is None else raster.holes[..., list(picks)]
        for value in self.reading.no_data:
            hit = values == value
            holes = hit if holes is None else holes | hit
        return None if holes is None or not holes.any() else holes

    def _with_holes_marked(self, row: int, values: NDArray, holes: NDArray[np.bool_]) -> NDArray:
        dtype, no_data = self.format
        if holes.all():
            raise ImageryError(f"{self.name(row)}: holds no measured value, every pixel is no-data")
        values = values.astype(dtype)
        if dtype == np.float32:
            values[holes] = np.nan
            return values
        if no_data is None:
            raise ImageryError(
                f"{self.name(row)}: {int(holes.any(-1).sum())} pixels are marked as no-data, and no value stands for "
                f"them in {self.reading_of_first}; allowed: a value in data.no_data, for example data.no_data = [0]"
            )
        if (values[~holes] == no_data).any():
            raise ImageryError(
                f"{self.name(row)}: {no_data:g} stands for no-data in this set, but is a measured value here; "
                "allowed: another value first in data.no_data"
            )
        values[holes] = no_data
        return values

    @property
    def reading_of_first(self) -> str:
        """The image whose format is the set's, by name."""
        return self.name(next(iter(self.first_of_sensor.values()))[0])

    @cached_property
    def _sensors(self) -> NDArray[np.str_] | None:
        return self.columns.get(self.reading.sensor_column)

    @cached_property
    def first_of_sensor(self) -> dict[str, tuple[int, Raster]]:
        """Row and raster of the first image of each sensor."""
        if self._sensors is None:
            return {"": (0, self.raster(0))}
        names, rows = np.unique(self._sensors, return_index=True)
        return {str(name): (int(row), self.raster(int(row))) for name, row in zip(names, rows, strict=True)}

    def _given_band_names(self, row: int) -> tuple[str, ...]:
        of_sensor = self.reading.sensor_bands
        if not of_sensor:
            return self.reading.band_names
        if self._sensors is None:
            raise ImageryError(
                "data.sensor_bands: found with no data.sensor_column; allowed with one that names each image's sensor"
            )
        sensor = str(self._sensors[row])
        if sensor not in of_sensor and not self.reading.band_names:
            raise ImageryError(
                f"{self.name(row)}: its sensor {sensor!r} is not among data.sensor_bands ({', '.join(of_sensor)})"
            )
        return of_sensor.get(sensor, self.reading.band_names)

    def _require_as_the_first(self, row: int, raster: Raster) -> None:
        sensor = "" if self._sensors is None else str(self._sensors[row])
        first_row, first = self.first_of_sensor[sensor]
        if raster.values.dtype != first.values.dtype:
            raise ImageryError(
                f"{self.name(row)}: found {raster.values.dtype} values, {self.name(first_row)} has "
                f"{first.values.dtype}; allowed: one depth for all images of a sensor"
            )
        counts = len(raster.bands), len(first.bands)
        if counts[0] != counts[1] and not (_is_picture(raster) and _is_picture(first)):
            raise ImageryError(
                f"{self.name(row)}: found {counts[0]} bands, {self.name(first_row)} has {counts[1]}; "
                "allowed: the same bands in all images of a sensor"
            )


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Images of a source with their labels.

    Attributes:
        source: Where they come from.
        rows: Which of its images these are, shape (N,).
        model: Names of the channels of the model that they are for.
        channels: How many channels it has; ``None`` leaves the bands as they are.
    """

    source: ImageSource
    rows: NDArray[np.int64]
    _: KW_ONLY
    model: tuple[str, ...] = ()
    channels: int | None = None

    @classmethod
    def of_arrays(cls, pixels_NHWC: NDArray, labels: NDArray[np.int64], names: tuple[str, ...]) -> ImageSet:
        """Return the set of arrays in memory, one class each."""
        bands = RGB if pixels_NHWC.shape[-1] == 3 else ("",) * pixels_NHWC.shape[-1]
        source = ImageSource(
            where="arrays",
            decode=lambda i: Raster(pixels_NHWC[i], bands),
            name=lambda i: f"array {i}",
            targets=classes(labels, names),
            subsets=[None] * len(labels),
        )
        return cls(source, np.arange(len(labels)))

    def __len__(self) -> int:
        return len(self.rows)

    @cached_property
    def targets(self) -> Targets:
        """Return the labels of the images."""
        return self.source.targets.take(self.rows)

    @property
    def labels(self) -> NDArray[np.int64]:
        """Class indices, int64 of shape (N,).

        Raises:
            ImageryError: The images are labelled with something else.
        """
        self.targets.require_classes(self.source.where)
        return self.targets.values

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes; raises as :attr:`labels`."""
        self.targets.require_classes(self.source.where)
        return self.targets.names

    @property
    def no_data(self) -> float | None:
        """The value that stands for "not measured" in :meth:`pixels`; NaN always does."""
        return self.source.format.no_data

    def column(self, name: str) -> NDArray[np.str_] | None:
        """Return a column of the source for these images, ``None`` where it was not read."""
        values = self.source.columns.get(name)
        return None if values is None else values[self.rows]

    def name(self, index: int) -> str:
        """Return what to call an image in an error."""
        return self.source.name(int(self.rows[index]))

    def for_model(self, preprocess: Preprocess) -> ImageSet:
        """Return the images in the bands of a model, checked by the first of each sensor.

        Raises:
            ImageryError: Their bands are not the model's.
        """
        ours = replace(self, model=preprocess.bands, channels=len(preprocess.mean))
        for row, _ in self.source.first_of_sensor.values():
            self.source.values(row, ours.model, ours.channels)
        return ours

    def image(self, index: int) -> NDArray:
        """Return one image, shape (height, width, channels); see :meth:`ImageSource.values`."""
        return self.source.values(int(self.rows[index]), self.model, self.channels)

    def images(self, indices: Sequence[int] | NDArray[np.int64]) -> list[NDArray]:
        """Return several, each of its own size."""
        return [self.image(int(index)) for index in indices]

    def pixels(self, indices: Sequence[int] | NDArray[np.int64]) -> NDArray:
        """Return images of one size, shape (len(indices), height, width, channels).

        Raises:
            ImageryError: An image cannot be decoded, or the images differ in size.
        """
        images = self.images(indices)
        for index, image in zip(indices, images, strict=True):
            if image.shape != images[0].shape:
                raise ImageryError(
                    f"images differ in size: {self.name(int(index))} has {_size(image.shape)}, "
                    f"{self.name(int(indices[0]))} has {_size(images[0].shape)}; allowed: one size"
                )
        return np.stack(images) if images else np.empty((0, 1, 1, self.channels or 3), np.uint8)

    def pixels_BCHW(self, indices: Sequence[int] | NDArray[np.int64]) -> Tensor:
        """As :meth:`pixels`, a tensor of shape (len(indices), channels, height, width)."""
        return to_BCHW(self.pixels(indices))

    def prepared(
        self, indices: Sequence[int] | NDArray[np.int64], preprocess: Callable[[Tensor], Tensor]
    ) -> Tensor:
        """Return images of any sizes as the model takes them, shape (len(indices), channels, height, width)."""
        return self.prepared_from(indices, self.images(indices), preprocess)

    def prepared_from(
        self,
        indices: Sequence[int] | NDArray[np.int64],
        images: Sequence[NDArray],
        preprocess: Callable[[Tensor], Tensor],
    ) -> Tensor:
        """As :meth:`prepared`, of images that are decoded already.

        Raises:
            ImageryError: The model does not resize, and an image has another size; it is named.
        """
        if len({image.shape for image in images}) == 1:
            try:
                return prepare(images, preprocess)
            except ValueError as error:
                raise ImageryError(f"{self.name(int(indices[0]))}: {error}") from error
        ready = []
        for index, image in zip(indices, images, strict=True):
            try:
                ready.append(prepare([image], preprocess))
            except ValueError as error:
                raise ImageryError(f"{self.name(int(index))}: {error}") from error
        return torch.cat(ready)

    def typical_bytes(self) -> float:
        """Return the mean size of a raw image in the model's bands, of a few from all over the set."""
        few = np.unique(np.linspace(0, len(self) - 1, min(len(self), _TYPICAL)).round().astype(int))
        return float(np.mean([self.image(int(index)).nbytes for index in few]))

    def mask(self, index: int) -> NDArray:
        """Return the mask of an image, shape (height, width).

        Raises:
            ImageryError: There is none, it is not readable, or it has another size than its image.
        """
        read = self.targets.read_mask
        if read is None:
            raise ImageryError(f"{self.name(index)}: {self.targets.kind} were found, no masks")
        mask, size = read(index), self.source.size(int(self.rows[index]))
        if mask.shape != size:
            raise ImageryError(
                f"{self.name(index)}: its mask has {_size(mask.shape)}, the image {_size(size)}; allowed: the same size"
            )
        return mask

    def take(self, indices: NDArray[np.int64]) -> ImageSet:
        """Return the subset of these indices, in their order."""
        return replace(self, rows=self.rows[indices])

    def hold(self) -> None:
        """Keep the encoded bytes of these images in memory, where the source is a table, and few others'."""
        self.source.hold(self.rows)


def to_BCHW(pixels_BHWC: NDArray) -> Tensor:
    """Return images with channels last as a tensor with channels first."""
    return torch.from_numpy(np.moveaxis(pixels_BHWC, -1, 1).copy())


def prepare(images: Sequence[NDArray], preprocess: Callable[[Tensor], Tensor]) -> Tensor:
    """Return images of any sizes, each of shape (height, width, channels), as a model takes them."""
    if len({image.shape for image in images}) == 1:
        return preprocess(to_BCHW(np.stack(images)))
    return torch.cat([preprocess(to_BCHW(image[None])) for image in images])


class Imagery(NamedTuple):
    """A training set, which the satellites share out, and a test set, which only scores the result."""

    train: ImageSet
    test: ImageSet

    def for_model(self, preprocess: Preprocess) -> Imagery:
        """Return both in the bands of a model; see :meth:`ImageSet.for_model`."""
        return Imagery(self.train.for_model(preprocess), self.test.for_model(preprocess))


def _fits(value: float, dtype: np.dtype) -> bool:
    limits = np.iinfo(dtype)
    return float(value).is_integer() and limits.min <= value <= limits.max


def _is_picture(raster: Raster) -> bool:
    return all(raster.bands) and raster.values.dtype == np.uint8


def _size(shape: tuple[int, ...]) -> str:
    return f"{shape[1]}×{shape[0]} pixels"
