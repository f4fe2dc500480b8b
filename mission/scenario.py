"""Reading a scenario: one TOML file, overrides, and one clear error.

    scenario = load_scenario("walker-72", {"training.mode": "head"})

A scenario is named by a path or by the name of a shipped file (``scenarios/NAME.toml``). Overrides are dotted
keys with values as TOML would give them, or as text; the resolved scenario is what a run records.
"""

from __future__ import annotations

import difflib
import json
import os
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType, UnionType
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from mission.schema import Scenario

_SHIPPED = Path(__file__).resolve().parent.parent / "scenarios"


class ScenarioError(ValueError):
    """A scenario is wrong; the message names file, key, what was found and what is allowed."""


def shipped_scenarios() -> dict[str, Path]:
    """Names of the scenarios that come with SkySplit, with their files."""
    return {path.stem: path for path in sorted(_SHIPPED.glob("*.toml"))}


def scenario_path(name_or_path: str) -> Path:
    """The file that a name or path means.

    Raises:
        ScenarioError: There is no such file and no shipped scenario of that name.
    """
    path = Path(name_or_path).expanduser()
    if path.is_file():
        return path
    shipped = shipped_scenarios()
    if name_or_path in shipped:
        return shipped[name_or_path]
    raise ScenarioError(
        f"scenario {name_or_path!r}: no such file, and not one of the shipped scenarios: {', '.join(shipped)}"
    )


