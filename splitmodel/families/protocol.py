"""The protocol of a model family: what SkySplit must know of an architecture to split it.

A vision model that can be split is an embedding (pixels to tokens), a list of equal blocks and a final norm. A
`Family` says where they are in one architecture, what a block needs besides tokens, and how a directory is read.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from torch import Tensor, nn

from splitmodel.families.errors import ModelLoadError

if TYPE_CHECKING:
    from splitmodel.families.checkpoint import WeightsLocation
    from splitmodel.preprocess import Preprocess

PoolingKind = Literal["cls", "mean"]


@dataclass(frozen=True)
class Statistics:
    """Mean and deviation with which the pixels of a pretraining were normalised, where a directory does not say it.

    Attributes:
        mean, std: Per channel, of bytes ÷ 255.
        resample: Pillow's number of the interpolation.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    _: KW_ONLY
    resample: int = 2


HALF = Statistics((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
IMAGENET = Statistics((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
OPENAI_CLIP = Statistics(
    (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711), resample=3
)


@dataclass(frozen=True)
class ModelInput:
    """The images that a model shall take, where its architecture leaves a choice; the defaults are the model's own.

    Attributes:
        bands: Names of the channels, in order.
        image_size: Pixels of a side.
        patch_size: Pixels of a patch's side.
        frames: Images of one place at different times that make one sample.
    """

    bands: tuple[str, ...] = ()
    image_size: int = 0
    _: KW_ONLY
    patch_size: int = 0
    frames: int = 0


@dataclass(frozen=True, eq=False)
class Acquisition:
    """Time and place at which images were taken, for models that embed them.

    Attributes:
        time_BT2: Year and day of the year of every frame, shape (B, frames, 2).
        place_B2: Latitude and longitude in degrees, shape (B, 2).
    """

    time_BT2: Tensor | None = None
    place_B2: Tensor | None = None


@dataclass(frozen=True)
class TokenLayout:
    """The order of tokens: first those that are no patches, then patches by frame, row, column and band group.

    Attributes:
        prefix: Class, distillation and register tokens.
        rows, columns: Patches of an image.
        frames: Images of a sample.
        groups: Tokens of one patch of one frame, one per group of bands.
    """

    prefix: int
    rows: int
    _: KW_ONLY
    columns: int
    frames: int = 1
    groups: int = 1

    @property
    def patches(self) -> int:
        """Patches of a sample, each of `groups` tokens."""
        return self.frames * self.rows * self.columns

    @property
    def tokens(self) -> int:
        """All tokens of a sample."""
        return self.prefix + self.patches * self.groups


@dataclass(frozen=True)
class Usage:
    """Python that computes the hidden states of `pixels` without SkySplit, as lines of a model card.

    Attributes:
        imports: Import lines.
        model: Expression that loads the base model.
        hidden: Statements that set `hidden` from `model` and `pixels`.
    """

    imports: str
    model: str
    _: KW_ONLY
    hidden: str


class Family(ABC):
    """One architecture. Register it under the entry point group `skysplit.families`.

    Attributes:
        name: Its name, for a model of `transformers` its `model_type`.
        pooling: What the head sees by default.
        class_token: Whether the first token is a class token, so that `cls` pooling is possible.
        lora_targets: Linear layers of a block that get a LoRA adapter by default (query and value, Hu et al. 2021).
        attention_inputs: Linear layers that make query, key and value: three names, or one where they are fused.
        token_views: Whether a turned image is its token grid turned: positions are added to the tokens, or come in
            with the blocks. It is not where a norm follows the positions.
        own_bands: Whether images are given as named bands, not as red, green and blue.
    """

    name: str
    pooling: PoolingKind = "cls"
    class_token: bool = True
    lora_targets: tuple[str, ...] = ("q_proj", "v_proj")
    attention_inputs: tuple[str, ...] = ("q_proj", "k_proj", "v_proj")
    token_views: bool = True
    own_bands: bool = False

    @abstractmethod
    def recognises(self, raw: Mapping[str, Any]) -> bool:
        """Whether a `config.json` describes a model of this family."""

    @abstractmethod
    def read_config(self, raw: Mapping[str, Any], wanted: ModelInput) -> Any:
        """The configuration, with `hidden_size` and `num_hidden_layers`, for images as wanted.

        Raises:
            ModelLoadError: It is incomplete, or such images are not possible.
        """

    @abstractmethod
    def preprocess(self, config: Any, settings: Mapping[str, Any]) -> Preprocess:
        """Return the preprocessing: of `preprocessor_config.json`, or the family's statistics for missing values.

        Raises:
            ModelLoadError: The settings do not fit the model.
        """

    @abstractmethod
    def new_model(self, config: Any, blocks: int) -> nn.Module:
        """A model with random weights and its first so many blocks, from torch's global random numbers."""

    @abstractmethod
    def load_model(self, checkpoint: WeightsLocation, config: Any, blocks: int) -> nn.Module:
        """A model with the weights of a checkpoint and its first so many blocks.

        Raises:
            ModelLoadError: The weights are not there, or of another architecture.
        """

    @abstractmethod
    def save_model(self, model: nn.Module, config: Any, state: Mapping[str, Tensor], directory: Path) -> None:
        """Write a directory that `load_model` reads, with the weights `state` of the model's own names."""

    @abstractmethod
    def embedding(self, model: nn.Module) -> nn.Module:
        """The part of the model that makes pixels (B, C, H, W) tokens (B, T, D), with the modules of the model."""

    @abstractmethod
    def blocks(self, model: nn.Module) -> nn.ModuleList:
        """The blocks of the model, in order."""

    @abstractmethod
    def norm(self, model: nn.Module) -> nn.Module:
        """Return the module after the last block."""

    @abstractmethod
    def layout(self, config: Any, height: int, width: int) -> TokenLayout:
        """The tokens of an image of so many pixels."""

    def block_inputs(
        self, model: nn.Module, hidden_BTD: Tensor, height: int, width: int
    ) -> Mapping[str, Any]:
        """Return the further inputs of every block, by keyword; they depend on the image's size, never on pixels."""
        return {}

    def run_block(self, block: nn.Module, hidden_BTD: Tensor, inputs: Mapping[str, Any]) -> Tensor:
        """Hidden states after a block."""
        return block(hidden_BTD, **inputs)

    def has_class_token(self, config: Any) -> bool:
        """Whether the first token of this model is a class token."""
        return self.class_token

    def has_token_views(self, config: Any) -> bool:
        """Whether a turned image of this model is its token grid turned, see `token_views`."""
        return self.token_views

    def default_pooling(self, config: Any) -> PoolingKind:
        """Return the default pooling of this model."""
        return self.pooling

    @abstractmethod
    def usage(self, base: str, config: Any) -> Usage:
        """Return code that computes hidden states without SkySplit; `base` is the location of the model."""

    def require_default_input(self, wanted: ModelInput, *allowed: str) -> None:
        """Refuse what a user wants of the images and this family cannot give.

        Raises:
            ModelLoadError: A field that is not in `allowed` is set.
        """
        for key in ("bands", "image_size", "patch_size", "frames"):
            value = getattr(wanted, key)
            if value and key not in allowed:
                given = list(value) if isinstance(value, tuple) else value
                raise ModelLoadError(
                    f"model.{key}: found {given!r}, a {self.name} has its own; allowed: leave it out"
                )


def pair(size: Any) -> tuple[int, int]:
    """Height and width of a size that a configuration gives as one number or two."""
    return (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))
