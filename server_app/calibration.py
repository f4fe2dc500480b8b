"""The compute rates of this machine, so that the plan of an emulation predicts what it will measure."""

from __future__ import annotations

import statistics
import time

import torch

from mission.schema import Compute, Scenario
from server_app.backbone import BackboneSteps
from splitmodel.published import Profile
from strategies.muster import Roster

_REPEATS = 5
_DIGITS = 4  # of a rate: more would be noise
_FLOPS_PER_TFLOPS = 1e12
_MESSAGES = 3  # for whose software the plan counts time in a round trip


def measured_rates(scenario: Scenario, costs: Profile, steps: BackboneSteps, roster: Roster) -> Compute:
    """Measure the compute rates of this machine and of the satellites.

    What software takes for a message is a third of asking the ground for one image's pooled state: that is a message
    there and one back, and in a step the plan counts three for as much, of the ground before each pass and of the
    satellite (:class:`strategies.workload.ComputeRates`).

    Args:
        scenario: The resolved scenario.
        costs: FLOPs of the model's parts.
        steps: The backbone, whose forward pass is timed here.
        roster: What was measured on board.
    """
    training = scenario.training
    flops, step_s = training.batch_size * costs.backbone_flops, _forward_s(steps, costs, training.batch_size)
    if training.mode == "lora":
        backward = costs.lora_backward_flops / costs.backbone_flops
        flops, step_s = flops * (1 + backward), step_s * (1 + backward)
    return Compute(
        satellite_tflops=_tflops(costs.embedding_flops, statistics.median(roster.embedding_s.values())),
        ground_tflops=_tflops(flops, step_s),
        message_s=_rounded(
            min(roster.round_trip_s.values()) / _MESSAGES
        ),  # of who was asked last, the others done
    )


def _forward_s(steps: BackboneSteps, costs: Profile, batch_size: int) -> float:
    features_BTD = torch.zeros(batch_size, costs.tokens, costs.hidden)
    spent_s = []
    for _ in range(_REPEATS):
        started = time.perf_counter()
        steps.infer(features_BTD)
        spent_s.append(time.perf_counter() - started)
    return statistics.median(spent_s)


def _tflops(flops: float, seconds: float) -> float:
    return _rounded(flops / seconds / _FLOPS_PER_TFLOPS)


def _rounded(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}")
