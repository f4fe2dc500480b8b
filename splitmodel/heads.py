"""A head that trains well whatever the scale of the pooled states."""

from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from splitmodel.crossing.scaling import Scaling


class StandardisedHead(nn.Linear):
    """A linear head on standardised pooled states, with constants that all satellites share.

    The pooled states of a frozen backbone have a large common part and small differences (Galileo-Nano on EuroSAT:
    up to 1.4 and about 0.04), so that gradient descent on a plain linear head is slow and ends points lower. The
    constants are no parameters: they are not trained, averaged or in `trainable_state`. `folded` gives the plain
    linear head that computes the same.
    """

    scaling: Scaling

    @classmethod
    def of(cls, head: nn.Linear, scaling: Scaling) -> Self:
        """A head with the weights of `head` on states that are scaled so.

        Raises:
            ValueError: The scaling is for states of another size than the head takes.
        """
        if scaling.mean_D.shape != (head.in_features,):
            raise ValueError(
                f"a head of {head.in_features} inputs needs as many constants; found {tuple(scaling.mean_D.shape)}"
            )
        made = nn.utils.skip_init(cls, head.in_features, head.out_features)
        made.load_state_dict(head.state_dict())
        made.scaling = scaling
        return made

    def forward(self, pooled_BD: Tensor) -> Tensor:
        """Logits of pooled states."""
        return F.linear(self.scaling.standardise(pooled_BD), self.weight, self.bias)

    @property
    def table_shape(self) -> tuple[int, int]:
        """Of :meth:`table`."""
        return self.out_features, self.in_features + 1

    @torch.no_grad()
    def table(self) -> Tensor:
        """A copy of weights and biases, the biases as the last column; shape (classes, hidden + 1)."""
        return _table(self.weight, self.bias)

    def gradient_table(self) -> Tensor:
        """The gradients of :meth:`table`, as they have been added up."""
        assert self.weight.grad is not None
        assert self.bias.grad is not None
        return _table(self.weight.grad, self.bias.grad)

    @torch.no_grad()
    def set_table(self, table: Tensor) -> None:
        """The inverse of :meth:`table`.

        Raises:
            ValueError: The table is of another head.
        """
        self._require(table)
        self.weight.copy_(table[:, :-1])
        self.bias.copy_(table[:, -1])

    def set_gradient_table(self, table: Tensor) -> None:
        """The inverse of :meth:`gradient_table`.

        Raises:
            ValueError: The table is of another head.
        """
        self._require(table)
        self.weight.grad, self.bias.grad = table[:, :-1].clone(), table[:, -1].clone()

    def _require(self, table: Tensor) -> None:
        if table.shape != self.table_shape:
            raise ValueError(f"a head's table: found shape {tuple(table.shape)}, allowed {self.table_shape}")

    def folded(self) -> nn.Linear:
        """The plain head with the same logits."""
        plain = nn.utils.skip_init(nn.Linear, self.in_features, self.out_features)
        with torch.no_grad():
            plain.weight.copy_(self.weight / self.scaling.deviation_D)
            plain.bias.copy_(self.bias - plain.weight @ self.scaling.mean_D)
        return plain


def _table(weight_KD: Tensor, bias_K: Tensor) -> Tensor:
    return torch.cat([weight_KD, bias_K[:, None]], dim=1)
