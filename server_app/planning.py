"""From scenario and model profile to the planner: what a round moves and computes, planned when it starts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mission.schema import Scenario
from orbit.contact_plan import ContactPlan
from relay.wire import encoded_bytes
from splitmodel.published import Profile
from splitmodel.training import VIEWS, round_batches, round_seed
from strategies.checker import require_feasible
from strategies.plan import Plan
from strategies.planner import plan_round
from strategies.workload import ComputeRates, Mode, Resources, Switches, Workload

_FLOPS_PER_TFLOPS = 1e12
_MANY_VALUES = 1 << 20  # so many that the last, partly filled block of a codec does not count


class RoundPlanner:
    """Plans the rounds of a mission; each plan is checked by :mod:`strategies.checker` before it is followed.

    Args:
        scenario: The resolved scenario.
        contact_plan: All contacts of the horizon.
        costs: Sizes and FLOPs of the model's parts.
        samples: Training images of each satellite.
    """

    def __init__(
        self, scenario: Scenario, contact_plan: ContactPlan, costs: Profile, samples: Sequence[int]
    ) -> None:
        self._scenario = scenario
        self._contact_plan = contact_plan
        self._costs = costs
        self._samples = list(samples)
        self._rates = rates_of(scenario)
        self._resources = resources_of(scenario)
        self._switches = switches_of(scenario)

    def __call__(self, number: int, start_s: float) -> Plan:
        """The plan of round ``number``, starting at a mission time.

        Raises:
            strategies.network.PlanningError: A satellite's samples cannot get through before the horizon.
        """
        workload = self.workload(number)
        plan = plan_round(
            self._contact_plan, workload, self._rates, self._resources, self._switches, start_s=start_s
        )
        require_feasible(plan, self._contact_plan, workload, self._rates, self._resources)
        return plan

    def workload(self, number: int) -> Workload:
        """What round ``number`` moves and computes."""
        mode = self._scenario.training.mode
        # In head mode only images that are new under their view cross; the planner sees their mean per sample.
        crossing = _new_share(self._scenario, self._samples, number) if mode == "head" else 1.0
        return workload_of(self._scenario, self._costs, self._samples, Mode(mode), crossing=crossing)


def rates_of(scenario: Scenario) -> ComputeRates:
    """The scenario's compute rates."""
    return ComputeRates(
        satellite_flops=scenario.compute.satellite_tflops * _FLOPS_PER_TFLOPS,
        ground_flops=scenario.compute.ground_tflops * _FLOPS_PER_TFLOPS,
    )


def resources_of(scenario: Scenario) -> Resources:
    """The scenario's antennas and terminals."""
    return Resources(
        beams=scenario.ground.beams,
        setup_s=scenario.ground.setup_s,
        acquisition_s=scenario.links.inter_orbit.acquisition_s,
    )


def switches_of(scenario: Scenario) -> Switches:
    """The scenario's communication strategies."""
    chosen = scenario.strategy
    return Switches.parse(chosen.intra_orbit, chosen.space_ground, chosen.inter_orbit)


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
        crossing: Share of the images that cross the split at all.
    """
    training = scenario.training
    return Workload.split(
        mode,
        samples,
        tokens=costs.tokens,
        hidden=costs.hidden,
        embedding_flops=crossing * costs.embedding_flops,
        backbone_flops=crossing * costs.backbone_flops,
        head_flops=costs.head_flops,
        head_bytes=costs.head_bytes,
        adapter_bytes=costs.adapter_bytes,
        backbone_bytes=4 * costs.backbone_params,
        raw_bytes=scenario.planning.image_bytes,
        feature_bits=crossing * bits_per_value(scenario.crossings.features),
        hidden_bits=crossing * bits_per_value(scenario.crossings.hidden),
        gradient_bits=bits_per_value(scenario.crossings.gradients),
        lora_backward_ratio=costs.lora_backward_flops / costs.backbone_flops,
        epochs=training.local_epochs,
        micro_batch=training.batch_size,
        onboard_share=onboard_share,
    )


def bits_per_value(codec: str) -> float:
    """Bits on the wire per value, scales of block codecs included."""
    return 8.0 * encoded_bytes("float32", (_MANY_VALUES,), codec) / _MANY_VALUES


def _new_share(scenario: Scenario, samples: Sequence[int], number: int) -> float:
    """Share of a round's images that are seen under their view for the first time (``head`` mode keeps the rest)."""
    training = scenario.training
    views = VIEWS[training.augment]
    new = 0
    for satellite, count in enumerate(samples):
        seen = np.zeros((count, views), bool)
        for earlier in range(1, number + 1):
            before = int(seen.sum())
            seed = round_seed(scenario.seed, satellite, earlier)
            for batch in round_batches(count, training.batch_size, training.local_epochs, views, seed):
                seen[batch.indices, batch.views] = True
        new += int(seen.sum()) - before
    return new / (sum(samples) * training.local_epochs)
