"""How a user says that imagery is to be read: bands, no-data, columns, patterns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field


@dataclass(frozen=True)
class Reading:
    """The keys of a scenario's ``[data]`` table that say how files are read; empty leaves it to the files.

    Attributes:
        bands: Bands that the model sees, by name or by number from 1, in its order.
        band_names: Names of the bands of the files, in their order.
        sensor_bands: The same for the files of one sensor, by its name.
        no_data: Values that stand for "not measured", beside what files declare and NaN.
        image_column, label_column, split_column: Columns of a table.
        sensor_column, partition_column: Columns of a table or manifest that name the sensor, and satellite or place;
            ``folder1``, ``folder2`` … is the first, second … folder on the way to an image.
        image_pattern, mask_pattern: Names of images and masks with one ``*``; what it stands for pairs them.
    """

    bands: tuple[str | int, ...] = ()
    band_names: tuple[str, ...] = ()
    _: KW_ONLY
    sensor_bands: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    no_data: tuple[float, ...] = ()
    image_column: str = ""
    label_column: str = ""
    split_column: str = ""
    sensor_column: str = ""
    partition_column: str = ""
    image_pattern: str = ""
    mask_pattern: str = ""

    @property
    def row_columns(self) -> tuple[str, ...]:
        """Columns that say something of an image beside its target."""
        return tuple(dict.fromkeys(name for name in (self.sensor_column, self.partition_column) if name))
