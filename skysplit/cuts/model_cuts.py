"""The places where a scenario's model can be cut: what each costs, what it lets the ground see, and which to choose.

What pulls in torch is imported where it is used.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any

from learning.model import base_of, no_limits, with_cut
from mission.orbits import constellation_of, contact_plan_of
from mission.schema import Scenario, Split
from orbit.contact_plan import ContactPlan
from skysplit.planning_inputs import costs_of, samples_of
from splitmodel.costs.published import Profile
from strategies.problem.network import PlanningError

# Images whose features are known to whoever inverts others', and those others: as in docs/privacy.md.
_KNOWN, _SECRET = 300, 100


@dataclass(frozen=True)
class ModelCut:
    """One place to cut a model, and a round of it.

    Attributes:
        onboard_blocks: Behind the embedding.
        head_blocks: In front of the head.
        feature_bytes: Of one image's features, without headers.
        down_bytes: Per image of the round, satellite to ground, all messages.
        up_bytes: Per image of the round, back.
        onboard_flops: Per image and pass, on board.
        ground_flops: Per image and pass, on the ground.
        onboard_bytes: Weights that are held on board.
        adapter_bytes: Of the adapter.
        round_s: Planned length of one round; ``None`` where it does not end within the horizon.
        pixels_recovered: Part of the pixels' variance that a linear map makes of the features; ``None`` where there are
            no weights or no images to measure it with.
        score: On test images, of a run that was cut so; ``None`` where none was given.
    """

    onboard_blocks: int
    head_blocks: int
    _: KW_ONLY
    feature_bytes: int
    down_bytes: float
    up_bytes: float
    onboard_flops: float
    ground_flops: float
    onboard_bytes: float
    adapter_bytes: float
    round_s: float | None
    pixels_recovered: float | None = None
    score: float | None = None


@dataclass(frozen=True)
class SettledCut:
    """A scenario whose cut is a number.

    Attributes:
        scenario: With that number.
        overrides: What makes it of the scenario as it was, by dotted key; nothing where it was a number before.
        reason: Which cut was chosen and why, as a run records it; ``None`` where none had to be.
    """

    scenario: Scenario
    overrides: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    _: KW_ONLY
    reason: Mapping[str, Any] | None = None

    @property
    def as_run_config(self) -> dict[str, Any]:
        """Return the entries of Flower's run config."""
        return {**self.overrides, **({} if self.reason is None else {"cut": json.dumps(self.reason)})}


def cuts_of(
    scenario: Scenario, contacts: ContactPlan, places: Sequence[tuple[int, int]] = (), *, at_s: float = 0.0
) -> list[ModelCut]:
    """Return the cost of cuts and a planned round of each.

    Args:
        scenario: The resolved scenario; its own cut says which others there are.
        contacts: Its contact plan.
        places: Blocks on board and in front of the head; by default every number of the one with the scenario's of the
            other, and the other way round.
        at_s: Start of the round, mission time.

    Raises:
        ValueError: The scenario splits nothing, or no cut has a round within the horizon.
    """
    require_cuts(scenario)
    whole = with_cut(scenario, 0, 0)
    costs = costs_of(whole)
    samples = samples_of(whole, contacts)
    places = places or _places(scenario, costs.blocks)
    recovered = recovered_by_blocks(scenario, max(first for first, _ in places))
    cuts = [_cut(scenario, contacts, costs, samples, place, at_s) for place in places]
    if all(cut.round_s is None for cut in cuts):
        raise PlanningError(
            f"no cut of {costs.name} has a round from {at_s:g} s that ends within the horizon"
        )
    if recovered is None:
        return cuts
    return [dataclasses.replace(cut, pixels_recovered=recovered[cut.onboard_blocks]) for cut in cuts]


def require_cuts(scenario: Scenario) -> None:
    """Raise `ValueError` where a scenario has no other place to cut its model, or its images come one by one."""
    from server_app.planning.imaging import require_all_on_board

    require_all_on_board(scenario, "a comparison of cuts")
    if scenario.training.mode not in ("head", "lora"):
        raise ValueError(
            f"training.mode: found {scenario.training.mode!r}, which has no split; allowed: head, lora"
        )


