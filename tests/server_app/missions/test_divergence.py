"""Training that diverges ends with the round, the satellite and the key to lower, whichever tensor shows it first."""

from __future__ import annotations

import math
from typing import Any

import pytest
from small_missions import Mission

from mission.divergence import DivergenceError, require_finite_cause, require_sensible_loss

TWO = {
    "constellation.satellites": 2,
    "constellation.planes": 1,
    "constellation.phasing": 0,
    "data.train_samples": 16,
}


@pytest.mark.parametrize(
    ("settings", "satellite"),
    [
        ({"training.head_learning_rate": 1e25}, True),
        ({"training.learning_rate": 1e25}, True),
        ({"training.mode": "head", "training.head_learning_rate": 1e30}, True),
        ({"training.mode": "onboard-head", "training.head_learning_rate": 1e30}, True),
        ({"training.mode": "onboard-full", "training.learning_rate": 1e15}, True),
        ({"training.mode": "downlink", "training.head_learning_rate": 1e30}, False),
        ({"training.labels": "ground", "training.head_learning_rate": 1e30}, False),
    ],
    ids=str,
)
def test_a_learning_rate_far_too_high_is_named_with_its_round(
    fly: Mission, settings: dict[str, Any], satellite: bool
) -> None:
    with pytest.raises(Exception, match="training has diverged") as caught:
        fly(TWO | settings)
    text = str(caught.value)
    assert "round 1: " in text
    assert "lower training.head_learning_rate" in text
    assert ("sat-0-0" in text) == satellite
    assert ("or training.learning_rate" in text) == (
        settings.get("training.mode") not in ("head", "onboard-head")
    )


@pytest.mark.parametrize("loss", [math.nan, math.inf, 1e6])
def test_a_loss_beyond_reason_is_an_error_and_a_bad_one_is_none(loss: float) -> None:
    with pytest.raises(DivergenceError, match="round 3: .* lower training"):
        require_sensible_loss(loss, 3, "lora")
    require_sensible_loss(900.0, 3, "lora")


def test_an_error_of_another_kind_is_no_divergence() -> None:
    require_finite_cause(ValueError("no window is left"), 1, "lora")
