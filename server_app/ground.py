"""The ground segment during a run: the tensors of all satellites meet the backbone here.

:class:`Ground` answers the parcels of the satellites – features with pooled states, gradients with an (empty)
acknowledgement – in the order of the plan.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import operator
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager

from torch import Tensor

from mission.briefing import GROUND
from mission.schema import Scenario
from relay.wire import Buffer, Kind, Manifest
from server_app.arrivals import Arrivals, UnexpectedParcel
from server_app.backbone import BackboneSteps
from server_app.turns import Turn, Turns, plan_order
from splitmodel import crossing
from splitmodel.crossing import EXACT, Crossing
from splitmodel.scaling import Moments, Scaling, SplitScaling
from splitmodel.training import learning_rate
from strategies.federated import Service

SHARED = "shared"
PATIENCE_S = (
    10.0  # for a satellite that may still be starting; paid once, where fewer run at once than take part
)

Parcels = Sequence[tuple[Manifest, Buffer]]


class Ground:
    """Backbone service of one run.

    Args:
        steps: The backbone's training steps.
        scenario: The resolved scenario.
        run: Name of the run, as manifests carry it.
        arrivals: Puts together the features of a step.
    """

    def __init__(self, steps: BackboneSteps, scenario: Scenario, run: str, arrivals: Arrivals) -> None:
        self._steps = steps
        self._scenario = scenario
        self._run = run
        self._arrivals = arrivals
        self._round = 0  # the muster
        self._seen: dict[str, tuple[Moments, Moments]] = {}  # features and pooled states of the muster
        self._scaling: SplitScaling | None = None
        self._order: list[Turn] = []
        self._position: dict[Turn, int] = {}
        self._steps_of: dict[str, int] = {}
        self._turns: Turns | None = None
        self._patience_s: float | None = PATIENCE_S
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

    def end_muster(self, satellites: Sequence[str]) -> SplitScaling:
        """How features and pooled states are scaled, by what these satellites sent; summed in this order."""
        features, pooled = (
            Scaling.of(functools.reduce(operator.add, moments))
            for moments in zip(*(self._seen[name] for name in satellites), strict=True)
        )
        self._scaling = SplitScaling(features, pooled)
        return self._scaling

    def go_on(self, state: Mapping[str, Tensor]) -> None:
        """Take over the adapters of an earlier run, see :meth:`server_app.backbone.BackboneSteps.state`."""
        self._steps.load_state(state)
        if self.trains_adapters:
            self._steps.publish(next(iter(self._steps.adapters)))

    def begin_round(self, number: int, services: Sequence[Service]) -> None:
        """Accept the parcels of a round."""
        self._round = number
        self._order = plan_order(
            (service.satellite, service.steps, service.start_s, service.end_s) for service in services
        )
        self._position = {turn: position for position, turn in enumerate(self._order)}
        self._steps_of = {service.satellite: service.steps for service in services}
        self._turns = Turns(self._order, patience_s=self._patience_s)

    def end_round(self, samples: Mapping[str, int]) -> None:
        """Close a round: average per-satellite adapters, weighted by samples.

        Raises:
            RuntimeError: A step of the plan was not taken.
        """
        if not self.trains_adapters:
            return
        if self._scenario.training.adapter == SHARED:
            if self._turns is None or not self._turns.done:
                raise RuntimeError(f"round {self._round} ended before every planned step was taken")
            self._steps.publish(SHARED)
        else:
            self._steps.average({name: float(count) for name, count in samples.items()})
            self._steps.publish(next(iter(samples)))

    async def handle(self, satellite: str, manifest: Manifest, payload: Buffer) -> Parcels:
        """Answer one parcel of a satellite.

        Raises:
            UnexpectedParcel: It belongs to another round, or is of a kind that satellites do not send.
            server_app.turns.Parked: The satellite's turn cannot come now.
        """
        if manifest.round != self._round:
            raise UnexpectedParcel(f"{satellite} sends round {manifest.round}; this is round {self._round}")
        if manifest.kind in (Kind.FEATURES, Kind.SAMPLES):
            arrived = self._arrivals.add(satellite, manifest, payload)
            if arrived is None:
                return []  # its other half is still under way
            features_BTD = crossing.decode(
                arrived.payload, arrived.codec, arrived.shape, Crossing.FEATURES, self._scaling
            )
            pooled_BD = await self._forward(satellite, manifest.step, features_BTD)
            codec = self._scenario.crossings.hidden if self._scaling else EXACT
            payload = crossing.encode(pooled_BD, codec, Crossing.POOLED, self._scaling)
            shape = tuple(pooled_BD.shape)
            return [self._parcel(manifest, Kind.HIDDEN, payload, shape, codec, kept=int(arrived.kept))]
        if manifest.kind is Kind.GRAD_HIDDEN and self.trains_adapters:
            return [await self._gradient(satellite, manifest, payload)]
        raise UnexpectedParcel(
            f"{satellite} sends {manifest.kind.name}, which mode {self._scenario.training.mode} has not"
        )

    async def _forward(self, satellite: str, step: int, features_BTD: Tensor) -> Tensor:
        if self._round == 0 or not self.trains_adapters:
            pooled_BD = await self._run_torch(self._steps.infer, features_BTD)
            if self._round == 0 and step == 0:
                self._seen[satellite] = Moments.of(features_BTD), Moments.of(pooled_BD)
            return pooled_BD
        if self._scenario.training.adapter != SHARED:
            return await self._run_torch(self._steps.forward, satellite, step, features_BTD, satellite)
        assert self._turns is not None
        with self._waiting():
            await self._turns.wait(satellite, step)
        return await self._run_torch(self._steps.forward, satellite, step, features_BTD, SHARED)

    async def _gradient(self, satellite: str, manifest: Manifest, payload: Buffer) -> tuple[Manifest, Buffer]:
        turn = Turn(satellite, manifest.step)
        grad_pooled_BD = crossing.decode(
            payload, manifest.codec, manifest.shape, Crossing.GRADIENT_OF_POOLED, self._scaling
        )
        await self._run_torch(
            self._steps.backward, satellite, manifest.step, grad_pooled_BD, self._rate(turn)
        )
        if self._scenario.training.adapter == SHARED:
            assert self._turns is not None
            await self._turns.take(*turn)
        # The embedding is frozen, so c4 is empty; it tells the satellite that its step is done.
        return self._parcel(manifest, Kind.GRAD_FEATURES, b"", (0,), EXACT)

    def _rate(self, turn: Turn) -> float:
        """By the position among all steps of a shared adapter, or among the satellite's own."""
        training = self._scenario.training
        if training.adapter == SHARED:
            done = self._position[turn] / len(self._order)
        else:
            done = turn.step / self._steps_of[turn.satellite]
        progress = (self._round - 1 + done) / training.rounds
        return learning_rate(training.learning_rate, training.schedule, progress)

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

    async def _run_torch(self, function: object, *arguments: object) -> Tensor:
        return await asyncio.get_running_loop().run_in_executor(self._compute, function, *arguments)  # type: ignore[arg-type]
