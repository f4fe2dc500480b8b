"""The earliest time by which something is possible, where more time never hurts."""

from __future__ import annotations

import math
from collections.abc import Callable

PRECISION = 1e-3  # of the length that is looked for
_FIRST_S = 30.0
_LEAST_S = 1e-6
_ASIDE = 0.45  # so far from where the slope leads, in precisions: once on either side, and the search is over


def earliest_s(
    served: Callable[[float], float],
    start_s: float,
    low_s: float,
    horizon_s: float,
    *,
    precision: float = PRECISION,
) -> float | None:
    """Return a time before which ``served`` stays below 1, and hardly later than it gets there; None if it
    never does.

    ``served(time_s)`` is the part of everything that can be done by then; not all is by ``low_s``.  The
    search goes along the slope of that part.  Where that leads nowhere, it looks next to the last time that did not
    suffice (at the geometric mean of what is left and of the precision, since the first guess is often nearly right),
    and in the middle of what is left if that did not suffice either.
    """
    length_s = max(low_s - start_s, 0.0)
    high_s = min(start_s + length_s * (1.0 + precision) + _LEAST_S, horizon_s)
    before: tuple[float, float] | None = None  # time and part of the last that did not suffice
    ahead_s: float | None = None  # from there to where the slope leads
    while (part := served(high_s)) < 1.0:
        if high_s >= horizon_s:
            return None
        ahead_s = _ahead_s(before or (start_s, 0.0), (high_s, part))
        before = (high_s, part)
        length_s = max(high_s - start_s, _FIRST_S / 2.0)
        wanted_s = length_s if ahead_s is None else ahead_s + _ASIDE * precision * (length_s + ahead_s)
        high_s = min(high_s + min(max(wanted_s, precision * length_s), length_s), horizon_s)
    low_s = before[0] if before else low_s
    slow, above = 0, True  # steps in a row that left more than half
    while high_s - low_s > max(precision * (high_s - start_s), _LEAST_S):
        width_s = high_s - low_s
        nearby_s = math.sqrt(precision * (high_s - start_s) * width_s)
        between_s = low_s + (min(nearby_s, width_s / 2.0) if above else width_s / 2.0)
        middle_s = between_s
        if ahead_s is not None and before is not None and slow < 2:
            aside_s = _ASIDE * precision * (high_s - start_s)
            middle_s = before[0] + ahead_s + (-aside_s if above else aside_s)
            if not low_s + 0.01 * width_s < middle_s < high_s - 0.01 * width_s:
                middle_s = between_s
        part = served(middle_s)
        if part < 1.0:
            ahead_s = _ahead_s(before or (start_s, 0.0), (middle_s, part))
            before, low_s, above = (middle_s, part), middle_s, False
        else:
            high_s, above = middle_s, True
        slow = slow % 2 + 1 if high_s - low_s > width_s / 2.0 else 0
    return low_s


def _ahead_s(before: tuple[float, float], now: tuple[float, float]) -> float | None:
    """How long the rest takes at the pace between two times; None where there is no such pace."""
    (before_s, less), (now_s, part) = before, now
    if part <= less or now_s <= before_s:
        return None
    return (1.0 - part) * (now_s - before_s) / (part - less)
