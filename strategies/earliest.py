"""The earliest time by which something is possible, where more time never hurts."""

from __future__ import annotations

from collections.abc import Callable

PRECISION = 1e-3  # of the length that is looked for
_FIRST_S = 30.0


def earliest_s(
    served: Callable[[float], float], start_s: float, low_s: float, horizon_s: float
) -> float | None:
    """Return a time before which ``served`` stays below 1, and hardly later than it gets there; None if it never does.

    ``served(time_s)`` is the part of everything that can be done by then; nothing is by ``low_s`` or before.  The search
    goes along the slope of that part, and halves what is left where that leads nowhere.
    """
    known: list[tuple[float, float]] = []  # time and part, of those that do not suffice
    length_s = max(low_s - start_s, 0.0)
    high_s = min(start_s + length_s * (1.0 + PRECISION) + 1e-6, horizon_s)
    while (part := served(high_s)) < 1.0:
        known.append((high_s, part))
        if high_s >= horizon_s:
            return None
        ahead_s = _ahead_s(known)
        length_s = max(high_s - start_s, _FIRST_S / 2.0)
        step_s = min(max(1.05 * ahead_s, 0.02 * length_s), length_s) if ahead_s is not None else length_s
        high_s = min(high_s + step_s, horizon_s)
    low_s = known[-1][0] if known else low_s
    halve = False
    while high_s - low_s > PRECISION * (high_s - start_s):
        width_s = high_s - low_s
        ahead_s = None if halve else _ahead_s(known)
        middle_s = low_s + width_s / 2.0
        if ahead_s is not None and ahead_s < width_s:
            middle_s = min(max(low_s + 1.01 * ahead_s, low_s + 0.02 * width_s), high_s - 0.02 * width_s)
        if (part := served(middle_s)) < 1.0:
            known.append((middle_s, part))
            low_s = middle_s
        else:
            high_s = middle_s
        halve = high_s - low_s > width_s / 2.0
    return low_s


def _ahead_s(known: list[tuple[float, float]]) -> float | None:
    """How long the rest takes at the pace between the last two times; None where there is no such pace."""
    if len(known) < 2:
        return None
    (before_s, less), (time_s, part) = known[-2:]
    if part <= less or time_s <= before_s or less <= 0.0:
        return None
    return (1.0 - part) * (time_s - before_s) / (part - less)
