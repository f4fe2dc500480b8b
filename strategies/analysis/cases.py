"""The cases that a comparison sets beside each other: the split, its strategies one by one, and strong baselines."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from dataclasses import KW_ONLY, dataclass

from strategies.analysis.mission_totals import Case
from strategies.doors import registered_variants
from strategies.problem.training_variant import TrainingVariant
from strategies.problem.workload import Mode, StrategyConfig, Workload

SPLIT, IMAGES_DOWN, FEATURES_DOWN = "split", "images-down", "features-down"
ONBOARD_LORA, ONBOARD_HEAD = "onboard-lora", "onboard-head"
# Cases that may be in the headline of a comparison.
ANSWERS = (SPLIT, ONBOARD_LORA, ONBOARD_HEAD, IMAGES_DOWN, FEATURES_DOWN)

RoundsOf = Callable[[TrainingVariant], tuple[Workload, ...]]
EnrolmentOf = Callable[[Mode], Workload]


def headline_of(cases: Iterable[Case]) -> tuple[str, ...]:
    """Names of the cases between which the answer lies, the split first, then the one on board, if they are there.

    On board it is the case that trains what the split trains: adapter and head, or the head alone. The other cases show
    what each strategy and each way of training on board gains.
    """
    modes = {case.name: case.one_round.mode for case in cases}
    other = ONBOARD_LORA if modes.get(SPLIT) is Mode.HEAD else ONBOARD_HEAD
    return tuple(name for name in ANSWERS if name in modes and name != other)


@dataclass(frozen=True)
class CaseFactory:
    """Makes the cases of one mission.

    Attributes:
        rounds_of: The workload of every round, for a way of training.
        best: All strategies, with which a case is planned unless it says others.
        enrolment_of: What comes before round 1 where features cross, for a mode; without, nothing does.
    """

    rounds_of: RoundsOf
    best: StrategyConfig
    _: KW_ONLY
    enrolment_of: EnrolmentOf | None = None

    def __call__(
        self,
        name: str,
        title: str,
        variant: TrainingVariant,
        strategy_config: StrategyConfig | None = None,
        *,
        alias: str = "",
    ) -> Case:
        """Return the case that trains so, with these strategies."""
        crosses = variant.mode in (Mode.HEAD, Mode.LORA, Mode.FEATURES)
        return Case(
            name,
            title,
            alias=alias,
            workloads=self.rounds_of(variant),
            strategy_config=strategy_config or self.best,
            enrolment=self.enrolment_of(variant.mode) if crosses and self.enrolment_of else None,
        )


def standard_cases(
    rounds_of: RoundsOf,
    *,
    split_mode: Mode = Mode.LORA,
    inter_orbit: str = "min-latency",
    last_blocks: int = 0,
    enrolment_of: EnrolmentOf | None = None,
    kept: Workload | None = None,
    ground_has_labels: bool = False,
) -> tuple[Case, ...]:
    """Return the cases of a mission, whose rounds ``rounds_of`` gives for every way of training.

    Strategies that installed packages register are among them, each in the place of ours.

    Args:
        rounds_of: The workload of every round.
        split_mode: How the split trains, ``lora`` or ``head``.
        inter_orbit: The method of the cases that use links between planes.
        last_blocks: How many of the last blocks are adapted on board where the back-propagation is truncated; 0 leaves
            that case out.
        enrolment_of: What comes before round 1 where features cross, for a mode; without, nothing does.
        kept: A round of the split once the ground has all features; without, that case is left out.
        ground_has_labels: Whether labels are made on the ground, so that none come down.

    Raises:
        strategies.registry.StrategyError: A strategy of another package cannot be used.
    """
    best = StrategyConfig.parse("parallel", "topology-aware", inter_orbit)
    case = CaseFactory(rounds_of, best, enrolment_of=enrolment_of)
    split = TrainingVariant(split_mode)
    cases = [*_on_board_cases(case, last_blocks), *_strategy_cases(case, split)]
    cases += _registered_cases(case, split, {known.name for known in cases})
    if split_mode is Mode.LORA:
        if kept is not None:
            room = dataclasses.replace(split, room_for_all=True)
            title = "split, the ground has room for all features; one round: once it has them"
            cases.append(dataclasses.replace(case("split-cached", title, room, alias="f"), single=kept))
        shared = dataclasses.replace(split, onboard_share=True)
        cases.append(case("split-and-onboard", "split + a share trained on board", shared, alias="j"))
    return (*cases, *_central_cases(case, ground_has_labels))


def _on_board_cases(case: CaseFactory, last_blocks: int) -> list[Case]:
    """Training on board, from the whole model down to the head."""
    own = StrategyConfig.parse("none", "own-window", "none")
    full, lora = TrainingVariant(Mode.ONBOARD_FULL), TrainingVariant(Mode.ONBOARD_LORA)
    cached = dataclasses.replace(lora, onboard_cache=True)
    cases = [
        case("onboard-full-own-window", "on-board full fine-tuning, own window", full, own, alias="a"),
        case("onboard-full", "on-board full fine-tuning", full, alias="a2"),
        case(ONBOARD_LORA, "on-board LoRA", lora, alias="a3"),
        case("onboard-lora-cached", "on-board LoRA, embedding computed once", cached),
    ]
    if last_blocks:
        blocks = f"{last_blocks} blocks" if last_blocks > 1 else "block"
        title = f"on-board LoRA in the last {blocks}, the others computed once"
        cases.append(
            case("onboard-lora-truncated", title, dataclasses.replace(cached, adapted_blocks=last_blocks))
        )
    head = TrainingVariant(Mode.ONBOARD_HEAD)
    return [*cases, case(ONBOARD_HEAD, "on-board head, backbone computed once", head)]


def _strategy_cases(case: CaseFactory, split: TrainingVariant) -> list[Case]:
    """The split: strategies added one by one, then one of them exchanged."""
    inter_orbit = case.best.inter_orbit
    own = StrategyConfig.parse("none", "own-window", "none")
    parallel = StrategyConfig.parse("parallel", "own-window", "none")
    through_ground = StrategyConfig.parse("parallel", "topology-aware", "none")
    cases = [
        case("split-own-window", "split, own window", split, own, alias="b"),
        case("split-parallel", "split + parallel intra-orbit", split, parallel, alias="c"),
        case("split-topology-aware", "split + parallel + topology-aware", split, through_ground, alias="d"),
        case(SPLIT, "split, all strategies", split, alias="e"),
    ]
    for rule in ("first-contact", "nearest"):
        strategy_config = StrategyConfig.parse("parallel", rule, inter_orbit)
        cases.append(
            case(f"split-{rule}", f"split, {rule} instead of topology-aware", split, strategy_config)
        )
    other = "grid" if inter_orbit != "grid" else "min-latency"
    strategy_config = StrategyConfig.parse("parallel", "topology-aware", other)
    return [*cases, case(f"split-{other}", f"split, {other} links between planes", split, strategy_config)]


def _registered_cases(case: CaseFactory, split: TrainingVariant, taken: set[str]) -> list[Case]:
    """The split with each strategy that an installed package registers, under a name that is not ``taken``."""
    cases = []
    for name, ours, strategy_config in registered_variants(case.best):
        title = f"split, {name} instead of {ours}"
        full = f"split-{name}" if f"split-{name}" not in taken else f"split-{name}-instead-of-{ours}"
        taken = {*taken, full}
        cases.append(case(full, title, split, strategy_config))
    return cases


def _central_cases(case: CaseFactory, ground_has_labels: bool) -> list[Case]:
    """The ground trains alone, on images or on features."""
    images = "raw images down, the ground trains alone"
    features = f"features{' and labels' * (not ground_has_labels)} down once, the ground trains alone"
    return [
        case(IMAGES_DOWN, images, TrainingVariant(Mode.DOWNLINK), alias="raw"),
        case(FEATURES_DOWN, features, TrainingVariant(Mode.FEATURES)),
    ]
