"""Hover text of the Gantt chart: the two ends of a transfer, its start and end, its bytes and its rate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass

import numpy as np

from mission.text.plain_text import label
from mission.text.quantities import spoken_bytes

_NAMED_PEERS = 3
_POINTS_A_ROW = 80  # a pointer over a bar is this part of the chart's width from a point, or less
_MOST_POINTS = 20_000  # of a chart


@dataclass(frozen=True)
class Part:
    """One activity behind a bar.

    Attributes:
        start_s: Mission time.
        end_s: Mission time.
        peer: Station or satellite at the other end; may be empty.
        size_bytes: That cross, or could.
    """

    start_s: float
    end_s: float
    _: KW_ONLY
    peer: str = ""
    size_bytes: float = 0.0


@dataclass(frozen=True, eq=False)
class HoverPoints:
    """Points that carry the words of bars: times [s], places of rows, and the words."""

    time_s: np.ndarray
    row: np.ndarray
    _: KW_ONLY
    words: list[str]


def hover_points(
    bars: Mapping[str, np.ndarray],
    parts: Mapping[str, Sequence[Part]],
    place: Mapping[str, float],
    shown_s: float,
    unit: tuple[str, float],
    *,
    verb: str = "",
) -> HoverPoints:
    """Return points along the bars of one label.

    Args:
        bars: Start and end of the bars [s], shape (bars, 2), by satellite.
        parts: What the bars were made of, by satellite.
        place: Where the middle of a satellite's bars lies.
        shown_s: Length of the time shown.
        unit: In which times are read, and its seconds.
        verb: Before the bytes, e.g. "could carry".
    """
    times: list[np.ndarray] = []
    rows: list[np.ndarray] = []
    words: list[str] = []
    apart_s = shown_s / _POINTS_A_ROW if sum(map(len, bars.values())) < _MOST_POINTS / 4 else shown_s
    for name, spans in bars.items():
        for (start_s, end_s), inside in zip(spans.tolist(), _inside(spans, parts[name]), strict=True):
            count = max(1, int((end_s - start_s) / apart_s))
            times.append(start_s + (end_s - start_s) * (np.arange(count) + 0.5) / count)
            rows.append(np.full(count, place[name]))
            words.extend([_words(name, inside, (start_s, end_s), unit, verb)] * count)
    empty = np.zeros(0)
    return HoverPoints(np.concatenate([empty, *times]), row=np.concatenate([empty, *rows]), words=words)


def _inside(spans: np.ndarray, parts: Sequence[Part]) -> list[list[Part]]:
    """Which parts each bar was made of: those that start in it."""
    inside: list[list[Part]] = [[] for _ in spans]
    starts = spans[:, 0]
    for part in parts:
        number = int(np.searchsorted(starts, part.start_s, side="right")) - 1
        inside[max(number, 0)].append(part)
    return inside


def _words(
    name: str, inside: Sequence[Part], span_s: tuple[float, float], unit: tuple[str, float], verb: str
) -> str:
    peers = list(dict.fromkeys(part.peer for part in inside if part.peer))
    others = f" and {len(peers) - _NAMED_PEERS} more" if len(peers) > _NAMED_PEERS else ""
    with_whom = f" – {', '.join(map(label, peers[:_NAMED_PEERS]))}{others}" if peers else ""
    word, unit_s = unit
    start, end = (time_s / unit_s for time_s in span_s)
    lines = [f"{label(name)}{with_whom}", f"{start:.6g} to {end:.6g} {word}"]
    if size := sum(part.size_bytes for part in inside):
        busy_s = min(sum(part.end_s - part.start_s for part in inside), span_s[1] - span_s[0])
        rate = f" at {8e-6 * size / busy_s:.3g} Mbit/s" if busy_s > 0.0 else ""
        lines.append(f"{verb} {spoken_bytes(size)}{rate}".strip())
    return "<br>".join(lines)
