"""Mission time in the emulation: 1× wall time, except for jumps over gaps in which nothing can happen.

Scaling wall time instead is wrong: computing and copying would be scaled with it. One `TimeAuthority`, on the
ground, lets all nodes jump together. It asks every node in waves; when two waves in a row find all of them
idle and nothing has begun, arrived or left anywhere in between, nothing is under way: a sender stays busy until
its neighbour has acknowledged, and the neighbour has counted the arrival before it does. (Termination detection
by a double wave, after Mattern 1987.)
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import AsyncIterator, Callable, Collection
from typing import NamedTuple

import grpc

from relay import service
from relay import wire_pb2 as pb

WAVE_S = 0.1  # wall time between two waves while somebody is busy
SESSION_S = 24 * 3600.0
STEP_S = 0.02  # a node's clock that is off by less than this is left alone


class PacedClock:
    """Seconds after the scenario's epoch, at the pace of the wall. Never runs back."""

    def __init__(self, now_s: float = 0.0) -> None:
        self._start_wall_s = time.monotonic()
        self._start_s = now_s
        self._jumped = asyncio.Event()
        self.on_jump: list[Callable[[], None]] = []

    @property
    def now_s(self) -> float:
        return self._start_s + time.monotonic() - self._start_wall_s

    def advance_to(self, instant_s: float) -> None:
        """Jump forward and wake whoever sleeps until then; an instant in the past changes nothing."""
        ahead_s = instant_s - self.now_s
        if ahead_s > 0:
            self._start_s += ahead_s
            self._jumped.set()
            self._jumped = asyncio.Event()
            for tell in self.on_jump:
                tell()

    async def sleep_until(self, instant_s: float) -> None:
        """Sleep until mission time has reached `instant_s`, by pace or by jump."""
        while (remaining_s := instant_s - self.now_s) > 0:
            jumped = self._jumped
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(None if math.isinf(remaining_s) else remaining_s):
                    await jumped.wait()


class Activity(NamedTuple):
    """What a node says of itself to the time authority."""

    busy: bool
    wake_s: float  # mission time at which it has something to do, inf when never
    changes: int  # grows with everything that begins, arrives or leaves


class TimeAuthority:
    """Lets mission time jump when all of `nodes` have nothing to do before some later instant.

    Nodes that have not connected count as busy: mission time then just runs at 1×.
    """

    def __init__(self, clock: PacedClock, nodes: Collection[str]) -> None:
        self._clock = clock
        self._nodes = frozenset(nodes)
        self._asked = asyncio.Condition()
        self._wave = 0
        self._reports: dict[str, tuple[int, Activity]] = {}  # node → wave answered, answer
        self._last_wave: dict[str, int] | None = None  # activity counts of an idle wave just before

    async def run(self) -> None:
        while True:
            async with self._asked:
                self._wave += 1
                self._asked.notify_all()
            await asyncio.sleep(WAVE_S)
            self._judge()

    async def attend(self, node: str, reports: AsyncIterator[pb.ClockReport]) -> AsyncIterator[pb.ClockTime]:
        """One node's stream: it is told the mission time with every wave, and reports."""
        wave = 0
        try:
            while True:
                async with self._asked:
                    await self._asked.wait_for(lambda: self._wave > wave)  # noqa: B023
                    wave = self._wave
                yield pb.ClockTime(mission_s=self._clock.now_s, wave=wave)
                report = await anext(reports, None)
                if report is None:
                    return
                self._reports[node] = report.wave, Activity(report.busy, report.wake_s, report.changes)
        finally:
            self._reports.pop(node, None)

    def _judge(self) -> None:
        answers = {node: answer for node, (wave, answer) in self._reports.items() if wave == self._wave}
        if set(answers) != self._nodes or any(answer.busy for answer in answers.values()):
            self._last_wave = None
            return
        counts = {node: answer.changes for node, answer in answers.items()}
        if counts == self._last_wave:
            wake_s = min(answer.wake_s for answer in answers.values())
            if math.isfinite(wake_s):
                self._clock.advance_to(wake_s)
        self._last_wave = counts


async def follow(
    clock: PacedClock, node: str, authority: grpc.aio.Channel, activity: Callable[[], Activity]
) -> None:
    """Keep a node's clock with the authority's, and answer its waves, for as long as the task lives.

    A clock behind is set forward. One ahead is left alone: it is ahead by one message's way at most.
    """
    stream = authority.stream_stream(
        service.path(service.CLOCK),
        request_serializer=pb.ClockReport.SerializeToString,
        response_deserializer=pb.ClockTime.FromString,
    )
    while True:
        with contextlib.suppress(grpc.aio.AioRpcError):
            call = stream(metadata=[(service.NODE_KEY, node)], timeout=SESSION_S, wait_for_ready=True)
            async for told in call:
                if told.mission_s - clock.now_s > STEP_S:
                    clock.advance_to(told.mission_s)
                now = activity()
                report = pb.ClockReport(wave=told.wave, **now._asdict())
                await call.write(report)
        await asyncio.sleep(1.0)
