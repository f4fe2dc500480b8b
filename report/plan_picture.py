"""A planned round as lines of characters: a row per satellite, time from left to right."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any

from mission.text.plain_text import plain
from mission.text.quantities import spoken_time

WIDEST = 100  # characters of a line
MOST_ROWS = 24  # a longer picture is not read
_LONGEST_NAME = 14
_ON_BOARD = ("embed", "head", "train")


@dataclass(frozen=True)
class Signs:
    """The characters of a picture, from what is covered to what covers it."""

    in_sight: str
    computing: str
    _: KW_ONLY
    between: str
    to_ground: str


UNICODE = Signs(in_sight="·", computing="░", between="▄", to_ground="█")
ASCII = Signs(in_sight=".", computing="c", between="=", to_ground="#")


def plan_picture(
    satellites: Sequence[str],
    contacts: Iterable[Mapping[str, Any]],
    activities: Iterable[Mapping[str, Any]],
    span_s: tuple[float, float],
    *,
    width: int = WIDEST,
    signs: Signs = UNICODE,
) -> list[str]:
    """Return the picture of a round.

    A cell shows the topmost of what happens in its time, however briefly.

    Args:
        satellites: Names, from top to bottom; more than :data:`MOST_ROWS` are cut off.
        contacts: Rows of ``orbit.files.contact_plan_files.to_rows``.
        activities: Rows of ``strategies.problem.plan.Plan.to_rows``.
        span_s: First and last instant shown, mission time.
        width: Of a line, in characters.
        signs: What to draw with.
    """
    shown = [plain(name, _LONGEST_NAME) for name in satellites[:MOST_ROWS]]
    margin = max(map(len, shown), default=0) + 1
    cells = max(width - margin, 10)
    rows = {name: [" "] * cells for name in satellites[:MOST_ROWS]}
    marks = sorted(_marks(contacts, activities, signs), key=lambda mark: _rank(mark[3], signs))
    for name, start_s, end_s, sign in marks:
        if name in rows and end_s > span_s[0] and start_s < span_s[1]:
            first = max(_cell(start_s, span_s, cells), 0)
            last = min(_cell(end_s, span_s, cells), cells - 1)
            rows[name][first : last + 1] = sign * (last - first + 1)
    lines = [
        f"{name:<{margin}}{''.join(row)}".rstrip() for name, row in zip(shown, rows.values(), strict=True)
    ]
    if len(satellites) > MOST_ROWS:
        lines.append(f"and {len(satellites) - MOST_ROWS} more satellites")
    lines.append(" " * margin + _scale(span_s[1] - span_s[0], cells))
    legend = {
        signs.to_ground: "to or from a station", signs.between: "between satellites",
        signs.computing: "computing", signs.in_sight: "in sight",
    }  # fmt: skip
    lines.append("  ".join(f"{sign} {word}" for sign, word in legend.items()))
    return lines


def _scale(length_s: float, cells: int) -> str:
    """The times below a picture, each from its cell on but the last, which ends with it; as many as have room."""
    end = spoken_time(length_s)
    parts = next(count for count in (4, 2, 1) if cells >= count * (2 * len(end) + 2) or count == 1)
    times = ["0", *(spoken_time(length_s * part / parts) for part in range(1, parts))]
    line = "".join(
        time.ljust(cells * (part + 1) // parts - cells * part // parts) for part, time in enumerate(times)
    )
    return line[: cells - len(end)].ljust(cells - len(end)) + end


def _marks(
    contacts: Iterable[Mapping[str, Any]], activities: Iterable[Mapping[str, Any]], signs: Signs
) -> Iterator[tuple[str, float, float, str]]:
    """Satellite, start, end and sign of all that is drawn."""
    for row in contacts:
        if row["kind"] == "downlink":
            yield row["source"], row["start_s"], row["end_s"], signs.in_sight
    for row in activities:
        if row["link"] in ("downlink", "uplink"):
            # Whose antenna it is: of an uplink the receiver's, of a downlink the sender's.
            name = row["node"] if row["link"] == "downlink" else row["peer"]
            yield name, row["start_s"], row["end_s"], signs.to_ground
        elif row["link"]:
            yield row["node"], row["start_s"], row["end_s"], signs.between
            yield row["peer"], row["start_s"], row["end_s"], signs.between
        elif row["kind"] in _ON_BOARD:
            yield row["node"], row["start_s"], row["end_s"], signs.computing


def _rank(sign: str, signs: Signs) -> int:
    return (signs.in_sight, signs.computing, signs.between, signs.to_ground).index(sign)


def _cell(time_s: float, span_s: tuple[float, float], cells: int) -> int:
    return int((time_s - span_s[0]) / max(span_s[1] - span_s[0], 1e-9) * cells)
