"""The ways to train that a comparison sets beside each other."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass

from strategies.problem.workload import Mode


@dataclass(frozen=True)
class TrainingVariant:
    """A way to train.

    Attributes:
        mode: Who computes what.
        onboard_share: Whether satellites may train a part of their images themselves, in mode ``lora``.
        adapted_blocks: In mode ``onboard-lora``, how many of the last blocks are adapted; 0 is all.
        onboard_cache: There, whether what leaves the frozen part is kept on board.
        client_share: In mode ``onboard-full``, the share of the blocks, the first ones, that are trained on board, with
            a head of their own behind them; their features go down with the weights, for the ground to train the rest.
            0 trains the whole model on board.
        room_for_all: In mode ``lora``, whether the ground has room for the features of all images under all views.
    """

    mode: Mode
    _: KW_ONLY
    onboard_share: bool = False
    adapted_blocks: int = 0
    onboard_cache: bool = False
    client_share: float = 0.0
    room_for_all: bool = False
