"""Load the final files of a run as one module, with the adapter merged and the head as plain weights."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from splitmodel.dense_heads import ConvolutionHead
from splitmodel.export.final import ADAPTER_FOLDER, HEAD_FILE
from splitmodel.heads import OwnHead
from splitmodel.lora.adapters import merge_adapter
from splitmodel.parts import SplitModel
from splitmodel.preprocess import Preprocess


class TrainedModel(nn.Module):
    """pixels_BCHW → outputs: the whole trained model on values as the files have them.

    Pixels are float32 of the model's size, NaN where nothing was measured; outputs are logits, or numbers in the units
    of the labels.
    """

    def __init__(
        self, model: SplitModel, preprocess: Preprocess, *, units: tuple[Tensor, Tensor] | None
    ) -> None:
        super().__init__()
        self.embedding, self.backbone, self.head = model.embedding, model.backbone, model.head
        self.preprocess = preprocess
        self._units = units

    def forward(self, pixels_BCHW: Tensor) -> Tensor:
        """Return outputs, shape (B, K), or of a dense task (B, K, height, width)."""
        normalised = self.preprocess.normalised(pixels_BCHW)
        known = torch.where(torch.isnan(normalised), torch.zeros_like(normalised), normalised)
        outputs = self.head(self.backbone(self.embedding(known)))
        if self._units is None:
            return outputs
        mean, deviation = self._units
        return outputs * deviation + mean


def load_trained(final: Path, model: SplitModel, preprocess: Preprocess) -> TrainedModel:
    """Load the files of a run into the model that it was trained from.

    Args:
        final: The folder that :func:`splitmodel.export.final.export_final` wrote.
        model: The base model with a new head and without a bottleneck, not cut; it is changed in place.
        preprocess: That of the run's images.

    Raises:
        ValueError: The files are not those of such a model; the file is named.
    """
    adapter, head = final / ADAPTER_FOLDER, final / HEAD_FILE
    tensors = load_file(head)
    try:
        if adapter.is_dir():
            merge_adapter(adapter, model.backbone.transformer)
        units = _load_head(model.head, tensors)
    except (RuntimeError, KeyError) as error:
        what = " ".join(str(error).split())
        raise ValueError(f"{final}: these are not the trained weights of this model: {what}") from error
    return TrainedModel(model, preprocess, units=units).eval().requires_grad_(False)


def _load_head(head: nn.Module, tensors: dict[str, Tensor]) -> tuple[Tensor, Tensor] | None:
    """Set a head's weights, in place; return the units of its numbers where they stand beside its weights."""
    if isinstance(head, OwnHead):
        own = {name: tensor for name, tensor in tensors.items() if name.startswith("layers.")}
        head.layers.load_state_dict({name.removeprefix("layers."): tensor for name, tensor in own.items()})
        if "states.mean" in tensors:
            head.scaling = type(head.scaling)(tensors["states.mean"], tensors["states.deviation"])
        if "numbers.mean" in tensors:
            return tensors["numbers.mean"], tensors["numbers.deviation"]
        return None
    assert isinstance(head, nn.Linear | ConvolutionHead)
    head.load_state_dict(tensors)
    return None
