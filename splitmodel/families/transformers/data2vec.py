"""The vision part of data2vec (Baevski et al. 2022), built like BEiT."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from splitmodel.families.protocol import HALF, PoolingKind
from splitmodel.families.transformers.transformer_family import TransformersFamily


class _TokensAlone(nn.Module):
    """Of tokens and the shape of the grid."""

    def __init__(self, embeddings: nn.Module) -> None:
        super().__init__()
        self.embeddings = embeddings

    def forward(self, pixels_BCHW: Tensor) -> Tensor:
        return self.embeddings(pixels_BCHW)[0]


class Data2VecVision(TransformersFamily):
    """`data2vec-vision`."""

    def embedding(self, model: nn.Module) -> nn.Module:
        """The embedding's tokens."""
        return _TokensAlone(super().embedding(model))

    def block_inputs(
        self, model: nn.Module, hidden_BTD: Tensor, height: int, width: int
    ) -> Mapping[str, Any]:
        """The size, from which a layer makes its bias, and the bias that all share."""
        whole: Any = model
        side, bias = whole.config.patch_size, None
        if whole.encoder.has_relative_position_bias:
            window = height // side, width // side
            bias = whole.encoder.relative_position_bias(window, dim_size=hidden_BTD.shape[1])
        return {"relative_position_bias": bias, "resolution": (height, width)}

    def run_block(self, block: nn.Module, hidden_BTD: Tensor, inputs: Mapping[str, Any]) -> Tensor:
        """A layer returns a tuple."""
        return block(hidden_BTD, **inputs)[0]

    def default_pooling(self, config: Any) -> PoolingKind:
        """As the model pools."""
        return "mean" if config.use_mean_pooling else "cls"


DATA2VEC_VISION = Data2VecVision(
    "data2vec-vision",
    "Data2VecVisionModel",
    layers="encoder.layer",
    arguments={"add_pooling_layer": False},
    statistics=HALF,
    lora_targets=("query", "value"),
    attention_inputs=("query", "key", "value"),
)
