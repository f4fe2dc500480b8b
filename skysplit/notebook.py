"""Missions for notebooks: thin objects over the code of the commands, each with a plot and a table.

Torch and Flower are imported only when needed: to plan with your own model, and to run.
"""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import KW_ONLY, asdict, dataclass, field
from datetime import UTC
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import plotly.graph_objects as go
import pyarrow as pa

from mission.orbits import constellation_of, contact_plan_of, epoch_of, stations_of
from mission.record import make_run_directory, read_run
from mission.scenario import absolute_paths, load_scenario, scalar_keys, scenario_path
from mission.schema import Scenario
from mission.text.dotted_keys import dotted_keys
from mission.text.quantities import spoken_bytes, spoken_time, utc_text
from mission.text.spoken_scores import before_training, score_in, score_name, spoken_score
from orbit.access_summary import access_of_pairs, access_of_satellites, access_of_stations
from orbit.contact_plan import ContactPlan, LinkKind
from orbit.files.contact_plan_files import to_rows
from strategies.problem.plan import Kind, Plan

if TYPE_CHECKING:
    import pandas as pd

    from skysplit.cuts.model_cuts import SettledCut


@dataclass(frozen=True, eq=False, repr=False)
class Shown:
    """An object that a notebook shows as a title with a table of facts."""

    @property
    def title(self) -> str:
        """Describe the object in one line."""
        raise NotImplementedError

    def facts(self) -> Mapping[str, str]:
        """Return the most important facts, by name."""
        raise NotImplementedError

    def __repr__(self) -> str:
        return f"{self.title}: " + ", ".join(f"{name} {fact}" for name, fact in self.facts().items())

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><th style='text-align:left'>{html.escape(name)}</th><td>{html.escape(fact)}</td></tr>"
            for name, fact in self.facts().items()
        )
        return f"<table><caption>{html.escape(self.title)}</caption><tbody>{rows}</tbody></table>"


@dataclass(frozen=True, eq=False, repr=False)
class Mission(Shown):
    """A scenario, with methods to plan, compare and run it.

    >>> import skysplit
    >>> mission = skysplit.scenario("walker-12", horizon_h=2, planning={"profile": "DOFA-base", "samples": 16})
    >>> mission
    walker-12: satellites 12, stations 4, horizon 2 h, model synthetic-vit, mode lora, rounds 8, planned as DOFA-base, \
planned images 16 a satellite
    >>> len(mission.plan().to_pandas()) > 100
    True

    Attributes:
        scenario: The resolved scenario.
        source: The file from which it was read.
        overrides: The overridden values, by dotted key.
    """

    scenario: Scenario
    source: Path
    _: KW_ONLY
    overrides: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, name_or_path: str, overrides: Mapping[str, Any]) -> Mission:
        """See :func:`skysplit.scenario`."""
        dotted = dict(dotted_keys(overrides))
        return cls(
            load_scenario(name_or_path, dotted, given_as="keyword "),
            scenario_path(name_or_path).resolve(),
            overrides=dotted,
        )

    @property
    def title(self) -> str:
        """Return the name of the scenario."""
        return self.scenario.name

    def facts(self) -> Mapping[str, str]:
        """Return satellites, stations, model and training."""
        scenario, planning = self.scenario, self.scenario.planning
        assumed = {
            "planned as": planning.profile,
            "planned images": f"{planning.samples} a satellite" if planning.samples else "",
        }
        return {
            "satellites": str(len(self._constellation)),
            "stations": str(len(scenario.ground.stations)),
            "horizon": f"{scenario.horizon_h:g} h",
            "model": scenario.model.path or scenario.model.name,
            "mode": scenario.training.mode,
            "rounds": str(scenario.training.rounds),
            **{name: fact for name, fact in assumed.items() if fact},
        }

    def contacts(self) -> Contacts:
        """Return the contact plan: every link that can carry data within the horizon.

        Raises:
            mission.scenario.ScenarioError: The orbits are impossible, or no satellite sees a station.
        """
        return Contacts(self.title, self._contact_plan)

    def plan(self, at_s: float = 0.0) -> RoundPlan:
        """Plan and check one round that starts at mission time ``at_s`` [s].

        Raises:
            strategies.problem.network.PlanningError: The round does not end within the horizon.
        """
        from server_app.planning.round_planner import RoundPlanner
        from skysplit.planning_inputs import costs_of, round_images

        scenario, contacts = self._settled.scenario, self._contact_plan
        costs = costs_of(scenario)
        images = round_images(scenario, contacts, costs, at_s)
        planner = RoundPlanner(
            scenario, contacts, costs=costs, samples=images.samples, storage=images.storage
        )
        return RoundPlan(self.title, planner(1, at_s), contact_plan=contacts)

    def compare(self, starts: int = 12) -> Comparison:
        """Compare the strategies with their baselines and the lower bound, from ``starts`` start times."""
        from skysplit.planning_inputs import compared, costs_of, samples_of

        scenario, contacts = self._settled.scenario, self._contact_plan
        costs = costs_of(scenario)
        comparison = compared(scenario, contacts, costs, samples_of(scenario, contacts), starts)
        return Comparison(self.title, costs.name, figures=comparison)

    def run(self, out: str | Path = "", *, max_concurrency: int | None = None) -> Run:
        """Fine-tune the model, simulated by Flower on this machine. Takes minutes.

        Args:
            out: The run directory; the default is ``runs/TIME-SCENARIO``.
            max_concurrency: Number of satellites that compute at the same time; by default SkySplit chooses it.

        Raises:
            FileExistsError: The directory already holds a run.
            RuntimeError: The run failed; the message gives the reason.
        """
        from skysplit.commands.progress import RunProgress
        from skysplit.launch.run_ownership import owned
        from skysplit.launch.simulate import require_ray, simulate

        require_ray()
        cut = self._settled
        directory = make_run_directory(str(out), self.title)
        run_config = {
            **self.overrides,
            **absolute_paths(self.scenario),
            "scenario": str(self.source),
            "out": str(directory),
            **cut.as_run_config,
        }
        with owned(directory), RunProgress(self.scenario.training.rounds) as progress:
            simulate(cut.scenario, run_config, directory, max_concurrency, progress.show)
        return Run(directory)

    def to_pandas(self) -> pd.DataFrame:
        """Return every key of the scenario with its value."""
        keys = [key for key, _ in scalar_keys()]
        return _frame({"key": keys, "value": [str(_value(self.scenario, key)) for key in keys]})

    def plot(self) -> go.Figure:
        """Draw a map of ground tracks, stations and their coverage."""
        from report.charts.ground_map import map_figure

        return map_figure(self._constellation, stations_of(self.scenario), epoch_of(self.scenario))

    @cached_property
    def _constellation(self) -> Any:
        return constellation_of(self.scenario)

    @cached_property
    def _settled(self) -> SettledCut:
        from skysplit.cuts.model_cuts import settled

        return settled(self.scenario, self._contact_plan)

    @cached_property
    def _contact_plan(self) -> ContactPlan:
        return contact_plan_of(self.scenario, self._constellation)


