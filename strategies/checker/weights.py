"""Rules of the checker for the average: everybody's weights are in it, nothing runs ahead, and it comes back to all."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from orbit.contact_plan import LinkKind
from strategies.checker.judged_plan import SAME, SLACK_S, JudgedPlan, Violation
from strategies.problem.plan import Kind
from strategies.problem.workload import IntraOrbit

_SGL = (LinkKind.DOWNLINK, LinkKind.UPLINK)


class WeightRules:
    """Sums on their way up and the average on its way back.

    In the split every satellite with samples sends ``aggregate_bytes`` once, up a tree whose root sends down; what the
    state of the round has summed, delivered or brought back is not sent again.  In the on-board modes each group that
    links join averages first, all at once round a plane or up a tree and back.
    """

    def __init__(self, judged: JudgedPlan) -> None:
        self.judged = judged
        self.reduce, self.update = judged.of_kind(Kind.REDUCE), judged.of_kind(Kind.UPDATE)
        rows = judged.rows
        link = rows["link"]
        self.down = self.reduce[link[self.reduce] == LinkKind.DOWNLINK]
        self.up = self.update[link[self.update] == LinkKind.UPLINK]
        self.inward = self.reduce[~np.isin(link[self.reduce], _SGL)]
        self.outward = self.update[~np.isin(link[self.update], _SGL)]
        self.known_s = np.full(judged.satellites, np.inf)  # on board: when each has the average
        self.arrival_s = rows["end_s"] + judged.owlt_s
        if judged.workload.on_board:
            # Weights that travel in pieces: a window lasts until they are there, light time included.
            inner = np.concatenate([self.inward, self.outward])
            sent_s = rows["start_s"] + rows["bytes"] * 8.0 / judged.rate_bps + judged.owlt_s
            self.arrival_s[inner] = np.maximum(rows["end_s"], sent_s)[inner]

    def violations(self) -> Iterator[Violation]:
        """Everything that is wrong with the average."""
        workload = self.judged.workload
        if not (workload.aggregate_bytes or workload.update_bytes) or not len(self.judged.trainers):
            return
        odd = self.reduce[self.judged.rows["link"][self.reduce] == LinkKind.UPLINK].tolist()
        odd += self.update[self.judged.rows["link"][self.update] == LinkKind.DOWNLINK].tolist()
        for index in odd[:10]:
            yield Violation("average", f"{self.judged.words(self.judged.rows[index])} goes the wrong way")
        yield from self._after_training()
        if self.judged.workload.on_board:
            yield from self._on_board()
            yield from self._own_ends()
        else:
            if workload.aggregate_bytes:
                yield from self._trees()
            yield from self._comes_back()

    @cached_property
    def trained_s(self) -> np.ndarray:
        """Return the time at which each satellite's weights are final."""
        rows = self.judged.rows[np.isin(self.judged.rows["kind"], (Kind.TRAIN, Kind.HEAD))]
        trained_s = np.full(self.judged.satellites, self.judged.plan.start_s)
        np.maximum.at(trained_s, rows["node"], rows["end_s"])
        return trained_s

    @cached_property
    def delivered_s(self) -> np.ndarray:
        """Return when each satellite's weights reach the ground over their tree; infinite if they do not."""
        rows, n = self.judged.rows, self.judged.satellites
        parent = np.full(n, -1)
        edges = self.inward
        parent[rows["node"][edges]] = rows["peer"][edges]
        arrives_s = np.full(n, np.inf)
        np.minimum.at(arrives_s, rows["node"][self.down], self.arrival_s[self.down])
        delivered_s = np.full(n, np.inf)
        average = self.judged.state.average
        for satellite in range(n):
            if satellite in average.delivered:
                delivered_s[satellite] = self.judged.plan.start_s
                continue
            node, steps = (average.holders[satellite] if average.holders else satellite), 0
            while not np.isfinite(arrives_s[node]) and parent[node] >= 0 and steps <= n:
                node, steps = int(parent[node]), steps + 1
            delivered_s[satellite] = arrives_s[node]
        return delivered_s

    @cached_property
    def ground_s(self) -> float:
        """Return when the ground has received all weights, or ended the last step if nothing is averaged."""
        if not self.judged.workload.aggregate_bytes:
            rows = self.judged.rows
            alone = rows["end_s"][rows["kind"] == Kind.BACKBONE] if self.judged.workload.central else []
            ends_s = [*self.judged.plan.steps["end_s"].tolist(), *alone]
            return float(max(ends_s, default=self.judged.plan.start_s))
        return float(self.arrival_s[self.down].max(initial=self.judged.plan.start_s))

    @cached_property
    def received_s(self) -> np.ndarray:
        """Return the time at which each satellite has the average; infinite if it does not arrive."""
        rows = self.judged.rows
        received_s = np.full(self.judged.satellites, np.inf)
        received_s[list(self.judged.state.average.received)] = self.judged.plan.start_s
        np.minimum.at(received_s, rows["peer"][self.up], self.arrival_s[self.up])
        inner = self.outward
        if self.judged.workload.on_board and len(self.down):
            inner = inner[
                rows["start_s"][inner] >= self.ground_s - SLACK_S
            ]  # before, groups have their own averages
        np.minimum.at(received_s, rows["peer"][inner], self.arrival_s[inner])
        return received_s

    def _after_training(self) -> Iterator[Violation]:
        """Nobody sends weights before the last step on board."""
        sent = self.judged.rows[np.concatenate([self.inward, self.down])]
        for row in sent[sent["start_s"] < self.trained_s[sent["node"]] - SLACK_S][:10]:
            yield Violation(
                "average",
                f"{self.judged.words(row)} begins before the training has ended, {self.trained_s[row['node']]:.3f} s",
            )

    def _bytes(self, index: np.ndarray, due: float) -> Iterator[Violation]:
        rows = self.judged.rows
        wrong = index[~np.isclose(rows["bytes"][index], due, rtol=SAME, atol=1e-9)]
        for row in rows[wrong[:10]]:
            yield Violation(
                "amount", f"{self.judged.words(row)}: found {row['bytes']:.6g} bytes, wanted {due:.6g}"
            )

    # The split: trees to the ground, and back.

    def _trees(self) -> Iterator[Violation]:
        judged, rows = self.judged, self.judged.rows
        yield from self._bytes(self.reduce, judged.workload.aggregate_bytes)
        sent = np.bincount(
            rows["node"][np.concatenate([self.inward, self.down])], minlength=judged.satellites
        )
        for satellite in np.flatnonzero(sent[: judged.satellites] > 1)[:10]:
            yield Violation(
                "average",
                f"{judged.name(satellite)} sends its weights {sent[satellite]} times, allowed is once",
            )
        heard_s = np.full(judged.satellites, -np.inf)
        np.maximum.at(heard_s, rows["peer"][self.inward], self.arrival_s[self.inward])
        for index in np.concatenate([self.inward, self.down]):
            row = rows[index]
            if row["start_s"] < heard_s[row["node"]] - SLACK_S:
                yield Violation(
                    "average",
                    f"{judged.words(row)} begins before {judged.name(row['node'])} has heard all, "
                    f"{heard_s[row['node']]:.3f} s",
                )
        for satellite in judged.trainers[~np.isfinite(self.delivered_s[judged.trainers])][:10]:
            yield Violation("average", f"{judged.name(satellite)}: its weights do not get to the ground")
        behind = np.zeros(judged.satellites, bool)
        behind[judged.state.average.senders(judged.workload.samples)] = True
        for _ in range(
            judged.satellites
        ):  # whoever passes on the weights of others has something to send, too
            onward = rows["peer"][self.inward[behind[rows["node"][self.inward]]]]
            if behind[onward].all():
                break
            behind[onward] = True
        for index in np.concatenate([self.inward, self.down]):
            if not behind[rows["node"][index]]:
                yield Violation(
                    "average", f"{judged.words(rows[index])}: there are no weights that it could carry"
                )

    def _comes_back(self) -> Iterator[Violation]:
        judged, rows = self.judged, self.judged.rows
        due = judged.workload.update_bytes
        if due == 0:
            for index in self.update[:10]:
                yield Violation("average", f"{judged.words(rows[index])}: nothing is due to come back")
            return
        yield from self._bytes(self.update, due)
        has_s = self.received_s
        came = np.bincount(rows["peer"][self.update], minlength=judged.satellites)
        came[list(judged.state.average.received)] += 1
        for satellite in np.flatnonzero(came[: judged.satellites] > 1)[:10]:
            yield Violation(
                "average",
                f"{judged.name(satellite)} gets the average {came[satellite]} times, allowed is once",
            )
        for index in self.up:
            if rows["start_s"][index] < self.ground_s - SLACK_S:
                yield Violation(
                    "average",
                    f"{judged.words(rows[index])} begins before the ground has heard all, {self.ground_s:.3f} s",
                )
        for index in self.outward:
            row = rows[index]
            if row["start_s"] < has_s[row["node"]] - SLACK_S:
                yield Violation(
                    "average", f"{judged.words(row)} begins before {judged.name(row['node'])} has the average"
                )
        for satellite in judged.trainers[~np.isfinite(has_s[judged.trainers])][:10]:
            yield Violation("average", f"{judged.name(satellite)}: the average does not come back to it")

    # On board: averages of groups, through the ground where there are several.

    @cached_property
    def _label(self) -> np.ndarray:
        """The group of each satellite: those whose sums meet over inter-satellite links."""
        rows = self.judged.rows
        return self._joined_by(rows["node"][self.inward], rows["peer"][self.inward])

    def _joined_by(self, source: np.ndarray, target: np.ndarray) -> np.ndarray:
        n = self.judged.satellites
        graph = coo_array((np.ones(len(source), np.int8), (source, target)), shape=(n, n))
        return connected_components(graph, directed=False)[1]

    @cached_property
    def _linked(self) -> np.ndarray:
        """The groups with the satellites of their planes that have no samples: one of them may be the gateway."""
        judged, rows = self.judged, self.judged.rows
        intra = judged.plan.strategy_config.intra_orbit is not IntraOrbit.NONE
        links = judged.contact_plan.of_kind(*([LinkKind.INTRA_ISL] if intra else []))
        source = np.concatenate([rows["node"][self.inward], links["source"]])
        return self._joined_by(source, np.concatenate([rows["peer"][self.inward], links["target"]]))

    def _on_board(self) -> Iterator[Violation]:
        judged = self.judged
        label = self._label
        groups = np.unique(label[judged.trainers])
        group_s = self.known_s.copy()  # when each satellite has its group's average
        for group in groups:
            yield from self._group(np.flatnonzero(label == group), group_s)
        self.known_s = group_s
        if len(groups) > 1:
            yield from self._through_ground(groups, group_s.copy())
        elif len(self.down) or len(self.up):
            index = np.concatenate([self.down, self.up])[0]
            yield Violation("average", f"{judged.words(judged.rows[index])}: all have met already")

    def _own_ends(self) -> Iterator[Violation]:
        """A satellite's round is over when its group has the average."""
        judged, label = self.judged, self._label
        for group in np.unique(label[judged.trainers]):
            members = np.intersect1d(np.flatnonzero(label == group), judged.trainers)
            true_s = float(self.known_s[members].max())
            for field in ("finish_s", "delivered_s"):
                told_s = getattr(judged.plan, field)
                wrong = members[~(np.abs(told_s[members] - true_s) <= SLACK_S)] if np.isfinite(true_s) else []
                for satellite in wrong[:5]:
                    yield Violation(
                        "end",
                        f"{judged.name(satellite)}: {field} is {told_s[satellite]:.6f} s, wanted {true_s:.6f} s",
                    )

    def _group(self, members: np.ndarray, group_s: np.ndarray) -> Iterator[Violation]:
        """The average of satellites that links join: round a plane all at once, or up a tree and back."""
        judged, rows = self.judged, self.judged.rows
        inward = self.inward[np.isin(rows["node"][self.inward], members)]
        if len(members) == 1:
            group_s[members] = self.trained_s[members]
            return
        edges = set(zip(rows["node"][inward].tolist(), rows["peer"][inward].tolist(), strict=True))
        if all((peer, node) in edges for node, peer in edges):
            yield from self._all_reduce(members, inward, edges, group_s)
            return
        yield from self._bytes(inward, judged.workload.aggregate_bytes)
        sent = np.bincount(rows["node"][inward], minlength=judged.satellites)
        for satellite in np.flatnonzero(sent > 1)[:10]:
            yield Violation(
                "average",
                f"{judged.name(satellite)} sends its weights {sent[satellite]} times, allowed is once",
            )
        roots = members[sent[members] == 0]
        if len(roots) != 1 or (sent > 1).any():
            yield Violation(
                "average", f"{judged.name(members[0])}: the weights of its group meet in {len(roots)} places"
            )
            return
        over_s = self._last_bit_s(inward, dict.fromkeys(members.tolist(), -np.inf))
        for index in inward:
            if rows["end_s"][index] < over_s[index] - SLACK_S:
                yield Violation(
                    "average", f"{judged.words(rows[index])} ends before what it passes on is there"
                )
        into_root = inward[rows["peer"][inward] == roots[0]]
        group_s[roots[0]] = max(float(self.arrival_s[into_root].max()), self.trained_s[roots[0]])
        back = self.outward
        if len(self.down):
            back = back[rows["start_s"][back] < self.ground_s - SLACK_S]
        back = self._onward(back, members)
        yield from self._bytes(back, judged.workload.aggregate_bytes)
        yield from self._spread(back, {int(roots[0]): float(group_s[roots[0]])}, members, group_s)

    def _all_reduce(
        self, members: np.ndarray, inward: np.ndarray, edges: set[tuple[int, int]], group_s: np.ndarray
    ) -> Iterator[Violation]:
        """Each link of a ring carries (S-1)/S of the weights, each link of a chain all of them, either way."""
        judged, rows, size = self.judged, self.judged.rows, len(members)
        links = len(edges) // 2
        degree = np.bincount(rows["node"][inward], minlength=judged.satellites)[members]
        ring = links == size and size > 2
        if (
            len(inward) != len(edges)
            or degree.max() > 2
            or links not in (size - 1, size)
            or np.ptp(rows["start_s"][inward]) > SLACK_S
            or np.ptp(rows["end_s"][inward]) > SLACK_S
        ):
            yield Violation(
                "average", f"{judged.name(members[0])}: its group's sums go round neither a ring nor a chain"
            )
            return
        weights = judged.workload.aggregate_bytes
        yield from self._bytes(inward, weights * ((size - 1) / size if ring else 1.0))
        start_s, end_s = float(rows["start_s"][inward].min()), float(rows["end_s"][inward].max())
        if start_s < self.trained_s[members].max() - SLACK_S:
            yield Violation(
                "average", f"{judged.name(members[0])}: its group's sums begin before all have trained"
            )
        bps, owlt_s = float(judged.rate_bps[inward].max()), float(judged.owlt_s[inward].min())
        if ring and judged.plan.strategy_config.intra_orbit is not IntraOrbit.SEQUENTIAL:
            least_s = 2.0 * (size - 1) * (owlt_s + weights * 4.0 / (size * bps))
        else:
            least_s = weights * 8.0 / bps + 2.0 * (size // 2) * owlt_s
        if end_s - start_s < least_s * (1.0 - SAME) - SLACK_S:
            yield Violation(
                "average",
                f"{judged.name(members[0])}: its group's average takes {end_s - start_s:.3f} s, "
                f"at least {least_s:.3f} s",
            )
        group_s[members] = end_s

    def _last_bit_s(self, index: np.ndarray, has_s: dict[int, float]) -> dict[int, float]:
        """When each edge of a tree can be over at the earliest, whatever the pieces that weights travel in."""
        rows = self.judged.rows
        over_s: dict[int, float] = {}
        after: dict[int, list[int]] = {}
        for edge in index.tolist():
            after.setdefault(int(rows["peer"][edge]), []).append(edge)
        left, turn = list(index), 0
        while left and turn <= len(index):
            turn += 1
            later = []
            for edge in left:
                before = after.get(int(rows["node"][edge]), [])
                if any(earlier not in over_s for earlier in before):
                    later.append(edge)
                    continue
                heard_s = max(
                    [over_s[earlier] + self.judged.owlt_s[earlier] for earlier in before], default=-np.inf
                )
                heard_s = max(heard_s, has_s.get(int(rows["node"][edge]), -np.inf))
                alone_s = rows["start_s"][edge] + rows["bytes"][edge] * 8.0 / self.judged.rate_bps[edge]
                over_s[int(edge)] = max(float(alone_s), float(heard_s))
            left = later
        return {**over_s, **{int(edge): np.inf for edge in left}}

    def _spread(
        self, edges: np.ndarray, has_s: dict[int, float], members: np.ndarray, know_s: np.ndarray
    ) -> Iterator[Violation]:
        """An average goes out from where it is to all members, each once; notes when they have it."""
        judged, rows = self.judged, self.judged.rows
        for index in edges:
            node, peer = int(rows["node"][index]), int(rows["peer"][index])
            if (
                node in has_s
                and rows["start_s"][index] < has_s[node] - SLACK_S
                and not self._fed(edges, node)
            ):
                yield Violation(
                    "average",
                    f"{judged.words(rows[index])} begins before {judged.name(node)} has the average",
                )
        over_s = self._last_bit_s(edges, has_s)
        for index in edges:
            if rows["end_s"][index] < over_s[int(index)] - SLACK_S:
                yield Violation(
                    "average", f"{judged.words(rows[index])} ends before what it passes on is there"
                )
            peer = int(rows["peer"][index])
            know_s[peer] = min(know_s[peer], float(self.arrival_s[index]))
        came = np.bincount(rows["peer"][edges], minlength=judged.satellites)
        for satellite in members[came[members] > 1][:10]:
            yield Violation(
                "average",
                f"{judged.name(satellite)} gets the average {came[satellite]} times, allowed is once",
            )
        for satellite in np.intersect1d(members, judged.trainers):
            if satellite not in has_s and came[satellite] == 0:
                yield Violation("average", f"{judged.name(satellite)}: the average does not come back to it")

    def _onward(self, edges: np.ndarray, members: np.ndarray) -> np.ndarray:
        """Those edges that lead on from members, also through satellites without samples, which only pass it on."""
        rows = self.judged.rows
        holds = np.zeros(self.judged.satellites, bool)
        holds[members] = True
        while True:
            onward = edges[holds[rows["node"][edges]]]
            if holds[rows["peer"][onward]].all():
                return onward
            holds[rows["peer"][onward]] = True

    def _fed(self, edges: np.ndarray, node: int) -> bool:
        return bool((self.judged.rows["peer"][edges] == node).any())

    def _through_ground(self, groups: np.ndarray, group_s: np.ndarray) -> Iterator[Violation]:
        judged, rows = self.judged, self.judged.rows
        label = self._label
        weights = judged.workload.aggregate_bytes
        for index in self.down:
            node = rows["node"][index]
            if rows["start_s"][index] < group_s[node] - SLACK_S:
                yield Violation(
                    "average",
                    f"{judged.words(rows[index])} begins before {judged.name(node)} has its group's average",
                )
        for index in self.up:
            if rows["start_s"][index] < self.ground_s - SLACK_S:
                yield Violation(
                    "average",
                    f"{judged.words(rows[index])} begins before the ground has heard all, {self.ground_s:.3f} s",
                )
        linked = np.array([self._linked[np.argmax(label == group)] for group in groups])
        for of_group in linked:
            members = np.flatnonzero(self._linked == of_group)
            due = weights * (linked == of_group).sum()  # of every group among them whose sums do not meet
            for crossing, column, what in ((self.down, "node", "to"), (self.up, "peer", "from")):
                of_members = crossing[np.isin(rows[column][crossing], members)]
                sent = float(rows["bytes"][of_members].sum())
                if not np.isclose(sent, due, rtol=1e-6, atol=1.0):
                    yield Violation(
                        "amount",
                        f"{judged.name(members[0])}: {sent:.6g} bytes of its group's average go {what} the ground, "
                        f"wanted {due:.6g}",
                    )
            of_members = self.up[np.isin(rows["peer"][self.up], members)]
            there_s = float(self.arrival_s[of_members].max(initial=self.judged.plan.start_s))
            back = self.outward[rows["start_s"][self.outward] >= self.ground_s - SLACK_S]
            back = self._onward(back, members)
            # The parts of several gateways meet in the one that has the last of them; of several that have theirs at
            # the same time, in the one to which nobody sends.
            last = rows["peer"][of_members[self.arrival_s[of_members] >= there_s - SLACK_S]]
            meets = np.concatenate([np.setdiff1d(last, rows["peer"][back]), last])[:1]
            has_s = {int(gateway): there_s for gateway in meets}
            yield from self._bytes(back, weights)
            know_s = np.full(judged.satellites, np.inf)
            yield from self._spread(back, has_s, members, know_s)
            know_s[list(has_s)] = there_s
            self.known_s[members] = know_s[members]
