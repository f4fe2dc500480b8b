"""The rounds of a sweep, prepared before any is planned, so that errors come first: what moves and computes in each."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import skysplit
from mission.orbits import constellation_of
from mission.scenario import given_path
from mission.schema import Scenario
from orbit.constellation import Constellation
from skysplit.planning_inputs import costs_of, counted_samples
from skysplit.sweeps.study import Study, StudyError, Variant, value_text, variants_of
from skysplit.sweeps.worker import RoundJob
from strategies.aggregation.quorum import Quorum
from strategies.problem.network import PlanningError
from strategies.problem.storage import Storage
from strategies.problem.workload import Resources, Workload
from strategies.uncertainty.flight import may_be_flown
from strategies.uncertainty.outages import OutageModel

if TYPE_CHECKING:
    from server_app.planning.workloads import MissionWorkloads
    from splitmodel.costs.published import Profile

_OF_CONTACTS = ("epoch", "horizon_h", "constellation", "ground", "links", "contacts", "power")
_OF_NO_CONTACT = {"ground": {"beams", "setup_s"}}  # how contacts are used, not when they are
_OF_COSTS = ("model", "lora", "split", "data", "task", "planning", "training")
_OF_SAMPLES = ("constellation", "data", "planning", "seed")
_OF_TAKEN = ("epoch", "horizon_h", "constellation", "imaging")
_OF_PLAN = (*_OF_CONTACTS, "compute", "crossings", "strategy", *_OF_COSTS, "imaging", "seed")
Made = TypeVar("Made")


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
    shared = _Shared()
    contacts: dict[Path, str] = {}
    cases: list[SweepCase] = []
    for variant in variants_of(study):
        for start_s in study.start_times_s(variant.scenario.horizon_s):
            if start_s >= variant.scenario.horizon_s:
                raise StudyError(
                    f"case {_words(variant)}: starts_s: found {start_s:g}, allowed: below the horizon, "
                    f"{variant.scenario.horizon_s:g} s"
                )
        try:
            jobs = list(_jobs(study, variant.scenario, folder, shared))
        except (ValueError, OSError) as error:
            raise StudyError(f"case {_words(variant)}: {error}") from error
        for job in jobs:
            contacts.setdefault(job.contacts, variant.scenario.model_dump_json())
            cases.append(SweepCase(len(cases), _plain(variant.overrides), job=job))
    if study.draws and not any(case.job.outages and case.job.outages.happens for case in cases):
        raise StudyError(
            f"draws: found {study.draws} without outages in any case, so that all draws are alike; allowed with "
            "uncertainty.station_outage, uncertainty.isl_outage or a station's blocked above 0"
        )
    return Prepared(study, tuple(cases), contacts=contacts)


def _jobs(study: Study, scenario: Scenario, folder: Path, shared: _Shared) -> Iterator[RoundJob]:
    """The rounds of a case, one from each start."""
    from server_app.planning.round_planner import (
        framing_of_names,
        rates_of,
        require_rounds,
        strategy_config_of,
    )
    from server_app.planning.workloads import MissionWorkloads, variant_of

    require_rounds(scenario, "skysplit sweep")
    orbit = _identity(scenario, _OF_CONTACTS, _OF_NO_CONTACT)
    constellation, storage = shared.constellation(scenario), shared.storage(scenario)
    workloads = MissionWorkloads(
        scenario,
        shared.costs(scenario),
        samples=shared.samples(scenario),
        framing=framing_of_names(constellation.names),
    )
    workload = workloads.of_round(variant_of(scenario))
    rounds = _mission(workloads) if study.missions else ()
    outages = _outages(scenario, workload) if study.draws else None
    planes = tuple(int(plane) for plane in constellation.plane)
    identity = _identity(scenario, _OF_PLAN)
    if outages is not None:
        identity = f"{_identity(scenario, (*_OF_PLAN, 'uncertainty'))}-{study.draws}"
    for start_s in study.start_times_s(scenario.horizon_s):
        reason = ""
        if storage is not None:
            try:
                samples = storage.samples_at(start_s, shared.samples(scenario))
                workload = dataclasses.replace(workloads, samples=samples).of_round(variant_of(scenario))
            except PlanningError as error:
                reason = str(error)
        yield RoundJob(
            f"{identity}-{start_s:.3f}{'-mission' * study.missions}",
            folder / f"{orbit}.parquet",
            workload=workload,
            rates=rates_of(scenario),
            resources=shared.resources(scenario),
            strategy_config=strategy_config_of(scenario),
            quorum=Quorum(planes, workload.samples, needed=scenario.strategy.planes_per_round),
            start_s=start_s,
            mission=rounds,
            storage=storage,
            outages=outages,
            draws=study.draws,
            reason=reason,
        )


def _outages(scenario: Scenario, workload: Workload) -> OutageModel:
    """Return the outages through which a case's round is flown.

    Raises:
        ValueError: Its mode does not allow a round to be resumed.
    """
    from server_app.planning.uncertainty import drawn_outages_of

    if not may_be_flown(workload):
        training = scenario.training
        raise ValueError(
            f"training.mode: found {training.mode} with draws and labels = {training.labels}; allowed: head or lora, "
            "with labels on board"
        )
    return drawn_outages_of(scenario)


class _Shared:
    """Objects that cases share. Each is made once for every distinct set of the tables that it depends on."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], Any] = {}

    def constellation(self, scenario: Scenario) -> Constellation:
        orbit = _identity(scenario, _OF_CONTACTS, _OF_NO_CONTACT)
        return self._once("constellation", orbit, lambda: constellation_of(scenario))

    def costs(self, scenario: Scenario) -> Profile:
        return self._once("costs", _identity(scenario, _OF_COSTS), lambda: costs_of(scenario))

    def samples(self, scenario: Scenario) -> list[int]:
        constellation, planned = self.constellation(scenario), scenario.planning.samples
        if planned:
            return [planned] * len(constellation)
        return self._once(
            "samples",
            _identity(scenario, _OF_SAMPLES),
            lambda: counted_samples(scenario, constellation),
        )

    def resources(self, scenario: Scenario) -> Resources:
        from server_app.planning.round_planner import resources_of

        return self._once("resources", _identity(scenario, _OF_CONTACTS), lambda: resources_of(scenario))

    def storage(self, scenario: Scenario) -> Storage | None:
        from server_app.planning.imaging import storage_of, taken_of

        if not scenario.imaging.enabled:
            return None
        taken = self._once(
            "taken",
            _identity(scenario, _OF_TAKEN),
            lambda: taken_of(scenario, self.constellation(scenario)),
        )
        return storage_of(scenario, self.costs(scenario), taken)

    def _once(self, what: str, identity: str, make: Callable[[], Made]) -> Made:
        if (what, identity) not in self._known:
            self._known[what, identity] = make()
        return self._known[what, identity]


def _mission(workloads: MissionWorkloads) -> tuple[Workload, ...]:
    """All rounds of a mission.

    Raises:
        ValueError: A quorum ends them, or images come as satellites fly, neither of which is planned here.
    """
    from server_app.planning.imaging import require_all_on_board
    from server_app.planning.workloads import variant_of

    require_all_on_board(workloads.scenario, "skysplit sweep --missions")
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
