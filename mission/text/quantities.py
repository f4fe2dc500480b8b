"""Times and sizes as one says them: the unit in which a number reads best."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta


def spoken_time(seconds: float) -> str:
    """Seconds as ``"85.3 s"``, ``"73.2 min"`` or ``"5.25 h"``; from two days on in days."""
    for limit_s, unit_s, unit in ((120.0, 1.0, "s"), (7200.0, 60.0, "min"), (172_800.0, 3600.0, "h")):
        if abs(seconds) < limit_s:
            return f"{_three_digits(seconds / unit_s)} {unit}"
    return f"{_three_digits(seconds / 86_400.0)} d"


def spoken_bytes(size: float) -> str:
    """Bytes as ``"512 B"``, ``"41.2 kB"``, ``"98.1 MB"``, ``"10.2 GB"`` or ``"3.43 TB"``, in powers of 1000."""
    unit = "B"
    for larger in ("kB", "MB", "GB", "TB", "PB"):
        if abs(size) < 999.5:
            break
        size, unit = size / 1000.0, larger
    return f"{size:.0f} B" if unit == "B" else f"{_three_digits(size)} {unit}"


def spoken_energy(joules: float) -> str:
    """Energy as ``"512 J"``, ``"41.2 kJ"``, or from a watt-hour's thousandfold on ``"3.43 kWh"``."""
    if abs(joules) >= 3.6e6:
        return f"{_three_digits(joules / 3.6e6)} kWh"
    if abs(joules) >= 999.5:
        return f"{_three_digits(joules / 1000.0)} kJ"
    return f"{_three_digits(joules)} J"


def utc_text(epoch: datetime, time_s: float) -> str:
    """Return mission time as UTC to the second: ``"2026-01-01T01:13:05Z"``."""
    moment = epoch.astimezone(UTC) + timedelta(seconds=round(time_s))
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def _three_digits(value: float) -> str:
    """Three digits, or all that are before the point."""
    size = abs(value)
    return f"{value:.0f}" if size >= 99.95 else f"{value:.1f}" if size >= 9.995 else f"{value:.2f}"
