"""What the planner has one image take on board and on the ground."""

from __future__ import annotations

from mission.run_config import ComputeTimes
from mission.schema import Scenario
from server_app.planning.round_planner import rates_of
from splitmodel.costs.published import Profile


def compute_times_of(scenario: Scenario, costs: Profile) -> ComputeTimes:
    """Return how long computing takes in the scenario's mode, as :class:`.workloads.MissionWorkloads` counts it.

    Only messages of mode ``lora`` take time of their own on board: elsewhere no step waits for them.
    """
    rates = rates_of(scenario)
    trains_adapter = scenario.training.mode == "lora"
    # Where nothing but the head is trained, the blocks before it are passed once.
    tail_flops = costs.tail_flops + costs.tail_backward_flops if trains_adapter else 0.0
    return ComputeTimes(
        costs.embedding_flops / rates.satellite_flops,
        (costs.head_step_flops + tail_flops) / rates.satellite_flops,
        tail_s=costs.tail_flops / rates.satellite_flops,
        forward_s=costs.backbone_flops / rates.ground_flops,
        backward_s=costs.lora_backward_flops / rates.ground_flops,
        message_s=rates.message_s,
    )
