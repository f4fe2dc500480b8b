"""The contact plan as the planner sees it: passes over stations, groups of linked satellites."""

from __future__ import annotations

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from orbit.contact_plan import ContactPlan, LinkKind
from strategies.problem.workload import Workload

PASS = np.dtype(
    [
        ("satellite", "<i4"),
        ("station", "<i4"),  # node index
        ("start_s", "<f8"),
        ("end_s", "<f8"),
        ("down_bps", "<f8"),
        ("up_bps", "<f8"),
        ("owlt_s", "<f8"),
        ("min_range_km", "<f8"),
    ]
)


class PlanningError(ValueError):
    """No plan can be made; the message names the satellite, the link and the time concerned."""


class NoRouteError(PlanningError):
    """Samples or weights of a satellite cannot get through inside the horizon."""


class PayloadTooLargeError(PlanningError):
    """Not even one micro-batch, or one model, fits where it has to go."""


def passes_of(contact_plan: ContactPlan, start_s: float, end_s: float) -> np.ndarray:
    """Space-ground windows in ``[start_s, end_s]``, cut to it, both directions in one row; dtype ``PASS``, by start.

    A pass is where a downlink and an uplink of the same pair overlap; a downlink without uplink has ``up_bps`` 0.
    """
    contacts = contact_plan.during(start_s, end_s)
    down = contacts[(contacts["kind"] == LinkKind.DOWNLINK) & (contacts["rate_bps"] > 0)]
    up = contacts[(contacts["kind"] == LinkKind.UPLINK) & (contacts["rate_bps"] > 0)]
    nodes = len(contact_plan.nodes)
    up = up[np.lexsort([up["start_s"], up["target"].astype(np.int64) * nodes + up["source"]])]
    down = down[np.lexsort([down["start_s"], down["source"].astype(np.int64) * nodes + down["target"]])]

    passes = np.zeros(len(down), PASS)
    passes["satellite"], passes["station"] = down["source"], down["target"]
    passes["start_s"], passes["end_s"] = down["start_s"], down["end_s"]
    passes["down_bps"], passes["owlt_s"] = down["rate_bps"], down["owlt_s"]
    passes["min_range_km"] = down["min_range_km"]
    if len(up) and len(down):
        # Rank of each downlink's middle among the uplinks of its own pair: the uplink that began last before it.
        key_up = (up["target"].astype(np.int64) * nodes + up["source"]) * contact_plan.horizon_s * 2 + up[
            "start_s"
        ]
        middle_s = (down["start_s"] + down["end_s"]) / 2
        key_down = (
            down["source"].astype(np.int64) * nodes + down["target"]
        ) * contact_plan.horizon_s * 2 + middle_s
        last = np.maximum(np.searchsorted(key_up, key_down, side="right") - 1, 0)
        partner = up[last]
        matched = (partner["target"] == down["source"]) & (partner["source"] == down["target"])
        matched &= partner["end_s"] > middle_s
        passes["up_bps"] = np.where(matched, partner["rate_bps"], 0.0)
        passes["start_s"] = np.where(
            matched, np.maximum(passes["start_s"], partner["start_s"]), passes["start_s"]
        )
        passes["end_s"] = np.where(matched, np.minimum(passes["end_s"], partner["end_s"]), passes["end_s"])
    passes["start_s"] = np.maximum(passes["start_s"], start_s)
    passes["end_s"] = np.minimum(passes["end_s"], end_s)
    passes = passes[passes["end_s"] > passes["start_s"]]
    return passes[np.lexsort([passes["station"], passes["satellite"], passes["start_s"]])]


def sample_rates(passes: np.ndarray, workload: Workload) -> np.ndarray:
    """Samples per second that each pass can carry both ways, full duplex; 0 where a needed direction is missing."""
    with np.errstate(divide="ignore", invalid="ignore"):
        down = passes["down_bps"] / (8.0 * workload.down_bytes) if workload.down_bytes else np.inf
    return np.minimum(np.broadcast_to(down, len(passes)), answer_rates(passes, workload))


def answer_rates(passes: np.ndarray, workload: Workload) -> np.ndarray:
    """Return the samples per second whose answers each pass can carry up, shape ``(len(passes),)``."""
    if not workload.up_bytes:
        return np.full(len(passes), np.inf)
    return passes["up_bps"] / (8.0 * workload.up_bytes)


def groups_of(links: np.ndarray, satellites: int) -> np.ndarray:
    """Label of each satellite, shape ``(N,)``: equal where ``links`` (contacts) join satellites, however indirectly."""
    ones = np.ones(len(links), np.int8)
    graph = coo_array((ones, (links["source"], links["target"])), shape=(satellites, satellites))
    return connected_components(graph, directed=False)[1]


def first_members(group: np.ndarray) -> np.ndarray:
    """Return the first satellite of each group, shape ``(groups,)``; ``group`` is as :func:`groups_of` labels them."""
    return np.unique(group, return_index=True)[1]


def carried_s(start_s: np.ndarray, end_s: np.ndarray, rate: np.ndarray, amount: float) -> float:
    """Return when intervals that all carry at their ``rate`` have together carried ``amount``; infinite if never."""
    edges_s = np.unique(np.concatenate([start_s, end_s]))
    carried = (np.clip(edges_s[:, None], start_s, np.maximum(end_s, start_s)) - start_s) @ rate
    if not len(edges_s) or carried[-1] < amount:
        return np.inf
    return float(np.interp(amount, carried, edges_s))
