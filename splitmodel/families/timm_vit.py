"""Vision transformers of timm, where timm is installed (`pip install 'skysplit[timm]'`).

A directory as timm writes it for the hub: `config.json` with `architecture`, `pretrained_cfg` and `model_args`, and
weights beside it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from splitmodel.families.checkpoint import WeightsLocation, fill, write_weights
from splitmodel.families.errors import ModelLoadError, UnsupportedModelError
from splitmodel.families.protocol import IMAGENET, Family, ModelInput, PoolingKind, TokenLayout, Usage, pair
from splitmodel.preprocess import Preprocess


@dataclass(frozen=True)
class TimmConfig:
    """Sizes of a model, and how timm makes it.

    Attributes:
        hidden_size, num_hidden_layers: Of the blocks.
        patch_size, image_size: Rows and columns.
        prefix_tokens: Class and register tokens.
        class_token: Whether the first of them is a class token.
        channels: Of an image.
        norm_first: Whether a norm stands between positions and the first block.
        architecture, arguments: Of `timm.create_model`.
        raw: The `config.json`.
    """

    hidden_size: int
    num_hidden_layers: int
    _: KW_ONLY
    patch_size: tuple[int, int]
    image_size: tuple[int, int]
    prefix_tokens: int
    class_token: bool
    channels: int
    norm_first: bool
    architecture: str
    arguments: Mapping[str, Any]
    raw: Mapping[str, Any]


class _Tokens(nn.Module):
    """The embedding, by the model's own methods; of its modules it registers those that an embedding needs."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self._model = [model]  # in a list, so that its blocks do not count as modules of the embedding
        for name in ("patch_embed", "pos_drop", "patch_drop", "norm_pre"):
            self.add_module(name, getattr(model, name))
        for name in ("cls_token", "reg_token", "pos_embed"):
            self.register_parameter(name, getattr(model, name))

    def forward(self, pixels_BCHW: Tensor) -> Tensor:
        model = self._model[0]
        return model.norm_pre(model.patch_drop(model._pos_embed(model.patch_embed(pixels_BCHW))))


