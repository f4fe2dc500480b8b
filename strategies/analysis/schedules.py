"""Schedules that papers publish, on our engine: who trains, over which links weights travel, and when.

Each is a case of a comparison like ours: planned, checked, beside its bound, as a round and as a whole mission.  Those
that have no rounds are planned by :mod:`strategies.asynchronous`.  What is approximated of each is in
docs/conformance.md.
"""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass

from strategies.analysis.cases import RoundsOf
from strategies.analysis.mission_totals import Case
from strategies.asynchronous.mission import AsyncSchedule, Buffer, PlannedSlots, Unit
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
        asynchronous: Who delivers and when the ground averages, where it has no rounds.
        plane_rounds: Rounds of each plane by itself before all average, where there are any.
        client_share: Share of the blocks that are trained on board, where the ground trains the rest.
    """

    name: str
    title: str
    _: KW_ONLY
    paper: str
    strategies: tuple[str, str, str]
    asynchronous: AsyncSchedule | None = None
    plane_rounds: int = 0
    client_share: float = 0.0


OWN_WINDOWS = ("none", "own-window", "none")

PUBLISHED = (
    PublishedSchedule(
        "fedavg-spaced",
        "FedAvg spaced: every satellite waits for its own window, down and up",
        paper="Space-ified FedAvg of FLySTacK, arXiv 2511.14889",
        strategies=OWN_WINDOWS,
    ),
    PublishedSchedule(
        "fedprox-spaced",
        "FedProx spaced: rounds in own windows, every satellite trains until its window comes",
        paper="Space-ified FedProx of FLySTacK, arXiv 2511.14889",
        strategies=OWN_WINDOWS,
        asynchronous=AsyncSchedule(Unit.SATELLITE, Buffer(), trains_on=True, one_way=True),
    ),
    PublishedSchedule(
        "fedbuff-spaced",
        "FedBuff spaced: an average of every 10 updates that come, every satellite trains until its window comes",
        paper="Space-ified FedBuff of FLySTacK, arXiv 2511.14889",
        strategies=OWN_WINDOWS,
        asynchronous=AsyncSchedule(Unit.SATELLITE, Buffer(10), trains_on=True, one_way=True),
    ),
    PublishedSchedule(
        "fedspace",
        "FedSpace: averages in the slots in which predicted contacts make them worth most",
        paper="So et al., arXiv 2202.01267",
        strategies=OWN_WINDOWS,
        asynchronous=AsyncSchedule(Unit.SATELLITE, PlannedSlots(), one_way=True),
    ),
    PublishedSchedule(
        "sfl-leo",
        "SFL-LEO: the first blocks train on board while nothing is in sight, the ground trains the rest on features",
        paper="Wu et al., arXiv 2504.13479",
        strategies=OWN_WINDOWS,
        asynchronous=AsyncSchedule(Unit.SATELLITE, Buffer(1), trains_on=True, one_way=True),
        client_share=0.25,
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
        "asyncfleo",
        "AsyncFLEO: planes sum and deliver each in its own time, an average of each sum that comes",
        paper="Elmahallawy and Luo, arXiv 2212.11522",
        strategies=("parallel", "first-contact", "none"),
        asynchronous=AsyncSchedule(Unit.PLANE, Buffer(1)),
    ),
    PublishedSchedule(
        "between-planes",
        "planes average over lasers between them, without a ground where these join them",
        paper="decentralised aggregation between planes, as with RelaySum",
        strategies=("parallel", "first-contact", "grid"),
    ),
    PublishedSchedule(
        "autoflsat",
        "AutoFLSat: planes train and average 10 times by themselves, then over lasers between them",
        paper="Kim et al., arXiv 2411.00263",
        strategies=("parallel", "first-contact", "grid"),
        plane_rounds=10,
    ),
)


def published_cases(rounds_of: RoundsOf) -> tuple[Case, ...]:
    """The published schedules as cases; all of them train on board, most of them the whole model."""
    return tuple(
        Case(
            schedule.name,
            f"{schedule.title} ({schedule.paper})",
            workloads=rounds_of(TrainingVariant(Mode.ONBOARD_FULL, client_share=schedule.client_share)),
            strategy_config=StrategyConfig.parse(*schedule.strategies),
            asynchronous=schedule.asynchronous,
            plane_rounds=schedule.plane_rounds,
        )
        for schedule in PUBLISHED
    )
