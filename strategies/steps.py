"""The steps of the split: ground compute and the small crossings of every micro-batch, in mission time.

A satellite's steps form a chain in the ``lora`` mode: features and adapters meet on the ground, the hidden states go
down, the head answers with their gradient, and only then the next step may begin.  The chains of all satellites
interleave on the ground.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from orbit.contact_plan import LinkKind
from strategies.plan import ON_NO_LINK, Kind, activities, as_activities
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


def run_steps(
    workload: Workload,
    rates: ComputeRates,
    routes: Routes,
    passes: np.ndarray,
    sessions: np.ndarray,
    blocks: Sequence[Block],
    plane: np.ndarray,
    *,
    start_s: float,
    done: np.ndarray,
) -> Steps:
    """Run all micro-batches of ``blocks``, ``workload.passes`` times, through the ground and back.

    A step goes through the session that brought its features while that is held, else through another of the
    group.  ``plane`` labels satellites, ``done[k]`` counts the passes over samples of satellite ``k`` that were done
    before; both of shape ``(N,)``.
    """
    return _Ground(workload, rates, routes, passes, sessions, plane, start_s).run(blocks, done)


def local_steps(
    workload: Workload, rates: ComputeRates, samples: np.ndarray, sessions: np.ndarray, *, start_s: float
) -> Steps:
    """The head's training where all hidden states are on board already: nobody asks the ground."""
    who = np.flatnonzero(samples)
    flops = samples * workload.epochs * workload.head_flops
    finish_s = start_s + flops / rates.satellite_flops
    rows = activities(
        len(who), kind=Kind.HEAD, satellite=who, node=who, start_s=start_s, end_s=finish_s[who], flops=flops[who],
        end_sample=samples[who],
    )  # fmt: skip
    return Steps(finish_s, rows, sessions["data_s"].copy(), np.zeros(len(samples), int))


@dataclass
class _Chain:
    """What one satellite still has to do: (block, epoch) in order, and the next sample."""

    tasks: list[tuple[Block, int]]
    task: int = 0
    sample: int = 0

    def advance(self, count: int) -> bool:
        """Pass ``count`` samples; False where nothing is left."""
        self.sample += count
        if self.sample >= self.tasks[self.task][0].end:
            self.task += 1
            if self.task == len(self.tasks):
                return False
            self.sample = self.tasks[self.task][0].first
        return True

    def skip(self, count: int) -> bool:
        """Pass the first ``count`` samples times epochs, done earlier; False where nothing is left."""
        while count > 0:
            step = min(count, self.tasks[self.task][0].end - self.sample)
            if not self.advance(step):
                return False
            count -= step
        return True

    def left(self) -> int:
        """Samples times epochs still to do."""
        done = self.sample - self.tasks[self.task][0].first
        return sum(block.end - block.first for block, _ in self.tasks[self.task :]) - done


@dataclass(frozen=True)
class _Path:
    """From a satellite through one session to the ground, with what the hops take on the way."""

    session: int
    nodes: tuple[int, ...]  # satellite … gateway
    hop_bps: tuple[float, ...]
    hop_owlt_s: tuple[float, ...]
    flight_s: float
    serial_s_per_bit: float


@dataclass(frozen=True)
class _Answer:
    """One micro-batch on its way: hidden states up the uplink, on board, its gradient down, back on the ground."""

    path: _Path
    back: _Path
    up: tuple[float, float]
    board: tuple[float, float]
    down: tuple[float, float]
    done_s: float


@dataclass
class _Run:
    """Micro-batches of one satellite that followed each other along one path."""

    block: Block
    epoch: int
    path: _Path
    back: _Path
    first: int
    end: int
    ground: tuple[float, float]
    first_answer: _Answer
    last_answer: _Answer
    first_count: int
    last_count: int
    up_until_s: float