def settled(scenario: Scenario, contacts: ContactPlan | None = None) -> SettledCut:
    """Choose the cut of a scenario that leaves it open: split.onboard_blocks = "auto".

    Under a limit of the leak it is the one with the fewest blocks on board that keeps it, and the limit of the round
    where there is one; under a limit of the round alone, the one with the most.

    Raises:
        ValueError: No cut keeps the limits, or the leak cannot be measured.
    """
    split = scenario.split
    if split.onboard_blocks != "auto":
        return SettledCut(scenario)
    require_cuts(scenario)
    if scenario.training.augment == "token-dihedral":
        raise ValueError(
            'training.augment: found "token-dihedral" with split.onboard_blocks = "auto", and tokens are turned where '
            'no block is on board; allowed: "none", "dihedral"'
        )
    contacts = contacts or contact_plan_of(scenario, constellation_of(scenario))
    blocks = costs_of(with_cut(scenario, 0, 0)).blocks
    most = blocks - split.head_blocks - max(1, scenario.training.adapted_blocks)
    cuts = cuts_of(scenario, contacts, [(first, split.head_blocks) for first in range(most + 1)])
    if split.leak_limit < 1.0 and cuts[0].pixels_recovered is None:
        raise ValueError(
            f"split.leak_limit: found {split.leak_limit:g}, and there are no weights or no images to measure the leak "
            "with; allowed: a model whose weights are here, with images instead of planning.samples"
        )
    kept = [cut for cut in cuts if _keeps(cut, split)]
    if not kept:
        raise ValueError(
            f'split.onboard_blocks: found "auto", and no cut keeps {_limits(split)}: '
            + "; ".join(_words(cut) for cut in cuts)
        )
    chosen = kept[0] if split.leak_limit < 1.0 else kept[-1]
    which = "fewest" if split.leak_limit < 1.0 else "most"
    reason = {
        "onboard_blocks": chosen.onboard_blocks,
        "why": f"the {which} blocks on board that keep {_limits(split)}: {_words(chosen)}",
        "leak_limit": split.leak_limit,
        "round_limit_s": split.round_limit_s,
        "cuts": [dataclasses.asdict(cut) for cut in cuts],
    }
    overrides: dict[str, Any] = {f"split.{key}": value for key, value in no_limits().items()}
    overrides["split.onboard_blocks"] = chosen.onboard_blocks
    return SettledCut(with_cut(scenario, chosen.onboard_blocks), overrides, reason=reason)


def spoken_choice(reason: Mapping[str, Any]) -> str:
    """Return a chosen cut and why, in a sentence."""
    return f"split.onboard_blocks = {reason['onboard_blocks']}: {reason['why']}"


def recovered_by_blocks(scenario: Scenario, blocks: int) -> list[float] | None:
    """Return the part of the pixels' variance that is recovered behind 0, 1, … ``blocks`` blocks on board.

    ``None`` where there is nothing to measure it with: a published profile, a model whose weights are on the hub, or
    images that are only planned.
    """
    model, data = scenario.model, scenario.data
    if scenario.planning.profile or scenario.planning.samples:
        return None
    base = base_of(model)
    if isinstance(base, str) and not model.random_init:
        return None
    import numpy as np

    from learning.imagery import imagery_of
    from splitmodel.costs.leak import pixels_recovered
    from splitmodel.families import ModelInput
    from splitmodel.imagery.fitting import fitted
    from splitmodel.imagery.statistics import survey
    from splitmodel.parts import load_embedding

    embedding = load_embedding(
        base,
        random_init=model.random_init,
        seed=scenario.seed,
        wanted=ModelInput(**model.image_options),
        onboard_blocks=blocks,
    )
    imagery = imagery_of(scenario.data, scenario.seed).for_model(embedding.preprocess)
    known, secret = (
        images.take(np.unique(np.linspace(0, len(images) - 1, count).round().astype(np.int64)))
        for images, count in ((imagery.train, _KNOWN), (imagery.test, _SECRET))
    )
    if data.statistics == "computed":
        bands = survey(known, embedding.preprocess, statistics=True).bands
        embedding.preprocess = fitted(
            embedding.preprocess,
            known,
            mean=tuple(bands.mean.tolist()),
            deviation=tuple(bands.deviation.tolist()),
        )
    else:
        embedding.preprocess = fitted(embedding.preprocess, known)
    known_BCHW, secret_BCHW = (
        images.prepared(np.arange(len(images)), embedding.preprocess) for images in (known, secret)
    )
    return pixels_recovered(embedding, known_BCHW, secret_BCHW, scenario.crossings.features)


