"""From scenario and model profile to the planner: what a round moves and computes, planned when it starts."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from mission.orbits import constellation_of, eclipses_of
from mission.run_config import ENROLMENT_IMAGES, FEATURE_NAME_BYTES
from mission.schema import SATELLITES_PER_STEP, Scenario, Training
from orbit.contact_plan import ContactPlan
from relay.client.allreduce import PIECE_BYTES, PIECES
from relay.wire.manifest import Kind, encoded_bytes
from server_app.planning.round_traffic import Framing, RoundTraffic, SentImages, Target, split_bytes
from splitmodel.costs.published import Profile
from splitmodel.crossing.tensors import EXACT
from splitmodel.training import VIEWS_THAT_CROSS
from strategies.aggregation.quorum import Quorum
from strategies.checker.check import require_feasible
from strategies.doors import require_usable
from strategies.intra_orbit import PlaneOrder, plane_orders
from strategies.planner.round_planner import plan_round
from strategies.problem.plan import Plan
from strategies.problem.round_state import RoundState
from strategies.problem.sunlight import Sunlight
from strategies.problem.workload import ComputeRates, Mode, PowerDrawn, Resources, StrategyConfig, Workload

_FLOPS_PER_TFLOPS = 1e12
_BYTES_PER_GB = 1e9
_ROWS_TOGETHER = 32  # in a pass, of satellites with an adapter each: with more there is nothing left to gain
_VALUE_BYTES, _SUM_BYTES = 4, 8  # of a weight, and of a weight in a sum that satellites form


class RoundPlanner:
    """Plans the enrolment and the rounds of a mission; :mod:`strategies.checker.check` checks each plan.

    :attr:`carry_over` is what a round leaves to the next: antennas that stay pointed, and where a quorum ends the
    rounds, what the late had done when the last one ended.

    Args:
        scenario: The resolved scenario.
        contact_plan: All contacts of the horizon.
        costs: Sizes and FLOPs of the model's parts.
        samples: Training images of each satellite.
        summed_on_board: Whether satellites send sums of their planes, as in an emulation, instead of their weights.
        signature_bytes: What signature and certificate add to a message.

    Raises:
        strategies.problem.workload.WorkloadError: The scenario waits for more planes than there are.
    """

    def __init__(
        self,
        scenario: Scenario,
        contact_plan: ContactPlan,
        costs: Profile,
        samples: Sequence[int],
        *,
        summed_on_board: bool = False,
        signature_bytes: int = 0,
    ) -> None:
        self._scenario = scenario
        self._contact_plan = contact_plan
        self._costs = costs
        self._samples = list(samples)
        self._summed_on_board = summed_on_board
        self._framing = framing_of(contact_plan, signature_bytes)
        self._mode = mode_of(scenario)
        self._sent_images = sent_images_of(scenario, costs, self._samples, self._mode)
        self._rates = rates_of(scenario)
        self._resources = resources_of(scenario)
        self._strategy_config = strategy_config_of(scenario)
        self.quorum = quorum_of(scenario, contact_plan, samples)
        self.carry_over = RoundState()
        self._aggregate_bytes = workload_of(
            scenario, costs, self._samples, self._mode, summed_on_board=summed_on_board
        ).aggregate_bytes

    def enrolment(self, start_s: float) -> Plan:
        """The plan of what comes before round 1, see :func:`enrolment_of`.

        Raises:
            strategies.problem.network.PlanningError: A satellite cannot be enrolled before the horizon.
        """
        workload = enrolment_of(self._scenario, self._costs, self._samples, self._framing)
        plan = self._planned(workload, start_s)
        self.carry_over = RoundState(pointed=plan.pointed)
        return plan

    def __call__(self, number: int, start_s: float) -> Plan:
        """The plan of round ``number``, starting at a mission time, to the end of the last satellite.

        Raises:
            strategies.problem.network.PlanningError: A satellite's samples cannot get through before the horizon.
        """
        workload = self.workload(number)
        plan = self._planned(workload, start_s)
        # Where a quorum ends the round before the plan, nobody says what antennas point at then.
        pointed = plan.pointed if self.quorum.end_s(plan) >= plan.end_s else frozenset()
        carry_over = self.quorum.carry_over(plan, workload, self.carry_over)
        self.carry_over = dataclasses.replace(carry_over, pointed=pointed)
        return plan

    def _planned(self, workload: Workload, start_s: float) -> Plan:
        task = self._contact_plan, workload, self._rates, self._resources
        plan = plan_round(*task, self._strategy_config, start_s=start_s, state=self.carry_over)
        require_feasible(plan, *task, self.carry_over)
        return plan

    def orders(self, plan: Plan) -> list[PlaneOrder]:
        """In which order each plane is summed at the end of a round."""
        return plane_orders(plan, self._contact_plan, self._aggregate_bytes)

    def workload(self, number: int) -> Workload:
        """What round ``number`` moves and computes."""
        traffic = None if self._sent_images is None else self._sent_images.in_round(number)
        return workload_of(
            self._scenario,
            self._costs,
            self._samples,
            self._mode,
            traffic=traffic,
            images_cross=number == 1,
            delivers_head=self._may_be_last(number),
            summed_on_board=self._summed_on_board,
            framing=self._framing,
        )

    def _may_be_last(self, number: int) -> bool:
        """Whether the mission may end with a round: what the ground has trained by itself is on board then."""
        training = self._scenario.training
        return number == training.rounds or training.target_accuracy > 0.0


def mode_of(scenario: Scenario) -> Mode:
    """Who computes what in the scenario, as rounds are planned."""
    training = scenario.training
    return Mode.FEATURES if training.labels == "ground" else Mode(training.mode)


def rates_of(scenario: Scenario) -> ComputeRates:
    """The scenario's compute rates."""
    return ComputeRates(
        satellite_flops=scenario.compute.satellite_tflops * _FLOPS_PER_TFLOPS,
        ground_flops=scenario.compute.ground_tflops * _FLOPS_PER_TFLOPS,
        message_s=scenario.compute.message_s,
    )


