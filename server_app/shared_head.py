"""The head that all satellites train: it leaves with pooled states, its gradients come back, its optimiser is here.

Loss and gradient are computed on board, where the labels are; the ground only takes the steps, in the order in which
it takes those of the shared adapter.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from mission.schema import Training
from splitmodel.heads import StandardisedHead


class SharedHead:
    """A head and its AdamW.

    Args:
        head: Trained in place.
        training: Rates and decay.

    Attributes:
        head: That head.
    """

    def __init__(self, head: StandardisedHead, training: Training) -> None:
        self.head = head
        self._optimizer = torch.optim.AdamW(
            head.parameters(), lr=training.head_learning_rate, weight_decay=training.weight_decay
        )

    def update(self, gradient: Tensor, rate: float) -> None:
        """Take a step with a gradient of :meth:`splitmodel.heads.StandardisedHead.table`.

        Raises:
            ValueError: It is of another shape.
        """
        self.head.set_gradient_table(gradient)
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        self._optimizer.step()
        self._optimizer.zero_grad()

    def state(self) -> dict[str, Tensor]:
        """Copies of the head and of what its optimiser remembers, by parameter and name."""
        found = {}
        for name, parameter in self.head.named_parameters():
            for kind, value in {"value": parameter, **self._optimizer.state[parameter]}.items():
                found[f"{name}/{kind}"] = value.detach().clone()
        return found

    @torch.no_grad()
    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Take over what :meth:`state` gave."""
        for name, parameter in self.head.named_parameters():
            parameter.copy_(state[f"{name}/value"])
            self._optimizer.state[parameter] = {
                kind.removeprefix(f"{name}/"): value.clone()
                for kind, value in state.items()
                if kind.startswith(f"{name}/") and not kind.endswith("/value")
            }
