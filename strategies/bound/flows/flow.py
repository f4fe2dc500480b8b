"""How much of what groups of satellites need could sessions with stations carry by a given time: a linear
program.

It is a relaxation: sessions may be cut up and shared out at will, only their set-up is paid, in proportion to
how much of what it could carry a session carries.  Every constraint below holds in every plan, so what the
program cannot do by a time, no plan can.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import linprog

from strategies.bound.flows.flow_needs import FlowNeeds
from strategies.bound.flows.flow_over_time import max_flow_part
from strategies.bound.flows.linear_rows import LinearRows
from strategies.bound.flows.link_flow import LinkCommodity
from strategies.bound.reach import Reach
from strategies.bound.session_windows import covered_s, data_from_s, overlap_s
from strategies.problem.workload import Resources

# Of so many windows the program would take minutes: a maximum flow then stands for it, which relaxes it further.
MANY_WINDOWS = 1500
_SLOTS = 24


def served_part(needs: FlowNeeds, reach: Reach, resources: Resources, start_s: float) -> float:
    """Return the part of all needs, at most 1, that could be served from ``start_s`` on over what ``reach`` has."""
    if len(reach.windows) > MANY_WINDOWS:
        return max_flow_part(needs, reach.windows, reach.window_group, resources, start_s, reach.until_s)
    return _SessionProgram(needs, reach, resources=resources, start_s=start_s).solve()


class _SessionProgram:
    """The program: seconds held and seconds of features per window and slot, answers and set-up per window."""

    def __init__(self, needs: FlowNeeds, reach: Reach, *, resources: Resources, start_s: float) -> None:
        windows, group, until_s = reach.windows, reach.window_group, reach.until_s
        self.needs, self.reach, self.windows, self.group = needs, reach, windows, group
        self.resources = resources
        self.edges_s = np.linspace(start_s, until_s, _SLOTS + 1)
        self.slots, self.groups, self.count = _SLOTS, len(needs.features), len(windows)
        held = overlap_s(windows["start_s"], windows["end_s"], self.edges_s)
        self.window, self.slot = np.nonzero(held > 0)
        self.held_limit_s = held[self.window, self.slot]

        down_from_s, up_from_s = data_from_s(windows, "down"), data_from_s(windows, "up")
        feature_end_s = np.minimum(windows["down_end_s"], needs.features_until_s[group])
        answer_end_s = np.minimum(windows["down_end_s"], needs.answers_until_s[group])
        up_end_s = np.minimum(windows["up_end_s"], needs.answers_until_s[group])
        self.feature_limit_s = overlap_s(down_from_s, feature_end_s, self.edges_s)[self.window, self.slot]
        self.down_s = np.maximum(np.maximum(feature_end_s, answer_end_s) - down_from_s, 0.0)
        self.up_s = np.maximum(up_end_s - up_from_s, 0.0)

        pairs, windows_count = len(self.window), self.count
        self.of_part = 0
        self.of_held = 1 + np.arange(pairs)
        self.of_feature = self.of_held[-1:].max(initial=0) + 1 + np.arange(pairs)
        self.of_answer = 1 + 2 * pairs + np.arange(windows_count)
        self.of_session = self.of_answer + windows_count
        self.of_aboard = 1 + 2 * pairs + 2 * windows_count + np.arange(self.groups)
        self.variables = 1 + 2 * pairs + 2 * windows_count + self.groups

        with np.errstate(divide="ignore", invalid="ignore"):
            bits = needs.feature_bits or 1.0
            self.sample_rate = windows["down_bps"] / bits  # features per second
            answers = needs.answers[group]
            up = np.where(answers * needs.up_bits > 0, answers * needs.up_bits / windows["up_bps"], 0.0)
            back = np.where(
                answers * needs.down_bits > 0, answers * needs.down_bits / windows["down_bps"], 0.0
            )
            held = answers * needs.held_s[group]
            open_s = np.maximum(windows["end_s"] - windows["start_s"] - windows["setup_s"], 0.0)
            self.most_answers = np.minimum.reduce(
                [
                    np.ones(windows_count),
                    np.where(up > 0, self.up_s / up, 1.0),
                    np.where(held > 0, open_s / held, 1.0),
                ]
            )
        self.possible = (answers > 0) & np.isfinite(up) & np.isfinite(back)
        self.back_s = np.where(
            self.possible, back, 0.0
        )  # seconds of the downlink for all answers of the group
        self.forth_s = np.where(self.possible, np.maximum(up, held), 0.0)  # of the uplink, or of waiting
        self.rows = LinearRows()

    def solve(self) -> float:
        """Return the largest part of all needs that can be served together."""
        self._needs()
        self._sessions()
        self._antennas()
        self._ground()
        self._embedding()
        upper = np.ones(self.variables)
        upper[self.of_held] = self.held_limit_s
        wanted = self.needs.features[self.group[self.window]] > 0
        upper[self.of_feature] = np.where(wanted, self.feature_limit_s, 0.0)
        upper[self.of_answer] = self.possible
        upper[self.of_aboard] = np.minimum(self.needs.aboard_share, 1.0)
        solution = self._optimum(upper)
        commodities = [] if upper[self.of_aboard].any() else self._commodities()
        for commodity in commodities:
            if not commodity.carried_over_links(solution, self.reach):
                # Links seldom bind, and make the program several times as large: they enter where they do.
                for each in commodities:
                    upper = each.add_links(self.rows, upper, self.reach)
                return float(self._optimum(upper)[self.of_part])
        return float(solution[self.of_part])

    def _optimum(self, upper: np.ndarray) -> np.ndarray:
        matrix, limit = self.rows.matrix(len(upper))
        goal = np.zeros(len(upper))
        goal[self.of_part] = -1.0
        bounds = np.stack([np.zeros(len(upper)), upper], axis=1)
        solution = linprog(goal, A_ub=matrix, b_ub=limit, bounds=bounds, method="highs")
        if solution.status != 0:
            raise RuntimeError(f"the lower bound's linear program: {solution.message}")
        return np.asarray(solution.x)

    def _commodities(self) -> list[LinkCommodity]:
        """What links between satellites have to carry, down and up."""
        needs, windows = self.needs, self.windows
        if needs.features_of is None or needs.answers_of is None or not len(self.reach.links):
            return []
        answer_bits = needs.answers[self.group]
        gateway = windows["satellite"]
        down = LinkCommodity(
            bits_of=needs.features_of * needs.feature_bits + needs.answers_of * needs.down_bits,
            gateway=np.concatenate([gateway[self.window], gateway]),
            variable=np.concatenate([self.of_feature, self.of_answer]),
            bits=np.concatenate([windows["down_bps"][self.window], answer_bits * needs.down_bits]),
            to_ground=True,
        )
        up = LinkCommodity(
            bits_of=needs.answers_of * needs.up_bits,
            gateway=gateway,
            variable=self.of_answer,
            bits=answer_bits * needs.up_bits,
            to_ground=False,
        )
        return [commodity for commodity in (down, up) if commodity.bits_of.sum() > 0]

    def _needs(self) -> None:
        """Features come down and answers are given, as large a part of them as of everything."""
        groups = np.arange(self.groups)
        label = self.group[self.window]
        features = self.needs.features
        for wanted, carried in (
            (
                features > 0,
                (label, self.of_feature, -self.sample_rate[self.window] / np.maximum(features, 1e-9)[label]),
            ),
            (self.needs.answers > 0, (self.group, self.of_answer, -1.0)),
        ):
            row = np.cumsum(wanted) - 1
            chosen = wanted[carried[0]]
            coefficient = np.broadcast_to(carried[2], np.shape(carried[0]))
            self.rows.add(
                np.zeros(int(wanted.sum())),
                (row[groups[wanted]], np.zeros(int(wanted.sum())), 1.0),
                (row[groups[wanted]], self.of_aboard[wanted], -1.0),
                (row[carried[0][chosen]], carried[1][chosen], coefficient[chosen]),
            )

    def _sessions(self) -> None:
        """A session is held while data flows, after its set-up; of a session a part is used as of its set-up."""
        pairs, windows = np.arange(len(self.window)), np.arange(self.count)
        self.rows.add(np.zeros(len(pairs)), (pairs, self.of_feature, 1.0), (pairs, self.of_held, -1.0))
        setup_s = self.windows["setup_s"]
        features = self.needs.features[self.group]
        with np.errstate(divide="ignore", invalid="ignore"):
            feature_s = np.where(features > 0, features / self.sample_rate, 0.0)
        most_down_s = np.minimum(self.down_s, feature_s + self.back_s)
        down = ((self.window, self.of_feature, 1.0), (windows, self.of_answer, self.back_s))
        up = (windows, self.of_answer, self.forth_s)
        held, setup = (self.window, self.of_held, -1.0), (windows, self.of_session, setup_s)
        none = np.zeros(self.count)
        self.rows.add(none, *down, held, setup)
        self.rows.add(none, up, held, setup)
        self.rows.add(none, *down, (windows, self.of_session, -most_down_s))
        self.rows.add(none, (windows, self.of_answer, 1.0), (windows, self.of_session, -self.most_answers))

    def _antennas(self) -> None:
        """A satellite has one antenna, a station so many beams, and both no more time than their windows cover."""
        for name in ("satellite", "station"):
            node = self.windows[name][self.window]
            key = node.astype(np.int64) * self.slots + self.slot
            keys, row, members = np.unique(key, return_inverse=True, return_counts=True)
            open_s = self._covered_s(row, len(keys))
            count = np.ones(len(keys), np.int64)
            if name == "station":
                count = self.resources.beams_of_each(keys // self.slots)
            scarce = members > count
            rank = np.cumsum(scarce) - 1
            chosen = scarce[row]
            self.rows.add(count[scarce] * open_s[scarce], (rank[row[chosen]], self.of_held[chosen], 1.0))

    def _covered_s(self, row: np.ndarray, rows: int) -> np.ndarray:
        """Return the seconds in which any of the windows of a row is open within its slot."""
        begin_s = np.maximum(self.windows["start_s"][self.window], self.edges_s[self.slot])
        end_s = np.minimum(self.windows["end_s"][self.window], self.edges_s[self.slot + 1])
        return covered_s(row, begin_s, end_s, rows)

    def _ground(self) -> None:
        """The ground has time for everything, and after every edge of slots for what has not come by then."""
        needs = self.needs
        if needs.ground_s.sum() + needs.other_ground_s.sum() <= 0:
            return
        later_s = np.maximum(needs.ground_until_s - self.edges_s[:-1], 0.0)
        per_feature = needs.ground_s[self.group[self.window]] * self.sample_rate[self.window]
        of_features = float((needs.ground_s * needs.features).sum())
        everything = of_features + float(needs.other_ground_s.sum())
        rows, groups = np.arange(self.slots), np.arange(self.groups)
        due = np.full(self.slots, of_features)
        due[0] = everything
        aboard = needs.ground_s * needs.features
        first = np.zeros(self.groups, int)
        came_row, came = np.nonzero(self.slot[None, :] < rows[:, None])
        self.rows.add(
            later_s,
            (rows, np.zeros(self.slots), due),
            (came_row, self.of_feature[came], -per_feature[came]),
            (np.repeat(rows, self.groups), np.tile(self.of_aboard, self.slots), -np.tile(aboard, self.slots)),
            (first, self.of_aboard[groups], -needs.other_ground_s),
        )

    def _embedding(self) -> None:
        """Features leave a group no sooner than they are embedded."""
        needs = self.needs
        if needs.embedded is None:
            return
        done = needs.embedded(self.edges_s[1:])
        row_of_group, row_of_slot = np.nonzero(
            (done < needs.features[:, None]) & (needs.features > 0)[:, None]
        )
        if not len(row_of_group):
            return
        pair_group = self.group[self.window]
        by_group = [np.flatnonzero(pair_group == label) for label in range(self.groups)]
        row, came = [], []
        for index, (label, slot) in enumerate(zip(row_of_group.tolist(), row_of_slot.tolist(), strict=True)):
            of_group = by_group[label]
            of_group = of_group[self.slot[of_group] <= slot]
            row.append(np.full(len(of_group), index))
            came.append(of_group)
        rows, pairs = np.concatenate(row), np.concatenate(came)
        scale = needs.features[row_of_group]
        self.rows.add(
            done[row_of_group, row_of_slot] / scale,
            (rows, self.of_feature[pairs], self.sample_rate[self.window[pairs]] / scale[rows]),
        )
