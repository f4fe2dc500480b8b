"""The cases that a comparison sets beside each other: the split, its strategies one by one, and strong baselines."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

from strategies.analysis.mission_totals import Case
from strategies.problem.workload import Mode, StrategyConfig, Workload

SPLIT, ONBOARD_LORA, IMAGES_DOWN, FEATURES_DOWN = "split", "onboard-lora", "images-down", "features-down"
# Cases between which the answer lies; the others show what each strategy and each way of training on board gains.
HEADLINE = (SPLIT, ONBOARD_LORA, IMAGES_DOWN, FEATURES_DOWN)

_THROUGH_GROUND = ("parallel", "topology-aware", "none")


@dataclass(frozen=True)
class Training:
    """How a case trains.

    Attributes:
        mode: Who computes what.
        onboard_share: Whether satellites may train a part of their images themselves, in mode ``lora``.
        adapted_blocks: In mode ``onboard-lora``, how many of the last blocks are adapted; 0 is all.
        onboard_cache: There, whether what leaves the frozen part is kept on board.
        all_kept: In mode ``lora``, whether the ground has room for the features of all images under all views.
    """

    mode: Mode
    onboard_share: bool = False
    adapted_blocks: int = 0
    onboard_cache: bool = False
    all_kept: bool = False


def standard_cases(
    rounds_of: Callable[[Training], tuple[Workload, ...]],
    *,
    split_mode: Mode = Mode.LORA,
    inter_orbit: str = "min-latency",
    last_blocks: int = 0,
    enrolment: Workload | None = None,
    kept: Workload | None = None,
) -> tuple[Case, ...]:
    """The cases of a mission, whose rounds ``rounds_of`` gives for every way of training.

    Args:
        rounds_of: The workload of every round.
        split_mode: How the split trains, ``lora`` or ``head``.
        inter_orbit: The method of the cases that use links between planes.
        last_blocks: How many of the last blocks are adapted on board where the back-propagation is truncated; 0 leaves
            that case out.
        enrolment: What comes before round 1 where features cross.
        kept: A round of the split once the ground has all features; without, that case is left out.
    """
    own = StrategyConfig.parse("none", "own-window", "none")
    best = StrategyConfig.parse("parallel", "topology-aware", inter_orbit)

    def case(
        name: str, alias: str, title: str, how: Training, strategy_config: StrategyConfig = best
    ) -> Case:
        crosses = how.mode in (Mode.HEAD, Mode.LORA, Mode.FEATURES)
        return Case(name, alias, title, rounds_of(how), strategy_config, enrolment if crosses else None)

    onboard = Training(Mode.ONBOARD_LORA)
    cases = [
        case(
            "onboard-full-own-window",
            "a",
            "on-board full fine-tuning, own window",
            Training(Mode.ONBOARD_FULL),
            own,
        ),
        case("onboard-full", "a2", "on-board full fine-tuning", Training(Mode.ONBOARD_FULL)),
        case(ONBOARD_LORA, "a3", "on-board LoRA", onboard),
        case(
            "onboard-lora-cached",
            "",
            "on-board LoRA, embedding computed once",
            dataclasses.replace(onboard, onboard_cache=True),
        ),
    ]
    if last_blocks:
        cases.append(
            case(
                "onboard-lora-truncated",
                "",
                f"on-board LoRA in the last {last_blocks} block{'s' * (last_blocks > 1)}, the others computed once",
                dataclasses.replace(onboard, adapted_blocks=last_blocks, onboard_cache=True),
            )
        )
    split = Training(split_mode)
    cases += [
        case("onboard-head", "", "on-board head, backbone computed once", Training(Mode.ONBOARD_HEAD)),
        case("split-own-window", "b", "split, own window", split, own),
        case(
            "split-parallel",
            "c",
            "split + parallel intra-orbit",
            split,
            StrategyConfig.parse("parallel", "own-window", "none"),
        ),
        case(
            "split-topology-aware",
            "d",
            "split + parallel + topology-aware",
            split,
            StrategyConfig.parse(*_THROUGH_GROUND),
        ),
        case(SPLIT, "e", "split, all strategies", split),
    ]
    for rule in ("first-contact", "nearest"):
        strategy_config = StrategyConfig.parse("parallel", rule, inter_orbit)
        cases.append(
            case(f"split-{rule}", "", f"split, {rule} instead of topology-aware", split, strategy_config)
        )
    other = "grid" if best.inter_orbit != "grid" else "min-latency"
    strategy_config = StrategyConfig.parse("parallel", "topology-aware", other)
    cases.append(case(f"split-{other}", "", f"split, {other} links between planes", split, strategy_config))
    if split_mode is Mode.LORA:
        if kept is not None:
            room = dataclasses.replace(split, all_kept=True)
            title = "split, the ground has room for all features"
            cases.append(dataclasses.replace(case("split-cached", "f", title, room), single=kept))
        shared = dataclasses.replace(split, onboard_share=True)
        cases.append(case("split-and-onboard", "j", "split + a share trained on board", shared))
    return (
        *cases,
        case(IMAGES_DOWN, "raw", "raw images down, the ground trains alone", Training(Mode.DOWNLINK)),
        case(
            FEATURES_DOWN,
            "",
            "features and labels down once, the ground trains alone",
            Training(Mode.FEATURES),
        ),
    )