class _Ground:
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
        self.workload, self.routes, self.plane, self.start_s = workload, routes, plane, start_s
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
        self.head_flops, self.head_s = head_flops, head_flops / rates.satellite_flops
        self.free_s = start_s
        self.paths: dict[tuple[int, int, int], _Path | None] = {}
        self.alike: dict[_Path, _Path] = {}  # one object per path, however often it is found
        self.latest: dict[int, int] = {}  # the session that answered a satellite last
        self.label = sessions["group"].tolist()
        self.mates: dict[int, tuple[np.ndarray, np.ndarray, np.ndarray]] = {}  # by data_s, of each group
        for label in set(self.label):
            mine = np.flatnonzero(sessions["group"] == label)
            mine = mine[np.argsort(sessions["data_s"][mine], kind="stable")]
            self.mates[label] = (sessions["data_s"][mine], sessions["limit_s"][mine], mine)
        self.held_until_s = sessions["data_s"].copy()
        self.open_runs: dict[int, _Run] = {}
        self.rows: list[tuple] = []

    def run(self, blocks: Sequence[Block], done: np.ndarray) -> Steps:
        for block in blocks:
            until_s = self.features_until_s[block.session]
            self.features_until_s[block.session] = max(until_s, block.last_s - self.owlt_s[block.session])
        chains = self._chains(blocks, done)
        finish_s = np.full(len(self.plane), self.start_s)
        left = np.zeros(len(self.plane), int)
        # Cohorts go one after the other, first features first, so that satellites finish early; inside a cohort all
        # advance together, which keeps the ground busy to the end of the last.
        begun = sorted((self._features_s(chain), satellite) for satellite, chain in chains.items())
        rank = {satellite: -((len(begun) - 1 - i) // _COHORT) for i, (_, satellite) in enumerate(begun)}
        waiting: list[tuple[float, int]] = begun
        ready: list[tuple[int, float, int]] = []
        while waiting or ready:
            if not ready:
                self.free_s = max(self.free_s, waiting[0][0])
            while waiting and waiting[0][0] <= self.free_s:
                since_s, satellite = heapq.heappop(waiting)
                heapq.heappush(ready, (rank[satellite], since_s, satellite))
            satellite = heapq.heappop(ready)[2]
            chain = chains[satellite]
            block, epoch = chain.tasks[chain.task]
            count = min(self.workload.micro_batch, block.end - chain.sample)
            begin_s, computed_s = self.free_s, self.free_s + count * self.ground_s
            answer, retry_s = self._answer(satellite, block, begin_s, computed_s, count)
            if answer is None:
                if np.isfinite(retry_s):
                    heapq.heappush(waiting, (retry_s, satellite))
                else:
                    left[satellite] = chain.left()
                continue
            self.free_s = computed_s
            self._take(answer, count)
            self._note(satellite, block, epoch, chain.sample, count, begin_s, answer)
            finish_s[satellite] = max(finish_s[satellite], answer.done_s)
            if chain.advance(count):
                after_s = answer.done_s if self.chained else computed_s
                heapq.heappush(waiting, (max(after_s, self._features_s(chain)), satellite))
        for run in self.open_runs.values():
            self._flush(run)
        return Steps(finish_s, as_activities(self.rows), self.held_until_s, left)

    def _chains(self, blocks: Sequence[Block], done: np.ndarray) -> dict[int, _Chain]:
        of_satellite: dict[int, list[Block]] = {}
        for block in blocks:
            of_satellite.setdefault(block.satellite, []).append(block)
        chains = {}
        for satellite, mine in sorted(of_satellite.items()):
            chain = _Chain(
                [(block, epoch) for epoch in range(self.workload.passes) for block in mine],
                sample=mine[0].first,
            )
            if chain.skip(int(done[satellite])):
                chains[satellite] = chain
        return chains

    def _features_s(self, chain: _Chain) -> float:
        """When the features of the chain's next micro-batch are on the ground."""
        block, _ = chain.tasks[chain.task]
        upto = min(chain.sample + self.workload.micro_batch, block.end)
        return block.first_s + (block.last_s - block.first_s) * (upto - block.first) / (
            block.end - block.first
        )

    def _answer(
        self, satellite: int, block: Block, begin_s: float, computed_s: float, count: int
    ) -> tuple[_Answer | None, float]:
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
    ) -> _Answer | None:
        """The answer through a session, if that is held from the computation's begin to the answer's end."""
        if not self.data_s[session] <= begin_s < self.limit_s[session]:
            return None
        answer = self._travel(session, satellite, computed_s, count)
        if answer is None or max(answer.down[1], answer.up[1]) > self.limit_s[session]:
            return None
        return answer

    def _path(self, session: int, satellite: int, time_s: float) -> _Path | None:
        key = (session, satellite, int(time_s // BUCKET_S))
        if key not in self.paths:
            tree = self.routes.tree(self.gateway[session], time_s)
            self.paths[key] = None
            if np.isfinite(tree.flight_s[satellite]):
                nodes = tree.path(satellite)
                hops = [self.routes.link(node, peer, time_s) for node, peer in itertools.pairwise(nodes)]
                path = _Path(
                    session,
                    tuple(nodes),
                    tuple(rate_bps for rate_bps, _ in hops),
                    tuple(owlt_s for _, owlt_s in hops),
                    float(tree.flight_s[satellite]),
                    float(tree.serial_s_per_bit[satellite]),
                )
                self.paths[key] = self.alike.setdefault(path, path)
        return self.paths[key]

    def _travel(self, session: int, satellite: int, computed_s: float, count: int) -> _Answer | None:
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
            return _Answer(path, path, (up_s, sent_s), (board_s, headed_s), (sent_s, sent_s), headed_s)
        back = self._path(session, satellite, headed_s)
        if back is None:
            return None
        down_s = max(headed_s + back.flight_s + down_bits * back.serial_s_per_bit, self.down_free_s[session])
        end_s = down_s + down_bits / self.down_bps[session]
        done_s = end_s + self.owlt_s[session]
        return _Answer(path, back, (up_s, sent_s), (board_s, headed_s), (down_s, end_s), done_s)

    def _take(self, answer: _Answer, count: int) -> None:
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

    def _note(
        self,
        satellite: int,
        block: Block,
        epoch: int,
        sample: int,
        count: int,
        begin_s: float,
        answer: _Answer,
    ) -> None:
        run = self.open_runs.get(satellite)
        if (
            run
            and run.block is block
            and run.epoch == epoch
            and run.path is answer.path
            and run.back is answer.back
        ):
            run.end, run.ground = sample + count, (run.ground[0], self.free_s)
            run.up_until_s = answer.up[1]
            # A short last micro-batch may overtake on slow links.
            if answer.board[1] >= run.last_answer.board[1]:
                run.last_answer, run.last_count = answer, count
            return
        if run:
            self._flush(run)
        ground = (begin_s, self.free_s)
        self.open_runs[satellite] = _Run(
            block,
            epoch,
            answer.path,
            answer.back,
            sample,
            sample + count,
            ground,
            answer,
            answer,
            count,
            count,
            answer.up[1],
        )

    def _flush(self, run: _Run) -> None:
        """One row per place and hop: from the start of the run's first micro-batch to the end of its last."""
        workload, path, satellite = self.workload, run.path, run.block.satellite
        count, first, last = run.end - run.first, run.first_answer, run.last_answer
        gateway, station = self.gateway[path.session], self.station[path.session]

        def note(
            kind: Kind,
            link: int,
            node: int,
            peer: int,
            window: tuple[float, float],
            size: float,
            flops: float,
        ) -> None:
            self.rows.append(
                (kind, link, satellite, node, peer, *window, size, flops, run.first, run.end, run.epoch)
            )

        note(Kind.BACKBONE, ON_NO_LINK, -1, -1, run.ground, 0.0, count * workload.ground_flops)
        if workload.up_bytes:
            size = count * workload.up_bytes
            note(Kind.HIDDEN, LinkKind.UPLINK, station, gateway, (first.up[0], run.up_until_s), size, 0.0)
            flown_s = self.owlt_s[path.session]
            first_bits, last_bits = run.first_count * self.up_bits, run.last_count * self.up_bits
            inverse = 0.0  # seconds per bit so far
            for hop in reversed(range(len(path.hop_bps))):
                node, peer = path.nodes[hop + 1], path.nodes[hop]
                begin_s = first.up[1] + flown_s + first_bits * inverse
                inverse += 1.0 / path.hop_bps[hop]
                window = (
                    begin_s,
                    flown_s + max(first.up[1] + first_bits * inverse, last.up[1] + last_bits * inverse),
                )
                note(Kind.HIDDEN, self._isl(node, peer), node, peer, window, size, 0.0)
                flown_s += path.hop_owlt_s[hop]
        if self.head_flops:
            note(
                Kind.HEAD,
                ON_NO_LINK,
                satellite,
                -1,
                (first.board[0], last.board[1]),
                0.0,
                count * self.head_flops,
            )
        if workload.chained and workload.c3_bytes:
            size, flown_s, inverse, back = count * workload.c3_bytes, 0.0, 0.0, run.back
            first_bits, last_bits = run.first_count * self.down_bits, run.last_count * self.down_bits
            for hop in range(len(back.hop_bps)):
                node, peer = back.nodes[hop], back.nodes[hop + 1]
                begin_s = first.board[1] + flown_s + first_bits * inverse
                inverse += 1.0 / back.hop_bps[hop]
                window = (
                    begin_s,
                    flown_s + max(first.board[1] + first_bits * inverse, last.board[1] + last_bits * inverse),
                )
                note(Kind.GRADIENT, self._isl(node, peer), node, peer, window, size, 0.0)
                flown_s += back.hop_owlt_s[hop]
            note(Kind.GRADIENT, LinkKind.DOWNLINK, gateway, station, (first.down[0], last.down[1]), size, 0.0)

    def _isl(self, node: int, peer: int) -> LinkKind:
        return LinkKind.INTRA_ISL if self.plane[node] == self.plane[peer] else LinkKind.INTER_ISL
