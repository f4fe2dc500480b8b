"""The length below which no plan of a round can go: what sessions can carry, and what happens one after the
other.

Every part of it holds in any plan that the checker accepts, whatever the planner does; see docs/planner.md
for what is left out, and so makes the bound lower than it might be.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass, field
from functools import cached_property
from typing import NoReturn

import numpy as np

from orbit.contact_plan import LinkKind
from strategies.bound.average_bound import AverageBound
from strategies.bound.earliest import earliest_s
from strategies.bound.flows.flow import served_part
from strategies.bound.flows.flow_needs import FlowNeeds
from strategies.bound.reach import LinkNetwork, Reach
from strategies.bound.remaining import Remaining, remaining
from strategies.bound.serial_steps import SerialSteps
from strategies.bound.session_windows import session_windows
from strategies.problem.network import NoRouteError, groups_of
from strategies.problem.planning_problem import PlanningProblem
from strategies.problem.workload import InterOrbit, IntraOrbit, Resources, StrategyConfig, Workload

_SERIAL_PRECISION = 1e-5  # of what needs no linear program
_ENOUGH = 1.0 - 1e-6  # what the linear program's precision leaves of everything


@dataclass(frozen=True, eq=False)
class RoundBounds:
    """Lengths that no plan of a round goes below; what its strategies have in common is worked out once."""

    problem: PlanningProblem
    _groups: dict[tuple[LinkKind, ...], np.ndarray] = field(default_factory=dict, init=False)
    _networks: dict[bytes, LinkNetwork] = field(default_factory=dict, init=False)
    _lower_bounds_s: dict[bytes, float] = field(default_factory=dict, init=False)

    def group_of(self, strategy_config: StrategyConfig) -> np.ndarray:
        """Return a label for each satellite, shape ``(N,)``: equal for those that the allowed links ever join."""
        kinds: tuple[LinkKind, ...]
        kinds = () if strategy_config.intra_orbit is IntraOrbit.NONE else (LinkKind.INTRA_ISL,)
        kinds += () if strategy_config.inter_orbit is InterOrbit.NONE else (LinkKind.INTER_ISL,)
        if kinds not in self._groups:
            links = self.problem.contact_plan.of_kind(*kinds)
            links = links[links["end_s"] > self.problem.start_s]
            self._groups[kinds] = groups_of(links, len(self.problem.workload.samples))
        return self._groups[kinds]

    def lower_bound_s(self, group: np.ndarray) -> float:
        """Return the seconds that the round takes at least over the inter-satellite links inside each group.

        ``group`` labels each satellite, shape ``(N,)``.

        Raises ``NoRouteError`` where samples or weights cannot reach the ground inside the horizon.
        """
        key = group.tobytes()
        if key not in self._lower_bounds_s:
            network = self._network(group)
            average = AverageBound(self.problem, network)
            if self.problem.workload.on_board:
                end_s = average.on_board_s()
            else:
                end_s = average.spread_s(TrainingBound.of(self.problem, network).heard_s())
            self._lower_bounds_s[key] = end_s - self.problem.start_s
        return self._lower_bounds_s[key]

    def may_end_by(self, group: np.ndarray, end_s: float) -> bool:
        """Return False only where no plan over the links inside each group ends before ``end_s``.

        Where the lower bound is not known, it asks at that one time what the bound asks at many until it finds the
        earliest, and leaves out the way back of an average, but that of satellites that train alone.
        """
        known_s = self._lower_bounds_s.get(group.tobytes())
        if known_s is not None:
            return self.problem.start_s + known_s < end_s
        if self.problem.workload.on_board:
            return AverageBound(self.problem, self._network(group)).on_board_s(below_s=end_s) < end_s
        return TrainingBound.of(self.problem, self._network(group)).may_be_heard_by(end_s)

    def _network(self, group: np.ndarray) -> LinkNetwork:
        """Sessions with stations and the links inside groups, each from when it can carry data."""
        key = group.tobytes()
        if key not in self._networks:
            links = self._links[group[self._links["source"]] == group[self._links["target"]]]
            self._networks[key] = LinkNetwork(
                self._windows,
                links,
                satellites=len(self.problem.workload.samples),
                beams=self._beams,
            )
        return self._networks[key]

    @cached_property
    def _beams(self) -> dict[int, int]:
        """The beams of each station, by its node."""
        stations = self.problem.contact_plan.stations
        return {station: self.problem.resources.beams_of(station) for station in stations.tolist()}

    @cached_property
    def _windows(self) -> np.ndarray:
        """Sessions with stations, each from when it can carry data."""
        problem = self.problem
        return session_windows(
            problem.contact_plan, problem.start_s, problem.resources.setup_s, problem.state.pointed
        )

    @cached_property
    def _links(self) -> np.ndarray:
        """The contacts of satellites, from when they can carry data."""
        return _links(self.problem)


def _links(problem: PlanningProblem) -> np.ndarray:
    """The contacts of satellites, from when they can carry data: lasers between planes have to be pointed first."""
    state, start_s = problem.state, problem.start_s
    links = problem.contact_plan.of_kind(LinkKind.INTRA_ISL, LinkKind.INTER_ISL)
    links = links[links["rate_bps"] > 0]
    pointed = np.array(
        [
            (int(row["source"]), int(row["target"])) in state.pointed
            or (int(row["target"]), int(row["source"])) in state.pointed
            for row in links
        ]
        if state.pointed
        else np.zeros(len(links)),
        bool,
    )
    links = links.copy()
    open_s = np.maximum(links["start_s"], start_s)
    aimed = (links["kind"] == LinkKind.INTER_ISL) & ~(pointed & (links["start_s"] <= start_s))
    links["start_s"] = open_s + np.where(aimed, problem.resources.acquisition_s, 0.0)
    return links[links["end_s"] > links["start_s"]]


@dataclass(frozen=True, eq=False)
class TrainingBound:
    """Bound the time at which the ground can have heard all of a round: samples, answers, and the weights that are
    averaged."""

    problem: PlanningProblem
    network: LinkNetwork
    _: KW_ONLY
    todo: Remaining

    @classmethod
    def of(cls, problem: PlanningProblem, network: LinkNetwork) -> TrainingBound:
        """Return the bound of what the state of a round leaves to be done."""
        return cls(problem, network, todo=remaining(problem.workload, problem.rates, problem.state))

    @property
    def workload(self) -> Workload:
        """Return the data and the computation of the round."""
        return self.problem.workload

    @property
    def start_s(self) -> float:
        """Return the start of the round."""
        return self.problem.start_s

    def heard_s(self) -> float:
        """Return a time before which the ground cannot have heard all.

        Raises ``NoRouteError`` where that is not before the horizon.
        """
        horizon_s = self.problem.contact_plan.horizon_s
        serial_s = earliest_s(
            self._in_order, self.start_s, self.start_s, horizon_s, precision=_SERIAL_PRECISION
        )
        if serial_s is not None and not self._crossing:
            return serial_s
        found_s = None if serial_s is None else earliest_s(self._served, self.start_s, serial_s, horizon_s)
        if found_s is None:
            self._refuse()
        return found_s

    def may_be_heard_by(self, time_s: float) -> bool:
        """Return whether nothing says that the ground cannot have heard all by then."""
        return self._in_order(time_s) >= 1.0 and (not self._crossing or self._served(time_s) >= 1.0)

    @cached_property
    def _crossing(self) -> bool:
        """Whether anything is to be carried between space and ground."""
        answered = self.workload.up_bytes + self.workload.c3_bytes > 0 and self.todo.answers.any()
        return bool(self.todo.features.any() or (answered and not self.workload.central))

    def _serial(self, reach: Reach) -> SerialSteps:
        return SerialSteps(
            self.workload,
            self.problem.rates,
            resources=self.problem.resources,
            todo=self.todo,
            reach=reach,
            start_s=self.start_s,
        )

    def _deadline_s(self, reach: Reach) -> np.ndarray:
        """By when each satellite's steps have to be over, so that its weights are on the ground by then."""
        until_s = np.full(len(self.todo.samples), reach.until_s)
        bits = 8.0 * self.workload.aggregate_bytes
        if not bits:
            return until_s
        with np.errstate(divide="ignore", invalid="ignore"):
            sent_s = bits / reach.joint_bps("down")
        leave_s = np.minimum(reach.last_leave_s(bits), reach.until_s - reach.home_s - sent_s)
        senders = self.problem.state.average.senders(self.workload.samples)
        until_s[senders] = leave_s[senders]
        return until_s

    def _in_order(self, until_s: float) -> float:
        """1 where what happens one after the other can be over by then, 0 where it cannot."""
        todo, workload = self.todo, self.workload
        reach = self.network.by(until_s)
        deadline_s = self._deadline_s(reach)
        if (deadline_s < self.start_s).any():
            return 0.0
        if workload.onboard_share:
            return 1.0
        steps = self._serial(reach)
        if workload.central:
            begun_s = float(steps.first_s()[todo.answers > 0].min(initial=np.inf))
            last_s = np.where(todo.features > 0, steps.last_features_s() + steps.tail_s(), self.start_s)
            computed_s = begun_s + todo.ground_s if todo.answers.any() else self.start_s
            return float(max(float(last_s.max()), computed_s) <= until_s)
        if (steps.end_s() > deadline_s).any():
            return 0.0
        if (steps.last_features_s() > np.where(todo.features > 0, deadline_s - steps.tail_s(), np.inf)).any():
            return 0.0
        active = todo.answers > 0
        if not active.any():
            return 1.0
        length_s = max(todo.ground_s, steps.in_order_s())
        return float(float(steps.first_s()[active].min()) + length_s <= float(deadline_s[active].max()))

    def _served(self, until_s: float) -> float:
        """The part of all that crosses which sessions can carry in time."""
        todo, workload = self.todo, self.workload
        reach = self.network.by(until_s)
        steps = self._serial(reach)
        deadline_s = self._deadline_s(reach)
        group, groups = reach.group, reach.groups
        owlt_s = float(reach.windows["owlt_s"].min(initial=np.inf))

        def latest_s(of_satellite: np.ndarray, counted: np.ndarray) -> np.ndarray:
            latest = np.full(groups, -np.inf)
            np.maximum.at(latest, group[counted], of_satellite[counted])
            return latest - owlt_s

        answered = not workload.central and workload.up_bytes + workload.c3_bytes > 0
        answers = np.bincount(group, todo.answers if answered else 0.0 * todo.answers, minlength=groups)
        held_s, concurrent = np.full(groups, np.inf), np.bincount(group, todo.answers > 0, minlength=groups)
        np.minimum.at(held_s, group[todo.answers > 0], steps.held_s()[todo.answers > 0])
        if workload.shared_adapter:
            concurrent = np.minimum(concurrent, workload.satellites_per_step * (workload.gradient_delay + 1))
        waiting_s = np.where(concurrent > 0, held_s / np.maximum(concurrent, 1), 0.0)
        features = np.bincount(group, todo.features, minlength=groups)
        per_feature_s = 0.0 if workload.central else workload.passes * (todo.forward_s + todo.backward_s)
        ground_s = np.bincount(
            group,
            todo.answers * (todo.forward_s + todo.backward_s) + todo.steps * todo.message_s,
            minlength=groups,
        )
        counted = np.bincount(group, todo.samples, minlength=groups)
        aboard = (
            np.bincount(group, self._aboard(until_s), minlength=groups)
            if workload.onboard_share
            else 0.0 * counted
        )
        needs = FlowNeeds(
            features=features,
            feature_bits=8.0 * workload.c1_bytes,
            features_until_s=latest_s(deadline_s - steps.tail_s(), todo.features > 0),
            embedded=self._embedded(group, groups) if workload.embedding_flops else None,
            answers=answers,
            up_bits=8.0 * workload.up_bytes,
            down_bits=8.0 * workload.c3_bytes,
            answers_until_s=latest_s(deadline_s, todo.answers > 0),
            held_s=waiting_s,
            ground_s=np.full(groups, per_feature_s),
            other_ground_s=np.maximum(ground_s - features * per_feature_s, 0.0) * (not workload.central),
            ground_until_s=float(deadline_s[todo.answers > 0].max(initial=self.start_s)),
            aboard_share=aboard / np.maximum(counted, 1e-9),
            features_of=todo.features,
            answers_of=todo.answers if answered else 0.0 * todo.answers,
        )
        part = served_part(needs, reach, self.problem.resources, self.start_s)
        return 1.0 if part >= _ENOUGH else part

    def _aboard(self, until_s: float) -> np.ndarray:
        """Samples that each satellite could train itself by then, at most all."""
        per_sample = self.workload.onboard_flops * self.workload.epochs / self.problem.rates.satellite_flops
        lit_s = _lit_s(self.problem.resources, len(self.todo.samples), self.start_s, np.array([until_s]))[
            :, 0
        ]
        with np.errstate(divide="ignore"):
            return np.minimum(lit_s / per_sample if per_sample else np.inf, self.todo.samples)

    def _embedded(self, group: np.ndarray, groups: int) -> Callable[[np.ndarray], np.ndarray]:
        """How many features of each group have been embedded by some times, as a function of those."""
        per_sample_s = self.workload.embedding_flops / self.problem.rates.satellite_flops
        features = self.todo.features

        def embedded(time_s: np.ndarray) -> np.ndarray:
            lit_s = _lit_s(self.problem.resources, len(features), self.start_s, time_s)
            done = np.minimum(lit_s / per_sample_s, features[:, None])
            total = np.zeros((groups, len(time_s)))
            np.add.at(total, group, done)
            return total

        return embedded

    def _refuse(self) -> NoReturn:
        """Raises ``NoRouteError`` for the first group whose own sessions, all together, are too short; else for all."""
        todo, workload = self.todo, self.workload
        horizon_s = self.problem.contact_plan.horizon_s
        reach = self.network.by(horizon_s)
        windows, label = reach.windows, reach.window_group
        need = np.bincount(reach.group, todo.answers, minlength=reach.groups)
        carried = np.full(reach.groups, np.inf)
        for direction, size in (("down", workload.down_bytes), ("up", workload.up_bytes)):
            if size:
                open_s = np.maximum(windows[f"{direction}_end_s"] - windows[f"{direction}_start_s"], 0.0)
                volume = np.where(open_s > 0, open_s, 0.0) * windows[f"{direction}_bps"] / (8.0 * size)
                carried = np.minimum(carried, np.bincount(label, volume, minlength=reach.groups))
        short = (need > 0) & (carried < need * (1.0 - 1e-6))
        between = f"between {self.start_s:.0f} s and {horizon_s:.0f} s"
        if short.any() and not workload.onboard_share:
            first = int(np.argmax(short))
            name = self.problem.contact_plan.nodes[
                int(np.argmax((reach.group == first) & (todo.samples > 0)))
            ].name
            raise NoRouteError(
                f"{name}: the space-ground links of it and all that it reaches carry {carried[first]:.0f} of "
                f"{need[first]:.0f} samples {between}"
            )
        late = np.flatnonzero((todo.samples > 0) & ~np.isfinite(reach.home_s))
        prefix = f"{self.problem.contact_plan.nodes[int(late[0])].name}: " if len(late) else ""
        raise NoRouteError(
            f"{prefix}the space-ground links {between} do not carry all samples, their answers and the weights, "
            f"set-up of {self.problem.resources.setup_s:g} s included"
        )


def _lit_s(resources: Resources, satellites: int, start_s: float, time_s: np.ndarray) -> np.ndarray:
    """Seconds since ``start_s`` in which each satellite had power by some times, shape ``(satellites, times)``."""
    if resources.sunlight is None:
        return np.broadcast_to(time_s - start_s, (satellites, len(time_s)))
    return np.stack(
        [
            np.maximum(np.minimum(lit[:, 1], time_s[:, None]) - np.maximum(lit[:, 0], start_s), 0.0).sum(
                axis=1
            )
            for lit in resources.sunlight.lit_s
        ]
    )
