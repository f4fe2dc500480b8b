"""BEiT (Bao et al. 2022): a bias of relative positions, of every layer or shared by all."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from splitmodel.families.protocol import HALF, PoolingKind
from splitmodel.families.transformers.transformer_family import TransformersFamily


class Beit(TransformersFamily):
    """`beit`. A model that pools the mean of its patches has no final norm: its norm belongs to the pooler."""

    def block_inputs(
        self, model: nn.Module, hidden_BTD: Tensor, height: int, width: int
    ) -> Mapping[str, Any]:
        """The size, from which a layer makes its bias, and the bias that all share."""
        whole: Any = model
        side, bias = whole.config.patch_size, None
        if whole.shared_position_bias is not None:
            bias = whole.shared_position_bias((height // side, width // side), dim_size=hidden_BTD.shape[1])
        return {"attention_mask": bias, "resolution": (height, width)}

    def default_pooling(self, config: Any) -> PoolingKind:
        """As the model pools."""
        return "mean" if config.use_mean_pooling else "cls"


BEIT = Beit("beit", "BeitModel", arguments={"add_pooling_layer": False}, statistics=HALF)
