"""Rules of the checker for what is pointed: antennas, beams and lasers, their set-up, and who holds them at the end."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from orbit.contact_plan import LinkKind
from strategies.checker.intervals import inside, most_at_once
from strategies.checker.judged_plan import MOVES, SLACK_S, JudgedPlan, Violation
from strategies.problem.plan import Kind, activities


def antennas(judged: JudgedPlan) -> Iterator[Violation]:
    """Beams per station, one antenna per satellite; set-up inside the pass; data in a session, after set-up."""
    sessions = judged.rows[judged.rows["kind"] == Kind.SESSION]
    odd = (sessions["node"] >= judged.satellites) | (sessions["peer"] < judged.satellites)
    odd |= ~np.isin(sessions["link"], (LinkKind.DOWNLINK, LinkKind.UPLINK))
    for row in sessions[odd][:10]:
        yield Violation("session", f"{judged.words(row)} is not of a satellite with a station")
    sessions = sessions[~odd]
    for column in ("peer", "node"):
        for node in np.unique(sessions[column]):
            limit = 1 if column == "node" else judged.resources.beams_of(int(node))
            most, when_s = most_at_once(sessions[sessions[column] == node])
            if most > limit:
                yield Violation(
                    "antenna", f"{judged.name(node)} serves {most} at {when_s:.3f} s, allowed is {limit}"
                )
    in_pass = _within_contact(judged, sessions, (LinkKind.DOWNLINK,))
    in_pass |= _within_contact(
        judged, sessions[["peer", "node", "start_s", "end_s"]], (LinkKind.UPLINK,), turned=True
    )
    for row in sessions[~in_pass][:10]:
        yield Violation("session", f"{judged.words(row)}: antenna and beam are held outside the pass")
    data = judged.rows[np.isin(judged.rows["link"], (LinkKind.DOWNLINK, LinkKind.UPLINK))]
    data = data[np.isin(data["kind"], MOVES)]
    down = data["link"] == LinkKind.DOWNLINK
    satellite, station = (
        np.where(down, data["node"], data["peer"]),
        np.where(down, data["peer"], data["node"]),
    )
    held = session_of(judged, satellite, station, data["start_s"], data["end_s"])
    for row in data[~held][:10]:
        yield Violation("session", f"{judged.words(row)} has no session, or cuts into its set-up")


def session_of(
    judged: JudgedPlan, satellite: np.ndarray, station: np.ndarray, start_s: np.ndarray, end_s: np.ndarray
) -> np.ndarray:
    """Whether one session of a pair, set-up over, lasts from ``start_s`` to ``end_s``; all of one shape."""
    sessions = judged.rows[judged.rows["kind"] == Kind.SESSION]
    data_s = sessions["start_s"] + np.where(_pointed(judged, sessions), 0.0, judged.resources.setup_s)
    session = inside(
        satellite, station, start_s, end_s, sessions["node"], sessions["peer"], data_s, sessions["end_s"],
        factor=len(judged.contact_plan.nodes),
    )  # fmt: skip
    return session >= 0


def lasers(judged: JudgedPlan) -> Iterator[Violation]:
    """Side terminals per satellite; acquisition inside the contact and before data, no data outside it."""
    holds = judged.rows[judged.rows["kind"] == Kind.ISL_POINTING]
    odd = (holds["node"] >= judged.satellites) | (holds["peer"] >= judged.satellites)
    odd |= holds["link"] != LinkKind.INTER_ISL
    for row in holds[odd][:10]:
        yield Violation("isl pointing", f"{judged.words(row)} does not join two satellites")
    holds = holds[~odd]
    both = np.concatenate([holds, holds])
    both["node"][len(holds) :] = holds["peer"]
    for node in np.unique(both["node"]):
        most, when_s = most_at_once(both[both["node"] == node])
        if most > judged.resources.isl_terminals:
            yield Violation(
                "isl pointing", f"{judged.name(node)} points {most} ISL terminals at {when_s:.3f} s"
            )
    for row in holds[~_within_contact(judged, holds, (LinkKind.INTER_ISL,))][:10]:
        yield Violation("isl pointing", f"{judged.words(row)}: ISL terminals are held outside the contact")
    data = judged.rows[(judged.rows["link"] == LinkKind.INTER_ISL) & np.isin(judged.rows["kind"], MOVES)]
    ready_s = holds["start_s"] + np.where(_pointed(judged, holds), 0.0, judged.resources.acquisition_s)
    held = inside(
        np.minimum(data["node"], data["peer"]), np.maximum(data["node"], data["peer"]), data["start_s"], data["end_s"],
        np.minimum(holds["node"], holds["peer"]), np.maximum(holds["node"], holds["peer"]), ready_s, holds["end_s"],
        factor=len(judged.contact_plan.nodes),
    )  # fmt: skip
    for row in data[held < 0][:10]:
        yield Violation(
            "isl pointing", f"{judged.words(row)} is not between acquisition and the end of a link"
        )


def still_pointed(judged: JudgedPlan) -> Iterator[Violation]:
    """Pairs that the plan leaves pointed were set up, have been turned nowhere else since, and still see each other."""
    holds = judged.rows[np.isin(judged.rows["kind"], (Kind.SESSION, Kind.ISL_POINTING))]
    links = {
        int(Kind.SESSION): (LinkKind.DOWNLINK, LinkKind.UPLINK),
        int(Kind.ISL_POINTING): (LinkKind.INTER_ISL,),
    }
    now_s, contacts = judged.plan.end_s, judged.contact_plan.contacts
    contacts = contacts[(contacts["start_s"] <= now_s + SLACK_S) & (contacts["end_s"] >= now_s - SLACK_S)]
    kept, from_before = holds.copy(), []  # what stays pointed is held until after the end
    for node, peer in sorted(judged.plan.pointed):
        pair = f"{judged.name(node)} and {judged.name(peer)}"
        kind = Kind.SESSION if max(node, peer) >= judged.satellites else Kind.ISL_POINTING
        of_pair = np.flatnonzero((holds["kind"] == kind) & _joins(holds, node, peer))
        before = {(node, peer), (peer, node)} & judged.state.pointed
        set_up_s = judged.resources.setup_s if kind is Kind.SESSION else judged.resources.acquisition_s
        if len(of_pair):
            last = of_pair[np.argmax(holds["start_s"][of_pair])]
            if not before and holds["end_s"][last] - holds["start_s"][last] < set_up_s - SLACK_S:
                yield Violation(
                    "pointed", f"{pair} are said to be pointed at the end, their set-up was broken off"
                )
            kept["end_s"][last] = max(now_s, float(holds["end_s"][last])) + 1.0
        elif before:
            places = {"node": node, "peer": peer, "start_s": judged.plan.start_s, "end_s": now_s + 1.0}
            from_before.append(activities(1, kind=kind, **places))
        else:
            yield Violation("pointed", f"{pair} are said to be pointed at the end, and never were")
            continue
        sees = np.isin(contacts["kind"], links[int(kind)]) & (
            ((contacts["source"] == node) & (contacts["target"] == peer))
            | ((contacts["source"] == peer) & (contacts["target"] == node))
        )
        if not sees.any():
            yield Violation("pointed", f"{pair} are said to be pointed at the end, their contact is over")
    yield from _turned_away(judged, np.concatenate([kept, *from_before]))


def _turned_away(judged: JudgedPlan, kept: np.ndarray) -> Iterator[Violation]:
    """Who holds more than fit on its antennas, beams or terminals, where what stays pointed is held to the end."""
    for end in sorted({end for pair in judged.plan.pointed for end in pair}):
        held = kept[(kept["node"] == end) | (kept["peer"] == end)]
        beams = 1 if end < judged.satellites else judged.resources.beams_of(end)
        for kind, limit in ((Kind.SESSION, beams), (Kind.ISL_POINTING, judged.resources.isl_terminals)):
            of_kind = held[held["kind"] == kind]
            most, when_s = most_at_once(of_kind) if len(of_kind) else (0, 0.0)
            if most > limit:
                yield Violation(
                    "pointed",
                    f"{judged.name(end)} is said to be pointed at the end at what it turned away from: "
                    f"it would hold {most} at {when_s:.3f} s, allowed is {limit}",
                )


def _joins(holds: np.ndarray, node: int, peer: int) -> np.ndarray:
    ahead = (holds["node"] == node) & (holds["peer"] == peer)
    return ahead | ((holds["node"] == peer) & (holds["peer"] == node))


def _pointed(judged: JudgedPlan, holds: np.ndarray) -> np.ndarray:
    """Which of these begin with the round on antennas or lasers that pointed at each other before."""
    from_start = np.abs(holds["start_s"] - judged.plan.start_s) <= SLACK_S
    before = judged.state.pointed
    known = [
        (node, peer) in before or (peer, node) in before
        for node, peer in zip(holds["node"].tolist(), holds["peer"].tolist(), strict=True)
    ]
    return from_start & np.array(known, bool)


def _within_contact(
    judged: JudgedPlan, holds: np.ndarray, kinds: tuple[LinkKind, ...], *, turned: bool = False
) -> np.ndarray:
    contacts = judged.contact_plan.of_kind(*kinds)
    source, target = ("peer", "node") if turned else ("node", "peer")
    contact = inside(
        holds[source], holds[target], holds["start_s"], holds["end_s"], contacts["source"], contacts["target"],
        contacts["start_s"], contacts["end_s"], factor=len(judged.contact_plan.nodes),
    )  # fmt: skip
    return contact >= 0
