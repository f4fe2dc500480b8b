"""A chart's still picture: what a page shows of a figure until its library of charts has started, and without scripts.

It is made of the same figure as the chart, so that it says the same. Points and bars are drawn in a square that the
browser stretches to its place; letters and the width of lines keep their size, on a telephone as on a wide screen.
"""

from __future__ import annotations

import html
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

INK = "#010203"  # in a figure, the colour of the text: dark on a light page and light on a dark one

_SIDE = 10_000  # of the square, in units of its own
_TICKS = 6  # intervals between numbers on an axis, about
_MOST_CATEGORIES = 12  # named along the first axis
_ROW_PX = 12  # of a name beside the second axis, at least
_HEIGHT_PX = 320  # of a figure that gives none
_BAR = 0.8  # of the room of a category
_ABOVE = 1.05  # of the longest bar or the farthest point, where an axis ends
_DASHES = {"dot": "2 3", "dash": "7 5"}

Points = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class _Shape:
    """A path in one colour: coordinates of its points, with NaN between separate lines or outlines.

    Attributes:
        x: Values on the first axis.
        y: Values on the second one.
        how: ``fill``, ``line`` or ``dots``.
        colour: As in the figure.
        axis: Name of the second axis in the layout.
        style: Further attributes of the path.
    """

    x: Points
    y: Points
    _: KW_ONLY
    how: str
    colour: str
    axis: str = "yaxis"
    style: str = ""


@dataclass(frozen=True, eq=False)
class _Axis:
    """An axis: what is shown from end to end, and where it says what.

    Attributes:
        start: Value at the left or at the top.
        end: Value at the right or at the bottom.
        ticks: Values and their words.
        title: May be empty.
    """

    start: float
    end: float
    _: KW_ONLY
    ticks: Sequence[tuple[float, str]]
    title: str

    def places(self, values: Points) -> Points:
        """Return the parts of the way from start to end."""
        return (values - self.start) / ((self.end - self.start) or 1.0)

    def words(self) -> Iterator[tuple[float, str]]:
        """Yield the place of each tick in sight, in per cent, and its words."""
        for value, word in self.ticks:
            place = 100.0 * float(self.places(np.array(value)))
            if -0.01 <= place <= 100.01:
                yield place, word


def still_markup(figure: go.Figure) -> str:
    """Return the picture as markup that fills its place; empty for a figure that only the library can draw.

    Lines, dots, filled outlines and bars over numbers or names are drawn, on one first axis.
    """
    layout, traces = figure.layout, figure.data
    drawn = {"scatter", "bar"} >= {trace.type for trace in traces} and "xaxis2" not in layout
    if not traces or not drawn or any(_is_beyond(trace) for trace in traces) or "log" in _types(layout):
        return ""
    names = {axis: _categories(figure, axis[0]) for axis in ("xaxis", "yaxis")}
    shapes = [*_bars(figure, names), *(shape for trace in traces for shape in _scatter(trace, names))]
    x = _axis(layout.xaxis, [shape.x for shape in shapes], names["xaxis"], _MOST_CATEGORIES)
    rows = (layout.height or _HEIGHT_PX) // _ROW_PX
    second = {
        axis: _axis(layout[axis], [shape.y for shape in shapes if shape.axis == axis], names.get(axis), rows, down=True)
        for axis in dict.fromkeys(shape.axis for shape in shapes)
    }  # fmt: skip
    paths = "".join(_path(shape, x, second[shape.axis]) for shape in shapes)
    return _frame(_key(figure), paths, x, second, layout)


def _types(layout: go.Layout) -> set[str | None]:
    return {layout[axis].type for axis in ("xaxis", "yaxis", "yaxis2") if axis in layout}


def _is_beyond(trace: Any) -> bool:
    """Return whether a trace has a feature that still pictures do not support."""
    if trace.type == "scatter" and (trace.mode == "none" and trace.fill is None):
        return False  # points that only the pointer finds
    has_errors = trace.error_x.array is not None or trace.error_y.array is not None
    colours = _colour(trace)  # none, where the library chooses; numbers, where it has a scale
    return has_errors or not all(
        isinstance(each, str) for each in ([colours] if colours is None else colours)
    )


def _categories(figure: go.Figure, letter: str) -> dict[str, int] | None:
    """Return the places of names on an axis, in the order in which they come; None for an axis of numbers."""
    values = [value for trace in figure.data for value in _listed(trace[letter])]
    axis = figure.layout[f"{letter}axis"]
    if axis.type != "category" and not any(isinstance(value, str) for value in values):
        return None
    return {name: place for place, name in enumerate(dict.fromkeys(map(str, values)))}


def _listed(values: Any) -> Sequence[Any]:
    return () if values is None else values


def _numbers(values: Any, names: Mapping[str, int] | None) -> Points:
    """Return values as numbers: NaN for nothing, its place for a name."""
    if names is not None:
        return np.array([names[str(value)] for value in _listed(values)], float)
    return np.array([math.nan if value is None else value for value in _listed(values)], float)


