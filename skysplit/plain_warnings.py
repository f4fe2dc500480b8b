"""Warnings about orbits as people read them: one line on stderr, without a place in the code."""

from __future__ import annotations

import warnings
from typing import TextIO

from orbit.orbit_warning import OrbitWarning
from skysplit.terminal import Terminal

_print_as_python = warnings.showwarning


def print_warnings_plainly() -> None:
    """From here on, print each ``OrbitWarning`` once, and every other warning as before."""
    printed: set[str] = set()

    def show(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        if not issubclass(category, OrbitWarning):
            _print_as_python(message, category, filename, lineno, file, line)
        elif str(message) not in printed:
            printed.add(str(message))
            Terminal(stderr=True).say(f"warning: {message}", style="yellow")

    warnings.showwarning = show
