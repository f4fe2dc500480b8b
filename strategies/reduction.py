"""The average at the end of a round: partial sums on their way down the trees to the ground."""

from __future__ import annotations

import numpy as np

from orbit.contact_plan import LinkKind
from strategies.plan import Kind, as_activities
from strategies.routes import Routes, Tree
from strategies.workload import Workload


def reduce_to_ground(
    workload: Workload,
    routes: Routes,
    passes: np.ndarray,
    sessions: np.ndarray,
    group: np.ndarray,
    plane: np.ndarray,
    finish_s: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray] | int:
    """Sum ``aggregate_bytes`` of each satellite with samples towards a gateway of its group, and on to the ground.

    A satellite sends once, when it is done (``finish_s``) and has heard all satellites behind it in the tree.
    Returns the activities, when the ground has each satellite's weights, and until when each session is held for
    them; or the label of a group that is left without a session.
    """
    rows: list[tuple] = []
    held_until_s = sessions["data_s"].copy()
    active = np.asarray(workload.samples) > 0
    delivered_s = finish_s.copy()
    if workload.aggregate_bytes == 0:
        return as_activities(rows), delivered_s, held_until_s
    bits = workload.aggregate_bytes * 8.0
    for label in np.unique(group[active]):
        members = np.flatnonzero((group == label) & active)
        done_s = float(finish_s[members].max())
        mine = np.flatnonzero(sessions["group"] == label)
        mine = mine[np.argsort(sessions["limit_s"][mine], kind="stable")]
        for index in mine.tolist():
            gateway, one_pass = int(sessions["satellite"][index]), passes[sessions["pass_index"][index]]
            begin_s = max(done_s, float(sessions["data_s"][index]))
            if begin_s >= sessions["limit_s"][index]:
                continue
            tree = routes.tree(gateway, begin_s)
            if not np.isfinite(tree.flight_s[members]).all():
                continue
            hops, ready_s = _towards(
                tree, routes, members, finish_s, begin_s, bits, workload.aggregate_bytes, plane
            )
            sent_s = max(ready_s, float(sessions["data_s"][index])) + bits / float(one_pass["down_bps"])
            if sent_s > sessions["limit_s"][index]:
                continue
            rows += hops
            start_s = sent_s - bits / float(one_pass["down_bps"])
            station = int(sessions["station"][index])
            size = workload.aggregate_bytes
            rows.append(
                (Kind.REDUCE, LinkKind.DOWNLINK, -1, gateway, station, start_s, sent_s, size, 0.0, 0, 0, 0)
            )
            held_until_s[index] = max(held_until_s[index], sent_s)
            delivered_s[members] = sent_s + float(one_pass["owlt_s"])
            break
        else:
            return int(label)
    return as_activities(rows), delivered_s, held_until_s


def _towards(
    tree: Tree,
    routes: Routes,
    members: np.ndarray,
    finish_s: np.ndarray,
    begin_s: float,
    bits: float,
    size: float,
    plane: np.ndarray,
) -> tuple[list[tuple], float]:
    """Rows of one reduction up a tree, farthest satellites first, and when its root has the sum.

    Nobody sends before ``begin_s`` less the time its way takes: the tree is known to stand only then.
    """
    ready_s = np.full(len(plane), -np.inf)
    ready_s[members] = finish_s[members]
    rows: list[tuple] = []
    for satellite in tree.order[::-1].tolist():
        peer = int(tree.next_hop[satellite])
        if peer < 0 or ready_s[satellite] == -np.inf:
            continue
        _, _, rate_bps, owlt_s = routes.window(satellite, peer, max(float(ready_s[satellite]), begin_s), bits)
        start_s = max(float(ready_s[satellite]), begin_s)
        sent_s = start_s + bits / rate_bps
        link = LinkKind.INTRA_ISL if plane[satellite] == plane[peer] else LinkKind.INTER_ISL
        rows.append((Kind.REDUCE, link, -1, satellite, peer, start_s, sent_s, size, 0.0, 0, 0, 0))
        ready_s[peer] = max(ready_s[peer], sent_s + owlt_s)
    root = int(tree.order[0])
    return rows, float(max(ready_s[root], begin_s))
