"""On-board fine-tuning, the baseline: the whole model is trained on the satellites, only weights travel.

Planes (or whatever inter-satellite links join) average among themselves; where more than one such group is
left, the averages meet on the ground and the result comes back the same way, each through the sessions of the
space-ground switch.  A transfer may outlast a window and go on in the next.
"""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np

from orbit.contact_plan import LinkKind
from strategies.bound.lower_bound import RoundBounds
from strategies.intra_orbit import all_reduce, plane_links, sums_at_once
from strategies.planner.foremost import Journey, broadcast, gather, weight_sends
from strategies.planner.space_links import space_links
from strategies.planner.weight_sessions import WeightSessions
from strategies.planner.weight_trees import WeightTree
from strategies.problem.network import NoRouteError
from strategies.problem.plan import Kind, Plan, activities, collect_activities
from strategies.problem.planning_problem import PlanningProblem
from strategies.problem.round_state import RoundState
from strategies.problem.routes import BUCKET_S
from strategies.problem.sunlight import all_finished_s
from strategies.problem.workload import StrategyConfig

_ROOTS = 4  # places where the weights may meet that are tried
_NEAR_S = 0.5  # so near to its bound a round is not tried in another way
_SIDE_LINKS_S = 3600.0  # how far ahead lasers are pointed once the training is done


def plan_onboard(problem: PlanningProblem, strategy_config: StrategyConfig) -> Plan:
    """One round of on-board training: train, average, and everyone has the average.

    The soonest of what these strategies and the poorer ones that they contain give; each over the links that are open
    when the training has ended, and over links as they open, which may join more satellites.  Of the state of the round
    only the antennas and lasers that are pointed count: nothing is planned anew.

    Raises ``NoRouteError`` where the weights do not get through before the horizon.
    """
    problem = dataclasses.replace(problem, state=RoundState(pointed=problem.state.pointed))
    powered = problem.powered()
    bounds = RoundBounds(problem)
    bound_s = bounds.lower_bound_s(bounds.group_of(strategy_config))
    best: Plan | None = None
    failure: NoRouteError | None = None
    alone: set[str] = set()
    for candidate, over_time in itertools.product(strategy_config.contained(), (False, True)):
        try:
            if best is not None and (
                best.makespan_s <= bound_s + _NEAR_S
                or not bounds.may_end_by(bounds.group_of(candidate), best.end_s - _NEAR_S)
            ):
                continue
            tried = OnboardRound(powered, candidate, over_time=over_time)
            if not len(tried.links.contacts):  # without links only the sessions differ
                if candidate.space_ground in alone:
                    continue
                alone.add(candidate.space_ground)
            plan = tried.plan()
        except NoRouteError as error:
            failure = failure or error
        else:
            best = plan if best is None or plan.end_s < best.end_s else best
    if best is None:
        assert failure is not None
        raise failure
    return dataclasses.replace(best, lower_bound_s=bound_s)


