"""How well stations and satellites are served: passes, gaps and volume a day."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass

import numpy as np

from orbit.contact_plan import ContactPlan, LinkKind
from orbit.motion.frames import DAY_S


@dataclass(frozen=True)
class Access:
    """The access of a satellite to a station over the horizon of a contact plan; ``None`` stands for all of them.

    A pass is a downlink contact.  A gap is a time without any, from the start and to the end of the horizon too, so
    that the longest gap may go on beyond it.
    """

    satellite: str | None
    station: str | None
    _: KW_ONLY
    passes: int
    passes_per_day: float
    mean_pass_s: float
    mean_gap_s: float
    longest_gap_s: float
    down_gb_per_day: float
    up_gb_per_day: float


def access_of_all(plan: ContactPlan) -> Access:
    """The access of all satellites to all stations together: a gap is a time in which none sees any."""
    return _access(plan, None, None)


def access_of_stations(plan: ContactPlan) -> list[Access]:
    """The access of each station to all satellites."""
    return [_access(plan, None, int(station)) for station in plan.stations]


def access_of_satellites(plan: ContactPlan) -> list[Access]:
    """The access of each satellite to all stations."""
    return [_access(plan, int(satellite), None) for satellite in plan.satellites]


def access_of_pairs(plan: ContactPlan) -> list[Access]:
    """The access of each satellite to each station that it sees, by satellite and station."""
    down = plan.of_kind(LinkKind.DOWNLINK)
    pairs = np.unique(np.stack([down["source"], down["target"]], axis=1), axis=0)
    return [_access(plan, satellite, station) for satellite, station in pairs.tolist()]


def _access(plan: ContactPlan, satellite: int | None, station: int | None) -> Access:
    down, up = _between(plan, satellite, station)
    gaps_s = gaps(down["start_s"], down["end_s"], plan.horizon_s)
    days = plan.horizon_s / DAY_S
    duration_s = down["end_s"] - down["start_s"]
    return Access(
        satellite=None if satellite is None else plan.nodes[satellite].name,
        station=None if station is None else plan.nodes[station].name,
        passes=len(down),
        passes_per_day=len(down) / days,
        mean_pass_s=float(duration_s.mean()) if len(down) else 0.0,
        mean_gap_s=float(gaps_s.mean()) if len(gaps_s) else 0.0,
        longest_gap_s=float(gaps_s.max(initial=0.0)),
        down_gb_per_day=float((down["rate_bps"] * duration_s).sum() / 8e9 / days),
        up_gb_per_day=float((up["rate_bps"] * (up["end_s"] - up["start_s"])).sum() / 8e9 / days),
    )


def _between(plan: ContactPlan, satellite: int | None, station: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Downlinks and uplinks of a satellite, a station, or both."""
    if satellite is not None and station is not None:
        down, up = plan.between(satellite, station), plan.between(station, satellite)
    else:
        contacts = plan.contacts
        down = contacts[contacts["kind"] == LinkKind.DOWNLINK]
        up = contacts[contacts["kind"] == LinkKind.UPLINK]
        if satellite is not None:
            down, up = down[down["source"] == satellite], up[up["target"] == satellite]
        if station is not None:
            down, up = down[down["target"] == station], up[up["source"] == station]
    return down, up


def gaps(start_s: np.ndarray, end_s: np.ndarray, horizon_s: float) -> np.ndarray:
    """The lengths [s] of what intervals (K,), sorted by start, leave of ``[0, horizon_s]``."""
    until_s = np.maximum.accumulate(np.concatenate([[0.0], end_s]))
    left_s = np.concatenate([start_s, [horizon_s]]) - until_s
    return left_s[left_s > 0]
