"""Galileo (Tseng et al. 2025, arXiv 2502.09356): a loader of our own for its encoder.

Every patch has a token for each group of bands that the images have: a group whose bands are missing has none. Patches
may be smaller than those of the pretraining: the kernels are resized as in FlexiViT (Beyer et al. 2023).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from splitmodel.families.bands import resolve_bands
from splitmodel.families.checkpoint import WeightsLocation, fill, write_weights
from splitmodel.families.errors import ModelLoadError
from splitmodel.families.plain_transformer import Block, SeparateAttention, initialise, sine_cosine
from splitmodel.families.protocol import Acquisition, Family, ModelInput, PoolingKind, TokenLayout, Usage
from splitmodel.preprocess import Preprocess

_NDVI, _NEAR_INFRARED, _RED = "NDVI", "B8", "B4"
_COMMON = {
    "Blue": "B2",
    "Green": "B3",
    "Red": "B4",
    "NIR": "B8",
    "NIR_Narrow": "B8A",
    "Red_Edge_1": "B5",
    "Red_Edge_2": "B6",
    "Red_Edge_3": "B7",
    "SWIR1": "B11",
    "SWIR_1": "B11",
    "SWIR2": "B12",
    "SWIR_2": "B12",
}
_IMAGE_SIZE = 64
_METRES = 10.0  # a pixel; the encoding of places counts in these
_MONTH = 6  # July, as the original where a date is unknown
_EPSILON = 1e-5
_DAYS_BEFORE = (31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334)


@dataclass(frozen=True)
class GalileoConfig:
    """Sizes of an encoder, and of the images that it takes.

    Attributes:
        hidden_size, num_hidden_layers, heads, inner_size: Of the blocks.
        max_frames: Length of the table of time steps.
        group_names: All groups, in the order of their embeddings.
        groups: Those that the images have, each with the positions of its bands in the images; the vegetation index is
            computed of two, unless the images have it.
        bands, mean, std: Of the images; mean and deviation such that (x - mean) ÷ deviation is what the model takes.
        index_mean, index_std: The same of the vegetation index.
        image_size, patch_size: Pixels of a side.
        raw: The `config.json`.
    """

    hidden_size: int
    num_hidden_layers: int
    _: KW_ONLY
    heads: int
    inner_size: int
    max_frames: int
    group_names: tuple[str, ...]
    groups: Mapping[str, tuple[int, ...]]
    bands: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    index_mean: float
    index_std: float
    image_size: int
    patch_size: int
    computes_index: bool
    raw: Mapping[str, Any]


class _GroupEmbedding(nn.Module):
    def __init__(self, bands: int, config: GalileoConfig) -> None:
        super().__init__()
        side = config.patch_size
        self.proj = nn.Conv2d(bands, config.hidden_size, kernel_size=side, stride=side)


class _Months(nn.Module):
    """A table of the months, which is fixed."""

    weight: Tensor

    def __init__(self, size: int) -> None:
        super().__init__()
        angles = torch.arange(12, dtype=torch.float64) * (2 * math.pi / 12)
        half = size // 2
        table = torch.cat(
            [angles.sin()[:, None].expand(-1, half), angles.cos()[:, None].expand(-1, half)], dim=1
        )
        self.register_buffer("weight", table.float())


class GalileoEncoder(nn.Module):
    """The encoder, whole: pixels (B, bands, H, W) to hidden states of the groups that these bands make."""

    pos_embed: Tensor

    def __init__(self, config: GalileoConfig, blocks: int) -> None:
        super().__init__()
        size, quarter = config.hidden_size, config.hidden_size // 4
        self.input = config
        self.space_time_embed = nn.ModuleDict(
            {group: _GroupEmbedding(len(bands), config) for group, bands in config.groups.items()}
        )
        self.s_t_channel_embed = nn.Parameter(torch.zeros(len(config.group_names), quarter))
        self.register_buffer("pos_embed", _slow_sine_cosine(torch.arange(config.max_frames), quarter).float())
        self.month_embed = _Months(quarter)
        self.blocks = nn.ModuleList(
            Block(size, SeparateAttention(size, config.heads), inner_size=config.inner_size, eps=_EPSILON)
            for _ in range(blocks)
        )
        self.norm = nn.LayerNorm(size, eps=_EPSILON)

    def forward(self, pixels_BCHW: Tensor, acquisition: Acquisition | None = None) -> Tensor:
        """Hidden states (B, rows · columns · groups, D) after the final norm."""
        hidden_BTD = _Tokens(self)(pixels_BCHW, acquisition)
        for block in self.blocks:
            hidden_BTD = block(hidden_BTD)
        return self.norm(hidden_BTD)


class _Tokens(nn.Module):
    """The embedding: a token of every patch and group, with group, time step, month and place added."""

    pos_embed: Tensor

    def __init__(self, encoder: GalileoEncoder) -> None:
        super().__init__()
        self.input = encoder.input
        self.space_time_embed = encoder.space_time_embed
        self.s_t_channel_embed = encoder.s_t_channel_embed
        self.month_embed = encoder.month_embed
        self.register_buffer("pos_embed", encoder.pos_embed)

    def forward(self, pixels_BCHW: Tensor, acquisition: Acquisition | None = None) -> Tensor:
        config = self.input
        if config.computes_index:
            pixels_BCHW = torch.cat([pixels_BCHW, _vegetation_index(pixels_BCHW, config)], dim=1)
        of_groups = [
            self.space_time_embed[group].proj(pixels_BCHW[:, list(bands)])  # type: ignore[union-attr, operator]
            for group, bands in config.groups.items()
        ]
        tokens_BHWGD = torch.stack(of_groups, dim=-1).permute(0, 2, 3, 4, 1)
        batch, rows, columns, groups, _ = tokens_BHWGD.shape
        shape = batch, rows, columns, groups, -1
        numbers = [config.group_names.index(group) for group in config.groups]
        added = (
            self.s_t_channel_embed[numbers].expand(shape),
            self.pos_embed[0].expand(shape),
            self.month_embed.weight[_months(acquisition, batch)][:, None, None, None].expand(shape),
            _places(rows, columns, config.patch_size, config.hidden_size // 4)
            .to(tokens_BHWGD)[:, :, None]
            .expand(shape),
        )
        return (tokens_BHWGD + torch.cat(added, dim=-1)).flatten(1, 3)


def _vegetation_index(pixels_BCHW: Tensor, config: GalileoConfig) -> Tensor:
    """NDVI of what the pixels were before they were normalised, normalised itself; 0 of two bands without light."""
    names = _own_names(config)
    near, red = (
        pixels_BCHW[:, channel : channel + 1] * config.std[channel] + config.mean[channel]
        for channel in (names.index(_NEAR_INFRARED), names.index(_RED))
    )
    total = near + red
    dark = total.abs() < 0.5  # half a digital number: the pixels were normalised in float32
    index = torch.where(dark, 0.0, (near - red) / torch.where(dark, 1.0, total))
    return (index - config.index_mean) / config.index_std


def _own_names(config: GalileoConfig) -> list[str]:
    return resolve_bands(config.bands, config.raw["space_time_bands"], _COMMON)


def _months(acquisition: Acquisition | None, batch: int) -> Tensor:
    """The index of each image's month."""
    if acquisition is None or acquisition.time_BT2 is None:
        return torch.full((batch,), _MONTH)
    days_B = acquisition.time_BT2[:, 0, 1].cpu().contiguous()
    return torch.bucketize(days_B, torch.tensor(_DAYS_BEFORE, dtype=days_B.dtype))


