"""Small synthetic contact plans: planes of satellites, stations, passes at given or drawn times."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any

import numpy as np
from astropy.time import Time

from orbit.contact_plan import CONTACT, ContactPlan, LinkKind, Node
from strategies.problem.model_sizes import CrossingBits, ModelSizes, TrainingSchedule
from strategies.problem.planning_problem import PlanningProblem
from strategies.problem.round_state import RoundState
from strategies.problem.sunlight import Sunlight
from strategies.problem.workload import ComputeRates, Resources, StrategyConfig, Workload

HORIZON_S = 40_000.0
_TOKENS = 197  # of the model of drawn rounds
EPOCH = Time("2026-01-01T00:00:00", scale="utc")


def make_world(
    planes: int,
    slots: int,
    stations: int,
    passes: Sequence[tuple[int, int, float, float]],
    *,
    down_bps: float = 200e6,
    up_bps: float = 50e6,
    isl_bps: float = 1e9,
    inter_bps: float = 5e8,
    ring: bool = True,
    horizon_s: float = HORIZON_S,
) -> ContactPlan:
    """``passes`` are (satellite, station, start_s, length_s); neighbours of a plane and of planes see each other."""
    count = planes * slots
    nodes = [
        Node(f"sat-{i // slots}-{i % slots}", "satellite", plane=i // slots, slot=i % slots)
        for i in range(count)
    ]
    nodes += [Node(f"station-{g}", "station") for g in range(stations)]
    rows = []

    def both(
        a: int, b: int, kind: LinkKind, back: LinkKind, start: float, end: float, rates: tuple, owlt: float
    ) -> None:
        for source, target, link, rate in ((a, b, kind, rates[0]), (b, a, back, rates[1])):
            rows.append((source, target, link, start, end, rate, owlt, np.nan, 1000.0, False, False))

    last_end: dict[tuple[int, int], float] = {}
    for satellite, station, start_s, length_s in sorted(passes, key=lambda row: row[2]):
        start_s = max(start_s, last_end.get((satellite, station), -1.0) + 1.0)
        end_s = min(start_s + length_s, horizon_s)
        if end_s - start_s > 1.0:
            last_end[satellite, station] = end_s
            both(
                satellite,
                count + station,
                LinkKind.DOWNLINK,
                LinkKind.UPLINK,
                start_s,
                end_s,
                (down_bps, up_bps),
                0.004,
            )
    intra, inter = LinkKind.INTRA_ISL, LinkKind.INTER_ISL
    for plane in range(planes):
        for slot in range(slots if ring and slots > 2 else slots - 1):
            a, b = plane * slots + slot, plane * slots + (slot + 1) % slots
            both(a, b, intra, intra, 0.0, horizon_s, (isl_bps, isl_bps), 0.006)
        if inter_bps and (plane + 1 < planes or planes > 2):
            for slot in range(slots):
                a, b = plane * slots + slot, (plane + 1) % planes * slots + slot
                both(a, b, inter, inter, 0.0, horizon_s, (inter_bps, inter_bps), 0.01)
    return ContactPlan(EPOCH, horizon_s, nodes=tuple(nodes), contacts=np.array(rows, CONTACT))


# Two planes of three, two stations, a pass of each satellite every 1000 s.
WORLD = make_world(
    2, 3, 2, [(k, k % 2, 100.0 * k + 1000.0 * turn, 300.0) for turn in range(8) for k in range(6)]
)


def make_workload(
    satellites: int, samples: int | Sequence[int] = 64, mode: str = "lora", **changes: object
) -> Workload:
    """A ViT-B like round; 151 kB of features and 35 GFLOP per sample."""
    counts = [samples] * satellites if isinstance(samples, int) else list(samples)
    fields: dict = dict(  # noqa: C408
        tokens=_TOKENS, hidden=768, embedding_flops=0.7e9, backbone_flops=34.2e9, head_flops=5e4, head_bytes=31e3,
        adapter_bytes=1.2e6, backbone_bytes=170e6, raw_bytes=150e3, feature_bits=8.0,
    )  # fmt: skip
    return workload_of_fields(mode, counts, {**fields, **changes})


def workload_of_fields(mode: str, samples: Sequence[int], values: Mapping[str, Any]) -> Workload:
    """Return a round from fields of the model's sizes, of the schedule and of the crossings' bits, all by name."""
    parts = (ModelSizes, TrainingSchedule, CrossingBits)
    names = [{field.name for field in dataclasses.fields(part)} for part in parts]
    if unknown := values.keys() - set().union(*names):
        raise TypeError(f"found {sorted(unknown)}, allowed: {sorted(set().union(*names))}")
    sizes, schedule, bits = (
        part(**{name: value for name, value in values.items() if name in own})
        for part, own in zip(parts, names, strict=True)
    )
    return Workload.from_profile(mode, samples, sizes, schedule, bits)


RATES = ComputeRates(satellite_flops=0.5e12, ground_flops=50e12)
RESOURCES = Resources()


def make_problem(
    world: ContactPlan,
    workload: Workload,
    start_s: float = 0.0,
    *,
    rates: ComputeRates = RATES,
    resources: Resources = RESOURCES,
    state: RoundState | None = None,
) -> PlanningProblem:
    """Return a round to be planned; without ``state`` it stands at its beginning."""
    return PlanningProblem(
        world, workload, rates=rates, resources=resources, start_s=start_s, state=state or RoundState()
    )


@dataclass(frozen=True, eq=False)
class Drawn:
    """A round to be planned in a drawn world."""

    world: ContactPlan
    workload: Workload
    _: KW_ONLY
    rates: ComputeRates
    resources: Resources
    strategy_config: StrategyConfig

    def problem(self, start_s: float = 0.0, state: RoundState | None = None) -> PlanningProblem:
        """Return the round from a start; without ``state`` it stands at its beginning."""
        return make_problem(
            self.world, self.workload, start_s, rates=self.rates, resources=self.resources, state=state
        )


def draw(rng: np.random.Generator, most_passes: int = 12) -> Drawn:
    """A constellation that always gets through: every satellite has late passes, besides ``most_passes`` drawn ones.

    Modes, adapters, heads, joint steps, delays, parts, caches, epochs, shares on board, beams, set-up, buffers,
    sunlight, rates of links and what software takes for a message are all drawn.
    """
    planes, slots, stations = (int(rng.integers(low, high + 1)) for low, high in ((1, 3), (1, 5), (1, 3)))
    count = planes * slots
    passes = [
        (
            int(rng.integers(count)),
            int(rng.integers(stations)),
            float(rng.uniform(0.0, 4000.0)),
            float(rng.uniform(30.0, 500.0)),
        )
        for _ in range(int(rng.integers(most_passes + 1)))
    ]
    passes += [
        (k, (k + turn) % stations, 8000.0 + 700.0 * (turn * count + k), 400.0)
        for turn in range(3)  # the last one brings the average back
        for k in range(count)
    ]
    world = make_world(
        planes, slots, stations, passes, ring=bool(rng.integers(2)), isl_bps=float(rng.choice([3e7, 5e7, 1e9])),
        inter_bps=float(rng.choice([0.0, 3e7, 5e8])), up_bps=float(rng.choice([1e6, 5e7])),
    )  # fmt: skip
    samples = rng.integers(0, 161, count)
    samples[int(rng.integers(count))] = int(rng.integers(1, 161))
    mode = str(
        rng.choice(["lora", "lora", "lora", "lora", "head", "downlink", "onboard-lora", "onboard-full"])
    )
    shared = bool(rng.integers(2))
    workload = make_workload(
        count, samples.tolist(), mode=mode, epochs=int(rng.choice([1, 1, 2])),
        returned_tokens=_TOKENS if rng.integers(4) == 0 else 1, cached_fraction=float(rng.choice([0.0, 0.0, 0.4, 1.0])),
        onboard_share=bool(rng.integers(6) == 0), shared_head=bool(rng.integers(3) == 0), shared_adapter=shared,
        satellites_per_step=int(rng.choice([1, 2, 4])), gradient_delay=int(rng.choice([0, 0, 1, 3])),
        micro_batches=int(rng.choice([1, 1, 4])),
    )  # fmt: skip
    tight_bytes = 8.0 * workload.micro_batch * max(workload.c1_bytes, 1.0)
    sunlight = None
    if rng.integers(6) == 0:
        dark_s = rng.uniform(0.0, 2000.0, count)
        sunlight = Sunlight(tuple(np.array([[0.0, at_s], [at_s + 1800.0, np.inf]]) for at_s in dark_s))
    resources = Resources(
        beams=int(rng.integers(1, 3)), setup_s=float(rng.choice([0.0, 10.0, 40.0])),
        acquisition_s=float(rng.choice([0.0, 10.0])), isl_terminals=int(rng.choice([1, 2])),
        buffer_bytes=float(rng.choice([math.inf, math.inf, tight_bytes])), sunlight=sunlight,
    )  # fmt: skip
    rates = ComputeRates(RATES.satellite_flops, RATES.ground_flops, message_s=float(rng.choice([0.0, 0.002])))
    intra = str(rng.choice(["none", "parallel", "parallel", "sequential", "all-gather"]))
    ground = str(rng.choice(["own-window", "first-contact", "nearest", "topology-aware", "topology-aware"]))
    inter = str(rng.choice(["none", "grid", "nearest", "min-latency"]))
    if not math.isinf(resources.buffer_bytes) and intra == "all-gather":
        intra = "parallel"  # a plane's copies do not fit
    strategy_config = StrategyConfig.parse(intra, ground, inter)
    if rng.integers(3) == 0:
        own_beams = tuple((count + station, int(rng.integers(1, 4))) for station in range(stations))
        resources = dataclasses.replace(resources, own_beams=own_beams)
    return Drawn(world, workload, rates=rates, resources=resources, strategy_config=strategy_config)
