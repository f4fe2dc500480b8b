"""Closed forms beside the plans: where the split wins, and from which rate, station or computer on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from orbit.contact_plan import ContactPlan, LinkKind
from strategies.analysis.cases import ONBOARD_LORA, SPLIT
from strategies.analysis.mission_totals import World
from strategies.problem.workload import ComputeRates, Resources, Workload

_NOT_SOONER = (SPLIT, ONBOARD_LORA, "split-cached")  # of which the summary speaks, or that are no whole round
_OUTAGE = 0.92  # part of a pass that carries data, set-up and hand-over taken off
_WAITING = 1.5  # a round so many times as long as by the closed form is one of waiting for contacts


def closed_form(world: World, split: Workload, onboard: Workload) -> dict[str, Any]:
    """Return ρ = T_split / T_on-board in closed form: the slower of all downlinks together and the ground's computers.

    ``transfer`` and ``compute`` are the two terms; where ``compute`` is 1 or more no schedule can win.
    """
    rates, onboard_s = world.rates, _onboard_s(onboard, world.rates)
    transfer = _bits_down(split) / _capacity_bps(world.contact_plan, world.resources) / onboard_s
    compute = _ground_s(split, rates) / onboard_s
    return {
        "law": max(transfer, compute),
        "transfer": transfer,
        "compute": compute,
        "bound_by": "transfer" if transfer > compute else "compute",
        "can_win": compute < 1.0,
    }


def mission_time_per_point(
    accuracy: Sequence[float], round_ends_s: Sequence[float], target: float
) -> dict[str, float | None]:
    """Mission time of a training curve (accuracy in % after each round): to reach ``target``, and per point gained.

    Args:
        accuracy: After each round.
        round_ends_s: Seconds from the start of the mission to the end of each round, what crosses only once included.
        target: Accuracy to reach.
    """
    reached = [end_s for value, end_s in zip(accuracy, round_ends_s, strict=True) if value >= target]
    gained = accuracy[-1] - accuracy[0]
    return {
        "to_target_s": reached[0] if reached else None,
        "per_point_s": round_ends_s[-1] / gained if gained > 0 else None,
    }


def add_mission_times(comparison: Mapping[str, Any], accuracy: Sequence[float]) -> None:
    """Give each case the mission times of a training curve, if there is one, as ``mission_time_per_point`` does.

    The target is the best accuracy that the curve reaches; in every case the same number of rounds is assumed to do.

    Raises ``ValueError`` for a curve of more rounds than the missions have.
    """
    if not accuracy:
        return
    for case in comparison["cases"]:
        if (mission := case["mission"]) is None:
            continue
        if len(accuracy) > mission["rounds"]:
            raise ValueError(f"curve: found {len(accuracy)} rounds, the mission has {mission['rounds']}")
        ends_s = [end_s - mission["start_s"] for end_s in mission["round_ends_s"][: len(accuracy)]]
        case |= mission_time_per_point(accuracy, ends_s, max(accuracy))


def _bits_down(split: Workload) -> float:
    return 8.0 * split.down_bytes * split.passes * sum(split.samples)


def _ground_s(split: Workload, rates: ComputeRates) -> float:
    return split.ground_flops * split.passes * sum(split.samples) / rates.ground_flops


def _onboard_s(onboard: Workload, rates: ComputeRates) -> float:
    return onboard.onboard_flops * onboard.epochs * max(onboard.samples) / rates.satellite_flops


def _capacity_bps(contact_plan: ContactPlan, resources: Resources) -> float:
    """What all beams bring down together, if they always have somebody to listen to."""
    down = contact_plan.of_kind(LinkKind.DOWNLINK)
    rate_bps = float(np.median(down["rate_bps"])) if len(down) else 0.0
    return float(resources.beams_of_each(contact_plan.stations).sum()) * rate_bps * _OUTAGE
