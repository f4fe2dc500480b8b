"""Prithvi-EO-2.0 (Szwarcman et al. 2024, arXiv 2412.02732): a loader of our own for its released checkpoints.

A vision transformer over patches of several frames, with fixed sine-cosine positions and, in its TL variants, the
time and the place of the image. Module names are those of the checkpoints, so that weights and adapters of either side
fit the other's code.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from splitmodel.families.bands import resolve_bands
from splitmodel.families.checkpoint import WeightsLocation, fill
from splitmodel.families.errors import ModelLoadError
from splitmodel.families.plain_transformer import Block, FusedAttention, initialise, sine_cosine
from splitmodel.families.protocol import Acquisition, Family, ModelInput, TokenLayout, Usage, pair
from splitmodel.preprocess import Preprocess

_PREFIX = "encoder."
# Harmonised Landsat and Sentinel-2 (HLS), as the checkpoints name them.
_COMMON = {
    "Blue": "B02",
    "Green": "B03",
    "Red": "B04",
    "NIR": "B05",
    "NIR_Narrow": "B05",
    "SWIR1": "B06",
    "SWIR_1": "B06",
    "SWIR2": "B07",
    "SWIR_2": "B07",
}
# Of the pretraining, in digital numbers, for a configuration that does not have them.
_MEAN = (1087.0, 1342.0, 1433.0, 2734.0, 1958.0, 1363.0)
_STD = (2248.0, 2179.0, 2178.0, 1850.0, 1242.0, 1049.0)
_EPSILON = 1e-5  # as TerraTorch's encoder has it


@dataclass(frozen=True)
class PrithviConfig:
    """Sizes of an encoder, and of the images that it takes.

    Attributes:
        hidden_size, num_hidden_layers, heads, inner_size: Of the blocks.
        patch: Frames, rows and columns of a patch.
        image_size: Rows and columns of an image.
        frames: Images of a sample.
        channels: Positions of the bands among those of the checkpoint.
        bands, mean, std: Of the bands, as they are called in the images.
        encodes_time, encodes_place: Whether it is a TL variant.
        raw: The `config.json`.
    """

    hidden_size: int
    num_hidden_layers: int
    _: KW_ONLY
    heads: int
    inner_size: int
    patch: tuple[int, int, int]
    image_size: tuple[int, int]
    frames: int
    channels: tuple[int, ...]
    bands: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    encodes_time: bool
    encodes_place: bool
    raw: Mapping[str, Any]


class _PatchEmbedding(nn.Module):
    def __init__(self, config: PrithviConfig) -> None:
        super().__init__()
        self.proj = nn.Conv3d(
            len(config.channels), config.hidden_size, kernel_size=config.patch, stride=config.patch
        )


class _Scale(nn.Module):
    """How strongly time or place is added."""

    scale: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("scale", torch.ones(1))


class PrithviEncoder(nn.Module):
    """The encoder, whole: pixels (B, bands, frames, H, W), or (B, frames · bands, H, W), to hidden states."""

    def __init__(self, config: PrithviConfig, blocks: int) -> None:
        super().__init__()
        size = config.hidden_size
        self.frames = config.frames
        self.patch_embed = _PatchEmbedding(config)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, size))
        if config.encodes_time:
            self.temporal_embed_enc = _Scale()
        if config.encodes_place:
            self.location_embed_enc = _Scale()
        self.blocks = nn.ModuleList(
            Block(size, FusedAttention(size, config.heads), inner_size=config.inner_size, eps=_EPSILON)
            for _ in range(blocks)
        )
        self.norm = nn.LayerNorm(size, eps=_EPSILON)

    def forward(self, pixels: Tensor, acquisition: Acquisition | None = None) -> Tensor:
        """Hidden states (B, 1 + patches, D) after the final norm."""
        hidden_BTD = _Tokens(self)(pixels, acquisition)
        for block in self.blocks:
            hidden_BTD = block(hidden_BTD)
        return self.norm(hidden_BTD)


class _Tokens(nn.Module):
    """The embedding: patches with their positions, time and place, and the class token in front."""

    def __init__(self, encoder: PrithviEncoder) -> None:
        super().__init__()
        self.patch_embed = encoder.patch_embed
        self.cls_token = encoder.cls_token
        self.time = getattr(encoder, "temporal_embed_enc", None)
        self.place = getattr(encoder, "location_embed_enc", None)
        self.frames = encoder.frames

    def forward(self, pixels: Tensor, acquisition: Acquisition | None = None) -> Tensor:
        if pixels.ndim == 4:
            pixels = pixels.unflatten(1, (self.frames, -1)).transpose(1, 2)
        grid_BDTHW = self.patch_embed.proj(pixels)
        frames, rows, columns = grid_BDTHW.shape[2:]
        size = self.cls_token.shape[-1]
        tokens = grid_BDTHW.flatten(2).transpose(1, 2)
        tokens = tokens + _positions(frames, rows, columns, size).to(tokens)
        if acquisition is not None and self.time is not None and acquisition.time_BT2 is not None:
            times = self.time.scale * _pair_encoding(acquisition.time_BT2, size)
            tokens = tokens + times.repeat_interleave(rows * columns, dim=1).to(tokens)
        if acquisition is not None and self.place is not None and acquisition.place_B2 is not None:
            tokens = tokens + (self.place.scale * _pair_encoding(acquisition.place_B2, size))[:, None].to(
                tokens
            )
        return torch.cat([self.cls_token.expand(len(tokens), -1, -1), tokens], dim=1)


@lru_cache(maxsize=8)
def _positions(frames: int, rows: int, columns: int, size: int) -> Tensor:
    """Sine-cosine positions (patches, size): 6/16 of the size for column and row each, the rest for the frame."""
    for_space = size // 16 * 6
    frame, row, column = torch.meshgrid(
        torch.arange(frames), torch.arange(rows), torch.arange(columns), indexing="ij"
    )
    parts = (
        sine_cosine(column.flatten(), for_space),
        sine_cosine(row.flatten(), for_space),
        sine_cosine(frame.flatten(), size - 2 * for_space),
    )
    return torch.cat(parts, dim=1).float()


def _pair_encoding(values: Tensor, size: int) -> Tensor:
    """Of year and day, or latitude and longitude, in the last dimension: half of the size for each.

    In float32 as the original computes it: for a year, the sine of 2018 rounds at 1e-4.
    """
    half = size // 4
    frequencies = 1.0 / 10_000 ** (torch.arange(half, dtype=torch.float32, device=values.device) / half)
    angles = values.float().unsqueeze(-1) * frequencies
    return torch.cat([angles.sin(), angles.cos()], dim=-1).flatten(-2)


class Prithvi(Family):
    """`prithvi_eo_v2_…`."""

    name = "prithvi"
    lora_targets = ("qkv",)
    attention_inputs = ("qkv",)
    own_bands = True

    def recognises(self, raw: Mapping[str, Any]) -> bool:
        """By the architecture in a configuration of timm's form."""
        return str(raw.get("architecture", "")).lower().startswith("prithvi") and "model_type" not in raw

    def read_config(self, raw: Mapping[str, Any], wanted: ModelInput) -> PrithviConfig:
        """Sizes of `pretrained_cfg`; bands, image size and frames as wanted."""
        self.require_default_input(wanted, "bands", "image_size", "frames")
        given = raw.get("pretrained_cfg", raw)
        keys = ("img_size", "patch_size", "embed_dim", "depth", "num_heads", "in_chans")
        for key in keys:
            if key not in given:
                raise ModelLoadError(f"config.json: pretrained_cfg.{key}: missing, needed for {self.name}")
        patch = given["patch_size"]
        frames_of_patch, rows, columns = (1, patch, patch) if isinstance(patch, int) else map(int, patch)
        known = [str(band) for band in given.get("bands") or _COMMON_ORDER[: given["in_chans"]]]
        mean, std = (
            [float(value) for value in given.get(key) or default[: len(known)]]
            for key, default in (("mean", _MEAN), ("std", _STD))
        )
        for key, count in (("bands", len(known)), ("mean", len(mean)), ("std", len(std))):
            if count != given["in_chans"]:
                raise ModelLoadError(
                    f"config.json: pretrained_cfg.{key}: found {count} values, allowed in_chans = {given['in_chans']}"
                )
        chosen = resolve_bands(wanted.bands, known, _COMMON) if wanted.bands else known
        channels = tuple(known.index(band) for band in chosen)
        height, width = pair(wanted.image_size or given["img_size"])
        frames = wanted.frames or frames_of_patch
        for key, value, step in (
            ("image_size", height, rows),
            ("image_size", width, columns),
            ("frames", frames, frames_of_patch),
        ):
            if value % step:
                raise ModelLoadError(f"model.{key}: found {value}, allowed: multiples of the patch, {step}")
        coordinates = given.get("coords_encoding") or ()
        return PrithviConfig(
            hidden_size=given["embed_dim"],
            num_hidden_layers=given["depth"],
            heads=given["num_heads"],
            inner_size=int(given["embed_dim"] * given.get("mlp_ratio", 4)),
            patch=(frames_of_patch, rows, columns),
            image_size=(height, width),
            frames=frames,
            channels=channels,
            bands=wanted.bands or tuple(known),
            mean=tuple(mean[channel] for channel in channels),
            std=tuple(std[channel] for channel in channels),
            encodes_time="time" in coordinates,
            encodes_place="location" in coordinates,
            raw=raw,
        )

    def preprocess(self, config: PrithviConfig, settings: Mapping[str, Any]) -> Preprocess:
        """Digital numbers, minus mean, by deviation; of several frames one after the other."""
        bands = config.bands
        if config.frames > 1:
            bands = tuple(f"{band}@{frame}" for frame in range(config.frames) for band in config.bands)
        return Preprocess(
            *config.image_size,
            mean=config.mean * config.frames,
            std=config.std * config.frames,
            rescale_factor=1.0,
            bands=bands,
        )

    def new_model(self, config: PrithviConfig, blocks: int) -> PrithviEncoder:
        """Weights N(0, 0.02²)."""
        model = PrithviEncoder(config, blocks)
        initialise(model)
        return model

    def load_model(self, checkpoint: WeightsLocation, config: PrithviConfig, blocks: int) -> PrithviEncoder:
        """The encoder of a checkpoint, whose keys may carry `encoder.`; its decoder is left alone."""
        model = PrithviEncoder(config, blocks)
        wanted = model.state_dict().keys()
        state = checkpoint.state(lambda name: name.removeprefix(_PREFIX) in wanted)
        state = {name.removeprefix(_PREFIX): tensor for name, tensor in state.items()}
        projection = "patch_embed.proj.weight"
        if projection in state and state[projection].shape[1] > max(config.channels):
            state[projection] = state[projection][:, list(config.channels)]
        fill(model, state, checkpoint.location, self.name)
        return model

    def save_model(
        self, model: nn.Module, config: PrithviConfig, state: Mapping[str, Tensor], directory: Path
    ) -> None:
        """Weights under the keys of the released checkpoints, positions included, and their form of `config.json`."""
        directory.mkdir(parents=True)
        frames, rows, columns = self._grid(config, *config.image_size)
        positions = _positions(frames, rows, columns, config.hidden_size)
        full = {**state, "pos_embed": torch.cat([torch.zeros_like(positions[:1]), positions])[None]}
        save_file(
            {_PREFIX + name: tensor.contiguous() for name, tensor in full.items()},
            directory / "model.safetensors",
            metadata={"format": "pt"},
        )
        given = {
            **config.raw.get("pretrained_cfg", config.raw),
            "img_size": config.image_size[0],
            "num_frames": config.frames,
            "in_chans": len(config.channels),
            "bands": list(config.bands),
            "mean": list(config.mean),
            "std": list(config.std),
        }
        raw = {**config.raw, "pretrained_cfg": given} if "pretrained_cfg" in config.raw else given
        (directory / "config.json").write_text(json.dumps(raw, indent=2) + "\n", encoding="utf-8")

    def embedding(self, model: nn.Module) -> nn.Module:
        """Patches, positions, time and place, class token."""
        assert isinstance(model, PrithviEncoder)
        return _Tokens(model)

    def blocks(self, model: nn.Module) -> nn.ModuleList:
        """The encoder's blocks."""
        assert isinstance(model, PrithviEncoder)
        return model.blocks

    def norm(self, model: nn.Module) -> nn.Module:
        """The final norm."""
        assert isinstance(model, PrithviEncoder)
        return model.norm

    def layout(self, config: PrithviConfig, height: int, width: int) -> TokenLayout:
        """A class token, then patches by frame and row."""
        frames, rows, columns = self._grid(config, height, width)
        return TokenLayout(1, rows, columns=columns, frames=frames)

    def usage(self, base: str, config: PrithviConfig) -> Usage:
        """With the encoder of this module; the weights' keys are those that other code knows."""
        wanted = ModelInput(config.bands, config.image_size[0], frames=config.frames)
        return Usage(
            "from splitmodel.families import ModelInput\nfrom splitmodel.parts import load_backbone",
            f"load_backbone({base!r}, wanted={wanted!r}).transformer",
            hidden="hidden = model(pixels)",
        )

    def _grid(self, config: PrithviConfig, height: int, width: int) -> tuple[int, int, int]:
        frames, rows, columns = config.patch
        return config.frames // frames, height // rows, width // columns


_COMMON_ORDER = ("B02", "B03", "B04", "B05", "B06", "B07")
PRITHVI = Prithvi()
