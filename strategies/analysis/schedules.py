"""Schedules that papers publish, on our engine: who trains, over which links weights travel, and when.

Each is a case of a comparison like ours: planned, checked, beside its bound, as a round and as a whole mission.  What
is approximated of each is in docs/conformance.md.
"""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass

from strategies.analysis.cases import RoundsOf
from strategies.analysis.mission_totals import Case
from strategies.problem.training_variant import TrainingVariant
from strategies.problem.workload import Mode, StrategyConfig


@dataclass(frozen=True)
class PublishedSchedule:
    """A schedule of a paper.

    Attributes:
        name: Of the case.
        title: What it does, in a phrase.
        paper: Who proposed it, and the number of the preprint.
        strategies: Its three communication strategies, by name.
    """

    name: str
    title: str
    _: KW_ONLY
    paper: str
    strategies: tuple[str, str, str]


PUBLISHED = (
    PublishedSchedule(
        "fedavg-spaced",
        "FedAvg spaced: every satellite waits for its own window, down and up",
        paper="Space-ified FedAvg of FLySTacK, arXiv 2511.14889",
        strategies=("none", "own-window", "none"),
    ),
    PublishedSchedule(
        "isl-sink",
        "sums go along the plane to the satellite that first has a window",
        paper="Razmi et al., arXiv 2307.08346",
        strategies=("sequential", "own-window", "none"),
    ),
    PublishedSchedule(
        "fedleo",
        "FedLEO: planes sum in parallel and elect the sink with a window that is long enough",
        paper="Elmahallawy and Luo, arXiv 2302.13447",
        strategies=("parallel", "longest-window", "none"),
    ),
    PublishedSchedule(
        "between-planes",
        "planes average over lasers between them, without a ground where these join them",
        paper="decentralised aggregation between planes, as with RelaySum",
        strategies=("parallel", "first-contact", "grid"),
    ),
)


def published_cases(rounds_of: RoundsOf) -> tuple[Case, ...]:
    """The published schedules as cases; all of them train the whole model on board."""
    workloads = rounds_of(TrainingVariant(Mode.ONBOARD_FULL))
    return tuple(
        Case(
            schedule.name,
            f"{schedule.title} ({schedule.paper})",
            workloads=workloads,
            strategy_config=StrategyConfig.parse(*schedule.strategies),
        )
        for schedule in PUBLISHED
    )
