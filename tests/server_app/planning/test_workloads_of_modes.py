"""What a round of each mode computes and moves, by sums over the sizes of a model that is written down here."""

from __future__ import annotations

import dataclasses

import pytest
from small_missions import SMALL

from mission.orbits import constellation_of, contact_plan_of
from mission.scenario import ScenarioError, load_scenario
from mission.schema import Scenario
from mission.text.quantities import spoken_bytes
from server_app.planning.advice import advice
from server_app.planning.round_planner import RoundPlanner
from server_app.planning.round_traffic import Framing
from server_app.planning.workloads import FIRST_ROUND, MissionWorkloads, PlaceInMission, mode_of, variant_of
from splitmodel.costs.published import Profile, published
from strategies.problem.plan import Kind
from strategies.problem.training_variant import TrainingVariant
from strategies.problem.workload import Mode, Workload

BLOCKS, EMBED, FORWARD = 4, 3.0e6, 100.0e6
HEAD_FORWARD = 2.0e3
HEAD = 3 * HEAD_FORWARD  # its backward pass costs two forward passes
COSTS = Profile(
    name="four blocks", source="this test", tokens=10, hidden=8, blocks=BLOCKS, embedding_params=0, backbone_params=0,
    head_params=90, adapter_params=4000, embedding_flops=EMBED, backbone_flops=FORWARD, head_flops=HEAD_FORWARD,
    lora_backward_flops=95.0e6, full_backward_flops=200.0e6, lowest_block_saves_flops=5.0e6,
)  # fmt: skip
SAMPLES = [16, 16, 16, 16]
ONE_VIEW = SMALL | {"training.augment": "none"}


def round_of(scenario: Scenario, mode: Mode, place: PlaceInMission = FIRST_ROUND) -> Workload:
    return MissionWorkloads(scenario, COSTS, samples=SAMPLES).of_round(variant_of(scenario, mode), place)


def test_labels_on_the_ground_are_planned_as_features_that_cross_once_and_a_ground_that_trains_alone() -> (
    None
):
    scenario = load_scenario("walker-12", ONE_VIEW | {"training.labels": "ground"})
    assert mode_of(scenario) is Mode.FEATURES
    first = round_of(scenario, Mode.FEATURES)
    later = round_of(scenario, Mode.FEATURES, PlaceInMission(all_kept=True, delivers_head=True))
    assert first.c1_bytes >= 10 * 8 + 8  # int8 features, a label of eight bytes, and headers
    assert first.embedding_flops == EMBED
    assert later.c1_bytes == later.embedding_flops == 0.0
    for workload in (first, later):
        assert workload.ground_flops == FORWARD + HEAD + 95.0e6
        assert workload.aggregate_bytes == workload.up_bytes == workload.c3_bytes == 0.0
    assert first.update_bytes == 0.0
    assert later.update_bytes == pytest.approx(4 * 90 + 170, abs=60)  # the head, in one message


def test_a_frozen_backbone_with_labels_on_the_ground_sees_an_image_under_a_view_once() -> None:
    settings = {"training.labels": "ground", "training.mode": "head", "training.local_epochs": 5}
    scenario = load_scenario("walker-12", ONE_VIEW | settings)
    first = round_of(scenario, Mode.FEATURES)
    later = round_of(scenario, Mode.FEATURES, PlaceInMission(all_kept=True))
    assert first.passes * first.ground_flops == pytest.approx(FORWARD + 5 * HEAD)
    assert later.passes * later.ground_flops == pytest.approx(5 * HEAD)


@pytest.mark.parametrize("mode", ["head", "onboard-head"])
def test_a_ground_that_trains_alone_beside_a_head_on_board_trains_a_head_too(mode: str) -> None:
    settings = {"training.mode": mode, "training.local_epochs": 5, "training.rounds": 2}
    workloads = MissionWorkloads(load_scenario("walker-12", ONE_VIEW | settings), COSTS, samples=SAMPLES)
    for alone, once in ((Mode.DOWNLINK, EMBED + FORWARD), (Mode.FEATURES, FORWARD)):
        first, later = workloads.of_mission(TrainingVariant(alone))
        assert first.c1_bytes > 0.0 == later.c1_bytes
        assert first.passes * first.ground_flops == pytest.approx(once + 5 * HEAD)
        assert later.passes * later.ground_flops == pytest.approx(5 * HEAD)
        assert later.update_bytes > 0.0  # the head


