"""The training modes, each with the function that trains a round of it."""

from __future__ import annotations

from collections.abc import Callable

from client_app.local_round import LocalRound
from client_app.modes.given_away import give_away
from client_app.modes.onboard_baseline import train_on_board
from client_app.modes.split_round import train_over_the_split
from mission.schema import Training

_TRAINERS: dict[str, Callable[[LocalRound], None]] = {
    "lora": train_over_the_split,
    "head": train_over_the_split,
    "downlink": give_away,
    "onboard-full": train_on_board,
    "onboard-lora": train_on_board,
    "onboard-head": train_on_board,
}


def trainer_of(training: Training) -> Callable[[LocalRound], None]:
    """Return the function that trains a round on board, in place; without labels on board the ground trains alone."""
    return give_away if training.on_ground else _TRAINERS[training.mode]
