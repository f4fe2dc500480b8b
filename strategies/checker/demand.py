"""What a round has to do, derived from its workload and from where it stands: no look at what a plan does about it."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from functools import cached_property

import numpy as np

from strategies.problem.round_state import RoundState
from strategies.problem.workload import Mode, Workload

EXPECTED_STEP = np.dtype(
    [("satellite", "<i4"), ("step", "<i4"), ("first_sample", "<i4"), ("end_sample", "<i4"), ("epoch", "<i4")]
)


@dataclass(frozen=True, eq=False)
class RoundDemand:
    """Samples of each satellite, arrays of shape ``(N,)``.

    ``split`` of them cross, ``aboard`` (the last ones) are trained on board; the features of the first ``on_ground``
    are there already, and ``done`` samples times passes are over.
    """

    workload: Workload
    split: np.ndarray
    _: KW_ONLY
    aboard: np.ndarray
    on_ground: np.ndarray
    done: np.ndarray

    @classmethod
    def of(cls, workload: Workload, state: RoundState, onboard_samples: tuple[int, ...]) -> RoundDemand:
        """The demand of a round in which satellites train so many samples themselves."""
        samples = np.asarray(workload.samples)
        aboard = np.zeros_like(samples)
        if len(onboard_samples) == len(samples) and not workload.on_board:
            aboard = np.clip(onboard_samples, 0, samples)
        split = np.zeros_like(samples) if workload.on_board else samples - aboard
        if workload.c1_bytes == 0:
            on_ground = split
        else:
            grounded = np.asarray(state.on_ground or np.zeros_like(samples))
            cached = np.floor(split * workload.cached_fraction).astype(int)
            on_ground = np.minimum(np.maximum(cached, grounded), split)
        return cls(
            workload,
            split,
            aboard=aboard,
            on_ground=on_ground,
            done=np.asarray(state.done or np.zeros_like(samples)),
        )

    @property
    def has_steps(self) -> bool:
        """Whether the ground takes steps that satellites answer."""
        return self.workload.mode in (Mode.LORA, Mode.HEAD) and self.workload.crosses

    def begun(self, epoch: int) -> np.ndarray:
        """Samples of each satellite that are over in a pass."""
        return np.clip(self.done - epoch * self.split, 0, self.split)

    @cached_property
    def steps(self) -> np.ndarray:
        """Every step that is left (dtype ``EXPECTED_STEP``), by satellite and number; none in modes without steps."""
        rows: list[tuple[int, int, int, int, int]] = []
        if self.has_steps:
            size = self.workload.micro_batch
            for epoch in range(self.workload.passes):
                begun = self.begun(epoch)
                for satellite in np.flatnonzero(self.split > begun).tolist():
                    count = int(self.split[satellite])
                    before = epoch * -(-count // size)
                    for index in range(int(begun[satellite]) // size, -(-count // size)):
                        first = max(index * size, int(begun[satellite]))
                        rows.append((satellite, before + index, first, min((index + 1) * size, count), epoch))
        expected = np.array(rows, EXPECTED_STEP)
        return expected[np.lexsort([expected["step"], expected["satellite"]])]