def resources_of(scenario: Scenario) -> Resources:
    """The scenario's antennas and terminals, and when its satellites have power to compute."""
    sunlight = None
    if scenario.power.compute == "sunlight":
        constellation = constellation_of(scenario)
        dark = eclipses_of(scenario, constellation)
        sunlight = Sunlight.between(dark["satellite"], dark["start_s"], dark["end_s"], len(constellation))
    return Resources(
        beams=scenario.ground.beams,
        setup_s=scenario.ground.setup_s,
        acquisition_s=scenario.links.inter_orbit.acquisition_s,
        side_terminals=scenario.links.inter_orbit.terminals,
        sunlight=sunlight,
        drawn=PowerDrawn(scenario.power.compute_w, scenario.power.radio_w, scenario.power.isl_w),
    )


def strategy_config_of(scenario: Scenario) -> StrategyConfig:
    """The scenario's communication strategies.

    Raises:
        strategies.registry.StrategyError: One of another package cannot be used.
    """
    chosen = scenario.strategy
    return require_usable(StrategyConfig.parse(chosen.intra_orbit, chosen.space_ground, chosen.inter_orbit))


def quorum_of(scenario: Scenario, contact_plan: ContactPlan, samples: Sequence[int]) -> Quorum:
    """How many planes end a round of the scenario.

    Raises:
        strategies.problem.workload.WorkloadError: More planes than there are.
    """
    planes = (contact_plan.nodes[index].plane for index in contact_plan.satellites)
    return Quorum(tuple(planes), tuple(samples), scenario.strategy.planes_per_round)


def framing_of(contact_plan: ContactPlan, signature_bytes: int = 0) -> Framing:
    """What messages between the ground and these satellites are sent in."""
    return framing_of_names(
        [contact_plan.nodes[index].name for index in contact_plan.satellites], signature_bytes
    )


def framing_of_names(satellites: Sequence[str], signature_bytes: int = 0) -> Framing:
    """What messages between the ground and satellites of these names are sent in."""
    return Framing(max(satellites, key=len), signature_bytes)


def sent_images_of(
    scenario: Scenario, costs: Profile, samples: Sequence[int], mode: Mode
) -> SentImages | None:
    """What follows the images of a run that are computed, or cross, only once; ``None`` where there are none."""
    if mode in (Mode.DOWNLINK, Mode.ONBOARD_FULL):
        return None
    row_bytes = row_bytes_of(scenario, costs)
    room = kept_rows(scenario, row_bytes, sum(samples)) if mode is Mode.LORA else 0
    return SentImages(scenario, samples, mode, room)


