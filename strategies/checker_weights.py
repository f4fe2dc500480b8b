"""Rules of the checker for the average at the end: everybody's weights are in it, and nothing runs ahead."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from strategies.checker_rules import Rules, Violation
from strategies.intervals import SLACK_S
from strategies.plan import Kind


class WeightRules(Rules):
    """Sums meet in one place, follow what they sum, and come back only when they are complete."""

    def average(self) -> Iterator[Violation]:
        """Trained, then summed towards one place, then passed back."""
        if self.workload.aggregate_bytes == 0:
            return
        yield from self._meet()
        yield from self._follow_training()
        yield from self._follow_what_comes_in(self.rows[self.rows["kind"] == Kind.REDUCE])
        back = self.rows[self.rows["kind"] == Kind.UPDATE]
        from_ground = back[back["node"] >= self.satellites]
        # Groups that meet on the ground have spread their own averages before: any of them may be the gateway.
        first_s = from_ground["start_s"].min(initial=np.inf) if len(from_ground) else -np.inf
        yield from self._follow_what_comes_in(back[back["start_s"] >= first_s - SLACK_S])
        yield from self._come_back_complete(from_ground)

    def _meet(self) -> Iterator[Violation]:
        """Sums of all satellites with samples meet; in the split on the ground, where the adapters are."""
        rows = self.rows[self.rows["kind"] == Kind.REDUCE]
        ground = self.satellites  # all stations are one
        tail, head = np.minimum(rows["node"], ground), np.minimum(rows["peer"], ground)
        shape = (ground + 1, ground + 1)
        graph = coo_array((np.ones(len(rows), np.int8), (tail, head)), shape=shape)
        label = connected_components(graph, directed=False)[1]
        who = np.flatnonzero(self.workload.samples)
        meeting = label[who[0]] if self.workload.on_board else label[ground]
        for satellite in who[label[who] != meeting][:10]:
            yield Violation("average", f"{self.name(satellite)}: its weights do not meet those of the others")

    def _follow_training(self) -> Iterator[Violation]:
        """Nobody sends weights before the last step on board."""
        sent = self.rows[(self.rows["kind"] == Kind.REDUCE) & (self.rows["node"] < self.satellites)]
        steps = self.rows[np.isin(self.rows["kind"], (Kind.TRAIN, Kind.HEAD))]
        trained_s = np.full(self.satellites, self.plan.start_s)
        np.maximum.at(trained_s, steps["node"], steps["end_s"])
        for row in sent[sent["start_s"] < trained_s[sent["node"]] - SLACK_S][:10]:
            yield Violation("average", f"{self.transfer(row)} begins before the training has ended")

    def _follow_what_comes_in(self, rows: np.ndarray) -> Iterator[Violation]:
        """A satellite has not passed on all before it has heard all."""
        heard_s = np.full(len(self.contact_plan.nodes), self.plan.start_s)
        inside = rows[rows["peer"] < self.satellites]
        np.maximum.at(heard_s, inside["peer"], inside["end_s"])
        for row in rows[(rows["node"] < self.satellites)]:
            if row["end_s"] < heard_s[row["node"]] - SLACK_S:
                yield Violation("average", f"{self.transfer(row)} ends before what it passes on is there")

    def _come_back_complete(self, up: np.ndarray) -> Iterator[Violation]:
        """The ground sends the average when it has heard all."""
        down = self.rows[(self.rows["kind"] == Kind.REDUCE) & (self.rows["peer"] >= self.satellites)]
        complete_s = float(down["end_s"].max(initial=self.plan.start_s))
        for row in up[up["start_s"] < complete_s - SLACK_S][:10]:
            yield Violation("average", f"{self.transfer(row)} begins before the ground has heard all")
