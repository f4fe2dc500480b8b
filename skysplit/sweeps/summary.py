"""What a sweep says: medians over start times of every combination, the Pareto front, and what each key moves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any

import numpy as np

PLANNED = "planned"
Row = Mapping[str, Any]


@dataclass(frozen=True)
class Point:
    """One combination of overrides over its start times.

    Attributes:
        values: What varies, by dotted key.
        planned: Rounds that were planned.
        starts: Rounds in all.
        makespan_s: Their median length, and so on; NaN where none was planned.
        p95_s: 95th percentile of the lengths.
        gap: Median distance to the lower bound; NaN where there is none.
        sgl_bytes: Median bytes over space-ground links, both ways.
        isl_bytes: Median bytes over inter-satellite links, every hop.
        flown_s: Median over starts of the median, 5th and 95th percentile of the length over draws of outages; NaN
            without draws, or where so many do not end.
    """

    values: Mapping[str, Any]
    planned: int
    _: KW_ONLY
    starts: int
    makespan_s: float
    p95_s: float
    gap: float
    sgl_bytes: float
    isl_bytes: float
    flown_s: tuple[float, float, float]

    @property
    def is_flown(self) -> bool:
        """Whether rounds were flown through draws."""
        return self.flown_s[0] == self.flown_s[0]


@dataclass(frozen=True)
class Effect:
    """The effect of one key: the median length of a round for each of its values, over all else that varies."""

    key: str
    medians_s: Mapping[str, float]

    @property
    def span_s(self) -> float:
        """From the best to the worst value."""
        return max(self.medians_s.values()) - min(self.medians_s.values())


def points_of(rows: Sequence[Row], keys: Sequence[str]) -> list[Point]:
    """Return a point per combination of ``keys``, in the order of the rows."""
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(row.get(key) for key in keys), []).append(row)
    return [_point(dict(zip(keys, values, strict=True)), group) for values, group in groups.items()]


def pareto_front(points: Sequence[Point]) -> list[Point]:
    """Return the points that no other beats in both length and bytes over space-ground links, soonest first.

    Only combinations of which every start could be planned count.
    """
    whole = [point for point in points if point.planned == point.starts]
    front: list[Point] = []
    for point in sorted(whole, key=lambda point: (point.makespan_s, point.sgl_bytes)):
        if not front or point.sgl_bytes < front[-1].sgl_bytes:
            front.append(point)
    return front


def effects_of(rows: Sequence[Row], keys: Sequence[str]) -> list[Effect]:
    """Return what each key moves, the largest first; keys with one planned value only are left out."""
    effects = []
    planned = [row for row in rows if row["state"] == PLANNED]
    for key in keys:
        by_value: dict[str, list[float]] = {}
        for row in planned:
            by_value.setdefault(str(row.get(key)), []).append(row["makespan_s"])
        if len(by_value) > 1:
            effects.append(
                Effect(key, {value: float(np.median(lengths_s)) for value, lengths_s in by_value.items()})
            )
    return sorted(effects, key=lambda effect: -effect.span_s)


def _point(values: Mapping[str, Any], rows: Sequence[Row]) -> Point:
    planned = [row for row in rows if row["state"] == PLANNED]

    def median(*names: str) -> float:
        sums = [sum(row[name] for name in names) for row in planned if row.get(names[0]) is not None]
        return float(np.median(sums)) if sums else float("nan")

    lengths_s = [row["makespan_s"] for row in planned]
    return Point(
        values=values,
        planned=len(planned),
        starts=len(rows),
        makespan_s=median("makespan_s"),
        p95_s=float(np.percentile(lengths_s, 95)) if planned else float("nan"),
        gap=median("gap_to_bound"),
        sgl_bytes=median("down_bytes", "up_bytes"),
        isl_bytes=median("isl_bytes"),
        flown_s=(median("flown_median_s"), median("flown_p5_s"), median("flown_p95_s")),
    )
