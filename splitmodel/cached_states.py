"""What leaves a frozen part of the model, kept by image and view: it never changes, so it is computed once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from splitmodel.training import Batch, new_batches


class CachedStates:
    """States by image and view.

    Args:
        samples: Images of the share.
        views: Views of each.
        shape: Of one state: (hidden,) of a pooled one, (tokens, hidden) of what a block is given.
        kept: As :meth:`state` of an earlier instance gave it, to go on with.

    Attributes:
        known: Which are here, shape (samples, views).
    """

    def __init__(
        self, samples: int, views: int, *, shape: Sequence[int], kept: Mapping[str, Tensor] | None = None
    ) -> None:
        self.known: NDArray[np.bool_] = np.zeros((samples, views), bool)
        self._states = torch.empty(samples, views, *shape)  # takes no memory before it is filled
        if kept is not None:
            self.known = kept["known"].numpy().astype(bool)
            self._states[torch.from_numpy(self.known)] = kept["states"]

    @property
    def empty(self) -> bool:
        """Whether none has come yet."""
        return not self.known.any()

    @property
    def bytes(self) -> int:
        """Return the bytes of all states."""
        return self._states.numel() * self._states.element_size()

    def missing(self, batches: Sequence[Batch], batch_size: int) -> list[Batch]:
        """Images and views of these batches that are not here yet, see :func:`splitmodel.training.new_batches`."""
        return new_batches(batches, self.known, batch_size)

    def put(self, batch: Batch, states: Tensor) -> None:
        """Keep the states of a batch."""
        self._states[batch.indices, batch.views] = states
        self.known[batch.indices, batch.views] = True

    def get(self, batch: Batch) -> Tensor:
        """The states of a batch, which are all here."""
        assert self.known[batch.indices, batch.views].all()
        return self._states[batch.indices, batch.views]

    def state(self) -> dict[str, Tensor]:
        """All that is here, as tensors by name."""
        known = torch.from_numpy(self.known)
        return {"known": known.to(torch.uint8), "states": self._states[known]}
