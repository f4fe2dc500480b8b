"""Vision transformers with random weights: the sizes that benchmarks train, and one of every family."""

from __future__ import annotations

import importlib.util
import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from splitmodel.parts import SplitModel, load_split

CLASSES = 10


@dataclass(frozen=True)
class Shape:
    """Of a vision transformer for RGB images: family, sizes, image and patch side in pixels, further keys."""

    family: str
    hidden: int
    layers: int
    heads: int
    image: int = 64
    patch: int = 8
    further: Mapping[str, Any] = field(default_factory=dict)

    def load(self) -> SplitModel:
        """Return the model, split, with random weights."""
        with tempfile.TemporaryDirectory() as directory:
            write = {"prithvi": self._prithvi, "galileo": self._galileo, "timm": self._timm}
            config = write.get(self.family, self._transformers)() | self.further
            config = {key: value for key, value in config.items() if value is not None}
            (Path(directory) / "config.json").write_text(json.dumps(config))
            return load_split(directory, num_labels=CLASSES, random_init=True)

    def _transformers(self) -> dict[str, Any]:
        return {
            "model_type": self.family,
            "hidden_size": self.hidden,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "intermediate_size": 4 * self.hidden,
            "image_size": self.image,
            "patch_size": self.patch,
        }

    def _prithvi(self) -> dict[str, Any]:
        given = {
            "img_size": self.image,
            "patch_size": [1, self.patch, self.patch],
            "num_frames": 1,
            "in_chans": 3,
            "embed_dim": self.hidden,
            "depth": self.layers,
            "num_heads": self.heads,
            "mlp_ratio": 4,
            "bands": ["B02", "B03", "B04"],
            "mean": [1000.0] * 3,
            "std": [1000.0] * 3,
        }
        return {"architecture": "prithvi_eo_v2", "pretrained_cfg": given}

    def _galileo(self) -> dict[str, Any]:
        bands = ["B2", "B3", "B4"]
        return {
            "architecture": "galileo-encoder",
            "embedding_size": self.hidden,
            "depth": self.layers,
            "num_heads": self.heads,
            "mlp_ratio": 4,
            "max_patch_size": self.patch,
            "max_sequence_length": 24,
            "space_time_bands": bands,
            "space_time_groups": {"S2_RGB": bands},
            "normalisation": {"order": "space_time_bands", "mean": [1000.0] * 3, "std": [1000.0] * 3},
        }

    def _timm(self) -> dict[str, Any]:
        arguments = {
            "img_size": self.image,
            "patch_size": self.patch,
            "embed_dim": self.hidden,
            "depth": self.layers,
            "num_heads": self.heads,
        }
        return {"architecture": "vit_tiny_patch16_224", "num_classes": 0, "model_args": arguments}


SHAPES = {
    "Galileo-Nano": Shape("ijepa", 128, 4, 8),
    "ViT-Ti": Shape("vit", 192, 12, 3),
    "ViT-S": Shape("vit", 384, 12, 6),
    "ViT-Ti 224": Shape("vit", 192, 12, 3, 224, 16),
    "ViT-S 224": Shape("vit", 384, 12, 6, 224, 16),
}

_FURTHER: dict[str, dict[str, Any]] = {
    "siglip2_vision_model": {"image_size": None, "num_patches": 64},
    "dinov2": {"mlp_ratio": 4},
    "dinov2_with_registers": {"mlp_ratio": 4},
    "pixio": {"mlp_ratio": 4},
    "beit": {"use_relative_position_bias": True},
    "data2vec-vision": {"use_relative_position_bias": True},
}


def shape_of(family: str) -> Shape | None:
    """Return the shape of ViT-Ti in a family; None where its library is not installed."""
    if family == "timm" and not importlib.util.find_spec("timm"):
        return None
    return Shape(family, 192, 12, 3, further=_FURTHER.get(family, {}))
