"""Labelled imagery as it is: any bands and depth, from folders, Parquet and the generator.

`sources` opens what a scenario names; `folder`, `masks_beside`, `manifest`, `parquet` and `hub` know the layouts,
`labels` and `subsets` what columns and names say, `rasters` and `encoded` how files are read, `bands` which bands a
model sees, `views` how an image is turned, `image_set` what everything else works with. `statistics` and `fitting` are
what normalisation needs.
"""

from splitmodel.imagery.errors import ImageryError
from splitmodel.imagery.image_set import Imagery, ImageSet, ImageSource, prepare, to_BCHW
from splitmodel.imagery.rasters import Raster
from splitmodel.imagery.reading import Reading
from splitmodel.imagery.sources import open_imagery
from splitmodel.imagery.targets import TargetKind, Targets, classes, masks

__all__ = [
    "ImageSet",
    "ImageSource",
    "Imagery",
    "ImageryError",
    "Raster",
    "Reading",
    "TargetKind",
    "Targets",
    "classes",
    "masks",
    "open_imagery",
    "prepare",
    "to_BCHW",
]
