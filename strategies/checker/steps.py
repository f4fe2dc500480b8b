"""Rules of the checker for the ground's steps: each once, in order, no sooner than what it waits for.

Of every step the least time of each part is known from its path: the forward pass, the hops of its hidden states, the
head, the hops of its gradient, the backward pass, light time and transmission included.  From the one end this gives
when a hop can begin at the earliest, from the other when it must be over at the latest.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import KW_ONLY, dataclass
from functools import cached_property

import numpy as np

from orbit.contact_plan import LinkKind
from strategies.checker.answers import Leg, crossings, legs_of
from strategies.checker.intervals import parts
from strategies.checker.judged_plan import SLACK_S, JudgedPlan, Violation
from strategies.checker.sessions import session_of
from strategies.problem.plan import Kind


@dataclass(frozen=True, eq=False)
class Hops:
    """What the steps of one leg ask of one of its hops: served for ``work_s`` within ``[release_s, due_s]``.

    With nobody else on the link it is over at ``over_s``.
    """

    row: int
    release_s: np.ndarray
    _: KW_ONLY
    over_s: np.ndarray
    due_s: np.ndarray
    work_s: np.ndarray


class StepRules:
    """The table of steps against the workload, the legs of its crossings, and the ground's one processor."""

    def __init__(self, judged: JudgedPlan) -> None:
        self.judged = judged
        steps = judged.plan.steps
        good = (steps["satellite"] >= 0) & (steps["satellite"] < judged.satellites)
        good &= (
            np.isfinite(steps["start_s"])
            & np.isfinite(steps["end_s"])
            & (steps["end_sample"] > steps["first_sample"])
        )
        self.bad, steps = steps[~good], steps[good]
        self.steps = steps[np.lexsort([steps["step"], steps["satellite"]])]
        self.legs, self.broken = {}, []
        for kind in (Kind.HIDDEN, Kind.GRADIENT):
            self.legs[kind], wrong = legs_of(judged, kind)
            self.broken += wrong

    def violations(self) -> Iterator[Violation]:
        """Everything that is wrong with steps and with what crosses for them."""
        yield from self.broken
        for kind, legs in self.legs.items():
            yield from crossings(self.judged, kind, legs)
        for row in self.bad[:10]:
            yield Violation("step", f"a step that no plan can have: {row}")
        yield from self._every_step()
        yield from self._members()
        yield from self._order()
        yield from self._ground()
        yield from self._features()
        yield from self._sessions()
        yield from self._rows()
        yield from self._round_trips()
        yield from self._backbone_rows()
        yield from self._heads()

    def _name(self, step: np.void) -> str:
        return f"{self.judged.name(step['satellite'])}: step {step['step']} (batch {step['batch']})"

    def _every_step(self) -> Iterator[Violation]:
        """Every step that is left stands in the table once, with its samples and pass."""
        wanted = self.judged.demand.steps
        fields = list(wanted.dtype.names or ())
        found = self.steps[fields].astype(wanted.dtype)
        if np.array_equal(found, wanted):
            return
        missing = np.setdiff1d(wanted, found)
        extra = np.setdiff1d(found, wanted)
        for step in missing[:10]:
            yield Violation(
                "step", f"{self.judged.name(step['satellite'])}: step {step['step']}, samples {step['first_sample']}–"
                f"{step['end_sample']} in pass {step['epoch']}, is missing"
            )  # fmt: skip
        for step in extra[:10]:
            yield Violation(
                "step", f"{self.judged.name(step['satellite'])}: step {step['step']} takes samples "
                f"{step['first_sample']}–{step['end_sample']} in pass {step['epoch']}, which is not due"
            )  # fmt: skip
        values, count = np.unique(found, return_counts=True)
        for step in values[count > 1][:10]:
            yield Violation(
                "step", f"{self.judged.name(step['satellite'])}: step {step['step']} is taken more than once"
            )

    @cached_property
    def _batches(self) -> list[np.ndarray]:
        """Indices into ``steps`` of each batch, by number."""
        order = np.argsort(self.steps["batch"], kind="stable")
        return [order[part] for part in parts(self.steps["batch"][order])]

    @cached_property
    def _lengths_s(self) -> tuple[np.ndarray, np.ndarray]:
        """Least seconds of the forward and of the backward pass of each step's batch, shape of ``steps``."""
        work, rates = self.judged.workload, self.judged.rates
        count = (self.steps["end_sample"] - self.steps["first_sample"]).astype(float)
        messages = np.minimum(count, work.micro_batches) if work.chained else np.ones(len(count))
        _, batch = np.unique(self.steps["batch"], return_inverse=True)
        samples, sent = np.bincount(batch, count), np.bincount(batch, messages)
        forward = samples * work.backbone_forward_flops / rates.ground_flops + sent * rates.message_s
        backward = samples * work.backbone_backward_flops / rates.ground_flops + sent * rates.message_s
        if not work.chained:
            backward = np.zeros_like(backward)
        return forward[batch], backward[batch]

    def _members(self) -> Iterator[Violation]:
        """A batched step is of at most so many satellites, each once, and starts and ends at one time."""
        most = self.judged.workload.satellites_per_step
        for number, index in enumerate(self._batches):
            rows = self.steps[index]
            if rows["batch"][0] != number:
                yield Violation("step", f"batch {number} is missing, {rows['batch'][0]} is the next")
                return
            if len(rows) > most:
                yield Violation("step", f"batch {number} is of {len(rows)} satellites, allowed is {most}")
            if len(np.unique(rows["satellite"])) < len(rows):
                yield Violation(
                    "step", f"batch {number}: {self._name(rows[0])} and another of the same satellite"
                )
            for field in ("start_s", "end_s") if self.judged.workload.chained else ("start_s",):
                if np.ptp(rows[field]) > SLACK_S:
                    yield Violation(
                        "step",
                        f"batch {number}: its satellites' {field} differ by {np.ptp(rows[field]):.6f} s",
                    )

    def _order(self) -> Iterator[Violation]:
        """A satellite's steps follow each other; with a shared adapter each waits for the update that it is due."""
        work, steps = self.judged.workload, self.steps
        begin_s = np.array([steps["start_s"][index].min() for index in self._batches])
        end_s = np.array([steps["end_s"][index].max() for index in self._batches])
        for number in np.flatnonzero(np.diff(begin_s) < -SLACK_S)[:10] + 1:
            yield Violation(
                "step", f"batch {number} starts at {begin_s[number]:.6f} s, before the one ahead of it"
            )
        if not work.chained:
            return
        same = steps["satellite"][1:] == steps["satellite"][:-1]
        early = same & (steps["start_s"][1:] < steps["end_s"][:-1] - SLACK_S)
        early |= same & (steps["batch"][1:] <= steps["batch"][:-1])
        for index in np.flatnonzero(early)[:10] + 1:
            yield Violation(
                "step", f"{self._name(steps[index])} starts at {steps['start_s'][index]:.6f} s, "
                f"the one before it ends at {steps['end_s'][index - 1]:.6f} s"
            )  # fmt: skip
        if not work.shared_adapter:
            return
        for number in np.flatnonzero(np.diff(end_s) < -SLACK_S)[:10] + 1:
            yield Violation(
                "step", f"batch {number} is over before the one ahead of it, with a shared adapter"
            )
        lag = 1 + work.gradient_delay
        for number in np.flatnonzero(begin_s[lag:] < end_s[:-lag] - SLACK_S)[:10] + lag:
            yield Violation(
                "step", f"batch {number} starts at {begin_s[number]:.6f} s, the update that it needs, of batch "
                f"{number - lag}, is made at {end_s[number - lag]:.6f} s"
            )  # fmt: skip

    def _ground(self) -> Iterator[Violation]:
        """The ground computes one forward or backward pass at a time, each for as long as it takes."""
        if not len(self.steps):
            return
        forward_s, backward_s = self._lengths_s
        first = np.array([index[0] for index in self._batches])
        start_s, end_s = self.steps["start_s"][first], self.steps["end_s"][first]
        begin_s = np.concatenate([start_s, end_s - backward_s[first]])
        over_s = np.concatenate([start_s + forward_s[first], end_s])
        which = np.concatenate([np.arange(len(first)), np.arange(len(first))])
        busy = over_s - begin_s > 1e-9
        order = np.flatnonzero(busy)[np.argsort(begin_s[busy], kind="stable")]
        for early, late in zip(order[:-1].tolist(), order[1:].tolist(), strict=True):
            if begin_s[late] < over_s[early] - SLACK_S:
                what = ["backward" if one >= len(first) else "forward" for one in (late, early)]
                yield Violation(
                    "ground", f"the ground begins the {what[0]} pass of batch {which[late]} at {begin_s[late]:.6f} s, "
                    f"in the {what[1]} pass of batch {which[early]} until {over_s[early]:.6f} s"
                )  # fmt: skip
                return

    def _features(self) -> Iterator[Violation]:
        """A step starts when its features are on the ground: they come at an even pace through a block's downlink."""
        judged, rows = self.judged, self.judged.rows
        down = judged.of_kind(Kind.FEATURES)
        down = down[rows["link"][down] == LinkKind.DOWNLINK]
        down = down[np.lexsort([rows["first_sample"][down], rows["satellite"][down]])]
        for satellite in np.unique(rows["satellite"][down]):
            mine = down[rows["satellite"][down] == satellite]
            blocks, steps = rows[mine], self.steps[self.steps["satellite"] == satellite]
            for block, owlt_s in zip(blocks, judged.owlt_s[mine], strict=True):
                high = np.minimum(steps["end_sample"], block["end_sample"])
                touched = np.maximum(steps["first_sample"], block["first_sample"]) < high
                pace_s = (block["end_s"] - block["start_s"]) / (block["end_sample"] - block["first_sample"])
                there_s = block["start_s"] + pace_s * (high - block["first_sample"]) + owlt_s
                for index in np.flatnonzero(touched & (steps["start_s"] < there_s - SLACK_S))[:3]:
                    yield Violation(
                        "step", f"{self._name(steps[index])} starts at {steps['start_s'][index]:.6f} s, its features "
                        f"are on the ground at {there_s[index]:.6f} s ({judged.words(block)})"
                    )  # fmt: skip

    @cached_property
    def timing(self) -> _Timing:
        """Of every step when its crossings can be where at the earliest."""
        return _Timing(self)

    def _sessions(self) -> Iterator[Violation]:
        """Antenna and beam are held from the start of a step until its gradient is down."""
        if not len(self.steps):
            return
        until_s = np.maximum(self.timing.down_s, self.steps["start_s"])
        held = session_of(
            self.judged, self.steps["gateway"], self.steps["station"], self.steps["start_s"], until_s
        )
        for step in self.steps[~held][:10]:
            pair = f"{self.judged.name(step['gateway'])} and {self.judged.name(step['station'])}"
            yield Violation(
                "session", f"{self._name(step)}: {pair} do not hold a session from {step['start_s']:.3f} s on"
            )

    def _rows(self) -> Iterator[Violation]:
        """Legs go through the gateway and the station of their steps; their windows fit what their steps need."""
        judged = self.judged
        for leg, index in self.timing.of_leg:
            first = judged.rows[leg.rows[0]]
            if (
                self.steps["first_sample"][index].min() != leg.first
                or self.steps["end_sample"][index].max() != leg.end
            ):
                yield Violation(
                    "step",
                    f"{judged.words(first)} of {judged.samples(first)} cuts a step",
                )
            kind = Kind(judged.rows["kind"][leg.rows[0]])
            steps = self.steps[index]
            hop = judged.rows[leg.rows[0] if kind is Kind.HIDDEN else leg.rows[-1]]
            pair = (hop["peer"], hop["node"]) if kind is Kind.HIDDEN else (hop["node"], hop["peer"])
            other = (steps["gateway"] != pair[0]) | (steps["station"] != pair[1])
            for step in steps[other][:1]:
                yield Violation(
                    "step", f"{self._name(step)} is answered through {judged.name(step['gateway'])} and "
                    f"{judged.name(step['station'])}, not so {judged.words(hop)}"
                )  # fmt: skip
        for hops in self.timing.hops:
            row = judged.rows[hops.row]
            early, late = float(hops.release_s.min()), float(hops.due_s.max())
            if row["start_s"] < early - SLACK_S or row["end_s"] < float(hops.over_s.max()) - SLACK_S:
                yield Violation(
                    "order",
                    f"{judged.words(row)} of {judged.samples(row)} runs ahead of the steps, which allow {early:.6f} s",
                )
            if (
                row["end_s"] > late + SLACK_S
                or row["start_s"] > float((hops.due_s - hops.work_s).min()) + SLACK_S
            ):
                yield Violation(
                    "order",
                    f"{judged.words(row)} of {judged.samples(row)} is behind the steps, which wait until {late:.6f} s",
                )

    def _round_trips(self) -> Iterator[Violation]:
        """No step is over sooner than its forward pass, its way there and back, and its backward pass take."""
        early = self.timing.over_s > self.steps["end_s"] + SLACK_S
        for index in np.flatnonzero(early)[:10]:
            step = self.steps[index]
            yield Violation(
                "step", f"{self._name(step)} is over at {step['end_s']:.6f} s, its round trip takes until "
                f"{self.timing.over_s[index]:.6f} s"
            )  # fmt: skip

    def _backbone_rows(self) -> Iterator[Violation]:
        """A run of the backbone lasts from its first forward to its last backward pass."""
        judged = self.judged
        forward_s, _ = self._lengths_s
        over_s = self.steps["end_s"] if judged.workload.chained else self.steps["start_s"] + forward_s
        for row in judged.rows[judged.of_kind(Kind.BACKBONE)] if judged.demand.has_steps else ():
            mine = self._within(row["satellite"], row["epoch"], row["first_sample"], row["end_sample"])
            if not len(mine):
                yield Violation(
                    "step", f"{judged.samples(row)} in pass {row['epoch']} are computed in no step"
                )
                continue
            first_s, last_s = float(self.steps["start_s"][mine].min()), float(over_s[mine].max())
            if abs(row["start_s"] - first_s) > SLACK_S or abs(row["end_s"] - last_s) > SLACK_S:
                yield Violation(
                    "step", f"{judged.samples(row)} in pass {row['epoch']} are computed {row['start_s']:.6f}–"
                    f"{row['end_s']:.6f} s, their steps take {first_s:.6f}–{last_s:.6f} s"
                )  # fmt: skip

    def _heads(self) -> Iterator[Violation]:
        """The head's steps lie between hidden states and gradient; with a frozen backbone, after the last of them."""
        judged = self.judged
        for index in judged.of_kind(Kind.HEAD):
            row = judged.rows[index]
            satellite, epoch = row["satellite"], row["epoch"]
            if not judged.workload.chained:
                mine = np.flatnonzero(self.steps["satellite"] == satellite)
                there_s = float(self.steps["end_s"][mine].max(initial=judged.plan.start_s))
                if row["start_s"] < there_s - SLACK_S:
                    yield Violation(
                        "order",
                        f"{judged.words(row)} begins before the last hidden states are on board, {there_s:.6f} s",
                    )
                continue
            mine = self._within(satellite, epoch, row["first_sample"], row["end_sample"])
            if not len(mine):
                yield Violation("step", f"{judged.words(row)} belongs to no step")
                continue
            board_s, learnt_s = self.timing.board_s[mine], self.timing.learnt_s[mine]
            due_s = self.timing.learnt_due_s[mine]
            if (
                row["start_s"] < float(board_s.min()) - SLACK_S
                or row["end_s"] < float(learnt_s.max()) - SLACK_S
            ):
                yield Violation(
                    "order", f"{judged.words(row)} of {judged.samples(row)} precedes the hidden states"
                )
            if row["end_s"] > float(due_s.max()) + SLACK_S:
                yield Violation(
                    "order",
                    f"{judged.words(row)} of {judged.samples(row)} is over after the gradient must leave",
                )

    def _within(self, satellite: int, epoch: int, first: int, end: int) -> np.ndarray:
        """Indices of the steps of a satellite in a pass with samples in ``[first, end)``."""
        low, high = np.searchsorted(self.steps["satellite"], [satellite, satellite + 1])
        mine = self.steps[low:high]
        hit = (mine["epoch"] == epoch) & (mine["end_sample"] > first) & (mine["first_sample"] < end)
        return low + np.flatnonzero(hit)


