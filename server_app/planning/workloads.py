"""Turn a scenario and the sizes of its model into the planner's workloads, one for each round of the mission."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass

from mission.client_update import pieces_of
from mission.run_config import ENROLMENT_IMAGES, FEATURE_NAME_BYTES
from mission.schema import SATELLITES_PER_STEP, Scenario, Training
from orbit.imaging.numbered_images import ImageRange
from relay.wire.manifest import MessageKind
from server_app.planning.round_traffic import (
    Framing,
    RoundTraffic,
    SentImages,
    Target,
    payload_bytes,
    split_bytes,
)
from splitmodel.costs.published import Profile
from splitmodel.crossing.codec_sizes import EXACT
from splitmodel.training import VIEWS_THAT_CROSS
from strategies.problem.model_sizes import ModelSizes, TrainingSchedule
from strategies.problem.training_variant import TrainingVariant
from strategies.problem.workload import Mode, Workload

_BYTES_PER_GB = 1e9
_LABELS_BYTES = 65_536  # of a message of labels, about
_ROWS_TOGETHER = 32  # in a pass, of satellites with an adapter each: with more there is nothing left to gain
_VALUE_BYTES, _SUM_BYTES = 4, 8  # of a weight, and of a weight in a sum that satellites form


@dataclass(frozen=True)
class PlaceInMission:
    """The part of a round's workload that depends on its place in the mission.

    Attributes:
        traffic: What crosses in it, or is new to what satellites keep; by default what is in the first.
        images_cross: In mode ``downlink``, whether the images themselves do.
        delivers_head: Whether a head that the ground has trained by itself goes up to all satellites in the end.
        all_kept: Whether all that is kept is there already: in mode ``lora`` features are only named, elsewhere nothing
            crosses and nothing of the frozen part of the model is computed again.
    """

    traffic: RoundTraffic | None = None
    _: KW_ONLY
    images_cross: bool = True
    delivers_head: bool = False
    all_kept: bool = False


FIRST_ROUND = PlaceInMission()


@dataclass(frozen=True)
class MissionWorkloads:
    """The workloads of a scenario in any mode, bytes as they are sent: with names, headers and acknowledgements.

    Bytes of all satellites are spread evenly over the images: what differs from one to another is not told apart.

    Attributes:
        scenario: The resolved scenario.
        costs: Sizes and FLOPs of the model's parts.
        samples: Training images of each satellite.
        framing: What messages are sent in.
        summed_on_board: Whether satellites send sums of their planes, as in an emulation, instead of their weights.
    """

    scenario: Scenario
    costs: Profile
    _: KW_ONLY
    samples: Sequence[int]
    framing: Framing = Framing()  # noqa: RUF009 - immutable
    summed_on_board: bool = False

    def of_round(self, variant: TrainingVariant, place: PlaceInMission = FIRST_ROUND) -> Workload:
        """Return a round that trains in this way."""
        if variant.mode not in (Mode.HEAD, Mode.LORA) and self.costs.tail_blocks:
            return dataclasses.replace(self, costs=self.costs.without_tail()).of_round(variant, place)
        workload = self._from_profile(variant, place)
        if workload.central and place.delivers_head:
            workload = dataclasses.replace(workload, update_bytes=self._weights_bytes(self.costs.head_bytes))
        if variant.client_share:
            return self._client_part(workload, variant.client_share)
        traffic = place.traffic
        if traffic is None:
            if (following := self.sent_images(variant.mode)) is None:
                return workload
            traffic = following.in_round(1)
        if place.all_kept:
            traffic = traffic.all_kept if variant.mode is Mode.LORA else RoundTraffic()
        if workload.on_board:
            return self._on_board(workload, variant, traffic)
        if variant.mode is Mode.DOWNLINK:  # the whole frozen model sees each image under each view once
            once = traffic.states / sum(self.samples) / workload.passes
            frozen = once * (self.costs.embedding_flops + self.costs.backbone_flops)
            return dataclasses.replace(workload, backbone_forward_flops=frozen + self.costs.head_step_flops)
        return self._crossing(workload, traffic)

    def of_mission(self, variant: TrainingVariant) -> tuple[Workload, ...]:
        """Return every round of the mission: what has crossed, and is kept, does not cross again.

        A head that the ground has trained is on board of every satellite at the end of the last round.
        """
        following = self.sent_images(variant.mode)
        last = self.scenario.training.rounds
        rounds = [
            self.of_round(
                variant,
                PlaceInMission(
                    None if following is None else following.in_round(number),
                    images_cross=number == 1,
                    delivers_head=number == last,
                ),
            )
            for number in range(1, last + 1)
        ]
        if variant.mode is Mode.LORA and not rounds[-1].aggregate_bytes:
            # A shared head crosses for every step, and what the last one made of it once more.
            head_bytes = self._weights_bytes(self.costs.head_bytes)
            rounds[-1] = dataclasses.replace(rounds[-1], update_bytes=head_bytes)
        return tuple(rounds)

    def enrolment(self, mode: Mode | None = None) -> Workload:
        """Return what comes before round 1: features of a few images of each satellite, exactly, and their states back.

        Of both the ground learns how what crosses is scaled; these constants then go to all satellites, in the modes of
        the split with the head that they train. By default the mode is the scenario's.
        """
        mode = mode or mode_of(self.scenario)
        costs, framing, training = self.costs, self.framing, self.scenario.training
        few = [min(ENROLMENT_IMAGES, count) for count in self.samples]
        shape, attributes = (ENROLMENT_IMAGES, costs.tokens, costs.hidden), {"attempt": 0, "of": 1}
        messages = sum(count > 0 for count in few) / sum(few)
        up = framing.header_bytes(MessageKind.FEATURES, shape, EXACT, attributes)
        states = (ENROLMENT_IMAGES, *costs.state_shape)
        back = framing.header_bytes(MessageKind.HIDDEN, states, EXACT, {**attributes, "kept": 0}, down=False)
        # Mean and deviation of every channel of features and of states.
        head_on_ground = training.shares_head or mode in (Mode.FEATURES, Mode.DOWNLINK)
        channels = costs.hidden + costs.head_input_shape[-1] + (costs.hidden if costs.tail_blocks else 0)
        values = 2 * channels + (0 if head_on_ground else costs.head_params)
        update = _VALUE_BYTES * values + framing.header_bytes(
            MessageKind.AGGREGATE, (values,), EXACT, {}, down=False
        )
        sizes = ModelSizes(
            tokens=costs.tokens,
            hidden=costs.hidden,
            embedding_flops=costs.embedding_flops,
            backbone_flops=costs.backbone_flops,
            head_flops=0.0,
            head_bytes=0.0,
        )
        schedule = TrainingSchedule(micro_batch=ENROLMENT_IMAGES)
        return dataclasses.replace(
            Workload.from_profile(Mode.HEAD, few, sizes, schedule),
            c1_bytes=_VALUE_BYTES * costs.tokens * costs.hidden + messages * up,
            c2_bytes=_VALUE_BYTES * costs.state_values + messages * back,
            update_bytes=0.0 if mode is Mode.DOWNLINK else update,
        )

    def labels(self) -> Workload | None:
        """Return how labels that are made on the ground go up before round 1, in messages of some 64 KiB.

        It is a round in which nothing but an answer crosses: the labels of a satellite's images. None where labels are
        on board from the start, or stay on the ground.
        """
        if self.scenario.training.labels != "uplinked":
            return None
        target = _target(self.costs)
        size = max(1, min(max(self.samples), _LABELS_BYTES // max(target.bytes, 1)))
        header = self.framing.header_bytes(
            MessageKind.LABELS,
            (size, *target.shape),
            "raw",
            {"attempt": 0, "of": 1},
            dtype=target.dtype,
            down=False,
        )
        messages = sum(-(-count // size) for count in self.samples)
        nothing = ModelSizes(
            tokens=1, hidden=1, embedding_flops=0.0, backbone_flops=0.0, head_flops=0.0, head_bytes=0.0
        )
        return dataclasses.replace(
            Workload.from_profile(Mode.HEAD, self.samples, nothing, TrainingSchedule(micro_batch=size)),
            c1_bytes=0.0,
            c2_bytes=target.bytes + header * messages / sum(self.samples),
        )

    def sent_images(
        self, mode: Mode, taken: Sequence[Sequence[ImageRange]] | None = None
    ) -> SentImages | None:
        """Return what follows the images that are computed, or cross, only once; ``None`` where there are none.

        ``taken`` has the images of each round and satellite, and grows; by default all are in every round.
        """
        if mode is Mode.ONBOARD_FULL or (mode is Mode.DOWNLINK and not self._trains_head_alone):
            return None
        row_bytes = row_bytes_of(self.scenario, self.costs)
        room = kept_rows(self.scenario, row_bytes, sum(self.samples)) if mode is Mode.LORA else 0
        return SentImages(self.scenario, self.samples, mode=mode, room=room, taken=taken)

    @property
    def _trains_head_alone(self) -> bool:
        """Return True if the ground, training alone, trains only the head, as the satellites of the scenario do."""
        return self.scenario.training.mode in ("head", "onboard-head")

    def _from_profile(self, variant: TrainingVariant, place: PlaceInMission) -> Workload:
        """A round by the sizes of the model, before headers are added and what is kept is taken away."""
        costs, training = self.costs, self.scenario.training
        sizes = ModelSizes(
            tokens=costs.tokens,
            hidden=costs.hidden,
            embedding_flops=costs.embedding_flops,
            backbone_flops=costs.backbone_flops,
            # With the head of mode head nothing but the head is trained: the blocks before it are passed once.
            head_flops=costs.head_step_flops
            + (costs.tail_flops + costs.tail_backward_flops if variant.mode is Mode.LORA else 0.0),
            head_bytes=costs.head_bytes,
            adapter_bytes=costs.adapter_bytes,
            backbone_bytes=4 * costs.backbone_params,
            raw_bytes=self._image_bytes() if place.images_cross else 0.0,
            lora_backward_ratio=costs.lora_backward_flops / costs.backbone_flops,
        )
        schedule = TrainingSchedule(
            epochs=training.local_epochs,
            micro_batch=training.batch_size,
            onboard_share=variant.onboard_share,
            shared_head=training.shares_head,
            shared_adapter=training.adapter == "shared",
            satellites_per_step=satellites_per_step(training),
            gradient_delay=training.gradient_delay,
            micro_batches=training.micro_batches,
            trains_adapter=not self._trains_head_alone,
        )
        return Workload.from_profile(variant.mode, self.samples, sizes, schedule)

    def _on_board(self, workload: Workload, variant: TrainingVariant, traffic: RoundTraffic) -> Workload:
        """A round on board, in which what leaves the frozen part of the model may be kept."""
        costs, fresh = self.costs, traffic.features / sum(self.samples)
        if variant.mode is Mode.ONBOARD_HEAD:
            once = costs.embedding_flops + costs.backbone_flops
            onboard_flops = fresh * once / workload.epochs + costs.head_step_flops
            return dataclasses.replace(workload, onboard_flops=onboard_flops)
        computed = fresh / workload.epochs if variant.onboard_cache else 1.0
        return _adapted_on_board(workload, costs, variant.adapted_blocks, computed)

    def _client_part(self, whole: Workload, share: float) -> Workload:
        """A round that trains the first blocks on board, with an auxiliary head, and sends features and labels.

        The auxiliary head is as large as the model's own. A backward pass costs two forward passes.
        """
        costs = self.costs
        params = costs.embedding_params + share * costs.backbone_params
        weights = self._weights_bytes(_VALUE_BYTES * (params + costs.head_params))
        return dataclasses.replace(
            whole,
            onboard_flops=3.0 * (costs.embedding_flops + share * costs.backbone_flops)
            + costs.head_step_flops,
            aggregate_bytes=weights,
            update_bytes=weights,
            c1_bytes=row_bytes_of(self.scenario, costs) + _target(costs).bytes,
        )

    def _crossing(self, workload: Workload, traffic: RoundTraffic) -> Workload:
        """A round in which features cross, with the bytes that messages take."""
        costs, images, mode = self.costs, sum(self.samples), workload.mode
        shapes = (costs.tokens, costs.hidden), costs.state_shape
        head_table = costs.table_shape if mode is Mode.LORA and self.scenario.training.shares_head else ()
        target = None if self.scenario.training.labels == "uplinked" else _target(costs)
        sent = split_bytes(traffic, self.scenario, mode, *shapes, head_table, target, self.framing)
        crossing = traffic.features / images
        if mode is Mode.FEATURES:
            # A frozen backbone sees each image under each view once.
            again = 1.0 if workload.backbone_backward_flops else traffic.states / images / workload.passes
            return dataclasses.replace(
                workload,
                c1_bytes=sent.features / images,
                embedding_flops=crossing * workload.embedding_flops,
                backbone_forward_flops=again * costs.backbone_flops + costs.head_step_flops,
            )
        aggregate = self._sums_bytes if self.summed_on_board else self._weights_bytes
        return dataclasses.replace(
            workload,
            c1_bytes=sent.features / images,
            c2_bytes=sent.states / images / workload.passes,
            c3_bytes=sent.gradients / images / workload.passes,
            embedding_flops=crossing * workload.embedding_flops,
            head_flops=workload.head_flops
            + (crossing * costs.tail_flops / workload.epochs if mode is Mode.HEAD else 0.0),
            backbone_forward_flops=workload.backbone_forward_flops * (crossing if mode is Mode.HEAD else 1.0),
            aggregate_bytes=aggregate(workload.aggregate_bytes),
            update_bytes=self._weights_bytes(workload.aggregate_bytes),
        )

    def _weights_bytes(self, weights: float) -> float:
        """Return the bytes of one message of weights in fp32, header included: to the ground, or the average back."""
        if not weights:
            return 0.0
        return weights + self.framing.header_bytes(
            MessageKind.AGGREGATE, (round(weights / _VALUE_BYTES),), EXACT, {}
        )

    def _sums_bytes(self, weights: float) -> float:
        """Return the bytes of a plane's summed weights: float64, in pieces, with the number of images they stand for.

        See :func:`mission.client_update.client_update`.
        """
        if not weights:
            return 0.0
        by_class = self.scenario.training.head_rows == "by-class"
        counts = 1 + (self.costs.table_shape[0] if by_class else 0)
        values = round(weights / _VALUE_BYTES) + counts
        size = _SUM_BYTES * values
        pieces = pieces_of(size)
        piece = (-(-values // pieces),)
        return size + pieces * self.framing.header_bytes(
            MessageKind.AGGREGATE, piece, "raw", {}, dtype="float64"
        )

    def _image_bytes(self) -> float:
        """A raw image with its label, which cross in batches."""
        size, attributes = self.scenario.training.batch_size, {"attempt": 0, "of": 1}
        image = self.scenario.planning.image_bytes or self.costs.image_bytes
        shape = (size, round(image))
        pixels = self.framing.header_bytes(MessageKind.IMAGES, shape, "raw", attributes, dtype="uint8")
        target = _target(self.costs)
        if self.scenario.training.labels == "uplinked":  # the ground has them
            return image + pixels / size
        labels = self.framing.header_bytes(
            MessageKind.LABELS, (size, *target.shape), "raw", attributes, dtype=target.dtype
        )
        return image + target.bytes + (pixels + labels) / size


def mode_of(scenario: Scenario) -> Mode:
    """Return who computes what in the scenario, as rounds are planned."""
    training = scenario.training
    return Mode.FEATURES if training.labels == "ground" else Mode(training.mode)


def variant_of(scenario: Scenario, mode: Mode | None = None) -> TrainingVariant:
    """Return how the scenario trains, or would train in another mode."""
    training = scenario.training
    return TrainingVariant(
        mode or mode_of(scenario),
        adapted_blocks=training.adapted_blocks,
        onboard_cache=training.onboard_cache,
    )


def satellites_per_step(training: Training) -> int:
    """Return how many satellites share one pass of the backbone in mode ``lora``."""
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
    return payload_bytes("float32", (1, costs.tokens, costs.hidden), scenario.crossings.features)


def kept_rows(scenario: Scenario, row_bytes: int, images: int) -> int:
    """Return how many feature rows, one per image and view that crosses, fit in the ground's cache."""
    room = int(scenario.crossings.cache_gb * _BYTES_PER_GB) // (row_bytes + FEATURE_NAME_BYTES)
    return min(room, images * VIEWS_THAT_CROSS[scenario.training.augment])


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
        onboard_flops=computed * frozen + trained + costs.head_step_flops,
        aggregate_bytes=size,
        update_bytes=size,
    )


def _target(costs: Profile) -> Target:
    return Target(costs.target_shape, costs.target_dtype)
