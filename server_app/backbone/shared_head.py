"""The head that all satellites train: it leaves with pooled states, its gradients come back, its optimiser is here.

Loss and gradient are computed on board, where the labels are; the ground only takes the steps, in the order in which
it takes those of the shared adapter.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from mission.schema import Training
from server_app.backbone.executor import Adapter
from splitmodel.dense_heads import TrainedHead


class SharedHead:
    """A head and its AdamW.

    Args:
        head: Trained in place.
        training: Rates and decay, and how long a step may be.

    Attributes:
        head: That head.
    """

    def __init__(self, head: TrainedHead, training: Training) -> None:
        self.head = head
        optimizer = torch.optim.AdamW(
            head.parameters(), lr=training.head_learning_rate, weight_decay=training.weight_decay
        )
        self._trained = Adapter(dict(head.named_parameters()), optimizer, clip_update=training.clip_update)
        self.begin_round(0)

    def begin_round(self, delay: int) -> None:
        """From now on steps may use the head as it was up to ``delay`` updates ago; updates count from here."""
        self._delay = delay
        self._updates = 0
        self._tables = {0: self.head.table()}

    def table(self, updates: int) -> Tensor:
        """Return the head's table after so many updates of this round, the last ones by up to the delay."""
        return self._tables[updates]

    def update(self, gradient: Tensor, learning_rate: float, *, batches: int) -> None:
        """Take a step with a gradient of :meth:`splitmodel.heads.StandardisedHead.table`.

        It is of the mean loss over so many batches: see :func:`splitmodel.training.set_step`.

        Raises:
            ValueError: It is of another shape.
        """
        self.head.set_gradient_table(gradient)
        self._trained.update(learning_rate, batches)
        self._updates += 1
        self._tables[self._updates] = self.head.table()
        self._tables.pop(self._updates - self._delay - 1, None)

    def state(self) -> dict[str, Tensor]:
        """Copies of the head and of what its optimiser remembers, by parameter and name."""
        return self._trained.whole_state()

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Take over what :meth:`state` gave."""
        self._trained.load_whole_state(state)
