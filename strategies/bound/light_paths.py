"""How long a message takes at least between satellites and the ground: shortest paths over all links."""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import dijkstra

_LEAST_S = 1e-12  # stands for a link without length, which a sparse graph would not keep


def one_way_s(
    windows: np.ndarray, links: np.ndarray, satellites: int, direction: str, bits: float
) -> np.ndarray:
    """Return the least seconds, shape ``(satellites,)``, from the ground (``"up"``) or to it (``"down"``).

    ``bits`` are stored and forwarded at each hop: ``windows`` (dtype ``WINDOW``) join satellites and ground,
    ``links`` (contacts) satellites.  Infinite where there is no path.
    """
    ground = satellites
    usable = windows[windows[f"{direction}_bps"] > 0]
    tail = np.concatenate([np.full(len(usable), ground), links["source"]])
    head = np.concatenate([usable["satellite"], links["target"]])
    length_s = np.concatenate(
        [usable["owlt_s"] + bits / usable[f"{direction}_bps"], links["owlt_s"] + bits / links["rate_bps"]]
    )
    if direction == "down":  # the same search from the ground, against the arrows
        tail[len(usable) :], head[len(usable) :] = links["target"], links["source"]
    return dijkstra(_shortest(tail, head, length_s, satellites + 1), indices=ground)[:satellites]


def between_s(windows: np.ndarray, links: np.ndarray, satellites: int, source: int) -> np.ndarray:
    """Return the least light time from one satellite to each, shape ``(satellites,)``, over links or the ground."""
    ground = satellites
    down, up = windows[windows["down_bps"] > 0], windows[windows["up_bps"] > 0]
    tail = np.concatenate([down["satellite"], np.full(len(up), ground), links["source"]])
    head = np.concatenate([np.full(len(down), ground), up["satellite"], links["target"]])
    length_s = np.concatenate([down["owlt_s"], up["owlt_s"], links["owlt_s"]])
    return dijkstra(_shortest(tail, head, length_s, satellites + 1), indices=source)[:satellites]


def _shortest(tail: np.ndarray, head: np.ndarray, length_s: np.ndarray, nodes: int) -> csr_array:
    """The graph of the shortest of parallel links."""
    key = tail.astype(np.int64) * nodes + head
    order = np.lexsort([length_s, key])
    first = order[np.flatnonzero(np.diff(key[order], prepend=-1))]
    length_s = np.maximum(length_s[first], _LEAST_S)
    return csr_array((length_s, (tail[first], head[first])), shape=(nodes, nodes))
