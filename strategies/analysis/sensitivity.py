"""Where the answer turns: the missions planned again with one number changed, all else as it is.

The *answer* is the case of :func:`strategies.analysis.cases.headline_of` whose mission finishes first. A *break-even*
is the value of a number beyond which another case is. Every point is planned, none is computed from another.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from functools import partial
from itertools import takewhile
from typing import Any

import numpy as np

from orbit.contact_plan import ContactPlan, LinkKind
from strategies.analysis.cases import IMAGES_DOWN, headline_of
from strategies.analysis.mission_totals import Case, MissionTotals, PlannedRounds, World, plan_mission
from strategies.problem.network import NoRouteError
from strategies.problem.workload import Mode, Workload

_STEP = 4.0  # a number is first tried this many times as large and as small, then again
_STEPS = 2
_WITHIN = 0.08  # where the break-even lies between, relative: its middle is at most 4 % off
_ASIDE = 0.03  # how far beside the place where a break-even is expected it is tried, relative
_FEW_PLANNED = 3  # rounds of a mission, where these show that it is not among the first
_NEAR = 1.5  # missions up to so many times as long as the shortest have all their rounds planned
_TERA, _MEGA, _KILO = 1e12, 1e6, 1e3

Lengths = Mapping[str, float]  # of the mission of each headline case, seconds; infinite where it does not end


@dataclass(frozen=True)
class Knob:
    """A number that an engineer may change.

    Attributes:
        name: As in JSON.
        title: In a sentence.
        unit: Of its values, or "" for numbers of things.
        value: As it is.
        change: Gives the world with another value.
        untouched: Modes whose missions do not depend on it.
        most: Largest value that can be planned where it counts things; 0 for a measure, which any factor may change.
        is_size: Whether it is a size, with which times grow, rather than a rate, with which they shrink.
    """

    name: str
    title: str
    _: KW_ONLY
    unit: str
    value: float
    change: Callable[[World, float], World]
    untouched: frozenset[Mode] = frozenset()
    most: int = 0
    is_size: bool = False

    def time_at(self, value: float) -> float:
        """Return a number that is proportional to the time that a value sets; its own inverse."""
        return value if self.is_size else 1.0 / value


@dataclass(frozen=True)
class BreakEven:
    """A turn of the answer.

    Attributes:
        knob: The name of the number.
        value: As it is.
        break_even: Where the answer turns, or the last value that was tried.
        above: Whether the break-even lies above the value.
        turns: Whether the answer turns there; else it stays as far as was tried.
        winner: Beyond the break-even; ``None`` where no mission ends within the contact plan.
        until: The furthest value beyond it, of those that were tried, as far as which that answer stays.
    """

    knob: str
    title: str
    _: KW_ONLY
    unit: str
    value: float
    break_even: float
    above: bool
    turns: bool
    winner: str | None
    until: float

    def to_json(self) -> dict[str, Any]:
        """The break-even as JSON values."""
        return dataclasses.asdict(self)


def knobs_of(world: World) -> tuple[Knob, ...]:
    """The numbers that can be changed in a world."""
    plan = world.contact_plan
    on_board = frozenset({Mode.ONBOARD_FULL, Mode.ONBOARD_LORA, Mode.ONBOARD_HEAD})
    knobs = [
        _link_knob(plan, "downlink", "the downlink of each antenna", LinkKind.DOWNLINK),
        _link_knob(plan, "uplink", "the uplink of each antenna", LinkKind.UPLINK),
        _link_knob(plan, "isl", "each inter-satellite link", LinkKind.INTRA_ISL, LinkKind.INTER_ISL),
        Knob("satellite_tflops", "each satellite's computer", unit="TFLOP/s", value=world.rates.satellite_flops / _TERA,
             change=_satellite_tflops, untouched=frozenset({Mode.DOWNLINK})),
        Knob("ground_tflops", "the ground's computer", unit="TFLOP/s", value=world.rates.ground_flops / _TERA,
             change=_ground_tflops, untouched=on_board),
    ]  # fmt: skip
    images = [case for case in world.cases if case.name == IMAGES_DOWN]
    if images:
        size = images[0].workloads[0].c1_bytes / _KILO
        others = frozenset(Mode) - {Mode.DOWNLINK}
        knobs.append(
            Knob(
                "image_bytes", "an image", unit="kB", value=size, change=_image_kilobytes, untouched=others,
                is_size=True,
            )
        )  # fmt: skip
    knobs += _counting_knobs(world)
    return tuple(knob for knob in knobs if knob is not None and knob.value > 0)


def _counting_knobs(world: World) -> list[Knob]:
    """Numbers of things: stations, antennas, satellites."""
    plan = world.contact_plan
    stations = int(np.isin(plan.stations, plan.of_kind(LinkKind.DOWNLINK)["target"]).sum())
    beams = round(float(np.median(world.resources.beams_of_each(plan.stations))))
    satellites = sum(count > 0 for count in world.cases[0].workloads[0].samples)
    antennas = "the number of antennas at each station"
    training = "the number of satellites that train"
    return [
        Knob(
            "stations", "the number of stations", unit="", value=stations, change=with_stations,
            most=max(stations, 1),
        ),
        Knob("beams", antennas, unit="", value=beams, change=partial(_beams, now=beams), most=2 * beams),
        Knob("satellites", training, unit="", value=satellites, change=with_satellites, most=satellites),
    ]  # fmt: skip


def lengths_of(
    world: World,
    start_s: float,
    *,
    known: Lengths | None = None,
    touched: Callable[[Case], bool] = lambda case: True,
) -> dict[str, float]:
    """Return how long the mission of each headline case takes.

    A few rounds of each are planned and the others interpolated; where several missions are then about as short, these
    are planned with all their rounds.

    Args:
        world: What is planned.
        start_s: Mission time at which all start.
        known: Lengths of the cases that are not ``touched``.
        touched: Whether a case has to be planned.
    """
    headline = headline_of(world.cases)
    cases = {case.name: case for case in world.cases if case.name in headline}
    given = {name: known[name] for name, case in cases.items() if known is not None and not touched(case)}
    planned: dict[str, PlannedRounds] = {name: {} for name in cases}
    missions = {
        name: mission_or_none(world, case, start_s, _FEW_PLANNED, planned_before=planned[name])
        for name, case in cases.items()
        if name not in given
    }
    lengths = {name: given[name] if name in given else _length_s(missions[name]) for name in cases}
    near = [name for name, length_s in lengths.items() if length_s <= _NEAR * min(lengths.values())]
    for name in near if len(near) > 1 else ():
        mission = missions.get(name)
        if mission is not None and mission.planned < mission.rounds:
            whole = mission_or_none(world, cases[name], start_s, None, planned_before=planned[name])
            lengths[name] = _length_s(whole)
    return lengths


def mission_or_none(
    world: World,
    case: Case,
    start_s: float,
    most_planned: int | None,
    *,
    most_waiting: int | None = None,
    planned_before: PlannedRounds | None = None,
) -> MissionTotals | None:
    """The totals of a case's mission; ``None`` where it does not end inside the contact plan."""
    try:
        return plan_mission(
            world,
            case,
            start_s,
            most_planned=most_planned,
            most_waiting=most_waiting,
            planned_before=planned_before,
        )
    except NoRouteError:
        return None


