"""What a round has to move and to compute, and with what: plain numbers, no model and no orbit.

A *crossing* is one transfer of a tensor over the split: c1 features down to the ground, c2 hidden states up,
c3 their gradient down; c4, the gradient of the features, does not occur, because the embedding is frozen.
"""

from __future__ import annotations

import dataclasses
import enum
import math
from collections.abc import Collection, Sequence
from dataclasses import KW_ONLY, dataclass, field

import numpy as np
from numpy.typing import NDArray

from mission.entry_points import INTER_ORBIT, INTRA_ORBIT, ROUND_PLANNERS, SPACE_GROUND, registered_names
from strategies.problem.battery import Battery
from strategies.problem.model_sizes import CrossingBits, ModelSizes, TrainingSchedule
from strategies.problem.sunlight import Sunlight


class Mode(enum.StrEnum):
    """The training mode; see the table of training modes in docs/architecture.md."""

    HEAD = "head"
    LORA = "lora"
    ONBOARD_FULL = "onboard-full"
    ONBOARD_LORA = "onboard-lora"
    ONBOARD_HEAD = "onboard-head"
    DOWNLINK = "downlink"
    FEATURES = "features"


class IntraOrbit(enum.StrEnum):
    """Ways to bring the data of one plane's satellites together (S1)."""

    NONE = "none"
    SEQUENTIAL = "sequential"
    PARALLEL = "parallel"
    ALL_GATHER = "all-gather"


class SpaceGround(enum.StrEnum):
    """Ways to choose which satellite talks to which station, and when (S2)."""

    OWN_WINDOW = "own-window"
    FIRST_CONTACT = "first-contact"
    NEAREST = "nearest"
    LONGEST_WINDOW = "longest-window"
    TOPOLOGY_AWARE = "topology-aware"


class InterOrbit(enum.StrEnum):
    """Ways in which planes reach each other (S3); ``NONE`` is through the ground."""

    NONE = "none"
    NEAREST = "nearest"
    GRID = "grid"
    MIN_LATENCY = "min-latency"


class WorkloadError(ValueError):
    """A number of the workload, the rates or the resources is impossible; the message names it."""


OUR_PLANNER = "ours"


@dataclass(frozen=True)
class StrategyConfig:
    """The three communication strategies: ours, as members of their enums, or names that packages register.

    ``planner`` makes the plan: ours, or one that a package registers. ``StrategyConfig.parse`` reads the names of a
    scenario file.
    """

    intra_orbit: str = IntraOrbit.PARALLEL
    space_ground: str = SpaceGround.TOPOLOGY_AWARE
    _: KW_ONLY
    inter_orbit: str = InterOrbit.NONE
    planner: str = OUR_PLANNER

    @classmethod
    def parse(
        cls, intra_orbit: str, space_ground: str, inter_orbit: str, planner: str = OUR_PLANNER
    ) -> StrategyConfig:
        """Raises ``WorkloadError`` naming the switch, what was found and what is allowed."""
        if planner != OUR_PLANNER and planner not in (registered := registered_names(ROUND_PLANNERS)):
            raise WorkloadError(
                f"planner: found {planner!r}, allowed: {', '.join([OUR_PLANNER, *registered])}"
            )
        return cls(
            _switch(IntraOrbit, "intra-orbit", intra_orbit, INTRA_ORBIT),
            _switch(SpaceGround, "space-ground", space_ground, SPACE_GROUND),
            inter_orbit=_switch(InterOrbit, "inter-orbit", inter_orbit, INTER_ORBIT),
            planner=planner,
        )

    def contained(self) -> tuple[StrategyConfig, ...]:
        """These strategies, then the poorer ones that they contain.

        Longest windows, and a space-ground strategy of another package, stand for themselves: own windows are not tried
        in their place.
        """
        own = dataclasses.replace(
            self,
            intra_orbit=IntraOrbit.NONE,
            space_ground=SpaceGround.OWN_WINDOW,
            inter_orbit=InterOrbit.NONE,
        )
        through_ground = dataclasses.replace(self, inter_orbit=InterOrbit.NONE)
        if self.space_ground is SpaceGround.LONGEST_WINDOW or not isinstance(self.space_ground, SpaceGround):
            alone = dataclasses.replace(own, space_ground=self.space_ground)
            return tuple(dict.fromkeys([self, through_ground, alone]))
        plane_window = dataclasses.replace(through_ground, space_ground=SpaceGround.OWN_WINDOW)
        return tuple(dict.fromkeys([self, through_ground, plane_window, own]))


def _switch(kind: type[enum.StrEnum], name: str, value: str, group: str) -> str:
    try:
        return kind(value)
    except ValueError:
        if value in (registered := registered_names(group)):
            return value
        raise WorkloadError(f"{name}: found {value!r}, allowed: {', '.join([*kind, *registered])}") from None


