"""The ClientApp: a satellite.

It answers two messages. ``query.enrol`` – before anything is trained – opens the satellite's images and model,
sends the features of a few images so that the ground learns how pooled states are scaled, and reports its images by
class, or what is wrong. ``train`` runs one round on board; a round that the ground cannot serve now comes back
*suspended*, and the next ``train`` message goes on where it stopped. So does a message that is sent again because the
process of the first one has died.
"""

from __future__ import annotations

import copy
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import torch
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from torch import nn

from client_app import state
from client_app.cached_features import key_salt_of
from client_app.crossings import Crossings
from client_app.labelled_features import send_labelled_features
from client_app.labels_on_board import head_on_board, in_units, label_facts, state_shape, task_of
from client_app.local_checkpoint import LocalCheckpoint
from client_app.lora_round import RoundSuspended, train_lora_round
from client_app.onboard import (
    OnBoard,
    Progress,
    RoundTask,
    round_trip_s,
    seconds_per_image,
    send_samples_of_features,
    train_head_round,
)
from client_app.partitions import Shares, shares_of
from client_app.plane_exchange import PlaneExchange
from client_app.raw_images import send_images
from client_app.whole_model import kept_shape, train_head_alone, train_whole_round
from mission.divergence import require_finite_cause
from mission.run_config import RunConfig
from mission.scenario import given_path
from mission.schema import Data, Lora, Model, Scenario
from relay.client.direct import GroundLink
from relay.client.message_link import BundleLink, LinkError
from relay.client.relay_link import RelayLink
from relay.node.settings import LocalRelay, local_relay
from relay.wire.manifest import NotFinite
from splitmodel.crossing.codecs import CodecError
from splitmodel.crossing.scaling import SplitScaling
from splitmodel.dense_heads import Decoder, TrainedHead
from splitmodel.families import ModelInput
from splitmodel.imagery import Imagery, ImageSet, Reading, open_imagery
from splitmodel.imagery.fitting import fitted
from splitmodel.imagery.statistics import survey
from splitmodel.lora.adapters import (
    LoraSettings,
    exchanged_parts,
    load_trainable_state,
    make_trainable,
    trainable_state,
)
from splitmodel.parts import Embedding, SplitModel, load_embedding, load_split
from splitmodel.preprocess import Preprocess
from splitmodel.shipped import locate
from splitmodel.tasks import Task
from splitmodel.training import VIEWS, VIEWS_THAT_CROSS

_THREADS = 1  # satellites share this machine's cores

app = ClientApp()


@app.query("enrolment")
def enrol(message: Message, context: Context) -> Message:
    """Report who is here and with how many samples, or why this satellite cannot train."""
    torch.set_num_threads(_THREADS)
    index = _index(context)
    run_config = RunConfig.from_config(message.content.config_records["config"])
    if index >= len(run_config.satellites):
        return _answer(message, ConfigRecord({"satellite": index, "spare": True}))
    try:
        on_board = _on_board(run_config, index)
        # All must be readable before training.
        seen = survey(on_board.images, on_board.embedding.preprocess, statistics=False)
        facts = label_facts(on_board, run_config.scenario.data.sensor_column)
    except ValueError as error:  # the typed errors of scenario, imagery, partition and model
        return _answer(message, ConfigRecord({"satellite": index, "error": str(error)}))
    with _link(context, run_config, index) as link:
        crossings = Crossings(link, run_config, index, round_number=0)
        send_samples_of_features(on_board, crossings)
        found = ConfigRecord(
            {
                "satellite": index,
                **facts,
                "embedding-s": seconds_per_image(on_board, run_config.scenario.training.batch_size),
                "round-trip-s": round_trip_s(on_board, crossings),
                "no-data": seen.no_data,
            }
        )
    return _answer(message, found)


@app.query("statistics")
def statistics(message: Message, context: Context) -> Message:
    """Compute what the bands of this satellite's images measure, or say why it cannot."""
    torch.set_num_threads(_THREADS)
    index = _index(context)
    run_config = RunConfig.from_config(message.content.config_records["config"])
    if index >= len(run_config.satellites):
        return _answer(message, ConfigRecord({"satellite": index, "spare": True}))
    try:
        scenario = run_config.scenario
        preprocess = _embedding(scenario.model, scenario.split.onboard_blocks, scenario.seed).preprocess
        found = survey(_images(run_config, index, preprocess), preprocess, statistics=True)
    except ValueError as error:
        return _answer(message, ConfigRecord({"satellite": index, "error": str(error)}))
    return _answer(message, ConfigRecord({"satellite": index, "bands": found.bands.to_rows()}))


