"""From scenario and model profile to the planner: what a round moves and computes, planned when it starts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mission.briefing import FEATURE_NAME_BYTES
from mission.orbits import constellation_of, eclipses_of
from mission.schema import Scenario
from orbit.contact_plan import ContactPlan
from relay.wire import encoded_bytes
from splitmodel.published import Profile
from splitmodel.training import VIEWS, round_batches, round_seed
from strategies.checker import require_feasible
from strategies.intra_orbit import PlaneOrder, plane_orders
from strategies.plan import Plan
from strategies.planner import plan_round
from strategies.quorum import Quorum
from strategies.round_state import RoundState
from strategies.sunlight import Sunlight
from strategies.workload import ComputeRates, Mode, Resources, Switches, Workload

_FLOPS_PER_TFLOPS = 1e12
_BYTES_PER_GB = 1e9
_MANY_VALUES = 1 << 20  # so many that the last, partly filled block of a codec does not count


class RoundPlanner:
    """Plans the rounds of a mission; each plan is checked by :mod:`strategies.checker` before it is followed.

    Where a quorum ends the rounds, :attr:`left_over` is what the late had done when the last one ended.

    Args:
        scenario: The resolved scenario.
        contact_plan: All contacts of the horizon.
        costs: Sizes and FLOPs of the model's parts.
        samples: Training images of each satellite.

    Raises:
        strategies.workload.WorkloadError: The scenario waits for more planes than there are.
    """

    def __init__(
        self, scenario: Scenario, contact_plan: ContactPlan, costs: Profile, samples: Sequence[int]
    ) -> None:
        self._scenario = scenario
        self._contact_plan = contact_plan
        self._costs = costs
        self._samples = list(samples)
        self._new_images = NewImages(scenario, self._samples)
        self._rates = rates_of(scenario)
        self._resources = resources_of(scenario)
        self._switches = switches_of(scenario)
        self.quorum = quorum_of(scenario, contact_plan, samples)
        self.left_over = RoundState()
        mode = Mode(scenario.training.mode)
        self._aggregate_bytes = workload_of(scenario, costs, self._samples, mode).aggregate_bytes

    def __call__(self, number: int, start_s: float) -> Plan:
        """The plan of round ``number``, starting at a mission time, to the end of the last satellite.

        Raises:
            strategies.network.PlanningError: A satellite's samples cannot get through before the horizon.
        """
        workload = self.workload(number)
        task = self._contact_plan, workload, self._rates, self._resources
        plan = plan_round(*task, self._switches, start_s=start_s, state=self.left_over)
        require_feasible(plan, *task, self.left_over)
        self.left_over = self.quorum.left_over(plan, workload, self.left_over)
        return plan

    def orders(self, plan: Plan) -> list[PlaneOrder]:
        """In which order each plane is summed at the end of a round."""
        return plane_orders(plan, self._contact_plan, self._aggregate_bytes)

    def workload(self, number: int) -> Workload:
        """What round ``number`` moves and computes."""
        mode = Mode(self._scenario.training.mode)
        return workload_of(self._scenario, self._costs, self._samples, mode, crossing=self._crossing(number))

    def _crossing(self, number: int) -> float:
        """How often an image's features cross in this round, the mean over all images."""
        if self._scenario.training.trains_on_board:
            return 1.0
        if self._scenario.training.mode == "downlink":
            return float(number == 1)
        if self._scenario.training.mode == "head":
            return self._new_images.per_image(number)
        epochs = float(self._scenario.training.local_epochs)
        row_bytes = kept_row_bytes(self._scenario, self._costs)
        if row_bytes is None:
            return epochs
        images = sum(self._samples)
        kept = kept_rows(self._scenario, row_bytes, images) / (
            images * VIEWS[self._scenario.training.augment]
        )
        return (1.0 - kept) * epochs + kept * self._new_images.per_image(number)


def rates_of(scenario: Scenario) -> ComputeRates:
    """The scenario's compute rates."""
    return ComputeRates(
        satellite_flops=scenario.compute.satellite_tflops * _FLOPS_PER_TFLOPS,
        ground_flops=scenario.compute.ground_tflops * _FLOPS_PER_TFLOPS,
    )


def resources_of(scenario: Scenario) -> Resources:
    """The scenario's antennas and terminals, and when its satellites have power to compute."""
    sunlight = None
    if scenario.power.compute == "sunlight":
        constellation = constellation_of(scenario)
        dark = eclipses_of(scenario, constellation)
        sunlight = Sunlight.between(dark["satellite"], dark["start_s"], dark["end_s"], len(constellation))
    return Resources(
        beams=scenario.ground.beams,
        setup_s=scenario.ground.setup_s,
        acquisition_s=scenario.links.inter_orbit.acquisition_s,
        side_terminals=scenario.links.inter_orbit.terminals,
        sunlight=sunlight,
    )