@dataclass(frozen=True, eq=False, repr=False)
class Contacts(Shown):
    """A contact plan.

    >>> import skysplit
    >>> contacts = skysplit.scenario("walker-12", horizon_h=2).contacts()
    >>> contacts.to_pandas()["kind"].unique().tolist()
    ['intra_isl', 'downlink', 'uplink']

    Attributes:
        name: Name of the scenario.
        contact_plan: The plan itself, for the functions of ``orbit``.
    """

    name: str
    contact_plan: ContactPlan

    @property
    def title(self) -> str:
        """Name the scenario of the contacts."""
        return f"contacts of {self.name}"

    def facts(self) -> Mapping[str, str]:
        """Return the number and the volume of contacts by kind."""
        plan = self.contact_plan
        volume, kinds = plan.volume_bytes(), plan.contacts["kind"]
        return {
            LinkKind(
                kind
            ).name.lower(): f"{(kinds == kind).sum()} ({volume[kinds == kind].sum() / 1e9:.3g} GB)"
            for kind in np.unique(kinds)
        }

    def to_pandas(self) -> pd.DataFrame:
        """Return one row per contact, with the columns of ``skysplit contacts --format json``."""
        return pa.Table.from_pylist(to_rows(self.contact_plan)).to_pandas()

    def access(self) -> pd.DataFrame:
        """Return one row per station, per satellite and per pair of them, with passes per day, gaps and volume.

        The columns are those of ``skysplit contacts --summary``. An empty name stands for all.
        """
        plan = self.contact_plan
        accesses = (*access_of_stations(plan), *access_of_satellites(plan), *access_of_pairs(plan))
        return pa.Table.from_pylist([asdict(access) for access in accesses]).to_pandas()

    def plot_access(self) -> go.Figure:
        """Draw the gigabytes per day from each satellite to each station."""
        from report.pages.access_page import access_figure

        return access_figure(self.contact_plan)

    def plot(self) -> go.Figure:
        """Draw the times at which each satellite sees a station."""
        from report.charts.gantt import gantt_figure

        return gantt_figure(
            _satellites(self.contact_plan), to_rows(self.contact_plan), [], self.contact_plan.horizon_s
        )


