"""Plans each round of a mission when it starts, and has it checked; what a scenario says to the planner."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np

from mission.orbits import constellation_of, eclipses_of
from mission.scenario import ScenarioError
from mission.schema import Scenario
from orbit.contact_plan import ContactPlan
from orbit.imaging.numbered_images import ImageRange
from server_app.planning.round_traffic import Framing
from server_app.planning.workloads import MissionWorkloads, PlaceInMission, variant_of
from splitmodel.costs.published import Profile
from strategies.aggregation.quorum import Quorum
from strategies.doors import require_usable
from strategies.intra_orbit import PlaneOrder, plane_orders
from strategies.planner.checked_plan import checked_plan
from strategies.problem.battery import Battery
from strategies.problem.plan import Plan
from strategies.problem.planning_problem import PlanningProblem
from strategies.problem.round_state import RoundState
from strategies.problem.storage import Storage
from strategies.problem.sunlight import Sunlight
from strategies.problem.workload import ComputeRates, PowerDrawn, Resources, StrategyConfig, Workload
from strategies.uncertainty.flight import fly
from strategies.uncertainty.flown_plan import flown_plan
from strategies.uncertainty.outages import Outages

_FLOPS_PER_TFLOPS = 1e12
_J_PER_WH = 3600.0
_BYTES_PER_GB = 1e9


class RoundPlanner:
    """Plans the enrolment and the rounds of a mission; :mod:`strategies.checker.check` checks each plan.

    :attr:`carry_over` is what a round leaves to the next: antennas that stay pointed, and where a quorum ends the
    rounds, what the late had done when the last one ended; `strategy.staleness_limit` counts from when they started.

    Args:
        scenario: The resolved scenario.
        contact_plan: All contacts of the horizon.
        costs: Sizes and FLOPs of the model's parts.
        samples: Training images of each satellite.
        summed_on_board: Whether satellites send sums of their planes, as in an emulation, instead of their weights.
        signature_bytes: What signature and certificate add to a message.
        storage: Of satellites that take images; rounds train on ``samples`` all the same.

    Raises:
        strategies.problem.workload.WorkloadError: The scenario waits for more planes than there are.
    """

    def __init__(
        self,
        scenario: Scenario,
        contact_plan: ContactPlan,
        *,
        costs: Profile,
        samples: Sequence[int],
        summed_on_board: bool = False,
        signature_bytes: int = 0,
        storage: Storage | None = None,
    ) -> None:
        self._scenario = scenario
        self._contact_plan = contact_plan
        self._workloads = MissionWorkloads(
            scenario,
            costs,
            samples=list(samples),
            framing=framing_of(contact_plan, signature_bytes),
            summed_on_board=summed_on_board,
        )
        self._variant = variant_of(scenario)
        self._sent_images = self._workloads.sent_images(self._variant.mode)
        self._rates = rates_of(scenario)
        self._resources = resources_of(scenario)
        self._storage = storage
        self._strategy_config = strategy_config_of(scenario)
        self.quorum = quorum_of(scenario, contact_plan, samples)
        self.carry_over = RoundState()
        self._late_since: dict[str, int] = {}  # in which round each late satellite started, by name
        self._outages: Outages | None = None
        self._notice_s = 0.0
        self.interruptions = 0  # of the last round
        unsigned = dataclasses.replace(self._workloads, framing=Framing())
        self._aggregate_bytes = unsigned.of_round(self._variant).aggregate_bytes

    def fly_through(self, outages: Outages, notice_s: float) -> None:
        """Fly the rounds from now on through outages, planned anew so much later whenever one interrupts them."""
        self._outages, self._notice_s = outages, notice_s

    def enrolment(self, start_s: float) -> Plan:
        """The plan of what comes before round 1, see :meth:`.workloads.MissionWorkloads.enrolment`.

        Raises:
            strategies.problem.network.PlanningError: A satellite cannot be enrolled before the horizon.
        """
        return self._before_round_1(self._workloads.enrolment(), start_s)

    def labels(self, start_s: float) -> Plan | None:
        """The plan by which labels go up before round 1, see :meth:`.workloads.MissionWorkloads.labels`.

        Raises:
            strategies.problem.network.PlanningError: A satellite cannot have its labels before the horizon.
        """
        workload = self._workloads.labels()
        return None if workload is None else self._before_round_1(workload, start_s)

    def _before_round_1(self, workload: Workload, start_s: float) -> Plan:
        problem = self._problem(workload, start_s)
        plan = checked_plan(dataclasses.replace(problem, storage=None), self._strategy_config)
        self.carry_over = RoundState(pointed=plan.pointed)
        return plan

    def __call__(self, number: int, start_s: float) -> Plan:
        """The plan of round ``number``, starting at a mission time, to the end of the last satellite.

        Raises:
            strategies.problem.network.PlanningError: A satellite's samples cannot get through before the horizon.
        """
        workload = self.workload(number)
        self.quorum = dataclasses.replace(self.quorum, overdue=self._overdue(number))
        plan = self._planned(workload, start_s)
        # Where a quorum ends the round before the plan, nobody says what antennas point at then.
        pointed = plan.pointed if self.quorum.end_s(plan) >= plan.end_s else frozenset()
        carry_over = self.quorum.carry_over(plan, workload, self.carry_over)
        self.carry_over = dataclasses.replace(carry_over, pointed=pointed)
        late = [plan.names[index] for index in np.flatnonzero(~self.quorum.delivered(plan))]
        self._late_since = {name: self._late_since.get(name, number) for name in late}
        return plan

    def images(self, number: int) -> Mapping[str, Sequence[ImageRange]]:
        """Return no images: all are in every round."""
        return {}

    def resume(self, carry_over: RoundState, late_since: Mapping[str, int]) -> None:
        """Go on after a round: with what it left, and in which round each late satellite started."""
        self.carry_over, self._late_since = carry_over, dict(late_since)

    def _overdue(self, number: int) -> frozenset[int]:
        """The planes that a round has to wait for: they started as many rounds ago as the scenario allows."""
        limit = self._scenario.strategy.staleness_limit
        plan = self._contact_plan
        late = (name for name, started in self._late_since.items() if limit and number - started >= limit)
        return frozenset(plan.nodes[plan.index(name)].plane for name in late)

    def _planned(self, workload: Workload, start_s: float) -> Plan:
        problem = self._problem(workload, start_s)
        plan = checked_plan(problem, self._strategy_config)
        if self._outages is None:
            return plan
        flown = fly(plan, problem, self._strategy_config, self._outages, notice_s=self._notice_s)
        self.interruptions = flown.interruptions
        return flown_plan(flown)

    def _problem(self, workload: Workload, start_s: float) -> PlanningProblem:
        return PlanningProblem(
            self._contact_plan,
            workload,
            rates=self._rates,
            resources=self._resources,
            start_s=start_s,
            state=self.carry_over,
            storage=self._storage,
        )

    def orders(self, plan: Plan) -> list[PlaneOrder]:
        """In which order each plane is summed at the end of a round."""
        return plane_orders(plan, self._contact_plan, self._aggregate_bytes)

    def workload(self, number: int) -> Workload:
        """Return the data and the computation of round ``number``."""
        traffic = None if self._sent_images is None else self._sent_images.in_round(number)
        place = PlaceInMission(traffic, images_cross=number == 1, delivers_head=self._may_be_last(number))
        return self._workloads.of_round(self._variant, place)

    def _may_be_last(self, number: int) -> bool:
        """Whether the mission may end with a round: what the ground has trained by itself is on board then."""
        training = self._scenario.training
        return number == training.rounds or training.target_accuracy > 0.0


def rates_of(scenario: Scenario) -> ComputeRates:
    """The scenario's compute rates."""
    return ComputeRates(
        satellite_flops=scenario.compute.satellite_tflops * _FLOPS_PER_TFLOPS,
        ground_flops=scenario.compute.ground_tflops * _FLOPS_PER_TFLOPS,
        message_s=scenario.compute.message_s,
    )


