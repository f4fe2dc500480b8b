"""Rounds of the baselines that train on board alone: the satellite holds the whole model."""

from __future__ import annotations

import copy
from dataclasses import replace
from functools import lru_cache

from client_app import state
from client_app.local_round import LocalRound
from client_app.modes.whole_model import kept_shape, train_head_alone, train_whole_round
from learning.model import base_of
from mission.schema import Lora, Model
from splitmodel.dense_heads import Decoder
from splitmodel.families import ModelInput
from splitmodel.heads import HeadMaker
from splitmodel.lora.adapters import LoraSettings, exchanged_parts, make_trainable
from splitmodel.parts import SplitModel, load_split
from splitmodel.training import VIEWS


def train_on_board(local: LocalRound) -> None:
    """Train head, adapters or the whole model, with what the frozen part makes of each image cached where asked for."""
    training, on_board, context = local.task.training, local.on_board, local.context
    model = _whole_model(local)
    local.parts = exchanged_parts(local.head, model.backbone)
    local.load_weights()
    states = None
    if training.mode == "onboard-head" or training.onboard_cache:
        shape = kept_shape(model, training)
        states = state.load_cached_states(context, len(on_board.images), VIEWS[training.augment], shape)
    if training.mode == "onboard-head":
        assert states is not None
        local.progress = train_head_alone(local.task, on_board, model, states)
    else:
        local.progress = train_whole_round(local.task, on_board, model, states)
    if states is not None:
        state.save_cached_states(context, states)


def _whole_model(local: LocalRound) -> SplitModel:
    """The whole model, a copy of its own, with what it trains made trainable."""
    scenario, on_board = local.satellite.scenario, local.on_board
    training = scenario.training
    task = on_board.task
    model = _trainable_model(
        scenario.model,
        scenario.lora,
        training.mode,
        training.adapted_blocks,
        scenario.seed,
        task.outputs,
        task.decoder,
        task.needs_scaling,
        task.head,
    )
    model = replace(copy.deepcopy(model), head=local.head)
    model.embedding.preprocess = on_board.embedding.preprocess
    return model


@lru_cache(maxsize=2)  # a process may play several satellites in turn
def _trainable_model(
    model: Model,
    lora: Lora,
    mode: str,
    adapted_blocks: int,
    seed: int,
    outputs: int,
    decoder: Decoder | None,
    numbers: bool,
    maker: HeadMaker | None,
) -> SplitModel:
    whole = load_split(
        base_of(model),
        num_labels=outputs,
        pooling=model.pooling,
        random_init=model.random_init,
        seed=seed,
        wanted=ModelInput(**model.image_options),
        decoder=decoder,
        numbers=numbers,
        maker=maker,
    )
    settings = LoraSettings(**lora.model_dump())
    make_trainable(whole.backbone, mode, settings, seed=seed, adapted_blocks=adapted_blocks)
    return whole
