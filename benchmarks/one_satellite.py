"""The ground in this process and one satellite in another: the product's code on both sides, gRPC between them."""

from __future__ import annotations

import contextlib
import multiprocessing
import queue
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.model_shapes import CLASSES, Shape
from client_app.cached_features import CachedFeatures, key_salt_of
from client_app.exchange.crossings import Crossings
from client_app.modes.lora_round import train_lora_round
from client_app.onboard import (
    OnBoard,
    Progress,
    RoundTask,
    send_samples_of_features,
    train_head_round,
)
from mission.run_config import GROUND, RunConfig
from mission.scenario import load_scenario
from mission.schema import Scenario
from relay.client.direct import GroundEndpoint, GroundLink
from relay.client.message_link import BundleLink
from relay.wire.manifest import Buffer, Bundle, Manifest, encoded_bytes
from server_app.backbone.executor import BackboneExecutor
from server_app.backbone.feature_assembler import FeatureAssembler
from server_app.backbone.feature_cache import FeatureCache
from server_app.backbone.service import SHARED, BackboneService
from splitmodel.cached_states import CachedStates
from splitmodel.crossing.scaling import SplitScaling
from splitmodel.dense_heads import standardised
from splitmodel.imagery import ImageSet
from splitmodel.lora.adapters import LoraSettings, make_trainable
from splitmodel.parts import SplitModel
from splitmodel.tasks.classification import Classification
from splitmodel.training import steps_per_round
from strategies.planner.step_order import Schedule, ScheduledStep

SATELLITE, RUN = "sat", "benchmark"
ALONE = {"constellation.satellites": 1, "constellation.planes": 1, "constellation.phasing": 0}
PLAIN = {"training.augment": "none", "training.rounds": 100_000, "training.schedule": "constant"}
EXACT = {"crossings.features": "fp32", "crossings.hidden": "fp32", "crossings.gradients": "fp32"}


@dataclass(frozen=True)
class Flown:
    """What a round took.

    Attributes:
        bytes_up, bytes_down: That crossed.
        on_board_s: CPU time of the satellite's process.
        ground_s: In passes of the backbone and steps of its optimiser, on the wall.
    """

    bytes_up: int
    bytes_down: int
    on_board_s: float
    ground_s: float

    @property
    def crossed_bytes(self) -> int:
        """Both ways."""
        return self.bytes_up + self.bytes_down


class Pair:
    """A satellite and the ground, mustered; see :func:`pair`."""

    def __init__(
        self, ground: BackboneService, backbone: BackboneExecutor, satellite: Connection, steps: int
    ) -> None:
        self._ground = ground
        self._backbone = backbone
        self._satellite = satellite
        self._steps = steps
        self._round = 0
        satellite.recv()  # samples of its features were answered
        satellite.send(ground.end_enrolment([SATELLITE]).to_state())

    def fly(self) -> Flown:
        """A round over all images."""
        self._round += 1
        busy_s = self._backbone.busy_s
        batches = tuple((ScheduledStep(SATELLITE, step),) for step in range(self._steps))
        self._ground.begin_round(self._round, Schedule(batches, tuple(range(self._steps))))
        self._satellite.send(self._round)
        bytes_up, bytes_down, on_board_s = self._satellite.recv()
        # The satellite is done once its last gradients have crossed: their pass through the backbone is still to come.
        self._ground.end_round({SATELLITE: 1.0}, 1.0)
        return Flown(bytes_up, bytes_down, on_board_s, self._backbone.busy_s - busy_s)


