"""Joint steps of several satellites and steps with a delay, against a plain loop over the whole model in one place."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
import torch
from small_missions import (
    CLIP,
    EXACT,
    SMALL,
    Mission,
    clipped_step,
    logits_under_views,
    rows_as_planned,
    same,
    trained,
)
from torch.nn import functional as F

from client_app.partitions import partition
from mission.orbits import constellation_of
from mission.scenario import ScenarioError, load_scenario, scenario_from_json, scenario_to_json
from mission.schema import SATELLITES_PER_STEP, Scenario
from server_app.planning.workloads import MissionWorkloads, variant_of
from splitmodel.crossing.scaling import Moments, Scaling
from splitmodel.heads import StandardisedHead
from splitmodel.imagery import ImageSet, open_imagery
from splitmodel.lora.adapters import LoraSettings, add_lora
from splitmodel.lora.dropout import dropping, row_seeds
from splitmodel.parts import load_split
from splitmodel.shipped import weights_dir
from splitmodel.training import Batch, learning_rate, round_batches, round_seed, steps_per_round
from strategies.planner.step_order import BatchedStep, Schedule, ScheduledStep
from strategies.problem.workload import Mode

SATELLITES = 4


def joint_schedule(steps: list[int], members: int, delay: int) -> Schedule:
    """Batched steps of up to so many satellites, those with most steps left first."""
    names = constellation_of(load_scenario("walker-12", SMALL)).names
    done, batches = [0] * len(steps), []
    while done != steps:
        left = sorted(range(len(steps)), key=lambda index: (done[index] - steps[index], index))
        who = [index for index in left if done[index] < steps[index]][:members]
        batches.append(tuple(ScheduledStep(names[index], done[index]) for index in sorted(who)))
        done = [count + (index in who) for index, count in enumerate(done)]
    return Schedule(tuple(batches), tuple(max(0, position - delay) for position in range(len(batches))))


class InOnePlace:
    """The training of a scenario with a shared adapter, by autograd over the whole model."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        training, seed = scenario.training, scenario.seed
        images = open_imagery(
            "synthetic", None, seed=seed, train_samples=scenario.data.train_samples, test_samples=1
        ).train
        planes = constellation_of(scenario).plane.tolist()
        shares = partition("dirichlet", images.labels, planes, alpha=5.0, classes_per_satellite=2, seed=seed)
        self.images: list[ImageSet] = [images.take(share) for share in shares]
        self.steps = [
            steps_per_round(len(share), training.batch_size, training.local_epochs) for share in shares
        ]
        model = load_split(weights_dir("synthetic-vit"), num_labels=len(images.classes), seed=seed)
        moments = Moments.of(self._pooled(model, 0))
        for satellite in range(1, SATELLITES):
            moments = moments + Moments.of(self._pooled(model, satellite))
        self.model = dataclasses.replace(model, head=StandardisedHead.of(model.head, Scaling.of(moments)))
        add_lora(model.backbone, LoraSettings(**scenario.lora.model_dump()), seed=seed)
        self.adapter = [p for p in model.backbone.parameters() if p.requires_grad]
        self.head = list(self.model.head.parameters())
        self.of_adapter = torch.optim.AdamW(self.adapter, weight_decay=0.0)
        self.of_head = torch.optim.AdamW(self.head, weight_decay=0.0)

    def train(self, schedule: Schedule) -> None:
        """All rounds; the head is shared, too."""
        for number in range(1, self.scenario.training.rounds + 1):
            versions = [self._copies()]
            for position, batch in enumerate(schedule.batches):
                now = versions[-1]
                self._set(versions[schedule.updates[position]])
                self.of_adapter.zero_grad()
                self.of_head.zero_grad()
                self._loss(number, batch).backward()
                self._set(now)
                self._rate(number, position, schedule)
                for optimizer in (self.of_adapter, self.of_head):
                    clipped_step(optimizer, self.scenario.training.clip_update)
                versions.append(self._copies())

    def weights(self) -> dict[str, torch.Tensor]:
        """Under the names of :func:`small_missions.trained`."""
        named = self.model.backbone.transformer.named_parameters()
        found = {
            "base_model.model." + name.replace(".default", ""): p.detach()
            for name, p in named
            if p.requires_grad
        }
        folded = self.model.head.folded()
        return found | {"head.weight": folded.weight.detach(), "head.bias": folded.bias.detach()}

    def _pooled(self, model: Any, satellite: int) -> torch.Tensor:
        images = self.images[satellite]
        few = np.linspace(0, len(images) - 1, min(32, len(images))).round().astype(int)
        return model.backbone(model.embedding(model.preprocess(images.pixels_BCHW(few))))

    def _batch(self, number: int, satellite: int, step: int) -> Batch:
        training = self.scenario.training
        seed = round_seed(self.scenario.seed, satellite, number)
        return round_batches(
            len(self.images[satellite]), training.batch_size, training.local_epochs, 8, seed
        )[step]

    def _seeds(self, number: int, satellite: int, step: int, rows: int) -> list[int]:
        """Of the rows' dropout, which follow from the micro-batch as well."""
        seed = round_seed(self.scenario.seed, satellite, number)
        parts = np.array_split(np.arange(rows), min(self.scenario.training.micro_batches, rows))
        return [one for part, of in enumerate(parts) for one in row_seeds((*seed, step, part), len(of))]

    def _loss(self, number: int, batch: BatchedStep) -> torch.Tensor:
        """The mean over all images of the batched step."""
        logits, labels = [], []
        names = constellation_of(self.scenario).names
        for name, step in batch:
            images = self.images[names.index(name)]
            one = self._batch(number, names.index(name), step)
            pixels = images.pixels_BCHW(one.indices)
            with dropping(
                self.model.backbone, self._seeds(number, names.index(name), step, len(one.indices))
            ):
                logits.append(logits_under_views(self.scenario, self.model, pixels, one.views))
            labels.append(torch.from_numpy(images.labels[one.indices]))
        return F.cross_entropy(torch.cat(logits), torch.cat(labels))

    def _rate(self, number: int, position: int, schedule: Schedule) -> None:
        training = self.scenario.training
        progress = (number - 1 + position / len(schedule.batches)) / training.rounds
        together = len(schedule.batches[position])
        for optimizer, base in (
            (self.of_adapter, training.learning_rate),
            (self.of_head, training.head_learning_rate),
        ):
            optimizer.param_groups[0] |= {
                "lr": learning_rate(base * math.sqrt(together), "cosine", progress),
                "betas": (max(0.0, 1.0 - 0.1 * together), 1.0 - 0.001 * together),
                "eps": optimizer.defaults["eps"] / math.sqrt(together),
            }

    def _copies(self) -> list[torch.Tensor]:
        return [p.detach().clone() for p in (*self.adapter, *self.head)]

    @torch.no_grad()
    def _set(self, values: list[torch.Tensor]) -> None:
        for parameter, value in zip((*self.adapter, *self.head), values, strict=True):
            parameter.copy_(value)


