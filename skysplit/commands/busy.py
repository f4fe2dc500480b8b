"""Say what a command is at while it has nothing to show yet: a spinner on a terminal, nothing elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from skysplit.terminal import Terminal


@contextmanager
def busy(doing: str) -> Iterator[None]:
    """Show on standard error what the block does and for how long, and nothing of it when it is over."""
    console = Terminal(stderr=True)
    columns = (
        SpinnerColumn("line" if console.options.ascii_only else "dots"),
        TextColumn("{task.description}", markup=False),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        progress.add_task(doing, total=None)
        yield
