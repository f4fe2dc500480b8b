"""The plan of a round: every activity with its time, place, link, bytes and samples, and what it adds up to."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Iterator, Mapping
from dataclasses import KW_ONLY, dataclass
from typing import Any

import numpy as np

from orbit.contact_plan import LinkKind
from strategies.problem.workload import StrategyConfig


class Kind(enum.IntEnum):
    """The kind of an activity."""

    SESSION = 0  # antenna and beam held by satellite (node) and station (peer), set-up first
    ISL_POINTING = 1  # ISL terminals of node and peer held, acquisition first
    EMBED = 2  # on board
    FEATURES = 3  # c1, one row per hop; raw images in the downlink baseline
    BACKBONE = 4  # on the ground
    HIDDEN = 5  # c2 (and c4), one row per hop
    HEAD = 6  # on board
    GRADIENT = 7  # c3, one row per hop
    TRAIN = 8  # the whole model on board
    REDUCE = 9  # weights on their way to where they are averaged
    UPDATE = 10  # the average on its way back
    GATHER = 11  # features on their way round the plane, one row per source and hop


ON_NO_LINK = 255

ACTIVITY = np.dtype(
    [
        ("kind", "u1"),  # Kind
        ("link", "u1"),  # LinkKind, or ON_NO_LINK
        ("satellite", "<i4"),  # whose samples or weights; -1 for those of many
        ("node", "<i4"),  # where, or the sender: index into ContactPlan.nodes; -1 is the pooled ground
        ("peer", "<i4"),  # the receiver; -1 where there is none
        ("start_s", "<f8"),  # seconds after the epoch of the contact plan
        ("end_s", "<f8"),
        ("bytes", "<f8"),
        ("flops", "<f8"),
        ("first_sample", "<i4"),  # of the satellite's samples, half-open
        ("end_sample", "<i4"),
        ("epoch", "<i4"),  # pass over the samples, from 0
    ]
)

# The order in which the ground works, one row per satellite and step.  Rows of equal ``batch`` are one *batched step*:
# their samples go through the backbone together, and with a shared adapter form one optimiser step.  Batches are
# numbered from 0 in the order of their forward passes.
STEP = np.dtype(
    [
        ("batch", "<i4"),
        ("satellite", "<i4"),
        ("step", "<i4"),  # of the satellite in this round, from 0
        ("first_sample", "<i4"),  # of the satellite's samples, half-open
        ("end_sample", "<i4"),
        ("epoch", "<i4"),
        ("gateway", "<i4"),  # which hears the answer from …
        ("station", "<i4"),  # … this station
        (
            "updates",
            "<i4",
        ),  # of a shared adapter in this round before the forward pass, which uses what they made of it
        ("start_s", "<f8"),  # the batch's forward pass begins
        (
            "end_s",
            "<f8",
        ),  # the step is over: the update is made, or in mode head the pooled states are on board
    ]
)

SPLIT_COLUMNS = ("compute_s", "isl_s", "sgl_s", "waiting_s", "idle_s")


@dataclass(frozen=True, eq=False)
class Plan:
    """One round, planned.

    ``activities`` is a read-only array of ``ACTIVITY`` sorted by start.  An activity is a *window*: its bytes or
    FLOPs are served inside it, and all windows of a link or processor can be served together (the checker proves
    that by earliest deadline first).  ``finish_s[k]`` is when satellite ``k``'s last step is done,
    ``delivered_s[k]`` when its weights are where they are averaged.
    ``lower_bound_s`` is the length no plan with these strategies can go below.
    ``steps`` (dtype ``STEP``, by batch) is the order of the ground's steps, which a run follows; empty where the ground
    takes none.  ``strategy_config`` is what the plan uses, which may be less than
    was asked for.  ``pointed`` are the
    pairs (node, peer) of antennas and lasers that still point at each other at the end: they need no set-up in the next
    round while their contact lasts.
    """

    start_s: float
    end_s: float
    _: KW_ONLY
    lower_bound_s: float
    strategy_config: StrategyConfig
    activities: np.ndarray
    finish_s: np.ndarray
    delivered_s: np.ndarray
    names: tuple[str, ...]
    onboard_samples: tuple[int, ...] = ()
    steps: np.ndarray = dataclasses.field(default_factory=lambda: np.empty(0, STEP))
    pointed: frozenset[tuple[int, int]] = frozenset()

    @property
    def makespan_s(self) -> float:
        """Length of the round."""
        return self.end_s - self.start_s

    @property
    def gap(self) -> float:
        """Return the distance of the plan to its lower bound as a fraction; 0.1 is ten per cent."""
        return self.makespan_s / self.lower_bound_s - 1.0 if self.lower_bound_s > 0 else 0.0

    def of_kind(self, *kinds: Kind) -> np.ndarray:
        """The activities of these kinds, by start."""
        return self.activities[np.isin(self.activities["kind"], kinds)]

    def gateways(self) -> dict[int, tuple[int, ...]]:
        """For each satellite with traffic, the satellites through which it reached the ground."""
        rows = self.activities
        down = rows[(rows["link"] == LinkKind.DOWNLINK) & (rows["satellite"] >= 0)]
        pairs = np.unique(np.stack([down["satellite"], down["node"]], axis=1), axis=0)
        by_group: dict[int, tuple[int, ...]] = {}
        for satellite, gateway in pairs.tolist():
            by_group[satellite] = (*by_group.get(satellite, ()), gateway)
        return by_group

    def time_split(self) -> np.ndarray:
        """Seconds per satellite by ``SPLIT_COLUMNS``, shape ``(satellites, 5)``; a row adds up to the makespan.

        Compute (for this satellite, on board or on the ground) hides transfers, the space-ground link hides ISLs;
        what is left before the satellite's finish is waiting, after it idle.
        """
        return _time_split(self.activities, self.finish_s, self.start_s, self.end_s)

    def to_rows(self) -> Iterator[dict[str, Any]]:
        """The activities as JSON values with names for numbers, for ``plan.jsonl``."""
        for row in self.activities:
            yield {
                "kind": Kind(row["kind"]).name.lower(),
                "link": "" if row["link"] == ON_NO_LINK else LinkKind(row["link"]).name.lower(),
                "satellite": self._name(row["satellite"]),
                "node": self._name(row["node"]) or "ground",
                "peer": self._name(row["peer"]),
                "start_s": round(float(row["start_s"]), 6),
                "end_s": round(float(row["end_s"]), 6),
                "bytes": round(float(row["bytes"])),
                "flops": float(row["flops"]),
                "first_sample": int(row["first_sample"]),
                "end_sample": int(row["end_sample"]),
                "epoch": int(row["epoch"]),
            }

    def summary(self) -> Mapping[str, Any]:
        """The figures of the plan as JSON values."""
        return {
            "start_s": self.start_s,
            "end_s": self.end_s,
            "makespan_s": self.makespan_s,
            "lower_bound_s": self.lower_bound_s,
            "gap_to_bound": self.gap,
            "intra_orbit": str(self.strategy_config.intra_orbit),
            "space_ground": str(self.strategy_config.space_ground),
            "inter_orbit": str(self.strategy_config.inter_orbit),
            "planner": self.strategy_config.planner,
            **dict(zip(SPLIT_COLUMNS, np.mean(self.time_split(), axis=0).tolist(), strict=True)),
        }

    def _name(self, node: int) -> str:
        return self.names[node] if node >= 0 else ""


def as_activities(rows: list[tuple]) -> np.ndarray:
    """Rows written as tuples in the order of ``ACTIVITY``'s fields."""
    return np.array(rows, ACTIVITY) if rows else np.empty(0, ACTIVITY)