def _length_s(mission: MissionTotals | None) -> float:
    return math.inf if mission is None else mission.length_s


def winner_of(lengths: Lengths) -> str | None:
    """The case that finishes first; ``None`` where none ends."""
    if not lengths or min(lengths.values()) == math.inf:
        return None
    return min(lengths, key=lambda name: (lengths[name], name))


def break_even_of(
    world: World, knob: Knob, *, above: bool, start_s: float, known: Lengths
) -> BreakEven | None:
    """Return where the answer first turns as one number grows (``above``) or shrinks.

    A measure is tried four times as large or small, and sixteen times where the lengths so far, taken as linear in the
    time that it sets, say that the answer may have turned by then. Numbers of things are doubled or halved. Where the
    answer is another by then, the break-even is tried where the same straight lines cross, and the interval is halved
    for as long as it is wider than 8 %. An answer that turns and turns back within a step is not seen.

    Args:
        world: As it is.
        knob: What changes.
        above: Whether it grows.
        start_s: Mission time at which all missions start.
        known: The lengths of the missions as it is.

    Returns:
        The break-even; ``None`` where there is no other value in that direction.
    """
    now = winner_of(known)

    def lengths(value: float) -> Lengths:
        return lengths_of(
            knob.change(world, value), start_s, known=known,
            touched=lambda case: case.one_round.mode not in knob.untouched,
        )  # fmt: skip

    turn = partial(BreakEven, knob.name, knob.title, unit=knob.unit, value=knob.value, above=above)
    near, near_s = knob.value, known
    for far in _steps(knob, above):
        if (
            near != knob.value
            and not knob.most
            and winner_of(_extrapolated(knob, known, near, near_s, far)) == now
        ):
            break
        far_s = lengths(far)
        if winner_of(far_s) != now:
            beyond = [(far, winner_of(far_s))]
            trials = iter(() if knob.most else _crossing(knob, (near, near_s), (far, far_s), now))
            while _apart(knob, near, far):
                middle = (near + far) // 2 if knob.most else next(trials, math.sqrt(near * far))
                if not min(near, far) < middle < max(near, far):
                    continue
                middle_s = lengths(middle)
                if winner_of(middle_s) == now:
                    near, near_s = middle, middle_s
                else:
                    far, far_s = middle, middle_s
                    beyond.append((far, winner_of(far_s)))
            break_even = far if knob.most else math.sqrt(near * far)
            return turn(
                break_even=break_even, turns=True, winner=beyond[-1][1], until=_as_far_as(beyond)
            )  # fmt: skip
        near, near_s = far, far_s
    return None if near == knob.value else turn(break_even=near, turns=False, winner=now, until=near)


