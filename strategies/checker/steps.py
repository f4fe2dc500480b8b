"""Rules of the checker for the ground's steps: each once, in order, no sooner than what it waits for.

Of every step the least time of each part is known from its path: the forward pass, the hops of its hidden states, the
head, the hops of its gradient, the backward pass, light time and transmission included.  From the one end this gives
when a hop can begin at the earliest, from the other when it must be over at the latest.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import KW_ONLY, dataclass
from functools import cached_property

import numpy as np

from orbit.contact_plan import LinkKind
from strategies.checker.answers import Leg, crossings, legs_of
from strategies.checker.intervals import first_of_each, parts
from strategies.checker.judged_plan import SLACK_S, JudgedPlan, Violation
from strategies.checker.sessions import session_of
from strategies.problem.plan import Kind


@dataclass(frozen=True, eq=False)
class Hops:
    """The link time that each step needs on each hop of its legs: served for ``work_s`` within ``[release_s, due_s]``.

    ``row[i]`` is the activity that the hop of step and leg ``i`` belongs to.  With nobody else on the link it is over
    at ``over_s``.
    """

    row: np.ndarray
    release_s: np.ndarray
    _: KW_ONLY
    over_s: np.ndarray
    due_s: np.ndarray
    work_s: np.ndarray

    @classmethod
    def of(cls, chunks: Sequence[tuple[np.ndarray, ...]]) -> Hops:
        """Chunks of (row, release, over, due, work), put together."""
        empty = (np.zeros(0, np.int64), *(np.zeros(0) for _ in range(4)))
        row, release_s, over_s, due_s, work_s = map(np.concatenate, zip(empty, *chunks, strict=True))
        return cls(row, release_s, over_s=over_s, due_s=due_s, work_s=work_s)


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
        planned = self.steps[fields].astype(wanted.dtype)
        if np.array_equal(planned, wanted):
            return
        missing = np.setdiff1d(wanted, planned)
        extra = np.setdiff1d(planned, wanted)
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
        values, count = np.unique(planned, return_counts=True)
        for step in values[count > 1][:10]:
            yield Violation(
                "step", f"{self.judged.name(step['satellite'])}: step {step['step']} is taken more than once"
            )

    @cached_property
    def _batches(self) -> tuple[np.ndarray, np.ndarray]:
        """Indices into ``steps`` by batch and satellite, and where in them each batch begins."""
        order = np.lexsort([self.steps["satellite"], self.steps["batch"]])
        return order, first_of_each(self.steps["batch"][order])

    def _of_batch(self, number: int) -> np.ndarray:
        """Indices into ``steps`` of the batch that comes so many others after the first."""
        order, first = self._batches
        return order[first[number] : first[number + 1] if number + 1 < len(first) else None]

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
        order, first = self._batches
        if not len(first):
            return
        batch, satellite = self.steps["batch"][order], self.steps["satellite"][order]
        size = np.diff(first, append=len(order))
        twice = np.zeros(len(order), bool)
        twice[1:] = (batch[1:] == batch[:-1]) & (satellite[1:] == satellite[:-1])
        wrong = (size > most) | np.logical_or.reduceat(twice, first)
        apart_s: dict[str, np.ndarray] = {}
        for field in ("start_s", "end_s") if self.judged.workload.chained else ("start_s",):
            time_s = self.steps[field][order]
            apart_s[field] = np.maximum.reduceat(time_s, first) - np.minimum.reduceat(time_s, first)
            wrong |= apart_s[field] > SLACK_S
        gaps = batch[first] != np.arange(len(first))
        for number in np.flatnonzero(wrong | gaps).tolist():
            rows = self.steps[self._of_batch(number)]
            if gaps[number]:
                yield Violation("step", f"batch {number} is missing, {rows['batch'][0]} is the next")
                return
            if len(rows) > most:
                yield Violation("step", f"batch {number} is of {len(rows)} satellites, allowed is {most}")
            if len(np.unique(rows["satellite"])) < len(rows):
                yield Violation(
                    "step", f"batch {number}: {self._name(rows[0])} and another of the same satellite"
                )
            for field, length_s in apart_s.items():
                if length_s[number] > SLACK_S:
                    yield Violation(
                        "step",
                        f"batch {number}: its satellites' {field} differ by {length_s[number]:.6f} s",
                    )

    def _order(self) -> Iterator[Violation]:
        """A satellite's steps follow each other; with a shared adapter each waits for the update that it is due."""
        work, steps = self.judged.workload, self.steps
        if not len(steps):
            return
        by_batch, first = self._batches
        begin_s = np.minimum.reduceat(steps["start_s"][by_batch], first)
        end_s = np.maximum.reduceat(steps["end_s"][by_batch], first)
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
        by_batch, begins = self._batches
        first = by_batch[begins]
        start_s, end_s = self.steps["start_s"][first], self.steps["end_s"][first]
        begin_s = np.concatenate([start_s, end_s - backward_s[first]])
        over_s = np.concatenate([start_s + forward_s[first], end_s])
        which = np.concatenate([np.arange(len(first)), np.arange(len(first))])
        busy = over_s - begin_s > 1e-9
        order = np.flatnonzero(busy)[np.argsort(begin_s[busy], kind="stable")]
        for early, late in zip(order[:-1].tolist(), order[1:].tolist(), strict=True):
            if begin_s[late] < over_s[early] - SLACK_S:
                what = ["backward" if position >= len(first) else "forward" for position in (late, early)]
                yield Violation(
                    "ground", f"the ground begins the {what[0]} pass of batch {which[late]} at {begin_s[late]:.6f} s, "
                    f"in the {what[1]} pass of batch {which[early]} until {over_s[early]:.6f} s"
                )  # fmt: skip
                return

    def _features(self) -> Iterator[Violation]:
        """A step starts when its features are on the ground: they come at an even pace through a block's downlink."""
        judged, rows = self.judged, self.judged.rows
        if not len(self.steps):
            return
        down = judged.of_kind(Kind.FEATURES)
        down = down[rows["link"][down] == LinkKind.DOWNLINK]
        down = down[np.lexsort([rows["first_sample"][down], rows["satellite"][down]])]
        fields = ("satellite", "first_sample", "end_sample", "start_s", "end_s")
        blocks = zip(down.tolist(), *(rows[field][down].tolist() for field in fields), strict=True)
        of_satellite = self._by_satellite
        for index, satellite, first, end, start_s, end_s in blocks:
            if satellite not in of_satellite:
                continue
            own, firsts, ends, starts_s = of_satellite[satellite]
            high = np.minimum(ends, end)
            pace_s = (end_s - start_s) / (end - first)
            there_s = start_s + pace_s * (high - first) + judged.owlt_s[index]
            early = (np.maximum(firsts, first) < high) & (starts_s < there_s - SLACK_S)
            for place in np.flatnonzero(early)[:3].tolist():
                yield Violation(
                    "step", f"{self._name(self.steps[own[place]])} starts at {starts_s[place]:.6f} s, its features "
                    f"are on the ground at {there_s[place]:.6f} s ({judged.words(rows[index])})"
                )  # fmt: skip

    @cached_property
    def _by_satellite(self) -> dict[int, tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]:
        """Of each satellite its steps: indices, first and end samples, starts."""
        steps = self.steps
        fields = [np.ascontiguousarray(steps[name]) for name in ("first_sample", "end_sample", "start_s")]
        return {
            int(steps["satellite"][index[0]]): (index, *(field[index] for field in fields))
            for index in parts(steps["satellite"])
        }

    @cached_property
    def timing(self) -> _Timing:
        """The earliest times of the crossings of every step."""
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
        judged, steps, rows = self.judged, self.steps, self.judged.rows
        for kind, trips in self.timing.trips.items():
            if not trips.legs:
                continue
            begins = first_of_each(trips.leg)
            firsts = np.minimum.reduceat(steps["first_sample"][trips.step], begins)
            ends = np.maximum.reduceat(steps["end_sample"][trips.step], begins)
            cuts = (firsts != [leg.first for leg in trips.legs]) | (ends != [leg.end for leg in trips.legs])
            for number in np.flatnonzero(cuts).tolist():
                row = rows[trips.legs[number].rows[0]]
                yield Violation("step", f"{judged.words(row)} of {judged.samples(row)} cuts a step")
            # Hidden states come from a station to a gateway with the first hop, gradients go there with the last.
            down = kind is Kind.HIDDEN
            hop = np.array([leg.rows[0 if down else -1] for leg in trips.legs])
            other = steps["gateway"][trips.step] != rows["peer" if down else "node"][hop][trips.leg]
            other |= steps["station"][trips.step] != rows["node" if down else "peer"][hop][trips.leg]
            _, first = np.unique(trips.leg[other], return_index=True)
            for index in np.flatnonzero(other)[first].tolist():
                step, row = steps[trips.step[index]], rows[hop[trips.leg[index]]]
                yield Violation(
                    "step", f"{self._name(step)} is answered through {judged.name(step['gateway'])} and "
                    f"{judged.name(step['station'])}, not so {judged.words(row)}"
                )  # fmt: skip
        yield from self._windows()

    def _windows(self) -> Iterator[Violation]:
        """The window of a hop neither runs ahead of what its steps allow nor stays behind what they wait for."""
        judged, hops = self.judged, self.timing.hops
        if not len(hops.row):
            return
        order = np.argsort(hops.row, kind="stable")
        first = first_of_each(hops.row[order])
        index = hops.row[order[first]]
        early_s = np.minimum.reduceat(hops.release_s[order], first)
        over_s = np.maximum.reduceat(hops.over_s[order], first)
        late_s = np.maximum.reduceat(hops.due_s[order], first)
        leave_s = np.minimum.reduceat((hops.due_s - hops.work_s)[order], first)
        start_s, end_s = judged.rows["start_s"][index], judged.rows["end_s"][index]
        ahead = (start_s < early_s - SLACK_S) | (end_s < over_s - SLACK_S)
        behind = (end_s > late_s + SLACK_S) | (start_s > leave_s + SLACK_S)
        for place in np.flatnonzero(ahead | behind).tolist():
            row = judged.rows[index[place]]
            what = f"{judged.words(row)} of {judged.samples(row)}"
            if ahead[place]:
                yield Violation(
                    "order", f"{what} runs ahead of the steps, which allow {early_s[place]:.6f} s"
                )
            if behind[place]:
                yield Violation(
                    "order", f"{what} is behind the steps, which wait until {late_s[place]:.6f} s"
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
            batch_steps = self._within(row["satellite"], row["epoch"], row["first_sample"], row["end_sample"])
            if not len(batch_steps):
                yield Violation(
                    "step", f"{judged.samples(row)} in pass {row['epoch']} are computed in no step"
                )
                continue
            first_s, last_s = (
                float(self.steps["start_s"][batch_steps].min()),
                float(over_s[batch_steps].max()),
            )
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
                of_satellite = np.flatnonzero(self.steps["satellite"] == satellite)
                there_s = float(self.steps["end_s"][of_satellite].max(initial=judged.plan.start_s))
                if row["start_s"] < there_s - SLACK_S:
                    yield Violation(
                        "order",
                        f"{judged.words(row)} begins before the last hidden states are on board, {there_s:.6f} s",
                    )
                continue
            of_satellite = self._within(satellite, epoch, row["first_sample"], row["end_sample"])
            if not len(of_satellite):
                yield Violation("step", f"{judged.words(row)} belongs to no step")
                continue
            board_s, learnt_s = self.timing.board_s[of_satellite], self.timing.learnt_s[of_satellite]
            due_s = self.timing.learnt_due_s[of_satellite]
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
        place = self._of_pass.get((int(satellite), int(epoch)))
        if place is None:
            return np.zeros(0, np.int64)
        index, firsts, ends = place
        return index[(ends > first) & (firsts < end)]

    @cached_property
    def _of_pass(self) -> dict[tuple[int, int], tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Of each satellite and pass its steps: indices, first and end samples."""
        steps, by_pass = self.steps, {}
        order = np.lexsort([steps["epoch"], steps["satellite"]])
        _, key = np.unique(steps[["satellite", "epoch"]][order], return_inverse=True)
        for part in parts(key):
            members = order[part]
            first_step = steps[members[0]]
            by_pass[int(first_step["satellite"]), int(first_step["epoch"])] = (
                members,
                steps["first_sample"][members],
                steps["end_sample"][members],
            )
        return by_pass


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
        message_s = rates.message_s if work.chained else 0.0
        head_s = work.head_flops / rates.satellite_flops if work.chained else 0.0
        # First and last part, from the end of its forward pass on.
        first_s, last_s = steps["start_s"] + forward_s / np.maximum(cut, 1), steps["start_s"] + forward_s
        self.trips = {
            kind: _Trips.of(rules, kind, count=count, part=part, bits=8.0 * size)
            for kind, size in ((Kind.HIDDEN, work.up_bytes), (Kind.GRADIENT, work.c3_bytes))
        }
        trip, back = self.trips.values()
        first_s, last_s, _, up_served = trip.travel(first_s, last_s)
        self.board_s, arrived_s = first_s.copy(), last_s.copy()
        first_s, last_s = first_s + message_s + part * head_s, last_s + message_s + part * head_s
        self.learnt_s = np.maximum(last_s, self.board_s + message_s + count * head_s)
        first_s, last_s, self.down_s, down_served = back.travel(first_s, self.learnt_s, down_s=last_s)
        # The backward pass goes through the parts, too: it begins with the first and ends with the last.
        part_s = backward_s / np.maximum(cut, 1)
        self.over_s = np.maximum(last_s + part_s, first_s + backward_s) if work.chained else arrived_s
        # The same from the other end.
        due_s, down_dues = back.due(steps["end_s"] - part_s)
        self.learnt_due_s = due_s.copy()
        _, up_dues = trip.due(due_s - message_s - part * head_s)
        self.hops = Hops.of(
            [
                (row, release_s, over_s, due_s, work_s)
                for (row, release_s, over_s, work_s), due_s in zip(
                    up_served + down_served, up_dues + down_dues, strict=True
                )
            ]
        )


@dataclass(frozen=True, eq=False)
class _Trips:
    """Steps on the legs of one crossing, hop by hop: all first hops together, then all second ones.

    Step ``step[i]`` takes leg ``leg[i]``, whose hop ``k`` is row ``rows[i, k]`` of the plan, -1 where it has fewer. It
    takes a link for ``bits`` a sample; ``count`` and ``part`` are the samples of each step, and of its smallest part.
    """

    judged: JudgedPlan
    legs: Sequence[Leg]
    _: KW_ONLY
    leg: np.ndarray
    step: np.ndarray
    rows: np.ndarray
    count: np.ndarray
    part: np.ndarray
    bits: float

    @classmethod
    def of(cls, rules: StepRules, kind: Kind, *, count: np.ndarray, part: np.ndarray, bits: float) -> _Trips:
        """The steps of the crossings of a kind, on those legs that any takes."""
        within = [rules._within(leg.satellite, leg.epoch, leg.first, leg.end) for leg in rules.legs[kind]]
        legs = [leg for leg, steps in zip(rules.legs[kind], within, strict=True) if len(steps)]
        of_leg = np.full((len(legs), max((len(leg.rows) for leg in legs), default=0)), -1)
        for row, leg in zip(of_leg, legs, strict=True):
            row[: len(leg.rows)] = leg.rows
        step = np.concatenate([np.zeros(0, np.int64), *within])
        number = np.repeat(np.arange(len(legs)), [len(steps) for steps in within if len(steps)])
        return cls(
            rules.judged, legs, leg=number, step=step, rows=of_leg[number], count=count, part=part, bits=bits
        )

    def travel(
        self, first_s: np.ndarray, last_s: np.ndarray, *, down_s: np.ndarray | None = None
    ) -> tuple[
        np.ndarray, np.ndarray, np.ndarray, list[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]
    ]:
        """Return when first and last part of each step are at the end of its leg, by when they are at the beginning.

        Also when the last hop is over (``down_s`` for steps without a leg), and of each hop (row, from when on it may
        begin, when it is over at the earliest, for how long it is served).
        """
        down_s = last_s.copy() if down_s is None else down_s.copy()
        early_s, late_s, served = first_s[self.step], last_s[self.step], []
        for row in self.rows.T:
            on = row >= 0
            row, step = row[on], self.step[on]
            bps, owlt_s = self.judged.rate_bps[row], self.judged.owlt_s[row]
            work_s, part_s = self.count[step] * self.bits / bps, self.part[step] * self.bits / bps
            over_s = np.maximum(late_s[on] + part_s, early_s[on] + work_s)
            served.append((row, early_s[on], over_s, work_s))
            down_s[step] = over_s
            early_s[on], late_s[on] = early_s[on] + part_s + owlt_s, over_s + owlt_s
        first_s, last_s = first_s.copy(), last_s.copy()
        first_s[self.step], last_s[self.step] = early_s, late_s
        return first_s, last_s, down_s, served

    def due(self, due_s: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
        """Return when the last part must be at the beginning of its leg, by when at the end; and until when each hop
        may last.

        Hops come in the order of :meth:`travel`.
        """
        now_s, dues = due_s[self.step], list[np.ndarray]()
        for row in self.rows.T[::-1]:
            on = row >= 0
            row, step = row[on], self.step[on]
            over_s = now_s[on] - self.judged.owlt_s[row]
            dues.append(over_s)
            now_s[on] = over_s - self.part[step] * self.bits / self.judged.rate_bps[row]
        due_s = due_s.copy()
        due_s[self.step] = now_s
        return due_s, dues[::-1]
