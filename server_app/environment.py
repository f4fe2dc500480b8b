"""Where a run takes place: a simulation, or an emulation over relays.

Both give the ServerApp the same: a clock, an endpoint at which satellites reach the backbone, and the start of a round.
"""

from __future__ import annotations

import contextlib
import secrets
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from mission.clock import VirtualClock
from mission.run_config import GROUND, RunConfig
from relay.client import control
from relay.client.direct import GroundEndpoint
from relay.client.endpoint import RelayEndpoint
from relay.node.settings import LocalRelay
from server_app.assembly import GroundSegment
from server_app.emulated_clock import EmulatedClock
from server_app.mission_inputs import MissionInputs
from server_app.planning.compute_times import compute_times_of
from server_app.planning.round_planner import resources_of
from server_app.planning.workloads import kept_row_bytes
from server_app.run import ServerRun
from strategies.problem.plan import Plan
from strategies.uncertainty.outages import Outages


class Environment(ABC):
    """A simulation or an emulation.

    Attributes:
        clock: Mission time.
        sums_planes: Whether the satellites of a plane add up their weights among themselves, over relays.
        signature_bytes: What signature and certificate add to a message.
        flies_enrolment: Whether enrolment takes place over the planned links.
    """

    clock: VirtualClock
    sums_planes = False
    signature_bytes = 0
    flies_enrolment = True

    def __init__(self, run: ServerRun, mission: MissionInputs) -> None:
        self._run = run
        self._mission = mission
        self._secret = secrets.token_urlsafe(
            32
        )  # told to satellites alone, in the record that each message carries
        self.max_concurrency = run.max_concurrency

    @abstractmethod
    def serve(self, ground: GroundSegment) -> contextlib.AbstractContextManager[RunConfig]:
        """Answer satellites meanwhile; what they are told of the run says where."""

    @abstractmethod
    def begin_enrolment(self) -> None:
        """No round is under way any more: satellites may be asked."""

    @abstractmethod
    def begin_rounds(self, pointed: frozenset[tuple[int, int]]) -> None:
        """Start with these pairs of antennas and lasers on each other, as in a plan's ``pointed``."""

    @abstractmethod
    def fly_through(self, outages: Outages) -> None:
        """From now on nothing crosses what is out."""

    @abstractmethod
    def start_round(self, plan: Plan) -> None:
        """Follow a plan from now on."""

    @abstractmethod
    def transfer_records(self, number: int) -> Iterable[Mapping[str, Any]]:
        """Return what relays have measured in a round (:data:`mission.record.TRANSFER_RECORDS`)."""

    def _run_config(self, backbone: str) -> RunConfig:
        scenario, mission = self._run.scenario, self._mission
        return RunConfig(
            scenario,
            mission.satellites,
            planes=tuple(mission.constellation.plane.tolist()),
            run=self._run.name,
            ground=GROUND,
            backbone=backbone,
            keeps_features=kept_row_bytes(scenario, mission.costs) is not None,
            compute_times=compute_times_of(scenario, mission.costs),
            secret=self._secret,
        )


class Simulation(Environment):
    """Satellites reach the backbone at an address of its own, and only the plan advances mission time."""

    def __init__(self, run: ServerRun, mission: MissionInputs) -> None:
        super().__init__(run, mission)
        self.clock = VirtualClock(run.scenario.epoch)

    @contextlib.contextmanager
    def serve(self, ground: GroundSegment) -> Iterator[RunConfig]:
        """See :class:`Environment`; only who knows the run's secret is answered."""
        host, _, port = self._run.address.rpartition(":")
        with GroundEndpoint(
            ground.service.handle,
            self._mission.satellites,
            host=host,
            port=int(port),
            secret=self._secret,
        ) as endpoint:
            yield self._run_config(endpoint.address)

    def begin_enrolment(self) -> None:
        """Nothing to do: every satellite is in reach at any time."""

    def begin_rounds(self, pointed: frozenset[tuple[int, int]]) -> None:
        """Nothing to do: the planner carries it from round to round."""

    def fly_through(self, outages: Outages) -> None:
        """Nothing to do: plans go round them."""

    def start_round(self, plan: Plan) -> None:
        """Nothing to do: the clock jumps to the end of the plan."""

    def transfer_records(self, number: int) -> Iterable[Mapping[str, Any]]:
        """Return none: there are no relays."""
        return ()


class Emulation(Environment):
    """Relays carry what crosses over the plan's links, and mission time is measured.

    Computing takes what the plan says, by the scenario's rates: mission time stands meanwhile.
    """

    flies_enrolment = False  # all nodes are on the pre-launch network then

    def __init__(self, run: ServerRun, mission: MissionInputs, *, relay: LocalRelay) -> None:
        super().__init__(run, mission)
        self._relay = relay
        self.sums_planes = not run.scenario.training.shares_head
        if relay.identity is not None:
            self.signature_bytes = relay.identity.signature_bytes
        self._clock = EmulatedClock(
            run.scenario.epoch, relay, contact_plan=mission.contact_plan, resources=resources_of(run.scenario)
        )
        self.clock = self._clock

    @contextlib.contextmanager
    def serve(self, ground: GroundSegment) -> Iterator[RunConfig]:
        """See :class:`Environment`."""
        satellites, relay = self._mission.satellites, self._relay
        with RelayEndpoint(
            ground.service.handle,
            satellites,
            address=relay.address,
            node=relay.node,
            identity=relay.identity,
            answered_at_once=ground.in_flight * len(satellites),
        ) as endpoint:
            ground.enrolment.expect_all_together(endpoint)
            yield self._run_config("")

    def begin_enrolment(self) -> None:
        """See :class:`Environment`."""
        control.enrol(self._relay.address, self._relay.node)

    def begin_rounds(self, pointed: frozenset[tuple[int, int]]) -> None:
        """See :class:`Environment`."""
        self._clock.pointed = pointed

    def fly_through(self, outages: Outages) -> None:
        """See :class:`Environment`."""
        self._clock.contact_plan = outages.open_contacts(self._mission.contact_plan)

    def start_round(self, plan: Plan) -> None:
        """See :class:`Environment`."""
        self._clock.start_round(plan)

    def transfer_records(self, number: int) -> Iterable[Mapping[str, Any]]:
        """See :class:`Environment`."""
        return self._clock.transfer_records(self._run.name, number)


def environment_of(run: ServerRun, mission: MissionInputs) -> Environment:
    """Return the run's environment: an emulation where it has a relay, else a simulation."""
    return Simulation(run, mission) if run.relay is None else Emulation(run, mission, relay=run.relay)
