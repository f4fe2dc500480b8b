"""Closed forms beside the plans: where the split wins, and from which rate, station or computer on."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from orbit.contact_plan import ContactPlan, LinkKind
from strategies.workload import ComputeRates, Resources, Workload

_OUTAGE = 0.92  # part of a pass that carries data, set-up and hand-over taken off


def regime_law(
    contact_plan: ContactPlan, split: Workload, onboard: Workload, rates: ComputeRates, resources: Resources
) -> dict[str, Any]:
    """ρ = T_split / T_on-board in closed form: the slower of all downlinks together and the ground's computers.

    ``transfer`` and ``compute`` are the two terms; where ``compute`` is 1 or more no schedule can win.
    """
    onboard_s = _onboard_s(onboard, rates)
    transfer = _bits_down(split) / _capacity_bps(contact_plan, resources) / onboard_s
    compute = _ground_s(split, rates) / onboard_s
    return {
        "law": max(transfer, compute),
        "transfer": transfer,
        "compute": compute,
        "bound_by": "transfer" if transfer > compute else "compute",
        "can_win": compute < 1.0,
    }


def break_even(
    contact_plan: ContactPlan,
    split: Workload,
    onboard: Workload,
    rates: ComputeRates,
    resources: Resources,
    split_s: float,
) -> dict[str, Any]:
    """From where on the split beats on-board LoRA, each with all else as it is; None where nothing helps.

    ``split_s`` is the planned round of the split.  ``satellite_tflops`` is the on-board rate that catches up with
    it, ``gb_per_pass`` what a median pass brings down.
    """
    onboard_s = _onboard_s(onboard, rates)
    can_win = _ground_s(split, rates) < onboard_s
    needed_bps = _bits_down(split) / onboard_s
    stations, beams = len(contact_plan.stations), resources.beams
    down = contact_plan.of_kind(LinkKind.DOWNLINK)
    usable_s = np.maximum(down["end_s"] - down["start_s"] - resources.setup_s, 0.0)
    per_beam_bps = _capacity_bps(contact_plan, resources) / (stations * beams)
    return {
        "down_mbps": needed_bps / (stations * beams * _OUTAGE) / 1e6 if can_win else None,
        "stations": math.ceil(needed_bps / (beams * per_beam_bps)) if can_win else None,
        "ground_tflops": _ground_s(split, rates) / onboard_s * rates.ground_flops / 1e12,
        "satellite_tflops": onboard_s * rates.satellite_flops / split_s / 1e12,
        "gb_per_pass": float(np.median(usable_s * down["rate_bps"])) / 8e9 if len(down) else 0.0,
    }


def mission_time_per_point(
    accuracy: Sequence[float], rounds_s: float, target: float
) -> dict[str, float | None]:
    """Mission time of a training curve (accuracy in % after each round): to reach ``target``, and per point gained."""
    reached = [number for number, value in enumerate(accuracy, 1) if value >= target]
    gained = accuracy[-1] - accuracy[0]
    return {
        "to_target_s": reached[0] * rounds_s if reached else None,
        "per_point_s": (len(accuracy) - 1) * rounds_s / gained if gained > 0 else None,
    }


def add_mission_times(found: Mapping[str, Any], accuracy: Sequence[float]) -> None:
    """Give each case the mission times of a training curve, if there is one, as ``mission_time_per_point`` does.

    The target is the best accuracy that the curve reaches; on board the same number of rounds is assumed to do.
    """
    for case in found["cases"]:
        if len(accuracy) > 1 and case["median_s"]:
            case |= mission_time_per_point(accuracy, case["median_s"], max(accuracy))


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
    return len(contact_plan.stations) * resources.beams * rate_bps * _OUTAGE


def verdict(found: Mapping[str, Any]) -> list[str]:
    """What ``strategies.compare.compare`` found, as sentences: who wins, and from where on."""
    if "rho" not in found:
        return []
    rho, edge = found["rho"], found["break_even"]
    said = [
        f"The split with all strategies takes {rho['planned']:.2f} of the time of on-board LoRA; "
        f"by the closed form {rho['law']:.2f}, bound by {rho['bound_by']}."
    ]
    if rho["can_win"]:
        said.append(
            f"By the closed form it wins from {edge['down_mbps']:.3g} Mbit/s down on each beam, or with "
            f"{edge['stations']} or more stations, or with {edge['ground_tflops']:.3g} TFLOP/s or more on the ground, "
            f"each with all else as it is."
        )
    else:
        said.append(
            f"No rate and no number of stations lets it win: the ground needs {rho['compute']:.2f} times as long for "
            f"the backbone as the satellites together; {edge['ground_tflops']:.3g} TFLOP/s there would be even."
        )
    said.append(
        f"On-board LoRA would catch up at {edge['satellite_tflops']:.3g} TFLOP/s on each satellite.  "
        f"A median pass brings down {edge['gb_per_pass']:.3g} GB."
    )
    return said
