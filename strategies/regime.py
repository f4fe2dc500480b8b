"""Closed forms beside the plans: where the split wins, and from which rate, station or computer on."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from mission.quantities import spoken_time
from orbit.contact_plan import ContactPlan, LinkKind
from strategies.cases import ONBOARD_LORA, SPLIT
from strategies.plan import SPLIT_COLUMNS
from strategies.workload import ComputeRates, Resources, Workload

_NOT_SOONER = (SPLIT, ONBOARD_LORA, "split-cached")  # of which the verdict speaks, or that are no whole round
_OUTAGE = 0.92  # part of a pass that carries data, set-up and hand-over taken off
_WAITING = 1.5  # a round so many times as long as by the closed form is one of waiting for contacts


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


def add_mission_times(found: Mapping[str, Any], accuracy: Sequence[float]) -> None:
    """Give each case the mission times of a training curve, if there is one, as ``mission_time_per_point`` does.

    The target is the best accuracy that the curve reaches; in every case the same number of rounds is assumed to do.

    Raises ``ValueError`` for a curve of more rounds than the missions have.
    """
    if len(accuracy) > 1:
        for case in found["cases"]:
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
    return len(contact_plan.stations) * resources.beams * rate_bps * _OUTAGE


def verdict(found: Mapping[str, Any]) -> list[str]:
    """What ``strategies.compare.compare`` found, as sentences: whether the split pays, what binds, what to change.

    Without the cases ``onboard-lora`` and ``split`` there is nothing to say.
    """
    cases = {case["name"]: case for case in found["cases"]}
    if not {ONBOARD_LORA, SPLIT} <= cases.keys():
        return []
    split, onboard = cases[SPLIT], cases[ONBOARD_LORA]
    if "rho" not in found:
        late = " and ".join(case["title"] for case in (onboard, split) if not case["median_s"])
        return [
            f"No verdict: no round ends within the contact plan ({late}). Plan for longer, with horizon_h."
        ]
    planned, law = found["rho"]["planned"], found["rho"]["law"]
    said = [
        f"The split {'pays' if planned < 1.0 else 'does not pay'} here: with all strategies a round takes "
        f"{spoken_time(split['median_s'])}, on-board LoRA {spoken_time(onboard['median_s'])} (ρ = {planned:.2g}, "
        f"median of {found['starts']} start{'s' * (found['starts'] > 1)})."
    ]
    others = [case for case in cases.values() if case["name"] not in _NOT_SOONER and case["median_s"]]
    best = min(others, key=lambda case: case["median_s"], default=None)
    if best and best["median_s"] < 0.95 * min(split["median_s"], onboard["median_s"]):
        said.append(f"Sooner still: {best['title']}, {spoken_time(best['median_s'])}.")
    waits = planned > _WAITING * law
    said += [_binding(found["rho"], split, waits), *_edges(found, waits)]
    return [*said, f"A median pass brings down {found['break_even']['gb_per_pass']:.3g} GB."]


def _binding(rho: Mapping[str, Any], split: Mapping[str, Any], waits: bool) -> str:
    """What a round of the split takes its time from, and what shortens it."""
    if waits:
        idle_s = split["waiting_s"] + split["idle_s"]
        part = idle_s / sum(split[column] for column in SPLIT_COLUMNS)
        return (
            f"What binds is the wait for contacts: for {100 * part:.0f} % of the round a satellite waits for one, or "
            f"for the others. By the closed form, which knows no waiting, ρ would be {rho['law']:.2g}. More stations, "
            "a lower mask or inter-satellite links shorten it, rather than a faster link or computer."
        )
    what, other = "the downlink", "computing on the ground"
    if rho["bound_by"] == "compute":
        what, other = other, what
    least, most = sorted((rho["transfer"], rho["compute"]))
    return f"What binds is {what}: by the closed form {most:.2g} of the on-board time; {other} takes {least:.2g}."


def _edges(found: Mapping[str, Any], waits: bool) -> Iterator[str]:
    """Where the answer turns."""
    rho, edge = found["rho"], found["break_even"]
    if not rho["can_win"]:
        yield (
            "No rate and no number of stations makes it pay: for the backbone the ground needs "
            f"{rho['compute']:.2g} times as long as the satellites for all on board. That is even at "
            f"{edge['ground_tflops']:.3g} TFLOP/s on the ground."
        )
    elif rho["law"] >= 1.0:
        yield (
            f"By the closed form it would pay from {edge['down_mbps']:.3g} Mbit/s down on each beam, or with "
            f"{edge['stations']} stations, each with all else as it is."
        )
    elif rho["planned"] < 1.0 and not waits:
        yield (
            f"By the closed form it pays down to {edge['down_mbps']:.3g} Mbit/s on each beam, to {edge['stations']} "
            f"station{'s' * (edge['stations'] > 1)} or to {edge['ground_tflops']:.3g} TFLOP/s on the ground, each with "
            "all else as it is."
        )
    if not waits:
        yield f"On-board LoRA takes as long as the split at {edge['satellite_tflops']:.3g} TFLOP/s on each satellite."
