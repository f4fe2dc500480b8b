"""What planning starts from where no run has counted it: the model's sizes, images per satellite, the standard cases.

What pulls in torch is imported where it is used.
"""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from mission.orbits import constellation_of
from mission.scenario import given_path
from mission.schema import HEAD_KINDS, Model, Scenario
from mission.task_rules import DENSE_KINDS, require_task_fits
from orbit.constellation import Constellation
from orbit.contact_plan import ContactPlan
from skysplit.trained_model import model_of, require_views_of_profile
from splitmodel.costs.published import Profile, published
from strategies.analysis.mission_totals import Case
from strategies.problem.storage import Storage
from strategies.problem.training_variant import TrainingVariant
from strategies.problem.workload import Mode, Workload

_LAST_PART = 4  # of the blocks are adapted where back-propagation on board is truncated: a quarter
_ROOM_GB = 1e9  # stands for room for all features


def costs_of(scenario: Scenario) -> Profile:
    """Sizes of the published model that the scenario plans with, or of its own model and its data's images."""
    if scenario.planning.profile:
        require_views_of_profile(scenario)
        costs = published(scenario.planning.profile).cut(
            scenario.split.blocks_on_board, scenario.split.head_blocks
        )
        return _with_head(costs, scenario)
    from learning.imagery import imagery_of
    from learning.task import task_of
    from splitmodel.costs.profile import profile
    from splitmodel.imagery.fitting import fitted

    images = None if scenario.planning.samples else imagery_of(scenario.data, scenario.seed).train
    task = task_of(scenario, images)
    model, lora = model_of(scenario, task)
    costs = profile(model, lora, name=_name_of(scenario.model))
    costs = dataclasses.replace(costs, **task.target_costs(model.embedding.grid))
    if images is None:
        return costs
    images = images.for_model(model.preprocess)
    if scenario.data.statistics == "model":
        fitted(model.preprocess, images)  # an error now rather than in the run
    return dataclasses.replace(costs, image_bytes=images.typical_bytes())


def _with_head(costs: Profile, scenario: Scenario) -> Profile:
    """A published model with the head of the scenario's task; its pooled states are classified as it is."""
    kind, of_ours = scenario.task.planned_kind, scenario.task.head in HEAD_KINDS
    if scenario.planning.samples and kind not in DENSE_KINDS and of_ours:
        require_task_fits(scenario, kind)
        return costs
    from learning.imagery import imagery_of
    from learning.task import task_of

    task = task_of(
        scenario, None if scenario.planning.samples else imagery_of(scenario.data, scenario.seed).train
    )
    if task.is_dense:
        if task.decoder != "linear":
            raise ValueError(
                f'task.decoder: found "{task.decoder}" with planning.profile, allowed: "linear", whose size is counted '
                "without the model"
            )
        pixels = costs.patches * costs.patch_pixels
        costs = costs.with_dense_head(task.outputs, scenario.split.bottleneck)
        return dataclasses.replace(costs, target_shape=(pixels,), target_dtype=task.target_dtype.name)
    if task.head is not None:
        from splitmodel.costs.profile import counted_flops

        head = task.head.new(costs.head_input_shape[-1], task.outputs)
        return costs.with_head(math.prod(head.table_shape), counted_flops(head))
    return costs


def _name_of(model: Model) -> str:
    """What the model is called: the folder's name where a path is set, else its name."""
    folder = given_path(model.path, "model.path")
    return Path(os.path.abspath(folder)).name if folder else model.name


def samples_of(scenario: Scenario, contacts: ContactPlan) -> list[int]:
    """Images per satellite: as the scenario plans, or counted in its data."""
    if scenario.planning.samples:
        return [scenario.planning.samples] * len(contacts.satellites)
    return counted_samples(scenario, constellation_of(scenario))


@dataclass(frozen=True, eq=False)
class RoundImages:
    """The images of a round that begins at a time.

    Attributes:
        samples: Of each satellite.
        storage: Where they come as satellites fly; else all are there.
    """

    samples: list[int]
    storage: Storage | None = None


def round_images(scenario: Scenario, contacts: ContactPlan, costs: Profile, start_s: float) -> RoundImages:
    """The images of a round: all that the scenario plans, or as many as are on board when it begins.

    Raises:
        strategies.problem.network.PlanningError: No image is on board, or the storage is too small for the first ones.
    """
    from server_app.planning.imaging import storage_of

    most, storage = samples_of(scenario, contacts), storage_of(scenario, costs)
    return RoundImages(most if storage is None else storage.samples_at(start_s, most), storage)


