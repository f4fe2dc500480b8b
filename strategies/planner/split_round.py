"""One round of split training with given switches: sessions, transport, steps and the average, put together."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from dataclasses import KW_ONLY, dataclass
from functools import cached_property

import numpy as np

from strategies.planner.antennas import Antennas, Booking, booking_of, sessions_of, standing_bookings
from strategies.planner.reduction import WeightTransport
from strategies.planner.space_links import space_links
from strategies.planner.split.all_gather import Gathered, all_gather
from strategies.planner.split.round_network import RoundNetwork
from strategies.planner.split.shares import LinkShares
from strategies.planner.split.steps import GroundSteps, Steps, central_steps, local_steps
from strategies.planner.split.transport import Delivery, FeatureChunk, Transport
from strategies.problem.network import (
    NoRouteError,
    PayloadTooLargeError,
    answer_rates,
    carried_s,
    first_members,
    passes_of,
    sample_rates,
)
from strategies.problem.plan import Kind, Plan, activities, collect_activities
from strategies.problem.planning_problem import PlanningProblem
from strategies.problem.sunlight import Sunlight, all_finished_s
from strategies.problem.workload import IntraOrbit, SpaceGround, StrategyConfig
from strategies.space_ground import SESSION, Demand, SharedSteps, plan_sessions

# The fluid of plan_sessions knows nothing of micro-batches, detours and queues: groups that fall short of their
# sessions ask for so much more, and for so much more time to answer, try by try.  With half the steps, 293 drawn worlds
# have the same plans, and 72 satellites in own windows take five tries instead of three.
_GROWTHS, _DRAINS = (1.15, 1.5, 2.0, 2.5), 4.0
# Measured against the best plan known: so far past it a fluid is followed, because sessions may be held longer than it
# asks for; and a plan that cannot end sooner than this is not tried again with margins.  Nor is one whose steps end so
# much later than the fluid.
_BEYOND, _LATE = 1.1, 1.005
NEAR = 1.001  # what ends within this of the bound is good enough
_WORTHWHILE = 0.01  # sessions that promise less than this part of the round are not tried
_DECIDED = [name for name in SESSION.names or () if name != "end_s"]  # what a round takes from sessions
# Targets of the least-slack matching, as multiples of the time in which first contact would be done.
_TARGETS = (0.6, 0.85, 1.0, math.inf)


@dataclass(frozen=True, eq=False)
class _Short:
    """Sessions do not suffice: ``part[g]`` is what part of group ``g``'s samples is left.

    ``slow[k]`` samples of satellite ``k`` were left because they are not embedded before these sessions are over.
    ``mended`` is the round in which steps take further sessions, or the most urgent go first, if that suffices.
    """

    part: np.ndarray
    _: KW_ONLY
    slow: np.ndarray | None = None
    mended: Plan | None = None


def sooner(first: Plan | None, second: Plan | None) -> Plan | None:
    """Return the plan that ends first, of equals the first."""
    if first is None or second is None:
        return first or second
    return second if second.end_s < first.end_s else first


class SplitRound:
    """The round of split training, with contacts up to ``end_s``.

    What the state of the problem has done needs no more steps, and what is on the ground (or in its feature cache) no
    more transport.  The last ``aboard[k]`` samples of satellite ``k`` are trained on board instead.  Where satellites
    compute in sunlight only, a group waits for contact until its first features are there, or all (``embedded_first``).
    No round is shorter than ``bound_s``.
    """

    def __init__(
        self,
        problem: PlanningProblem,
        strategy_config: StrategyConfig,
        *,
        end_s: float,
        bound_s: float = 0.0,
        aboard: tuple[int, ...] = (),
        embedded_first: bool = False,
    ) -> None:
        contact_plan, workload, state = problem.contact_plan, problem.workload, problem.state
        self.problem, self.strategy_config, self.end_s = problem, strategy_config, end_s
        self.contact_plan, self.workload, self.rates = contact_plan, workload, problem.rates
        self.resources, self.start_s = problem.resources, problem.start_s
        self.near_s = problem.start_s + NEAR * bound_s
        satellites = len(contact_plan.satellites)
        self.aboard = np.asarray(aboard or np.zeros(satellites, int))
        self.samples = np.asarray(workload.samples) - self.aboard
        cached = np.floor(self.samples * workload.cached_fraction).astype(int)
        grounded = np.asarray(state.on_ground or np.zeros(satellites, int))
        nothing_up = workload.c1_bytes == 0
        self.on_ground = (
            self.samples if nothing_up else np.minimum(np.maximum(cached, grounded), self.samples)
        )
        self.done = np.asarray(state.done or np.zeros(satellites, int))
        self.active = np.asarray(workload.samples) > 0
        self.pointed = state.pointed
        self.links = space_links(
            contact_plan,
            strategy_config,
            problem.resources,
            problem.start_s,
            end_s,
            pointed=self.pointed,
            message_bits=8.0 * workload.up_bytes * workload.micro_batch / workload.micro_batches,
        )
        self.group, self.routes = self.links.group, self.links.routes
        self.shares = LinkShares.of(workload, self.samples - self.on_ground, self._todo())
        self.passes = passes_of(contact_plan, problem.start_s, end_s)
        self.ready_s = np.full(satellites, problem.start_s)  # from when on a satellite has features to send
        if problem.resources.sunlight is not None:
            self.passes = self._once_embedded(problem.resources.sunlight, embedded_first)
        self.network = RoundNetwork(problem, self.links, contacts=self.passes, shares=self.shares)
        self._all_gathered: Gathered | None = None
        self._too_short: dict[bytes, _Short] = {}  # sessions that have been tried
        self._slow_samples = np.zeros(satellites, int)  # those that need sessions once all are embedded

    def _once_embedded(self, sunlight: Sunlight, embedded_first: bool) -> np.ndarray:
        """The passes; those that begin when a group has embedded everything, if that is waited for."""
        pending = self.samples - self.on_ground
        count = pending if embedded_first else np.minimum(pending, self.workload.micro_batch)
        work_s = count * self.workload.embedding_flops / self.rates.satellite_flops
        ready_s = all_finished_s(sunlight, self.start_s, work_s)
        if not embedded_first:
            self.ready_s = np.where(pending > 0, ready_s, self.start_s)
            return self.passes
        group_s = np.full(self.links.groups, self.start_s)
        for label in np.unique(self.group[pending > 0]):
            group_s[label] = ready_s[(self.group == label) & (pending > 0)].max()
        passes = self.passes.copy()
        passes["start_s"] = np.maximum(passes["start_s"], group_s[self.group[passes["satellite"]]])
        passes = passes[passes["end_s"] > passes["start_s"]]
        return passes[np.lexsort([passes["station"], passes["satellite"], passes["start_s"]])]

    def plan(self, below_s: float = math.inf) -> Plan | None:
        """The round, or None where it becomes clear that it does not end before ``below_s``.

        Raises ``NoRouteError`` where the contacts up to ``end_s`` do not suffice.
        """
        # What is left may need no session: training on the ground, or the average, which finds passes itself.
        if not self._todo().any() and not (self.samples - self.on_ground).any():
            rest = self._execute(np.zeros(0, SESSION), math.inf, below_s)
            assert isinstance(rest, Plan)
            return rest
        last_short = 0
        margin, drain_factor = np.ones((2, self.links.groups))
        late_s = self.start_s + _LATE * (below_s - self.start_s)
        stopgap: Plan | None = None  # the soonest of those that mend what is short, and end late
        for attempt, growth in enumerate(_GROWTHS):
            best: Plan | None = None
            late = False
            short: _Short | None = None  # what sessions were too short for
            unlimited = attempt == 0 and math.isinf(below_s)
            tries = self._first_sessions if unlimited else self._session_plans(margin, drain_factor, below_s)
            for sessions, fluid_s in tries:
                if best is not None and (
                    best.end_s <= self.near_s or fluid_s >= best.end_s - _WORTHWHILE * best.makespan_s
                ):
                    continue
                plan: Plan | _Short | None = None
                if self._carried_s(sessions) < below_s:
                    plan = self._execute(
                        sessions, fluid_s, late_s if best is None else min(late_s, best.end_s)
                    )
                if isinstance(plan, _Short):
                    stopgap = sooner(stopgap, plan.mended)
                if plan is None:
                    late = True
                elif isinstance(plan, Plan):
                    best = sooner(best, plan)
                elif short is None or plan.part.sum() < short.part.sum():
                    short = plan
            if best is not None or late:
                return sooner(best, stopgap)
            assert short is not None
            if short.slow is not None:
                self._slow_samples = np.maximum(self._slow_samples, short.slow)
            groups = np.flatnonzero(short.part)
            last_short = int(groups[0])
            margin[groups] *= np.maximum(growth, 1.0 + short.part[groups])
            drain_factor[groups] *= _DRAINS
        if stopgap is not None:
            return stopgap
        name = self._group_names()[last_short]
        raise NoRouteError(
            f"{name}: the space-ground links between {self.start_s:.0f} s and {self.end_s:.0f} s do not carry "
            f"the samples of its group and their answers"
        )

    def promised_s(self) -> float:
        """The end of the fluid of the first sessions; inf where these do not suffice.

        Raises ``NoRouteError`` where the contacts up to ``end_s`` do not.
        """
        return min(fluid_s for _, fluid_s in self._first_sessions)

    @cached_property
    def _first_sessions(self) -> list[tuple[np.ndarray, float]]:
        """Sessions as they would be without margins, and with all the time there is."""
        margin, drain_factor = np.ones((2, self.links.groups))
        return self._session_plans(margin, drain_factor, math.inf)

    def _session_plans(
        self, margin: np.ndarray, drain_factor: np.ndarray, below_s: float
    ) -> list[tuple[np.ndarray, float]]:
        """Sessions by the rule of the switch with the end of their fluid; up to three for the matching, soonest first.

        Sessions that cannot have carried everything before ``below_s`` may break off there.
        """
        demand = self._demand(margin, drain_factor)
        rule = self.strategy_config.space_ground
        arguments = (self.passes, demand, self.resources, self.pointed)
        if rule is not SpaceGround.TOPOLOGY_AWARE:
            until_s = self.start_s + _BEYOND * (below_s - self.start_s)
            plan = plan_sessions(*arguments, rule, start_s=self.start_s, until_s=until_s)
            if math.isinf(plan[1]) and self._carried_s(plan[0]) < below_s:
                plan = plan_sessions(*arguments, rule, start_s=self.start_s)
            return [plan]
        first_contact = plan_sessions(*arguments, SpaceGround.FIRST_CONTACT, start_s=self.start_s)
        plans = [first_contact]
        if plans[0][1] <= self.near_s:
            return plans  # no matching is sooner
        reference_s = plans[0][1] - self.start_s
        several = len(demand.need) > 1  # groups that compete for beams
        targets = [self.start_s + reference_s * factor for factor in (_TARGETS if several else (math.inf,))]
        for target_s in targets:
            until_s = plans[1][1] + 1.0 if len(plans) > 1 else math.inf
            try:
                plan = plan_sessions(
                    *arguments, rule, start_s=self.start_s, target_s=target_s, until_s=until_s
                )
            except NoRouteError:
                continue  # a matching that changes its mind too often; first contact has found a way
            if math.isfinite(plan[1]):
                plans = sorted([*plans, plan], key=lambda plan: (round(plan[1]), len(plan[0])))[:2]
        # Of equals, those that switch less.  The fluid is not the round: what the poorer rule does is tried, too.
        return plans if any(plan is first_contact for plan in plans) else [*plans, first_contact]

    def _carried_s(self, sessions: np.ndarray) -> float:
        """When sessions, held as long as they may be, can have brought down everything: no plan ends sooner."""
        workload = self.workload
        todo = self._todo()
        size_bits = 8.0 * ((self.samples - self.on_ground) * workload.c1_bytes + todo * workload.c3_bytes)
        bits = np.bincount(self.group, size_bits)
        rate_bps = self.passes["down_bps"][sessions["pass_index"]]
        latest_s = self.start_s
        for label in np.flatnonzero(bits):
            of_group = sessions["group"] == label
            windows = sessions[of_group]
            latest_s = max(
                latest_s, carried_s(windows["data_s"], windows["limit_s"], rate_bps[of_group], bits[label])
            )
        return latest_s

    def _demand(self, margin: np.ndarray, drain_factor: np.ndarray) -> Demand:
        workload, rates = self.workload, self.rates
        groups = self.links.groups
        todo = self._todo()
        need = np.bincount(self.group, todo, minlength=groups)
        members = np.bincount(self.group, todo > 0, minlength=groups)
        active = np.bincount(self.group, (self.samples > 0) & (not workload.central), minlength=groups)
        rate = np.minimum(sample_rates(self.passes, workload), self._brought_rates())
        flight_s = self._flight_s(groups)
        compute_s = workload.micro_batch * (
            workload.ground_flops / rates.ground_flops + workload.head_flops / rates.satellite_flops
        ) + 2.0 * (rates.message_s * (1 + workload.micro_batches))
        step_s = 2.0 * (flight_s + 0.01) + compute_s
        steps = np.ceil(self.samples / workload.micro_batch)
        longest = np.zeros(groups)
        np.maximum.at(longest, self.group, steps)
        # Epochs after the last features have come; what the ground trains by itself needs nobody in contact.
        later_s = 0.0 if workload.central else (workload.passes - 1) * longest * step_s
        fastest = 1e6 * max(float(need.sum()), 1.0)  # stands for infinity
        chain_rate = (
            np.maximum(members, 1) * workload.micro_batch / step_s
            if workload.chained
            else np.full(groups, np.inf)
        )
        waited_for = workload.ground_flops and not workload.central
        ground_rate = rates.ground_flops / workload.ground_flops if waited_for else math.inf
        steps = None
        if workload.shared_adapter:
            # One step after another over all satellites, each with at most so many samples.
            most = min(workload.satellites_per_step, max(int(members.sum()), 1)) * workload.micro_batch
            steps = SharedSteps(
                most,
                concurrent=1 + workload.gradient_delay,
                round_trip_s=float(step_s.max()) + (most / workload.micro_batch - 1.0) * compute_s,
                answer_rate=answer_rates(self.passes, workload),
            )
        return Demand(
            need=need * margin + np.where(active > 0, 1e-3, 0.0),  # the average at least
            group=self.group[self.passes["satellite"]],
            rate=np.minimum(rate, fastest),
            chain_rate=np.minimum(chain_rate, fastest),
            ground_rate=min(ground_rate, fastest),
            tail_s=(2.0 * step_s + later_s + flight_s + 0.5) * drain_factor,
            names=self._group_names(),
            steps=steps,
            later=tuple(self._later(todo * margin[self.group], self._slow_samples * margin[self.group])),
        )

    def _later(self, wanted: np.ndarray, slow: np.ndarray) -> Iterator[tuple[float, int, float]]:
        """Yield the samples that are not available at the start of the round, as (time, group, count).

        ``wanted`` and ``slow`` are counts per satellite, shape ``(N,)``.  The ``slow`` samples become available when
        the satellite has embedded all its images, the others with its first features.
        """
        slow = np.minimum(slow, wanted)
        for at_s, count in (
            (self.ready_s, np.where(self.ready_s > self.start_s, wanted - slow, 0.0)),
            (self._embedded_s, slow),
        ):
            for k in np.flatnonzero(count > 0).tolist():
                yield float(at_s[k]), int(self.group[k]), float(count[k])

    def _brought_rates(self) -> np.ndarray:
        """Samples per second that inter-satellite links bring to the gateway of each pass, and that it has itself."""
        workload, links = self.workload, self.links.contacts
        bits = 8.0 * workload.c1_bytes * (1.0 - workload.cached_fraction) / workload.passes
        if not len(links) or not bits:
            return np.full(len(self.passes), np.inf)
        satellites = len(self.samples)
        pairs, first = np.unique(links[["source", "target"]], return_index=True)
        brought_bps = np.bincount(pairs["target"], links["rate_bps"][first], minlength=satellites)
        length_s = np.maximum(self.passes["end_s"] - self.passes["start_s"], 1.0)
        gateway = self.passes["satellite"]
        alone = brought_bps[gateway] == 0.0
        own = np.where(alone, np.inf, self.samples[gateway] * workload.passes / length_s)
        return own + brought_bps[gateway] / bits

    def _todo(self) -> np.ndarray:
        """Samples times passes of each satellite that sessions are needed for."""
        if self.workload.central:
            return (self.samples - self.on_ground) * self.workload.passes
        return np.maximum(self.samples * self.workload.passes - self.done, 0)

    def _group_names(self) -> list[str]:
        """Name each group by its first satellite, for errors."""
        return [self.contact_plan.nodes[first].name for first in first_members(self.group).tolist()]

    def _flight_s(self, groups: int) -> np.ndarray:
        """A typical light time across each group."""
        first = first_members(self.group)
        flight_s = np.zeros(groups)
        for label in np.flatnonzero(np.bincount(self.group, minlength=groups) > 1):
            reach_s = self.routes.tree(int(first[label]), self.start_s).flight_s
            flight_s[label] = float(reach_s[np.isfinite(reach_s)].max(initial=0.0)) / 2.0
        return flight_s

    def _execute(self, sessions: np.ndarray, fluid_s: float, below_s: float) -> Plan | _Short | None:
        """Everything that happens in the round, or what these sessions are too short for.

        They are too short where the steps cannot end about when the fluid does, at ``fluid_s``.
        None where the steps on the ground do not end before ``below_s``.
        """
        key = sessions[_DECIDED].tobytes()
        if key in self._too_short:
            return self._too_short[key]
        delivery = self._deliver(sessions)
        if delivery.left.any():
            short = dataclasses.replace(
                self._short(delivery.left, self.samples), slow=self._slow(sessions, delivery.left)
            )
            return self._too_short.setdefault(key, short)
        steps = self._train(sessions, delivery, below_s)
        if steps is None:
            return None
        if not steps.beyond.any():
            return self._completed(delivery, steps)
        mended = None if steps.left.any() else self._completed(delivery, steps)
        if not self._on_time(mended, fluid_s):
            urgent = self._train(sessions, delivery, below_s, urgent_first=True)
            if urgent is not None and not urgent.left.any():
                mended = sooner(mended, self._completed(delivery, urgent))
        if self._on_time(mended, fluid_s):
            return mended
        short = dataclasses.replace(self._short(steps.beyond, self._todo()), mended=mended)
        return self._too_short.setdefault(key, short)

    def _on_time(self, plan: Plan | None, fluid_s: float) -> bool:
        """Whether the steps of a plan end about when the fluid does."""
        if plan is None or math.isinf(fluid_s):
            return False
        return float(plan.finish_s.max()) <= self.start_s + _LATE * (fluid_s - self.start_s)

    def _train(
        self, sessions: np.ndarray, delivery: Delivery, below_s: float, *, urgent_first: bool = False
    ) -> Steps | None:
        """The steps of all samples; None where those on the ground do not end before ``below_s``."""
        if not self.workload.central and not self.workload.crosses:
            return local_steps(self.problem, self.samples, self.done, sessions)
        blocks = self._grounded_blocks() + delivery.blocks
        if self.workload.central:
            return central_steps(self.problem, self.samples, self.done, sessions, blocks)
        ground = GroundSteps(self.network, sessions, busy=delivery.busy, urgent_first=urgent_first)
        return ground.run(blocks, self.done, below_s=below_s)

    def _completed(self, delivery: Delivery, steps: Steps) -> Plan:
        """The plan of the round: what satellites train by themselves and the average are added to the steps."""
        train, trained_s = self._train_aboard()
        finish_s = np.maximum(steps.finish_s, trained_s)
        antennas = Antennas(self._bookings(steps, delivery), self.resources)
        parts = [train, delivery.activities, steps.activities]
        delivered_s, end_s = finish_s, max(steps.end_s, float(finish_s.max()))
        if self.workload.aggregate_bytes or self.workload.update_bytes:
            weights = WeightTransport(self.network, antennas, until_s=self.end_s)
            if self.workload.aggregate_bytes:
                summed, delivered_s = weights.to_ground(finish_s)
                parts.append(summed)
                end_s = max(end_s, float(delivered_s.max()))
            if self.workload.update_bytes:
                update, returned_s = weights.to_satellites(float(delivered_s[self.active].max()))
                parts.append(update)
                end_s = max(end_s, float(returned_s[self.active].max()))
        end_s = max(end_s, float(delivery.activities["end_s"].max(initial=end_s)))  # copies may come in last
        sgl = sessions_of(antennas.bookings())
        lasers = self.links.lasers_until(end_s)
        return Plan(
            start_s=self.start_s,
            end_s=end_s,
            lower_bound_s=0.0,
            strategy_config=self.strategy_config,
            activities=collect_activities([sgl, lasers, *parts]),
            finish_s=finish_s,
            delivered_s=delivered_s,
            onboard_samples=tuple(self.aboard.tolist()),
            names=tuple(node.name for node in self.contact_plan.nodes),
            steps=steps.order,
            pointed=antennas.pointed(self.passes, end_s) | self.links.pointed_at(end_s),
        )

    def _short(self, left: np.ndarray, samples: np.ndarray) -> _Short:
        groups = self.links.groups
        need = np.maximum(np.bincount(self.group, samples, groups), 1.0)
        return _Short(np.bincount(self.group, left, groups) / need)

    def _slow(self, sessions: np.ndarray, left: np.ndarray) -> np.ndarray:
        """Of the samples that are left, those of satellites that still embed when the last session is over."""
        over_s = np.full(self.links.groups, -np.inf)
        np.maximum.at(over_s, sessions["group"], sessions["limit_s"])
        return np.where(self._embedded_s > over_s[self.group], left, 0)

    @cached_property
    def _embedded_s(self) -> np.ndarray:
        """When each satellite has the features of all its images."""
        pending = self.samples - self.on_ground
        work_s = pending * self.workload.embedding_flops / self.rates.satellite_flops
        return all_finished_s(self.resources.sunlight, self.start_s, work_s)

    def _bookings(self, steps: Steps, delivery: Delivery) -> list[Booking]:
        """The sessions that carry anything, up to their last byte; without any, those that stand at the start."""
        sessions = steps.sessions
        if not len(sessions):
            return standing_bookings(self.passes, self.pointed, self.start_s)
        held_until_s = steps.held_until_s.copy()
        for block in delivery.blocks:
            owlt_s = self.passes["owlt_s"][sessions["pass_index"][block.session]]
            held_until_s[block.session] = max(held_until_s[block.session], block.last_s - owlt_s)
        return [
            booking_of(session, end_s=until_s)
            for session, until_s in zip(sessions, held_until_s.tolist(), strict=True)
            if until_s > session["data_s"]
        ]

    def _train_aboard(self) -> tuple[np.ndarray, np.ndarray]:
        """The samples that stay on board, and when they are done; embedding and head for the others come first."""
        workload, satellite_flops = self.workload, self.rates.satellite_flops
        flops = self.aboard * workload.epochs * workload.onboard_flops
        first = self.samples * (workload.embedding_flops + workload.passes * workload.head_flops)
        work_s = np.where(self.aboard > 0, flops + first, 0.0) / satellite_flops
        trained_s = all_finished_s(self.resources.sunlight, self.start_s, work_s)
        trainers = np.flatnonzero(self.aboard)
        rows = activities(
            len(trainers),
            kind=Kind.TRAIN,
            satellite=trainers,
            node=trainers,
            start_s=self.start_s,
            end_s=trained_s[trainers],
            flops=flops[trainers],
            first_sample=self.samples[trainers],
            end_sample=self.samples[trainers] + self.aboard[trainers],
        )
        return rows, trained_s

    def _deliver(self, sessions: np.ndarray) -> Delivery:
        pending = self.samples - self.on_ground
        if not pending.any():
            return Delivery([], activities(0), left=pending)
        gathered, buffer_bytes = None, self.resources.buffer_bytes
        if self.strategy_config.intra_orbit is IntraOrbit.ALL_GATHER:
            gathered = self._gathered(pending)
            most_bytes = max(gathered.held_bytes(k, self.workload.c1_bytes) for k in range(len(pending)))
            if most_bytes >= buffer_bytes:
                raise PayloadTooLargeError(
                    f"intra-orbit all-gather: a satellite holds {most_bytes:.0f} bytes of its plane's features, its "
                    f"buffer is {buffer_bytes:.0f} bytes; allowed is more, or intra-orbit parallel"
                )
            buffer_bytes -= most_bytes
        delivery = Transport(
            self.network,
            sessions,
            intra_orbit=self.strategy_config.intra_orbit,
            buffer_bytes=buffer_bytes,
            pending=pending,
            first_sample=self.on_ground,
            gathered=gathered,
        ).run()
        if gathered is None:
            return delivery
        for row in gathered.activities[gathered.activities["kind"] == Kind.GATHER]:
            delivery.busy.add(
                (int(row["node"]), int(row["peer"])), float(row["start_s"]), float(row["end_s"])
            )
        return dataclasses.replace(
            delivery, activities=np.concatenate([gathered.activities, delivery.activities])
        )

    def _gathered(self, pending: np.ndarray) -> Gathered:
        """Features passed round every plane; alike for whatever sessions."""
        if self._all_gathered is None:
            self._all_gathered = all_gather(
                self.problem,
                self.routes,
                pending=pending,
                first_sample=self.on_ground,
                isl_share=self.shares.isl,
            )
        return self._all_gathered

    def _grounded_blocks(self) -> list[FeatureChunk]:
        """Samples whose features the ground has already; any session of their group will do for the answers."""
        return [
            FeatureChunk(
                satellite,
                -1,
                first=0,
                end=int(self.on_ground[satellite]),
                first_s=self.start_s,
                last_s=self.start_s,
            )
            for satellite in np.flatnonzero(self.on_ground > 0).tolist()
        ]
