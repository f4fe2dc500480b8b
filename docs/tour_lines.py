"""Renew the line numbers of docs/tour.md: `python docs/tour_lines.py`."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "tour.md"
STOP = re.compile(r"`([\w/]+\.py):(\d+)` `(\w+)`")


def defined_at(file: str, name: str) -> int:
    """Return the line on which a module defines a class or function.

    Raises:
        ValueError: It defines no such thing.
    """
    for node in ast.parse((ROOT / file).read_text(encoding="utf-8")).body:
        if getattr(node, "name", None) == name:
            return node.lineno  # type: ignore[attr-defined]
    raise ValueError(f"docs/tour.md: {file} defines no {name}")


def renewed(text: str) -> str:
    """Return the page with the line numbers of today."""
    return STOP.sub(lambda stop: f"`{stop[1]}:{defined_at(stop[1], stop[3])}` `{stop[3]}`", text)


if __name__ == "__main__":
    PAGE.write_text(renewed(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
