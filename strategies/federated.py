"""The Flower strategy: rounds that follow the plan on the mission clock.

Flower carries messages, head weights and metrics; tensors of the split travel beside it. A round is planned at the
mission time it starts, trained by all enrolled satellites, averaged in the order that the plan gives (so that the
result does not depend on which satellite answers first), and ends when the plan ends, or when a quorum of planes has
delivered.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, replace
from logging import INFO, WARNING
from typing import Any, Protocol

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MessageType, MetricRecord, RecordDict
from flwr.common.constant import ErrorCode
from flwr.common.logger import log
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Result, Strategy
from numpy.typing import NDArray

from mission.clock import VirtualClock
from mission.run_config import RunConfig
from orbit.imaging.numbered_images import ImageRange
from strategies.aggregation.client_updates import Averaging, ClientUpdate
from strategies.aggregation.quorum import Quorum, cut
from strategies.aggregation.server_optimizer import ServerOptimizer
from strategies.enrolment import EnrolledClients, FederationError
from strategies.intra_orbit import PlaneOrder
from strategies.planner.step_order import Schedule
from strategies.problem.plan import Plan

_POLL_S = 0.05
_DIED = (ErrorCode.NODE_UNAVAILABLE, ErrorCode.CLIENT_APP_CRASHED)
_DEATHS = 3  # of one satellite in one round, before the round is given up


@dataclass(frozen=True, eq=False)
class RoundOutcome:
    """A finished round.

    Attributes:
        number: From 1.
        plan: Up to the end of the round.
        reports: What each satellite says of the training that it has come from or is still at.
        rounds_late: Of those who have delivered, how many rounds ago they started.
        pending_updates: Of the others, what will be delivered in a later round.
        arrays: The new average.
    """

    number: int
    plan: Plan
    _: KW_ONLY
    reports: Mapping[str, Mapping[str, Any]]
    rounds_late: Mapping[str, int]
    pending_updates: Mapping[str, ClientUpdate]
    arrays: ArrayRecord


@dataclass(frozen=True, eq=False)
class TrainedOnGround:
    """The results of training on the ground: the new weights, and what it tells of each satellite's images."""

    arrays: ArrayRecord
    reports: Mapping[str, Mapping[str, float]]


@dataclass(frozen=True, eq=False)
class _Round:
    """A round in progress.

    Attributes:
        number: From 1.
        plan: Its plan.
        schedule: The steps that the ground takes in it.
        orders: The order in which each plane is summed.
        arrays: The weights that are sent.
        delivering: The satellites whose weights are delivered in it, in the order of the enrolled clients.
        images: Of each satellite in the rounds up to this one, where not all are in each; else empty.
        samples: Training images of each satellite in it.
        averaging: How what they deliver becomes one.
    """

    number: int
    plan: Plan
    _: KW_ONLY
    schedule: Schedule
    orders: Sequence[PlaneOrder]
    arrays: ArrayRecord
    delivering: Sequence[str]
    images: Mapping[str, Sequence[ImageRange]]
    samples: Mapping[str, int]
    averaging: Averaging


class GroundService(Protocol):
    """The backbone's side of a round."""

    def begin_round(self, number: int, schedule: Schedule, samples: Mapping[str, int] | None = None) -> None:
        """Expect the tensors of the steps of this schedule, of so many images of each satellite."""

    def first_served(self, satellites: Collection[str]) -> str | None:
        """Return the satellites to serve first, or ``None`` if the order does not matter."""

    def end_round(self, weights: Mapping[str, float], total: float) -> TrainedOnGround | None:
        """All of them are done. What it keeps for each satellite is averaged as the weights that travel are.

        Args:
            weights: Of those who have delivered, in the order of the enrolled clients.
            total: What the weights of all would be; what is lacking is the weight of the present average.
        """


class Planner(Protocol):
    """Plans rounds, and knows when they end and how planes are summed."""

    quorum: Quorum

    def __call__(self, number: int, start_s: float) -> Plan:
        """Plan a round that starts at a mission time."""

    def orders(self, plan: Plan) -> Sequence[PlaneOrder]:
        """Return the order in which each plane is summed."""

    def images(self, number: int) -> Mapping[str, Sequence[ImageRange]]:
        """Return the images of each satellite in rounds 1 to ``number``, where not all are in each; else nothing."""


class RoundEnvironment(Protocol):
    """The environment in which rounds take place."""

    clock: VirtualClock
    sums_planes: bool
    max_concurrency: int | None

    def start_round(self, plan: Plan) -> None:
        """Follow a plan from now on."""


