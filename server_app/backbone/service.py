"""The ground segment during a run: the tensors of all satellites meet the backbone here.

:class:`Ground` answers the bundles of the satellites – features with pooled states, gradients with an (empty)
acknowledgement – in the order of the plan.
"""

from __future__ import annotations

import asyncio
import functools
import operator
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import KW_ONLY, dataclass, field
from typing import Generic, NamedTuple, TypeVar

import numpy as np
import torch
from flwr.app import ArrayRecord
from torch import Tensor

from mission.run_config import GROUND, STEPS_AHEAD, ComputeTimes
from mission.schema import Scenario
from relay.client.answers import Paced, Reply, Unpaced
from relay.wire.frames import bundle_bytes
from relay.wire.manifest import Buffer, Limits, Manifest, MessageKind
from server_app.backbone.executor import BackboneExecutor, Request
from server_app.backbone.feature_assembler import Arrived, FeatureAssembler, UnexpectedBundle
from server_app.backbone.mixed_batches import own_batches
from server_app.backbone.scheduling import Backward, Forward, StepSequence, Update
from server_app.backbone.shared_head import SharedHead
from splitmodel.bottleneck import SecondMoments
from splitmodel.crossing import codecs, tensors
from splitmodel.crossing.codec_sizes import EXACT
from splitmodel.crossing.scaling import Moments, Scaling, SplitScaling
from splitmodel.crossing.tensors import Crossing
from splitmodel.dense_heads import TrainedHead
from splitmodel.lora.adapters import exchanged_parts, trainable_state
from splitmodel.lora.dropout import row_seeds
from splitmodel.parts import Tail, head_input
from splitmodel.token_views import TokenViews
from splitmodel.training import Batch, learning_rate, round_seed
from strategies.federated import TrainedOnGround
from strategies.planner.step_order import BatchedStep, Schedule, ScheduledStep

SHARED = "shared"
# For a satellite that may still be starting: where it is not known how many run at once, paid once to learn it; where
# it is known, only if fewer do run.
TIMEOUT_S, LONG_TIMEOUT_S = 10.0, 120.0

_HEAD = "head/"  # no satellite's name holds a slash

_Result = TypeVar("_Result")
Bundles = Sequence[Reply]


class _Computed(NamedTuple, Generic[_Result]):
    """A result of the backbone's thread, and the mission time it had spent on computing when the result was ready."""

    value: _Result
    computed_s: float


@dataclass(eq=False)
class _Batch:
    """A batched step: what its satellites have sent for it, and what the backbone makes of that.

    Attributes:
        steps: Its steps.
        features, pooled, gradients: By micro-batch; those of satellites in the order of the steps. The pooled states
            come with the shared head's table, where there is one.
        head_gradients: Of the shared head, by satellite.
        update: When the optimiser step has been made.
    """

    steps: BatchedStep
    features: dict[int, dict[str, Tensor]] = field(default_factory=dict)
    _: KW_ONLY
    pooled: dict[int, asyncio.Future[_Computed[tuple[dict[str, Tensor], Tensor | None]]]] = field(
        default_factory=dict
    )
    gradients: dict[int, dict[str, Tensor]] = field(default_factory=dict)
    head_gradients: dict[str, Tensor] = field(default_factory=dict)
    update: asyncio.Future[_Computed[None]] | None = None

    def satellites(self, part: int) -> list[str]:
        """The satellites that have a micro-batch of this number, in order."""
        return [step.satellite for step in self.steps if step.satellite in self.features[part]]

    def weights(self) -> dict[str, float]:
        """Each satellite's share of the images: their mean loss is the mean of the satellites' means, so weighted."""
        rows = {
            step.satellite: sum(
                len(of[step.satellite]) for of in self.features.values() if step.satellite in of
            )
            for step in self.steps
        }
        total = sum(rows.values())
        return {satellite: count / total for satellite, count in rows.items()}


