"""The ground's answers to bundles, whatever order they come in."""

from __future__ import annotations

import asyncio
from typing import Any, NamedTuple

import pytest
import torch
from small_missions import batched
from torch import Tensor

from mission.run_config import STEPS_AHEAD
from mission.scenario import load_scenario
from relay.wire.manifest import Manifest, MessageKind
from server_app.backbone.executor import BackboneExecutor
from server_app.backbone.feature_assembler import FeatureAssembler, UnexpectedBundle
from server_app.backbone.scheduling import Suspended
from server_app.backbone.service import SHARED, BackboneService
from splitmodel.crossing import codecs
from splitmodel.crossing.scaling import Scaling
from splitmodel.heads import StandardisedHead
from splitmodel.lora.adapters import LoraSettings, add_lora
from splitmodel.parts import load_backbone, new_head
from splitmodel.shipped import weights_dir
from strategies.planner.step_order import ScheduleError

LORA, ROWS, CLASSES = LoraSettings(rank=2), 2, 3


class Station(NamedTuple):
    ground: BackboneService
    steps: BackboneExecutor
    head: StandardisedHead

    def weights(self, adapter: str) -> list[float]:
        """When the backbone has done all that it was given so far."""
        self.ground._compute.submit(lambda: None).result()
        return [
            value
            for tensor in self.steps.adapters[adapter].state().values()
            for value in tensor.flatten().tolist()
        ]


def station(*batches: str, **training: Any) -> Station:
    """In round 1 with these batched steps, before any scaling is known."""
    backbone = load_backbone(weights_dir("synthetic-vit"))
    add_lora(backbone, LORA)
    keys = {"training.batch_size": ROWS} | {f"training.{key}": value for key, value in training.items()}
    scenario = load_scenario("walker-12", keys)
    schedule = batched(*batches, delay=scenario.training.gradient_delay)
    adapters = [SHARED] if scenario.training.adapter == SHARED else list(schedule.steps_of)
    steps = BackboneExecutor(backbone, LORA, device=torch.device("cpu"), adapters=adapters)
    hidden = backbone.config.hidden_size
    ground = BackboneService(steps, scenario, run="run", assembler=FeatureAssembler((64, hidden), "fp32"))
    head = StandardisedHead.of(new_head(hidden, CLASSES), Scaling(torch.zeros(hidden), torch.ones(hidden)))
    if scenario.training.shares_head:
        ground.train_head(head)
    ground.begin_round(1, schedule)
    return Station(ground, steps, head)


async def send(
    to: Station,
    satellite: str,
    kind: MessageKind,
    step: int,
    micro_batch: int = 0,
    of: int = 1,
    shape: tuple[int, ...] = (),
    round_number: int = 1,
) -> list[str]:
    """The kinds and steps of the replies to a bundle of random values."""
    hidden = to.steps.backbone.config.hidden_size
    shapes = {MessageKind.FEATURES: (ROWS, 64, hidden), MessageKind.GRAD_HEAD: (CLASSES, hidden + 1)}
    values: Tensor = torch.randn(shape or shapes.get(kind, (ROWS, hidden)))
    payload = codecs.encode(values, "fp32")
    manifest = Manifest.describe(
        payload,
        run="run",
        kind=kind,
        source=satellite,
        destination="ground",
        dtype="float32",
        shape=tuple(values.shape),
        codec="fp32",
        round=round_number,
        step=step,
        micro_batch=micro_batch,
        attributes={"of": of},
    )
    replies = await to.ground.handle(satellite, manifest, payload)
    return [f"{reply.kind.name} {reply.step}" for reply, *_ in replies]


async def test_features_that_overtake_the_gradient_before_them_wait_for_it() -> None:
    one = station("a", "a")
    assert await send(one, "a", MessageKind.FEATURES, 0) == ["HIDDEN 0"]
    assert await send(one, "a", MessageKind.FEATURES, 1) == []
    assert await send(one, "a", MessageKind.GRAD_HIDDEN, 0) == ["HIDDEN 1"]
    assert await send(one, "a", MessageKind.GRAD_HIDDEN, 1) == ["GRAD_FEATURES 1"]


