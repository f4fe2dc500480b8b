"""A round as it was flown, as one plan: what was followed of each of its plans, one after the other."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from strategies.aggregation.quorum import cut
from strategies.problem.network import NoRouteError
from strategies.problem.plan import STEP, Plan, collect_activities
from strategies.uncertainty.flight import FlownPart, FlownRound


def flown_plan(flown: FlownRound) -> Plan:
    """Return the activities up to each interruption, and the steps as they were taken; the bound is of a clear sky.

    Raises:
        NoRouteError: The round does not end before the horizon.
    """
    first, last = flown.parts[0].plan, flown.parts[-1].plan
    if math.isinf(flown.end_s):
        raise NoRouteError(
            f"the round that begins at {first.start_s:.0f} s does not end before the horizon: outages have interrupted "
            f"it {flown.interruptions} times"
        )
    if len(flown.parts) == 1:
        return first
    return dataclasses.replace(
        last,
        start_s=first.start_s,
        lower_bound_s=first.lower_bound_s,
        activities=collect_activities([cut(part.plan, part.until_s).activities for part in flown.parts]),
        steps=_steps_taken(flown.parts),
    )


def _steps_taken(parts: Sequence[FlownPart]) -> np.ndarray:
    """The steps of each plan that no later plan has, batches and updates numbered through; dtype ``STEP``."""
    taken: list[np.ndarray] = []
    batches = 0
    later: set[tuple[int, int]] = set()
    kept = []
    for part in reversed(parts):
        steps = part.plan.steps
        own = list(zip(steps["satellite"].tolist(), steps["step"].tolist(), strict=True))
        kept.append(steps[[step not in later for step in own]] if own else steps)
        later.update(own)
    for steps in reversed(kept):
        numbers, batch = np.unique(steps["batch"], return_inverse=True)
        counted = steps.copy()
        counted["batch"] = batches + batch
        counted["updates"] += batches
        taken.append(counted)
        batches += len(numbers)
    return np.concatenate([np.empty(0, STEP), *taken])
