"""A satellite: which one this node is, its images, the frozen embedding, and its link to the ground."""

from __future__ import annotations

import copy
from dataclasses import KW_ONLY, dataclass
from functools import cached_property, lru_cache
from pathlib import Path

from flwr.app import Context, Message

from client_app import state
from client_app.local_checkpoint import LocalCheckpoint
from client_app.onboard import OnBoard
from client_app.partitions import Shares, shares_of
from learning.imagery import imagery_of
from learning.model import base_of
from learning.task import task_of
from mission.run_config import RunConfig
from mission.schema import Data, Model, Scenario, Training
from relay.client.direct import GroundLink
from relay.client.message_link import BundleLink
from relay.client.relay_link import RelayLink
from relay.node.settings import LocalRelay, local_relay
from splitmodel.families import ModelInput
from splitmodel.imagery import Imagery, ImageSet
from splitmodel.imagery.fitting import fitted
from splitmodel.parts import Embedding, Tail, load_onboard_parts
from splitmodel.preprocess import Preprocess


@dataclass(frozen=True, eq=False)
class Satellite:
    """This node's satellite.

    Attributes:
        index: Its position in the constellation.
        run_config: The run, as the ground tells it.
        relay: Its own relay, where the node is told of one.
    """

    index: int
    run_config: RunConfig
    _: KW_ONLY
    relay: LocalRelay | None

    @classmethod
    def of(cls, message: Message, context: Context) -> Satellite:
        """Read which satellite this node is, and the run that a message tells of."""
        relay = context.node_config.get("relay")
        return cls(
            int(context.node_config["partition-id"]),
            RunConfig.from_config(message.content.config_records["config"]),
            relay=None if relay is None else local_relay(Path(str(relay))),
        )

    @property
    def is_spare(self) -> bool:
        """Whether the scenario has fewer satellites than Flower has nodes."""
        return self.index >= len(self.run_config.satellites)

    @property
    def name(self) -> str:
        """Its name."""
        return self.run_config.satellites[self.index]

    @property
    def scenario(self) -> Scenario:
        """The resolved scenario."""
        return self.run_config.scenario

    @property
    def training(self) -> Training:
        """The scenario's ``[training]`` table."""
        return self.scenario.training

    @cached_property
    def on_board(self) -> OnBoard:
        """Its images, held in memory, and the frozen embedding with a preprocessing of its own.

        Raises:
            ValueError: Scenario, imagery, labels, partition or model are not as they must be; a class of its own each.
        """
        images = self.images()
        task = task_of(self.scenario, images)
        shared, tail = self._parts(is_dense=task.is_dense)
        embedding = copy.copy(shared)
        images.hold()
        embedding.preprocess = fitted(
            embedding.preprocess,
            images,
            mean=self.run_config.band_means,
            deviation=self.run_config.band_deviations,
        )
        return OnBoard(images, embedding, task=task, tail=tail)

    @property
    def preprocess(self) -> Preprocess:
        """The model's own preprocessing."""
        return self._parts()[0].preprocess

    def images(self) -> ImageSet:
        """Return its share of the training images, in the model's bands."""
        scenario, run_config = self.scenario, self.run_config
        shares = _shares(scenario.data, run_config.planes, run_config.satellites, scenario.seed)
        train = _imagery(scenario.data, scenario.seed).train
        return train.take(shares[self.index]).for_model(self.preprocess)

    def link(self) -> BundleLink:
        """Return its link: to the ground itself, or to its own relay."""
        if self.relay is None:
            return GroundLink(self.run_config.backbone, self.name, secret=self.run_config.secret)
        return RelayLink(self.relay.address, self.name, identity=self.relay.identity)

    def local_checkpoint(self) -> LocalCheckpoint | None:
        """Return its state on disk, beside its relay; none in a simulation, where a satellite does not die alone."""
        if self.relay is None:
            return None
        return LocalCheckpoint(self.relay.folder / "application", self.run_config.run, caches=state.CACHES)

    def _parts(self, *, is_dense: bool = False) -> tuple[Embedding, Tail | None]:
        split = self.scenario.split
        # Only what is behind the ground's blocks depends on what the head answers.
        return _parts(
            self.scenario.model,
            split.blocks_on_board,
            split.head_blocks,
            is_dense and split.head_blocks > 0,
            self.scenario.seed,
        )


# A process that plays several satellites in turn, as in simulation, opens data and model once.
@lru_cache(maxsize=2)
def _shares(data: Data, planes: tuple[int, ...], satellites: tuple[str, ...], seed: int) -> Shares:
    return shares_of(data, _imagery(data, seed).train, planes, satellites, seed)


@lru_cache(maxsize=2)
def _imagery(data: Data, seed: int) -> Imagery:
    return imagery_of(data, seed)


@lru_cache(maxsize=2)
def _parts(
    model: Model, onboard_blocks: int, head_blocks: int, is_dense: bool, seed: int
) -> tuple[Embedding, Tail | None]:
    return load_onboard_parts(
        base_of(model),
        pooling=model.pooling,
        is_dense=is_dense,
        random_init=model.random_init,
        seed=seed,
        wanted=ModelInput(**model.image_options),
        onboard_blocks=onboard_blocks,
        head_blocks=head_blocks,
    )
