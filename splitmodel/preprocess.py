"""From the bytes of an image to what the embedding was pretrained on."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from splitmodel.families import Family, ModelLoadError

_INTERPOLATION = {
    0: "nearest-exact",
    2: "bilinear",
    3: "bicubic",
}  # PIL's numbers, as in preprocessor_config.json


@dataclass(frozen=True)
class Preprocess:
    """Resize if needed, rescale, normalise: uint8 BCHW → float32 BCHW of the model's image size.

    Attributes:
        height, width: pixels that the model takes.
        mean, std: per channel, of the rescaled values.
        rescale_factor: multiplies the bytes first (1/255, as a rule).
        interpolation: of a resize, as `torch.nn.functional.interpolate` names it.
        resize: whether an image of another size is resized (the whole image, without cropping) or refused.
    """

    height: int
    width: int
    mean: tuple[float, ...] = (0.5, 0.5, 0.5)
    std: tuple[float, ...] = (0.5, 0.5, 0.5)
    rescale_factor: float = 1 / 255
    interpolation: str = "bilinear"
    resize: bool = True

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


def preprocess_of(family: Family, config: Any, settings: Mapping[str, Any]) -> Preprocess:
    """Read a `preprocessor_config.json` (empty when the model has none: mean and std 0.5, size of the model).

    The image size is the model's; only a family that takes any size follows the preprocessor's.

    Raises:
        ModelLoadError: mean or std do not fit the model's channels, or the interpolation is unknown.
    """
    height, width = _pair(config.image_size)
    resize = bool(settings.get("do_resize", True))
    if family.any_image_size and resize:
        height, width = _target_size(settings, (height, width))
    channels = config.num_channels
    normalise = settings.get("do_normalize", True)
    mean = tuple(settings.get("image_mean") or (0.5,) * channels) if normalise else (0.0,) * channels
    std = tuple(settings.get("image_std") or (0.5,) * channels) if normalise else (1.0,) * channels
    if not len(mean) == len(std) == channels or not all(value > 0 for value in std):
        raise ModelLoadError(
            f"preprocessor_config.json: image_mean and image_std must have {channels} values each (std > 0), "
            f"one per channel of the model; found {list(mean)} and {list(std)}"
        )
    resample = settings.get("resample", 2)
    if resample not in _INTERPOLATION:
        raise ModelLoadError(
            f"preprocessor_config.json: resample is {resample!r}; "
            "supported are 0 (nearest), 2 (bilinear), 3 (bicubic)"
        )
    return Preprocess(
        height=height,
        width=width,
        mean=mean,
        std=std,
        rescale_factor=settings.get("rescale_factor", 1 / 255) if settings.get("do_rescale", True) else 1.0,
        interpolation=_INTERPOLATION[resample],
        resize=resize,
    )


def _target_size(settings: Mapping[str, Any], default: tuple[int, int]) -> tuple[int, int]:
    size = (settings.get("crop_size") if settings.get("do_center_crop") else None) or settings.get("size")
    if isinstance(size, Mapping):
        return (
            (size["height"], size["width"]) if "height" in size else _pair(size.get("shortest_edge", default))
        )
    return _pair(size) if size else default


def _pair(size: Any) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))
