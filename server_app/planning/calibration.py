"""The compute rates of this machine, so that the plan of an emulation predicts what it will measure."""

from __future__ import annotations

import statistics

import torch

from mission.schema import Compute, Scenario
from server_app.backbone.executor import BackboneExecutor
from server_app.planning.workloads import satellites_per_step
from splitmodel.costs.published import Profile
from strategies.enrolment import EnrolledClients

_REPEATS = 5
_DIGITS = 4  # of a rate: more would be noise
_FLOPS_PER_TFLOPS = 1e12
_MESSAGES = 3  # for whose software the plan counts time in a round trip


def measured_rates(
    scenario: Scenario, costs: Profile, steps: BackboneExecutor, enrolled_clients: EnrolledClients
) -> Compute:
    """Measure the compute rates of this machine and of the satellites.

    What software takes for a message is a third of asking the ground for one image's pooled state: that is a message
    there and one back, and in a step the plan counts three for as much, of the ground before each pass and of the
    satellite (:class:`strategies.problem.workload.ComputeRates`).

    Args:
        scenario: The resolved scenario.
        costs: FLOPs of the model's parts.
        steps: The backbone, of which a step of as many satellites as are planned together is timed here.
        enrolled_clients: What was measured on board.
    """
    training = scenario.training
    together = min(satellites_per_step(training), len(enrolled_clients.samples))
    flops = training.batch_size * together * costs.backbone_flops
    if training.mode == "lora":
        flops *= 1 + costs.lora_backward_flops / costs.backbone_flops
    features_BTD = torch.zeros(training.batch_size * together, costs.tokens, costs.hidden)
    return Compute(
        satellite_tflops=_tflops(
            costs.embedding_flops, statistics.median(enrolled_clients.embedding_s.values())
        ),
        # The shortest of them: whatever else this machine does by now, it will have done before the rounds.
        ground_tflops=_tflops(flops, min(steps.step_s(features_BTD) for _ in range(_REPEATS))),
        message_s=_rounded(
            min(enrolled_clients.round_trip_s.values()) / _MESSAGES
        ),  # of who was asked last, the others done
    )


def _tflops(flops: float, seconds: float) -> float:
    return _rounded(flops / seconds / _FLOPS_PER_TFLOPS)


def _rounded(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}")