def _as_far_as(beyond: Sequence[tuple[float, str | None]]) -> float:
    """Of values and their answers, tried from the outside in, the outermost up to which the innermost answer stays."""
    innermost = beyond[-1][1]
    return [value for value, _ in takewhile(lambda tried: tried[1] == innermost, reversed(beyond))][-1]


def _extrapolated(knob: Knob, known: Lengths, near: float, near_s: Lengths, far: float) -> Lengths:
    """Lengths at another value, by the straight line through those as it is and those at a value that was planned."""
    part = (knob.time_at(far) - knob.time_at(knob.value)) / (knob.time_at(near) - knob.time_at(knob.value))
    return {
        name: known[name] + part * (near_s[name] - known[name])
        if math.isfinite(known[name])
        else near_s[name]
        for name in known
    }


def _crossing(
    knob: Knob, near: tuple[float, Lengths], far: tuple[float, Lengths], now: str | None
) -> Iterator[float]:
    """Values on both sides of the place where the lengths of the answers before and beyond would cross."""
    beyond = winner_of(far[1])
    if now is None or beyond is None:
        return
    lead, lag = near[1][beyond] - near[1][now], far[1][now] - far[1][beyond]
    if not (math.isfinite(lead) and math.isfinite(lag)):
        return
    part = lead / (lead + lag)
    time = knob.time_at(near[0]) + part * (knob.time_at(far[0]) - knob.time_at(near[0]))
    place, outwards = knob.time_at(time), math.copysign(_ASIDE, far[0] - near[0])
    yield place * (1.0 + outwards)
    yield place * (1.0 - outwards)


