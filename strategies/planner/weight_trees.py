"""Weights of on-board rounds up a tree of inter-satellite links that stand, and down it again, in pieces.

All links of the tree work at once: a satellite passes a piece of the sum on as soon as it has trained and has that
piece from everybody behind it, and a piece of the average as soon as that is there.
"""

from __future__ import annotations

import numpy as np

from mission.client_update import pieces_of
from strategies.planner.foremost import Journey
from strategies.problem.network import NoRouteError
from strategies.problem.routes import Routes, Send, Tree


class WeightTree:
    """The part of a tree of ``routes`` that joins ``members`` (indices of satellites), for weights of a size."""

    def __init__(self, routes: Routes, tree: Tree, *, members: np.ndarray, size_bytes: float) -> None:
        self._routes, self._next_hop, self._bits = routes, tree.next_hop, size_bytes * 8.0
        self._pieces = pieces_of(size_bytes)
        used = np.zeros(len(tree.next_hop), bool)
        for node in members.tolist():
            used[tree.path(node)] = True
        self.root = int(tree.order[0])
        used[self.root] = False
        self._outwards = [node for node in tree.order.tolist() if used[node]]  # the nearest to the root first

    def gathered(self, trained_s: np.ndarray) -> Journey:
        """Return the sends to the root, and when it has the sum; satellite ``k`` has its weights at ``trained_s[k]``.

        Raises:
            NoRouteError: A link closes on the weights.
        """
        there_s = {
            node: np.full(self._pieces, float(trained_s[node])) for node in (self.root, *self._outwards)
        }
        sends = []
        for node in reversed(self._outwards):
            peer = int(self._next_hop[node])
            send, arrived_s = self._send(node, peer, there_s[node])
            there_s[peer] = np.maximum(there_s[peer], arrived_s)
            sends.append(send)
        return Journey(sends, float(there_s[self.root][-1]))

    def spread(self, start_s: float) -> Journey:
        """Return the sends of the average, which the root has at ``start_s``, and when all have it.

        Raises:
            NoRouteError: A link closes on the weights.
        """
        there_s = {self.root: np.full(self._pieces, start_s)}
        sends = []
        for node in self._outwards:
            send, there_s[node] = self._send(int(self._next_hop[node]), node, self._at(there_s, node))
            sends.append(send)
        return Journey(sends, max(float(arrived_s[-1]) for arrived_s in there_s.values()))

    def _at(self, there_s: dict[int, np.ndarray], node: int) -> np.ndarray:
        return there_s[int(self._next_hop[node])]

    def _send(self, node: int, peer: int, there_s: np.ndarray) -> tuple[Send, np.ndarray]:
        """One link's send of pieces that are at ``node`` at ``there_s``; and when they arrive, both of shape (pieces,).

        The send lasts until the last piece has arrived.
        """
        open_s, shut_s, rate_bps, owlt_s = self._routes.window(node, peer, float(there_s[0]), self._bits)
        piece_s = self._bits / self._pieces / rate_bps
        before_s = piece_s * np.arange(self._pieces)
        # Each piece goes when it is there and the one before it has gone.
        over_s = np.maximum.accumulate(np.maximum(there_s, open_s) - before_s) + before_s + piece_s
        if not over_s[-1] <= shut_s + 1e-9:
            raise NoRouteError(f"link {node} → {peer} closes before the weights are through")
        arrived_s = over_s + owlt_s
        return Send(node, peer, start_s=float(over_s[0] - piece_s), end_s=float(arrived_s[-1])), arrived_s
