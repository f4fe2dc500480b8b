"""A round with blocks on board in front of the head, against the same model without."""

from __future__ import annotations

import dataclasses

import pytest

from mission.scenario import load_scenario
from server_app.planning.workloads import MissionWorkloads, variant_of
from splitmodel.costs.published import published
from strategies.problem.workload import Mode, Workload

WHOLE = published("Galileo-Nano (S2-RGB, 64px p8)")
SAMPLES = [8, 24]


def round_of(mode: Mode, head_blocks: int) -> Workload:
    scenario = load_scenario("walker-12", {"split.head_blocks": head_blocks, "training.augment": "none"})
    workloads = MissionWorkloads(scenario, WHOLE.cut(0, head_blocks), samples=SAMPLES)
    return workloads.of_round(variant_of(scenario, mode))


@pytest.mark.parametrize("mode", [mode for mode in Mode if mode not in (Mode.HEAD, Mode.LORA)])
def test_what_does_not_split_is_planned_as_without_a_cut(mode: Mode) -> None:
    cut, plain = (dataclasses.asdict(round_of(mode, blocks)) for blocks in (2, 0))
    for name, value in plain.items():
        assert cut[name] == (pytest.approx(value, rel=1e-6) if isinstance(value, float) else value), name


def test_all_tokens_return_and_the_blocks_are_computed_on_board_both_ways_in_lora_and_once_for_a_frozen_model() -> (
    None
):
    cut, plain = round_of(Mode.LORA, 1), round_of(Mode.LORA, 0)
    block_flops = WHOLE.backbone_flops / WHOLE.blocks
    assert (
        cut.c2_bytes > 0.9 * WHOLE.tokens * plain.c2_bytes * 0.5
    )  # headers are the smaller part of more bytes
    assert cut.c1_bytes == plain.c1_bytes
    assert plain.backbone_forward_flops - cut.backbone_forward_flops == pytest.approx(block_flops)
    on_board = cut.head_flops - plain.head_flops
    assert 1.9 * block_flops < on_board < 2.2 * block_flops  # forward, and the gradient of what returned
    assert cut.embedding_flops == plain.embedding_flops
    head, plain = round_of(Mode.HEAD, 1), round_of(Mode.HEAD, 0)
    assert head.epochs * (head.head_flops - plain.head_flops) == pytest.approx(block_flops)
    assert head.c3_bytes == 0.0