@dataclass(frozen=True, eq=False, repr=False)
class RoundPlan(Shown):
    """A planned round.

    Attributes:
        name: Name of the scenario.
        plan: All activities and their totals.
        contact_plan: The contacts that the plan uses.
    """

    name: str
    plan: Plan
    _: KW_ONLY
    contact_plan: ContactPlan

    @property
    def title(self) -> str:
        """Name the scenario and the start of the round."""
        epoch = self.contact_plan.epoch.to_datetime(UTC)
        return f"a round of {self.name} from {utc_text(epoch, self.plan.start_s)}"

    def facts(self) -> Mapping[str, str]:
        """Return the length, the distance to the lower bound, gateways, sessions, stations and bytes."""
        plan, nodes = self.plan, self.contact_plan.nodes
        gateways = {gateway for through in plan.gateways().values() for gateway in through}
        sessions, links, sizes = plan.of_kind(Kind.SESSION), plan.activities["link"], plan.activities["bytes"]
        between = np.isin(links, (LinkKind.INTRA_ISL, LinkKind.INTER_ISL))
        return {
            "length": spoken_time(plan.makespan_s),
            "above the bound": f"{100 * plan.gap:.1f} %",
            "gateways": str(len(gateways)),
            "sessions": str(len(sessions)),
            "stations": ", ".join(nodes[peer].name for peer in np.unique(sessions["peer"])),
            "downlink": spoken_bytes(float(sizes[links == LinkKind.DOWNLINK].sum())),
            "uplink": spoken_bytes(float(sizes[links == LinkKind.UPLINK].sum())),
            **({"between satellites": spoken_bytes(float(sizes[between].sum()))} if between.any() else {}),
        }

    def to_pandas(self) -> pd.DataFrame:
        """Return one row per activity, with the columns of ``plan.jsonl``."""
        return pa.Table.from_pylist(list(self.plan.to_rows())).to_pandas()

    def plot(self) -> go.Figure:
        """Draw the contacts and activities of each satellite."""
        from report.charts.gantt import gantt_figure

        return gantt_figure(
            _satellites(self.contact_plan), to_rows(self.contact_plan), list(self.plan.to_rows()), self.plan.end_s,
            start_s=self.plan.start_s,
        )  # fmt: skip


@dataclass(frozen=True, eq=False, repr=False)
class Sweep(Shown):
    """A round planned for every combination of keys.

    Attributes:
        name: Name of the scenario or the file.
        keys: The keys that vary.
        rows: One row per round, with the columns of ``sweep.parquet``.
        directory: The output directory.
    """

    name: str
    keys: tuple[str, ...]
    _: KW_ONLY
    rows: list[dict[str, Any]]
    directory: Path

    @classmethod
    def of(
        cls,
        name_or_path: str,
        grid: Mapping[str, Sequence[Any]],
        cases: Sequence[Mapping[str, Any]],
        fixed: Mapping[str, Any],
        starts: int,
        starts_s: Sequence[float],
        missions: bool,
        draws: int,
        out: Path | None,
        processes: int,
        executor: Executor | None,
    ) -> Sweep:
        """Plan the sweep; see :func:`skysplit.sweep`."""
        from skysplit.sweeps.run import run_sweep
        from skysplit.sweeps.study import StudyError, is_study, read_study, study_of

        path = Path(name_or_path)
        if path.is_file() and is_study(path):
            if grid or cases or fixed or starts != 1 or starts_s or missions or draws:
                raise StudyError(
                    f"{path}: found with other arguments; allowed alone: the file sets all of these"
                )
            study = read_study(path)
        else:
            study = study_of(
                name_or_path,
                fixed=fixed,
                grid=grid,
                cases=cases,
                starts=starts,
                starts_s=starts_s,
                missions=missions,
                draws=draws,
            )
        directory = out or Path("sweeps") / path.stem
        rows = run_sweep(study, directory, processes=processes, executor=executor)
        return cls(path.stem, study.keys, rows=rows, directory=directory)

    @property
    def title(self) -> str:
        """Name the scenario or the file."""
        return f"a sweep of {self.name}"

    def facts(self) -> Mapping[str, str]:
        """Return the number of planned rounds, and the shortest round."""
        from skysplit.sweeps.summary import points_of

        points = points_of(self.rows, self.keys)
        planned = [point for point in points if point.planned]
        facts = {"combinations": str(len(points)), "rounds": str(len(self.rows))}
        if planned:
            best = min(planned, key=lambda point: point.makespan_s)
            values = ", ".join(f"{key} {value}" for key, value in best.values.items())
            facts["shortest"] = f"{spoken_time(best.makespan_s)} ({values})"
        return facts

    def to_pandas(self) -> pd.DataFrame:
        """Return one row per round, with the columns of ``sweep.parquet``."""
        return pa.Table.from_pylist(self.rows).to_pandas()

    def plot(self) -> go.Figure:
        """Draw the length of rounds over the bytes of space-ground links, with the Pareto front."""
        from skysplit.sweeps.page import pareto_figure
        from skysplit.sweeps.summary import pareto_front, points_of

        points = points_of(self.rows, self.keys)
        return pareto_figure(points, pareto_front(points))


