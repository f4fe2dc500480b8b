"""A resolved scenario as the text of a file that stands alone: it can be taken to another machine."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import PurePath
from typing import Any

from mission.schema import Scenario

FOLDER = "FILES"  # environment variable that stands for where its files are
_PATHS = ("constellation.path", "contacts.path", "links.inter_orbit.pairs", "model.path", "data.path")


def scenario_toml(scenario: Scenario) -> tuple[str, tuple[str, ...]]:
    """Return a scenario as TOML, and the names of the files that it needs beside it.

    Keys at their defaults are left out, except those of training, whose defaults depend on one another. A file or
    folder is named by its own name in ``$FILES``, wherever it lay.
    """
    values = scenario.model_dump(exclude_defaults=True)
    values["training"] = scenario.training.model_dump()
    files: list[str] = []
    for dotted in _PATHS:
        *parents, last = dotted.split(".")
        table: Any = values
        for parent in parents:
            table = table.get(parent, {})
        path = table.get(last)
        if isinstance(path, str) and path and ("/" in path or "." in path):
            files.append(PurePath(path).name)
            table[last] = f"${FOLDER}/{files[-1]}"
    return "\n".join(_lines(values, "")) + "\n", tuple(files)


def toml_value(value: Any) -> str:
    """A value as TOML: text, numbers, truth values, times, and lists of tables, a line each."""
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            escaped = value.replace("\\", "\\\\").replace('"', '\\"')
            return f'"{escaped}"'
        case datetime():
            return f'"{value:%Y-%m-%dT%H:%M:%SZ}"'
        case list() | tuple() if not any(isinstance(item, Mapping) for item in value):
            return "[" + ", ".join(toml_value(item) for item in value) + "]"
        case list() | tuple():
            lines = [
                "  { " + ", ".join(f"{key} = {toml_value(item)}" for key, item in row.items()) + " },\n"
                for row in value
            ]
            return "[\n" + "".join(lines) + "]"
        case _:
            return repr(value)


def _lines(table: Mapping[str, Any], name: str) -> Iterator[str]:
    """A table's own keys, then the tables in it."""
    own = {key: value for key, value in table.items() if not isinstance(value, Mapping)}
    if name and own:
        yield f"\n[{name}]"
    yield from (f"{key} = {toml_value(value)}" for key, value in own.items())
    for key, value in table.items():
        if isinstance(value, Mapping):
            yield from _lines(value, f"{name}.{key}".lstrip("."))
