"""Outages of stations and of links between satellites: distributions, and what one draw of them closes.

Each cause is a two-state Markov process in continuous time: spells of outage and of service alternate, both of
exponential length, as in the two-state channel of Gilbert (Bell System Technical Journal 39, 1960).  The part of the
time that is out and the mean length of a spell say everything; at the start a link is out with that probability.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field

import numpy as np

from orbit.contact_plan import ContactPlan, LinkKind

Resource = int | tuple[int, int]  # a station, or two satellites, the smaller index first

_SGL = (LinkKind.DOWNLINK, LinkKind.UPLINK)


@dataclass(frozen=True)
class OutageLaw:
    """One cause of outages.

    Attributes:
        parts: Part of the time that is out, at least 0 and below 1, as (until_s, part) by time; the last until_s is
            infinite.
        mean_s: Mean length of a spell, above 0.
    """

    parts: tuple[tuple[float, float], ...]
    mean_s: float

    @classmethod
    def constant(cls, part: float, mean_s: float) -> OutageLaw:
        """Return the law that is the same at all times."""
        return cls(((math.inf, part),), mean_s)

    @property
    def happens(self) -> bool:
        """Whether there is ever an outage."""
        return any(part > 0.0 for _, part in self.parts)

    def draw(self, rng: np.random.Generator, horizon_s: float) -> np.ndarray:
        """Return spells of outage in ``[0, horizon_s]`` as (start_s, end_s), by time, shape ``(n, 2)``.

        Neither state remembers how long it has lasted, so where the part changes what is left of service is drawn anew.
        """
        spells: list[tuple[float, float]] = []
        now_s = 0.0
        is_out = bool(rng.random() < self.parts[0][1])
        for until_s, part in self.parts:
            until_s = min(until_s, horizon_s)
            service_s = self.mean_s * (1.0 - part) / part if part > 0.0 else math.inf
            while now_s < until_s:
                if is_out:
                    end_s = now_s + rng.exponential(self.mean_s)
                    spells.append((now_s, min(end_s, horizon_s)))
                    now_s, is_out = end_s, False
                    continue
                next_s = now_s + (rng.exponential(service_s) if math.isfinite(service_s) else math.inf)
                now_s, is_out = min(next_s, until_s), next_s < until_s
        return np.array(spells).reshape(-1, 2)


@dataclass(frozen=True, eq=False)
class Spells:
    """Drawn outages of one cause: ``(start_s, end_s)`` by time, shape ``(n, 2)``, and the mean length of a spell."""

    times_s: np.ndarray
    mean_s: float

    def at(self, time_s: float) -> float:
        """Return the end of the outage in progress, or ``time_s`` itself if there is none."""
        row = int(np.searchsorted(self.times_s[:, 0], time_s, side="right")) - 1
        return max(float(self.times_s[row, 1]), time_s) if row >= 0 else time_s

    def first_during(self, start_s: np.ndarray, end_s: np.ndarray) -> np.ndarray:
        """Return the start of the first outage met in each interval, infinite if there is none, of the same shape."""
        row = np.searchsorted(self.times_s[:, 1], start_s, side="right")
        padded_s = np.append(self.times_s[:, 0], np.inf)
        met_s = np.maximum(padded_s[row], start_s)
        return np.where(met_s < end_s, met_s, np.inf)


@dataclass(frozen=True, eq=False)
class Outages:
    """One draw: the spells of every cause, by what they put out of service."""

    spells: Mapping[Resource, tuple[Spells, ...]]

    def is_out(self, resource: Resource, time_s: float) -> bool:
        """Whether any cause holds a station or a link between two satellites at a time."""
        return any(spell.at(time_s) > time_s for spell in self.spells.get(resource, ()))

    def over_s(self, resource: Resource, time_s: float) -> float:
        """Return when a resource is in service again, all causes together; ``time_s`` if it is in service."""
        while (
            later_s := max((spell.at(time_s) for spell in self.spells.get(resource, ())), default=time_s)
        ) > time_s:
            time_s = later_s
        return time_s

    def stands(self, resource: Resource, from_s: float, to_s: float) -> bool:
        """Whether a resource is in service from one time to the other, both included."""
        end_s = np.array([np.nextafter(to_s, np.inf)])
        first_s = (spell.first_during(np.array([from_s]), end_s) for spell in self.spells.get(resource, ()))
        return all(bool(np.isinf(met_s[0])) for met_s in first_s)

    def first_met_s(self, rows: np.ndarray) -> np.ndarray:
        """Return when each of the ``rows`` (``ACTIVITY``) first wants a link that is out, infinite if never."""
        met_s = np.full(len(rows), np.inf)
        sends = rows["bytes"] > 0
        for resource, members in _by_resource(rows, sends).items():
            for spell in self.spells.get(resource, ()):
                own_s = spell.first_during(rows["start_s"][members], rows["end_s"][members])
                met_s[members] = np.minimum(met_s[members], own_s)
        return met_s

    def open_contacts(self, contact_plan: ContactPlan) -> ContactPlan:
        """Return the contacts without the times in which they are out."""
        contacts = contact_plan.contacts
        named = {"node": contacts["source"], "peer": contacts["target"], "link": contacts["kind"]}
        rows, times_s = list[int](), list[tuple[float, float]]()
        for row, resource in enumerate(resources_of(named)):
            begin_s, end_s = float(contacts["start_s"][row]), float(contacts["end_s"][row])
            spells = np.concatenate([np.empty((0, 2)), *(s.times_s for s in self.spells.get(resource, ()))])
            for out_s, back_s in [*spells[np.argsort(spells[:, 0])].tolist(), (end_s, math.inf)]:
                if begin_s < min(out_s, end_s):
                    rows.append(row)
                    times_s.append((begin_s, min(out_s, end_s)))
                begin_s = max(begin_s, back_s)
        open_then = contacts[rows]
        open_then["start_s"], open_then["end_s"] = np.array(times_s).reshape(-1, 2).T
        return dataclasses.replace(
            contact_plan, contacts=open_then[np.argsort(open_then["start_s"], kind="stable")]
        )

    def as_expected(self, contact_plan: ContactPlan, time_s: float) -> ContactPlan:
        """Return the contacts that somebody expects who knows what is out at a time, and no more.

        How long an outage has lasted says nothing about its end: it is expected to last its mean length from then on.
        """
        until_s = {
            resource: time_s + max(spell.mean_s for spell in spells if spell.at(time_s) > time_s)
            for resource, spells in self.spells.items()
            if self.is_out(resource, time_s)
        }
        if not until_s:
            return contact_plan
        contacts = contact_plan.contacts.copy()
        every = np.ones(len(contacts), bool)
        named = {"node": contacts["source"], "peer": contacts["target"], "link": contacts["kind"]}
        for resource, members in _by_resource(named, every).items():
            if resource in until_s:
                ends_later = contacts["end_s"][members] > time_s
                delayed_s = np.maximum(contacts["start_s"][members], until_s[resource])
                contacts["start_s"][members] = np.where(ends_later, delayed_s, contacts["start_s"][members])
        return dataclasses.replace(contact_plan, contacts=contacts[contacts["end_s"] > contacts["start_s"]])


@dataclass(frozen=True)
class OutageModel:
    """Facts about outages that are known before they happen.

    Attributes:
        seed: Of all draws.
        stations: Laws of each station's outages, by its name: service, weather.
        isl: The law of links between satellites, each by itself, both ways together.
        notice_s: From when a transfer is interrupted until a plan that knows it is followed.
    """

    seed: int
    _: KW_ONLY
    stations: Mapping[str, tuple[OutageLaw, ...]] = field(default_factory=dict)
    isl: OutageLaw = field(default_factory=lambda: OutageLaw.constant(0.0, 1.0))
    notice_s: float = 0.0

    @property
    def happens(self) -> bool:
        """Whether anything can fail."""
        return self.isl.happens or any(law.happens for laws in self.stations.values() for law in laws)

    def draw(self, contact_plan: ContactPlan, number: int) -> Outages:
        """Return draw ``number`` over the horizon.

        Every station and link has random numbers of its own, from the seed, the draw and its name: what one more
        station or satellite does is no other weather for the rest.
        """
        names, horizon_s = [node.name for node in contact_plan.nodes], contact_plan.horizon_s

        def spells(laws: Sequence[OutageLaw], *names_of: str) -> tuple[Spells, ...]:
            rng = np.random.default_rng([self.seed, number, *"\0".join(sorted(names_of)).encode()])
            drawn = (Spells(law.draw(rng, horizon_s), law.mean_s) for law in laws)
            return tuple(spell for spell in drawn if len(spell.times_s))

        by_resource: dict[Resource, tuple[Spells, ...]] = {}
        for station in contact_plan.stations.tolist():
            by_resource[station] = spells(self.stations.get(names[station], ()), names[station])
        if self.isl.happens:
            links = contact_plan.of_kind(LinkKind.INTRA_ISL, LinkKind.INTER_ISL)
            ends = np.sort(np.stack([links["source"], links["target"]], axis=1), axis=1)
            for a, b in np.unique(ends, axis=0).tolist():
                by_resource[a, b] = spells([self.isl], names[a], names[b])
        return Outages({resource: spells_of for resource, spells_of in by_resource.items() if spells_of})


def resources_of(rows: np.ndarray | Mapping[str, np.ndarray]) -> Iterable[Resource]:
    """The station, or the two satellites, of each row that has ``node``, ``peer`` and ``link``."""
    low, high = np.minimum(rows["node"], rows["peer"]), np.maximum(rows["node"], rows["peer"])
    to_ground = np.isin(rows["link"], _SGL)
    for first, second, is_station in zip(low.tolist(), high.tolist(), to_ground.tolist(), strict=True):
        yield second if is_station else (first, second)


def _by_resource(
    rows: np.ndarray | Mapping[str, np.ndarray], chosen: np.ndarray
) -> dict[Resource, np.ndarray]:
    """Indices of the chosen rows by station or pair of satellites."""
    indices: dict[Resource, list[int]] = {}
    for index, resource in enumerate(resources_of(rows)):
        if chosen[index]:
            indices.setdefault(resource, []).append(index)
    return {resource: np.array(members) for resource, members in indices.items()}
