"""The worlds of the test kit, and the ladder of strategies that benchmarks climb in them."""

from __future__ import annotations

from strategies.drawn_worlds import (
    EPOCH,
    HORIZON_S,
    RATES,
    RESOURCES,
    WORLD,
    Drawn,
    draw,
    make_workload,
    make_world,
)
from strategies.problem.workload import StrategyConfig

__all__ = [
    "EPOCH",
    "HORIZON_S",
    "LADDER",
    "RATES",
    "RESOURCES",
    "WORLD",
    "Drawn",
    "draw",
    "make_workload",
    "make_world",
]

LADDER = {
    "b": StrategyConfig.parse("none", "own-window", "none"),
    "c": StrategyConfig.parse("parallel", "own-window", "none"),
    "d": StrategyConfig.parse("parallel", "topology-aware", "none"),
    "e": StrategyConfig.parse("parallel", "topology-aware", "grid"),
}
