"""The Flower strategy of planes that train and average by themselves, and all together every so many rounds.

What Flower calls a round is one of each plane.  Its score is that of the average over all planes, which satellites have
only after the rounds in which all average.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Protocol

from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord
from flwr.serverapp import Grid

from strategies.aggregation.client_updates import ClientUpdate
from strategies.federated import (
    Planner,
    RoundOutcome,
    SplitFederatedStrategy,
    mean_metrics,
    record_of,
    update_of,
)
from strategies.problem.plan import Plan


class PlanesPlanner(Planner, Protocol):
    """Plans rounds of planes by themselves."""

    def all_average(self, number: int) -> bool:
        """Return whether planes average with each other at the end of a round."""


class PlaneRoundsStrategy(SplitFederatedStrategy):
    """Averages plane by plane, and over all when the plan says so; see :class:`.SplitFederatedStrategy`.

    What a plane has come to waits among the pending updates of its satellites, so that a run resumes with it.
    """

    _planner: PlanesPlanner

    def _starting(self, number: int) -> list[str]:
        del number
        return list(self._clients.nodes)

    def _delivering(self, plan: Plan) -> list[str]:
        del plan
        return []

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> list[Message]:
        """Return a ``train`` message for every satellite, with what its plane has come to, or all together."""
        config = ConfigRecord({**config, **self._config, "round": server_round})
        return [
            self._train_message(node, config, record_of(own.arrays) if own else arrays)
            for name, node in self._clients.nodes.items()
            for own in [self._pending_updates.get(name)]
        ]

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord, MetricRecord]:
        """Return the average over all, and keep those of the planes where all do not average yet."""
        trained = {
            self._names[reply.metadata.src_node_id]: update_of(reply, server_round) for reply in replies
        }
        self._reports = {name: trained[name].report for name in self._clients.nodes}
        sent = {key: array.numpy() for key, array in self._round.arrays.items()}
        orders = self._round.orders
        mean = self._averaging.mean(sent, trained, server_round, orders)
        self._pending_updates = {}
        for order in () if self._planner.all_average(server_round) else orders:
            labels = {name: own for name, own in self._averaging.labels.items() if name in order.members}
            alone = replace(self._averaging, labels=labels)
            own = alone.mean(sent, {name: trained[name] for name in labels}, server_round, [order])
            for name in labels:  # a checkpoint saves no two arrays in one memory
                copy = {key: array.copy() for key, array in own.items()}
                self._pending_updates[name] = ClientUpdate(server_round, copy, report=self._reports[name])
        return record_of(mean), mean_metrics(self._reports, self._clients.samples)

    def _close(self, replies: Iterable[Message]) -> tuple[ArrayRecord, MetricRecord, RoundOutcome]:
        number, plan = self._round.number, self._round.plan
        mean, metrics = self.aggregate_train(number, replies)
        self._ground.end_round({}, 0.0)
        self._environment.clock.advance_to(plan.end_s)
        outcome = RoundOutcome(
            number,
            plan,
            reports=self._reports,
            rounds_late=dict.fromkeys(self._clients.nodes, 0) if self._planner.all_average(number) else {},
            pending_updates=dict(self._pending_updates),
            arrays=mean,
        )
        return mean, metrics, outcome
