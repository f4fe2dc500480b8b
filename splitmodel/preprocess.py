"""From the bytes of an image to what the embedding was pretrained on."""

from dataclasses import KW_ONLY, dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

_DTYPES = (torch.uint8, torch.uint16, torch.int16, torch.float32)
_ALLOWED_DTYPES = "uint8, uint16, int16 or float32"


@dataclass(frozen=True)
class Preprocess:
    """Resize if needed, rescale, normalise: raw values BCHW → float32 BCHW of the model's image size.

    `rescale_factor`, `mean` and `std` apply to the values as the files have them, of whatever depth.

    Attributes:
        height, width: pixels that the model takes.
        mean, std: per channel, of the rescaled values.
        rescale_factor: multiplies the values first (1/255 for 8-bit pictures, as a rule).
        interpolation: of a resize, as `torch.nn.functional.interpolate` names it.
        resize: whether an image of another size is resized (the whole image, without cropping) or refused.
        bands: names of the model's channels in order; empty where the model does not name them (RGB).
        no_data: the value of whole numbers that stands for "no measurement"; NaN always does. Such values count as
            the mean of their channel: they are 0 after normalisation.
    """

    height: int
    width: int
    _: KW_ONLY
    mean: tuple[float, ...] = (0.5, 0.5, 0.5)
    std: tuple[float, ...] = (0.5, 0.5, 0.5)
    rescale_factor: float = 1 / 255
    interpolation: str = "bilinear"
    resize: bool = True
    bands: tuple[str, ...] = ()
    no_data: float | None = None

    def __post_init__(self) -> None:
        """Raises `ValueError` where bands, mean and std differ in number."""
        if len(self.std) != len(self.mean) or (self.bands and len(self.bands) != len(self.mean)):
            raise ValueError(
                f"a model's bands, mean and std must be equally many; found {len(self.bands)} bands, "
                f"{len(self.mean)} means and {len(self.std)} standard deviations"
            )

    def __call__(self, images_BCHW: Tensor) -> Tensor:
        """Raises `ValueError` for another dtype, number of channels or (where `resize` is off) size."""
        pixels, unknown = self._of_model_size(images_BCHW)
        normalised = self.normalised(pixels)
        return normalised if unknown is None else normalised.masked_fill_(unknown, 0.0)

    def normalised(self, pixels_BCHW: Tensor) -> Tensor:
        """Return float32 values of the model's size, rescaled and normalised by channel."""
        mean, std = (self._of_channels(values, pixels_BCHW) for values in (self.mean, self.std))
        return (pixels_BCHW * self.rescale_factor).sub_(mean).div_(std)

    def unnormalised(self, images_BCHW: Tensor) -> Tensor:
        """Return values as the files have them, float32 of the model's size, NaN where nothing was measured.

        Raises:
            ValueError: As a call.
        """
        pixels, unknown = self._of_model_size(images_BCHW)
        return pixels if unknown is None else pixels.masked_fill(unknown, torch.nan)

    def _of_model_size(self, images_BCHW: Tensor) -> tuple[Tensor, Tensor | None]:
        """Float32 values of the model's size, and which of them were not measured, where there are some."""
        if (
            images_BCHW.dtype not in _DTYPES
            or images_BCHW.ndim != 4
            or images_BCHW.shape[1] != len(self.mean)
        ):
            raise ValueError(
                f"images must be {_ALLOWED_DTYPES} of shape (batch, {len(self.mean)}, height, width); "
                f"found {images_BCHW.dtype} of shape {tuple(images_BCHW.shape)}"
            )
        pixels, unknown = images_BCHW.float(), self._unknown(images_BCHW)
        if unknown is not None:  # a resize must not draw from what was not measured
            pixels = torch.where(unknown, self._of_channels(self.mean, pixels) / self.rescale_factor, pixels)
        if pixels.shape[-2:] == (self.height, self.width):
            return pixels, unknown
        return self._resized(pixels, images_BCHW.dtype), None

    @staticmethod
    def _of_channels(values: tuple[float, ...], pixels_BCHW: Tensor) -> Tensor:
        return torch.tensor(values, device=pixels_BCHW.device).view(1, -1, 1, 1)

    def _unknown(self, images_BCHW: Tensor) -> Tensor | None:
        """Which values were not measured; `None` where all were."""
        if images_BCHW.is_floating_point():
            unknown = images_BCHW.isnan()
        elif self.no_data is not None:
            unknown = images_BCHW.float() == self.no_data
        else:
            return None
        return unknown if bool(unknown.any()) else None

    def _resized(self, pixels: Tensor, dtype: torch.dtype) -> Tensor:
        if not self.resize:
            raise ValueError(
                f"images must be {self.height}×{self.width} pixels (this model's preprocessor does "
                f"not resize); found {pixels.shape[-2]}×{pixels.shape[-1]}"
            )
        smooth = {} if self.interpolation == "nearest-exact" else {"antialias": True, "align_corners": False}
        pixels = F.interpolate(pixels, (self.height, self.width), mode=self.interpolation, **smooth)
        if dtype == torch.uint8:  # what the pretraining saw: resized pictures are bytes again
            pixels = pixels.round_().clamp_(0, 255)
        return pixels
