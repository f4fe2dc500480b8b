"""What follows one after the other whatever the links carry: steps that wait for answers, and what comes last."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from functools import cached_property

import numpy as np

from strategies.bound.reach import Reach
from strategies.bound.remaining import Remaining
from strategies.problem.sunlight import all_finished_s
from strategies.problem.workload import ComputeRates, Resources, Workload


@dataclass(frozen=True, eq=False)
class SerialSteps:
    """Least times of the steps of a round that uses what ``reach`` has."""

    workload: Workload
    rates: ComputeRates
    _: KW_ONLY
    resources: Resources
    todo: Remaining
    reach: Reach
    start_s: float

    def trip_s(self, count: int) -> np.ndarray:
        """Return the least seconds from the end of a forward pass over ``count`` samples to the begin of the
        backward pass.

        Shape ``(satellites,)``.  Where a step crosses in parts, only the last of them counts: the others
        travel before.
        """
        workload, reach = self.workload, self.reach
        part = count if workload.micro_batches == 1 else count // workload.micro_batches
        up_s = reach.one_way_s("up", 8.0 * part * workload.up_bytes)
        if not workload.chained:
            return up_s + self.rates.message_s
        down_s = reach.one_way_s("down", 8.0 * part * workload.c3_bytes)
        head_s = part * workload.head_flops / self.rates.satellite_flops
        return up_s + self.rates.message_s + head_s + down_s

    @cached_property
    def full_trip_s(self) -> np.ndarray:
        """The trip of a whole micro-batch."""
        return self.trip_s(self.workload.micro_batch)

    @cached_property
    def short_trip_s(self) -> np.ndarray:
        """The trip of the least micro-batch: light time."""
        return self.trip_s(0)

    @cached_property
    def exposed_full_trip_s(self) -> np.ndarray:
        """Return the time that the trip of a whole micro-batch adds to the ground's passes over it."""
        return self._exposed_s(self.full_trip_s, self.workload.micro_batch)

    @cached_property
    def exposed_short_trip_s(self) -> np.ndarray:
        """The same of the least micro-batch, which has less than a whole one."""
        return self._exposed_s(self.short_trip_s, self.workload.micro_batch - 1)

    def _exposed_s(self, trip_s: np.ndarray, count: int) -> np.ndarray:
        """While the last part of a step travels, the ground may make the backward passes of those before it."""
        workload = self.workload
        if workload.micro_batches == 1:
            return trip_s
        before = count - count // workload.micro_batches
        behind_s = before * self.todo.backward_s + (workload.micro_batches - 1) * self.rates.message_s
        return np.maximum(trip_s - behind_s, 0.0)

    @cached_property
    def head_s(self) -> np.ndarray:
        """The training of the head after the last hidden states, where that is one piece of work."""
        if self.workload.chained or self.workload.central:
            return np.zeros(len(self.todo.samples))
        work = np.where(self.todo.answers > 0, self.todo.samples, 0.0) * self.workload.epochs
        return work * self.workload.head_flops / self.rates.satellite_flops

    def tail_s(self) -> np.ndarray:
        """Return what is left to do at least after the last features of each satellite have arrived."""
        todo = self.todo
        if self.workload.onboard_share:
            return np.zeros(len(todo.samples))
        if self.workload.central:
            # Of the first pass at least what arrives last, and then the passes over the samples of all.
            again = np.minimum(todo.answers, todo.samples * (self.workload.passes - 1)).sum()
            last = np.minimum(todo.features, 1.0)
            return (last + again) * (todo.forward_s + todo.backward_s)
        computed_s = todo.tail_answers * (todo.forward_s + todo.backward_s)
        steps = todo.tail_full_steps + todo.tail_short_steps
        trips_s = _times(todo.tail_full_steps, self.exposed_full_trip_s) + _times(
            todo.tail_short_steps, self.exposed_short_trip_s
        )
        return computed_s + steps * todo.message_s + trips_s + self.head_s

    def first_s(self) -> np.ndarray:
        """Return when the forward pass of each satellite's first step can begin at the earliest."""
        workload, todo, reach = self.workload, self.todo, self.reach
        first_s = np.where(todo.features_there, self.start_s, self._first_features_s())
        if workload.crosses and workload.chained:
            first_s = np.maximum(
                first_s, reach.first_data_s("up")
            )  # the session stands before the step begins
        return first_s

    def last_features_s(self) -> np.ndarray:
        """Return when the last features of each satellite can be on the ground at the earliest."""
        return self._arrival_s(self.todo.features, np.minimum(self.todo.features, 1.0))

    def end_s(self) -> np.ndarray:
        """Return when each satellite's own steps, one after the other, can be over at the earliest."""
        todo, workload = self.todo, self.workload
        own_s = todo.answers * (todo.forward_s + todo.backward_s) + todo.steps * todo.message_s
        if workload.chained:
            own_s = own_s + _times(todo.full_steps, self.exposed_full_trip_s)
            own_s = own_s + _times(todo.short_steps, self.exposed_short_trip_s)
        elif workload.crosses:
            own_s = own_s + _times(np.minimum(todo.steps, 1.0), self.short_trip_s)
        return np.where(todo.answers > 0, self.first_s() + own_s + self.head_s, self.start_s)

    def in_order_s(self) -> float:
        """Return how long the steps of a shared adapter take at least, which wait for each other.

        The steps that share a pass are those whose trips are most alike; with ``gradient_delay`` so many
        chains run beside each other.
        """
        workload, todo = self.workload, self.todo
        if not workload.shared_adapter:
            return 0.0
        count = np.concatenate([todo.full_steps, todo.short_steps])
        trip_s = np.concatenate([self.exposed_full_trip_s, self.exposed_short_trip_s])
        order = np.argsort(-np.where(count > 0, trip_s, 0.0), kind="stable")
        reached = np.cumsum(count[order])
        slowest = np.arange(0, int(reached[-1]), workload.satellites_per_step)
        trips_s = trip_s[order][np.searchsorted(reached, slowest, side="right")].sum()
        return (todo.ground_s + float(trips_s)) / (workload.gradient_delay + 1)

    def held_s(self) -> np.ndarray:
        """Return for how long an answered sample keeps a session at least, if it had it for itself, per satellite."""
        if not self.workload.chained or self.workload.onboard_share:
            return np.zeros(len(self.todo.samples))
        batch = self.workload.micro_batch
        return self.todo.forward_s + (self.full_trip_s + self.todo.message_s / 2.0) / batch

    def _first_features_s(self) -> np.ndarray:
        count = np.minimum(self.todo.features, self.workload.micro_batch)
        return self._arrival_s(count, count)

    def _arrival_s(self, embedded: np.ndarray, sent: np.ndarray) -> np.ndarray:
        """When ``sent`` samples can have arrived of which the last is the ``embedded``-th to be embedded."""
        workload, reach = self.workload, self.reach
        work_s = embedded * workload.embedding_flops / self.rates.satellite_flops
        ready_s = all_finished_s(self.resources.sunlight, self.start_s, work_s)
        link_s = reach.first_data_s("down")
        with np.errstate(divide="ignore", invalid="ignore"):
            sent_s = np.where(sent > 0, 8.0 * sent * workload.c1_bytes / reach.joint_bps("down"), 0.0)
        arrived_s = np.maximum(ready_s + reach.home_s, link_s) + sent_s
        return np.where(embedded > 0, arrived_s, self.start_s)


def _times(count: np.ndarray, length_s: np.ndarray) -> np.ndarray:
    """``count`` lengths, nothing where there are none, even of infinite ones."""
    return np.where(count > 0, count * np.where(count > 0, length_s, 0.0), 0.0)
