"""What a run needs to go on after a round as if it had never stopped: ``state.safetensors`` and ``state.json``.

They lie in the round's checkpoint beside the weights that users load. Nothing else has a state of its own: data order
and learning rates follow from seed, round and step, and what the muster finds out is found again.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from safetensors.torch import load_file, save_file
from torch import Tensor

from mission.record import write_text

_STATE, _TENSORS = "state.json", "state.safetensors"
_EXCHANGED, _STEPS = "exchanged.", "steps."


class CheckpointError(ValueError):
    """A run directory cannot be resumed; the message names it and says why."""


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """The state at the end of a round.

    Attributes:
        round: The last finished round.
        mission_time_s: Mission time.
        scores: Test loss and accuracy before training and after each round.
        exchanged: The averaged weights, as they are sent to the satellites.
        steps: The backbone's state, see :meth:`server_app.backbone.BackboneSteps.state`.
    """

    round: int
    mission_time_s: float
    scores: Sequence[tuple[float, float]]
    exchanged: Mapping[str, Tensor]
    steps: Mapping[str, Tensor]

    def save(self, directory: Path) -> None:
        """Write both files, each whole; ``state.json`` comes last and says that the checkpoint is complete."""
        tensors = {_EXCHANGED + name: tensor.contiguous() for name, tensor in self.exchanged.items()}
        tensors |= {_STEPS + name: tensor.contiguous() for name, tensor in self.steps.items()}
        temporary = directory / f"{_TENSORS}.tmp"
        save_file(tensors, temporary)
        os.replace(temporary, directory / _TENSORS)
        state = {"round": self.round, "mission_time_s": self.mission_time_s, "scores": self.scores}
        write_text(directory / _STATE, json.dumps(state) + "\n")

    @classmethod
    def load(cls, directory: Path) -> Checkpoint:
        """The inverse of :meth:`save`.

        Raises:
            CheckpointError: A file is damaged.
        """
        try:
            state = json.loads((directory / _STATE).read_text(encoding="utf-8"))
            tensors = load_file(directory / _TENSORS)
            scores = [(float(loss), float(accuracy)) for loss, accuracy in state["scores"]]
            parts = [
                {name.removeprefix(prefix): tensors[name] for name in tensors if name.startswith(prefix)}
                for prefix in (_EXCHANGED, _STEPS)
            ]
            return cls(int(state["round"]), float(state["mission_time_s"]), scores, *parts)
        except Exception as error:  # safetensors raises a class of its own that is no ValueError
            raise CheckpointError(f"{directory}: a damaged checkpoint: {error}") from error


def newest(checkpoints: Path) -> Path:
    """The newest complete checkpoint of a run.

    Raises:
        CheckpointError: There is none.
    """
    complete = sorted(path.parent for path in checkpoints.glob(f"*/{_STATE}"))
    if not complete:
        raise CheckpointError(f"{checkpoints}: no finished round to go on from; start the run anew")
    return complete[-1]
