"""What commands print with: text is text. A satellite called `A [/] B` or `\\x1b[2J` is shown as it is called.

Styles are given as styles (`style=`, `rich.text.Text`), never as markup inside a string.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from mission.text.plain_text import plain

_LONGEST_LINE = 1 << 16


class Terminal(Console):
    """A console without markup and emoji codes, whose strings cannot steer the terminal they are shown on."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**{"markup": False, "emoji": False, "highlight": False, **settings})

    def render_str(self, text: str, **settings: Any) -> Text:
        """Render a string; its lines stay lines, all else that is not printable is shown as an escape."""
        return super().render_str(plain_lines(text), **settings)

    def say(self, sentence: str, style: str = "") -> None:
        """Print a sentence: one line for programs, lines that end between words on a terminal."""
        self.print(sentence, soft_wrap=not self.is_terminal, highlight=False, style=style)

    def print_table(self, title: str, table: Table) -> None:
        """Print a table below its title, which is a line of its own however narrow the table is."""
        self.print()
        self.say(title)
        self.print(table)


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


@contextmanager
def progress_bar(doing: str) -> Iterator[Callable[[float], None]]:
    """Show a bar on standard error, which the yielded function sets to a share of 1, and nothing of it afterwards.

    The time that has passed goes on while the bar stands still.
    """
    console = Terminal(stderr=True)
    columns = (*Progress.get_default_columns(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(escape(plain(doing)), total=1.0)
        yield lambda done: progress.update(task, completed=done)


def plain_lines(text: str) -> str:
    """Return `text` as `plain` would have it, but with its line ends and tabs."""
    lines = text.replace("\t", "    ").split("\n")
    return "\n".join(plain(line, _LONGEST_LINE) for line in lines)