def load_scenario(
    name_or_path: str, overrides: Mapping[str, Any] | None = None, *, given_as: str = "--set "
) -> Scenario:
    """Read, override and validate a scenario.

    Args:
        name_or_path: A TOML file, or the name of a shipped scenario.
        overrides: Dotted keys (``training.rounds``) to values. Text is read as the key's type wants it.
        given_as: Stands before an overridden key in an error, and says how the caller's user has given it.

    Raises:
        ScenarioError: Unreadable file, unknown key, wrong type, value out of range. All findings are in one
            message, a line each.
    """
    path = scenario_path(name_or_path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ScenarioError(f"{path}: not readable as TOML: {error}") from error
    return parse_scenario(text, path, overrides, given_as=given_as)


def parse_scenario(
    text: str, path: Path, overrides: Mapping[str, Any] | None = None, *, given_as: str = "--set "
) -> Scenario:
    """As :func:`load_scenario`, of the text of a file, which need not be there."""
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ScenarioError(f"{path}: not readable as TOML: {error}") from error
    tables.setdefault("name", path.stem)
    for key, value in (overrides or {}).items():
        _set(tables, key, value, given_as)
    return _validate(tables, str(path), dict.fromkeys(overrides or {}, given_as))


def scenario_from_json(text: str) -> Scenario:
    """The resolved scenario that :func:`scenario_to_json` wrote.

    Raises:
        ScenarioError: The text is not a resolved scenario of this version.
    """
    try:
        return Scenario.model_validate_json(text)
    except ValidationError as error:
        raise ScenarioError(validation_message(error, "resolved scenario")) from error


def scenario_to_json(scenario: Scenario) -> str:
    """The resolved scenario as JSON, every key present."""
    return scenario.model_dump_json()


def scenario_to_dict(scenario: Scenario) -> dict[str, Any]:
    """The resolved scenario as plain JSON values, for ``run.json``."""
    return json.loads(scenario.model_dump_json())


def scalar_keys() -> Iterator[tuple[str, Any]]:
    """Every dotted key that an override may set, with its default (``None`` where a file must give it).

    A list of tables, as ``ground.stations``, is set as a whole.
    """
    yield from _scalar_keys(Scenario, "")


def validation_message(
    error: ValidationError,
    file: str,
    overridden: Mapping[str, str] = MappingProxyType({}),
    known: Mapping[str, Any] | None = None,
) -> str:
    """Return one line per validation error, with file, key, value found and values allowed.

    Args:
        error: What pydantic found.
        file: Its name, for the message.
        overridden: Dotted keys that no file has given, and what stands before each instead of the file.
        known: Keys that an unknown one may have meant; by default those of a scenario.
    """
    known = dict(scalar_keys()) if known is None else known
    findings = error.errors()
    # A list of one wrong item is, to pydantic, also one too short.
    inner = [
        inner_finding
        for inner_finding in findings
        if not any(_is_within(other, inner_finding) for other in findings)
    ]
    return "\n".join(_line(finding, file, overridden, known) for finding in inner)


def given_path(text: str, key: str) -> Path | None:
    """A path of a scenario, with ``$NAME`` and ``~`` expanded; ``None`` for an empty one.

    Raises:
        ScenarioError: A variable is not set, or nothing is there. The message names the key.
    """
    if not text:
        return None
    expanded = os.path.expanduser(os.path.expandvars(text))
    if "$" in expanded:
        raise ScenarioError(f"{key}: found {text!r}, whose environment variable is not set")
    path = Path(expanded)
    if not path.exists():
        where = "" if path.is_absolute() else f" in {Path.cwd()}"
        raise ScenarioError(f"{key}: found {text!r}, but there is no such file or directory{where}")
    return path


def absolute_paths(scenario: Scenario) -> dict[str, str]:
    """Return, by key, the absolute paths of those files and folders that a scenario names by relative ones."""
    named = {
        "constellation.path": scenario.constellation.path,
        "contacts.path": scenario.contacts.path,
        "links.inter_orbit.pairs": scenario.links.inter_orbit.pairs,
        "model.path": scenario.model.path,
        "data.path": scenario.data.path,
    }
    return {
        key: str(Path(text).resolve())
        for key, text in named.items()
        if isinstance(text, str) and text and text[0] not in "~$/" and Path(text).exists()
    }


def _scalar_keys(table: type[BaseModel], prefix: str) -> Iterator[tuple[str, Any]]:
    for name, field in table.model_fields.items():
        annotation = field.annotation
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            yield from _scalar_keys(annotation, f"{prefix}{name}.")
        else:
            yield prefix + name, None if field.is_required() else field.default


def _set(tables: dict[str, Any], dotted: str, value: Any, given_as: str) -> None:
    known = dict(scalar_keys())
    if dotted not in known:
        raise ScenarioError(f"{given_as}{dotted}: unknown key{_did_you_mean(dotted, known)}")
    *parents, last = dotted.split(".")
    table = tables
    for parent in parents:
        table = table.setdefault(parent, {})
        if not isinstance(table, dict):
            raise ScenarioError(f"{parent}: found {table!r}, allowed: a table")
    table[last] = value


def _validate(tables: dict[str, Any], file: str, overridden: Mapping[str, str]) -> Scenario:
    try:
        return Scenario.model_validate(_coerced(Scenario, tables))
    except ValidationError as error:
        raise ScenarioError(validation_message(error, file, overridden)) from error


def _coerced(table: type[BaseModel], values: Any) -> Any:
    """Text for numbers and truth values as overrides give it, ints for floats and lists for tuples."""
    if not isinstance(values, dict):
        return values
    result: dict[str, Any] = {}
    for key, value in values.items():
        field = table.model_fields.get(key)
        annotation = field.annotation if field else None
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            result[key] = _coerced(annotation, value)
        elif item := _item_table(annotation):
            entries = _parsed(value) if isinstance(value, str) else value
            is_list = isinstance(entries, list | tuple)
            result[key] = tuple(_coerced(item, entry) for entry in entries) if is_list else entries
        elif isinstance(value, str) and _is_written_as_toml(annotation, value):
            result[key] = _tuples(_parsed(value))
        else:
            result[key] = _tuples(value)
    return result


def _is_written_as_toml(annotation: Any, text: str) -> bool:
    """Whether the text of an override stands for a value that is no text itself."""
    if get_origin(annotation) in (Union, UnionType):
        if int in get_args(annotation):
            return isinstance(_parsed(text), int)
        return text.startswith("[") and any(get_origin(kind) is tuple for kind in get_args(annotation))
    return annotation in (int, float, bool) or get_origin(annotation) is tuple


def _item_table(annotation: Any) -> type[BaseModel] | None:
    """The table that a list of tables is made of."""
    item = (get_args(annotation) or (None,))[0]
    return item if isinstance(item, type) and issubclass(item, BaseModel) else None


def _tuples(value: Any) -> Any:
    """Lists, and lists in them, as tuples."""
    return tuple(_tuples(entry) for entry in value) if isinstance(value, list) else value


def _parsed(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _is_within(finding: ErrorDetails, outer: ErrorDetails) -> bool:
    depth = len(outer["loc"])
    return len(finding["loc"]) > depth and finding["loc"][:depth] == outer["loc"]


def _line(finding: ErrorDetails, file: str, overridden: Mapping[str, str], known: Mapping[str, Any]) -> str:
    key = ".".join(str(part) for part in finding["loc"])
    given_as = (given for path, given in overridden.items() if key == path or key.startswith(f"{path}."))
    where = f"{next(given_as, f'{file}: ')}{key}"
    value = list(finding["input"]) if isinstance(finding["input"], tuple) else finding["input"]
    match finding["type"]:
        case "extra_forbidden":
            return f"{where}: unknown key{_did_you_mean(key, known)}"
        case "missing":
            return f"{where}: missing, and it has no default"
        case "value_error":
            says = finding["msg"].removeprefix("Value error, ")  # of a table: it starts with the key at fault
            if not isinstance(value, dict):
                return f"{where}: found {value!r}, {says}"
            return f"{where}.{says}" if key else f"{where}{says}"
        case "tuple_type":
            return f"{where}: found {value!r}, allowed: a list"
        case "literal_error":
            return f"{where}: found {value!r}, allowed: {finding['ctx']['expected'].replace(' or ', ', ')}"
        case "too_short":
            return f"{where}: found {value!r}, allowed: at least {finding['ctx']['min_length']}"
        case "too_long":
            return f"{where}: found {value!r}, allowed: at most {finding['ctx']['max_length']}"
        case _:
            allowed = finding["msg"].removeprefix("Input should be ").removeprefix("a valid ")
            return f"{where}: found {value!r}, allowed: {allowed}"


def _did_you_mean(key: str, known: Mapping[str, Any]) -> str:
    close = difflib.get_close_matches(key, known, n=1, cutoff=0.6)
    if close:
        return f"; did you mean {close[0]}?"
    table = key.rpartition(".")[0]
    siblings = [name for name in known if name.rpartition(".")[0] == table] or sorted(
        {name.split(".")[0] for name in known}
    )
    return f"; known here: {', '.join(siblings)}" if siblings else ""
