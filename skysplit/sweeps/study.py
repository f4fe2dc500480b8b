"""What a sweep varies: a grid or a list of overrides of one scenario, from a TOML file, the command line or Python."""

from __future__ import annotations

import itertools
import json
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import Any

from mission.scenario import ScenarioError, load_scenario
from mission.schema import Scenario
from mission.text.dotted_keys import dotted_keys

_STATIONS = "ground.stations"
_MOST_CASES = 1_000_000
_FIELDS = ("scenario", "starts", "starts_s", "missions", "draws", "set", "grid", "cases")


class StudyError(ValueError):
    """A sweep is wrong; the message names file or option, key, what was found and what is allowed."""


@dataclass(frozen=True)
class Study:
    """A sweep.

    Attributes:
        scenario: A shipped scenario or a file, which every case starts from.
        fixed: Dotted keys that all cases override.
        grid: Values by dotted key; every combination is a case. Keys that vary together are one entry, separated by
            commas, with a list of values each.
        cases: Overrides of their own, each combined with the whole grid; none stands for one without.
        starts: Start times over the first 40 % of the horizon.
        starts_s: Start times instead, seconds of mission time.
        missions: Whether all ``training.rounds`` rounds of a case are planned, in turn, not the first alone.
        draws: Through how many draws of its outages each round is flown.
    """

    scenario: str
    fixed: Mapping[str, Any] = field(default_factory=dict)
    _: KW_ONLY
    grid: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    cases: Sequence[Mapping[str, Any]] = ()
    starts: int = 1
    starts_s: tuple[float, ...] = ()
    missions: bool = False
    draws: int = 0

    @property
    def keys(self) -> tuple[str, ...]:
        """The dotted keys that vary, in the order in which they are given."""
        of_grid = itertools.chain.from_iterable(_split(key) for key in self.grid)
        return tuple(dict.fromkeys([*of_grid, *itertools.chain.from_iterable(self.cases)]))

    def start_times_s(self, horizon_s: float) -> tuple[float, ...]:
        """Return the start times of the rounds of a case."""
        if self.starts_s:
            return self.starts_s
        return tuple(0.4 * horizon_s * number / self.starts for number in range(self.starts))


@dataclass(frozen=True)
class Variant:
    """One combination of overrides.

    Attributes:
        overrides: What varies, by dotted key, as it was given.
        scenario: As resolved with them.
    """

    overrides: Mapping[str, Any]
    scenario: Scenario


def is_study(path: Path) -> bool:
    """Return whether a file is a TOML file of a sweep rather than of a scenario."""
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError):
        return False
    return "scenario" in content and ("grid" in content or "cases" in content)


