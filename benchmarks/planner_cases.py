"""The jobs of the planner benchmarks: shells, stations and published models."""

from __future__ import annotations

from typing import Any

from astropy.time import Time

from orbit.constellation import walker
from orbit.contact_plan import ContactPlan
from orbit.contact_plan_builder import (
    InterOrbitLink,
    IntraOrbitLink,
    Links,
    SpaceGroundLink,
    build_contact_plan,
)
from orbit.stations import GroundStation
from splitmodel.costs.published import published
from strategies.drawn_worlds import workload_of_fields
from strategies.problem.workload import Mode, Workload

EPOCH = Time("2026-01-01T00:00:00", scale="utc")
SAMPLES = 1000
VIT_L, VIT_1B = "Prithvi-EO-2.0-300M (T1)", "1 B parameters"
_TEN = (
    ("Madrid", 40.43, -4.25), ("Santiago", -33.15, -70.67), ("Canberra", -35.40, 148.98), ("Wallops", 37.94, -75.46),
    ("Hawaii", 19.01, -155.66), ("Singapore", 1.35, 103.82), ("Hartebeesthoek", -25.89, 27.69),
    ("Awarua", -46.53, 168.38), ("Brewster", 48.15, -119.70), ("Matera", 40.65, 16.70),
)  # fmt: skip


def stations(count: int) -> list[GroundStation]:
    """The first of ten sites; beyond ten, rings of them turned by 40° of longitude."""
    return [
        GroundStation(f"{name} {turn}", lat, lon_deg=(lon + 180.0 + 40.0 * turn) % 360.0 - 180.0)
        for turn in range(-(-count // len(_TEN)))
        for name, lat, lon in _TEN
    ][:count]


def contact_plan(pattern: str, altitude_km: float, station_count: int, *, hours: float = 48.0) -> ContactPlan:
    """A 53° shell with 200/50 Mbit/s space-ground, 1 and 0.5 Gbit/s inter-satellite links."""
    links = Links(
        SpaceGroundLink(200e6, 50e6),
        IntraOrbitLink(1e9),
        inter_orbit=InterOrbitLink(0.5e9, "grid" if altitude_km < 1000.0 else "all"),
    )
    shell = walker(f"53: {pattern}", epoch=EPOCH, altitude_km=altitude_km)
    return build_contact_plan(shell, stations(station_count), links, epoch=EPOCH, horizon_s=3600.0 * hours)


def workload(model: str, satellites: int, mode: Mode | str = Mode.LORA, **changes: object) -> Workload:
    """One epoch over 1000 images a satellite, fp16 crossings, pooled return.

    "1 B parameters" is a ViT of 40 layers and hidden size 1408 over 257 tokens (as ViT-g/14): 1.0e9 parameters,
    2 FLOPs per parameter and token, attention left out.
    """
    fields: dict[str, Any]
    if model == VIT_1B:
        fields = dict(  # noqa: C408
            tokens=257, hidden=1408, embedding_flops=0.85e9, backbone_flops=2 * 1.0e9 * 257, head_flops=8.4e4,
            head_bytes=4 * 14_090, adapter_bytes=4 * 1_802_240, backbone_bytes=2 * 1.0e9, raw_bytes=224 * 224 * 3,
        )  # fmt: skip
    else:
        costs = published(model)
        fields = dict(  # noqa: C408
            tokens=costs.tokens, hidden=costs.hidden, embedding_flops=costs.embedding_flops,
            backbone_flops=costs.backbone_flops, head_flops=costs.head_flops, head_bytes=costs.head_bytes,
            adapter_bytes=costs.adapter_bytes, backbone_bytes=2 * costs.backbone_params, raw_bytes=224 * 224 * 3,
            lora_backward_ratio=costs.lora_backward_flops / costs.backbone_flops,
        )  # fmt: skip
    return workload_of_fields(str(mode), [SAMPLES] * satellites, {**fields, **changes})
