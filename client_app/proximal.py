"""FedProx: a satellite whose images are unlike the others' is held near the weights that all share."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor


class Proximal:
    """The gradient of μ/2 · ‖w - w₀‖², added before an optimiser step (Li et al. 2020, arXiv 1812.06127, equation 2).

    Args:
        parameters: What is trained, at its values w₀ of now.
        strength: μ; 0 adds nothing.
    """

    def __init__(self, parameters: Iterable[Tensor], strength: float) -> None:
        self._strength = strength
        self._pairs = (
            [(parameter, parameter.detach().clone()) for parameter in parameters] if strength else []
        )

    @torch.no_grad()
    def add_gradient(self) -> None:
        """Add to the gradients that are there."""
        for parameter, sent in self._pairs:
            if parameter.grad is not None:
                parameter.grad.add_(parameter - sent, alpha=self._strength)