@dataclass(eq=False)
class _Client:
    """A satellite in a round: the step whose gradients are to come, and features of later ones that came before them.

    Attributes:
        step: Its number in the round.
        gradients_left: Micro-batches whose gradients are missing; ``None`` before pooled states went out.
        head_left: Whether that of the shared head is missing.
        early: Features of later steps, by step and micro-batch.
    """

    step: int = 0
    gradients_left: set[int] | None = None
    _: KW_ONLY
    head_left: bool = False
    early: dict[tuple[int, int], tuple[Manifest, Arrived]] = field(default_factory=dict)


class BackboneService:
    """Backbone service of one run.

    Args:
        steps: The backbone's training steps.
        scenario: The resolved scenario.
        run: Name of the run, as manifests carry it.
        assembler: Puts together the features of a step.
        compute_times: What the plan has computing take.
        max_concurrency: Satellites that run at the same time, where that is known.
        token_views: Turn features, where images cross under one view alone.
        tail: Blocks on board between what returns and the head, where there are some.
    """

    def __init__(
        self,
        steps: BackboneExecutor,
        scenario: Scenario,
        *,
        run: str,
        assembler: FeatureAssembler,
        compute_times: ComputeTimes = ComputeTimes(),  # noqa: B008 - immutable
        max_concurrency: int | None = None,
        token_views: TokenViews | None = None,
        tail: Tail | None = None,
    ) -> None:
        self._steps = steps
        self._compute_times = compute_times
        self._scenario = scenario
        self._run = run
        self._assembler = assembler
        self._token_views = token_views
        self._tail = tail
        self._samples: Mapping[str, int] = {}
        self._own_batches: dict[str, list[Batch]] = {}  # of this round, by satellite
        self._round = 0  # enrolment
        # Of enrolment: features, what the head reads, and what returns, where that is something else.
        self._seen: dict[str, tuple[Moments, ...]] = {}
        self._seen_whole: dict[str, SecondMoments] = {}  # states before the bottleneck, where there is one
        self._enrolled: dict[str, tuple[int, int]] = {}  # bytes of both, up and back
        self._positions: dict[str, int] = {}  # of satellites in the constellation
        self._scaling: SplitScaling | None = None
        self._schedule = Schedule((), ())
        self._sequence: StepSequence | None = None
        self._batches: dict[int, _Batch] = {}
        self._clients: dict[str, _Client] = {}
        self._failure: BaseException | None = None  # of an update
        self._head: SharedHead | None = None
        self._max_concurrency = max_concurrency
        self._learnt_concurrency: int | None = None
        self._timeout_s: float | None = LONG_TIMEOUT_S if max_concurrency else TIMEOUT_S
        self._paced: Paced = Unpaced()
        # One thread: batches never overlap in the backbone, and are computed in the order in which they become due.
        self._compute = ThreadPoolExecutor(max_workers=1, thread_name_prefix="backbone")

    def expect_all_together(self, paced: Paced) -> None:
        """In the emulation every satellite runs, so none is suspended, and mission time is measured."""
        self._timeout_s = None
        self._paced = paced

    @property
    def trains_adapters(self) -> bool:
        """Whether the backbone is trained at all."""
        return self._scenario.training.mode == "lora" and not self._scenario.training.on_ground

    def configure(self, samples: Mapping[str, int]) -> None:
        """From now on rounds, in which each satellite trains on so many images."""
        self._samples = samples

    def train_head(self, head: TrainedHead) -> None:
        """Train this head, in place, with the gradients that satellites send of it."""
        self._head = SharedHead(head, self._scenario.training)

    def end_enrolment(self, satellites: Sequence[str]) -> SplitScaling:
        """Return the scaling of features and states, from the samples of these satellites, summed in this order.

        A bottleneck starts from these states.
        """
        features, pooled, *returned = (
            Scaling.of(functools.reduce(operator.add, moments))
            for moments in zip(*(self._seen[name] for name in satellites), strict=True)
        )
        if self._seen_whole:
            seen = functools.reduce(operator.add, (self._seen_whole[name] for name in satellites))
            pooled = self._steps.start_bottleneck(seen)
        self._scaling = SplitScaling(features, pooled, returned=returned[0] if returned else None)
        self._positions = {name: position for position, name in enumerate(satellites)}
        return self._scaling

    @property
    def enrolment_bytes(self) -> tuple[int, int]:
        """Return the bytes sent and received for the scaling."""
        up, back = zip(*self._enrolled.values(), strict=True)
        return sum(up), sum(back)

    def state(self) -> dict[str, Tensor]:
        """Return the weights trained here: :meth:`.executor.BackboneExecutor.state`, and those of the shared head."""
        head = self._head.state() if self._head else {}
        return self._steps.state() | {_HEAD + name: tensor for name, tensor in head.items()}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Take over what :meth:`state` gave in an earlier run."""
        self._steps.load_state(state)
        if self._head is not None:
            self._head.load_state(
                {name.removeprefix(_HEAD): tensor for name, tensor in state.items() if name.startswith(_HEAD)}
            )

    def begin_round(self, number: int, schedule: Schedule, samples: Mapping[str, int] | None = None) -> None:
        """Accept the bundles of a round, whose steps come as the schedule says.

        ``samples`` are the images of each satellite in it, where they are not those of :meth:`configure`.
        """
        training = self._scenario.training
        self._samples = samples or self._samples
        self._round = number
        self._schedule = schedule
        if self._sequence is not None:
            self._learnt_concurrency = self._sequence.max_concurrency
        self._sequence = StepSequence(
            schedule,
            shared=self._shares_adapter,
            max_concurrency=self._max_concurrency,
            learnt=self._learnt_concurrency,
            timeout_s=self._timeout_s,
        )
        self._batches = {position: _Batch(steps) for position, steps in enumerate(schedule.batches)}
        self._clients = {satellite: _Client() for satellite in schedule.steps_of}
        self._own_batches = {}
        if self._shares_adapter:
            self._steps.begin_round(SHARED, training.gradient_delay)
        if self._head is not None:
            self._head.begin_round(training.gradient_delay)

    def first_served(self, satellites: Collection[str]) -> str | None:
        """The satellite among these that has to run first, where steps have an order."""
        return self._sequence.first_needed(satellites) if self._sequence and self.trains_adapters else None

    def end_round(self, weights: Mapping[str, float], total: float) -> TrainedOnGround | None:
        """Close a round: average per-satellite adapters, see :meth:`.executor.BackboneExecutor.average`.

        Returns:
            The shared head, where there is one.

        Raises:
            RuntimeError: A step of the plan was not taken.
        """
        if not self.trains_adapters:
            return None
        self._compute.submit(lambda: None).result()  # the last update may still be computed
        self._raise_failure()
        if self._sequence is None or not self._sequence.done:
            raise RuntimeError(f"round {self._round} ended before every planned step was taken")
        if self._shares_adapter:
            self._steps.activate(SHARED)
        else:
            self._steps.average(weights, total)
        if self._head is None:
            return None
        return TrainedOnGround(ArrayRecord(trainable_state(exchanged_parts(self._head.head))), {})

    async def handle(self, satellite: str, manifest: Manifest, payload: Buffer) -> Bundles:
        """Answer one bundle of a satellite; none of what an earlier run has left in the relays when it died.

        Raises:
            UnexpectedBundle: It belongs to another round, or is of a kind that satellites do not send.
            server_app.backbone.scheduling.Suspended: The satellite's step cannot come now.
        """
        if manifest.run != self._run:
            return []
        if manifest.round != self._round:
            raise UnexpectedBundle(f"{satellite} sends round {manifest.round}; this is round {self._round}")
        if not 0 <= manifest.micro_batch < _parts_of(manifest) <= self._scenario.training.micro_batches:
            raise UnexpectedBundle(
                f"{satellite} sends micro-batch {manifest.micro_batch} of {_parts_of(manifest)}; "
                f"allowed: up to {self._scenario.training.micro_batches}"
            )
        self._raise_failure()
        if manifest.kind in (MessageKind.FEATURES, MessageKind.SAMPLES):
            arrived = self._assembler.add(satellite, manifest, payload)
            if arrived is None:
                return []  # its other half is still under way
            if self._round == 0 or not self.trains_adapters:
                return await self._inferred(satellite, manifest, arrived)
            return await self._features(satellite, manifest, arrived)
        if manifest.kind is MessageKind.GRAD_HIDDEN and self.trains_adapters:
            return await self._gradient(satellite, manifest, payload)
        if manifest.kind is MessageKind.GRAD_HEAD and self._head is not None:
            return await self._head_gradient(satellite, manifest, payload)
        raise UnexpectedBundle(
            f"{satellite} sends {manifest.kind.name}, which mode {self._scenario.training.mode} has not"
        )

    async def _inferred(self, satellite: str, manifest: Manifest, arrived: Arrived) -> Bundles:
        """The answer to features that train no adapter: pooled states."""
        features_BTD = self.decoded(arrived)
        takes_s = self._pass_s(self._compute_times.forward_s, [features_BTD]) if self._round else 0.0
        pooled_BD, computed_s = await self._run_torch(self._steps.infer, features_BTD, takes_s=takes_s)
        reply = Reply(*self._pooled_bundle(manifest, arrived, pooled_BD), computed_s)
        if self._round == 0:
            self._seen[satellite], _ = await self._run_torch(self._moments, features_BTD, pooled_BD)
            if self._steps.backbone.bottleneck is not None:
                self._seen_whole[satellite], _ = await self._run_torch(self._second_moments, features_BTD)
            chunk_bytes = Limits().chunk_bytes
            self._enrolled[satellite] = (
                bundle_bytes(manifest, chunk_bytes),
                bundle_bytes(reply.manifest, chunk_bytes),
            )
        return [reply]

    @torch.no_grad()
    def _moments(self, features_BTD: Tensor, returned: Tensor) -> tuple[Moments, ...]:
        """In the backbone's thread: of features, of what the head reads, and of what returns where that differs."""
        moments = Moments.of(features_BTD), Moments.of(head_input(self._tail, returned))
        return moments if self._tail is None else (*moments, Moments.of(returned))

    def _second_moments(self, features_BTD: Tensor) -> SecondMoments:
        """In the backbone's thread: of the states before the bottleneck, which takes a pass of its own."""
        return SecondMoments.of(self._steps.infer(features_BTD, narrow=False))

    async def _features(self, satellite: str, manifest: Manifest, arrived: Arrived) -> Bundles:
        """Keep features that are sent ahead, and answer those of the satellite's present step."""
        assert self._sequence is not None
        step = ScheduledStep(satellite, manifest.step)
        self._sequence.batch_of(step)
        client = self._clients[satellite]
        if step.step == client.step:
            return await self._pooled(satellite, manifest, arrived)
        if step.step > client.step + STEPS_AHEAD:
            raise UnexpectedBundle(
                f"{satellite} sends features of step {step.step} during step {client.step}; "
                f"allowed: {STEPS_AHEAD} steps ahead"
            )
        client.early[step.step, manifest.micro_batch] = manifest, arrived
        return []

    async def _pooled(self, satellite: str, manifest: Manifest, arrived: Arrived) -> list[Reply]:
        """The answer to features: pooled states, before the first of a step the shared head."""
        assert self._sequence is not None
        step, part, parts = ScheduledStep(satellite, manifest.step), manifest.micro_batch, _parts_of(manifest)
        batch, client = self._batches[self._sequence.batch_of(step)], self._clients[satellite]
        if part not in batch.pooled:
            # They stay here while the satellite is suspended.
            features_BTD = self._under_views(step, part, parts, self.decoded(arrived))
            batch.features.setdefault(part, {})[satellite] = features_BTD
            self._sequence.add_features(step, part, parts)
            self._compute_due()
        with self._paced.waiting():
            await self._sequence.wait_for_forward(step, part)
        (pooled, table), computed_s = await asyncio.shield(batch.pooled[part])
        if client.gradients_left is None:
            client.gradients_left, client.head_left = set(range(parts)), self._head is not None
        bundle = self._pooled_bundle(manifest, arrived, pooled[satellite])
        reply = Reply(*bundle, computed_s)
        if table is None or part:
            return [reply]
        codec = reply.manifest.codec
        encoded = codecs.encode(table, codec)
        head = self._bundle(manifest, MessageKind.HEAD, encoded, tuple(table.shape), codec)
        return [Reply(*head, computed_s), reply]

    async def _gradient(self, satellite: str, manifest: Manifest, payload: Buffer) -> Bundles:
        """Take a gradient of pooled states."""
        step, part = ScheduledStep(satellite, manifest.step), manifest.micro_batch
        batch, client = self._present_step(step)
        if client.gradients_left is None or part not in client.gradients_left:
            raise UnexpectedBundle(
                f"gradient of {satellite}, step {step.step}: no pooled states were sent for it"
            )
        features_BTD = batch.features[part][satellite]
        allowed = len(features_BTD), *self._steps.state_shape
        if manifest.shape != allowed:
            raise UnexpectedBundle(
                f"gradient of {satellite}, step {step.step}: found shape {manifest.shape}, allowed {allowed}"
            )
        batch.gradients.setdefault(part, {})[satellite] = tensors.decode(
            payload, manifest.codec, manifest.shape, Crossing.GRADIENT_OF_POOLED, self._scaling
        )
        client.gradients_left.discard(part)
        assert self._sequence is not None
        self._sequence.add_gradient(step, part)
        self._compute_due()
        return await self._end_step(step, manifest)

    async def _head_gradient(self, satellite: str, manifest: Manifest, payload: Buffer) -> Bundles:
        """Take a gradient of the shared head."""
        assert self._head is not None
        step = ScheduledStep(satellite, manifest.step)
        batch, client = self._present_step(step)
        if not client.head_left:
            raise UnexpectedBundle(
                f"head's gradient of {satellite}, step {step.step}: no head was sent for it"
            )
        allowed = self._head.head.table_shape
        if manifest.shape != allowed:
            raise UnexpectedBundle(
                f"head's gradient of {satellite}: found shape {manifest.shape}, allowed {allowed}"
            )
        batch.head_gradients[satellite] = codecs.decode(payload, manifest.codec, allowed)
        client.head_left = False
        return await self._end_step(step, manifest)

    def _present_step(self, step: ScheduledStep) -> tuple[_Batch, _Client]:
        """The batch of a satellite's step, whose gradients are to come next."""
        assert self._sequence is not None
        batch, client = self._batches[self._sequence.batch_of(step)], self._clients[step.satellite]
        if step.step != client.step:
            raise UnexpectedBundle(
                f"gradient of {step.satellite}, step {step.step}: no pooled states were sent for it"
            )
        return batch, client

    async def _end_step(self, step: ScheduledStep, manifest: Manifest) -> Bundles:
        """When all gradients of a step are here, answer the features of the next; acknowledge the last of the round."""
        assert self._sequence is not None
        client = self._clients[step.satellite]
        if client.gradients_left or client.head_left:
            return []  # nothing to tell, so the next bundle need not wait for the backbone
        position = self._sequence.batch_of(step)
        batch = self._batches[position]
        self._sequence.end_step(step)
        client.step, client.gradients_left = step.step + 1, None
        self._compute_due()
        if not self._sequence.is_last(step):
            replies: list[Reply] = []
            for key in sorted(key for key in client.early if key[0] == client.step):
                replies += await self._pooled(step.satellite, *client.early.pop(key))
            return replies
        computed_s = 0.0
        if self._timeout_s is None:
            # The satellite tells when its last step is over. Where it could be suspended, no time is measured.
            with self._paced.waiting():
                await self._sequence.wait_for_update(position)
            assert batch.update is not None
            computed_s = (await asyncio.shield(batch.update)).computed_s
        # The embedding is frozen, so c4 is empty.
        return [Reply(*self._bundle(manifest, MessageKind.GRAD_FEATURES, b"", (0,), EXACT), computed_s)]

    def _compute_due(self) -> None:
        """Give the backbone what it can compute now."""
        assert self._sequence is not None
        for action in self._sequence.due():
            match action:
                case Forward(position, part):
                    batch = self._batches[position]
                    batch.pooled[part] = self._run_torch(
                        self._forward, batch, position, part, takes_s=self._forward_s(batch, part)
                    )
                case Backward(position, part):
                    batch = self._batches[position]
                    self._run_torch(
                        self._backward, batch, position, part, takes_s=self._backward_s(batch, part)
                    ).add_done_callback(self._note_failure)
                case Update(position):
                    batch = self._batches.pop(position)
                    batch.update = self._run_torch(self._update, batch, position)
                    batch.update.add_done_callback(self._note_failure)

    def _forward(self, batch: _Batch, position: int, part: int) -> tuple[dict[str, Tensor], Tensor | None]:
        """In the backbone's thread: pooled states of a micro-batch, and the shared head that belongs to them."""
        updates = self._schedule.updates[position]
        satellites = batch.satellites(part)
        steps = {step.satellite: step for step in batch.steps}
        requests = [
            Request(
                self._adapter_of(name),
                features := batch.features[part][name],
                seeds=self._seeds(steps[name], part, len(features)),
            )
            for name in satellites
        ]
        pooled = self._steps.forward((position, part), requests, updates)
        table = self._head.table(updates) if self._head is not None and part == 0 else None
        return dict(zip(satellites, pooled, strict=True)), table

    def _backward(self, batch: _Batch, position: int, part: int) -> None:
        """In the backbone's thread: backward pass of a micro-batch."""
        weights = self._weights(batch)
        gradients = batch.gradients[part]
        self._steps.backward(
            (position, part), [weights[name] * gradients[name] for name in batch.satellites(part)]
        )

    def _update(self, batch: _Batch, position: int) -> None:
        """In the backbone's thread: optimiser step of a batch."""
        updates = self._schedule.updates[position]
        training = self._scenario.training
        batches = len(batch.steps) if self._shares_adapter else 1
        for step in batch.steps[:1] if self._shares_adapter else batch.steps:
            rate = self._rate(training.learning_rate, position, step)
            self._steps.update(self._adapter_of(step.satellite), rate, updates=updates, batches=batches)
        if self._head is not None:
            weights = self._weights(batch)
            gradient = sum(weights[name] * batch.head_gradients[name] for name, _ in batch.steps)
            assert isinstance(gradient, Tensor)
            rate = self._rate(training.head_learning_rate, position, batch.steps[0])
            self._head.update(gradient, rate, batches=batches)

    def _weights(self, batch: _Batch) -> dict[str, float]:
        """Return the weight of each satellite's gradient, which is that of its own mean loss."""
        return batch.weights() if self._shares_adapter else dict.fromkeys(self._clients, 1.0)

    def _forward_s(self, batch: _Batch, part: int) -> float:
        """What the plan has a micro-batch's forward pass take, its messages included."""
        return self._pass_s(self._compute_times.forward_s, batch.features[part].values())

    def _backward_s(self, batch: _Batch, part: int) -> float:
        """Return the planned duration of a micro-batch's backward pass, in seconds."""
        return self._pass_s(self._compute_times.backward_s, batch.features[part].values())

    def _pass_s(self, image_s: float, features: Collection[Tensor]) -> float:
        return sum(map(len, features)) * image_s + len(features) * self._compute_times.message_s

    def _note_failure(self, update: asyncio.Future[_Computed[None]]) -> None:
        if not update.cancelled():
            self._failure = self._failure or update.exception()

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise RuntimeError(f"an optimiser step has failed: {self._failure}") from self._failure

    @property
    def _shares_adapter(self) -> bool:
        return self.trains_adapters and self._scenario.training.adapter == SHARED

    def _seeds(self, step: ScheduledStep, part: int, rows: int) -> tuple[int, ...]:
        """Of the LoRA dropout of a micro-batch."""
        if not self._scenario.lora.dropout:
            return ()
        of_round = round_seed(self._scenario.seed, self._positions[step.satellite], self._round)
        return row_seeds((*of_round, step.step, part), rows)

    def _under_views(self, step: ScheduledStep, part: int, parts: int, features_BTD: Tensor) -> Tensor:
        """Features of a micro-batch under the views that its satellite draws, too, where they cross under one alone.

        Raises:
            UnexpectedBundle: They are more or fewer than the micro-batch has images.
        """
        if self._token_views is None:
            return features_BTD
        satellite, number = step
        if satellite not in self._own_batches:
            training, position = self._scenario.training, self._positions[satellite]
            count = self._samples[satellite]
            self._own_batches[satellite] = own_batches(
                training, self._scenario.seed, position, count, self._round
            )
        views_B = np.array_split(self._own_batches[satellite][number].views, parts)[part]
        if len(views_B) != len(features_BTD):
            raise UnexpectedBundle(
                f"{satellite} sends features of {len(features_BTD)} images in step {number}; allowed: {len(views_B)}"
            )
        return self._token_views(features_BTD, views_B)

    def _adapter_of(self, satellite: str) -> str:
        return SHARED if self._shares_adapter else satellite

    def _rate(self, base: float, position: int, step: ScheduledStep) -> float:
        """Learning rate of a batched step, by its position among all that train the same adapter."""
        training = self._scenario.training
        if self._shares_adapter:
            done = position / len(self._schedule.batches)
        else:
            done = step.step / self._schedule.steps_of[step.satellite]
        progress = (self._round - 1 + done) / training.rounds
        return learning_rate(base, training.schedule, progress)

    def decoded(self, arrived: Arrived) -> Tensor:
        """Features, shape (B, tokens, hidden)."""
        return tensors.decode(arrived.payload, arrived.codec, arrived.shape, Crossing.FEATURES, self._scaling)

    def _pooled_bundle(
        self, request: Manifest, arrived: Arrived, pooled_BD: Tensor
    ) -> tuple[Manifest, Buffer]:
        codec = self._scenario.crossings.hidden if self._scaling else EXACT
        payload = tensors.encode(pooled_BD, codec, Crossing.POOLED, self._scaling)
        return self._bundle(
            request, MessageKind.HIDDEN, payload, tuple(pooled_BD.shape), codec, kept=int(arrived.kept)
        )

    def _bundle(
        self,
        request: Manifest,
        kind: MessageKind,
        payload: Buffer,
        shape: tuple[int, ...],
        codec: str,
        **facts: int,
    ) -> tuple[Manifest, Buffer]:
        manifest = Manifest.describe(
            payload,
            run=self._run,
            kind=kind,
            source=GROUND,
            destination=request.source,
            dtype="float32",
            shape=shape,
            codec=codec,
            round=request.round,
            step=request.step,
            micro_batch=request.micro_batch,
            attributes={**request.attributes, **facts},
        )
        return manifest, payload

    def _run_torch(
        self, function: Callable[..., _Result], *arguments: object, takes_s: float = 0.0
    ) -> asyncio.Future[_Computed[_Result]]:
        """Behind what the backbone has been given before; takes so long in mission time."""

        def compute() -> _Computed[_Result]:
            return _Computed(function(*arguments), self._paced.compute(takes_s))

        future = asyncio.get_running_loop().run_in_executor(self._compute, compute)
        self._paced.work_on(future)
        return future


def _parts_of(manifest: Manifest) -> int:
    """Micro-batches of the step that a bundle belongs to."""
    parts = manifest.attributes.get("of", 1)
    return parts if isinstance(parts, int) else 0
