"""What to know before a run: what crosses far more often than it has to, and the keys that change that."""

from __future__ import annotations

from collections.abc import Sequence

from mission.schema import Scenario
from mission.text.quantities import spoken_bytes
from server_app.planning.round_traffic import Framing
from server_app.planning.workloads import MissionWorkloads, mode_of, row_bytes_of, variant_of
from splitmodel.costs.published import Profile
from splitmodel.training import VIEWS_THAT_CROSS
from strategies.problem.workload import Mode

_WORTH_A_WORD = 2.0  # times as many bytes as the images have
_LESS = 0.95  # of the bytes: a key that leaves more of them is not named
_BYTES_PER_GB = 1e9


def advice(scenario: Scenario, costs: Profile, samples: Sequence[int], framing: Framing) -> list[str]:
    """Return warnings about the bytes of a mission of the split, none where it brings down less than twice its images.

    Args:
        scenario: The resolved scenario.
        costs: Sizes of the model's parts.
        samples: Training images of each satellite.
        framing: What messages are sent in.
    """
    training = scenario.training
    if training.mode not in ("lora", "head"):
        return []
    workloads = MissionWorkloads(scenario, costs, samples=samples, framing=framing)
    images = workloads.of_round(variant_of(scenario, Mode.DOWNLINK)).c1_bytes * sum(samples)
    features = _features_bytes(scenario, costs, samples, framing)
    if features < _WORTH_A_WORD * images:
        return []
    sentence = (
        f"over {training.rounds} rounds the features outweigh the images {features / images:.3g} times "
        f"({spoken_bytes(features)} against {spoken_bytes(images)})"
    )
    sizes: dict[str, float] = {}
    if training.augment == "dihedral":
        less = [] if training.mode == "head" or scenario.split.onboard_blocks else ["token-dihedral"]
        for augment in (*less, "none"):
            once = scenario.model_copy(update={"training": training.model_copy(update={"augment": augment})})
            size = _features_bytes(once, costs, samples, framing)
            sizes[f'training.augment = "{augment}" makes that {spoken_bytes(size)}'] = size
    if mode_of(scenario) is Mode.LORA:
        room = (
            sum(samples) * VIEWS_THAT_CROSS[training.augment] * row_bytes_of(scenario, costs) / _BYTES_PER_GB
        )
        if room > scenario.crossings.cache_gb:
            kept = scenario.crossings.model_copy(update={"cache_gb": 1.01 * room})
            size = _features_bytes(scenario.model_copy(update={"crossings": kept}), costs, samples, framing)
            sizes[f"crossings.cache_gb = {1.01 * room:.3g} keeps all of them: {spoken_bytes(size)}"] = size
    ways = [way for way, size in sizes.items() if size < _LESS * features]
    return ["; ".join([sentence, *ways])]


def _features_bytes(scenario: Scenario, costs: Profile, samples: Sequence[int], framing: Framing) -> float:
    """Bytes of features and their names over all rounds."""
    workloads = MissionWorkloads(scenario, costs, samples=samples, framing=framing)
    rounds = workloads.of_mission(variant_of(scenario))
    return sum(workload.c1_bytes for workload in rounds) * sum(samples)