@dataclass(frozen=True, eq=False, repr=False)
class Comparison(Shown):
    """A comparison of the strategies with their baselines and the lower bound.

    Attributes:
        name: Name of the scenario.
        model: The model whose sizes the plans use.
        figures: The result of ``strategies.analysis.compare.compare``.
    """

    name: str
    model: str
    _: KW_ONLY
    figures: Mapping[str, Any]

    @property
    def title(self) -> str:
        """Name the scenario and the model."""
        return f"strategies on {self.name} with {self.model}"

    def facts(self) -> Mapping[str, str]:
        """Return the median length of a round for every case."""
        return {
            f"{case['name']} ({case['title']})": spoken_time(case["median_s"])
            if case["median_s"]
            else "no round ends"
            for case in self.figures["cases"]
        }

    def to_pandas(self) -> pd.DataFrame:
        """Return one row per case: seconds, gap to the bound and ratio to every other case.

        Columns ``mission_…`` are those of the whole mission.
        """
        flat = [
            {key: value for key, value in case.items() if key not in ("ratio_to", "makespans_s", "mission")}
            | {
                f"mission_{key}": value
                for key, value in (case["mission"] or {}).items()
                if key != "round_ends_s"
            }
            | {f"ratio_to_{name}": ratio for name, ratio in case["ratio_to"].items()}
            for case in self.figures["cases"]
        ]
        columns = list(dict.fromkeys(key for row in flat for key in row))
        return _frame({column: [row.get(column) for row in flat] for column in columns})

    def plot(self) -> go.Figure:
        """Draw the median and the 95th percentile of the rounds of every case, with their lower bound."""
        from report.pages.comparison_page import rounds_figure

        return rounds_figure({self.model: self.figures})


@dataclass(frozen=True, eq=False, repr=False)
class Run(Shown):
    """A run, read from its directory.

    Attributes:
        directory: The run directory.
    """

    directory: Path

    def __post_init__(self) -> None:
        read_run(self.directory)

    @property
    def title(self) -> str:
        """Name the scenario of the run."""
        return f"run of {read_run(self.directory)['scenario']['name']}"

    def facts(self) -> Mapping[str, str]:
        """Return state, accuracy and mission time."""
        run = read_run(self.directory)
        result = run.get("result", {})
        facts = {"state": run["state"], "directory": str(self.directory)}
        if score_in(result) is not None:
            called = score_name(run)
            facts |= {
                f"test {called}": spoken_score(called, score_in(result)),
                "before fine-tuning": spoken_score(called, score_in(result, "initial_test")),
                "mission time": f"{result['mission_time_s']:.0f} s",
            }
        return facts

    def report(self) -> Path:
        """Write ``report.html`` again and return its path."""
        from report.run_report import write_report

        return write_report(self.directory)

    def to_pandas(self) -> pd.DataFrame:
        """Return one row per round and satellite, with the columns of ``rounds.parquet``."""
        from report.totals import read_rounds

        return read_rounds(self.directory).to_pandas()

    def plot(self) -> go.Figure:
        """Draw accuracy and loss over mission time."""
        from report.charts.figures import learning_figure
        from report.totals import by_round, read_activities, read_rounds, round_ends_s

        run, rounds = read_run(self.directory), by_round(read_rounds(self.directory))
        ends_s = round_ends_s(rounds, read_activities(self.directory))
        return learning_figure(
            rounds, ends_s, windows=np.empty((0, 2)), score=score_name(run), before=before_training(run)
        )


def _value(scenario: Scenario, dotted: str) -> Any:
    value: Any = scenario
    for name in dotted.split("."):
        value = getattr(value, name)
    return value


def _satellites(plan: ContactPlan) -> list[str]:
    return [plan.nodes[index].name for index in plan.satellites]


def _frame(columns: Mapping[str, list[Any]]) -> pd.DataFrame:
    return pa.table(dict(columns)).to_pandas()
