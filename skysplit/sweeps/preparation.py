"""The rounds of a sweep, prepared before any is planned, so that errors come first: what moves and computes in each."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import skysplit
from mission.orbits import constellation_of
from mission.scenario import given_path
from mission.schema import Scenario
from orbit.constellation import Constellation
from skysplit.planning_inputs import costs_of, counted_samples
from skysplit.sweeps.study import Study, StudyError, Variant, value_text, variants_of
from skysplit.sweeps.worker import RoundJob
from strategies.aggregation.quorum import Quorum
from strategies.problem.workload import Workload

if TYPE_CHECKING:
    from server_app.planning.workloads import MissionWorkloads
    from splitmodel.costs.published import Profile

_OF_CONTACTS = ("epoch", "horizon_h", "constellation", "ground", "links", "contacts", "power")
_OF_NO_CONTACT = {"ground": {"beams", "setup_s"}}  # how contacts are used, not when they are
_OF_COSTS = ("model", "lora", "split", "data", "planning", "training")
_OF_SAMPLES = ("constellation", "data", "planning", "seed")
_OF_PLAN = (*_OF_CONTACTS, "compute", "crossings", "strategy", *_OF_COSTS, "seed")


@dataclass(frozen=True)
class SweepCase:
    """One round of the sweep.

    Attributes:
        number: From 0, in the order of the study.
        overrides: What varies; lists and tables as text.
        job: For the process that plans it.
    """

    number: int
    overrides: Mapping[str, Any]
    _: KW_ONLY
    job: RoundJob


@dataclass(frozen=True)
class Prepared:
    """All rounds, and the contact plans that they need.

    Attributes:
        study: What varies.
        cases: Its rounds.
        contacts: Resolved scenarios, as JSON, by the file that their contact plan goes to.
    """

    study: Study
    cases: tuple[SweepCase, ...]
    _: KW_ONLY
    contacts: Mapping[Path, str]


def prepare(study: Study, folder: Path) -> Prepared:
    """Resolve every case, count its images, and size its round.

    Args:
        study: What varies.
        folder: For the contact plans.

    Raises:
        ValueError: Something is wrong with a case; the message names it.
    """
    from server_app.planning.round_planner import (
        framing_of_names,
        rates_of,
        resources_of,
        strategy_config_of,
    )
    from server_app.planning.workloads import MissionWorkloads, variant_of

    costs = dict[str, "Profile"]()
    constellations = dict[str, Constellation]()
    samples = dict[str, list[int]]()
    resources = dict[str, Any]()
    contacts: dict[Path, str] = {}
    cases: list[SweepCase] = []
    for variant in variants_of(study):
        scenario = variant.scenario
        try:
            orbit = _identity(scenario, _OF_CONTACTS, _OF_NO_CONTACT)
            if orbit not in constellations:
                constellations[orbit] = constellation_of(scenario)
            constellation = constellations[orbit]
            if (of_costs := _identity(scenario, _OF_COSTS)) not in costs:
                costs[of_costs] = costs_of(scenario)
            if (of_samples := _identity(scenario, _OF_SAMPLES)) not in samples:
                planned = scenario.planning.samples
                samples[of_samples] = (
                    [planned] * len(constellation) if planned else counted_samples(scenario, constellation)
                )
            if (of_resources := _identity(scenario, _OF_CONTACTS)) not in resources:
                resources[of_resources] = resources_of(scenario)
            workloads = MissionWorkloads(
                scenario, costs[of_costs], samples=samples[of_samples],
                framing=framing_of_names(constellation.names),
            )  # fmt: skip
            workload = workloads.of_round(variant_of(scenario))
            rounds = _mission(workloads) if study.missions else ()
            planes = tuple(int(plane) for plane in constellation.plane)
            quorum = Quorum(planes, workload.samples, needed=scenario.strategy.planes_per_round)
            rates, strategy_config = rates_of(scenario), strategy_config_of(scenario)
        except (ValueError, OSError) as error:
            raise StudyError(f"case {_words(variant)}: {error}") from error
        path = folder / f"{orbit}.parquet"
        contacts.setdefault(path, scenario.model_dump_json())
        for start_s in study.start_times_s(scenario.horizon_s):
            if start_s >= scenario.horizon_s:
                raise StudyError(
                    f"case {_words(variant)}: starts_s: found {start_s:g}, allowed: below the horizon, "
                    f"{scenario.horizon_s:g} s"
                )
            identity = f"{_identity(scenario, _OF_PLAN)}-{start_s:.3f}{'-mission' * study.missions}"
            job = RoundJob(
                identity, path, workload=workload, rates=rates, resources=resources[of_resources],
                strategy_config=strategy_config, quorum=quorum, start_s=start_s, mission=rounds,
            )  # fmt: skip
            cases.append(SweepCase(len(cases), _plain(variant.overrides), job=job))
    return Prepared(study, tuple(cases), contacts=contacts)


def _mission(workloads: MissionWorkloads) -> tuple[Workload, ...]:
    """All rounds of a mission.

    Raises:
        ValueError: A quorum ends them, which is not planned here.
    """
    from server_app.planning.workloads import variant_of

    needed = workloads.scenario.strategy.planes_per_round
    if needed:
        raise ValueError(
            f"strategy.planes_per_round: found {needed} with missions, allowed: 0, as the rounds of a mission are "
            "planned to their ends"
        )
    return workloads.of_mission(variant_of(workloads.scenario))


def _plain(overrides: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: value if isinstance(value, bool | int | float | str) else value_text(value)
        for key, value in overrides.items()
    }


def _words(variant: Variant) -> str:
    return ", ".join(f"{key} = {value_text(value)}" for key, value in variant.overrides.items())


def _identity(
    scenario: Scenario, tables: Sequence[str], without: Mapping[str, set[str]] | None = None
) -> str:
    """A name of these tables of a scenario but for some keys, and of the contents of the files that they name."""
    values = scenario.model_dump(mode="json", include=set(tables), exclude=dict(without or {}))
    named = [(scenario.constellation.path, "constellation.path"), (scenario.contacts.path, "contacts.path")]
    if isinstance(scenario.links.inter_orbit.pairs, str) and scenario.links.inter_orbit.pairs != "same-slot":
        named.append((scenario.links.inter_orbit.pairs, "links.inter_orbit.pairs"))
    contents = [_digest(path) if (path := given_path(text, key)) else "" for text, key in named]
    text = json.dumps([skysplit.__version__, values, contents], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:24]


@cache
def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