def _steps(knob: Knob, above: bool) -> Iterator[float]:
    if knob.most:
        last = knob.most if above else 1
        value = int(knob.value)
        while value != last:
            value = min(2 * value, last) if above else max(value // 2, last)
            yield value
        return
    for step in range(1, _STEPS + 1):
        yield knob.value * _STEP ** (step if above else -step)


def _apart(knob: Knob, inside: float, outside: float) -> bool:
    if knob.most:
        return abs(inside - outside) > 1
    return abs(math.log(outside / inside)) > _WITHIN


def _link_knob(plan: ContactPlan, name: str, title: str, *kinds: LinkKind) -> Knob | None:
    rates_bps = plan.of_kind(*kinds)["rate_bps"]
    if not len(rates_bps):
        return None
    median_mbps = float(np.median(rates_bps)) / _MEGA
    return Knob(
        name,
        title,
        unit="Mbit/s",
        value=median_mbps,
        change=partial(_with_rate, kinds=kinds, now_mbps=median_mbps),
    )


def _with_rate(world: World, mbps: float, *, kinds: Sequence[LinkKind], now_mbps: float) -> World:
    """All links of these kinds faster or slower by the same factor, so that their median has this rate."""
    contacts = world.contact_plan.contacts.copy()
    chosen = np.isin(contacts["kind"], kinds)
    contacts["rate_bps"][chosen] *= mbps / now_mbps
    return _with_contacts(world, contacts)


def _with_contacts(world: World, contacts: np.ndarray) -> World:
    return dataclasses.replace(world, contact_plan=dataclasses.replace(world.contact_plan, contacts=contacts))


def _satellite_tflops(world: World, tflops: float) -> World:
    return dataclasses.replace(world, rates=dataclasses.replace(world.rates, satellite_flops=tflops * _TERA))


def _ground_tflops(world: World, tflops: float) -> World:
    return dataclasses.replace(world, rates=dataclasses.replace(world.rates, ground_flops=tflops * _TERA))


def _beams(world: World, beams: float, *, now: int) -> World:
    """More or fewer antennas at every station by the same factor, so that their median is this number."""

    def changed_count(count: int) -> int:
        return max(1, round(count * beams / now))

    resources = world.resources
    own = tuple((station, changed_count(count)) for station, count in resources.own_beams)
    changed = dataclasses.replace(resources, beams=changed_count(resources.beams), own_beams=own)
    return dataclasses.replace(world, resources=changed)


def _image_kilobytes(world: World, kilobytes: float) -> World:
    def resized(workload: Workload) -> Workload:
        size = kilobytes * _KILO if workload.c1_bytes else 0.0
        return dataclasses.replace(workload, c1_bytes=size)

    return _with_cases(
        world,
        (
            _with_workloads(case, resized) if case.one_round.mode is Mode.DOWNLINK else case
            for case in world.cases
        ),
    )


def with_stations(world: World, count: float) -> World:
    """A world with so many of its stations: those that see most of the satellites, by seconds."""
    plan = world.contact_plan
    contacts = plan.contacts
    down = contacts["kind"] == LinkKind.DOWNLINK
    seen_s = np.bincount(
        contacts["target"][down], (contacts["end_s"] - contacts["start_s"])[down], minlength=len(plan.nodes)
    )
    order = plan.stations[np.argsort(-seen_s[plan.stations], kind="stable")]
    gone = order[round(count) :]
    return _with_contacts(
        world, contacts[~np.isin(contacts["source"], gone) & ~np.isin(contacts["target"], gone)]
    )


def with_satellites(world: World, count: float) -> World:
    """A world in which so many of the satellites that have images train, spread evenly; the others still relay."""
    samples = np.asarray(world.cases[0].workloads[0].samples)
    having = np.flatnonzero(samples)
    chosen = having[np.unique(np.round(np.linspace(0, len(having) - 1, round(count))).astype(int))]

    def fewer(workload: Workload) -> Workload:
        kept = np.zeros(len(samples), int)
        kept[chosen] = np.asarray(workload.samples)[chosen]
        return dataclasses.replace(workload, samples=tuple(kept.tolist()))

    return _with_cases(world, (_with_workloads(case, fewer) for case in world.cases))


def _with_workloads(case: Case, change: Callable[[Workload], Workload]) -> Case:
    return dataclasses.replace(
        case,
        workloads=tuple(map(change, case.workloads)),
        enrolment=None if case.enrolment is None else change(case.enrolment),
        labels=None if case.labels is None else change(case.labels),
        single=None if case.single is None else change(case.single),
    )


def _with_cases(world: World, cases: Iterable[Case]) -> World:
    return dataclasses.replace(world, cases=tuple(cases))