@dataclass(frozen=True)
class ComputeRates:
    """Effective (sustained) compute rates, FLOP/s; the ground's is that of all stations together.

    ``message_s`` is what the software of one end takes for one message of a step, beside link and arithmetic: the
    ground takes its messages one after the other, each satellite its own.
    """

    satellite_flops: float
    ground_flops: float
    _: KW_ONLY
    message_s: float = 0.0

    def __post_init__(self) -> None:
        _require_positive(self, "satellite_flops", "ground_flops")
        _require_not_negative(self, "message_s")


@dataclass(frozen=True)
class PowerDrawn:
    """Power of a satellite, in W, while it computes, sends to a station, sends to a satellite; 0 where unknown."""

    compute_w: float = 0.0
    radio_w: float = 0.0
    _: KW_ONLY
    isl_w: float = 0.0

    def __post_init__(self) -> None:
        _require_not_negative(self, "compute_w", "radio_w", "isl_w")

    @property
    def known(self) -> bool:
        """Whether anything is."""
        return self.compute_w + self.radio_w + self.isl_w > 0.0


@dataclass(frozen=True)
class Resources:
    """Limits beyond the geometry: antennas, terminals, the time that they lose, memory.

    ``beams`` satellites are served by one station at a time, or as many as ``own_beams``, pairs of (station's node,
    satellites), has for it, after ``setup_s`` of antenna set-up; a laser link
    between planes carries data ``acquisition_s`` after it was pointed; ``isl_terminals`` of them fit on a
    satellite.  ``buffer_bytes`` bounds what a gateway holds for others.  Where ``sunlight`` is given, satellites embed
    and train whole models only in it; the head's steps, a trifle, go on in the dark.  ``drawn`` changes no plan without
    a ``battery``; with one, satellites compute when its charge allows it.
    """

    beams: int = 1
    setup_s: float = 10.0
    _: KW_ONLY
    acquisition_s: float = 10.0
    isl_terminals: int = 2
    buffer_bytes: float = math.inf
    sunlight: Sunlight | None = None
    drawn: PowerDrawn = field(default_factory=PowerDrawn)
    battery: Battery | None = None
    own_beams: tuple[tuple[int, int], ...] = ()

    def __post_init__(self) -> None:
        for beams in (self.beams, *(own for _, own in self.own_beams)):
            if beams < 1:
                raise WorkloadError(f"beams: found {beams}, allowed is 1 or more")
        if self.isl_terminals < 0:
            raise WorkloadError(f"isl_terminals: found {self.isl_terminals}, allowed is 0 or more")
        _require_not_negative(self, "setup_s", "acquisition_s")
        _require_positive(self, "buffer_bytes")

    def beams_of(self, station: int) -> int:
        """Return how many satellites a station, by its node, serves at a time."""
        return dict(self.own_beams).get(station, self.beams)

    def beams_of_each(self, stations: NDArray[np.int_]) -> NDArray[np.int64]:
        """Return the same for each of some stations, in their shape (n,)."""
        return np.array([self.beams_of(station) for station in stations.tolist()], np.int64)


