"""What planning starts from where no run has counted it: the model's sizes, images per satellite, the standard cases.

What pulls in torch is imported where it is used.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

from client_app.partitions import shares_of
from mission.orbits import constellation_of
from mission.scenario import given_path
from mission.schema import Scenario
from orbit.contact_plan import ContactPlan
from splitmodel.published import Profile, published
from strategies.workload import Mode, Workload


def costs_of(scenario: Scenario) -> Profile:
    """Sizes of the published model that the scenario plans with, or of its own model."""
    if scenario.planning.profile:
        return published(scenario.planning.profile)
    from splitmodel.adapters import LoraSettings
    from splitmodel.parts import load_split
    from splitmodel.profile import profile
    from splitmodel.shipped import locate

    base = locate(scenario.model.name, given_path(scenario.model.path, "model.path"))
    model = load_split(base, num_labels=10, pooling=scenario.model.pooling, random_init=True)
    return profile(model, LoraSettings(scenario.lora.rank, scenario.lora.alpha), name=scenario.model.name)


def samples_of(scenario: Scenario, contacts: ContactPlan) -> list[int]:
    """Images per satellite: as the scenario plans, or counted in its data."""
    if scenario.planning.samples:
        return [scenario.planning.samples] * len(contacts.satellites)
    from splitmodel.imagery import open_imagery

    data = scenario.data
    train = open_imagery(
        data.source,
        given_path(data.path, "data.path"),
        seed=scenario.seed,
        train_samples=data.train_samples,
        test_samples=data.test_samples,
    ).train
    shares = shares_of(data, train.labels, constellation_of(scenario).plane.tolist(), scenario.seed)
    return [len(share) for share in shares]


def compared(
    scenario: Scenario,
    contacts: ContactPlan,
    costs: Profile,
    samples: Sequence[int],
    starts: int,
    progress: Callable[[float], None] | None = None,
) -> dict[str, Any]:
    """The strategies beside their baselines, from so many start times; as ``strategies.compare.compare`` tells it."""
    from server_app.planning import framing_of, rates_of, resources_of, workload_of
    from strategies.compare import compare, even_starts, standard_cases

    framing = framing_of(contacts)

    def workload_in(mode: Mode, onboard_share: bool) -> Workload:
        return workload_of(scenario, costs, samples, mode, onboard_share=onboard_share, framing=framing)

    method = scenario.strategy.inter_orbit
    cases = standard_cases(workload_in, "min-latency" if method == "none" else method)
    # Features that the ground has are still named.
    named = workload_of(scenario, costs, samples, Mode.LORA, all_kept=True, framing=framing)
    cases = tuple(
        dataclasses.replace(case, workload=named) if case.workload.cached_fraction == 1.0 else case
        for case in cases
    )
    return compare(
        contacts,
        cases,
        rates_of(scenario),
        resources_of(scenario),
        even_starts(contacts, starts),
        progress=progress,
    )
