"""The ground's part of a run, put together as the training mode wants it: backbone, what arrives, who answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mission.run_config import STEPS_AHEAD
from mission.schema import Scenario
from relay.client.direct import GroundEndpoint
from relay.client.endpoint import RelayEndpoint
from relay.node.settings import LocalRelay
from server_app.backbone.centralized import CentralizedTrainer
from server_app.backbone.executor import BackboneExecutor, choose_device, choose_precision
from server_app.backbone.feature_assembler import FeatureAssembler
from server_app.backbone.given_features import GivenFeatures
from server_app.backbone.given_images import GivenImages
from server_app.backbone.service import SHARED, BackboneService
from splitmodel.costs.published import Profile
from splitmodel.dense_heads import TrainedHead
from splitmodel.lora.adapters import LoraSettings
from splitmodel.parts import SplitModel
from splitmodel.tasks import Task
from splitmodel.token_views import TokenViews


@dataclass(frozen=True, eq=False)
class GroundSegment:
    """What answers the satellites of a run.

    Attributes:
        steps: The backbone's training steps.
        assembler: Puts together the features of a step.
        enrolment: Answers what satellites send before training.
        ground: Answers in the rounds; the same in the modes of the split.
        shares_head: Whether the head is trained here, with gradients that satellites send.
        in_flight: Bundles of a satellite that may wait here at the same time: names and features of all steps that are
            sent ahead, and two gradients.
    """

    steps: BackboneExecutor
    assembler: FeatureAssembler
    enrolment: BackboneService
    ground: BackboneService | CentralizedTrainer
    shares_head: bool
    in_flight: int

    def endpoint(
        self, satellites: tuple[str, ...], address: str, relay: LocalRelay | None, secret: str
    ) -> GroundEndpoint | RelayEndpoint:
        """Where satellites reach it: at an address of its own, ``host:port``, or over the ground's relay.

        At its own address only who knows the ``secret`` is answered.
        """
        if relay is None:
            host, _, port = address.rpartition(":")
            return GroundEndpoint(self.ground.handle, satellites, host=host, port=int(port), secret=secret)
        endpoint = RelayEndpoint(
            self.ground.handle,
            satellites,
            relay.address,
            relay.node,
            identity=relay.identity,
            answered_at_once=self.in_flight * len(satellites),
        )
        self.enrolment.expect_all_together(endpoint.waiting)
        return endpoint

    def expect(self, model: SplitModel, task: Task, samples: Mapping[str, int]) -> None:
        """From here on the rounds: with this model, whose head the enrolment has scaled, on so many images of each."""
        self.steps.busy_s = 0.0  # what it took so far belongs to the start-up
        if isinstance(self.ground, CentralizedTrainer):
            self.ground.expect(model, task, samples)
            return
        self.ground.expect(samples)
        if self.shares_head:
            assert isinstance(model.head, TrainedHead)
            self.ground.share(model.head)


def ground_segment(
    scenario: Scenario,
    model: SplitModel,
    lora: LoraSettings,
    costs: Profile,
    satellites: tuple[str, ...],
    run: str,
    *,
    max_concurrency: int | None,
) -> GroundSegment:
    """The ground segment of a scenario.

    Args:
        scenario: The resolved scenario.
        model: Its model, made trainable; the backbone is trained in place.
        lora: Of its adapters.
        costs: Shape of the model's features.
        satellites: Names, in the order of the constellation.
        run: Name of the run on the wire.
        max_concurrency: Satellites that run at the same time, where that is known.
    """
    training = scenario.training
    central = training.on_ground
    adapters: tuple[str, ...] = ()
    if training.mode == "downlink" or (training.mode == "lora" and training.adapter == SHARED):
        adapters = (SHARED,)
    elif training.mode == "lora":
        adapters = satellites
    token_views = TokenViews.of(model) if training.augment == "token-dihedral" else None
    device = choose_device(training.device)
    steps = BackboneExecutor(
        model.backbone,
        lora,
        device,
        adapters,
        learning_rate=training.learning_rate,
        weight_decay=training.weight_decay,
        precision=choose_precision(training.precision, device),
        activation_bytes=training.activations_gb * 1e9,
    )
    in_flight = (STEPS_AHEAD + 1) * training.micro_batches
    assembler = FeatureAssembler(
        (costs.tokens, costs.hidden), scenario.crossings.features, pending=2 * in_flight
    )
    enrolment = BackboneService(
        steps, scenario, run, assembler, max_concurrency=max_concurrency, token_views=token_views
    )
    given: GivenImages | GivenFeatures = GivenImages(scenario)
    if training.labels == "ground":
        given = GivenFeatures(scenario, (costs.tokens, costs.hidden), enrolment, token_views)
    return GroundSegment(
        steps,
        assembler,
        enrolment,
        CentralizedTrainer(enrolment, steps, scenario, run, given) if central else enrolment,
        training.shares_head,
        2 * in_flight + 2,
    )