def workload_of(
    scenario: Scenario,
    costs: Profile,
    samples: Sequence[int],
    mode: Mode,
    *,
    onboard_share: bool = False,
    traffic: RoundTraffic | None = None,
    all_kept: bool = False,
    images_cross: bool = True,
    delivers_head: bool = False,
    adapted_blocks: int | None = None,
    onboard_cache: bool | None = None,
    summed_on_board: bool = False,
    framing: Framing = Framing(),  # noqa: B008 - immutable
) -> Workload:
    """A round of the scenario in any mode, its bytes as they are sent: with names, headers and acknowledgements.

    Bytes of all satellites are spread evenly over the images: what differs from one to another is not told apart.

    Args:
        scenario: The resolved scenario.
        costs: Sizes and FLOPs of the model's parts.
        samples: Training images of each satellite.
        mode: As trained, or a baseline.
        onboard_share: Whether satellites may train a part of their images on board.
        traffic: What crosses in the round, or is new to what satellites keep; by default what is in the first.
        all_kept: Whether all that is kept is there already: in mode ``lora`` features are only named, elsewhere nothing
            crosses and nothing of the frozen part of the model is computed again.
        images_cross: In mode ``downlink``, whether the images themselves do.
        delivers_head: Whether a head that the ground has trained by itself goes up to all satellites in the end.
        adapted_blocks: In mode ``onboard-lora``, how many of the last blocks are adapted, 0 for all; by default as the
            scenario says.
        onboard_cache: There, whether satellites keep what leaves the frozen part; as the scenario says by default.
        summed_on_board: Whether satellites send sums of their planes instead of their weights.
        framing: What messages are sent in.
    """
    training = scenario.training
    images = sum(samples)
    split = Workload.split(
        mode,
        samples,
        tokens=costs.tokens,
        hidden=costs.hidden,
        embedding_flops=costs.embedding_flops,
        backbone_flops=costs.backbone_flops,
        head_flops=costs.head_flops,
        head_bytes=costs.head_bytes,
        adapter_bytes=costs.adapter_bytes,
        backbone_bytes=4 * costs.backbone_params,
        raw_bytes=_image_bytes(scenario, costs, framing) if images_cross else 0.0,
        lora_backward_ratio=costs.lora_backward_flops / costs.backbone_flops,
        epochs=training.local_epochs,
        micro_batch=training.batch_size,
        onboard_share=onboard_share,
        shared_head=training.shares_head,
        shared_adapter=training.adapter == "shared",
        satellites_per_step=satellites_per_step(training),
        gradient_delay=training.gradient_delay,
        micro_batches=training.micro_batches,
        trains_adapter=mode is not Mode.FEATURES or training.mode != "head",
    )
    head_bytes = _averaged_bytes(costs.head_bytes, scenario, costs, framing, summed_on_board=False)[1]
    if split.central and delivers_head:
        split = dataclasses.replace(split, update_bytes=head_bytes)
    if mode in (Mode.DOWNLINK, Mode.ONBOARD_FULL):
        return split
    if traffic is None:
        following = sent_images_of(scenario, costs, samples, mode)
        assert following is not None
        traffic = following.in_round(1)
    if all_kept:
        traffic = traffic.all_kept if mode is Mode.LORA else RoundTraffic()
    if split.on_board:
        fresh = traffic.features / images
        if mode is Mode.ONBOARD_HEAD:
            once = costs.embedding_flops + costs.backbone_flops
            return dataclasses.replace(split, onboard_flops=fresh * once / split.epochs + costs.head_flops)
        blocks = training.adapted_blocks if adapted_blocks is None else adapted_blocks
        keeps = training.onboard_cache if onboard_cache is None else onboard_cache
        return _adapted_on_board(split, costs, blocks, fresh / split.epochs if keeps else 1.0)
    shapes = (costs.tokens, costs.hidden), costs.state_shape
    head_table = costs.table_shape if mode is Mode.LORA and training.shares_head else ()
    sent = split_bytes(traffic, scenario, mode, *shapes, head_table, _target(costs), framing)
    aggregate, update = _averaged_bytes(split.aggregate_bytes, scenario, costs, framing, summed_on_board)
    crossing = traffic.features / images
    if mode is Mode.FEATURES:
        # A frozen backbone sees each image under each view once.
        again = 1.0 if split.backbone_backward_flops else traffic.states / images / split.passes
        return dataclasses.replace(
            split,
            c1_bytes=sent.features / images,
            embedding_flops=crossing * split.embedding_flops,
            backbone_forward_flops=again * costs.backbone_flops + costs.head_flops,
        )
    return dataclasses.replace(
        split,
        c1_bytes=sent.features / images,
        c2_bytes=sent.states / images / split.passes,
        c3_bytes=sent.gradients / images / split.passes,
        embedding_flops=crossing * split.embedding_flops,
        backbone_forward_flops=split.backbone_forward_flops * (crossing if mode is Mode.HEAD else 1.0),
        aggregate_bytes=aggregate,
        update_bytes=update,
    )