@lru_cache(maxsize=8)
def _places(rows: int, columns: int, patch_size: int, size: int) -> Tensor:
    """Sine-cosine encoding of x, then y, in units of a patch's size ÷ 10 m; shape (rows, columns, size)."""
    step = patch_size * _METRES / 10.0
    y, x = torch.meshgrid(torch.arange(rows) * step, torch.arange(columns) * step, indexing="ij")
    return torch.cat([_slow_sine_cosine(axis, size // 2) for axis in (x, y)], dim=-1).float()


def _slow_sine_cosine(positions: Tensor, size: int) -> Tensor:
    """Sines, then cosines, of n = size ÷ 2 frequencies each: the original's are 10,000^-(i ÷ 4n)."""
    return sine_cosine(positions, size, scale=10_000**0.25)


@lru_cache(maxsize=8)
def _resize_matrix(old: int, new: int) -> Tensor:
    """The matrix that makes a kernel of old² values one of new²: the pseudo-inverse of the images' resizing."""
    basis = torch.eye(old * old).view(old * old, 1, old, old)
    resized = F.interpolate(basis, (new, new), mode="bicubic", antialias=True, align_corners=False)
    return torch.linalg.pinv(resized.flatten(1))


def resize_kernel(kernel: Tensor, side: int) -> Tensor:
    """A patch kernel (D, bands, old, old) for patches of another side."""
    old = kernel.shape[-1]
    if old == side:
        return kernel
    return (kernel.flatten(2) @ _resize_matrix(old, side).T).unflatten(-1, (side, side))


class Galileo(Family):
    """`galileo-encoder`."""

    name = "galileo"
    pooling: PoolingKind = "mean"
    class_token = False
    lora_targets = ("q", "v")
    attention_inputs = ("q", "k", "v")
    own_bands = True

    def recognises(self, raw: Mapping[str, Any]) -> bool:
        """By the architecture."""
        return raw.get("architecture") == "galileo-encoder"

    def read_config(self, raw: Mapping[str, Any], wanted: ModelInput) -> GalileoConfig:
        """The groups of the bands that are wanted, by default of all of Sentinel-2."""
        self.require_default_input(wanted, "bands", "image_size", "patch_size")
        keys = (
            "embedding_size",
            "depth",
            "num_heads",
            "max_patch_size",
            "space_time_bands",
            "space_time_groups",
        )
        for key in (*keys, "normalisation"):
            if key not in raw:
                raise ModelLoadError(f"config.json: {key}: missing, needed for {self.name}")
        known = list(raw["space_time_bands"])
        bands = wanted.bands or tuple(raw.get("bands") or (name for name in known if name.startswith("B")))
        names = resolve_bands(bands, known, _COMMON)
        computes_index = _NDVI in known and _NDVI not in names and {_NEAR_INFRARED, _RED} <= set(names)
        available = [*names, _NDVI] if computes_index else names
        groups = {
            group: tuple(available.index(band) for band in members)
            for group, members in raw["space_time_groups"].items()
            if set(members) <= set(available)
        }
        if not groups:
            raise ModelLoadError(
                f"model.bands: found {list(bands)}, which make no group; allowed: all bands of one of "
                + ", ".join(f"{group} ({', '.join(of)})" for group, of in raw["space_time_groups"].items())
            )
        patch_size = wanted.patch_size or raw.get("patch_size") or raw["max_patch_size"]
        if patch_size > raw["max_patch_size"]:
            raise ModelLoadError(
                f"model.patch_size: found {patch_size}, allowed: 1 to {raw['max_patch_size']}"
            )
        image_size = wanted.image_size or raw.get("image_size") or _IMAGE_SIZE
        if image_size % patch_size:
            raise ModelLoadError(
                f"model.image_size: found {image_size}, allowed: multiples of the patch, {patch_size}"
            )
        given = raw["normalisation"]
        mean = dict(zip(known, given["mean"], strict=True))
        deviation = dict(zip(known, given["std"], strict=True))
        low = {name: mean[name] - 2 * deviation[name] for name in known}
        return GalileoConfig(
            hidden_size=raw["embedding_size"],
            num_hidden_layers=raw["depth"],
            heads=raw["num_heads"],
            inner_size=int(raw["embedding_size"] * raw.get("mlp_ratio", 4)),
            max_frames=raw.get("max_sequence_length", 24),
            group_names=tuple(raw["space_time_groups"]),
            groups=groups,
            bands=tuple(bands),
            mean=tuple(low[name] for name in names),
            std=tuple(4 * deviation[name] for name in names),
            index_mean=low.get(_NDVI, 0.0),
            index_std=4 * deviation.get(_NDVI, 0.25),
            image_size=image_size,
            patch_size=patch_size,
            computes_index=computes_index,
            raw=raw,
        )

    def preprocess(self, config: GalileoConfig, settings: Mapping[str, Any]) -> Preprocess:
        """Reflectance × 10,000, normalised by band."""
        return Preprocess(
            config.image_size,
            config.image_size,
            mean=config.mean,
            std=config.std,
            rescale_factor=1.0,
            bands=config.bands,
        )

    def new_model(self, config: GalileoConfig, blocks: int) -> GalileoEncoder:
        """Weights N(0, 0.02²)."""
        model = GalileoEncoder(config, blocks)
        initialise(model)
        return model

    def load_model(self, checkpoint: WeightsLocation, config: GalileoConfig, blocks: int) -> GalileoEncoder:
        """The parts of the encoder that these bands need, with kernels of the patch's size."""
        model = GalileoEncoder(config, blocks)
        wanted = model.state_dict().keys()
        state = checkpoint.state(lambda name: name in wanted)
        for group in config.groups:
            name = f"space_time_embed.{group}.proj.weight"
            if name in state and state[name].ndim == 4:
                state[name] = resize_kernel(state[name], config.patch_size)
        fill(model, state, checkpoint.location, self.name)
        return model

    def save_model(
        self, model: nn.Module, config: GalileoConfig, state: Mapping[str, Tensor], directory: Path
    ) -> None:
        """The weights of these bands, under the keys of the original."""
        write_weights(state, directory)
        raw = {
            **config.raw,
            "bands": list(config.bands),
            "patch_size": config.patch_size,
            "image_size": config.image_size,
        }
        (directory / "config.json").write_text(json.dumps(raw, indent=2) + "\n", encoding="utf-8")

    def embedding(self, model: nn.Module) -> nn.Module:
        """Tokens of patches and groups."""
        assert isinstance(model, GalileoEncoder)
        return _Tokens(model)

    def blocks(self, model: nn.Module) -> nn.ModuleList:
        """The encoder's blocks."""
        assert isinstance(model, GalileoEncoder)
        return model.blocks

    def norm(self, model: nn.Module) -> nn.Module:
        """The final norm."""
        assert isinstance(model, GalileoEncoder)
        return model.norm

    def layout(self, config: GalileoConfig, height: int, width: int) -> TokenLayout:
        """Patches by row, each with a token of every group."""
        side = config.patch_size
        return TokenLayout(0, height // side, columns=width // side, groups=len(config.groups))

    def usage(self, base: str, config: GalileoConfig) -> Usage:
        """With the encoder of this module."""
        wanted = ModelInput(config.bands, config.image_size, patch_size=config.patch_size)
        return Usage(
            "from splitmodel.families import ModelInput\nfrom splitmodel.parts import load_backbone",
            f"load_backbone({base!r}, wanted={wanted!r}).transformer",
            hidden="hidden = model(pixels)",
        )


GALILEO = Galileo()