def counted_samples(scenario: Scenario, constellation: Constellation) -> list[int]:
    """Images per satellite, counted in the scenario's data."""
    from client_app.partitions import shares_of
    from learning.imagery import imagery_of

    shares = shares_of(
        scenario.data,
        imagery_of(scenario.data, scenario.seed).train,
        constellation.plane.tolist(),
        constellation.names,
        scenario.seed,
    )
    return [len(share) for share in shares]


def compared(
    scenario: Scenario,
    contacts: ContactPlan,
    costs: Profile,
    samples: Sequence[int],
    starts: int,
    *,
    schedules: bool = False,
    sensitivity: bool = False,
    draws: int = 0,
    processes: int = 1,
    progress: Callable[[float], None] | None = None,
    headline: bool = False,
) -> dict[str, Any]:
    """Compare the strategies with their baselines from so many start times; see ``strategies.analysis.compare``.

    With ``headline``, of the cases alone between which the answer lies.

    Raises:
        ValueError: With ``draws``, the scenario has no outages; or its satellites take images.
    """
    from server_app.planning.imaging import require_all_on_board
    from server_app.planning.round_planner import rates_of, resources_of
    from server_app.planning.uncertainty import outage_model_of
    from strategies.analysis.cases import headline_of
    from strategies.analysis.compare import compare, even_starts
    from strategies.analysis.mission_totals import World

    require_all_on_board(scenario, "skysplit compare")
    cases = cases_of(scenario, contacts, costs, samples, schedules=schedules)
    if headline:
        names = headline_of(cases)
        cases = tuple(case for case in cases if case.name in names)
    return compare(
        World(
            contacts,
            cases,
            rates=rates_of(scenario),
            resources=resources_of(scenario),
            outages=outage_model_of(scenario) if draws else None,
        ),
        even_starts(contacts, starts),
        sensitivity=sensitivity,
        draws=draws,
        processes=processes,
        progress=progress,
    )


def cases_of(
    scenario: Scenario,
    contacts: ContactPlan,
    costs: Profile,
    samples: Sequence[int],
    *,
    schedules: bool = False,
) -> tuple[Case, ...]:
    """The cases of the scenario's mission, with the model's sizes and FLOPs and the images of each satellite.

    With ``schedules``, those that papers publish are among them.
    """
    from server_app.planning.round_planner import framing_of
    from server_app.planning.workloads import MissionWorkloads, PlaceInMission, variant_of
    from strategies.analysis.cases import standard_cases
    from strategies.analysis.schedules import published_cases

    scenario = _with_token_views(scenario, costs)
    workloads = MissionWorkloads(scenario, costs, samples=samples, framing=framing_of(contacts))
    with_room = dataclasses.replace(workloads, scenario=_with_room(scenario))

    @cache
    def rounds_of(variant: TrainingVariant) -> tuple[Workload, ...]:
        return (with_room if variant.room_for_all else workloads).of_mission(variant)

    # The split as the scenario trains it; where it has none, head alone or adapter and head.
    mode = Mode.HEAD if scenario.training.mode in ("head", "onboard-head") else Mode.LORA
    method, labels = scenario.strategy.inter_orbit, workloads.labels()
    kept = None
    if mode is Mode.LORA:  # features that the ground has are still named
        kept = with_room.of_round(variant_of(scenario, mode), PlaceInMission(all_kept=True))
    cases = standard_cases(
        rounds_of,
        split_mode=mode,
        inter_orbit="min-latency" if method == "none" else method,
        last_blocks=scenario.training.adapted_blocks or costs.blocks // _LAST_PART,
        enrolment_of=workloads.enrolment,
        kept=kept,
        ground_has_labels=labels is not None,
    )
    cases += published_cases(rounds_of) if schedules else ()
    return tuple(
        case if case.one_round.central else dataclasses.replace(case, labels=labels) for case in cases
    )


def _with_token_views(scenario: Scenario, costs: Profile) -> Scenario:
    """The scenario with the views that cases have where the ground takes each step, if its own mode has none such.

    There "dihedral" is no choice: tokens cannot be turned. All other cases turn pixels in any case.
    """
    training = scenario.training
    turns_pixels = training.augment == "dihedral" and not training.ground_takes_each_step
    if not turns_pixels or scenario.split.onboard_blocks or not costs.token_views:
        return scenario
    return scenario.model_copy(update={"training": training.model_copy(update={"augment": "token-dihedral"})})


def _with_room(scenario: Scenario) -> Scenario:
    """The scenario with a cache on the ground in which the features of all images have room."""
    crossings = scenario.crossings.model_copy(update={"cache_gb": _ROOM_GB})
    return scenario.model_copy(update={"crossings": crossings})
