"""Every key of a scenario, told for people: what it is, what is allowed, its default; read from the schema."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import KW_ONLY, dataclass
from datetime import datetime
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from mission.entry_points import OursOrRegistered
from mission.schema import Scenario
from mission.text.scenario_toml import toml_value

_WORDS: dict[object, str] = {
    str: "text",
    int: "whole number",
    float: "number",
    bool: "true or false",
    datetime: "UTC time",
}
_PLURALS = {"text or whole number": "texts or whole numbers", "number": "numbers"}
_BOUNDS = (("ge", "≥"), ("gt", ">"), ("le", "≤"), ("lt", "<"))


@dataclass(frozen=True)
class Key:
    """One key of a scenario.

    Attributes:
        table: Dotted name of its table; empty for the keys above all tables.
        name: Within the table.
        allowed: Kind of value and range, in words.
        default: As TOML; empty where a scenario must give it.
        description: What it is; may be empty.
    """

    table: str
    name: str
    _: KW_ONLY
    allowed: str
    default: str
    description: str

    @property
    def dotted(self) -> str:
        """As ``--set`` takes it."""
        return f"{self.table}.{self.name}" if self.table else self.name


def scenario_keys() -> Iterator[Key]:
    """All keys, table by table, in the order of the schema; a station's are in the table ``ground.stations``."""
    yield from _keys(Scenario, "")


def table_descriptions() -> dict[str, str]:
    """Return the description of each table, by dotted name, in the order of :func:`scenario_keys`."""
    return dict(_tables(Scenario, ""))


def _keys(table: type[BaseModel], prefix: str) -> Iterator[Key]:
    inner: list[tuple[str, type[BaseModel]]] = []
    for name, field in table.model_fields.items():
        nested = _table_of(field)
        if nested:
            inner.append((f"{prefix}.{name}".lstrip("."), nested))
        if nested is not field.annotation:
            default = "" if field.is_required() else toml_value(field.default)
            yield Key(
                prefix, name, allowed=_allowed(field), default=default, description=field.description or ""
            )
    for name, nested in inner:
        yield from _keys(nested, name)


def _tables(table: type[BaseModel], prefix: str) -> Iterator[tuple[str, str]]:
    yield prefix, (table.__doc__ or "").strip().splitlines()[0]
    for name, field in table.model_fields.items():
        nested = _table_of(field)
        if nested:
            yield from _tables(nested, f"{prefix}.{name}".lstrip("."))


def _table_of(field: FieldInfo) -> type[BaseModel] | None:
    """The table that a field is, or is a list of."""
    for kind in (field.annotation, *get_args(field.annotation)):
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            return kind
    return None


def _allowed(field: FieldInfo) -> str:
    for constraint in field.metadata:
        names = getattr(constraint, "func", None)
        if isinstance(names, OursOrRegistered):
            ours = ", ".join(toml_value(name) for name in names.ours)
            return f"{ours}, or of your own: entry point {names.group}"
    return ", ".join([_words(field.annotation), *_bounds(field.metadata)])


def _words(kind: Any) -> str:
    """A kind of value, with its bounds where the kind itself has some."""
    origin, values = get_origin(kind), get_args(kind)
    if origin is Annotated:
        constraints = [part for field in values[1:] for part in getattr(field, "metadata", [field])]
        return ", ".join([_words(values[0]), *_bounds(constraints)])
    if origin is Literal:
        return ", ".join(toml_value(value) for value in values)
    if origin in (Union, UnionType):
        return " or ".join(_words(choice) for choice in values if choice is not type(None))
    if origin is tuple and values[-1] is Ellipsis:
        return f"list of {_plural(values[0])}"
    if origin is tuple:
        return f"[{', '.join(_words(_bare(value)) for value in values)}]"
    return _WORDS.get(kind, str(kind))


def _plural(kind: Any) -> str:
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return "tables"
    words, comma, bounds = _words(kind).partition(",")
    return _PLURALS.get(words, words) + comma + bounds


def _bare(kind: Any) -> Any:
    """A kind without its bounds."""
    return get_args(kind)[0] if get_origin(kind) is Annotated else kind


def _bounds(constraints: Iterable[Any]) -> list[str]:
    return [
        f"{sign} {getattr(constraint, name)}".removesuffix(".0")
        for name, sign in _BOUNDS
        for constraint in constraints
        if getattr(constraint, name, None) is not None
    ]