def test_with_token_views_features_cross_once_and_a_frozen_backbone_still_sees_every_view() -> None:
    settings = {"training.labels": "ground", "training.mode": "head", "training.local_epochs": 5}
    first = {}
    for augment in ("none", "dihedral", "token-dihedral"):
        scenario = load_scenario("walker-12", SMALL | settings | {"training.augment": augment})
        first[augment] = round_of(scenario, Mode.FEATURES)
    once, true, token = first["none"], first["dihedral"], first["token-dihedral"]
    assert token.c1_bytes == once.c1_bytes < 0.4 * true.c1_bytes
    assert token.embedding_flops == once.embedding_flops
    assert token.ground_flops == pytest.approx(true.ground_flops)
    assert token.ground_flops > 2 * once.ground_flops


def test_who_is_warned_of_bytes_hears_of_token_views_and_what_they_save() -> None:
    scenario = load_scenario("walker-12", SMALL | {"training.rounds": 20, "training.augment": "dihedral"})
    small = dataclasses.replace(COSTS, image_bytes=50.0)
    (said,) = advice(scenario, small, SAMPLES, Framing())
    turned = scenario.model_copy(
        update={"training": scenario.training.model_copy(update={"augment": "token-dihedral"})}
    )
    rounds = MissionWorkloads(turned, small, samples=SAMPLES).of_mission(variant_of(turned, Mode.LORA))
    size = spoken_bytes(sum(one.c1_bytes for one in rounds) * sum(SAMPLES))
    assert f'training.augment = "token-dihedral" makes that {size}' in said
    assert "token-dihedral" not in " ".join(advice(turned, small, SAMPLES, Framing()))
    on_board = scenario.model_copy(update={"training": scenario.training.model_copy(update={"mode": "head"})})
    assert "token-dihedral" not in " ".join(advice(on_board, small, SAMPLES, Framing()))


def test_who_is_warned_of_bytes_hears_of_keys_that_save_some_alone() -> None:
    """Without a cache fewer views save nothing, and a ground that has the labels keeps what it has received anyway."""
    small = dataclasses.replace(COSTS, image_bytes=50.0)
    settings = SMALL | {"training.rounds": 20, "training.augment": "dihedral"}

    def said(changes: dict[str, object]) -> str:
        (sentence,) = advice(load_scenario("walker-12", settings | changes), small, SAMPLES, Framing())
        return sentence

    without_cache = said({"crossings.cache_gb": 0.0})
    assert "training.augment" not in without_cache
    assert "crossings.cache_gb" in without_cache
    on_ground = load_scenario(
        "walker-12", settings | {"training.labels": "ground", "crossings.cache_gb": 0.0}
    )
    sentence = said({"training.labels": "ground", "crossings.cache_gb": 0.0})
    rounds = MissionWorkloads(on_ground, small, samples=SAMPLES).of_mission(variant_of(on_ground))
    assert spoken_bytes(sum(one.c1_bytes for one in rounds) * sum(SAMPLES)) in sentence
    assert "crossings.cache_gb" not in sentence


@pytest.mark.parametrize(
    ("profile", "bands", "side", "depth_bytes", "at_most"),
    [("Galileo-Nano (S2-RGB, 64px p8)", 3, 64, 1, 1.0), ("DOFA-base", 12, 224, 2, 0.2)],
)
def test_with_token_views_and_int8_the_features_of_a_whole_run_weigh_less_than_the_images(
    profile: str, bands: int, side: int, depth_bytes: int, at_most: float
) -> None:
    """EuroSAT's tiles, and twelve bands of 16 bits; with headers and names, over all rounds."""
    settings = {"training.rounds": 20, "crossings.features": "int8"}
    costs = dataclasses.replace(published(profile), image_bytes=float(bands * side * side * depth_bytes))
    samples = [160] * 12

    def crossing_down(augment: str) -> float:
        scenario = load_scenario("eurosat", settings | {"training.augment": augment})
        workloads = MissionWorkloads(scenario, costs, samples=samples)
        return sum(one.c1_bytes for one in workloads.of_mission(variant_of(scenario, Mode.LORA)))

    assert crossing_down("token-dihedral") <= at_most * costs.image_bytes
    assert crossing_down("dihedral") > 4 * crossing_down("token-dihedral")


def test_a_head_on_board_costs_the_whole_model_once_per_image_and_view() -> None:
    settings = {"training.mode": "onboard-head", "training.local_epochs": 2}
    scenario = load_scenario("walker-12", ONE_VIEW | settings)
    first = round_of(scenario, Mode.ONBOARD_HEAD)
    later = round_of(scenario, Mode.ONBOARD_HEAD, PlaceInMission(all_kept=True))
    assert first.epochs * first.onboard_flops == pytest.approx(EMBED + FORWARD + 2 * HEAD)
    assert later.epochs * later.onboard_flops == pytest.approx(2 * HEAD)
    assert first.aggregate_bytes == first.update_bytes == 4 * 90
    assert first.c1_bytes == first.ground_flops == 0.0


