"""From the bytes of an image to what the embedding was pretrained on."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Preprocess:
    """Resize if needed, rescale, normalise: uint8 BCHW → float32 BCHW of the model's image size.

    Attributes:
        height, width: pixels that the model takes.
        mean, std: per channel, of the rescaled values.
        rescale_factor: multiplies the bytes first (1/255, as a rule).
        interpolation: of a resize, as `torch.nn.functional.interpolate` names it.
        resize: whether an image of another size is resized (the whole image, without cropping) or refused.
        bands: names of the channels, in order; empty for red, green and blue.
    """

    height: int
    width: int
    mean: tuple[float, ...] = (0.5, 0.5, 0.5)
    std: tuple[float, ...] = (0.5, 0.5, 0.5)
    rescale_factor: float = 1 / 255
    interpolation: str = "bilinear"
    resize: bool = True
    bands: tuple[str, ...] = ()

    def __call__(self, images_BCHW: Tensor) -> Tensor:
        """Raises `ValueError` for another dtype, number of channels or (where `resize` is off) size."""
        if (
            images_BCHW.dtype != torch.uint8
            or images_BCHW.ndim != 4
            or images_BCHW.shape[1] != len(self.mean)
        ):
            raise ValueError(
                f"images must be uint8 of shape (batch, {len(self.mean)}, height, width); "
                f"found {images_BCHW.dtype} of shape {tuple(images_BCHW.shape)}"
            )
        pixels = images_BCHW.float()
        if pixels.shape[-2:] != (self.height, self.width):
            if not self.resize:
                raise ValueError(
                    f"images must be {self.height}×{self.width} pixels (this model's preprocessor does "
                    f"not resize); found {pixels.shape[-2]}×{pixels.shape[-1]}"
                )
            smooth = (
                {} if self.interpolation == "nearest-exact" else {"antialias": True, "align_corners": False}
            )
            pixels = F.interpolate(pixels, (self.height, self.width), mode=self.interpolation, **smooth)
            pixels = pixels.round_().clamp_(
                0, 255
            )  # what the pretraining saw: resized images are bytes again
        mean = torch.tensor(self.mean, device=pixels.device).view(1, -1, 1, 1)
        std = torch.tensor(self.std, device=pixels.device).view(1, -1, 1, 1)
        return (pixels * self.rescale_factor - mean) / std