def switches_of(scenario: Scenario) -> Switches:
    """The scenario's communication strategies."""
    chosen = scenario.strategy
    return Switches.parse(chosen.intra_orbit, chosen.space_ground, chosen.inter_orbit)


def quorum_of(scenario: Scenario, contact_plan: ContactPlan, samples: Sequence[int]) -> Quorum:
    """How many planes end a round of the scenario.

    Raises:
        strategies.workload.WorkloadError: More planes than there are.
    """
    planes = (contact_plan.nodes[index].plane for index in contact_plan.satellites)
    return Quorum(tuple(planes), tuple(samples), scenario.strategy.planes_per_round)


def workload_of(
    scenario: Scenario,
    costs: Profile,
    samples: Sequence[int],
    mode: Mode,
    *,
    onboard_share: bool = False,
    crossing: float = 1.0,
) -> Workload:
    """A round of the scenario in any mode.

    Args:
        scenario: The resolved scenario.
        costs: Sizes and FLOPs of the model's parts.
        samples: Training images of each satellite.
        mode: As trained, or a baseline.
        onboard_share: Whether satellites may train a part of their images on board.
        crossing: How often an image's features cross in the round, or in mode ``downlink`` the image itself; in mode
            ``head`` it passes the backbone as often.
    """
    training = scenario.training
    passing = crossing if mode is Mode.HEAD else 1.0
    return Workload.split(
        mode,
        samples,
        tokens=costs.tokens,
        hidden=costs.hidden,
        embedding_flops=costs.embedding_flops if mode is Mode.DOWNLINK else crossing * costs.embedding_flops,
        backbone_flops=passing * costs.backbone_flops,
        head_flops=costs.head_flops,
        head_bytes=costs.head_bytes,
        adapter_bytes=costs.adapter_bytes,
        backbone_bytes=4 * costs.backbone_params,
        raw_bytes=crossing * scenario.planning.image_bytes,
        feature_bits=crossing * bits_per_value(scenario.crossings.features),
        hidden_bits=passing * bits_per_value(scenario.crossings.hidden),
        gradient_bits=bits_per_value(scenario.crossings.gradients),
        lora_backward_ratio=costs.lora_backward_flops / costs.backbone_flops,
        epochs=training.local_epochs,
        micro_batch=training.batch_size,
        onboard_share=onboard_share,
        shared_head=training.shares_head,
    )


def bits_per_value(codec: str) -> float:
    """Bits on the wire per value, scales of block codecs included."""
    return 8.0 * encoded_bytes("float32", (_MANY_VALUES,), codec) / _MANY_VALUES


class NewImages:
    """Which images a round is the first to see under their view: only their features cross, where they are kept.

    Args:
        scenario: The resolved scenario.
        samples: Training images of each satellite.
    """

    def __init__(self, scenario: Scenario, samples: Sequence[int]) -> None:
        self._scenario = scenario
        self._samples = samples
        self._views = VIEWS[scenario.training.augment]
        self._seen = [np.zeros((count, self._views), bool) for count in samples]
        self._rounds = 0

    def per_image(self, number: int) -> float:
        """New views in round ``number``, the mean over all images. Rounds come in their order."""
        training = self._scenario.training
        new = 0
        for earlier in range(self._rounds + 1, number + 1):
            before = self._count()
            for satellite, seen in enumerate(self._seen):
                seed = round_seed(self._scenario.seed, satellite, earlier)
                for batch in round_batches(
                    len(seen), training.batch_size, training.local_epochs, self._views, seed
                ):
                    seen[batch.indices, batch.views] = True
            new = self._count() - before
        self._rounds = number
        return new / sum(self._samples)

    def _count(self) -> int:
        return sum(int(seen.sum()) for seen in self._seen)


def kept_row_bytes(scenario: Scenario, costs: Profile) -> int | None:
    """Bytes of one image's features as the ground keeps them, or ``None`` where it keeps none.

    In mode ``head`` it is the satellite that keeps what comes back.
    """
    if scenario.training.mode != "lora":
        return None
    row_bytes = encoded_bytes("float32", (costs.tokens * costs.hidden,), scenario.crossings.features)
    return row_bytes if kept_rows(scenario, row_bytes, 1) else None


def kept_rows(scenario: Scenario, row_bytes: int, images: int) -> int:
    """How many images, each view counted, the ground keeps the features of."""
    room = int(scenario.crossings.cache_gb * _BYTES_PER_GB) // (row_bytes + FEATURE_NAME_BYTES)
    return min(room, images * VIEWS[scenario.training.augment])
