"""Which satellites of a constellation fly in one plane, in which order, and which planes are neighbours."""

from __future__ import annotations

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import KDTree

from orbit.motion.elements import MeanElements
from orbit.motion.kepler import secular_rates

PLANE_TOLERANCE_DEG = 2.5
WIDEST_PLANE_DEG = (
    5.0  # a plane that is wider, from its mean normal, is looked at again with half the tolerance
)
FINEST_TOLERANCE_DEG = 0.1
LONELY = 2  # so many satellites are no plane where half of a usual one is more
CELL = 2e-4  # normals (unit vectors) are rounded to such cells, 0.01°, so that large planes cost little


def recognise_planes(elements: MeanElements) -> tuple[np.ndarray, np.ndarray]:
    """Plane and slot of each satellite, both (N,) integers.

    Two satellites share a plane when the normals of their orbits, brought to one date by J2, lie within
    2.5°, or when a chain of such satellites joins them; a chain that makes a plane wider than 5° (planes that
    are themselves less than 2.5° apart) is cut with a smaller tolerance.  Planes are numbered by shell
    (inclination), then by right ascension; slots by the argument of latitude at the common date.
    """
    normal, latitude, _ = on_one_date(elements)
    cluster = _clusters(normal)
    centre = _mean_by_group(normal, cluster)
    shell, node = shells_and_nodes(centre)

    number = np.empty(len(centre), np.int32)
    number[np.lexsort([node, shell])] = np.arange(len(centre))
    plane = number[cluster]
    slot = np.empty(len(elements), np.int32)
    order = np.lexsort([latitude % (2 * np.pi), plane])
    first = np.searchsorted(plane[order], np.arange(len(centre)))
    slot[order] = np.arange(len(elements)) - first[plane[order]]
    return plane, slot


def neighbouring_planes(elements: MeanElements, plane: np.ndarray) -> list[tuple[int, int]]:
    """Pairs of planes that fly side by side, each pair from west to east (by right ascension).

    The planes of a shell form a circle in the order of their nodes.  It is open where the nodes are half a
    turn apart or more: there lies the seam of a star, whose planes on both sides fly against each other.
    Planes with fewer than a quarter of the satellites of a usual plane of their shell are strays and have no
    neighbours; so are one or two satellites where half a plane is more.
    """
    normal, _, _ = on_one_date(elements)
    numbers, member_of = np.unique(plane, return_inverse=True)
    shell, node = shells_and_nodes(_mean_by_group(normal, member_of))
    size = np.bincount(member_of)
    pairs: list[tuple[int, int]] = []
    for number in np.unique(shell):
        members = np.flatnonzero(shell == number)
        usual = np.median(np.repeat(size[members], size[members]))  # of the plane that a satellite flies in
        ring = members[size[members] >= np.where(size[members] <= LONELY, usual / 2, usual / 4)]
        ring = ring[np.argsort(node[ring], kind="stable")]
        gap = (np.roll(node[ring], -1) - node[ring]) % (2 * np.pi)
        if len(ring) == 2:
            closed = np.arange(2) == np.argmin(gap.round(9))
        else:
            closed = gap < np.pi - np.radians(PLANE_TOLERANCE_DEG)
        closed &= len(ring) > 1
        after = np.roll(ring, -1)
        pairs += [
            (int(numbers[a]), int(numbers[b])) for a, b in zip(ring[closed], after[closed], strict=True)
        ]
    return pairs


def shells_and_nodes(normal: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Shell (P,) and right ascension of the node (P,) [rad] of planes with these unit normals (P, 3).

    Planes belong to one shell when their inclinations, sorted, follow each other by 2.5° or less.
    """
    inclination = np.degrees(np.arctan2(np.hypot(normal[:, 0], normal[:, 1]), normal[:, 2]))
    order = np.argsort(inclination, kind="stable")
    shell = np.empty(len(normal), np.int64)
    shell[order] = np.cumsum(
        np.diff(inclination[order], prepend=inclination[order][:1]) > PLANE_TOLERANCE_DEG
    )
    node = np.arctan2(normal[:, 0], -normal[:, 1]) % (2 * np.pi)
    node[2 * np.pi - node < 1e-9] = 0.0  # rounding does not put the first plane last
    return shell, node


def on_one_date(elements: MeanElements) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Unit normals (N, 3) of the planes, arguments of latitude (N,) [rad], from the unit vectors to the ascending nodes
    (N, 3), at the midnight of the latest epoch.

    Elements of a catalogue differ in epoch by days, in which nodes turn by degrees and satellites revolve: the
    secular rates of J2 bring them together.
    """
    elapsed_s = elements.seconds_before(float(np.max(elements.epoch_jd)), 0.0)
    raan_rate, argp_rate, anomaly_rate = secular_rates(elements)
    raan, inc = elements.raan_rad + raan_rate * elapsed_s, elements.inc_rad
    latitude = elements.argp_rad + elements.mean_anomaly_rad + (argp_rate + anomaly_rate) * elapsed_s
    normal = np.stack([np.sin(inc) * np.sin(raan), -np.sin(inc) * np.cos(raan), np.cos(inc)], axis=1)
    return normal, latitude, np.stack([np.cos(raan), np.sin(raan), np.zeros_like(raan)], axis=1)


def _clusters(normal: np.ndarray) -> np.ndarray:
    """The number (N,) of the plane of each of the normals (N, 3), from 0."""
    _, place, cell_of = np.unique(np.round(normal / CELL), axis=0, return_index=True, return_inverse=True)
    cell = normal[place]
    label = np.zeros(len(cell), np.int64)
    wide, tolerance_deg, count = np.arange(len(cell)), PLANE_TOLERANCE_DEG, 1
    while len(wide) and tolerance_deg >= FINEST_TOLERANCE_DEG:
        # What is split keeps apart what was apart: a chain is only ever cut, never joined.
        parts, part = _connected(cell[wide], label[wide], tolerance_deg)
        label[wide] = count + part
        count += parts
        mean = _mean_by_group(cell[wide], part)
        angle_deg = np.degrees(np.arccos(np.clip((cell[wide] * mean[part]).sum(axis=1), -1, 1)))
        widest_deg = np.zeros(parts)
        np.maximum.at(widest_deg, part, angle_deg)
        wide, tolerance_deg = wide[widest_deg[part] > WIDEST_PLANE_DEG], tolerance_deg / 2
    return np.unique(label[cell_of.ravel()], return_inverse=True)[1]


def _connected(cell: np.ndarray, label: np.ndarray, tolerance_deg: float) -> tuple[int, np.ndarray]:
    """How many groups, and the group of each, when normals of one label within the tolerance are joined."""
    near = KDTree(cell).query_pairs(2 * np.sin(np.radians(tolerance_deg) / 2), output_type="ndarray")
    near = near[label[near[:, 0]] == label[near[:, 1]]]
    graph = coo_array((np.ones(len(near), bool), (near[:, 0], near[:, 1])), shape=(len(cell), len(cell)))
    parts, part = connected_components(graph, directed=False)
    return int(parts), part


def _mean_by_group(normal: np.ndarray, group: np.ndarray) -> np.ndarray:
    """The mean direction (G, 3) of the normals of each group 0 … G - 1."""
    total = np.stack([np.bincount(group, normal[:, axis]) for axis in range(3)], axis=1)
    return total / np.maximum(np.linalg.norm(total, axis=1), 1e-12)[:, None]