def _places(scenario: Scenario, blocks: int) -> list[tuple[int, int]]:
    """Every cut that differs from the scenario's at one end."""
    split = scenario.split
    first, last = 0 if split.onboard_blocks == "auto" else split.onboard_blocks, split.head_blocks
    places = [(number, last) for number in range(blocks - last)]
    if split.bottleneck:  # which has no place before blocks
        return places
    return places + [(first, number) for number in range(blocks - first) if number != last]


def _cut(
    scenario: Scenario,
    contacts: ContactPlan,
    whole: Profile,
    samples: Sequence[int],
    place: tuple[int, int],
    at_s: float,
) -> ModelCut:
    from server_app.planning.round_planner import (
        framing_of,
        problem_of,
        quorum_of,
        strategy_config_of,
    )
    from server_app.planning.workloads import MissionWorkloads, variant_of
    from splitmodel.crossing.codec_sizes import encoded_bytes
    from strategies.aggregation.quorum import cut
    from strategies.planner.checked_plan import checked_plan

    scenario, costs = with_cut(scenario, *place), whole.cut(*place)
    workloads = MissionWorkloads(scenario, costs, samples=samples, framing=framing_of(contacts))
    workload = workloads.of_round(variant_of(scenario))
    problem = problem_of(scenario, contacts, workload, start_s=at_s)
    round_s = None
    try:
        planned = checked_plan(problem, strategy_config_of(scenario))
        round_s = cut(planned, quorum_of(scenario, contacts, list(samples)).end_s(planned)).makespan_s
    except PlanningError:
        pass
    trains = scenario.training.mode == "lora"
    return ModelCut(
        *place,
        feature_bytes=encoded_bytes((1, costs.tokens, costs.hidden), scenario.crossings.features),
        down_bytes=workload.passes * workload.down_bytes,
        up_bytes=workload.passes * workload.up_bytes,
        onboard_flops=costs.embedding_flops
        + costs.head_step_flops
        + costs.tail_flops
        + trains * costs.tail_backward_flops,
        ground_flops=costs.backbone_flops + trains * costs.lora_backward_flops,
        onboard_bytes=4.0 * (costs.embedding_params + costs.tail_params + costs.head_params),
        adapter_bytes=float(trains * costs.adapter_bytes),
        round_s=round_s,
    )


def _keeps(cut: ModelCut, split: Split) -> bool:
    leaks_little = split.leak_limit >= 1.0 or (
        cut.pixels_recovered is not None and cut.pixels_recovered <= split.leak_limit
    )
    if cut.round_s is None:
        return False
    return leaks_little and (not split.round_limit_s or cut.round_s <= split.round_limit_s)


def _limits(split: Split) -> str:
    limits = []
    if split.leak_limit < 1.0:
        limits.append(f"split.leak_limit = {split.leak_limit:g}")
    if split.round_limit_s:
        limits.append(f"split.round_limit_s = {split.round_limit_s:g}")
    return " and ".join(limits)


def _words(cut: ModelCut) -> str:
    """One cut in a few words."""
    leak = "" if cut.pixels_recovered is None else f" recovers {cut.pixels_recovered:.4f} of the pixels,"
    length = (
        "has no round within the horizon" if cut.round_s is None else f"takes {cut.round_s:.1f} s a round"
    )
    return f"{cut.onboard_blocks} on board{leak} {length}"
