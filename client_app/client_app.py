"""The ClientApp: a satellite.

It answers two messages. ``query.muster`` – before anything is trained – opens the satellite's images and model
and reports its samples, or what is wrong. ``train`` runs one round on board; a round that the ground cannot serve
now comes back *parked*, and the next ``train`` message with ``resume`` goes on where it stopped.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from client_app import state
from client_app.crossings import Crossings
from client_app.onboard import (
    OnBoard,
    Parked,
    PooledStates,
    Progress,
    RoundTask,
    train_head_round,
    train_lora_round,
)
from client_app.partitions import partition
from mission.scenario import given_path, scenario_from_json
from mission.schema import Scenario
from relay.direct import GroundLink
from splitmodel.imagery import Imagery, open_imagery
from splitmodel.parts import Embedding, load_embedding, new_head
from splitmodel.shipped import locate
from splitmodel.training import VIEWS, round_seed

app = ClientApp()


@app.query("muster")
def muster(message: Message, context: Context) -> Message:
    """Report who is here and with how many samples, or why this satellite cannot train."""
    config = message.content.config_records["config"]
    index = int(context.node_config["partition-id"])
    planes = tuple(int(plane) for plane in config["planes"])  # type: ignore[union-attr]
    if index >= len(planes):
        return _reply(message, ConfigRecord({"satellite": index, "spare": True}))
    try:
        on_board = _on_board(scenario_from_json(str(config["scenario"])), planes, index)
        on_board.images.pixels(
            np.arange(len(on_board.images))
        )  # every image must be readable before training
    except ValueError as error:  # the typed errors of scenario, imagery, partition and model
        return _reply(message, ConfigRecord({"satellite": index, "error": str(error)}))
    histogram = np.bincount(on_board.images.labels, minlength=len(on_board.images.classes))
    return _reply(
        message,
        ConfigRecord({"satellite": index, "samples": len(on_board.images), "histogram": histogram.tolist()}),
    )


@app.train()
def train(message: Message, context: Context) -> Message:
    """Train one round on board, or go on with a parked one."""
    torch.set_num_threads(1)  # satellites share this machine's cores
    config = message.content.config_records["config"]
    scenario = scenario_from_json(str(config["scenario"]))
    planes = tuple(int(plane) for plane in config["planes"])  # type: ignore[union-attr]
    index = int(context.node_config["partition-id"])
    name, number = str(config["satellite"]), int(config["round"])  # type: ignore[arg-type]
    on_board = _on_board(scenario, planes, index)
    head = new_head(on_board.embedding.config.hidden_size, len(on_board.images.classes))
    task = RoundTask(number, round_seed(scenario.seed, index, number), scenario.training)
    resumed = bool(config["resume"])
    progress = state.load_progress(context, head) if resumed else Progress()
    if not resumed:
        head.load_state_dict(message.content.array_records["arrays"].to_torch_state_dict())

    parked = False
    with GroundLink(str(config["backbone"]), name) as link:
        crossings = Crossings(
            link,
            scenario.crossings,
            run=str(config["run"]),
            round_number=number,
            satellite=name,
            ground=str(config["ground"]),
        )
        try:
            if scenario.training.mode == "head":
                pooled_states = state.load_pooled_states(context) or PooledStates(
                    len(on_board.images), VIEWS[scenario.training.augment], head.in_features
                )
                train_head_round(task, on_board, head, crossings, progress, pooled_states)
                state.save_pooled_states(context, pooled_states)
            else:
                train_lora_round(task, on_board, head, crossings, progress)
        except Parked:
            state.save_progress(context, progress, head)
            parked = True

    seen = max(1, progress.seen)
    metrics = MetricRecord(
        {
            "num-examples": len(on_board.images),
            "steps": progress.step,
            "parked": int(parked),
            "train-loss": progress.loss_sum / seen,
            "train-accuracy": progress.correct / seen,
            "bytes-up": crossings.bytes_up,
            "bytes-down": crossings.bytes_down,
        }
    )
    content = RecordDict({"metrics": metrics})
    if not parked:
        content["arrays"] = ArrayRecord(head.state_dict())
    return Message(content=content, reply_to=message)


def _reply(message: Message, config: ConfigRecord) -> Message:
    return Message(content=RecordDict({"config": config}), reply_to=message)


def _on_board(scenario: Scenario, planes: tuple[int, ...], index: int) -> OnBoard:
    data = scenario.data
    train = _imagery(data.source, data.path, scenario.seed, data.train_samples, data.test_samples).train
    shares = partition(
        data.partition,
        train.labels,
        planes,
        alpha=data.alpha,
        classes_per_satellite=data.classes_per_satellite,
        seed=scenario.seed,
    )
    return OnBoard(
        train.take(shares[index]),
        _embedding(scenario.model.name, scenario.model.path, scenario.model.random_init, scenario.seed),
    )


# A process that plays several satellites in turn, as in simulation, opens data and model once.
@lru_cache(maxsize=2)
def _imagery(source: str, path: str, seed: int, train_samples: int, test_samples: int) -> Imagery:
    return open_imagery(
        source,
        given_path(path, "data.path"),
        seed=seed,
        train_samples=train_samples,
        test_samples=test_samples,
    )


@lru_cache(maxsize=2)
def _embedding(name: str, path: str, random_init: bool, seed: int) -> Embedding:
    return load_embedding(locate(name, given_path(path, "model.path")), random_init=random_init, seed=seed)