class SplitFederatedStrategy(Strategy):
    """Split federated fine-tuning over a contact plan.

    Args:
        enrolled_clients: Who takes part.
        run_config: What every message tells.
        constants: Arrays that every ``train`` message carries beside the head: how what crosses is scaled.
        planner: Plans the rounds.
        ground: The backbone's side.
        server_optimizer: Makes the next round's weights of the mean.
        environment: Mission time, which is advanced to the end of each plan, and who follows the plan.
        on_round: Called with every finished round, before the next is planned; true ends the run.
    """

    def __init__(
        self,
        *,
        enrolled_clients: EnrolledClients,
        run_config: RunConfig,
        constants: ArrayRecord,
        planner: Planner,
        ground: GroundService,
        server_optimizer: ServerOptimizer,
        environment: RoundEnvironment,
        on_round: Callable[[RoundOutcome], bool],
    ) -> None:
        self._clients = enrolled_clients
        self._config = run_config.to_config()
        self._constants = constants
        self._names = enrolled_clients.names
        self._planner = planner
        self._ground = ground
        self._server_optimizer = server_optimizer
        self._environment = environment
        self._on_round = on_round
        scenario = run_config.scenario
        self._averaging = Averaging(
            enrolled_clients.labels,
            scenario.strategy.staleness_exponent,
            by_class=scenario.training.head_rows == "by-class",
        )
        self._pending_updates: dict[str, ClientUpdate] = {}
        self._finished_rounds = 0

    def resume(self, finished_rounds: int, pending_updates: Mapping[str, ClientUpdate]) -> None:
        """Continue after a round of an earlier run, with what satellites had not delivered then."""
        self._finished_rounds = finished_rounds
        self._pending_updates = dict(pending_updates)

    def summary(self) -> None:
        """Log who takes part."""
        log(INFO, "\t├── Satellites: %s", len(self._clients.nodes))
        log(INFO, "\t└── Training images: %s", sum(self._clients.samples.values()))

    def start(
        self,
        grid: Grid,
        initial_arrays: ArrayRecord,
        num_rounds: int = 3,
        timeout: float = 3600,
        train_config: ConfigRecord | None = None,
        evaluate_config: ConfigRecord | None = None,
        evaluate_fn: Callable[[int, ArrayRecord], MetricRecord | None] | None = None,
    ) -> Result:
        """Run the rounds; see :meth:`flwr.serverapp.strategy.Strategy.start` for the arguments.

        Raises:
            FederationError: A satellite failed, or did not answer in ``timeout`` seconds of wall time.
        """
        log(INFO, "Starting %s:", type(self).__name__)
        self.summary()
        began_s = time.monotonic()
        result = Result()
        arrays = initial_arrays
        config = train_config or ConfigRecord()
        first = self._finished_rounds + 1
        if first == 1 and evaluate_fn and (metrics := evaluate_fn(0, arrays)) is not None:
            result.evaluate_metrics_serverapp[0] = metrics
            log(INFO, "Before fine-tuning: %s", _in_words(metrics))
        for number in range(first, num_rounds + 1):
            log(INFO, "")
            log(INFO, "[ROUND %s/%s]", number, num_rounds)
            plan = self._planner(number, self._environment.clock.now_s)
            self._round = self._begun(number, plan, arrays)
            replies = self._train(grid, config, time.monotonic() + timeout)
            arrays, result.train_metrics_clientapp[number], outcome = self._close(replies)
            result.arrays = arrays
            now_s = self._environment.clock.now_s
            trained = _in_words(result.train_metrics_clientapp[number])
            log(INFO, "Trained until mission time %.1f s: %s", now_s, trained)
            if evaluate_fn and (metrics := evaluate_fn(number, arrays)) is not None:
                result.evaluate_metrics_serverapp[number] = metrics
                log(INFO, "Scored on the ground: %s", _in_words(metrics))
            if self._on_round(outcome):
                break
        log(INFO, "")
        log(INFO, "Finished in %.1f s", time.monotonic() - began_s)
        return result

    def _begun(self, number: int, plan: Plan, arrays: ArrayRecord) -> _Round:
        """Return a round that starts; where images come as satellites fly, each counts by those that it trains on."""
        images = self._planner.images(number)
        samples = {name: ranges[-1][1] for name, ranges in images.items()} or self._clients.samples
        averaging = self._averaging
        if images:
            averaging = replace(averaging, labels={name: [samples[name]] for name in averaging.labels})
        return _Round(
            number,
            plan,
            schedule=Schedule.of(plan, self._starting(number)),
            orders=self._planner.orders(plan),
            arrays=arrays,
            delivering=self._delivering(plan),
            images=images,
            samples=samples,
            averaging=averaging,
        )

    def _train(self, grid: Grid, config: ConfigRecord, deadline: float) -> list[Message]:
        """Have the round trained as planned, and return what satellites answer."""
        number, plan, schedule = self._round.number, self._round.plan, self._round.schedule
        self._ground.begin_round(number, schedule, self._round.samples)
        self._environment.start_round(plan)
        position = {name: index for index, name in enumerate(schedule.steps_of)}
        messages = self.configure_train(number, self._round.arrays, config, grid)
        # Where few run at once, those whose steps come first should be among them.
        messages.sort(
            key=lambda message: position.get(self._names[message.metadata.dst_node_id], len(position))
        )
        return self._exchange(grid, messages, deadline)

    def _close(self, replies: Iterable[Message]) -> tuple[ArrayRecord, MetricRecord, RoundOutcome]:
        """Average what the round delivers; return the new weights, the metrics, and what is recorded."""
        number, plan = self._round.number, self._round.plan
        end_s = self._planner.quorum.end_s(plan)
        aggregated, metrics = self.aggregate_train(number, replies)
        due = self._round.delivering
        ages = {name: number - self._pending_updates[name].started for name in due}
        by_ground = self._ground.end_round(*self._round.averaging.weights(ages))
        self._environment.clock.advance_to(end_s)
        arrays = self._server_optimizer.step(number, self._round.arrays, aggregated)
        if by_ground is not None:
            arrays = by_ground.arrays
        from_ground = by_ground.reports if by_ground else {}
        reports = {
            name: {**self._report(name, number), **from_ground.get(name, {})} for name in self._clients.nodes
        }
        rounds_late = {name: number - self._pending_updates.pop(name).started for name in due}
        pending = dict(self._pending_updates)
        return (
            arrays,
            metrics,
            RoundOutcome(
                number,
                cut(plan, end_s),
                reports=reports,
                rounds_late=rounds_late,
                pending_updates=pending,
                arrays=arrays,
            ),
        )

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> list[Message]:
        """Return a ``train`` message with the head for every satellite that is not at an earlier round still."""
        config = ConfigRecord({**config, **self._config, "round": server_round})
        return [
            self._train_message(self._clients.nodes[name], ConfigRecord({**config, **own}), arrays)
            for name in self._starting(server_round)
            for own in [{**self._images_of(name), **self._exchange_of(name), **self._turns_of(name)}]
        ]

    def _starting(self, number: int) -> list[str]:
        """Return the satellites that start in a round, in the order of the enrolled clients."""
        return [name for name in self._clients.nodes if name not in self._pending_updates]

    def _images_of(self, name: str) -> dict[str, Any]:
        """What a satellite is told of the images of the rounds so far, if not all are in each: first, count, first …"""
        ranges = self._round.images.get(name)
        return {"images": [number for images in ranges for number in images]} if ranges else {}

    def _turns_of(self, name: str) -> dict[str, Any]:
        """Return the message entry with the order of a satellite's steps on the ground; empty if it has none."""
        turns = self._round.schedule.turns_of(name)
        return {"turns": turns} if turns else {}

    def _exchange_of(self, name: str) -> dict[str, Any]:
        """What a satellite is told of the exchange in its plane, if there is one."""
        plane = next(plane for plane in self._round.orders if name in plane.members)
        if not (self._environment.sums_planes and plane.linked):
            return {}
        counts = self._round.averaging.counts(name).tolist()
        return {"plane": list(plane.members), "ring": plane.ring, "counts": counts}

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord, MetricRecord]:
        """Average the weights that are delivered in the round, and the metrics of those who have trained."""
        for reply in replies:
            self._pending_updates[self._names[reply.metadata.src_node_id]] = update_of(reply, server_round)
        sent = {key: array.numpy() for key, array in self._round.arrays.items()}
        due = {name: self._pending_updates[name] for name in self._round.delivering}
        mean = self._round.averaging.mean(sent, due, server_round, self._round.orders)
        trained = [
            name for name in self._clients.nodes if self._pending_updates[name].started == server_round
        ]
        reports = {name: self._pending_updates[name].report for name in trained}
        return record_of(mean), mean_metrics(reports, self._round.samples)

    def _delivering(self, plan: Plan) -> list[str]:
        """Return the satellites whose weights are delivered in a round, in the order of the enrolled clients."""
        delivered = self._planner.quorum.delivered(plan)
        return [name for name, delivers in zip(self._clients.nodes, delivered, strict=True) if delivers]

    def _report(self, name: str, number: int) -> Mapping[str, float]:
        """What a satellite tells; what it sent and computed counts in the round in which it started."""
        update = self._pending_updates[name]
        again = {} if update.started == number else {"steps": 0, "bytes-up": 0, "bytes-down": 0}
        return {**update.report, **again}

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> list[Message]:
        """No message: the ground scores the whole model itself."""
        return []

    def aggregate_evaluate(self, server_round: int, replies: Iterable[Message]) -> MetricRecord | None:
        """Nothing to average."""
        return None

    def _train_message(self, node: int, config: ConfigRecord, arrays: ArrayRecord | None) -> Message:
        """A ``train`` message; without ``arrays`` it is for a round that was begun."""
        content = RecordDict({"config": config, "constants": self._constants})
        if arrays is not None:
            content["arrays"] = arrays
        return Message(content, node, MessageType.TRAIN)

    def _exchange(self, grid: Grid, messages: Sequence[Message], deadline: float) -> list[Message]:
        """Send, and have suspended satellites resume, until every satellite has finished.

        Where Flower runs so many at once and no more, only so many are sent: it would take them in an order of its own.

        One whose SuperNode or ClientApp has died is told again once it is back, and goes on from what it has on disk.
        """
        ready = list(messages)
        waiting: dict[str, Message] = {}
        away: list[Message] = []
        deaths: Counter[int] = Counter()
        finished: list[Message] = []
        while ready or waiting or away:
            while ready and len(waiting) < (self._environment.max_concurrency or len(self._names)):
                waiting |= self._push(grid, [self._first_served(ready)])
            if time.monotonic() > deadline:
                late = sorted(
                    self._names[message.metadata.dst_node_id]
                    for message in (*ready, *waiting.values(), *away)
                )
                raise FederationError(
                    f"{len(late)} of {len(self._names)} satellites have not answered in time "
                    f"(training.round_timeout_s), the first is {late[0]}"
                )
            for reply in grid.pull_messages(list(waiting)):
                message = waiting.pop(reply.metadata.reply_to_message_id)
                node = message.metadata.dst_node_id
                if reply.has_error():
                    deaths[node] += 1
                    if reply.error.code not in _DIED or deaths[node] > _DEATHS:
                        raise FederationError(f"{self._names[node]} failed: {reply.error.reason}")
                    log(WARNING, "%s has died: %s", self._names[node], reply.error.reason)
                    away.append(message)
                elif reply.content.metric_records["metrics"]["suspended"]:
                    config = message.content.config_records["config"]
                    ready.append(self._train_message(node, config, None))
                else:
                    finished.append(reply)
            if away:
                attached = set(grid.get_node_ids())
                back = [message for message in away if message.metadata.dst_node_id in attached]
                away = [message for message in away if message not in back]
                ready += [
                    Message(returned.content, returned.metadata.dst_node_id, MessageType.TRAIN)
                    for returned in back
                ]
            time.sleep(_POLL_S)
        return finished

    def _first_served(self, ready: list[Message]) -> Message:
        """Take out the message whose satellite the ground needs first, by default the first."""
        names = [self._names[message.metadata.dst_node_id] for message in ready]
        first = self._ground.first_served(names)
        return ready.pop(names.index(first) if first is not None else 0)

    @staticmethod
    def _push(grid: Grid, messages: Sequence[Message]) -> dict[str, Message]:
        """Send messages; each by the id that its reply will name (the source of an error reply may be another)."""
        return dict(zip(grid.push_messages(messages), messages, strict=True))


