"""A head that trains well whatever the scale of the pooled states."""

from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class StandardisedHead(nn.Linear):
    """A linear head on (pooled_BD - mean) ÷ deviation, with constants that all satellites share.

    The pooled states of a frozen backbone have a large common part and small differences (Galileo-Nano on EuroSAT:
    up to 1.4 and about 0.04), so that gradient descent on a plain linear head is slow and ends points lower. The
    constants are no parameters: they are not trained, averaged or in `trainable_state`. `folded` gives the plain
    linear head that computes the same.
    """

    mean: Tensor
    deviation: Tensor

    @classmethod
    def of(cls, head: nn.Linear, pooled_BD: Tensor) -> Self:
        """A head with the weights of `head` and the constants of these pooled states; 32 rows are enough.

        Raises:
            ValueError: fewer than two rows, or states of another size than the head takes.
        """
        if pooled_BD.ndim != 2 or len(pooled_BD) < 2 or pooled_BD.shape[1] != head.in_features:
            raise ValueError(
                f"constants of a head need pooled states of shape (2 or more, {head.in_features}); "
                f"found {tuple(pooled_BD.shape)}"
            )
        deviation, mean = torch.std_mean(pooled_BD.detach(), dim=0)
        return cls.with_constants(head, mean, deviation.clamp_min(1e-6))

    @classmethod
    def with_constants(cls, head: nn.Linear, mean: Tensor, deviation: Tensor) -> Self:
        """A head with the weights of `head` and constants computed elsewhere, each of shape (D,)."""
        made = nn.utils.skip_init(cls, head.in_features, head.out_features)
        made.load_state_dict(head.state_dict())
        made.register_buffer("mean", mean, persistent=False)
        made.register_buffer("deviation", deviation, persistent=False)
        return made

    def forward(self, pooled_BD: Tensor) -> Tensor:
        return F.linear((pooled_BD - self.mean) / self.deviation, self.weight, self.bias)

    def folded(self) -> nn.Linear:
        """The plain head with the same logits."""
        plain = nn.utils.skip_init(nn.Linear, self.in_features, self.out_features)
        with torch.no_grad():
            plain.weight.copy_(self.weight / self.deviation)
            plain.bias.copy_(self.bias - plain.weight @ self.mean)
        return plain
