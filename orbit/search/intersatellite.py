"""Inter-satellite links: which pairs of satellites may talk, and when they see each other.

The line of sight is free when it passes a sphere of radius R (the Earth and the air that bends light)
outside.  With h = √(r² − R²), the distance from a satellite to its horizon, that is exactly r₁·r₂ + h₁·h₂ ≥
R².  A satellite below the sphere has no line of sight at all.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from types import ModuleType

import numpy as np
from astropy.time import Time
from scipy.optimize import linear_sum_assignment

from orbit.constellation import Constellation
from orbit.motion.elements import MeanElements
from orbit.motion.frames import DAY_S, EQUATORIAL_RADIUS_KM
from orbit.motion.planes import neighbouring_planes, on_one_date
from orbit.search import link_search
from orbit.search.backend import is_compiled
from orbit.search.contacts import Progress, check_horizon
from orbit.search.ephemeris import THREADS, Ephemeris, ephemeris, ephemeris_step_s
from orbit.search.intervals import intersection, merged

LINK = np.dtype(
    [
        ("first", "<i4"),  # index into the constellation
        ("second", "<i4"),
        ("start_s", "<f8"),
        ("end_s", "<f8"),
        ("mean_range_km", "<f8"),
        ("min_range_km", "<f8"),
        ("open_start", "?"),  # True where the horizon, not the geometry, cuts the window
        ("open_end", "?"),
    ]
)
GRAZING_ALTITUDE_KM = 80.0
POSITIONS_AT_ONCE = 50_000
PAIRS_AT_ONCE = 200_000  # between two reports of progress
SINKING_KM = 20.0  # short arcs show little of how the radius varies
UNDECIDED_RAD = 1e-5  # phases of element sets have four decimals of a degree
BITS_PER_VALUE = 64  # numpy makes so many bits of a bitmap in the time of one value of a search for windows


def plane_neighbours(constellation: Constellation) -> np.ndarray:
    """Pairs (K, 2) of satellites that follow each other in their plane, the last and the first among them."""
    pairs = []
    for members in planes(constellation).values():
        after = np.roll(members, -1)
        pairs.append(
            np.stack([members, after], axis=1)[: len(members) if len(members) > 2 else len(members) - 1]
        )
    return np.concatenate(pairs) if pairs else np.empty((0, 2), np.int64)


def grid_neighbours(constellation: Constellation, *, terminals: int = 2) -> np.ndarray:
    """Pairs (K, 2) across neighbouring planes, the +grid: each satellite has one partner in each of the two.

    Two planes are matched so that partners are as near as possible over a revolution, all in all (an assignment);
    where that is undecided, by half a slot, the partner ahead is taken.  The smaller of two unequal planes is matched
    whole.  With one ISL terminal every second pair of neighbouring planes is linked.
    """
    members = planes(constellation)
    pairs = [np.empty((0, 2), np.int64)]
    for west, east in _linked_planes(constellation, terminals):
        here, east_members = members[west], members[east]
        ahead = _ahead_rad(constellation.elements.take(np.concatenate([here, east_members])), len(here))
        ahead = (ahead + np.pi - UNDECIDED_RAD) % (2 * np.pi) - np.pi
        first, second = linear_sum_assignment(np.square(ahead))
        pairs.append(np.stack([here[first], east_members[second]], axis=1))
    return _in_order(np.concatenate(pairs))


def _ahead_rad(elements: MeanElements, here: int) -> np.ndarray:
    """By how much (H, N - H) [rad] each satellite after the first H = ``here`` is ahead of where it would be nearest
    to each of the first H over a revolution.

    On circles with axes p (to the node) and q (a quarter ahead), the mean of r₁·r₂ over a revolution is ½ [(p₁·p₂ +
    q₁·q₂) cos Δ + (p₁·q₂ − q₁·p₂) sin Δ], with Δ the difference of the arguments of latitude; it does not depend on Δ
    where the planes fly against each other.
    """
    normal, latitude, p = on_one_date(elements)
    q = np.cross(normal, p)
    first, other = slice(0, here), slice(here, None)
    cosine = p[first] @ p[other].T + q[first] @ q[other].T
    sine = p[first] @ q[other].T - q[first] @ p[other].T
    nearest = np.where(np.hypot(cosine, sine) > 1e-6, np.arctan2(sine, cosine), 0.0)
    return latitude[other][None, :] - latitude[first][:, None] - nearest


def same_slot_neighbours(constellation: Constellation, *, terminals: int = 2) -> np.ndarray:
    """Pairs (K, 2) across neighbouring planes of the satellites with the same slot number, whatever their phases."""
    members = planes(constellation)
    pairs = [np.empty((0, 2), np.int64)]
    for west, east in _linked_planes(constellation, terminals):
        _, here, target = np.intersect1d(
            constellation.slot[members[west]], constellation.slot[members[east]], return_indices=True
        )
        pairs.append(np.stack([members[west][here], members[east][target]], axis=1))
    return _in_order(np.concatenate(pairs))


def _linked_planes(constellation: Constellation, terminals: int) -> list[tuple[int, int]]:
    """The pairs of neighbouring planes in which no plane occurs more than ``terminals`` times."""
    used: dict[int, int] = {}
    linked = []
    for pair in neighbouring_planes(constellation.elements, constellation.plane):
        if all(used.get(plane, 0) < terminals for plane in pair):
            linked.append(pair)
            used |= {plane: used.get(plane, 0) + 1 for plane in pair}
    return linked


def _in_order(pairs: np.ndarray) -> np.ndarray:
    pairs = np.sort(pairs, axis=1)
    return pairs[np.lexsort([pairs[:, 1], pairs[:, 0]])]


def all_pairs(constellation: Constellation) -> np.ndarray:
    """All pairs (N (N − 1) / 2, 2) of satellites."""
    return np.stack(np.triu_indices(len(constellation), 1), axis=1)


def planes(constellation: Constellation) -> dict[int, np.ndarray]:
    """The satellites of each plane, ordered by slot."""
    return {
        int(number): (members := np.flatnonzero(constellation.plane == number))[
            np.argsort(constellation.slot[members])
        ]
        for number in np.unique(constellation.plane)
    }


def find_links(
    constellation: Constellation,
    pairs: np.ndarray,
    *,
    epoch: Time,
    horizon_s: float,
    grazing_altitude_km: float = GRAZING_ALTITUDE_KM,
    max_range_km: float | None = None,
    max_slew_deg_s: float | None = None,
    acquisition_s: float = 0.0,
    compiled: bool | None = None,
    progress: Progress | None = None,
) -> np.ndarray:
    """Find the windows in ``[0, horizon_s]`` in which each of the ``pairs`` (K, 2) can be linked: ``LINK`` by pair and
    time.

    ``max_slew_deg_s`` limits how fast either terminal turns in the satellite's local vertical frame,
    sampled every ten seconds.  ``acquisition_s`` is what the terminals take to find each other: every
    window that does not reach back to the start begins later by it, and one that is not longer is none.
    ``compiled`` takes (or forbids) the compiled search instead of what suits the amount of work.

    Raises ``ValueError`` for a horizon or a limit that is not above zero.
    """
    check_horizon(horizon_s)
    for field, value in (("max_range_km", max_range_km), ("max_slew_deg_s", max_slew_deg_s)):
        if value is not None and not (np.isfinite(value) and value > 0):
            raise ValueError(f"{field}: found {value}, allowed is a finite number above 0")
    if not -100.0 <= grazing_altitude_km <= 1000.0:
        raise ValueError(f"grazing_altitude_km: found {grazing_altitude_km}, allowed is -100 to 1000")
    if not 0.0 <= acquisition_s < np.inf:
        raise ValueError(f"acquisition_s: found {acquisition_s}, allowed is 0 or more")
    step_s = ephemeris_step_s(constellation, horizon_s)
    steps, segment = round(horizon_s / step_s), max(1, round(DAY_S / step_s))
    search = _choose_backend(len(pairs) * steps, compiled)
    chunk = min(PAIRS_AT_ONCE, -(-len(pairs) // THREADS) or 1)
    parts, looked_at = [], 0
    for first_step in range(0, steps, segment):  # all satellites are needed at once, so time is what is cut
        count = min(segment, steps - first_step)
        start_s = first_step * step_s
        motion = ephemeris(constellation, epoch, count, start_s=start_s, step_s=step_s, frame="TEME")

        def of_some(first_pair: int, motion: Ephemeris = motion) -> np.ndarray:
            some = pairs[first_pair : first_pair + chunk]
            part = _links_of(search, motion, some, grazing_altitude_km, max_range_km, max_slew_deg_s)
            part["pair"] += first_pair
            return part

        with ThreadPoolExecutor(THREADS) as pool:
            for part in pool.map(of_some, range(0, len(pairs), chunk)):
                parts.append(part)
                looked_at += len(pairs[:chunk]) * count
                if progress is not None:
                    progress(min(1.0, looked_at / (len(pairs) * steps)))
    links = _joined(
        np.concatenate(parts) if parts else np.empty(0, _PART), pairs, steps * step_s, acquisition_s
    )
    links["end_s"][links["open_end"]] = horizon_s  # a sum of steps ends a last bit off
    return links


def sight_bitmaps(
    constellation: Constellation,
    *,
    epoch: Time,
    seconds: np.ndarray,
    grazing_altitude_km: float = GRAZING_ALTITUDE_KM,
    max_range_km: float = np.inf,
    compiled: bool | None = None,
) -> np.ndarray:
    """Return which satellites see each other at ascending ``seconds`` (K,) after ``epoch``: uint8 (K, N, ⌈N/8⌉).

    Bit j of row i, in the order of ``numpy.unpackbits(…, axis=-1, count=N)``, says that i and j see each
    other.  ``compiled`` is as in ``find_links``; compiled bitmaps are made in single precision.
    """
    first_s, span_s = float(seconds[0]), max(float(seconds[-1] - seconds[0]), 1.0)
    step_s = ephemeris_step_s(constellation, span_s)
    steps = round(span_s / step_s)
    motion = ephemeris(constellation, epoch, steps, step_s=step_s, start_s=first_s, frame="TEME")
    sphere_km = EQUATORIAL_RADIUS_KM + grazing_altitude_km
    satellites = len(constellation)
    bits = np.empty((len(seconds), satellites, (satellites + 7) // 8), np.uint8)
    search = _choose_backend(bits.size * 8 // BITS_PER_VALUE, compiled)
    chunk = max(1, POSITIONS_AT_ONCE // satellites)

    def fill(first: int) -> None:
        some = slice(first, first + chunk)
        search.sight_bits(motion, seconds[some], sphere_km, max_range_km, bits[some])

    with ThreadPoolExecutor(THREADS) as pool:  # numpy and the compiled kernel let other threads run
        list(pool.map(fill, range(0, len(seconds), chunk)))
    return bits


def _choose_backend(values: int, compiled: bool | None) -> ModuleType:
    if not is_compiled(values, compiled):
        return link_search
    from orbit.search import link_kernels  # imports numba

    return link_kernels


_PART = np.dtype(
    [("pair", "<i8"), ("start_s", "<f8"), ("end_s", "<f8"), ("range_km_s", "<f8"), ("min_km", "<f8")]
)


def _links_of(
    search: ModuleType,
    motion: Ephemeris,
    pairs: np.ndarray,
    grazing_altitude_km: float,
    max_range_km: float | None,
    max_slew_deg_s: float | None,
) -> np.ndarray:
    """The windows of ``pairs`` within one ephemeris, as ``_PART`` rows by pair and time."""
    sphere_km = EQUATORIAL_RADIUS_KM + grazing_altitude_km
    sinks = _may_sink(motion, sphere_km)[pairs].any(axis=1)
    if sinks.any():
        high, low = np.flatnonzero(~sinks), np.flatnonzero(sinks)
        clear = search.clear_windows(motion, pairs[high], sphere_km)
        sinking = link_search.clear_windows_of_sinking(motion, pairs[low], sphere_km)
        windows = merged(clear._replace(row=high[clear.row]), sinking._replace(row=low[sinking.row]))
    else:
        windows = search.clear_windows(motion, pairs, sphere_km)
    if max_range_km is not None:
        windows = intersection(windows, search.windows_in_range(motion, pairs, max_range_km))
    if max_slew_deg_s is not None:
        slow = link_search.windows_of_slow_turns(motion, pairs, np.radians(max_slew_deg_s))
        windows = intersection(windows, slow)
    parts = np.empty(len(windows.row), _PART)
    parts["pair"], parts["start_s"], parts["end_s"] = windows
    parts["range_km_s"], parts["min_km"] = search.range_over(motion, pairs, windows)
    return parts


def _may_sink(motion: Ephemeris, sphere_km: float) -> np.ndarray:
    """Which satellites (N,) may fly below the sphere at any time: between two nodes, 0.34 rad apart at most, an orbit
    dips by less than a hundredth of what its radius varies by."""
    radius_km = np.linalg.norm(motion.state[..., :3], axis=-1)
    lowest_km = radius_km.min(axis=1)
    return lowest_km - 0.02 * (radius_km.max(axis=1) - lowest_km) < sphere_km + SINKING_KM


def _joined(parts: np.ndarray, pairs: np.ndarray, horizon_s: float, acquisition_s: float) -> np.ndarray:
    """Windows from their parts: what ends where one segment of time does goes on where the next begins."""
    if (
        np.diff(parts["pair"]) < 0
    ).any():  # more than one segment; those of one pair are in the order of time already
        parts = parts[np.argsort(parts["pair"], kind="stable")]
    goes_on = (parts["pair"][1:] == parts["pair"][:-1]) & (parts["start_s"][1:] - parts["end_s"][:-1] < 1e-6)
    first = np.flatnonzero(np.concatenate([[True], ~goes_on])[: len(parts)])
    last = np.concatenate([first[1:], [len(parts)]])[: len(first)] - 1
    links = np.empty(len(first), LINK)
    if not len(first):
        return links
    links["first"], links["second"] = pairs[parts["pair"][first]].T
    links["start_s"], links["end_s"] = parts["start_s"][first], parts["end_s"][last]
    links["mean_range_km"] = np.add.reduceat(parts["range_km_s"], first) / (links["end_s"] - links["start_s"])
    links["min_range_km"] = np.minimum.reduceat(parts["min_km"], first)
    links["open_start"], links["open_end"] = links["start_s"] == 0.0, links["end_s"] >= horizon_s - 1e-6
    links["start_s"] += np.where(links["open_start"], 0.0, acquisition_s)
    lasting = links["end_s"] > links["start_s"]
    return links if lasting.all() else links[lasting]