def mission_of(
    scenario: Scenario,
    costs: Profile,
    samples: Sequence[int],
    mode: Mode,
    *,
    onboard_share: bool = False,
    adapted_blocks: int | None = None,
    onboard_cache: bool | None = None,
    framing: Framing = Framing(),  # noqa: B008 - immutable
) -> tuple[Workload, ...]:
    """Every round of the scenario's mission in any mode: what has crossed, and is kept, does not cross again.

    A head that the ground has trained is on board of every satellite at the end of the last round.
    """
    following = sent_images_of(scenario, costs, samples, mode)
    last = scenario.training.rounds
    rounds = [
        workload_of(
            scenario,
            costs,
            samples,
            mode,
            onboard_share=onboard_share,
            traffic=None if following is None else following.in_round(number),
            images_cross=number == 1,
            delivers_head=number == last,
            adapted_blocks=adapted_blocks,
            onboard_cache=onboard_cache,
            framing=framing,
        )
        for number in range(1, last + 1)
    ]
    if mode is Mode.LORA and not rounds[-1].aggregate_bytes:
        # A shared head crosses for every step, and what the last one made of it once more.
        head_bytes = _averaged_bytes(costs.head_bytes, scenario, costs, framing, summed_on_board=False)[1]
        rounds[-1] = dataclasses.replace(rounds[-1], update_bytes=head_bytes)
    return tuple(rounds)


def _adapted_on_board(split: Workload, costs: Profile, adapted_blocks: int, computed: float) -> Workload:
    """A round of mode ``onboard-lora`` that adapts the last blocks, in which the rest of the model is frozen.

    Args:
        split: With all blocks adapted and nothing kept.
        costs: Sizes and FLOPs of the model's parts.
        adapted_blocks: How many, 0 for all.
        computed: In what part of the passes over an image the frozen part is computed.
    """
    adapted = costs.adapted_share(adapted_blocks)
    frozen = costs.embedding_flops + (1.0 - adapted) * costs.backbone_flops
    trained = adapted * costs.backbone_flops + costs.truncated_backward_flops(adapted_blocks)
    size = costs.head_bytes + adapted * costs.adapter_bytes
    return dataclasses.replace(
        split,
        onboard_flops=computed * frozen + trained + costs.head_flops,
        aggregate_bytes=size,
        update_bytes=size,
    )


def enrolment_of(
    scenario: Scenario,
    costs: Profile,
    samples: Sequence[int],
    framing: Framing = Framing(),  # noqa: B008 - immutable
) -> Workload:
    """What comes before round 1: features of a few images of each satellite, exactly, and their pooled states back.

    Of both the ground learns how what crosses is scaled; these constants then go to all satellites, in the modes of the
    split with the head that they train.
    """
    training = scenario.training
    few = [min(ENROLMENT_IMAGES, count) for count in samples]
    shape, told = (ENROLMENT_IMAGES, costs.tokens, costs.hidden), {"attempt": 0, "of": 1}
    messages = sum(count > 0 for count in few) / sum(few)
    up = framing.header_bytes(Kind.FEATURES, shape, EXACT, told)
    states = (ENROLMENT_IMAGES, *costs.state_shape)
    back = framing.header_bytes(Kind.HIDDEN, states, EXACT, {**told, "kept": 0}, down=False)
    # Mean and deviation of every channel of features and of states.
    on_ground = training.shares_head or training.on_ground
    values = 2 * (costs.hidden + costs.state_shape[-1]) + (0 if on_ground else costs.head_params)
    update = _VALUE_BYTES * values + framing.header_bytes(Kind.AGGREGATE, (values,), EXACT, {}, down=False)
    split = Workload.split(
        Mode.HEAD,
        few,
        tokens=costs.tokens,
        hidden=costs.hidden,
        embedding_flops=costs.embedding_flops,
        backbone_flops=costs.backbone_flops,
        head_flops=0.0,
        head_bytes=0.0,
        micro_batch=ENROLMENT_IMAGES,
    )
    return dataclasses.replace(
        split,
        c1_bytes=_VALUE_BYTES * costs.tokens * costs.hidden + messages * up,
        c2_bytes=_VALUE_BYTES * costs.state_values + messages * back,
        update_bytes=0.0 if training.mode == "downlink" else update,
    )


