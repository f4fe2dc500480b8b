"""The score of a run in words: what it is called and how it is written, also of runs that only knew an accuracy."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

ACCURACY = "accuracy"


def score_name(run: Mapping[str, Any]) -> str:
    """Return what ``run.json`` calls its score: accuracy, mean average precision, R² or mean IoU."""
    return str(run.get("task", {}).get("score", ACCURACY))


def score_in(facts: Mapping[str, Any], which: str = "test") -> float | None:
    """Return a score of a ``result`` or ``progress``: ``test``, ``initial_test`` or ``worst_satellite``."""
    return facts.get(f"{which}_score", facts.get(f"{which}_accuracy"))


def before_training(run: Mapping[str, Any]) -> tuple[float | None, float | None]:
    """Return the test score and the test loss before fine-tuning, None where ``run.json`` does not have them (yet)."""
    facts = run.get("progress", {}) | run.get("result", {})
    return score_in(facts, "initial_test"), facts.get("initial_test_loss")


def spoken_score(name: str, value: float | None) -> str:
    """Return a score as it is written: an accuracy in per cent, others with three decimals."""
    if value is None or math.isnan(value):
        return "–"
    return f"{100 * value:.1f} %" if name == ACCURACY else f"{value:.3f}"