@contextlib.contextmanager
def pair(
    shape: Shape, samples: int, settings: dict[str, Any], *, link_bps: float | None = None
) -> Iterator[Pair]:
    """A satellite with so many random images, and the ground, for as long as the block lasts.

    Args:
        shape: Of the model.
        samples: Images.
        settings: Keys of the scenario.
        link_bps: Rate of the link each way; ``None`` is the loopback as it is.
    """
    scenario = _scenario(settings)
    training = scenario.training
    model = shape.load()
    lora = LoraSettings(**scenario.lora.model_dump())
    make_trainable(model.backbone, training.mode, lora)
    adapters = [SHARED] if training.mode == "lora" else []
    backbone = BackboneExecutor(model.backbone, lora, device=torch.device("cpu"), adapters=adapters)
    row_shape = (shape.image // shape.patch) ** 2 + model.backbone.pooling.prefix_tokens, shape.hidden
    assembler = FeatureAssembler(row_shape, scenario.crossings.features)
    ground = BackboneService(backbone, scenario, run=RUN, assembler=assembler)
    ours, theirs = multiprocessing.Pipe()
    spawning = multiprocessing.get_context(
        "spawn"
    )  # a fork would inherit threads of torch and gRPC half alive
    with (
        tempfile.TemporaryDirectory() as scratch,
        GroundEndpoint(ground.handle, [SATELLITE]) as endpoint,
    ):
        arguments = theirs, endpoint.address, shape, samples, settings, link_bps
        satellite = spawning.Process(target=_fly_satellite, args=arguments, daemon=True)
        satellite.start()
        theirs.close()
        made = Pair(
            ground, backbone, ours, steps_per_round(samples, training.batch_size, training.local_epochs)
        )
        if scenario.crossings.cache_gb:
            row_bytes = encoded_bytes("float32", (row_shape[0] * row_shape[1],), scenario.crossings.features)
            assembler.keep_in(
                FeatureCache(Path(scratch) / "features.safetensors", row_bytes, rows={SATELLITE: samples})
            )
        try:
            yield made
        finally:
            ours.close()
            satellite.join(timeout=10)


def _fly_satellite(
    orders: Connection,
    address: str,
    shape: Shape,
    samples: int,
    settings: dict[str, Any],
    link_bps: float | None,
) -> None:
    """The satellite's process: a round for every number that comes, until nobody sends any."""
    torch.set_num_threads(1)
    with GroundLink(address, SATELLITE) as loopback:
        link = SlowLink(loopback, link_bps) if link_bps else loopback
        satellite = _Satellite(shape.load(), random_images(shape.image, samples), _scenario(settings), link)
        orders.send(None)
        satellite.scale(orders.recv())
        with contextlib.suppress(EOFError):
            while True:
                number = orders.recv()
                before_s = time.process_time()
                crossings = satellite.fly(number)
                on_board_s = time.process_time() - before_s
                orders.send((crossings.bytes_up, crossings.bytes_down, on_board_s))


class _Satellite:
    def __init__(self, model: SplitModel, images: ImageSet, scenario: Scenario, link: BundleLink) -> None:
        self._scenario = scenario
        self._link = link
        self._fresh_head = model.head
        self._on_board = OnBoard(images, model.embedding, task=Classification(images.classes))
        self._run_config = RunConfig(
            scenario, (SATELLITE,), planes=(0,), run=RUN, ground=GROUND, backbone="", keeps_features=False
        )
        send_samples_of_features(self._on_board, self._crossings(0, None))

    def scale(self, scaling: dict[str, Tensor]) -> None:
        """What the ground has made of the samples; rounds come after it."""
        self._scaling = SplitScaling.from_state(scaling)
        self._head = standardised(self._fresh_head, self._scaling.pooled)
        samples, codec = len(self._on_board.images), self._scenario.crossings
        origin = key_salt_of(self._on_board.embedding, self._scaling.features, codec.features)
        self._kept = CachedFeatures(samples, 1, key_salt=origin) if codec.cache_gb else None
        self._pooled_states = CachedStates(samples, 1, shape=(len(self._scaling.pooled.mean_D),))

    def fly(self, number: int) -> Crossings:
        """A round over all images."""
        task = RoundTask(number, self._scenario.seed, satellite=0, training=self._scenario.training)
        crossings = self._crossings(number, self._scaling)
        arguments = task, self._on_board, self._head, crossings, Progress()
        if self._scenario.training.mode == "head":
            train_head_round(*arguments, self._pooled_states)
        else:
            train_lora_round(*arguments, self._kept)
        return crossings

    def _crossings(self, number: int, scaling: SplitScaling | None) -> Crossings:
        return Crossings(self._link, self._run_config, index=0, round_number=number, scaling=scaling)


def _scenario(settings: dict[str, Any]) -> Scenario:
    return load_scenario("walker-12", ALONE | PLAIN | {"crossings.cache_gb": 0.0} | settings)


def random_images(side: int, count: int) -> ImageSet:
    """Noise with labels."""
    pixels = np.random.default_rng(0).integers(0, 256, (count, side, side, 3), np.uint8)
    labels = np.arange(count, dtype=np.int64) % CLASSES
    return ImageSet.of_arrays(pixels, labels, tuple(map(str, range(CLASSES))))


class SlowLink:
    """A link whose bundles pass one after another at a rate, each way, while both ends go on."""

    def __init__(self, link: BundleLink, rate_bps: float) -> None:
        self._link = link
        self._rate_bps = rate_bps
        self._up_free_s = self._down_free_s = 0.0
        self._pending_updates: queue.Queue[tuple[float, Manifest, Buffer]] = queue.Queue()
        threading.Thread(target=self._carry, daemon=True).start()

    def send(self, manifest: Manifest, payload: Buffer) -> None:
        """Queue the bundle behind those already being sent."""
        start_s = max(time.perf_counter(), self._up_free_s)
        self._up_free_s = start_s + 8.0 * self.bundle_bytes(manifest) / self._rate_bps
        self._pending_updates.put((self._up_free_s, manifest, payload))

    def receive(self, timeout_s: float) -> Bundle:
        """The next bundle, when it has passed."""
        bundle = self._link.receive(timeout_s)
        start_s = max(time.perf_counter(), self._down_free_s)
        self._down_free_s = start_s + 8.0 * self.bundle_bytes(bundle.manifest) / self._rate_bps
        time.sleep(max(0.0, self._down_free_s - time.perf_counter()))
        return bundle

    def bundle_bytes(self, manifest: Manifest) -> int:
        """As the link below counts."""
        return self._link.bundle_bytes(manifest)

    def _carry(self) -> None:
        while True:
            arrival_s, manifest, payload = self._pending_updates.get()
            time.sleep(max(0.0, arrival_s - time.perf_counter()))
            self._link.send(manifest, payload)