def _averaged_bytes(
    weights: float, scenario: Scenario, costs: Profile, framing: Framing, summed_on_board: bool
) -> tuple[float, float]:
    """What a satellite, or its plane, sends of its weights, and what comes back of the average.

    Weights and their average are fp32; a sum that satellites form is float64, in pieces, with the images that it counts
    (:func:`mission.client_update.client_update`).
    """
    if not weights:
        return 0.0, 0.0
    values = round(weights / _VALUE_BYTES)
    header = framing.header_bytes(Kind.AGGREGATE, (values,), EXACT, {})
    if not summed_on_board:
        return weights + header, weights + header
    counts = 1 + (_classes(costs) if scenario.training.head_rows == "by-class" else 0)
    size = _SUM_BYTES * (values + counts)
    pieces = max(1, min(PIECES, -(-size // PIECE_BYTES)))
    piece = (-(-(values + counts) // pieces),)
    return size + pieces * framing.header_bytes(
        Kind.AGGREGATE, piece, "raw", {}, dtype="float64"
    ), weights + header


def _image_bytes(scenario: Scenario, costs: Profile, framing: Framing) -> float:
    """A raw image with its label, which cross in batches."""
    size, told = scenario.training.batch_size, {"attempt": 0, "of": 1}
    image = scenario.planning.image_bytes or costs.image_bytes
    pixels = framing.header_bytes(Kind.IMAGES, (size, round(image)), "raw", told, dtype="uint8")
    target = _target(costs)
    labels = framing.header_bytes(Kind.LABELS, (size, *target.shape), "raw", told, dtype=target.dtype)
    return image + target.bytes + (pixels + labels) / size


def _target(costs: Profile) -> Target:
    return Target(costs.target_shape, costs.target_dtype)


def _classes(costs: Profile) -> int:
    """Of images of one class each, whose head is a linear layer."""
    return costs.table_shape[0]


def satellites_per_step(training: Training) -> int:
    """How many satellites' micro-batches go through the backbone together, in mode ``lora``."""
    if training.adapter == "shared":
        # In another mode, for which lora is planned in comparison, the key says nothing.
        return training.satellites_per_step if training.mode == "lora" else SATELLITES_PER_STEP
    return 1 if training.micro_batches > 1 else max(1, _ROWS_TOGETHER // training.batch_size)


def kept_row_bytes(scenario: Scenario, costs: Profile) -> int | None:
    """Bytes of one image's features as the ground keeps them, or ``None`` where it keeps none.

    In mode ``head`` it is the satellite that keeps what comes back.
    """
    if scenario.training.mode != "lora" or scenario.training.on_ground:
        return None
    row_bytes = row_bytes_of(scenario, costs)
    return row_bytes if kept_rows(scenario, row_bytes, 1) else None


def row_bytes_of(scenario: Scenario, costs: Profile) -> int:
    """Bytes of one image's features as they cross."""
    return encoded_bytes("float32", (costs.tokens * costs.hidden,), scenario.crossings.features)


def kept_rows(scenario: Scenario, row_bytes: int, images: int) -> int:
    """Return how many feature rows, one per image and view that crosses, fit in the ground's cache."""
    room = int(scenario.crossings.cache_gb * _BYTES_PER_GB) // (row_bytes + FEATURE_NAME_BYTES)
    return min(room, images * VIEWS_THAT_CROSS[scenario.training.augment])