def read_study(path: Path) -> Study:
    """Read the TOML file of a sweep.

    Raises:
        StudyError: Unreadable, an unknown key, or a value of the wrong kind.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise StudyError(f"{path}: not readable as TOML: {error}") from error
    for key in content:
        if key not in _FIELDS:
            raise StudyError(f"{path}: {key}: unknown key; known here: {', '.join(_FIELDS)}")
    scenario = content.get("scenario")
    if not isinstance(scenario, str):
        raise StudyError(
            f"{path}: scenario: found {scenario!r}, allowed: a file or a shipped scenario, as text"
        )
    beside = path.parent / scenario
    for name in ("set", "grid"):
        if not isinstance(content.get(name, {}), dict):
            raise StudyError(f"{path}: {name}: found {content[name]!r}, allowed: a table of dotted keys")
    cases = content.get("cases", [])
    if not isinstance(cases, list) or not all(isinstance(case, dict) for case in cases):
        raise StudyError(f"{path}: cases: found {cases!r}, allowed: [[cases]], a table of dotted keys each")
    return study_of(
        str(beside) if scenario.endswith(".toml") and beside.is_file() else scenario,
        fixed=dict(dotted_keys(content.get("set", {}))),
        grid=dict(dotted_keys(content.get("grid", {}))),
        cases=[dict(dotted_keys(case)) for case in cases],
        starts=content.get("starts", 1),
        starts_s=content.get("starts_s", []),
        missions=content.get("missions", False),
        draws=content.get("draws", 0),
        where=str(path),
    )


def study_of(
    scenario: str,
    *,
    fixed: Mapping[str, Any],
    grid: Mapping[str, Any],
    cases: Sequence[Mapping[str, Any]] = (),
    starts: Any = 1,
    starts_s: Any = (),
    missions: Any = False,
    draws: Any = 0,
    where: str = "sweep",
) -> Study:
    """Return a sweep of these parts, all of the right kind.

    Args:
        scenario: See :class:`Study`, also for the others.
        where: What an error begins with.

    Raises:
        StudyError: A value of the wrong kind, a key that varies twice, or nothing that varies.
    """
    for key, values in grid.items():
        names = _split(key)
        if not isinstance(values, list | tuple) or not values:
            raise StudyError(
                f"{where}: grid: {key}: found {values!r}, allowed: a list of values, one at least"
            )
        for value in values:
            if len(names) > 1 and not (isinstance(value, list | tuple) and len(value) == len(names)):
                raise StudyError(
                    f"{where}: grid: {key}: found {value!r}, allowed: a list of {len(names)} values, one for each key"
                )
    of_grid = [name for key in grid for name in _split(key)]
    of_cases = {name for case in cases for name in case}
    twice = {name for name in of_grid if of_grid.count(name) > 1} | of_cases.intersection(of_grid)
    twice |= set(fixed).intersection({*of_grid, *of_cases})
    if twice:
        raise StudyError(
            f"{where}: {', '.join(sorted(twice))}: found twice, allowed in one of set, grid and cases"
        )
    if not grid and not cases:
        raise StudyError(f"{where}: found nothing that varies, allowed: a grid, or cases")
    if not isinstance(starts, int) or isinstance(starts, bool) or not 1 <= starts <= _MOST_CASES:
        raise StudyError(f"{where}: starts: found {starts!r}, allowed: a whole number, 1 or more")
    is_list = isinstance(starts_s, list | tuple)
    if not is_list or not all(_is_number(time_s) and time_s >= 0.0 for time_s in starts_s):
        raise StudyError(f"{where}: starts_s: found {starts_s!r}, allowed: a list of seconds, 0 or more each")
    if not isinstance(missions, bool):
        raise StudyError(f"{where}: missions: found {missions!r}, allowed: true, false")
    if not isinstance(draws, int) or isinstance(draws, bool) or not 0 <= draws <= _MOST_CASES:
        raise StudyError(f"{where}: draws: found {draws!r}, allowed: a whole number, 0 or more")
    if draws and missions:
        raise StudyError(f"{where}: draws: found {draws} with missions, allowed is one of them")
    count = len(cases or [{}]) * max(starts, len(starts_s))
    for values in grid.values():
        count *= len(values)
    if count > _MOST_CASES:
        raise StudyError(f"{where}: found {count} cases, allowed: {_MOST_CASES} at most")
    times_s = tuple(float(time_s) for time_s in starts_s)
    return Study(
        scenario,
        dict(fixed),
        grid=dict(grid),
        cases=tuple(dict(case) for case in cases),
        starts=starts,
        starts_s=times_s,
        missions=missions,
        draws=draws,
    )


def variants_of(study: Study) -> list[Variant]:
    """Return all combinations with their resolved scenarios, each once.

    What all combinations override is checked with each of them, not by itself.

    Raises:
        ScenarioError: The scenario, or a combination; all that is wrong with the first of them is in the message.
    """
    variants: dict[str, Variant] = {}
    stations: dict[str, Mapping[str, Any]] = {}  # of the scenario, by the other overrides
    for overrides in _combinations(study):
        try:
            given = {**study.fixed, **overrides}
            if _STATIONS in overrides:
                others = {key: value for key, value in given.items() if key != _STATIONS}
                named = json.dumps(others, sort_keys=True, default=str)
                if named not in stations:
                    base = load_scenario(study.scenario, others, given_as="")
                    stations[named] = {station.name: station.model_dump() for station in base.ground.stations}
                given[_STATIONS] = _stations(given[_STATIONS], stations[named])
            scenario = load_scenario(study.scenario, given, given_as="")
        except ScenarioError as error:
            case = ", ".join(f"{key} = {value_text(value)}" for key, value in overrides.items())
            lines = "; ".join(str(error).splitlines())
            raise ScenarioError(f"case {case}: {lines}") from error
        variants.setdefault(scenario.model_dump_json(), Variant(overrides, scenario))
    return list(variants.values())


def parse_grid(words: Sequence[str]) -> dict[str, list[Any]]:
    """Return the grid that ``KEY=VALUE,VALUE,…`` words of a command line give; values are TOML, or text.

    Raises:
        StudyError: A word of another form, or a key that is there twice.
    """
    grid: dict[str, list[Any]] = {}
    for word in words:
        key, equals, text = word.partition("=")
        key = key.strip()
        if not equals or not key or not text.strip():
            raise StudyError(f"--grid: found {word!r}, allowed: KEY=VALUE,VALUE,…")
        if key in grid:
            raise StudyError(f"--grid: {key}: found twice, allowed once")
        grid[key] = _values(text)
    return grid


def value_text(value: Any) -> str:
    """Return a value that varies in few words: stations by their names."""
    if isinstance(value, Mapping):
        return str(value.get("name", dict(value)))
    if isinstance(value, list | tuple):
        return "[" + ", ".join(value_text(entry) for entry in value) + "]"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _values(text: str) -> list[Any]:
    try:
        return tomllib.loads(f"values = [{text}]")["values"]
    except tomllib.TOMLDecodeError:
        return [_value(part.strip()) for part in text.split(",")]


def _value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _combinations(study: Study) -> Iterator[dict[str, Any]]:
    axes = [
        [dict(zip(_split(key), value if "," in key else (value,), strict=True)) for value in values]
        for key, values in study.grid.items()
    ]
    for case in study.cases or ({},):
        for parts in itertools.product(*axes):
            overrides = dict(case)
            for part in parts:
                overrides |= part
            yield overrides


def _stations(value: Any, known: Mapping[str, Mapping[str, Any]]) -> Any:
    """Stations as tables: given so, by their names in the scenario, or the first so many of it."""
    if isinstance(value, int) and not isinstance(value, bool):
        if not 1 <= value <= len(known):
            raise ScenarioError(
                f"{_STATIONS}: found {value}, allowed: 1 to {len(known)}, the stations of the scenario"
            )
        return list(known.values())[:value]
    if isinstance(value, list | tuple) and value and all(isinstance(name, str) for name in value):
        for name in value:
            if name not in known:
                raise ScenarioError(f"{_STATIONS}: found {name!r}, allowed: {', '.join(known)}")
        return [known[name] for name in value]
    return value


def _split(key: str) -> list[str]:
    return [name.strip() for name in key.split(",")]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value < float("inf")
