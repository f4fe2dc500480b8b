"""The ephemeris: where the satellites are, in ITRS or TEME, at any time of the horizon.

The propagator runs on a coarse grid; between its nodes a quintic Hermite polynomial is evaluated.  That is what
makes contact finding fast: SGP4 itself would take most of the time.  Only positions are asked of a propagator:
velocity and acceleration on the nodes are the differences of its positions, to eighth order, because SGP4's own
velocities are some millimetres a second off the derivative of its positions, which costs a metre between nodes.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import KW_ONLY, dataclass
from typing import Literal, TypeVar

import numpy as np
from astropy.time import Time

from orbit.constellation import Constellation
from orbit.motion.frames import earth_orientation, itrs_from_teme
from orbit.motion.propagation import PROPAGATORS, PropagationError

# Steps in radians of the orbit at perigee; 0.16 rad are 145 s at 550 km.  Against SGP4 itself a LEO is then off by
# millimetres, a microsecond in the time of a pass, and with 0.34 rad by half a metre, a tenth of a millisecond in that
# of a link.
LINK_STEP_RAD = 0.34
PASS_STEP_RAD = {"sgp4": 0.16, "j2": LINK_STEP_RAD, "cowell-j2": 0.16}  # J2 itself is kilometres off
FIRST_DIFFERENCES = (4 / 5, -1 / 5, 4 / 105, -1 / 280)  # central, of the nodes one to four steps away
SECOND_DIFFERENCES = (8 / 5, -1 / 5, 8 / 315, -1 / 560)  # (Fornberg 1988), the node itself gets −205/72
Result = TypeVar("Result")
THREADS = min(4, os.cpu_count() or 1)  # each holds a group in memory, and SGP4 lets one run at a time
MEMORY_NODES = 32_000  # a group: 72 B each, times about ten for what is made of them, stays near the cache


@dataclass(frozen=True, eq=False)
class Ephemeris:
    """Motion of N satellites on M equidistant nodes, evaluated by quintic Hermite interpolation.

    ``state`` (N, M, 9) holds position [km], velocity [km/s] and acceleration [km/s²] at ``start_s + k *
    step_s`` after the epoch.
    """

    start_s: float
    step_s: float
    _: KW_ONLY
    state: np.ndarray

    @property
    def nodes_s(self) -> np.ndarray:
        """The times of the nodes, shape (M,)."""
        return self.start_s + self.step_s * np.arange(self.state.shape[1])

    def at(self, satellite: np.ndarray, seconds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Position [km] and velocity [km/s] of ``satellite[k]`` at ``seconds[k]`` after the epoch, both (K,
        3)."""
        where = (seconds - self.start_s) / self.step_s
        node = np.clip(where.astype(np.int64), 0, self.state.shape[1] - 2)
        position, velocity = hermite_weights(where - node, self.step_s)
        left, right = self.state[satellite, node], self.state[satellite, node + 1]
        ends = np.concatenate([left, right], axis=1).reshape(-1, 6, 3)
        return np.einsum("wk,kwx->kx", position, ends), np.einsum("wk,kwx->kx", velocity, ends)

    def positions(self, seconds: np.ndarray) -> np.ndarray:
        """Position [km] of all satellites at ``seconds`` (K,), shape (N, K, 3)."""
        where = (seconds - self.start_s) / self.step_s
        node = np.clip(where.astype(np.int64), 0, self.state.shape[1] - 2)
        weights, _ = hermite_weights(where - node, self.step_s)
        position = np.zeros((len(self.state), len(seconds), 3))
        for number, weight in enumerate(
            weights
        ):  # position, velocity, acceleration on the left, then on the right
            right, part = divmod(number, 3)
            position += weight[:, None] * self.state[:, node + right, 3 * part : 3 * part + 3]
        return position


def hermite_weights(s: np.ndarray, step_s: float) -> tuple[np.ndarray, np.ndarray]:
    """Weights of (r, v, a) at both ends of a step for position and velocity at fraction ``s``; both (6,
    *s.shape)."""
    s2 = s * s
    s3, s4, s5 = s2 * s, s2 * s2, s2 * s2 * s
    position = np.array(
        [
            1 - 10 * s3 + 15 * s4 - 6 * s5,
            step_s * (s - 6 * s3 + 8 * s4 - 3 * s5),
            step_s**2 * (0.5 * s2 - 1.5 * s3 + 1.5 * s4 - 0.5 * s5),
            10 * s3 - 15 * s4 + 6 * s5,
            step_s * (-4 * s3 + 7 * s4 - 3 * s5),
            step_s**2 * (0.5 * s3 - s4 + 0.5 * s5),
        ]
    )
    velocity = np.array(
        [
            (-30 * s2 + 60 * s3 - 30 * s4) / step_s,
            1 - 18 * s2 + 32 * s3 - 15 * s4,
            step_s * (s - 4.5 * s2 + 6 * s3 - 2.5 * s4),
            (30 * s2 - 60 * s3 + 30 * s4) / step_s,
            -12 * s2 + 28 * s3 - 15 * s4,
            step_s * (1.5 * s2 - 4 * s3 + 2.5 * s4),
        ]
    )
    return position, velocity


