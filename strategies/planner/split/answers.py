"""Answers to the steps' samples on their way, and the activities that they make up: one row per place and hop.

Steps of a satellite that follow each other along one path are one *run*, whose windows reach from the start of its
first step to the end of its last.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from orbit.contact_plan import LinkKind
from strategies.planner.split.transport import FeatureChunk
from strategies.problem.plan import ON_NO_LINK, Kind, as_activities
from strategies.problem.workload import Workload

Window = tuple[float, float]
# Of a link: when it is free for another small crossing, when it would be had each taken its share only, and the latest
# time before, from when until when, in which it is left free.
LinkState = tuple[float, float, float, float]


@dataclass(frozen=True)
class AnswerHop:
    """One link of a path while its contact lasts."""

    node: int
    peer: int
    _: KW_ONLY
    rate_bps: float
    owlt_s: float
    until_s: float  # the contact ends
    since_s: float = -math.inf  # messages wait on board until then

    @cached_property
    def key(self) -> tuple[int, int]:
        """The link's, among all that are booked."""
        return self.node, self.peer


@dataclass(frozen=True)
class Path:
    """From a satellite through one session to the ground, and back: ``down`` and ``up`` are the hops of each way."""

    session: int
    gateway: int
    _: KW_ONLY
    station: int
    down: tuple[AnswerHop, ...]  # satellite … gateway
    up: tuple[AnswerHop, ...]  # gateway … satellite
    ground_owlt_s: float

    @cached_property
    def light_s(self) -> float:
        """The light time of the way up."""
        return self.ground_owlt_s + sum(hop.owlt_s for hop in self.up)


class Answer(NamedTuple):
    """One satellite's samples of a step: hidden states up the uplink, on board, their gradient down, on the ground.

    Windows reach from the start of the first part of the step to the end of its last.  ``parts_s`` is when the gradient
    of each part is on the ground (in mode head: when its hidden states are on board), ``booked`` how each link is taken
    then.
    """

    path: Path
    back: Path
    uplink: Window
    up_hops: tuple[Window, ...]
    head: Window
    down_hops: tuple[Window, ...]
    downlink: Window
    parts_s: tuple[float, ...]
    booked: tuple[tuple[tuple, LinkState], ...]


@dataclass(eq=False)
class _Run:
    block: FeatureChunk
    epoch: int
    _: KW_ONLY
    path: Path
    back: Path
    first: int
    end: int
    ground: list[float]
    uplink: list[float]
    up_hops: list[list[float]]
    head: list[float]
    down_hops: list[list[float]]
    downlink: list[float]

    def extend(self, end: int, ground_end_s: float, answer: Answer) -> None:
        self.end = end
        _extend(self.ground, ground_end_s)
        _extend(self.uplink, answer.uplink[1])
        _extend(self.head, answer.head[1])
        _extend(self.downlink, answer.downlink[1])
        for window, further in zip(self.up_hops, answer.up_hops, strict=True):
            _extend(window, further[1])
        for window, further in zip(self.down_hops, answer.down_hops, strict=True):
            _extend(window, further[1])


def _extend(window: list[float], end_s: float) -> None:
    if end_s > window[1]:
        window[1] = end_s


class AnswerLog:
    """Collects answers; ``plane`` labels satellites."""

    def __init__(self, workload: Workload, plane: Sequence[int]) -> None:
        self._workload, self._plane = workload, plane
        self._open: dict[int, _Run] = {}
        self._rows: list[tuple] = []

    def add(
        self,
        satellite: int,
        block: FeatureChunk,
        epoch: int,
        first: int,
        end: int,
        ground: Window,
        answer: Answer,
    ) -> None:
        """Samples ``[first, end)`` of a block, computed on the ground forward and backward in the window ``ground``."""
        run = self._open.get(satellite)
        if run:
            if (
                run.block is block
                and run.epoch == epoch
                and run.end == first
                and run.path is answer.path
                and run.back is answer.back
            ):
                run.extend(end, ground[1], answer)
                return
            self._write(satellite, run)
        self._open[satellite] = _Run(
            block, epoch, path=answer.path, back=answer.back, first=first, end=end, ground=[*ground],
            uplink=[*answer.uplink],
            up_hops=[[*window] for window in answer.up_hops], head=[*answer.head],
            down_hops=[[*window] for window in answer.down_hops], downlink=[*answer.downlink],
        )  # fmt: skip

    def activities(self) -> np.ndarray:
        """All that was added, dtype ``ACTIVITY``."""
        for satellite, run in self._open.items():
            self._write(satellite, run)
        self._open.clear()
        return as_activities(self._rows)

    def _write(self, satellite: int, run: _Run) -> None:
        workload, count = self._workload, run.end - run.first

        def note(
            kind: Kind, link: int, node: int, peer: int, window: Sequence[float], size: float, flops: float
        ) -> None:
            self._rows.append(
                (kind, link, satellite, node, peer, *window, size, flops, run.first, run.end, run.epoch)
            )

        def relay(
            kind: Kind, hops: Sequence[AnswerHop], windows: Sequence[Sequence[float]], size: float
        ) -> None:
            for hop, window in zip(hops, windows, strict=True):
                inside = self._plane[hop.node] == self._plane[hop.peer]
                link = LinkKind.INTRA_ISL if inside else LinkKind.INTER_ISL
                note(kind, link, hop.node, hop.peer, window, size, 0.0)

        if workload.ground_flops:
            note(Kind.BACKBONE, ON_NO_LINK, -1, -1, run.ground, 0.0, count * workload.ground_flops)
        if workload.up_bytes:
            size, path = count * workload.up_bytes, run.path
            note(Kind.HIDDEN, LinkKind.UPLINK, path.station, path.gateway, run.uplink, size, 0.0)
            relay(Kind.HIDDEN, path.up, run.up_hops, size)
        if workload.chained and workload.head_flops:
            note(Kind.HEAD, ON_NO_LINK, satellite, -1, run.head, 0.0, count * workload.head_flops)
        if workload.chained and workload.c3_bytes:
            size, back = count * workload.c3_bytes, run.back
            relay(Kind.GRADIENT, back.down, run.down_hops, size)
            note(Kind.GRADIENT, LinkKind.DOWNLINK, back.gateway, back.station, run.downlink, size, 0.0)
