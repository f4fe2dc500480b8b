"""What a run needs to go on after a round as if it had never stopped: ``state.safetensors`` and ``state.json``.

They lie in the round's checkpoint beside the weights that users load. Nothing else has a state of its own: data order
and learning rates follow from seed, round and step, and what enrolment finds out is found again.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from mission.record import write_text
from orbit.imaging.numbered_images import ImageRange
from splitmodel.tasks import Score
from strategies.aggregation.client_updates import ClientUpdate
from strategies.problem.round_state import RoundState

_STATE, _TENSORS = "state.json", "state.safetensors"
_OLD_KEYS = {"under_way": "pending_updates", "left_over": "carry_over"}  # of versions before 0.2
_EXCHANGED, _STEPS, _SERVER, _LATE = "exchanged.", "steps.", "server.", "late."


class CheckpointError(ValueError):
    """A run directory cannot be resumed; the message names it and says why."""


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """The state at the end of a round.

    Attributes:
        round: The last finished round.
        mission_time_s: Mission time.
        scores: Before training and after each round.
        exchanged: The averaged weights, as they are sent to the satellites.
        steps: What the ground has trained, see :meth:`server_app.backbone.service.Ground.state`.
        server: The server optimiser's state.
        pending_updates: What satellites have come to and not delivered yet.
        carry_over: What they had done when the round ended, as it is planned, and what antennas point at.
        taken: The images of each round and satellite, where these come as satellites fly.
    """

    round: int
    mission_time_s: float
    _: KW_ONLY
    scores: Sequence[Score]
    exchanged: Mapping[str, Tensor]
    steps: Mapping[str, Tensor]
    server: Mapping[str, Tensor]
    pending_updates: Mapping[str, ClientUpdate]
    carry_over: RoundState
    taken: Sequence[tuple[ImageRange, ...]] = ()

    def save(self, directory: Path) -> None:
        """Write both files, each whole; ``state.json`` comes last and says that the checkpoint is complete."""
        parts = {_EXCHANGED: self.exchanged, _STEPS: self.steps, _SERVER: self.server}
        parts |= {
            f"{_LATE}{position}.": {key: torch.from_numpy(array) for key, array in late.arrays.items()}
            for position, late in enumerate(self.pending_updates.values())
        }
        tensors = {
            prefix + name: tensor.contiguous()
            for prefix, part in parts.items()
            for name, tensor in part.items()
        }
        temporary = directory / f"{_TENSORS}.tmp"
        save_file(tensors, temporary)
        os.replace(temporary, directory / _TENSORS)
        state = {
            "round": self.round,
            "mission_time_s": self.mission_time_s,
            "scores": [score.to_json() for score in self.scores],
            "pending_updates": [
                [name, late.started, late.report] for name, late in self.pending_updates.items()
            ],
            "carry_over": {
                "done": self.carry_over.done,
                "on_ground": self.carry_over.on_ground,
                "pointed": sorted(self.carry_over.pointed),
            },
            "taken": self.taken,
        }
        write_text(directory / _STATE, json.dumps(state) + "\n")

    @classmethod
    def load(cls, directory: Path) -> Checkpoint:
        """The inverse of :meth:`save`.

        Raises:
            CheckpointError: A file is damaged.
        """
        try:
            state = json.loads((directory / _STATE).read_text(encoding="utf-8"))
            state = {_OLD_KEYS.get(key, key): value for key, value in state.items()}
            tensors = load_file(directory / _TENSORS)
            scores = [Score.from_json(plain) for plain in state["scores"]]

            def part(prefix: str) -> dict[str, Tensor]:
                return {
                    name.removeprefix(prefix): tensors[name] for name in tensors if name.startswith(prefix)
                }

            pending_updates = {
                name: ClientUpdate(
                    started,
                    {key: tensor.numpy() for key, tensor in part(f"{_LATE}{position}.").items()},
                    report=report,
                )
                for position, (name, started, report) in enumerate(state["pending_updates"])
            }
            return cls(
                int(state["round"]),
                float(state["mission_time_s"]),
                scores=scores,
                exchanged=part(_EXCHANGED),
                steps=part(_STEPS),
                server=part(_SERVER),
                pending_updates=pending_updates,
                carry_over=RoundState(
                    tuple(state["carry_over"]["done"]),
                    tuple(state["carry_over"]["on_ground"]),
                    pointed=frozenset((node, peer) for node, peer in state["carry_over"]["pointed"]),
                ),
                taken=[tuple((first, count) for first, count in ranges) for ranges in state.get("taken", [])],
            )
        except Exception as error:  # safetensors raises a class of its own that is no ValueError
            raise CheckpointError(f"{directory}: a damaged checkpoint: {error}") from error


def newest(checkpoints: Path) -> Path:
    """The newest complete checkpoint of a run.

    Raises:
        CheckpointError: There is none.
    """
    complete = sorted(path.parent for path in checkpoints.glob(f"*/{_STATE}"))
    if not complete:
        raise CheckpointError(f"{checkpoints}: no finished round to resume from; start the run again")
    return complete[-1]
