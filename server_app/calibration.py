"""The compute rates of this machine, so that the plan of an emulation predicts what it will measure."""

from __future__ import annotations

import statistics
import time

import torch

from mission.schema import Compute, Scenario
from server_app.backbone import BackboneSteps
from splitmodel.published import Profile

_REPEATS = 5
_DIGITS = 4  # of a rate: more would be noise
_FLOPS_PER_TFLOPS = 1e12


def calibrated(scenario: Scenario, costs: Profile, steps: BackboneSteps, embedding_s: float) -> Scenario:
    """The scenario with compute rates as measured.

    Args:
        scenario: The resolved scenario.
        costs: FLOPs of the model's parts.
        steps: The backbone, whose forward pass is timed here.
        embedding_s: What one image takes on board, seconds.
    """
    batch = scenario.training.batch_size
    features_BTD = torch.randn(batch, costs.tokens, costs.hidden)
    spent_s = []
    for _ in range(_REPEATS):
        started = time.perf_counter()
        steps.infer(features_BTD)
        spent_s.append(time.perf_counter() - started)
    rates = Compute(
        satellite_tflops=_tflops(costs.embedding_flops, embedding_s),
        ground_tflops=_tflops(batch * costs.backbone_flops, statistics.median(spent_s)),
    )
    return scenario.model_copy(update={"compute": rates})


def _tflops(flops: float, seconds: float) -> float:
    return float(f"{flops / seconds / _FLOPS_PER_TFLOPS:.{_DIGITS}g}")