def distance(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    """Of the tensor that differs most, relative to its length: AdamW makes much of the rounding of single gradients."""
    return max(float((one[name] - other[name]).norm() / other[name].norm()) for name in other)


CASES = [  # satellites of a step, delay, micro-batches, views
    (SATELLITES, 0, 1, "token-dihedral"),
    (SATELLITES, 2, 1, "dihedral"),
    (3, 1, 3, "token-dihedral"),
]
MORE = [
    (3, 1, 1, "dihedral"),
    (1, 0, 1, "dihedral"),
    (1, 2, 1, "dihedral"),
    (1, 1, 1, "dihedral"),
    (3, 0, 1, "dihedral"),
    (3, 2, 1, "dihedral"),
    (SATELLITES, 0, 1, "dihedral"),
    (SATELLITES, 1, 1, "dihedral"),
    (3, 1, 3, "dihedral"),
]


@pytest.mark.parametrize(
    ("members", "delay", "micro_batches", "augment"),
    [*CASES, *(pytest.param(*case, marks=pytest.mark.slow) for case in MORE)],
)
def test_joint_and_delayed_steps_in_orbit_equal_a_plain_loop_in_one_place(
    fly: Mission, monkeypatch: pytest.MonkeyPatch, members: int, delay: int, micro_batches: int, augment: str
) -> None:
    """Weights after two rounds, no codec, for a schedule that is none of the planner's; with token views, clipped."""
    settings = EXACT | {
        "training.head": "shared",
        "training.satellites_per_step": members,
        "training.gradient_delay": delay,
        "training.micro_batches": micro_batches,
        "training.augment": augment,
        "training.clip_update": CLIP if augment == "token-dihedral" else 0.0,
    }
    whole = InOnePlace(load_scenario("walker-12", SMALL | settings))
    schedule = joint_schedule(whole.steps, members, delay)
    assert max(len(batch) for batch in schedule.batches) == members
    monkeypatch.setattr("strategies.federated.Schedule.of", lambda plan, satellites: schedule)
    flown = trained(fly(settings))
    whole.train(schedule)
    expected = whole.weights()
    assert expected.keys() == flown.keys()
    assert distance(flown, expected) < 1e-3


class NearlyPlainDescent(torch.optim.AdamW):
    """AdamW with so large an epsilon that its steps are proportional to the gradient, whose scale it hides else."""

    def __init__(self, *parameters: Any, **named: Any) -> None:
        super().__init__(*parameters, eps=1.0, **named)


def test_where_the_scale_of_gradients_tells_joint_steps_equal_a_plain_loop_too(
    fly: Mission, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of adapter and head, each satellite's, in micro-batches and late, with LoRA's dropout."""
    monkeypatch.setattr(torch.optim, "AdamW", NearlyPlainDescent)
    settings = EXACT | {
        "training.head": "shared",
        "training.satellites_per_step": 3,
        "training.gradient_delay": 1,
        "training.micro_batches": 3,
        "lora.dropout": 0.2,
        "training.learning_rate": 0.5,
        "training.head_learning_rate": 0.5,
    }
    whole = InOnePlace(load_scenario("walker-12", SMALL | settings))
    at_first = {name: weights.clone() for name, weights in whole.weights().items()}
    schedule = joint_schedule(whole.steps, 3, 1)
    monkeypatch.setattr("strategies.federated.Schedule.of", lambda plan, satellites: schedule)
    flown = trained(fly(settings))
    whole.train(schedule)
    expected = whole.weights()
    moved = {name: weights - at_first[name] for name, weights in expected.items()}
    assert distance({name: flown[name] - at_first[name] for name in moved}, moved) < 1e-4


def test_the_plain_loop_tells_schedules_apart() -> None:
    """Else the test above would prove nothing of order, membership, delay and views."""
    settings = EXACT | {"training.head": "shared"}
    found = []
    for members, delay, augment in (
        (1, 0, "dihedral"),
        (3, 0, "dihedral"),
        (SATELLITES, 0, "dihedral"),
        (3, 1, "dihedral"),
        (3, 2, "dihedral"),
        (3, 1, "token-dihedral"),
    ):
        whole = InOnePlace(load_scenario("walker-12", SMALL | settings | {"training.augment": augment}))
        whole.train(joint_schedule(whole.steps, members, delay))
        found.append(whole.weights())
    for index, one in enumerate(found):
        assert all(distance(one, other) > 0.03 for other in found[:index])


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param(
            {"training.satellites_per_step": 3, "training.gradient_delay": 1}, marks=pytest.mark.slow
        ),
        {"training.satellites_per_step": 2, "training.gradient_delay": 2, "training.head": "shared"},
    ],
)
def test_the_plan_s_own_joint_steps_end_alike_whoever_computes_at_once(
    fly: Mission, settings: dict[str, Any]
) -> None:
    """Those of satellites with a head each are in test_fine_tuning.py, too: a step has all four of them by default."""
    alone = fly(settings, max_concurrency=1, out="alone")
    together = fly(settings, max_concurrency=4, out="together")
    assert same(trained(alone), trained(together))
    assert rows_as_planned(alone) == rows_as_planned(together)


@pytest.mark.parametrize(
    "mode",
    [{"training.mode": "head"}, {"training.adapter": "per-satellite"}, {"training.mode": "onboard-lora"}],
    ids=str,
)
@pytest.mark.parametrize("key", ["satellites_per_step", "gradient_delay"])
def test_joint_steps_and_delay_are_refused_where_no_adapter_is_shared(mode: dict[str, str], key: str) -> None:
    with pytest.raises(
        ScenarioError, match=rf"training.*{key}: found 3 in mode .*allowed [01], except in mode lora"
    ):
        load_scenario("walker-12", mode | {f"training.{key}": 3})


def test_steps_are_joint_by_default_with_a_shared_adapter_alone() -> None:
    for overrides, expected in (
        ({}, SATELLITES_PER_STEP),
        ({"training.mode": "head"}, 1),
        ({"training.adapter": "per-satellite"}, 1),
        ({"training.satellites_per_step": 2}, 2),
    ):
        scenario = load_scenario("walker-12", overrides)
        assert scenario.training.satellites_per_step == expected
        assert scenario_from_json(scenario_to_json(scenario)) == scenario  # as a run directory keeps it


def test_the_planner_is_told_of_joint_steps_and_delay() -> None:
    from splitmodel.costs.profile import profile

    costs = profile(load_split(weights_dir("synthetic-vit"), num_labels=10), LoraSettings())
    shared = {"training.satellites_per_step": 5, "training.gradient_delay": 2, "training.micro_batches": 4}
    scenario = load_scenario("walker-12", shared)
    workload = MissionWorkloads(scenario, costs, samples=[40] * 12).of_round(variant_of(scenario, Mode.LORA))
    assert workload.shared_adapter
    assert (workload.satellites_per_step, workload.gradient_delay, workload.micro_batches) == (5, 2, 4)
    apart = {"training.adapter": "per-satellite", "training.batch_size": 8}
    scenario = load_scenario("walker-12", apart)
    workload = MissionWorkloads(scenario, costs, samples=[40] * 12).of_round(variant_of(scenario, Mode.LORA))
    assert not workload.shared_adapter
    assert (workload.satellites_per_step, workload.gradient_delay, workload.micro_batches) == (4, 0, 1)
