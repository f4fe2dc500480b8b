"""The ground's answers to micro-batches, and the activities that they make up: one row per place and hop.

Micro-batches of a satellite that follow each other along one path are one *run*, whose windows reach from the start
of its first micro-batch to the end of its last.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from orbit.contact_plan import LinkKind
from strategies.plan import ON_NO_LINK, Kind, as_activities
from strategies.transport import Block
from strategies.workload import Workload


@dataclass(frozen=True)
class Path:
    """From a satellite through one session to the ground, with what the hops take on the way."""

    session: int
    gateway: int
    station: int
    nodes: tuple[int, ...]  # satellite … gateway
    hop_bps: tuple[float, ...]
    hop_owlt_s: tuple[float, ...]
    ground_owlt_s: float
    flight_s: float
    serial_s_per_bit: float


@dataclass(frozen=True)
class Answer:
    """One micro-batch on its way: hidden states up the uplink, on board, its gradient down, back on the ground."""

    path: Path
    back: Path
    up: tuple[float, float]
    board: tuple[float, float]
    down: tuple[float, float]
    done_s: float


@dataclass
class _Run:
    block: Block
    epoch: int
    path: Path
    back: Path
    first: int
    end: int
    ground: tuple[float, float]
    first_answer: Answer
    last_answer: Answer
    first_count: int
    last_count: int
    up_until_s: float


class AnswerLog:
    """Collects answers; ``head_flops`` per sample is what the head computes on each.  ``plane`` labels satellites."""

    def __init__(self, workload: Workload, head_flops: float, plane: np.ndarray) -> None:
        self._workload, self._head_flops, self._plane = workload, head_flops, plane
        self._open: dict[int, _Run] = {}
        self._rows: list[tuple] = []

    def add(
        self,
        satellite: int,
        block: Block,
        epoch: int,
        sample: int,
        count: int,
        ground: tuple[float, float],
        answer: Answer,
    ) -> None:
        """Samples ``[sample, sample + count)`` of a block, computed on the ground in the interval ``ground``."""
        run = self._open.get(satellite)
        if (
            run
            and run.block is block
            and run.epoch == epoch
            and run.path is answer.path
            and run.back is answer.back
        ):
            run.end, run.ground = sample + count, (run.ground[0], ground[1])
            run.up_until_s = answer.up[1]
            # A short last micro-batch may overtake on slow links.
            if answer.board[1] >= run.last_answer.board[1]:
                run.last_answer, run.last_count = answer, count
            return
        if run:
            self._write(run)
        self._open[satellite] = _Run(
            block, epoch, answer.path, answer.back, sample, sample + count, ground, answer, answer, count, count,
            answer.up[1],
        )  # fmt: skip

    def activities(self) -> np.ndarray:
        """All that was added, dtype ``ACTIVITY``."""
        for run in self._open.values():
            self._write(run)
        self._open.clear()
        return as_activities(self._rows)

    def _write(self, run: _Run) -> None:
        workload, path, back = self._workload, run.path, run.back
        count, first, last = run.end - run.first, run.first_answer, run.last_answer
        satellite = run.block.satellite

        def note(
            kind: Kind,
            link: int,
            node: int,
            peer: int,
            window: tuple[float, float],
            size: float,
            flops: float,
        ) -> None:
            self._rows.append(
                (kind, link, satellite, node, peer, *window, size, flops, run.first, run.end, run.epoch)
            )

        def relay(
            kind: Kind,
            nodes: Sequence[int],
            bps: Sequence[float],
            owlt_s: Sequence[float],
            left_s: tuple[float, float],
            bits: float,
        ) -> None:
            """Store and forward along ``nodes``: the first and the last micro-batch leave at ``left_s``."""
            flown_s = inverse = 0.0  # light time and seconds per bit so far
            first_bits, last_bits = run.first_count * bits, run.last_count * bits
            for (node, peer), rate_bps, light_s in zip(itertools.pairwise(nodes), bps, owlt_s, strict=True):
                begin_s = left_s[0] + flown_s + first_bits * inverse
                inverse += 1.0 / rate_bps
                end_s = flown_s + max(left_s[0] + first_bits * inverse, left_s[1] + last_bits * inverse)
                inside = self._plane[node] == self._plane[peer]
                link = LinkKind.INTRA_ISL if inside else LinkKind.INTER_ISL
                note(kind, link, node, peer, (begin_s, end_s), count * bits / 8.0, 0.0)
                flown_s += light_s

        note(Kind.BACKBONE, ON_NO_LINK, -1, -1, run.ground, 0.0, count * workload.ground_flops)
        if workload.up_bytes:
            window = (first.up[0], run.up_until_s)
            note(
                Kind.HIDDEN,
                LinkKind.UPLINK,
                path.station,
                path.gateway,
                window,
                count * workload.up_bytes,
                0.0,
            )
            there_s = (first.up[1] + path.ground_owlt_s, last.up[1] + path.ground_owlt_s)
            relay(
                Kind.HIDDEN, path.nodes[::-1], path.hop_bps[::-1], path.hop_owlt_s[::-1], there_s,
                workload.up_bytes * 8.0,
            )  # fmt: skip
        if self._head_flops:
            window = (first.board[0], last.board[1])
            note(Kind.HEAD, ON_NO_LINK, satellite, -1, window, 0.0, count * self._head_flops)
        if workload.chained and workload.c3_bytes:
            learnt_s = (first.board[1], last.board[1])
            relay(Kind.GRADIENT, back.nodes, back.hop_bps, back.hop_owlt_s, learnt_s, workload.c3_bytes * 8.0)
            window = (first.down[0], last.down[1])
            note(
                Kind.GRADIENT, LinkKind.DOWNLINK, back.gateway, back.station, window, count * workload.c3_bytes, 0.0
            )  # fmt: skip