def collect_activities(parts: list[np.ndarray]) -> np.ndarray:
    """Parts of a plan as one read-only array of ``ACTIVITY``, by start."""
    rows = np.concatenate([np.empty(0, ACTIVITY), *parts])
    rows = rows[np.lexsort([rows["peer"], rows["node"], rows["kind"], rows["start_s"]])]
    rows.flags.writeable = False
    return rows


def activities(count: int, **fields: Any) -> np.ndarray:
    """``count`` activities; fields not given say "none" (no link, no peer, no samples)."""
    rows = np.zeros(count, ACTIVITY)
    rows["link"], rows["peer"], rows["node"], rows["satellite"] = ON_NO_LINK, -1, -1, -1
    for name, value in fields.items():
        rows[name] = value
    return rows


def _time_split(rows: np.ndarray, finish_s: np.ndarray, start_s: float, end_s: float) -> np.ndarray:
    satellites = len(finish_s)
    rows = rows[(rows["satellite"] >= 0) & (rows["end_s"] > rows["start_s"])]
    computing = np.isin(rows["kind"], (Kind.EMBED, Kind.BACKBONE, Kind.HEAD, Kind.TRAIN))
    on_sgl = np.isin(rows["link"], (LinkKind.DOWNLINK, LinkKind.UPLINK))
    layer = np.where(computing, 0, np.where(on_sgl, 2, 1))

    everyone = np.arange(satellites)
    owner = np.concatenate([rows["satellite"], rows["satellite"], everyone, everyone, everyone])
    edges = [np.full(satellites, start_s), finish_s, np.full(satellites, end_s)]
    time_s = np.concatenate([rows["start_s"], rows["end_s"], *edges])
    delta = np.zeros((len(time_s), 4))
    index = np.arange(len(rows))
    delta[index, layer] = 1.0
    delta[len(rows) + index, layer] = -1.0
    delta[2 * len(rows) : 2 * len(rows) + satellites, 3] = 1.0  # layer 3: before the satellite's finish
    delta[2 * len(rows) + satellites : 2 * len(rows) + 2 * satellites, 3] = -1.0

    order = np.lexsort([time_s, owner])
    busy = np.cumsum(delta[order], axis=0)[:-1] > 0.5
    same = owner[order][1:] == owner[order][:-1]
    length_s = np.where(same, np.diff(time_s[order]), 0.0)
    column = np.select([busy[:, 0], busy[:, 2], busy[:, 1], busy[:, 3]], [0, 2, 1, 3], default=4)
    split = np.zeros((satellites, len(SPLIT_COLUMNS)))
    np.add.at(split, (owner[order][:-1], column), length_s)
    return split