class _Timing:
    """Least times of every step along the paths of its legs; arrays of the shape of ``StepRules.steps``.

    A step's samples cross in parts; a part leaves when the forward pass is that far, and hops on when it is there.
    """

    def __init__(self, rules: StepRules) -> None:
        judged, steps = rules.judged, rules.steps
        work, rates = judged.workload, judged.rates
        count = (steps["end_sample"] - steps["first_sample"]).astype(float)
        cut = np.minimum(count, work.micro_batches) if work.chained else np.ones(len(count))
        part = np.maximum(count // np.maximum(cut, 1), 1)  # the smallest part at least
        forward_s, backward_s = rules._lengths_s
        self.of_leg = [
            (leg, index)
            for legs in rules.legs.values()
            for leg in legs
            if len(index := rules._within(leg.satellite, leg.epoch, leg.first, leg.end))
        ]
        message_s = rates.message_s if work.chained else 0.0
        head_s = work.head_flops / rates.satellite_flops if work.chained else 0.0
        self.hops: list[Hops] = []
        releases: list[tuple[int, np.ndarray, np.ndarray, np.ndarray]] = []
        # First and last part, from the end of its forward pass on.
        first_s, last_s = steps["start_s"] + forward_s / np.maximum(cut, 1), steps["start_s"] + forward_s
        trip = [(leg, index) for leg, index in self.of_leg if judged.rows["kind"][leg.rows[0]] == Kind.HIDDEN]
        back = [
            (leg, index) for leg, index in self.of_leg if judged.rows["kind"][leg.rows[0]] == Kind.GRADIENT
        ]
        first_s, last_s = self._travel(
            judged, trip, first_s, last_s, count, part, work.up_bytes * 8.0, releases
        )
        self.board_s, arrived_s = first_s.copy(), last_s.copy()
        first_s, last_s = first_s + message_s + part * head_s, last_s + message_s + part * head_s
        self.learnt_s = np.maximum(last_s, self.board_s + message_s + count * head_s)
        self.down_s = last_s.copy()
        first_s, last_s = self._travel(
            judged,
            back,
            first_s,
            self.learnt_s,
            count,
            part,
            work.c3_bytes * 8.0,
            releases,
            down_s=self.down_s,
        )
        # The backward pass goes through the parts, too: it begins with the first and ends with the last.
        part_s = backward_s / np.maximum(cut, 1)
        self.over_s = np.maximum(last_s + part_s, first_s + backward_s) if work.chained else arrived_s
        # The same from the other end.
        due_s = steps["end_s"] - part_s
        dues: dict[int, np.ndarray] = {}
        due_s = self._return(judged, back, due_s, part, work.c3_bytes * 8.0, dues)
        self.learnt_due_s = due_s.copy()
        due_s = due_s - message_s - part * head_s
        self._return(judged, trip, due_s, part, work.up_bytes * 8.0, dues)
        self.hops = [
            Hops(row, release_s, over_s=over_s, due_s=dues[row], work_s=work_s)
            for row, release_s, over_s, work_s in releases
        ]

    @staticmethod
    def _travel(
        judged: JudgedPlan, legs: list[tuple[Leg, np.ndarray]], first_s: np.ndarray, last_s: np.ndarray,
        count: np.ndarray, part: np.ndarray, bits: float, releases: list, down_s: np.ndarray | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
        """When first and last part are at the end of their legs; notes when each hop may begin."""
        first_s, last_s = first_s.copy(), last_s.copy()
        for leg, index in legs:
            early_s, late_s = first_s[index], last_s[index]
            for row in leg.rows.tolist():
                bps, owlt_s = judged.rate_bps[row], judged.owlt_s[row]
                work_s = count[index] * bits / bps
                part_s = part[index] * bits / bps
                over_s = np.maximum(late_s + part_s, early_s + work_s)
                releases.append((row, early_s.copy(), over_s, work_s))
                if down_s is not None:
                    down_s[index] = over_s
                early_s, late_s = early_s + part_s + owlt_s, over_s + owlt_s
            first_s[index], last_s[index] = early_s, late_s
        return first_s, last_s

    @staticmethod
    def _return(
        judged: JudgedPlan, legs: list[tuple[Leg, np.ndarray]], due_s: np.ndarray, part: np.ndarray, bits: float,
        dues: dict[int, np.ndarray],
    ) -> np.ndarray:  # fmt: skip
        """When the last part must be at the beginning of its leg; notes until when each hop may last."""
        due_s = due_s.copy()
        for leg, index in legs:
            now_s = due_s[index]
            for row in leg.rows.tolist()[::-1]:
                now_s = now_s - judged.owlt_s[row]
                dues[row] = now_s.copy()
                now_s = now_s - part[index] * bits / judged.rate_bps[row]
            due_s[index] = now_s
        return due_s
