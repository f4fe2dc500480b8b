"""The Flower strategy of missions without rounds: what Flower calls a round ends with each average.

A satellite starts from an average in the round after it. Its change of the weights counts in the average that the plan
names, however many rounds later.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

import numpy as np
from flwr.app import ArrayRecord, Message, MetricRecord
from numpy.typing import NDArray

from mission.client_update import average, client_update
from strategies.aggregation.averages import staleness_weight
from strategies.aggregation.client_updates import Averaging, ClientUpdate
from strategies.federated import (
    Planner,
    RoundOutcome,
    SplitFederatedStrategy,
    mean_metrics,
    record_of,
    update_of,
)
from strategies.problem.plan import Plan

_IDLE = {"steps": 0, "bytes-up": 0, "bytes-down": 0}


class AsyncPlanner(Planner, Protocol):
    """Plans a mission without rounds."""

    def starting(self, number: int) -> frozenset[str]:
        """Return the satellites that start from the average before average ``number``."""

    def counting(self, number: int) -> frozenset[tuple[str, int]]:
        """Return what average ``number`` is of: satellites, each with the round in which it started."""


class BufferedStrategy(SplitFederatedStrategy):
    """Averages what has come, as the plan says; see :class:`strategies.federated.SplitFederatedStrategy`.

    The next weights are the present ones plus the mean of the satellites' changes, weighted by images and, with s
    averages between base and now, by (1 + s)^-a of all that come at a time (FedBuff, Nguyen et al., arXiv 2106.06581;
    FedSpace, So et al., arXiv 2202.01267): an update that is stale moves less, and does not leave the
    others more.
    """

    _planner: AsyncPlanner

    def _starting(self, number: int) -> list[str]:
        starts = self._planner.starting(number)
        return [name for name in self._clients.nodes if name in starts]

    def _delivering(self, plan: Plan) -> list[str]:
        del plan  # what counts is known by round: see aggregate_train
        return []

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord, MetricRecord]:
        """Average what counts now; keep what counts later."""
        sent = {key: array.numpy() for key, array in self._round.arrays.items()}
        fresh = {
            self._names[reply.metadata.src_node_id]: _change(reply, sent, server_round) for reply in replies
        }
        self._reports = {name: update.report for name, update in fresh.items()}
        every = [
            (name, updates[name])
            for name in self._clients.nodes
            for updates in (self._pending_updates, fresh)
            if name in updates
        ]
        due = self._planner.counting(server_round)
        self._counted = [(name, update) for name, update in every if (name, update.started) in due]
        self._pending_updates = {name: update for name, update in every if (name, update.started) not in due}
        mean = buffered_mean(self._averaging, sent, self._counted, server_round)
        return record_of(mean), mean_metrics(self._reports, self._clients.samples)

    def _close(self, replies: Iterable[Message]) -> tuple[ArrayRecord, MetricRecord, RoundOutcome]:
        number, plan = self._round.number, self._round.plan
        mean, metrics = self.aggregate_train(number, replies)
        self._ground.end_round({}, 0.0)
        self._environment.clock.advance_to(plan.end_s)
        arrays = self._server_optimizer.step(number, self._round.arrays, mean)
        late: dict[str, int] = {}
        for name, update in self._counted:
            late[name] = max(late.get(name, 0), number - update.started)
        outcome = RoundOutcome(
            number,
            plan,
            reports={name: self._report(name, number) for name in self._clients.nodes},
            rounds_late=late,
            pending_updates=dict(self._pending_updates),
            arrays=arrays,
        )
        return arrays, metrics, outcome

    def _report(self, name: str, number: int) -> Mapping[str, Any]:
        """Return the report of a satellite whose training began in this round; for the others, an empty one."""
        del number
        nothing = {
            "num-examples": self._clients.samples[name],
            "train-loss": None,
            "train-accuracy": None,
            **_IDLE,
        }
        return self._reports.get(name, nothing)


def buffered_mean(
    averaging: Averaging,
    current: Mapping[str, NDArray],
    changes: Sequence[tuple[str, ClientUpdate]],
    number: int,
) -> dict[str, NDArray]:
    """Return the present weights plus the mean of changes, by name, in the order in which these are given.

    Where heads are averaged by class and no update saw a class, its row stays as it is.
    """
    parts = []
    for name, change in changes:
        whole = averaging.counts(name)
        counts = whole * staleness_weight(number - change.started, averaging.exponent)
        moved = {key: current[key] + change.arrays[key] for key in current}
        parts += [client_update(moved, counts), client_update(current, whole - counts)]
    total = sum(
        (averaging.counts(name) for name, _ in changes), np.zeros(len(averaging.counts(changes[0][0])))
    )
    parts.append(client_update(current, np.where(total > 0.0, 0.0, 1.0)))
    return average(functools.reduce(operator.add, parts), current)


def _change(reply: Message, sent: Mapping[str, NDArray], number: int) -> ClientUpdate:
    """Return the difference between a satellite's weights and those that it was sent."""
    update = update_of(reply, number)
    changes = {key: array.astype(np.float64) - sent[key] for key, array in update.arrays.items()}
    return replace(update, arrays=changes)