class OnboardRound:
    """A round over the links that are open when the training has ended, or over all that open, as they come."""

    def __init__(
        self,
        problem: PlanningProblem,
        strategy_config: StrategyConfig,
        *,
        over_time: bool,
    ) -> None:
        contact_plan, workload, resources = problem.contact_plan, problem.workload, problem.resources
        self.contact_plan, self.workload, self.resources = contact_plan, workload, resources
        self.strategy_config, self.start_s = strategy_config, problem.start_s
        self.samples = np.asarray(workload.samples)
        self.flops = self.samples * workload.epochs * workload.onboard_flops
        self.trained_s = all_finished_s(
            resources.sunlight, self.start_s, self.flops / problem.rates.satellite_flops
        )
        self.trainers = np.flatnonzero(self.samples)
        ready_s = float(self.trained_s.max())
        until_s = min(ready_s + _SIDE_LINKS_S, contact_plan.horizon_s)
        # Lasers are pointed while the satellites still train.
        pointed_s = max(self.start_s, ready_s - 2.0 * BUCKET_S - resources.acquisition_s)
        standing = problem.state.pointed if pointed_s == self.start_s else frozenset()
        links = space_links(contact_plan, strategy_config, resources, pointed_s, until_s, pointed=standing)
        self.links = links if over_time else links.open_at(ready_s)
        self.over_time, self.until_s, self.pointed = over_time, until_s, problem.state.pointed
        self.plane, self.group, self.routes = self.links.plane, self.links.group, self.links.routes

    def plan(self) -> Plan:
        """The round.

        Raises ``NoRouteError`` where the weights do not get through before the horizon, or a link closes on them.
        """
        trainers = self.trainers
        train = activities(
            len(trainers), kind=Kind.TRAIN, satellite=trainers, node=trainers, start_s=self.start_s,
            end_s=self.trained_s[trainers], flops=self.flops[trainers], end_sample=self.samples[trainers],
        )  # fmt: skip
        rows = [train]
        done_s, still_pointed = np.full(self.links.groups, self.start_s), frozenset[tuple[int, int]]()
        for label in np.unique(self.group[trainers]):
            average, done_s[label] = self._average(trainers[self.group[trainers] == label])
            rows.append(average)
        if len(np.unique(self.group[trainers])) > 1:
            sessions = WeightSessions(
                self.contact_plan, self.resources, rule=self.strategy_config.space_ground, start_s=self.start_s,
                pointed=self.pointed, group=self.group, trainers=self.trainers,
                size_bytes=self.workload.aggregate_bytes,
            )  # fmt: skip
            down, ground_s = sessions.to_ground(done_s)
            up, done_s, gateway = sessions.to_satellites(float(ground_s.max()))
            rows += [down, up, sessions.held()]
            for label in np.unique(self.group[trainers]):
                members = trainers[self.group[trainers] == label]
                spread, done_s[label] = self._broadcast(int(gateway[label]), members, float(done_s[label]))
                rows.append(spread)
            still_pointed = sessions.pointed(float(done_s.max()))
        self._require_open(rows)
        end_s = float(done_s.max())
        finish_s = np.where(self.samples > 0, done_s[self.group], self.start_s)
        return Plan(
            start_s=self.start_s,
            end_s=end_s,
            lower_bound_s=0.0,
            strategy_config=self.strategy_config,
            activities=collect_activities([self.links.lasers_until(end_s), *rows]),
            finish_s=finish_s,
            delivered_s=finish_s,
            names=tuple(node.name for node in self.contact_plan.nodes),
            pointed=still_pointed | self.links.pointed_at(end_s),
        )

    def _require_open(self, parts: list[np.ndarray]) -> None:
        """Raise ``NoRouteError`` where a link between satellites closes before what goes over it is through."""
        rows = np.concatenate(parts)
        rows = rows[np.isin(rows["link"], (LinkKind.INTRA_ISL, LinkKind.INTER_ISL))]
        for row in rows.tolist():
            _, _, _, node, peer, start_s, end_s, *_ = row
            if end_s > self.routes.link(node, peer, start_s)[2]:
                raise NoRouteError(
                    f"{self._name(node)}: its link to {self._name(peer)} closes before the weights are through"
                )

    def _average(self, members: np.ndarray) -> tuple[np.ndarray, float]:
        """All members get the average over inter-satellite links: a plane by itself, or a tree over planes."""
        ready_s = float(self.trained_s[members].max())
        size_bytes = self.workload.aggregate_bytes
        if len(members) == 1:
            return activities(0), ready_s
        planes = np.unique(self.plane[members])
        if len(planes) == 1 and len(members) == len(self.contact_plan.planes[int(planes[0])]):
            plane = plane_links(self.contact_plan.planes[int(planes[0])], self.links.contacts)
            if plane is not None and sums_at_once(plane, size_bytes, self.strategy_config.intra_orbit):
                return all_reduce(plane, size_bytes, self.strategy_config.intra_orbit, ready_s)
            if plane is not None:
                middle = plane.members[len(plane.members) // 2]
                return self._both_ways(*self._over_tree(middle, members))
        roots = [int(members[self.plane[members] == plane][0]) for plane in planes]
        some = roots[:: -(-len(roots) // _ROOTS)]
        return self._gathered(some, members) if self.over_time else self._over_trees(roots, some, members)

    def _over_trees(self, roots: list[int], some: list[int], members: np.ndarray) -> tuple[np.ndarray, float]:
        """The average by way of the root from which all have it first, of some and the most central one."""
        ready_s = float(self.trained_s[members].max())
        central = min(roots, key=lambda node: float(self.routes.tree(node, ready_s).flight_s[members].max()))
        last = int(members[np.argmax(self.trained_s[members])])  # nobody waits for its weights to come
        journeys: list[tuple[Journey, Journey]] = []
        failure: NoRouteError | None = None
        for root in dict.fromkeys((central, last, *some)):
            try:
                journeys.append(self._over_tree(root, members))
            except NoRouteError as error:
                failure = failure or error
        if not journeys:
            assert failure is not None
            raise failure
        return self._both_ways(*min(journeys, key=lambda both: both[1].done_s))

    def _over_tree(self, root: int, members: np.ndarray) -> tuple[Journey, Journey]:
        """The sums up a tree and the average down it again."""
        tree = self._tree(root, members, float(self.trained_s[members].max()))
        up = tree.gathered(self.trained_s)
        return up, tree.spread(up.done_s)

    def _both_ways(self, up: Journey, back: Journey) -> tuple[np.ndarray, float]:
        return np.concatenate([self._sends(up, Kind.REDUCE), self._sends(back, Kind.UPDATE)]), back.done_s

    def _broadcast(self, gateway: int, members: np.ndarray, start_s: float) -> tuple[np.ndarray, float]:
        if len(members) == 1 and members[0] == gateway:
            return activities(0), start_s
        if self.over_time:
            bits = self.workload.aggregate_bytes * 8.0
            journey = broadcast(self.routes, {gateway: start_s}, set(members.tolist()), bits)
            if journey is None:
                raise NoRouteError(f"{self._name(gateway)}: its average reaches not all of its group in time")
            return self._sends(journey, Kind.UPDATE), journey.done_s
        journey = self._tree(gateway, members, start_s).spread(start_s)
        return self._sends(journey, Kind.UPDATE), journey.done_s

    def _gathered(self, roots: list[int], members: np.ndarray) -> tuple[np.ndarray, float]:
        """The average over links as they open, by way of the root from which all have it first."""
        bits = self.workload.aggregate_bytes * 8.0
        ready_s = {int(node): float(self.trained_s[node]) for node in members}
        best: tuple[Journey, Journey] | None = None
        for root in roots:
            up = gather(self.routes, root, ready_s, bits, self.until_s)
            back = up and broadcast(self.routes, {root: up.done_s}, set(ready_s), bits)
            if up and back and (best is None or back.done_s < best[1].done_s):
                best = (up, back)
        if best is None:
            raise NoRouteError(
                f"{self._name(roots[0])}: the weights of its group do not meet by {self.until_s:.0f} s"
            )
        return self._both_ways(*best)

    def _sends(self, journey: Journey, kind: Kind) -> np.ndarray:
        return weight_sends(journey, kind, self.plane, self.workload.aggregate_bytes)

    def _name(self, node: int) -> str:
        return self.contact_plan.nodes[node].name

    def _tree(self, root: int, members: np.ndarray, at_s: float) -> WeightTree:
        """The first tree from ``at_s`` on that joins all members; raises ``NoRouteError`` where none does soon."""
        asked_s = at_s
        tree = self.routes.tree(root, at_s)
        while len(lost := members[~np.isfinite(tree.flight_s[members])]) and at_s < asked_s + _SIDE_LINKS_S:
            at_s = self.routes.until_s(at_s)
            tree = self.routes.tree(root, at_s)
        if len(lost):
            raise NoRouteError(
                f"{self._name(int(lost[0]))}: no inter-satellite links to its group at {at_s:.0f} s"
            )
        return WeightTree(self.routes, tree, members=members, size_bytes=self.workload.aggregate_bytes)
