"""The bottleneck: a linear layer behind the backbone that leaves fewer values of each patch to return over the uplink.

It is drawn when a model is loaded. A mission starts it as the principal components of the states that the frozen model
gives of the satellites' samples, each channel standardised first, because channels of one model differ in size by a
factor of a hundred. Drawn rows lose as much of what varies as of what does not, and a short training does not make up
for that. Training moves the rows from there, with the adapter.
"""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import Self

import torch
from torch import Tensor, nn

from splitmodel.crossing.scaling import Scaling
from splitmodel.families.errors import ModelLoadError

_NOISE = 1e-3  # of a channel's variance: the least that a component is taken to have, in directions that few rows show
_SMALLEST = 1e-3  # of the mean deviation: a channel that hardly changes is not blown up


@dataclass(frozen=True, eq=False)
class SecondMoments:
    """Sums over rows of states, from which those of a whole constellation add up.

    Attributes:
        rows: How many.
        sum_E: Their sum by channel, float64.
        products_EE: The sum of the products of all pairs of channels, float64.
    """

    rows: int
    sum_E: Tensor
    _: KW_ONLY
    products_EE: Tensor

    @classmethod
    def of(cls, states: Tensor) -> Self:
        """Return the moments of a tensor of shape (…, E)."""
        rows_NE = states.detach().double().flatten(0, -2)
        return cls(len(rows_NE), rows_NE.sum(0), products_EE=rows_NE.T @ rows_NE)

    def __add__(self, other: SecondMoments) -> SecondMoments:
        return SecondMoments(
            self.rows + other.rows,
            self.sum_E + other.sum_E,
            products_EE=self.products_EE + other.products_EE,
        )


def new_bottleneck(state_shape: tuple[int, ...], values: int, *, seed: int = 0) -> nn.Linear:
    """Return a layer that makes the states of a patch narrower: orthogonal rows from `seed`, bias 0.

    Raises:
        ModelLoadError: The states are pooled, or no wider.
    """
    if len(state_shape) < 2 or not 0 < values < state_shape[-1]:
        allowed = (
            f"1 to {state_shape[-1] - 1}, or 0"
            if len(state_shape) > 1
            else "0, as one state per image returns"
        )
        raise ModelLoadError(f"split.bottleneck: found {values}, allowed: {allowed}")
    layer = nn.utils.skip_init(nn.Linear, state_shape[-1], values)
    nn.init.orthogonal_(layer.weight, generator=torch.Generator().manual_seed(seed))
    nn.init.zeros_(layer.bias)
    return layer.requires_grad_(False)


@torch.no_grad()
def principal_components(seen: SecondMoments, count: int) -> tuple[Tensor, Scaling]:
    """Return the first components of standardised states, and the scaling of what they leave of the states.

    Args:
        seen: Two rows or more of states.
        count: How many components.

    Returns:
        A weight of shape (count, E) and a scaling of ``count`` channels, both float32. Each row's largest entry is
        positive, so that the same states give the same rows on every machine, up to rounding.
    """
    mean_E = seen.sum_E / seen.rows
    covariance_EE = (seen.products_EE / seen.rows - torch.outer(mean_E, mean_E)) * (
        seen.rows / (seen.rows - 1)
    )
    deviation_E = covariance_EE.diagonal().clamp_min(0.0).sqrt()
    deviation_E = deviation_E.clamp_min(_SMALLEST * float(deviation_E.mean()) or 1.0)
    variances, directions = torch.linalg.eigh(covariance_EE / torch.outer(deviation_E, deviation_E))
    rows_VE = directions.flip(1)[:, :count].T
    largest = rows_VE.gather(1, rows_VE.abs().argmax(1, keepdim=True))
    weight_VE = rows_VE * largest.sign() / deviation_E
    deviation_V = variances.flip(0)[:count].clamp_min(_NOISE).sqrt()
    return weight_VE.float(), Scaling((weight_VE @ mean_E).float(), deviation_V.float())