def ephemeris_step_s(
    constellation: Constellation, horizon_s: float, step_rad: float = LINK_STEP_RAD
) -> float:
    """The longest step that is no more than ``step_rad`` at the fastest perigee of the constellation and
    divides ``horizon_s``."""
    elements = constellation.elements
    perigee_rate = elements.mean_motion_rad_min / 60 * np.sqrt(1 + elements.ecc) / (1 - elements.ecc) ** 1.5
    return float(horizon_s / np.ceil(horizon_s * perigee_rate.max() / step_rad))


def ephemeris(
    constellation: Constellation,
    epoch: Time,
    steps: int,
    *,
    step_s: float,
    start_s: float = 0.0,
    frame: Literal["ITRS", "TEME"] = "ITRS",
) -> Ephemeris:
    """The ephemeris on ``steps + 1`` nodes from ``start_s`` seconds after ``epoch``.

    Between satellites no Earth is needed: TEME does not turn and costs nothing.  Raises ``PropagationError``
    naming the satellite that cannot be propagated, and the time.
    """
    state = np.empty((len(constellation), steps + 1, 9))
    group = max(1, MEMORY_NODES // (steps + 1))
    for first in range(0, len(constellation), group):  # what fits into the cache is done twice as fast
        some = slice(first, first + group)
        _fill(state[some], constellation.take(some), epoch, start_s, step_s, frame)
    return Ephemeris(start_s, step_s, state=state)


def _fill(
    state: np.ndarray, constellation: Constellation, epoch: Time, start_s: float, step_s: float, frame: str
) -> None:
    """Propagate and turn into the frame: write the states (N, M, 9) of the nodes."""
    nodes, beyond = state.shape[1], len(FIRST_DIFFERENCES)
    seconds = start_s + step_s * np.arange(-beyond, nodes + beyond)
    position = _positions(constellation, epoch, seconds, beyond)
    if frame == "ITRS":
        position = itrs_from_teme(epoch, seconds, position)
    here = position[:, beyond : beyond + nodes]
    velocity, acceleration = np.zeros_like(here), here * (-205 / 72)
    for away, (first, second) in enumerate(zip(FIRST_DIFFERENCES, SECOND_DIFFERENCES, strict=True), start=1):
        ahead = position[:, beyond + away : beyond + away + nodes]
        behind = position[:, beyond - away : beyond - away + nodes]
        velocity += first * (ahead - behind)
        acceleration += second * (ahead + behind)
    state[..., 0:3] = here
    state[..., 3:6] = velocity / step_s
    state[..., 6:9] = acceleration / step_s**2


def _positions(constellation: Constellation, epoch: Time, seconds: np.ndarray, beyond: int) -> np.ndarray:
    """TEME positions [km] (N, M, 3); a satellite may fail ``beyond`` the nodes that count, before or after them."""
    if not len(constellation):
        return np.empty((0, len(seconds), 3))
    propagate = PROPAGATORS[constellation.propagator]
    inner = seconds[beyond:-beyond]
    try:
        return propagate(constellation.elements, epoch, seconds)
    except PropagationError as error:
        satellite, after_s = error.satellite, error.after_s
        if inner[0] <= after_s <= inner[-1]:
            message = f"satellite {constellation.names[satellite]!r}: {error}"
            raise PropagationError(message, satellite, after_s=after_s) from None
    before, alone, behind = (
        constellation.take(some)
        for some in (slice(0, satellite), slice(satellite, satellite + 1), slice(satellite + 1, None))
    )
    try:
        position = propagate(alone.elements, epoch, inner)
    except PropagationError as error:
        raise PropagationError(
            f"satellite {alone.names[0]!r}: {error}", satellite, after_s=error.after_s
        ) from None
    for _ in range(beyond):
        position = np.concatenate(
            [_next(position[:, 1], position[:, 0]), position, _next(position[:, -2], position[:, -1])], axis=1
        )
    others = (_positions(some, epoch, seconds, beyond) for some in (before, behind))
    return np.concatenate([next(others), position, next(others)])


def _next(last: np.ndarray, here: np.ndarray) -> np.ndarray:
    """Where a circular orbit goes on, as far from ``here`` as that is from ``last``; both (N, 3), result (N, 1, 3)."""
    cosine = (last * here).sum(axis=1) / np.linalg.norm(last, axis=1) / np.linalg.norm(here, axis=1)
    return (2 * cosine[:, None] * here - last)[:, None]


def over_groups(
    constellation: Constellation, epoch: Time, horizon_s: float, work: Callable[[int, Ephemeris], Result]
) -> Iterator[tuple[int, Result]]:
    """Do ``work(index of the first satellite, ephemeris)`` on groups of satellites that fit into memory.

    Yields, in the order of the satellites, how many of them are done and what the work returned.  Groups run in
    threads: while one is in SGP4, which keeps others out, another is in numpy or a kernel, which do not.
    """
    earth_orientation(epoch, np.zeros(1))  # astropy reads its table here, once, and not in several threads
    step_s = ephemeris_step_s(constellation, horizon_s, PASS_STEP_RAD[constellation.propagator])
    steps = round(horizon_s / step_s)
    group = max(1, MEMORY_NODES // (steps + 1))

    def one(first: int) -> tuple[int, Result]:
        some = constellation.take(slice(first, first + group))
        return first + len(some), work(first, ephemeris(some, epoch, steps, step_s=step_s))

    with ThreadPoolExecutor(THREADS) as pool:
        yield from pool.map(one, range(0, len(constellation), group))
