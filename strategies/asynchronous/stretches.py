"""A mission without rounds as a run follows it: from one average to the next, each with who starts and what counts."""

from __future__ import annotations

import dataclasses

import numpy as np

from strategies.asynchronous.mission import AsyncMission
from strategies.problem.plan import Plan


def stretch(mission: AsyncMission, number: int) -> Plan:
    """Return the plan of the time in which average ``number`` is made, from 1; the last one goes up to all, too."""
    plan, made_s = mission.plan, mission.averaged_s
    from_s = float(made_s[number - 2]) if number > 1 else plan.start_s
    to_s = float(made_s[number - 1]) if number < len(made_s) else plan.end_s
    return part_of(plan, from_s, to_s)


def part_of(plan: Plan, from_s: float, to_s: float) -> Plan:
    """Return what happens of a plan between two times, at an even pace; no bound."""
    rows = plan.activities[(plan.activities["start_s"] < to_s) & (plan.activities["end_s"] > from_s)].copy()
    length_s = np.maximum(rows["end_s"] - rows["start_s"], 1e-9)
    rows["start_s"], rows["end_s"] = np.maximum(rows["start_s"], from_s), np.minimum(rows["end_s"], to_s)
    part = (rows["end_s"] - rows["start_s"]) / length_s
    rows["bytes"] *= part
    rows["flops"] *= part
    rows.flags.writeable = False
    finish_s = np.full(len(plan.finish_s), to_s)
    return dataclasses.replace(
        plan,
        start_s=from_s,
        end_s=to_s,
        lower_bound_s=0.0,
        activities=rows,
        finish_s=finish_s,
        delivered_s=finish_s,
    )


def starting(mission: AsyncMission, number: int) -> frozenset[int]:
    """Return the satellites that start, before average ``number`` is made, from the one before it."""
    of_base = mission.updates["member"][mission.updates["base"] == number - 1]
    return _satellites(mission, of_base)


def counting(mission: AsyncMission, number: int) -> frozenset[tuple[int, int]]:
    """Return what average ``number`` is of: satellites, each with the number of the average that followed its base."""
    rows = mission.updates[mission.updates["version"] == number]
    return frozenset(
        (satellite, int(base) + 1)
        for member, base in rows[["member", "base"]].tolist()
        for satellite in mission.members[member]
    )


def _satellites(mission: AsyncMission, members: np.ndarray) -> frozenset[int]:
    return frozenset(satellite for member in members.tolist() for satellite in mission.members[member])