@dataclass(frozen=True)
class Workload:
    """One round of training.

    ``samples[k]`` images lie on satellite ``k`` and are each passed over ``epochs`` times, ``micro_batch`` at a
    time.  ``c1_bytes`` … ``c3_bytes`` are bytes per sample and crossing; c1 happens once per round and only for
    the part that is not in the ground's feature cache (``cached_fraction``), c2 and c3 in every pass.  FLOPs are per
    sample and pass, except ``embedding_flops``, which a frozen embedding spends once per round.  On board
    (``onboard_flops`` per sample and pass) a satellite trains only in the on-board modes, or where
    ``onboard_share`` allows it to take a part of its samples; what it sends of each sample with its weights, in
    schedules without rounds, is ``c1_bytes`` there.  ``aggregate_bytes`` is what each satellite
    contributes to the average at the end, ``update_bytes`` what comes back to it; without an average
    (``aggregate_bytes`` 0) it is what the ground tells all satellites once the last step is over, such as the head that
    it has trained by itself.

    With a shared adapter (``shared_adapter``) the ground takes optimiser steps one after another, each from the samples
    of up to ``satellites_per_step`` satellites, one micro-batch of each; the forward pass of step ``j`` uses the
    adapter after at least ``j - gradient_delay`` updates, as many as the plan has made by then.  With an adapter each,
    only a satellite's own steps wait for each other; up to ``satellites_per_step`` satellites share a forward and a
    backward pass.  A satellite is in one step at a time.
    A step's samples cross in ``micro_batches`` parts (lora).
    """

    mode: Mode
    samples: tuple[int, ...]
    _: KW_ONLY
    c1_bytes: float
    c2_bytes: float
    c3_bytes: float
    embedding_flops: float
    head_flops: float
    backbone_forward_flops: float
    backbone_backward_flops: float
    onboard_flops: float
    aggregate_bytes: float
    backbone_bytes: float
    cached_fraction: float = 0.0
    epochs: int = 1
    micro_batch: int = 16
    onboard_share: bool = False
    update_bytes: float = 0.0
    shared_adapter: bool = False
    satellites_per_step: int = 1
    gradient_delay: int = 0
    micro_batches: int = 1

    def __post_init__(self) -> None:
        for field_ in dataclasses.fields(self):
            if field_.type == "float":  # whole numbers times counts in arrays would overflow
                object.__setattr__(self, field_.name, float(getattr(self, field_.name)))
        if not self.samples or min(self.samples) < 0 or sum(self.samples) == 0:
            raise WorkloadError(
                f"samples: found {self.samples[:8]}, allowed is 0 or more each and one at least"
            )
        _require_not_negative(
            self, "c1_bytes", "c2_bytes", "c3_bytes", "embedding_flops", "head_flops", "onboard_flops",
            "backbone_forward_flops", "backbone_backward_flops", "aggregate_bytes", "backbone_bytes", "update_bytes",
        )  # fmt: skip
        if not 0.0 <= self.cached_fraction <= 1.0:
            raise WorkloadError(f"cached_fraction: found {self.cached_fraction}, allowed is 0 to 1")
        if self.epochs < 1 or self.micro_batch < 1:
            raise WorkloadError("epochs, micro_batch: allowed is 1 or more")
        if self.satellites_per_step < 1 or self.micro_batches < 1 or self.gradient_delay < 0:
            raise WorkloadError(
                "satellites_per_step, micro_batches: allowed is 1 or more; gradient_delay: 0 or more"
            )

    @classmethod
    def from_profile(
        cls,
        mode: Mode | str,
        samples: Sequence[int],
        sizes: ModelSizes,
        schedule: TrainingSchedule,
        bits: CrossingBits = CrossingBits(),  # noqa: B008 - immutable
    ) -> Workload:
        """Return a round from the sizes of a model.

        c2 and c3 carry the states of the tokens that come back; with a shared head (mode ``lora``) also a sample's
        share of the head and of its gradient, which cross in every step, and no head is averaged unless samples are
        trained on board.  ``mode`` may be any: the on-board modes have no crossing, ``downlink`` brings raw images down
        instead and leaves the whole model to the ground, ``features`` leaves all but the embedding to it, labels
        included.
        """
        mode = Mode(mode)
        split, lora = mode in (Mode.HEAD, Mode.LORA), mode is Mode.LORA
        central = mode in (Mode.DOWNLINK, Mode.FEATURES)
        feature_bytes = sizes.tokens * sizes.hidden * bits.feature_bits / 8.0
        returned = sizes.hidden * sizes.returned_tokens / 8.0
        if lora and schedule.shared_head:
            # Its weights, of 4 bytes each, are coded as c2 and c3 are.
            returned += sizes.head_bytes / 4.0 / schedule.micro_batch / 8.0
        ends = sizes.embedding_flops + sizes.head_flops  # what of the model is on board in the split
        backward_flops = _lora_step_flops(sizes) - sizes.backbone_flops
        aggregate = _aggregate_bytes(mode, sizes, schedule)
        return cls(
            mode=mode,
            samples=tuple(int(count) for count in samples),
            c1_bytes={Mode.DOWNLINK: sizes.raw_bytes, Mode.FEATURES: feature_bytes + sizes.label_bytes}.get(
                mode, feature_bytes if split else 0.0
            ),
            c2_bytes=returned * bits.hidden_bits if split else 0.0,
            c3_bytes=returned * bits.gradient_bits if lora else 0.0,
            embedding_flops=sizes.embedding_flops if split or mode is Mode.FEATURES else 0.0,
            head_flops=sizes.head_flops if split else 0.0,
            backbone_forward_flops={
                Mode.DOWNLINK: sizes.backbone_flops + ends,
                Mode.FEATURES: sizes.backbone_flops + sizes.head_flops,
            }.get(mode, sizes.backbone_flops if split else 0.0),
            backbone_backward_flops=backward_flops if lora or (central and schedule.trains_adapter) else 0.0,
            onboard_flops=_onboard_flops(mode, sizes),
            aggregate_bytes=aggregate,
            update_bytes=aggregate,
            backbone_bytes=sizes.backbone_bytes,
            cached_fraction=schedule.cached_fraction,
            epochs=schedule.epochs,
            micro_batch=schedule.micro_batch,
            onboard_share=schedule.onboard_share and lora,
            shared_adapter=schedule.shared_adapter and lora,
            satellites_per_step=schedule.satellites_per_step if lora else 1,
            gradient_delay=schedule.gradient_delay if lora and schedule.shared_adapter else 0,
            micro_batches=schedule.micro_batches if lora else 1,
        )

    def without(self, lost: Collection[int]) -> Workload:
        """The round when the samples on some satellites are lost."""
        samples = tuple(0 if index in lost else count for index, count in enumerate(self.samples))
        return dataclasses.replace(self, samples=samples)

    @property
    def on_board(self) -> bool:
        """True where nothing but weights leaves a satellite."""
        return self.mode in (Mode.ONBOARD_FULL, Mode.ONBOARD_LORA, Mode.ONBOARD_HEAD)

    @property
    def chained(self) -> bool:
        """True where a satellite's step waits for the gradient of the one before."""
        return self.mode is Mode.LORA

    @property
    def central(self) -> bool:
        """True where the ground trains by itself, as soon as it has all images, or their features and labels."""
        return self.mode in (Mode.DOWNLINK, Mode.FEATURES)

    @property
    def embeds(self) -> bool:
        """True where satellites compute features that cross."""
        return self.mode in (Mode.HEAD, Mode.LORA, Mode.FEATURES) and self.embedding_flops > 0

    @property
    def crosses(self) -> bool:
        """False where a split round has nothing to ask of the ground, since everything is cached on board."""
        return self.down_bytes + self.up_bytes + self.ground_flops > 0

    def delivered_bytes(self, satellite: int) -> float:
        """Return what a satellite that trains on board delivers: its weights, and what it sends of each sample."""
        return self.aggregate_bytes + self.c1_bytes * self.samples[satellite]

    @property
    def passes(self) -> int:
        """Return how often a sample visits the ground in a round: once if the backbone is frozen."""
        return self.epochs if self.chained or self.central else 1

    @property
    def down_bytes(self) -> float:
        """Mean bytes satellite → ground per sample and pass."""
        return self.c1_bytes * (1.0 - self.cached_fraction) / self.passes + self.c3_bytes

    @property
    def up_bytes(self) -> float:
        """Bytes ground → satellite per sample and pass."""
        return self.c2_bytes

    @property
    def ground_flops(self) -> float:
        """FLOPs on the ground per sample and pass."""
        return self.backbone_forward_flops + self.backbone_backward_flops


