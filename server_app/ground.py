"""The ground segment during a run: the tensors of all satellites meet the backbone here.

:class:`Ground` answers the parcels of the satellites – features with pooled states, gradients with an (empty)
acknowledgement – in the order of the plan.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import operator
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import TypeVar

from flwr.app import ArrayRecord
from torch import Tensor

from mission.briefing import GROUND
from mission.schema import Scenario
from relay.wire import Buffer, Kind, Manifest
from server_app.arrivals import Arrivals, Arrived, UnexpectedParcel
from server_app.backbone import BackboneSteps, Request
from server_app.shared_head import SharedHead
from server_app.turns import Span, Turn, Turns, plan_order, plan_passes
from splitmodel import codecs, crossing
from splitmodel.adapters import exchanged_parts, trainable_state
from splitmodel.crossing import EXACT, Crossing
from splitmodel.heads import StandardisedHead
from splitmodel.scaling import Moments, Scaling, SplitScaling
from splitmodel.training import learning_rate
from strategies.federated import Service, TrainedOnGround

SHARED = "shared"
# For a satellite that may still be starting: where it is not known how many run at once, paid once to learn it; where
# it is known, only if fewer do run.
PATIENCE_S, LONG_PATIENCE_S = 10.0, 120.0

# Rows in one pass, of satellites with an adapter each: with more there is nothing left to gain.
ROWS_TOGETHER = 32

_HEAD = "head/"  # no satellite's name holds a slash

_Result = TypeVar("_Result")
Parcels = Sequence[tuple[Manifest, Buffer]]


@dataclass(eq=False)
class _Gathered:
    """What the satellites of a pass have sent for it, and what comes of it."""

    features: dict[str, Tensor] = field(default_factory=dict)
    gradients: dict[str, Tensor] = field(default_factory=dict)
    pooled: asyncio.Future[list[Tensor]] | None = None


@dataclass(eq=False)
class _Step:
    """The step that a satellite is in: pooled states went to it, gradients of so many micro-batches are to come, and
    that of the shared head where there is one."""

    number: int
    gradients_left: int
    head_left: bool
    work: list[asyncio.Future[None]] = field(default_factory=list)  # with those that have come


class Ground:
    """Backbone service of one run.

    Args:
        steps: The backbone's training steps.
        scenario: The resolved scenario.
        run: Name of the run, as manifests carry it.
        arrivals: Puts together the features of a step.
        at_once: Satellites that run at the same time, where that is known.
    """

    def __init__(
        self,
        steps: BackboneSteps,
        scenario: Scenario,
        run: str,
        arrivals: Arrivals,
        *,
        at_once: int | None = None,
    ) -> None:
        self._steps = steps
        self._scenario = scenario
        self._run = run
        self._arrivals = arrivals
        self._round = 0  # the muster
        self._seen: dict[str, tuple[Moments, Moments]] = {}  # features and pooled states of the muster
        self._scaling: SplitScaling | None = None
        self._position: dict[Turn, int] = {}
        self._steps_of: dict[str, int] = {}
        self._turns: Turns | None = None
        self._gathered: dict[tuple[Turn, int], _Gathered] = {}  # by the first turn of a pass, and micro-batch
        self._under_way: dict[str, _Step] = {}
        self._early: dict[str, list[tuple[Manifest, Arrived]]] = {}
        self._head: SharedHead | None = None
        self._at_once = at_once
        self._patience_s: float | None = LONG_PATIENCE_S if at_once else PATIENCE_S
        self._waiting: Callable[[], AbstractContextManager[None]] = contextlib.nullcontext
        # One thread: steps of different satellites never overlap in the backbone, whatever arrives when.
        self._compute = ThreadPoolExecutor(max_workers=1, thread_name_prefix="backbone")

    def expect_all_at_once(self, waiting: Callable[[], AbstractContextManager[None]]) -> None:
        """In the emulation every satellite runs, so none is parked; one waits for its turn within ``waiting()``."""
        self._patience_s = None
        self._waiting = waiting

    @property
    def trains_adapters(self) -> bool:
        """Whether the backbone is trained at all."""
        return self._scenario.training.mode == "lora"

    def share(self, head: StandardisedHead) -> None:
        """Train this head, in place, with the gradients that satellites send of it."""
        self._head = SharedHead(head, self._scenario.training)

    def end_muster(self, satellites: Sequence[str]) -> SplitScaling:
        """How features and pooled states are scaled, by what these satellites sent; summed in this order."""
        features, pooled = (
            Scaling.of(functools.reduce(operator.add, moments))
            for moments in zip(*(self._seen[name] for name in satellites), strict=True)
        )
        self._scaling = SplitScaling(features, pooled)
        return self._scaling

    def state(self) -> dict[str, Tensor]:
        """What has been trained here: :meth:`server_app.backbone.BackboneSteps.state`, and the shared head's."""
        head = self._head.state() if self._head else {}
        return self._steps.state() | {_HEAD + name: tensor for name, tensor in head.items()}

    def go_on(self, state: Mapping[str, Tensor]) -> None:
        """Take over what :meth:`state` gave in an earlier run."""
        self._steps.load_state(state)
        if self._head is not None:
            self._head.load_state(
                {name.removeprefix(_HEAD): tensor for name, tensor in state.items() if name.startswith(_HEAD)}
            )

    def begin_round(self, number: int, services: Sequence[Service]) -> None:
        """Accept the parcels of a round."""
        training = self._scenario.training
        spans = [
            Span(service.satellite, service.steps, service.start_s, service.end_s) for service in services
        ]
        shared = training.adapter == SHARED
        alone = shared or training.micro_batches > 1
        passes = plan_passes(spans, 1 if alone else max(1, ROWS_TOGETHER // training.batch_size))
        self._round = number
        self._position = {turn: position for position, turn in enumerate(plan_order(spans))}
        self._steps_of = {service.satellite: service.steps for service in services}
        at_once = self._turns.at_once if self._turns else self._at_once
        self._turns = Turns(passes, in_order=shared, at_once=at_once, patience_s=self._patience_s)
        self._gathered.clear()
        self._under_way.clear()
        self._early.clear()

    def first_served(self, satellites: Collection[str]) -> str | None:
        """The satellite among these whose turn comes first, where they take turns."""
        return self._turns.first_of(satellites) if self._turns and self.trains_adapters else None

    def end_round(self, weights: Mapping[str, float], total: float) -> TrainedOnGround | None:
        """Close a round: average per-satellite adapters, see :meth:`server_app.backbone.BackboneSteps.average`.

        Returns:
            The shared head, where there is one.

        Raises:
            RuntimeError: A step of the plan was not taken.
        """
        if not self.trains_adapters:
            return None
        if self._turns is None or not self._turns.done:
            raise RuntimeError(f"round {self._round} ended before every planned step was taken")
        if self._scenario.training.adapter == SHARED:
            self._steps.publish(SHARED)
        else:
            self._steps.average(weights, total)
        if self._head is None:
            return None
        return TrainedOnGround(ArrayRecord(trainable_state(exchanged_parts(self._head.head))), {})

    async def handle(self, satellite: str, manifest: Manifest, payload: Buffer) -> Parcels:
        """Answer one parcel of a satellite; none of what an earlier run has left in the relays when it died.

        Raises:
            UnexpectedParcel: It belongs to another round, or is of a kind that satellites do not send.
            server_app.turns.Parked: The satellite's turn cannot come now.
        """
        if manifest.run != self._run:
            return []
        if manifest.round != self._round:
            raise UnexpectedParcel(f"{satellite} sends round {manifest.round}; this is round {self._round}")
        if not 0 <= manifest.micro_batch < _parts_of(manifest) <= self._scenario.training.micro_batches:
            raise UnexpectedParcel(
                f"{satellite} sends micro-batch {manifest.micro_batch} of {_parts_of(manifest)}; "
                f"allowed: up to {self._scenario.training.micro_batches}"
            )
        if manifest.kind in (Kind.FEATURES, Kind.SAMPLES):
            arrived = self._arrivals.add(satellite, manifest, payload)
            if arrived is None:
                return []  # its other half is still under way
            if satellite in self._under_way and self._under_way[satellite].number < manifest.step:
                # It has overtaken a gradient of the step before.
                self._early.setdefault(satellite, []).append((manifest, arrived))
                return []
            return await self._pooled(satellite, manifest, arrived)
        if manifest.kind is Kind.GRAD_HIDDEN and self.trains_adapters:
            replies = await self._gradient(satellite, manifest, payload)
        elif manifest.kind is Kind.GRAD_HEAD and self._head is not None:
            replies = await self._head_gradient(satellite, manifest, payload)
        else:
            raise UnexpectedParcel(
                f"{satellite} sends {manifest.kind.name}, which mode {self._scenario.training.mode} has not"
            )
        if satellite not in self._under_way:
            for early in self._early.pop(satellite, []):
                replies += await self._pooled(satellite, *early)
        return replies

    async def _pooled(
        self, satellite: str, manifest: Manifest, arrived: Arrived
    ) -> list[tuple[Manifest, Buffer]]:
        """The answer to features: pooled states, before the first of a step the shared head."""
        features_BTD = crossing.decode(
            arrived.payload, arrived.codec, arrived.shape, Crossing.FEATURES, self._scaling
        )
        pooled_BD = await self._forward(satellite, manifest, features_BTD)
        codec = self._scenario.crossings.hidden if self._scaling else EXACT
        payload = crossing.encode(pooled_BD, codec, Crossing.POOLED, self._scaling)
        pooled = self._parcel(
            manifest, Kind.HIDDEN, payload, tuple(pooled_BD.shape), codec, kept=int(arrived.kept)
        )
        if self._head is None or self._round == 0 or manifest.micro_batch:
            return [pooled]
        table = self._head.head.table()  # nobody else's step is taken before this one
        encoded = codecs.encode(table, codec)
        return [self._parcel(manifest, Kind.HEAD, encoded, tuple(table.shape), codec), pooled]

    async def _forward(self, satellite: str, manifest: Manifest, features_BTD: Tensor) -> Tensor:
        if self._round == 0 or not self.trains_adapters:
            pooled_BD = await self._run_torch(self._steps.infer, features_BTD)
            if self._round == 0 and manifest.step == 0:
                self._seen[satellite] = Moments.of(features_BTD), Moments.of(pooled_BD)
            return pooled_BD
        assert self._turns is not None
        turn = Turn(satellite, manifest.step)
        together = self._turns.pass_of(turn)
        key = together[0], manifest.micro_batch
        gathered = self._gathered.setdefault(key, _Gathered())
        gathered.features[satellite] = features_BTD  # stays here while the satellite is parked
        with self._waiting():
            await self._turns.wait(turn)
        if self._under_way.get(satellite) is None:
            self._under_way[satellite] = _Step(turn.step, _parts_of(manifest), self._head is not None)
        if gathered.pooled is None:
            requests = [Request(self._adapter_of(name), gathered.features[name]) for name, _ in together]
            gathered.pooled = self._run_torch(self._steps.forward, key, requests)
        pooled = await asyncio.shield(gathered.pooled)
        return pooled[together.index(turn)]

    async def _gradient(
        self, satellite: str, manifest: Manifest, payload: Buffer
    ) -> list[tuple[Manifest, Buffer]]:
        """Take the adapter's step when all gradients of its pass are here."""
        assert self._turns is not None
        turn = Turn(satellite, manifest.step)
        together = self._turns.pass_of(turn)
        key = together[0], manifest.micro_batch
        gathered, step = self._gathered.get(key), self._under_way.get(satellite)
        if gathered is None or satellite in gathered.gradients or step is None or step.number != turn.step:
            raise UnexpectedParcel(
                f"gradient of {satellite}, step {turn.step}: no pooled states were sent for it"
            )
        gathered.gradients[satellite] = crossing.decode(
            payload, manifest.codec, manifest.shape, Crossing.GRADIENT_OF_POOLED, self._scaling
        )
        step.gradients_left -= 1
        if len(gathered.gradients) == len(together):
            del self._gathered[key]
            gradients = [gathered.gradients[name] for name, _ in together]
            rates = (
                {}
                if step.gradients_left
                else {self._adapter_of(one.satellite): self._rate(one) for one in together}
            )
            step.work.append(self._run_torch(self._take_step, key, gradients, rates))
        return await self._end_step(satellite, manifest, step)

    async def _head_gradient(
        self, satellite: str, manifest: Manifest, payload: Buffer
    ) -> list[tuple[Manifest, Buffer]]:
        """Take the shared head's step."""
        assert self._turns is not None
        assert self._head is not None
        turn, step = Turn(satellite, manifest.step), self._under_way.get(satellite)
        self._turns.pass_of(turn)
        allowed = self._head.head.table_shape
        if step is None or step.number != turn.step or not step.head_left:
            raise UnexpectedParcel(
                f"head's gradient of {satellite}, step {turn.step}: no head was sent for it"
            )
        if manifest.shape != allowed:
            raise UnexpectedParcel(
                f"head's gradient of {satellite}: found shape {manifest.shape}, allowed {allowed}"
            )
        step.head_left = False
        gradient = codecs.decode(payload, manifest.codec, allowed)
        rate = self._scheduled(turn, self._scenario.training.head_learning_rate)
        step.work.append(self._run_torch(self._head.update, gradient, rate))
        return await self._end_step(satellite, manifest, step)

    async def _end_step(
        self, satellite: str, manifest: Manifest, step: _Step
    ) -> list[tuple[Manifest, Buffer]]:
        """When all gradients of a step are here: the turn is over; the last of the round is acknowledged."""
        assert self._turns is not None
        turn = Turn(satellite, step.number)
        if step.gradients_left or step.head_left:
            return []  # nothing to tell, so the next parcel need not wait for the backbone
        await asyncio.gather(*step.work)
        del self._under_way[satellite]
        await self._turns.take(turn)
        if turn.step + 1 < self._steps_of[satellite]:
            return []  # the pooled states of the next step tell as much
        # The embedding is frozen, so c4 is empty.
        return [self._parcel(manifest, Kind.GRAD_FEATURES, b"", (0,), EXACT)]

    def _take_step(self, key: Hashable, gradients: Sequence[Tensor], rates: Mapping[str, float]) -> None:
        self._steps.backward(key, gradients)
        for adapter, rate in rates.items():
            self._steps.update(adapter, rate)

    def _adapter_of(self, satellite: str) -> str:
        return SHARED if self._scenario.training.adapter == SHARED else satellite

    def _rate(self, turn: Turn) -> float:
        return self._scheduled(turn, self._scenario.training.learning_rate)

    def _scheduled(self, turn: Turn, base: float) -> float:
        """By the position among all steps of a shared adapter, or among the satellite's own."""
        training = self._scenario.training
        if training.adapter == SHARED:
            done = self._position[turn] / len(self._position)
        else:
            done = turn.step / self._steps_of[turn.satellite]
        progress = (self._round - 1 + done) / training.rounds
        return learning_rate(base, training.schedule, progress)

    def _parcel(
        self, request: Manifest, kind: Kind, payload: Buffer, shape: tuple[int, ...], codec: str, **facts: int
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

    def _run_torch(self, function: Callable[..., _Result], *arguments: object) -> asyncio.Future[_Result]:
        """Behind what the backbone has been given before."""
        return asyncio.get_running_loop().run_in_executor(self._compute, function, *arguments)


def _parts_of(manifest: Manifest) -> int:
    """Micro-batches of the step that a parcel belongs to."""
    parts = manifest.attributes.get("of", 1)
    return parts if isinstance(parts, int) else 0