class TimmViT(Family):
    """`VisionTransformer` of timm, by any of its names."""

    name = "timm"
    lora_targets = ("qkv",)
    attention_inputs = ("qkv",)

    def recognises(self, raw: Mapping[str, Any]) -> bool:
        """By an architecture in timm's form."""
        return "architecture" in raw and "model_type" not in raw

    def read_config(self, raw: Mapping[str, Any], wanted: ModelInput) -> TimmConfig:
        """Sizes, of a model that is made without memory for its weights."""
        self.require_default_input(wanted)
        architecture = str(raw["architecture"])
        arguments = dict(raw.get("model_args") or {})
        arguments |= {"num_classes": 0, "fc_norm": False}
        with torch.device("meta"):
            model = _made(architecture, arguments)
        has_class_token = model.cls_token is not None
        return TimmConfig(
            hidden_size=model.embed_dim,
            num_hidden_layers=len(model.blocks),
            patch_size=pair(model.patch_embed.patch_size),
            image_size=pair(model.patch_embed.img_size),
            prefix_tokens=model.num_prefix_tokens,
            class_token=has_class_token,
            channels=model.patch_embed.proj.weight.shape[1],
            norm_first=not isinstance(model.norm_pre, nn.Identity),
            architecture=architecture,
            arguments=arguments,
            raw=raw,
        )

    def has_token_views(self, config: TimmConfig) -> bool:
        """Not where a norm follows the positions."""
        return not config.norm_first

    def has_class_token(self, config: TimmConfig) -> bool:
        """As the architecture has it."""
        return config.class_token

    def default_pooling(self, config: TimmConfig) -> PoolingKind:
        """The class token, where there is one."""
        return "cls" if config.class_token else "mean"

    def preprocess(self, config: TimmConfig, settings: Mapping[str, Any]) -> Preprocess:
        """Mean, deviation and interpolation of `pretrained_cfg`."""
        given = config.raw.get("pretrained_cfg") or {}
        mean, std = (tuple(given.get(key) or getattr(IMAGENET, key)) for key in ("mean", "std"))
        if not len(mean) == len(std) == config.channels:
            raise ModelLoadError(
                f"config.json: pretrained_cfg.mean: found {len(mean)} values, allowed one for each of "
                f"{config.channels} channels"
            )
        interpolation = str(given.get("interpolation") or "bicubic")
        if interpolation not in ("bilinear", "bicubic"):
            raise ModelLoadError(
                f"config.json: pretrained_cfg.interpolation: found {interpolation!r}, allowed: bilinear, bicubic"
            )
        return Preprocess(*config.image_size, mean=mean, std=std, interpolation=interpolation)

    def new_model(self, config: TimmConfig, blocks: int) -> nn.Module:
        """As timm draws its weights."""
        return _made(config.architecture, {**config.arguments, "depth": blocks})

    def load_model(self, checkpoint: WeightsLocation, config: TimmConfig, blocks: int) -> nn.Module:
        """The weights of the checkpoint; a norm that follows its pooling becomes the final norm."""
        with torch.random.fork_rng(devices=[]):
            model = self.new_model(config, blocks)
        wanted = model.state_dict().keys()
        state = checkpoint.state(lambda name: name in wanted or name.startswith("fc_norm."))
        if "norm.weight" not in state:
            state |= {
                f"norm.{key}": state[f"fc_norm.{key}"]
                for key in ("weight", "bias")
                if f"fc_norm.{key}" in state
            }
        fill(model, state, checkpoint.location, config.architecture)
        return model

    def save_model(
        self, model: nn.Module, config: TimmConfig, state: Mapping[str, Tensor], directory: Path
    ) -> None:
        """As timm writes a directory."""
        write_weights(state, directory)
        raw = {**config.raw, "num_classes": 0, "model_args": dict(config.arguments)}
        (directory / "config.json").write_text(json.dumps(raw, indent=2) + "\n", encoding="utf-8")

    def embedding(self, model: nn.Module) -> nn.Module:
        """Patches, special tokens and positions, and the norm in front of the first block."""
        return _Tokens(model)

    def blocks(self, model: nn.Module) -> nn.ModuleList:
        """The model's blocks."""
        return model.blocks  # type: ignore[return-value]

    def norm(self, model: nn.Module) -> nn.Module:
        """The final norm."""
        return model.norm  # type: ignore[return-value]

    def layout(self, config: TimmConfig, height: int, width: int) -> TokenLayout:
        """Class and register tokens, then patches by row."""
        rows, columns = config.patch_size
        return TokenLayout(config.prefix_tokens, height // rows, columns=width // columns)

    def usage(self, base: str, config: TimmConfig) -> Usage:
        """timm alone."""
        kind = "local-dir" if Path(base).is_absolute() or base == "model" else "hf-hub"
        arguments = "".join(f", {key}={value!r}" for key, value in config.arguments.items())
        return Usage(
            "import timm",
            f"timm.create_model({f'{kind}:{base}'!r}, pretrained=True{arguments})",
            hidden="hidden = model.forward_features(pixels)",
        )


def _made(architecture: str, arguments: Mapping[str, Any]) -> Any:
    """A model of timm.

    Raises:
        ModelLoadError: timm is not installed, or cannot be imported here.
        UnsupportedModelError: The architecture is unknown, or no plain vision transformer.
    """
    try:
        import timm
        from timm.models.vision_transformer import VisionTransformer
    except (ImportError, RuntimeError) as error:  # torchvision beside another torch raises either
        raise ModelLoadError(
            f"architecture {architecture!r} needs timm (pip install 'skysplit[timm]'), which cannot be "
            f"imported: {error}"
        ) from error
    try:
        model = timm.create_model(architecture, pretrained=False, **arguments)
    except (RuntimeError, TypeError, ValueError) as error:
        raise UnsupportedModelError(
            f"timm makes no model of architecture {architecture!r}: {error}"
        ) from error
    if type(model) is not VisionTransformer:
        raise UnsupportedModelError(
            f"architecture {architecture!r} is a {type(model).__name__}; allowed: a VisionTransformer of timm"
        )
    return model


TIMM = TimmViT()
