"""The images that satellites take as they fly, as a scenario describes them, and the storage that holds them."""

from __future__ import annotations

import math

from mission.orbits import constellation_of, epoch_of
from mission.scenario import ScenarioError
from mission.schema import Scenario
from orbit.constellation import Constellation
from orbit.imaging.taken_images import Camera, TakenImages, taken_images
from server_app.planning.workloads import mode_of
from splitmodel.costs.published import Profile
from splitmodel.training import VIEWS
from strategies.problem.storage import Drop, Storage
from strategies.problem.workload import Mode

_S_PER_MIN = 60.0
_BYTES_PER_GB = 1e9
_VALUE_BYTES = 4  # what is kept on board is fp32


def camera_of(scenario: Scenario) -> Camera:
    """The scenario's camera."""
    table = scenario.imaging
    return Camera(
        table.images_per_min / _S_PER_MIN,
        table.swath_km,
        image_km2=table.image_km2 or 1.0,
        duty_cycle=table.duty_cycle,
        lowest_sun_deg=table.lowest_sun_deg,
        areas=table.areas,
    )


def taken_of(scenario: Scenario, constellation: Constellation) -> TakenImages:
    """The images that the scenario's satellites take within the horizon."""
    return taken_images(
        constellation, camera_of(scenario), epoch=epoch_of(scenario), horizon_s=scenario.horizon_s
    )


def storage_of(scenario: Scenario, costs: Profile, taken: TakenImages | None = None) -> Storage | None:
    """The storage of each satellite; ``None`` where the scenario's satellites take no images.

    Args:
        scenario: The resolved scenario.
        costs: Sizes of images, and of what the model makes of them.
        taken: The images, where they are counted already.

    Raises:
        strategies.problem.network.PlanningError: What is on board at the epoch has no room.
    """
    table = scenario.imaging
    if not table.enabled:
        return None
    return Storage(
        taken or taken_of(scenario, constellation_of(scenario)),
        image_bytes_of(scenario, costs),
        capacity_bytes=table.storage_gb * _BYTES_PER_GB or math.inf,
        drop=Drop(table.drop),
        at_epoch=table.on_board,
    )


def image_bytes_of(scenario: Scenario, costs: Profile) -> float:
    """Bytes on board of a raw image and of what the mode keeps of it, of every view, whether it is made already or not.

    In mode ``head`` its pooled states are kept, on board trained heads have theirs, and with ``training.onboard_cache``
    what leaves the frozen part of the model is kept; features that go to the ground are not.
    """
    training, values = scenario.training, 0
    match mode_of(scenario):
        case Mode.HEAD | Mode.ONBOARD_HEAD:
            values = costs.state_values
        case Mode.ONBOARD_LORA if training.onboard_cache:
            values = costs.tokens * costs.hidden
    raw_bytes = scenario.planning.image_bytes or costs.image_bytes
    return raw_bytes + _VALUE_BYTES * values * VIEWS[training.augment]


def require_trainable(scenario: Scenario) -> None:
    """Raise ``ScenarioError`` for what no run does with images that come as satellites fly."""
    if not scenario.imaging.enabled:
        return
    training, strategy = scenario.training, scenario.strategy
    for key, value, allowed in (
        (
            "training.mode",
            training.mode,
            tuple(mode for mode in Mode if mode not in (Mode.DOWNLINK, Mode.FEATURES)),
        ),
        ("training.labels", training.labels, ("on-board",)),
        ("training.head_rows", training.head_rows, ("by-images",)),
        ("strategy.averaging", strategy.averaging, ("rounds",)),
        ("strategy.planes_per_round", strategy.planes_per_round, (0,)),
    ):
        if value not in allowed:
            raise ScenarioError(
                f"{key}: found {value} with [imaging], whose images a run has as they come; allowed: "
                + ", ".join(map(str, allowed))
            )


def require_all_on_board(scenario: Scenario, planner: str) -> None:
    """Raise ``ScenarioError`` where satellites take images as they fly, for what plans with all of them on board.

    Args:
        scenario: The resolved scenario.
        planner: The command, for the message.
    """
    table = scenario.imaging
    if table.enabled:
        key, value = (
            ("swath_km", table.swath_km) if table.swath_km else ("images_per_min", table.images_per_min)
        )
        raise ScenarioError(
            f"imaging.{key}: found {value:g} with {planner}, whose rounds train on the same images from the start; "
            "allowed: 0; images that arrive are planned by skysplit plan, contacts --summary and sweep without "
            "--missions, and trained on by skysplit run and emulate"
        )