async def test_how_many_run_at_once_is_learnt_by_a_wait_of_the_first_round(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("server_app.backbone.service.TIMEOUT_S", 0.02)

    two = station(*"abab")
    with pytest.raises(Suspended, match="b waits for a"):
        await send(two, "b", MessageKind.FEATURES, 0)
    two.ground.begin_round(2, batched(*"abab"))
    with pytest.raises(Suspended, match="b makes room"):
        await send(two, "b", MessageKind.FEATURES, 0, round_number=2)


async def test_a_step_is_taken_when_the_gradients_of_all_its_micro_batches_have_come() -> None:
    one = station("a", "a", micro_batches=2)
    before = one.weights(SHARED)
    for part in (0, 1):
        assert await send(one, "a", MessageKind.FEATURES, 0, part, 2) == ["HIDDEN 0"]
    assert await send(one, "a", MessageKind.GRAD_HIDDEN, 0, 1, 2) == []
    assert one.weights(SHARED) == before
    assert await send(one, "a", MessageKind.GRAD_HIDDEN, 0, 0, 2) == []
    assert one.weights(SHARED) != before


@pytest.mark.parametrize(
    "kinds",
    [(MessageKind.GRAD_HIDDEN, MessageKind.GRAD_HEAD), (MessageKind.GRAD_HEAD, MessageKind.GRAD_HIDDEN)],
)
async def test_a_shared_head_comes_with_pooled_states_and_the_turn_ends_with_both_gradients(
    kinds: tuple[MessageKind, MessageKind],
) -> None:
    one = station("a", "a", head="shared")
    before = one.head.table()
    assert await send(one, "a", MessageKind.FEATURES, 0) == ["HEAD 0", "HIDDEN 0"]
    assert await send(one, "a", MessageKind.FEATURES, 1) == []
    assert await send(one, "a", kinds[0], 0) == []
    assert await send(one, "a", kinds[1], 0) == ["HEAD 1", "HIDDEN 1"]
    assert not one.head.table().equal(before)
    assert await send(one, "a", kinds[0], 1) == []
    assert await send(one, "a", kinds[1], 1) == ["GRAD_FEATURES 1"]


async def test_gradients_of_a_head_that_do_not_fit_are_refused() -> None:
    one = station("a", "a", head="shared")
    with pytest.raises(UnexpectedBundle, match="step 0: no head was sent for it"):
        await send(one, "a", MessageKind.GRAD_HEAD, 0)
    await send(one, "a", MessageKind.FEATURES, 0)
    with pytest.raises(UnexpectedBundle, match=r"found shape \(3, 3\), allowed \(3, 97\)"):
        await send(one, "a", MessageKind.GRAD_HEAD, 0, shape=(3, 3))
    await send(one, "a", MessageKind.GRAD_HEAD, 0)
    with pytest.raises(UnexpectedBundle, match="step 0: no head was sent for it"):
        await send(one, "a", MessageKind.GRAD_HEAD, 0)
    with pytest.raises(UnexpectedBundle, match="sends GRAD_HEAD, which mode lora has not"):
        await send(station("a", "a"), "a", MessageKind.GRAD_HEAD, 0)


@pytest.mark.parametrize("training", [{"adapter": "per-satellite"}, {"adapter": "shared"}], ids=str)
async def test_satellites_of_a_batched_step_are_answered_when_all_are_there(training: dict[str, str]) -> None:
    one = station("ab", "ab", **training)
    first = asyncio.create_task(send(one, "a", MessageKind.FEATURES, 0))
    answered, _ = await asyncio.wait([first], timeout=0.05)
    assert not answered
    assert await send(one, "b", MessageKind.FEATURES, 0) == ["HIDDEN 0"]
    assert await first == ["HIDDEN 0"]
    adapter = next(iter(one.steps.adapters))
    before = one.weights(adapter)
    assert await send(one, "a", MessageKind.GRAD_HIDDEN, 0) == []
    ahead = asyncio.create_task(send(one, "a", MessageKind.FEATURES, 1))
    await asyncio.wait([ahead], timeout=0.05)
    assert one.weights(adapter) == before
    await send(one, "b", MessageKind.GRAD_HIDDEN, 0)
    await send(one, "b", MessageKind.FEATURES, 1)
    assert await ahead == ["HIDDEN 1"]
    assert one.weights(adapter) != before


async def test_features_are_sent_ahead_by_so_many_steps_and_no_more() -> None:
    one = station(*["a"] * (STEPS_AHEAD + 2))
    for step in range(1, STEPS_AHEAD + 1):
        assert await send(one, "a", MessageKind.FEATURES, step) == []
    with pytest.raises(
        UnexpectedBundle, match=f"step {STEPS_AHEAD + 1} during step 0; allowed: {STEPS_AHEAD}"
    ):
        await send(one, "a", MessageKind.FEATURES, STEPS_AHEAD + 1)
    assert await send(one, "a", MessageKind.FEATURES, 0) == ["HIDDEN 0"]
    for step in range(STEPS_AHEAD):
        assert await send(one, "a", MessageKind.GRAD_HIDDEN, step) == [f"HIDDEN {step + 1}"]


@pytest.mark.parametrize("delay", [1, 2])
async def test_a_gradient_that_comes_before_those_of_earlier_steps_waits_for_them(delay: int) -> None:
    one = station(*"abc", "abc", gradient_delay=delay)
    for name in "ab":
        assert await send(one, name, MessageKind.FEATURES, 0) == ["HIDDEN 0"]
    before = one.weights(SHARED)
    assert await send(one, "b", MessageKind.GRAD_HIDDEN, 0) == []
    third = asyncio.create_task(send(one, "c", MessageKind.FEATURES, 0))
    answered, _ = await asyncio.wait([third], timeout=30.0 if delay == 2 else 0.05)
    assert one.weights(SHARED) == before
    assert bool(answered) == (delay == 2)
    assert await send(one, "a", MessageKind.GRAD_HIDDEN, 0) == []
    assert await third == ["HIDDEN 0"]
    assert one.weights(SHARED) != before


async def test_gradients_that_nothing_waits_for_and_impossible_micro_batches_are_refused() -> None:
    one = station("a", "a", micro_batches=2)
    with pytest.raises(UnexpectedBundle, match="step 0: no pooled states were sent"):
        await send(one, "a", MessageKind.GRAD_HIDDEN, 0)
    for micro_batch, of in ((2, 2), (0, 3), (0, 0)):
        with pytest.raises(UnexpectedBundle, match=f"micro-batch {micro_batch} of {of}; allowed: up to 2"):
            await send(one, "a", MessageKind.FEATURES, 0, micro_batch, of)
    await send(one, "a", MessageKind.FEATURES, 0)
    await send(one, "a", MessageKind.GRAD_HIDDEN, 0)
    with pytest.raises(ScheduleError, match="was taken"):
        await send(one, "a", MessageKind.GRAD_HIDDEN, 0)
