"""Read how an image processor makes pixels, as a model's directory says it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from splitmodel.families.errors import ModelLoadError
from splitmodel.families.protocol import Statistics, pair
from splitmodel.preprocess import Preprocess

_INTERPOLATION = {0: "nearest-exact", 2: "bilinear", 3: "bicubic"}  # Pillow's numbers


class PretrainedOnImages(Protocol):
    """A family's facts about the images that its models were pretrained on."""

    @property
    def any_image_size(self) -> bool:
        """Whether the embedding takes any image of whole patches."""

    @property
    def statistics(self) -> Statistics:
        """Statistics of the images of the pretraining."""

    def image_size(self, config: Any) -> tuple[int, int]:
        """Return height and width of the model's images."""


def preprocess_of(family: PretrainedOnImages, config: Any, settings: Mapping[str, Any]) -> Preprocess:
    """The preprocessing of a model of red, green and blue; what the settings lack is as in the family's pretraining.

    The image size is the model's; only a family that takes any size follows the image processor's.

    Args:
        family: It has the statistics.
        config: Of the model.
        settings: The contents of a `preprocessor_config.json`; empty where there is none.

    Raises:
        ModelLoadError: Mean or deviation do not fit the model's channels, or the interpolation is unknown.
    """
    height, width = family.image_size(config)
    resize = bool(settings.get("do_resize", True))
    if family.any_image_size and resize:
        height, width = _target_size(settings, (height, width))
    channels = config.num_channels
    if settings.get("do_normalize", True):
        mean = _of_channels(settings, "image_mean", family.statistics.mean, channels)
        std = _of_channels(settings, "image_std", family.statistics.std, channels)
    else:
        mean, std = (0.0,) * channels, (1.0,) * channels
    if not len(mean) == len(std) == channels or not all(value > 0 for value in std):
        raise ModelLoadError(
            f"preprocessor_config.json: image_mean and image_std must have {channels} values each (std > 0), "
            f"one per channel of the model, or be one number; found {list(mean)} and {list(std)}"
        )
    resample = settings.get("resample", family.statistics.resample)
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


def _of_channels(
    settings: Mapping[str, Any], key: str, default: tuple[float, ...], channels: int
) -> tuple[float, ...]:
    """One value a channel, of a list or of one number for all."""
    value = settings.get(key)
    if value is None:
        if len(default) != channels:
            raise ModelLoadError(
                f"preprocessor_config.json: no {key}, and the {len(default)} values of the pretraining do not fit the "
                f"{channels} channels of the model; allowed: {channels} values, or one number for all"
            )
        return default
    if isinstance(value, int | float):
        return (float(value),) * channels
    return tuple(value)


def _target_size(settings: Mapping[str, Any], default: tuple[int, int]) -> tuple[int, int]:
    size = (settings.get("crop_size") if settings.get("do_center_crop") else None) or settings.get("size")
    if isinstance(size, Mapping):
        return (
            (size["height"], size["width"]) if "height" in size else pair(size.get("shortest_edge", default))
        )
    return pair(size) if size else default
