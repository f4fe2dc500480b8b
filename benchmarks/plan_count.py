"""Bytes and seconds of a round, counted anew from what `plan` and `contacts` print, and from nothing else.

    skysplit plan paper --format json > plan.json
    skysplit contacts paper --format json > contacts.json
    python -m benchmarks.plan_count plan.json contacts.json --satellite-tflops 0.5 --ground-tflops 300

Nothing of SkySplit is imported. Every message is moved over its contact at the contact's own rate: how long each link
and each computer would be busy, and when the last message has arrived. Prints what the plan says beside what is counted
and exits 1 where they differ by more than 1 %, or where a message goes over no contact.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

TOLERANCE = 0.01
_TOUCHING_S = 1e-3  # by which a message may stick out of its contact: times in JSON are rounded
_LIGHT_KM_S = 299_792.458
_AVERAGES = ("reduce", "update")


class Contacts:
    """The contacts by ordered pair of names."""

    def __init__(self, rows: Sequence[Mapping[str, Any]]) -> None:
        self._of: dict[tuple[str, str], list[Mapping[str, Any]]] = defaultdict(list)
        for row in rows:
            self._of[row["source"], row["target"]].append(row)

    def of(self, row: Mapping[str, Any]) -> Mapping[str, Any]:
        """The contact in which an activity lies; raises ``ValueError`` where there is none."""
        for contact in self._of[row["node"], row["peer"]]:
            if (
                contact["start_s"] - _TOUCHING_S <= row["start_s"]
                and row["end_s"] <= contact["end_s"] + _TOUCHING_S
            ):
                return contact
        raise ValueError(
            f"{row['kind']} {row['node']} → {row['peer']}, {row['start_s']:.1f} s: lies in no contact"
        )


def count(
    plan: Mapping[str, Any],
    contacts: Sequence[Mapping[str, Any]],
    *,
    satellite_flops: float,
    ground_flops: float,
) -> dict[str, float]:
    """Return a plan's totals, counted from its activities and keyed as in the plan's own JSON.

    Args:
        plan: As ``skysplit plan --format json`` prints it.
        contacts: The ``contacts`` that ``skysplit contacts --format json`` prints.
        satellite_flops: FLOP/s of a satellite.
        ground_flops: FLOP/s of the ground.

    Raises:
        ValueError: A message goes over no contact, or a link or computer is asked for more than its time.
    """
    links = Contacts(contacts)
    size: dict[str, float] = defaultdict(float)
    busy_s: dict[tuple[str, ...], float] = defaultdict(float)
    span_s: dict[tuple[str, ...], list[float]] = {}
    ground_s = onboard_s = 0.0
    ends_s = plan["start_s"]

    def serves(unit: tuple[str, ...], row: Mapping[str, Any], seconds: float) -> None:
        busy_s[unit] += seconds
        first, last = span_s.get(unit, [row["start_s"], row["end_s"]])
        span_s[unit] = [min(first, row["start_s"]), max(last, row["end_s"])]

    for row in plan["activities"]:
        if row["kind"] in ("session", "isl_pointing"):
            continue
        ends_s = max(ends_s, row["end_s"])
        if row["link"] and row["bytes"]:
            contact = links.of(row)
            size[contact["kind"]] += row["bytes"]
            serves((row["node"], row["peer"]), row, 8.0 * row["bytes"] / contact["rate_bps"])
            if row["kind"] in _AVERAGES:  # as messages do, an average arrives when its light does
                ends_s = max(ends_s, row["end_s"] + (contact["min_range_km"] or 0.0) / _LIGHT_KM_S)
        elif row["kind"] == "backbone":
            ground_s += row["flops"] / ground_flops
            serves(("ground",), row, row["flops"] / ground_flops)
        elif row["flops"]:
            onboard_s += row["flops"] / satellite_flops
            serves((row["node"],), row, row["flops"] / satellite_flops)
    for unit, seconds in busy_s.items():
        first, last = span_s[unit]
        if seconds > (1.0 + TOLERANCE) * (last - first) + _TOUCHING_S:
            raise ValueError(
                f"{' → '.join(unit)}: {seconds:.3f} s of work between {first:.3f} and {last:.3f} s"
            )
    return {
        "downlink_bytes": size["downlink"],
        "uplink_bytes": size["uplink"],
        "isl_bytes": size["intra_isl"] + size["inter_isl"],
        "ground_compute_s": ground_s,
        "onboard_compute_s": onboard_s,
        "makespan_s": ends_s - plan["start_s"],
    }


def disagreements(plan: Mapping[str, Any], counted: Mapping[str, float]) -> list[str]:
    """Return a message for each total of the plan that differs from the counted one by more than ``TOLERANCE``."""
    return [
        f"{name}: the plan says {plan[name]:.6g}, counted {value:.6g}"
        for name, value in counted.items()
        if abs(plan[name] - value) > TOLERANCE * max(abs(value), 1e-9)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("plan", type=Path)
    parser.add_argument("contacts", type=Path)
    parser.add_argument("--satellite-tflops", type=float, required=True)
    parser.add_argument("--ground-tflops", type=float, required=True)
    chosen = parser.parse_args()
    plan = json.loads(chosen.plan.read_text(encoding="utf-8"))
    contacts = json.loads(chosen.contacts.read_text(encoding="utf-8"))["contacts"]
    counted = count(
        plan,
        contacts,
        satellite_flops=chosen.satellite_tflops * 1e12,
        ground_flops=chosen.ground_tflops * 1e12,
    )
    for name, value in counted.items():
        print(f"{name:20s} {plan[name]:18.3f} {value:18.3f}")
    wrong = disagreements(plan, counted)
    print("\n".join(wrong) or "the plan and the count agree")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