def update_of(reply: Message, number: int) -> ClientUpdate:
    """Return the weights and the report of a satellite's reply, trained from the weights of round ``number``."""
    report: dict[str, Any] = dict(reply.content.metric_records["metrics"])
    records = reply.content.array_records
    arrays = {key: array.numpy() for key, array in records.get("arrays", ArrayRecord()).items()}
    plane_sum = records["plane"]["sum"].numpy() if "plane" in records else None
    return ClientUpdate(number, arrays, report=report, plane_sum=plane_sum)


def record_of(arrays: Mapping[str, NDArray]) -> ArrayRecord:
    """Return weights as Flower sends them."""
    return ArrayRecord({key: Array(array) for key, array in arrays.items()})


def mean_metrics(reports: Mapping[str, Mapping[str, Any]], images: Mapping[str, int]) -> MetricRecord:
    """Return the mean loss and accuracy of what satellites report, by numbers of images; empty without reports."""
    metrics: dict[str, int | float | list[int] | list[float]] = {
        key: float(
            np.average(
                [report[key] for report in reports.values()], weights=[images[name] for name in reports]
            )
        )
        for key in ("train-loss", "train-accuracy")
        if reports
    }
    return MetricRecord(metrics)


def _in_words(metrics: MetricRecord) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in metrics.items())