@pytest.mark.parametrize("cached", [False, True])
@pytest.mark.parametrize(("blocks", "share", "backward"), [(0, 1.0, 95.0e6), (1, 0.25, 20.0e6)])
def test_adapters_in_the_last_blocks_cost_the_backward_pass_of_those_and_what_is_kept_is_computed_once(
    blocks: int, share: float, backward: float, cached: bool
) -> None:
    settings = {"training.mode": "onboard-lora", "training.adapted_blocks": blocks}
    scenario = load_scenario("walker-12", ONE_VIEW | settings | {"training.onboard_cache": cached})
    frozen = EMBED + (1.0 - share) * FORWARD
    trained = share * FORWARD + backward + HEAD
    first = round_of(scenario, Mode.ONBOARD_LORA)
    later = round_of(scenario, Mode.ONBOARD_LORA, PlaceInMission(all_kept=True))
    assert first.onboard_flops == pytest.approx(frozen + trained)
    assert later.onboard_flops == pytest.approx(trained + (0.0 if cached else frozen))
    assert first.aggregate_bytes == first.update_bytes == 4 * (90 + share * 4000)
    other = load_scenario("walker-12", ONE_VIEW)  # for a comparison, from a scenario of another mode
    variant = TrainingVariant(Mode.ONBOARD_LORA, adapted_blocks=blocks, onboard_cache=cached)
    asked = MissionWorkloads(other, COSTS, samples=SAMPLES).of_round(variant, PlaceInMission(all_kept=True))
    assert asked == later


@pytest.mark.parametrize("target", [0.0, 0.9])
@pytest.mark.parametrize(
    "settings",
    [
        {"training.labels": "ground"},
        {"training.labels": "ground", "training.mode": "head"},
        {"training.mode": "downlink"},
    ],
)
def test_the_head_goes_up_in_the_round_that_may_be_the_last(settings: dict[str, str], target: float) -> None:
    scenario = load_scenario("walker-12", ONE_VIEW | settings | {"training.target_accuracy": target})
    planner = RoundPlanner(
        scenario, contact_plan_of(scenario, constellation_of(scenario)), costs=COSTS, samples=SAMPLES
    )
    first = planner(1, 0.0)
    last = planner(2, first.end_s)
    updates = [plan.of_kind(Kind.UPDATE) for plan in (first, last)]
    assert bool(len(updates[0])) == (target > 0.0)
    assert set(updates[1]["peer"]) == {0, 1, 2, 3}
    assert len(last.of_kind(Kind.FEATURES)) == len(last.of_kind(Kind.EMBED)) == 0
    assert last.end_s > last.of_kind(Kind.BACKBONE)["end_s"].max()


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (
            {"training.labels": "ground", "training.mode": "downlink"},
            'labels: found "ground" in mode downlink',
        ),
        ({"training.labels": "ground", "training.adapter": "per-satellite"}, "adapter: found per-satellite"),
        ({"training.labels": "ground", "training.proximal": 0.1}, "proximal: found 0.1"),
        ({"training.labels": "ground", "training.satellites_per_step": 4}, "satellites_per_step: found 4"),
        ({"training.labels": "ground", "strategy.planes_per_round": 1}, "planes_per_round: found 1"),
        ({"training.adapted_blocks": 2}, "adapted_blocks: found 2 in mode lora; allowed 0"),
        ({"training.onboard_cache": True}, "onboard_cache: found true in mode lora; allowed false"),
    ],
)
def test_keys_that_do_not_go_together_get_one_error(settings: dict[str, object], says: str) -> None:
    with pytest.raises(ScenarioError, match=says):
        load_scenario("walker-12", SMALL | settings)


def test_the_first_blocks_on_board_with_a_head_of_their_own_send_features_and_labels_with_their_weights() -> (
    None
):
    scenario = load_scenario("walker-12", ONE_VIEW)
    costs = dataclasses.replace(COSTS, embedding_params=700, backbone_params=2000)
    workloads = MissionWorkloads(scenario, costs, samples=SAMPLES)
    workload = workloads.of_round(TrainingVariant(Mode.ONBOARD_FULL, client_share=0.25))
    assert workload.on_board
    assert workload.onboard_flops == 3 * (EMBED + FORWARD / 4) + HEAD
    assert workload.c1_bytes == pytest.approx(
        10 * 8 + 8, abs=20
    )  # int8 features with their scales, and a label
    assert workload.aggregate_bytes == workload.update_bytes == pytest.approx(4 * (700 + 500 + 90), abs=200)
    assert workload.delivered_bytes(0) == workload.aggregate_bytes + 16 * workload.c1_bytes