def resources_of(scenario: Scenario) -> Resources:
    """The scenario's antennas and terminals, and when its satellites have power to compute."""
    power, lit = scenario.power, None
    if power.compute == "sunlight" or power.battery_wh:
        constellation = constellation_of(scenario)
        dark = eclipses_of(scenario, constellation)
        lit = Sunlight.between(dark["satellite"], dark["start_s"], dark["end_s"], len(constellation))
    return Resources(
        beams=scenario.ground.beams,
        own_beams=_own_beams(scenario),
        setup_s=scenario.ground.setup_s,
        acquisition_s=scenario.links.inter_orbit.acquisition_s,
        isl_terminals=scenario.links.inter_orbit.terminals,
        buffer_bytes=scenario.links.buffer_gb * _BYTES_PER_GB or math.inf,
        sunlight=lit if power.compute == "sunlight" else None,
        drawn=PowerDrawn(power.compute_w, power.radio_w, isl_w=power.isl_w),
        battery=Battery(
            capacity_j=power.battery_wh * _J_PER_WH,
            lowest_j=power.lowest_charge * power.battery_wh * _J_PER_WH,
            solar_w=power.solar_w,
            idle_w=power.idle_w,
            lit=lit,
        )
        if lit is not None and power.battery_wh
        else None,
    )