@app.train()
def train(message: Message, context: Context) -> Message:
    """Train one round on board, or resume a suspended one."""
    torch.set_num_threads(_THREADS)
    index = _index(context)
    config = message.content.config_records["config"]
    run_config = RunConfig.from_config(config)
    training = run_config.scenario.training
    on_board = _on_board(run_config, index)
    constants = message.content.array_records["constants"].to_torch_state_dict()
    on_board, scaling = in_units(on_board, constants), SplitScaling.from_state(constants)
    head = head_on_board(on_board, scaling)
    number = int(config["round"])  # type: ignore[arg-type]
    task = RoundTask(number, run_config.scenario.seed, index, training)

    if training.trains_on_board:
        model = _whole_model(run_config.scenario, on_board.task, head)
        model.embedding.preprocess = on_board.embedding.preprocess
        parts = exchanged_parts(head, model.backbone)
        load_trainable_state(parts, message.content.array_records["arrays"].to_torch_state_dict())
        states = None
        if training.mode == "onboard-head" or training.onboard_cache:
            shape = kept_shape(model, training)
            states = state.load_cached_states(context, len(on_board.images), VIEWS[training.augment], shape)
        if training.mode == "onboard-head":
            assert states is not None
            come_to = train_head_alone(task, on_board, model, states)
        else:
            come_to = train_whole_round(task, on_board, model, states)
        if states is not None:
            state.save_cached_states(context, states)
        return _trained(message, on_board, come_to, parts, {})

    local_checkpoint = _local_checkpoint(context, run_config)
    if local_checkpoint is not None:
        local_checkpoint.recall(context.state)
    kept = None
    if run_config.keeps_features:
        origin = key_salt_of(on_board.embedding, scaling.features, run_config.scenario.crossings.features)
        views = VIEWS_THAT_CROSS[training.augment]
        kept = state.load_cached_features(context, len(on_board.images), views, origin)

    parts = exchanged_parts(head)
    if training.on_ground:
        load_trainable_state(parts, message.content.array_records["arrays"].to_torch_state_dict())
        with _link(context, run_config, index) as link:
            crossings = Crossings(link, run_config, index, round_number=number, scaling=scaling)
            if training.labels == "ground":
                sent = state.load_sent(context, len(on_board.images), VIEWS_THAT_CROSS[training.augment])
                send_labelled_features(task, on_board, crossings, sent)
                state.save_sent(context, sent)
            elif not state.images_are_sent(context):
                # In the order in which the ground's first pass takes them, also where they are sent again later.
                batches = replace(task, number=1).batches(len(on_board.images))
                send_images(on_board, crossings, batches[: len(batches) // training.local_epochs])
                state.save_images_are_sent(context)
        return _trained(message, on_board, Progress(), parts, {"bytes-up": crossings.bytes_up})

    progress = state.load_progress(context, run_config.run, number, head)
    if progress is None:
        progress = Progress()
        if kept is not None:
            kept.begin_round()
        load_trainable_state(parts, message.content.array_records["arrays"].to_torch_state_dict())
    pooled_states = None
    if training.mode == "head":
        pooled_states = state.load_cached_states(
            context, len(on_board.images), VIEWS[training.augment], state_shape(on_board, scaling)
        )

    def save() -> None:
        state.save_progress(context, run_config.run, number, progress, head)
        if kept is not None:
            state.save_cached_features(context, kept)
        if pooled_states is not None:
            state.save_cached_states(context, pooled_states)

    def note() -> None:
        """Keep where the round stands on disk, where there is one; what led here need not come again."""
        if local_checkpoint is not None:
            save()
            local_checkpoint.write(context.state)
            crossings.acknowledge()

    suspended = False
    with _link(context, run_config, index) as link:
        crossings = Crossings(link, run_config, index, round_number=number, scaling=scaling)
        try:
            if pooled_states is not None:
                train_head_round(task, on_board, head, crossings, progress, pooled_states, note)
            else:
                train_lora_round(task, on_board, head, crossings, progress, kept, note)
        except RoundSuspended:
            suspended = True
        except (CodecError, LinkError, NotFinite) as error:
            require_finite_cause(error, number, training.mode)
            raise
        finished_s = link.mission_time_s()
        exchange = PlaneExchange.from_config(config)
        if exchange is not None and not (suspended or progress.exchanged):
            early, satellite = crossings.for_the_plane, run_config.satellites[index]
            progress.plane_sum = exchange.sum(
                parts, link, satellite, run=run_config.run, number=number, early=early
            )
            progress.exchanged = True
            early.clear()
            note()
    save()

    facts: dict[str, int | float] = {"bytes-up": crossings.bytes_up, "bytes-down": crossings.bytes_down}
    if finished_s is not None:
        facts["finished-s"] = finished_s
    return _trained(message, on_board, progress, None if suspended else parts, facts)


def _trained(
    message: Message,
    on_board: OnBoard,
    progress: Progress,
    parts: nn.ModuleDict | None,
    facts: dict[str, int | float],
) -> Message:
    """The reply to ``train``: the plane's sum where there is one, else what was trained here.

    Without ``parts`` it says that the round is suspended.
    """
    seen = max(1, progress.seen)
    metrics: dict[str, int | float | list[int] | list[float]] = {
        "num-examples": len(on_board.images),
        "steps": progress.step,
        "suspended": int(parts is None),
        "train-loss": progress.loss_sum / seen,
        "train-accuracy": progress.right / seen,
        "bytes-up": 0,
        "bytes-down": 0,
    }
    content = RecordDict({"metrics": MetricRecord({**metrics, **facts})})
    if progress.plane_sum is not None:
        content["plane"] = ArrayRecord({"sum": progress.plane_sum})
    elif parts is not None:
        content["arrays"] = ArrayRecord(trainable_state(parts))
    return Message(content=content, reply_to=message)


def _answer(message: Message, config: ConfigRecord) -> Message:
    return Message(content=RecordDict({"config": config}), reply_to=message)


def _index(context: Context) -> int:
    """Which satellite of the constellation this node is."""
    return int(context.node_config["partition-id"])


def _link(context: Context, run_config: RunConfig, index: int) -> BundleLink:
    """To the ground itself, or to the satellite's own relay where the node is told of one."""
    relay, satellite = _relay(context), run_config.satellites[index]
    if relay is None:
        return GroundLink(run_config.backbone, satellite, secret=run_config.secret)
    return RelayLink(relay.address, satellite, identity=relay.identity)


def _local_checkpoint(context: Context, run_config: RunConfig) -> LocalCheckpoint | None:
    """Beside the satellite's relay; none in a simulation, where a satellite does not die alone."""
    relay = _relay(context)
    return (
        LocalCheckpoint(relay.folder / "application", run_config.run, state.CACHES)
        if relay is not None
        else None
    )


def _relay(context: Context) -> LocalRelay | None:
    """The satellite's own relay, where the node is told of one."""
    told = context.node_config.get("relay")
    return None if told is None else local_relay(Path(str(told)))


def _on_board(run_config: RunConfig, index: int) -> OnBoard:
    scenario = run_config.scenario
    embedding = copy.copy(
        _embedding(scenario.model, scenario.split.onboard_blocks, scenario.seed)
    )  # with a preprocessing of its own
    images = _images(run_config, index, embedding.preprocess)
    images.hold()
    embedding.preprocess = fitted(
        embedding.preprocess, images, mean=run_config.band_means, deviation=run_config.band_deviations
    )
    turns_tokens = scenario.training.augment == "token-dihedral"
    return OnBoard(images, embedding, task_of(scenario, images), embedding.grid if turns_tokens else None)


def _images(run_config: RunConfig, index: int, preprocess: Preprocess) -> ImageSet:
    """The satellite's share of the training images, in the model's bands."""
    scenario = run_config.scenario
    shares = _shares(scenario.data, run_config.planes, run_config.satellites, scenario.seed)
    return _imagery(scenario.data, scenario.seed).train.take(shares[index]).for_model(preprocess)


# A process that plays several satellites in turn, as in simulation, opens data and model once.
@lru_cache(maxsize=2)
def _shares(data: Data, planes: tuple[int, ...], satellites: tuple[str, ...], seed: int) -> Shares:
    return shares_of(data, _imagery(data, seed).train, planes, satellites, seed)


@lru_cache(maxsize=2)
def _imagery(data: Data, seed: int) -> Imagery:
    return open_imagery(
        data.source,
        given_path(data.path, "data.path"),
        seed=seed,
        train_samples=data.train_samples,
        test_samples=data.test_samples,
        reading=Reading(**data.reading),
    )


def _whole_model(scenario: Scenario, task: Task, head: TrainedHead) -> SplitModel:
    """The whole model for a baseline, a copy of its own, with what it trains made trainable."""
    training = scenario.training
    model = _trainable_model(
        scenario.model,
        scenario.lora,
        training.mode,
        training.adapted_blocks,
        scenario.seed,
        task.outputs,
        task.decoder,
    )
    return replace(copy.deepcopy(model), head=head)


@lru_cache(maxsize=2)
def _trainable_model(
    model: Model,
    lora: Lora,
    mode: str,
    adapted_blocks: int,
    seed: int,
    outputs: int,
    decoder: Decoder | None,
) -> SplitModel:
    whole = load_split(
        locate(model.name, given_path(model.path, "model.path")),
        num_labels=outputs,
        pooling=model.pooling,
        random_init=model.random_init,
        seed=seed,
        wanted=ModelInput(**model.image_options),
        decoder=decoder,
    )
    settings = LoraSettings(**lora.model_dump())
    make_trainable(whole.backbone, mode, settings, seed=seed, adapted_blocks=adapted_blocks)
    return whole


@lru_cache(maxsize=2)
def _embedding(model: Model, onboard_blocks: int, seed: int) -> Embedding:
    return load_embedding(
        locate(model.name, given_path(model.path, "model.path")),
        random_init=model.random_init,
        seed=seed,
        wanted=ModelInput(**model.image_options),
        onboard_blocks=onboard_blocks,
    )
