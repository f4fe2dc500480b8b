"""FedProx: a satellite whose images are unlike the others' is held near the weights that all share."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


class Proximal:
    """The gradient of μ/2 · ‖w - w₀‖², added before an optimiser step (Li et al. 2020, arXiv 1812.06127, equation 2).

    Args:
        parameters: What is trained.
        strength: μ; 0 adds nothing.
        sent: w₀ as :attr:`sent` of an earlier instance, where a round goes on; else the values of now are w₀.

    Attributes:
        sent: w₀, a tensor a parameter; empty where nothing is added.
    """

    def __init__(self, parameters: Sequence[Tensor], strength: float, *, sent: Sequence[Tensor] = ()) -> None:
        self._strength = strength
        self._parameters = parameters if strength else ()
        self.sent = tuple(sent) or tuple(parameter.detach().clone() for parameter in self._parameters)

    @torch.no_grad()
    def add_gradient(self) -> None:
        """Add to the gradients that are there."""
        for parameter, sent in zip(self._parameters, self.sent, strict=True):
            if parameter.grad is not None:
                parameter.grad.add_(parameter - sent, alpha=self._strength)