def _own_beams(scenario: Scenario) -> tuple[tuple[int, int], ...]:
    """The stations, by node, that serve another number of satellites at a time than ``ground.beams`` says."""
    own = [(place, station.beams) for place, station in enumerate(scenario.ground.stations) if station.beams]
    if not own:
        return ()
    first = len(constellation_of(scenario))
    return tuple((first + place, beams) for place, beams in own)


def problem_of(
    scenario: Scenario,
    contact_plan: ContactPlan,
    workload: Workload,
    *,
    start_s: float = 0.0,
    storage: Storage | None = None,
) -> PlanningProblem:
    """Return a round of the scenario to be planned from its beginning."""
    return PlanningProblem(
        contact_plan,
        workload,
        rates=rates_of(scenario),
        resources=resources_of(scenario),
        start_s=start_s,
        storage=storage,
    )


def strategy_config_of(scenario: Scenario) -> StrategyConfig:
    """The scenario's communication strategies.

    Raises:
        strategies.registry.StrategyError: One of another package cannot be used.
    """
    chosen = scenario.strategy
    return require_usable(
        StrategyConfig.parse(chosen.intra_orbit, chosen.space_ground, chosen.inter_orbit, chosen.planner)
    )


def quorum_of(scenario: Scenario, contact_plan: ContactPlan, samples: Sequence[int]) -> Quorum:
    """Return the quorum of planes that ends a round of the scenario.

    Raises:
        strategies.problem.workload.WorkloadError: More planes than there are.
    """
    planes = (contact_plan.nodes[index].plane for index in contact_plan.satellites)
    return Quorum(tuple(planes), tuple(samples), needed=scenario.strategy.planes_per_round)


def require_rounds(scenario: Scenario, planner: str) -> None:
    """Raise ``ScenarioError`` where a scenario has no rounds, for what plans one.

    Args:
        scenario: The resolved scenario.
        planner: The command, for the message.
    """
    averaging = scenario.strategy.averaging
    if averaging != "rounds":
        raise ScenarioError(
            f"strategy.averaging: found {averaging}; {planner} plans rounds, allowed: rounds. `skysplit run` follows a "
            "mission without rounds, and `skysplit compare --schedules` plans some"
        )


def framing_of(contact_plan: ContactPlan, signature_bytes: int = 0) -> Framing:
    """Return the framing of messages between the ground and these satellites."""
    return framing_of_names(
        [contact_plan.nodes[index].name for index in contact_plan.satellites], signature_bytes
    )


def framing_of_names(satellites: Sequence[str], signature_bytes: int = 0) -> Framing:
    """Return the framing of messages between the ground and satellites of these names."""
    return Framing(max(satellites, key=len), signature_bytes)