def _lora_step_flops(sizes: ModelSizes) -> float:
    """Forward and backward pass of a backbone with LoRA, per image."""
    return sizes.backbone_flops * (1.0 + sizes.lora_backward_ratio)


def _onboard_flops(mode: Mode, sizes: ModelSizes) -> float:
    """What a satellite that trains an image itself computes per pass.

    The backward pass of full fine-tuning costs two forward passes (Kaplan et al., arXiv 2001.08361, section 2.1).
    """
    if mode is Mode.ONBOARD_FULL:
        return 3.0 * (sizes.embedding_flops + sizes.backbone_flops) + sizes.head_flops
    if mode is Mode.ONBOARD_HEAD:
        return sizes.embedding_flops + sizes.backbone_flops + sizes.head_flops
    return sizes.embedding_flops + _lora_step_flops(sizes) + sizes.head_flops


def _aggregate_bytes(mode: Mode, sizes: ModelSizes, schedule: TrainingSchedule) -> float:
    """What each satellite contributes to the average."""
    if mode in (Mode.DOWNLINK, Mode.FEATURES):
        return 0.0
    if mode is Mode.ONBOARD_FULL:
        return sizes.backbone_bytes + sizes.head_bytes
    if mode is Mode.ONBOARD_LORA:
        return sizes.adapter_bytes + sizes.head_bytes
    if mode is Mode.ONBOARD_HEAD:
        return sizes.head_bytes
    on_ground = mode is Mode.LORA and schedule.shared_head and not schedule.onboard_share
    return (0.0 if on_ground else sizes.head_bytes) + (sizes.adapter_bytes if schedule.onboard_share else 0.0)


def _require_positive(value: object, *fields: str) -> None:
    for name in fields:
        if not getattr(value, name) > 0:
            raise WorkloadError(f"{name}: found {getattr(value, name)}, allowed is above 0")


def _require_not_negative(value: object, *fields: str) -> None:
    for name in fields:
        if not (getattr(value, name) >= 0 and math.isfinite(getattr(value, name))):
            raise WorkloadError(f"{name}: found {getattr(value, name)}, allowed is 0 or more")