def _scatter(trace: Any, names: Mapping[str, Mapping[str, int] | None]) -> Iterator[_Shape]:
    if trace.type != "scatter":
        return
    x, y = (_numbers(trace[axis[0]], names[axis]) for axis in ("xaxis", "yaxis"))
    axis = f"yaxis{(trace.yaxis or 'y')[1:]}"
    opacity = f' opacity="{trace.opacity}"' if trace.opacity else ""
    if trace.fill == "toself" and len(x):
        yield _Shape(x, y, how="fill", colour=trace.fillcolor, axis=axis, style=opacity)
    mode = trace.mode or "lines+markers"
    if "lines" in mode:
        dash = f' stroke-dasharray="{_DASHES[trace.line.dash]}"' if trace.line.dash in _DASHES else ""
        style = f'{opacity}{dash} stroke-width="{trace.line.width or 2}"'
        yield _Shape(x, y, how="line", colour=trace.line.color, axis=axis, style=style)
    if "markers" in mode:
        colours = trace.marker.color if trace.marker.color is not None else _colour(trace)
        each = _of_each(colours, len(x))
        for colour in dict.fromkeys(each.tolist()):
            own, style = each == colour, f'{opacity} stroke-width="{trace.marker.size or 6}"'
            yield _Shape(x[own], y[own], how="dots", colour=colour, axis=axis, style=style)


def _bars(figure: go.Figure, names: Mapping[str, Mapping[str, int] | None]) -> Iterator[_Shape]:
    """Yield the bars of each trace as outlines: on one another, or beside those of other groups."""
    traces = [trace for trace in figure.data if trace.type == "bar"]
    beside = figure.layout.barmode in (None, "group")
    groups = [trace.offsetgroup or (str(number) if beside else "") for number, trace in enumerate(traces)]
    order = list(dict.fromkeys(groups))
    reached: dict[tuple[str, float, bool], float] = {}
    for trace, group in zip(traces, groups, strict=True):
        along, across = ("x", "y") if trace.orientation == "h" else ("y", "x")
        length = np.nan_to_num(_numbers(trace[along], names[f"{along}axis"]))
        place = _numbers(trace[across], names[f"{across}axis"])
        low = np.zeros(len(place))
        for k, key in enumerate(zip(place, length < 0, strict=True)):
            low[k] = 0.0 if beside else reached.get((group, *key), 0.0)
            reached[(group, *key)] = low[k] + length[k]
        side = place - _BAR / 2 + order.index(group) * _BAR / len(order)
        each = _of_each(trace.marker.color, len(place))
        for colour in dict.fromkeys(each.tolist()):
            own = (each == colour) & (length != 0)
            ends = low[own], low[own] + length[own]
            sides = side[own], side[own] + _BAR / len(order)
            outline = {along: _outline(*ends, turned=False), across: _outline(*sides, turned=True)}
            yield _Shape(outline["x"], outline["y"], how="fill", colour=colour)


def _of_each(colours: Any, count: int) -> NDArray[np.str_]:
    """Return the colour of each of so many bars or points."""
    return np.array([colours] * count if isinstance(colours, str) else colours, str)


def _outline(first: Points, last: Points, *, turned: bool) -> Points:
    """Return one coordinate of the four corners of bars, each with NaN behind it."""
    corners = (first, first, last, last) if turned else (first, last, last, first)
    return np.stack([*corners, np.full(len(first), np.nan)], axis=1).ravel()


def _axis(
    layout: Any, values: Sequence[Points], names: Mapping[str, int] | None, most: int, *, down: bool = False
) -> _Axis:
    """Return an axis as its layout has it, or else one that shows all values.

    Args:
        layout: Of the axis.
        values: Of the shapes on it.
        names: Of its places.
        most: Names that it has room for.
        down: Whether it is the second one, whose numbers grow towards the top.
    """
    known = np.concatenate([np.zeros(0), *values])
    known = known[np.isfinite(known)]
    low, high = (float(known.min()), float(known.max())) if len(known) else (0.0, 1.0)
    if layout.range is not None:
        low, high = layout.range
    elif names is not None:
        low, high = -0.5, len(names) - 0.5
    else:
        spare = (high - low or abs(high) or 1.0) * (_ABOVE - 1.0)
        from_zero = layout.rangemode == "tozero" or low == 0.0
        low, high = (0.0 if from_zero and low >= 0.0 else low - spare), high + spare
    if layout.autorange == "reversed":
        low, high = high, low
    start, end = (high, low) if down else (low, high)
    return _Axis(
        start,
        end,
        ticks=_ticks(layout, min(low, high), max(low, high), names, most),
        title=layout.title.text or "",
    )


