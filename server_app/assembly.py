"""The ground's part of a run, put together as the training mode wants it: backbone, what arrives, who answers."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import KW_ONLY, dataclass
from pathlib import Path

from mission.run_config import STEPS_AHEAD
from mission.schema import Scenario
from server_app.backbone.centralized import CentralizedTrainer
from server_app.backbone.executor import BackboneExecutor, choose_device, choose_precision
from server_app.backbone.feature_assembler import FeatureAssembler
from server_app.backbone.feature_cache import FeatureCache, shares
from server_app.backbone.given_features import GivenFeatures
from server_app.backbone.given_images import GivenImages
from server_app.backbone.service import SHARED, BackboneService
from server_app.mission_inputs import MissionInputs
from server_app.planning.compute_times import compute_times_of
from server_app.planning.workloads import kept_row_bytes, kept_rows
from server_app.run import ServerRun
from splitmodel.costs.published import Profile
from splitmodel.dense_heads import TrainedHead
from splitmodel.parts import SplitModel
from splitmodel.tasks import Task
from splitmodel.token_views import TokenViews


@dataclass(frozen=True, eq=False)
class GroundSegment:
    """The services that answer the satellites of a run.

    Attributes:
        steps: The backbone's training steps.
        assembler: Puts together the features of a step.
        enrolment: Answers what satellites send before training.
        service: Answers in the rounds; the same in the modes of the split.
        shares_head: Whether the head is trained here, with gradients that satellites send.
        in_flight: Bundles of a satellite that may wait here at the same time: names and features of all steps that are
            sent ahead, and two gradients.
    """

    steps: BackboneExecutor
    assembler: FeatureAssembler
    _: KW_ONLY
    enrolment: BackboneService
    service: BackboneService | CentralizedTrainer
    shares_head: bool
    in_flight: int

    def begin_training(self, model: SplitModel, task: Task, samples: Mapping[str, int]) -> None:
        """From here on the rounds: with this model, whose head enrolment has scaled, on so many images of each."""
        self.steps.busy_s = 0.0  # what it took so far belongs to the start-up
        if isinstance(self.service, CentralizedTrainer):
            self.service.configure(model, task, samples)
            return
        self.service.configure(samples)
        if self.shares_head:
            assert isinstance(model.head, TrainedHead)
            self.service.train_head(model.head)

    @contextlib.contextmanager
    def cached_features(
        self, scenario: Scenario, costs: Profile, samples: Mapping[str, int], path: Path
    ) -> Iterator[None]:
        """Keep features that have crossed in a file, where the scenario gives room for them; removed in the end.

        A run that fails leaves the file, for its continuation.
        """
        row_bytes = kept_row_bytes(scenario, costs)
        if row_bytes is None:
            yield
            return
        rows = kept_rows(scenario, row_bytes, sum(samples.values()))
        own_rows = dict(zip(samples, shares(rows, list(samples.values())), strict=True))
        cache = FeatureCache(path, row_bytes, rows=own_rows)
        self.assembler.keep_in(cache)
        yield
        cache.remove()


def ground_segment(run: ServerRun, mission: MissionInputs) -> GroundSegment:
    """Put together the ground segment of a run; the backbone is trained in place."""
    scenario, model, costs = run.scenario, mission.model, mission.costs
    training = scenario.training
    central = training.on_ground
    adapters: tuple[str, ...] = ()
    if training.mode == "downlink" or (training.mode == "lora" and training.adapter == SHARED):
        adapters = (SHARED,)
    elif training.mode == "lora":
        adapters = mission.satellites
    device = choose_device(training.device)
    token_views = (
        TokenViews.of(model, scenario.crossings.features, device)
        if training.augment == "token-dihedral"
        else None
    )
    steps = BackboneExecutor(
        model.backbone,
        mission.lora,
        device=device,
        adapters=adapters,
        weight_decay=training.weight_decay,
        clip_update=training.clip_update,
        precision=choose_precision(training.precision, device),
        activation_bytes=training.activations_gb * 1e9,
    )
    in_flight = (STEPS_AHEAD + 1) * training.micro_batches
    assembler = FeatureAssembler(
        (costs.tokens, costs.hidden), scenario.crossings.features, pending=2 * in_flight
    )
    enrolment = BackboneService(
        steps,
        scenario,
        run=run.name,
        assembler=assembler,
        compute_times=compute_times_of(scenario, costs),
        max_concurrency=run.max_concurrency,
        token_views=token_views,
        tail=model.tail,
    )
    given: GivenImages | GivenFeatures = GivenImages(scenario)
    if training.labels == "ground":
        given = GivenFeatures(
            scenario, (costs.tokens, costs.hidden), enrolment=enrolment, token_views=token_views
        )
    return GroundSegment(
        steps,
        assembler,
        enrolment=enrolment,
        service=CentralizedTrainer(enrolment, steps, scenario=scenario, run=run.name, given=given)
        if central
        else enrolment,
        shares_head=training.shares_head,
        in_flight=2 * in_flight + 2,
    )
