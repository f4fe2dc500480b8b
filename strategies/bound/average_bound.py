"""The average's part of the lower bound: weights down to the ground, and the average back on board everywhere."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from mission.text.quantities import spoken_bytes
from strategies.bound.earliest import earliest_s
from strategies.bound.flows.flow import served_part
from strategies.bound.flows.flow_needs import FlowNeeds
from strategies.bound.light_paths import between_s
from strategies.bound.reach import LinkNetwork, Reach
from strategies.bound.session_windows import data_from_s, held_from
from strategies.problem.network import NoRouteError
from strategies.problem.planning_problem import PlanningProblem
from strategies.problem.sunlight import all_finished_s
from strategies.problem.workload import Workload

_ENOUGH = 1.0 - 1e-6


@dataclass(frozen=True, eq=False)
class AverageBound:
    """Bounds of the average: the weights of a round meet over the links of ``network``, and their average comes
    back."""

    problem: PlanningProblem
    network: LinkNetwork

    @property
    def workload(self) -> Workload:
        """Return the data and the computation of the round."""
        return self.problem.workload

    @property
    def start_s(self) -> float:
        """Return the start of the round."""
        return self.problem.start_s

    def spread_s(self, heard_s: float) -> float:
        """Return when all satellites with samples can have what the ground sends them from ``heard_s`` on."""
        if not self.workload.update_bytes:
            return heard_s
        return self._up_s(heard_s, 8.0 * self.workload.update_bytes)

    def on_board_s(self, *, below_s: float = math.inf) -> float:
        """Return when satellites that train alone can all have the average, through the ground or without it.

        ``below_s`` where that is not before it.  Raises ``NoRouteError`` where the weights never meet.
        """
        samples = np.asarray(self.workload.samples, float)
        work_s = (
            samples * self.workload.epochs * self.workload.onboard_flops / self.problem.rates.satellite_flops
        )
        trained_s = np.where(
            samples > 0, all_finished_s(self.problem.resources.sunlight, self.start_s, work_s), self.start_s
        )
        last_s = float(trained_s.max())
        bits = 8.0 * self.workload.aggregate_bytes
        if not bits or (samples > 0).sum() < 2:
            return min(last_s, below_s)
        horizon_s = self.problem.contact_plan.horizon_s
        over_links_s = earliest_s(
            lambda until_s: self._shared_by_links(until_s, trained_s, bits), self.start_s, last_s, horizon_s
        )
        below_s = min(below_s, math.inf if over_links_s is None else over_links_s)
        # Two questions may tell that the ground is no sooner; when it would be takes many.
        if below_s <= horizon_s and (
            self._back(last_s, bits)(below_s) < 1.0 or self._heard(below_s, trained_s, bits) < 1.0
        ):
            return below_s
        heard_s = earliest_s(
            lambda until_s: self._heard(until_s, trained_s, bits), self.start_s, last_s, horizon_s
        )
        if heard_s is None and math.isinf(below_s):
            raise NoRouteError(
                f"the weights do not meet by {horizon_s:.0f} s, neither over inter-satellite links nor on the ground: "
                f"{self._scarcest('down', self.start_s, bits)}"
            )
        if heard_s is None or heard_s >= below_s:
            return below_s
        try:
            return min(self._up_s(heard_s, bits), below_s)
        except NoRouteError:
            if math.isinf(below_s):
                raise
            return below_s

    def _shared_by_links(self, until_s: float, trained_s: np.ndarray, bits: float) -> float:
        """1 where links join all by then, and the weights that are ready last can have got everywhere."""
        reach = self.network.by(until_s)
        members = np.flatnonzero(self.workload.samples)
        if len(np.unique(reach.group[members])) > 1:
            return 0.0
        last = int(members[np.argmax(trained_s[members])])
        flight_s = between_s(reach.windows, reach.links, reach.satellites, last)[members]
        own = reach.links[reach.links["source"] == last]
        fastest = np.zeros(reach.satellites)
        np.maximum.at(fastest, own["target"], own["rate_bps"])
        of_satellite = reach.windows["satellite"] == last
        out_bps = float(fastest.sum()) + float(reach.windows["down_bps"][of_satellite].max(initial=0.0))
        sent_s = bits / out_bps if out_bps else np.inf
        return float(trained_s[last] + float(flight_s.max()) + sent_s <= until_s)

    def _heard(self, until_s: float, trained_s: np.ndarray, bits: float) -> float:
        """The part of all groups' weights that can be on the ground by then."""
        reach = self.network.by(until_s)
        counted = np.asarray(self.workload.samples) > 0
        ready_s = np.full(reach.groups, -np.inf)
        np.maximum.at(ready_s, reach.group[counted], trained_s[counted])
        if (ready_s[reach.group[counted]] + reach.home_s[counted] > until_s).any():
            return 0.0
        windows = reach.windows
        windows["down_start_s"] = np.maximum(windows["down_start_s"], ready_s[reach.window_group])
        involved = np.isfinite(ready_s)
        return self._carried(reach, involved, "down", bits)

    def _up_s(self, from_s: float, bits: float) -> float:
        """Return when all can have the average that is on the ground at ``from_s``; raises ``NoRouteError``."""
        horizon_s = self.problem.contact_plan.horizon_s
        found_s = earliest_s(self._back(from_s, bits), min(from_s, self.start_s), from_s, horizon_s)
        if found_s is None:
            raise NoRouteError(
                f"the average, on the ground at {from_s:.0f} s, does not reach all satellites by {horizon_s:.0f} s: "
                f"{self._scarcest('up', from_s, bits)}"
            )
        return found_s

    def _back(self, from_s: float, bits: float) -> Callable[[float], float]:
        """Return what tells the part of all groups that can have by a time what the ground has at ``from_s``."""
        windows = held_from(self.network.windows, from_s)
        links = self.network.links[self.network.links["end_s"] > from_s]
        average = self.problem.state.average
        waiting = np.zeros(len(self.workload.samples), bool)
        waiting[average.waiting(self.workload.samples)] = True
        network = LinkNetwork(windows, links, satellites=len(waiting), beams=self.network.beams)

        def spread(until_s: float) -> float:
            reach = network.by(until_s)
            # A satellite that has the average already may pass it on to all that links join with it.
            counted = waiting & ~np.isin(reach.group, reach.group[list(average.received)])
            with np.errstate(divide="ignore", invalid="ignore"):
                sent_s = bits / reach.joint_bps("up")
                begun_s = np.maximum(reach.first_data_s("up"), from_s) + sent_s
            there_s = np.maximum(begun_s, from_s + sent_s) + reach.out_s
            if (there_s[counted] > until_s).any():
                return 0.0
            involved = np.bincount(reach.group, counted, minlength=reach.groups) > 0
            return 1.0 if involved.sum() < 2 else self._carried(reach, involved, "up", bits, from_s)

        return spread

    def _scarcest(self, direction: str, from_s: float, bits: float) -> str:
        """Name the group whose passes carry least, how much that is, and what they would have to carry, for errors."""
        reach = self.network.by(self.problem.contact_plan.horizon_s)
        windows, counted = reach.windows, np.asarray(self.workload.samples) > 0
        open_s = windows[f"{direction}_end_s"] - np.maximum(data_from_s(windows, direction), from_s)
        carried_bits = np.bincount(
            reach.window_group, np.maximum(open_s, 0.0) * windows[f"{direction}_bps"], minlength=reach.groups
        )
        members = np.flatnonzero(counted)
        scarcest = int(members[np.argmin(carried_bits[reach.group[members]])])
        name, way = (
            self.problem.contact_plan.nodes[scarcest].name,
            "to the ground" if direction == "down" else "up",
        )
        carried = spoken_bytes(carried_bits[reach.group[scarcest]] / 8.0)
        return (
            f"the passes of {name}'s group carry {carried} {way}, the weights are {spoken_bytes(bits / 8.0)}"
        )

    def _carried(
        self, reach: Reach, involved: np.ndarray, direction: str, bits: float, from_s: float | None = None
    ) -> float:
        """The part of one message of ``bits`` for each group involved that sessions can carry."""
        until_s = reach.until_s - float(reach.windows["owlt_s"].min(initial=0.0))
        none, latest_s = np.zeros(reach.groups), np.full(reach.groups, until_s)
        down = direction == "down"
        needs = FlowNeeds(
            features=involved * 1.0 if down else none, feature_bits=bits, features_until_s=latest_s, embedded=None,
            answers=none if down else involved * 1.0, up_bits=bits, down_bits=0.0, answers_until_s=latest_s,
            held_s=none, ground_s=none, other_ground_s=none, ground_until_s=until_s, aboard_share=none,
        )  # fmt: skip
        begin_s = self.start_s
        if from_s is not None:
            begin_s = max(self.start_s, from_s - self.problem.resources.setup_s)
        part = served_part(needs, reach, self.problem.resources, begin_s)
        return 1.0 if part >= _ENOUGH else part