def _ticks(
    layout: Any, low: float, high: float, names: Mapping[str, int] | None, most: int
) -> list[tuple[float, str]]:
    if layout.tickvals is not None:
        named = list(zip(layout.tickvals, layout.ticktext or layout.tickvals, strict=True))
        return [(float(value), str(word)) for value, word in named[:: math.ceil(len(named) / most)]]
    if names is not None:
        return [(place, name) for name, place in list(names.items())[:: math.ceil(len(names) / most)]]
    step = layout.dtick or _step((high - low) / _TICKS)
    values = np.arange(math.ceil(low / step), math.floor(high / step) + 1) * step
    suffix = layout.ticksuffix or ""
    return [(float(value), f"{value:.6g}{suffix}".replace("-", "−")) for value in values]


def _step(about: float) -> float:
    """Return the next of 1, 2 and 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(about)) if about > 0 else 1.0
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= about * (1 - 1e-9))


def _path(shape: _Shape, x: _Axis, y: _Axis) -> str:
    """Return a path of all points of a shape."""
    colour = _painted(shape.colour)
    places = np.stack([x.places(shape.x), y.places(shape.y)], axis=1)
    parts: dict[str, None] = {}  # bars that fall on each other are one
    edges = np.flatnonzero(~np.isfinite(places).all(axis=1))
    for part in np.split(places, edges):
        points = np.rint(part[np.isfinite(part).all(axis=1)] * _SIDE).astype(int).tolist()
        if points:
            parts |= dict.fromkeys(
                [f"M{a} {b}h0" for a, b in points] if shape.how == "dots" else [_steps(points)]
            )
    paint = {
        "fill": f'fill="{colour}"',
        "line": f'stroke="{colour}"',
        "dots": f'stroke="{colour}" stroke-linecap="round"',
    }[shape.how]
    end = "z" if shape.how == "fill" else ""
    return f'<path {paint}{shape.style} d="{"".join(part + end for part in parts)}"/>' if parts else ""


def _steps(points: Sequence[tuple[int, int]]) -> str:
    """Return the path from point to point, short where it is level or upright."""
    (a, b), *rest = points
    steps = [f"M{a} {b}"]
    for c, d in rest:
        steps.append(f"H{c}" if d == b else f"V{d}" if c == a else f"L{c} {d}")
        a, b = c, d
    return "".join(steps)


def _key(figure: go.Figure) -> str:
    """Return the legend: a patch of colour and a name for each trace that the chart's own legend names."""
    if figure.layout.showlegend is False or (len(figure.data) < 2 and not figure.layout.showlegend):
        return ""
    return "".join(
        f'<span><i style="background:{_painted(_of_each(_colour(trace), 1)[0])}"></i>{html.escape(trace.name)}</span>'
        for trace in figure.data
        if trace.name and trace.showlegend is not False
    )


def _colour(trace: Any) -> Any:
    """Return the colour of a trace, or those of its points."""
    of_line = (trace.fillcolor or trace.line.color) if trace.type == "scatter" else None
    of_points = trace.marker.color if trace.marker.color is not None else trace.marker.line.color
    return of_line or of_points


def _painted(colour: str) -> str:
    """Return a figure's colour as a page has it."""
    return "currentColor" if colour == INK else html.escape(colour)


def _frame(key: str, paths: str, x: _Axis, second: Mapping[str, _Axis], layout: go.Layout) -> str:
    """Return paths in their frame: lines of the grid, words beside and below it, titles, and the key above."""
    y, right = second.get("yaxis"), second.get("yaxis2")
    grid = "".join(f"M{round(place * _SIDE / 100)} 0V{_SIDE}" for place, _ in x.words())
    if y and layout.yaxis.tickvals is None:  # rows by name have none in the chart either
        grid += "".join(f"M0 {round(place * _SIDE / 100)}H{_SIDE}" for place, _ in y.words())
    below = "".join(f'<b style="left:{place:.2f}%">{html.escape(word)}</b>' for place, word in x.words())
    end = "above" if layout.xaxis.side == "top" else "below"
    return (
        f'<div class="still" aria-hidden="true"><div class="key">{key}</div><div class="axes {end}">'
        f"{_beside(y, 'left')}"
        f'<svg viewBox="0 0 {_SIDE} {_SIDE}" preserveAspectRatio="none" fill="none">'
        f'<path class="grid" d="{grid}"/>{paths}</svg>'
        f'{_beside(right, "right")}<div class="ticks">{below}</div><div class="title">{html.escape(x.title)}</div>'
        "</div></div>"
    )


def _beside(axis: _Axis | None, side: str) -> str:
    """Return the title and the words of a second axis; as wide as the longest of them."""
    if axis is None:
        return ""
    words = [(place, word.replace("<br>", "\n")) for place, word in axis.words()]
    longest = max((len(line) for _, word in words for line in word.splitlines()), default=0)
    ticks = "".join(f'<b style="top:{place:.2f}%">{html.escape(word)}</b>' for place, word in words)
    return (
        f'<div class="{side}"><div class="title">{html.escape(axis.title)}</div>'
        f'<div class="ticks" style="width:{longest}ch">{ticks}</div></div>'
    )
