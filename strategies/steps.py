"""The steps of the split: ground compute and the small crossings of every micro-batch, in mission time.

A satellite's steps form a chain in the ``lora`` mode: features and adapters meet on the ground, the hidden states go
down, the head answers with their gradient, and only then the next step may begin.  The chains of all satellites
interleave on the ground.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from strategies.answers import Answer, AnswerLog, Path
from strategies.chains import chains_of
from strategies.plan import Kind, activities
from strategies.routes import BUCKET_S, Routes
from strategies.transport import Block
from strategies.workload import ComputeRates, Workload

_COHORT = 32  # satellites whose chains of steps fill each other's waiting times


@dataclass(frozen=True, eq=False)
class Steps:
    """When each satellite's last step is done (``finish_s``, shape ``(N,)``), what was done, what could not be.

    ``held_until_s[i]`` is when session ``i`` carries its last byte, ``left`` the samples without connection.
    """

    finish_s: np.ndarray
    activities: np.ndarray
    held_until_s: np.ndarray
    left: np.ndarray


def local_steps(
    workload: Workload,
    rates: ComputeRates,
    samples: np.ndarray,
    done: np.ndarray,
    sessions: np.ndarray,
    *,
    start_s: float,
) -> Steps:
    """The head's training where all hidden states are on board already: nobody asks the ground.

    The first ``done[k]`` samples of satellite ``k`` have been passed.
    """
    who = np.flatnonzero(samples > done)
    flops = (samples - done) * workload.epochs * workload.head_flops
    finish_s = start_s + flops / rates.satellite_flops
    rows = activities(
        len(who), kind=Kind.HEAD, satellite=who, node=who, start_s=start_s, end_s=finish_s[who], flops=flops[who],
        first_sample=done[who], end_sample=samples[who],
    )  # fmt: skip
    return Steps(finish_s, rows, sessions["data_s"].copy(), np.zeros(len(samples), int))


def central_steps(
    workload: Workload,
    rates: ComputeRates,
    samples: np.ndarray,
    done: np.ndarray,
    sessions: np.ndarray,
    *,
    start_s: float,
) -> Steps:
    """Training in one place, from ``start_s`` on, when the last image has come: each step mixes all satellites' images.

    The ``done[k]`` first samples times passes of satellite ``k`` are finished.
    """
    rows, now_s = [], start_s
    for epoch in range(workload.passes):
        first = np.clip(done - epoch * samples, 0, samples)
        who = np.flatnonzero(samples > first)
        flops = (samples - first) * workload.ground_flops
        end_s = now_s + float(flops.sum()) / rates.ground_flops
        rows.append(
            activities(
                len(who), kind=Kind.BACKBONE, satellite=who, start_s=now_s, end_s=end_s, flops=flops[who],
                first_sample=first[who], end_sample=samples[who], epoch=epoch,
            )
        )  # fmt: skip
        now_s = end_s
    finish_s = np.where(samples > 0, now_s, start_s)
    return Steps(finish_s, np.concatenate(rows), sessions["data_s"].copy(), np.zeros(len(samples), int))


class GroundSteps:
    """The ground at work: one micro-batch after the other, of whichever satellites are ready.

    A step goes through the session that brought its features while that is held, else through another of the
    group.  ``plane`` labels satellites, shape ``(N,)``.
    """

    def __init__(
        self,
        workload: Workload,
        rates: ComputeRates,
        routes: Routes,
        passes: np.ndarray,
        sessions: np.ndarray,
        plane: np.ndarray,
        start_s: float,
    ) -> None:
        self.workload, self.routes, self.start_s = workload, routes, start_s
        self.up_bits, self.down_bits = workload.up_bytes * 8.0, workload.c3_bytes * 8.0
        one_pass = passes[sessions["pass_index"]]
        self.up_bps, self.down_bps = one_pass["up_bps"].tolist(), one_pass["down_bps"].tolist()
        self.owlt_s = one_pass["owlt_s"].tolist()
        self.chained = workload.chained
        self.gateway, self.station = sessions["satellite"].tolist(), sessions["station"].tolist()
        self.data_s, self.limit_s = sessions["data_s"].tolist(), sessions["limit_s"].tolist()
        small, all_bytes = workload.c3_bytes, workload.c3_bytes + workload.c1_bytes
        self.gradient_share = small / all_bytes if small else 1.0
        self.features_until_s = [0.0] * len(sessions)
        self.up_free_s, self.down_free_s = list(self.data_s), list(self.data_s)
        self.ground_s = workload.ground_flops / rates.ground_flops
        # With a frozen backbone all epochs of the head's training follow the one answer.
        head_flops = workload.head_flops * (1 if workload.chained else workload.epochs)
        self.head_s = head_flops / rates.satellite_flops
        self.log = AnswerLog(workload, head_flops, plane)
        self.free_s = start_s
        self.paths: dict[tuple[int, int, int], Path | None] = {}
        self.alike: dict[Path, Path] = {}  # one object per path, however often it is found
        self.latest: dict[int, int] = {}  # the session that answered a satellite last
        self.label = sessions["group"].tolist()
        self.mates: dict[int, tuple[np.ndarray, np.ndarray, np.ndarray]] = {}  # by data_s, of each group
        for label in set(self.label):
            mine = np.flatnonzero(sessions["group"] == label)
            mine = mine[np.argsort(sessions["data_s"][mine], kind="stable")]
            self.mates[label] = (sessions["data_s"][mine], sessions["limit_s"][mine], mine)
        self.held_until_s = sessions["data_s"].copy()

    def run(self, blocks: Sequence[Block], done: np.ndarray, *, below_s: float = math.inf) -> Steps | None:
        """All micro-batches of ``blocks``, ``workload.passes`` times, less ``done[k]`` samples times passes.

        None as soon as the work that is left, done without a pause, would not end before ``below_s``.
        """
        for block in blocks:
            until_s = self.features_until_s[block.session]
            self.features_until_s[block.session] = max(until_s, block.last_s - self.owlt_s[block.session])
        size = self.workload.micro_batch
        chains = chains_of(blocks, self.workload.passes, done)
        todo = sum(chain.left() for chain in chains.values())
        finish_s = np.full(len(done), self.start_s)
        left = np.zeros(len(done), int)
        # Cohorts go one after the other, first features first, so that satellites finish early; inside a cohort all
        # advance together, which keeps the ground busy to the end of the last.
        begun = sorted((chain.features_s(size), satellite) for satellite, chain in chains.items())
        rank = {satellite: -((len(begun) - 1 - i) // _COHORT) for i, (_, satellite) in enumerate(begun)}
        waiting: list[tuple[float, int]] = begun
        ready: list[tuple[int, float, int]] = []
        while waiting or ready:
            if not ready:
                self.free_s = max(self.free_s, waiting[0][0])
            if self.free_s + todo * self.ground_s >= below_s:
                return None
            while waiting and waiting[0][0] <= self.free_s:
                since_s, satellite = heapq.heappop(waiting)
                heapq.heappush(ready, (rank[satellite], since_s, satellite))
            satellite = heapq.heappop(ready)[2]
            chain = chains[satellite]
            block, epoch = chain.tasks[chain.task]
            count = min(size, block.end - chain.sample)
            begin_s, computed_s = self.free_s, self.free_s + count * self.ground_s
            answer, retry_s = self._answer(satellite, block, begin_s, computed_s, count)
            if answer is None:
                if np.isfinite(retry_s):
                    heapq.heappush(waiting, (retry_s, satellite))
                else:
                    left[satellite] = chain.left()
                    todo -= left[satellite]
                continue
            self.free_s = computed_s
            todo -= count
            self._take(answer, count)
            self.log.add(satellite, block, epoch, chain.sample, count, (begin_s, computed_s), answer)
            finish_s[satellite] = max(finish_s[satellite], answer.done_s)
            if chain.advance(count):
                after_s = answer.done_s if self.chained else computed_s
                heapq.heappush(waiting, (max(after_s, chain.features_s(size)), satellite))
        return Steps(finish_s, self.log.activities(), self.held_until_s, left)

    def _answer(
        self, satellite: int, block: Block, begin_s: float, computed_s: float, count: int
    ) -> tuple[Answer | None, float]:
        """How a micro-batch computed at ``computed_s`` is answered; or None and when to try again (inf: never)."""
        for session in dict.fromkeys((block.session, self.latest.get(satellite, block.session))):
            answer = self._within(session, satellite, begin_s, computed_s, count)
            if answer is not None:
                return answer, begin_s
        live, retry_s = self._live(self.label[block.session], begin_s)
        flight_s = [self.routes.tree(self.gateway[s], computed_s).flight_s[satellite] for s in live]
        for position in np.argsort(flight_s, kind="stable").tolist():
            answer = self._within(live[position], satellite, begin_s, computed_s, count)
            if answer is not None:
                self.latest[satellite] = live[position]
                return answer, begin_s
        return None, retry_s

    def _live(self, label: int, now_s: float) -> tuple[list[int], float]:
        """The sessions that a group holds now, and when to ask again if none of them will do."""
        data_s, limit_s, index = self.mates[label]
        begun = int(np.searchsorted(data_s, now_s, side="right"))
        live = np.flatnonzero(limit_s[:begun] > now_s)
        retry_s = float(data_s[begun]) if begun < len(data_s) else np.inf
        if (limit_s[live] > now_s + BUCKET_S).any():
            retry_s = min(retry_s, (now_s // BUCKET_S + 1.0) * BUCKET_S)
        return index[live].tolist(), retry_s

    def _within(
        self, session: int, satellite: int, begin_s: float, computed_s: float, count: int
    ) -> Answer | None:
        """The answer through a session, if that is held from the computation's begin to the answer's end."""
        if not self.data_s[session] <= begin_s < self.limit_s[session]:
            return None
        answer = self._travel(session, satellite, computed_s, count)
        if answer is None or max(answer.down[1], answer.up[1]) > self.limit_s[session]:
            return None
        return answer

    def _path(self, session: int, satellite: int, time_s: float) -> Path | None:
        key = (session, satellite, int(time_s // BUCKET_S))
        if key not in self.paths:
            tree = self.routes.tree(self.gateway[session], time_s)
            self.paths[key] = None
            if np.isfinite(tree.flight_s[satellite]):
                nodes = tree.path(satellite)
                hops = [self.routes.link(node, peer, time_s) for node, peer in itertools.pairwise(nodes)]
                path = Path(
                    session,
                    self.gateway[session],
                    self.station[session],
                    tuple(nodes),
                    tuple(rate_bps for rate_bps, _ in hops),
                    tuple(owlt_s for _, owlt_s in hops),
                    self.owlt_s[session],
                    float(tree.flight_s[satellite]),
                    float(tree.serial_s_per_bit[satellite]),
                )
                self.paths[key] = self.alike.setdefault(path, path)
        return self.paths[key]

    def _travel(self, session: int, satellite: int, computed_s: float, count: int) -> Answer | None:
        """There and back through a session, or None where links are shut on one of the ways."""
        up_bits, down_bits = count * self.up_bits, count * self.down_bits
        up_s = max(computed_s, self.up_free_s[session])
        sent_s = up_s + (up_bits / self.up_bps[session] if up_bits else 0.0)
        path = self._path(session, satellite, sent_s)
        if path is None:
            return None
        board_s = sent_s + self.owlt_s[session] + path.flight_s + up_bits * path.serial_s_per_bit
        headed_s = board_s + count * self.head_s
        if not self.chained:
            return Answer(path, path, (up_s, sent_s), (board_s, headed_s), (sent_s, sent_s), headed_s)
        back = self._path(session, satellite, headed_s)
        if back is None:
            return None
        down_s = max(headed_s + back.flight_s + down_bits * back.serial_s_per_bit, self.down_free_s[session])
        end_s = down_s + down_bits / self.down_bps[session]
        done_s = end_s + self.owlt_s[session]
        return Answer(path, back, (up_s, sent_s), (board_s, headed_s), (down_s, end_s), done_s)

    def _take(self, answer: Answer, count: int) -> None:
        """Hold the links as long as the micro-batch needs them."""
        session = answer.path.session
        self.up_free_s[session] = answer.up[1]
        if self.chained:
            # Among features, the gradients get on average what those leave free of the downlink (transport.py).
            share = self.gradient_share if answer.down[0] < self.features_until_s[session] else 1.0
            self.down_free_s[session] = answer.down[0] + count * self.down_bits / (
                self.down_bps[session] * share
            )
        self.held_until_s[session] = max(self.held_until_s[session], answer.down[1], answer.up[1])
