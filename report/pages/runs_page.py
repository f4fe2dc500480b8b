"""Several runs on one page: their curves over mission time, what each reached and cost, and in what they differ."""

from __future__ import annotations

import html
import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
import pyarrow as pa

from mission.record import read_run
from mission.text.dotted_keys import dotted_keys
from mission.text.quantities import spoken_bytes, spoken_time
from mission.text.spoken_scores import ACCURACY, before_training, score_in, score_name, spoken_score
from report.charts.figures import loss_range
from report.charts.gantt import time_unit
from report.page import Section, page, sections_view, table
from report.story import run_total, story
from report.totals import by_round, read_activities, read_rounds, round_ends_s

# Paul Tol's bright palette, as in the report.
_COLOURS = ("#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377")
_DASHES = ("solid", "dash", "dot")  # with the colours, eighteen runs are items apart
_COLUMNS = {
    "downlink_bytes": "down",
    "uplink_bytes": "up",
    "isl_bytes": "between satellites",
}


@dataclass(frozen=True, eq=False)
class _Run:
    """A run as the page shows it: its name there, ``run.json``, its rounds, and when they end."""

    name: str
    facts: Mapping[str, Any]
    _: KW_ONLY
    rounds: pa.Table
    ends_s: list[float]


def runs_page(directories: Sequence[Path]) -> str:
    """Return the page of several runs.

    Raises:
        FileNotFoundError: A directory holds no run.
        ValueError: Two are the same, or their scores are not of one kind.
    """
    resolved = [directory.resolve() for directory in directories]
    if len(set(resolved)) < len(resolved):
        raise ValueError(f"found {', '.join(map(str, directories))}, allowed: directories that differ")
    runs = [_read(directory, name) for directory, name in zip(directories, _names(resolved), strict=True)]
    scores = {score_name(run.facts) for run in runs}
    if len(scores) > 1:
        raise ValueError(
            f"found runs whose scores are {', '.join(sorted(scores))}, allowed: one kind of score"
        )
    [score] = scores
    sections = [
        Section(
            "curve", f"{score[:1].upper()}{score[1:]} over mission time",
            says="Scored on the test images when a round is over.", content=_figure(runs, "test_score", score),
        ),
        Section("loss", "Test loss over mission time", says="", content=_figure(runs, "test_loss", "")),
        Section("runs", "What each reached, and what it cost", says="Bytes are planned.", content=_table(runs, score)),
        Section("keys", "In what they differ", says="", content=_differences(runs)),
    ]  # fmt: skip
    items = "".join(
        f"<h2>{html.escape(run.name)}</h2><p>{html.escape(' '.join(story(run.facts, run.rounds)))}</p>"
        for run in runs
        if score_in(run.facts.get("result", {})) is not None
    )
    title = f"SkySplit: {len(runs)} runs"
    return page(sections_view(title, ", ".join(run.name for run in runs), {}, sections, items))


def _read(directory: Path, name: str) -> _Run:
    facts, rounds = read_run(directory), by_round(read_rounds(directory))
    return _Run(name, facts, rounds=rounds, ends_s=round_ends_s(rounds, read_activities(directory)))


def _names(directories: Sequence[Path]) -> list[str]:
    """The last parts of paths, as many as tell them apart."""
    for count in itertools.count(1):
        names = ["/".join(directory.parts[-count:]) for directory in directories]
        if len(set(names)) == len(names):
            return names
    raise AssertionError


def _figure(runs: Sequence[_Run], column: str, score: str) -> go.Figure:
    """A line per run over mission time; with a score, from before fine-tuning on."""
    unit, unit_s = time_unit(max((end_s for run in runs for end_s in run.ends_s), default=0.0))
    factor, suffix = (100.0, ", %") if score == ACCURACY else (1.0, "")
    figure = go.Figure()
    styles = itertools.cycle(itertools.product(_DASHES, _COLOURS))
    for run, (dash, colour) in zip(runs, styles, strict=False):
        initial = before_training(run.facts)[0 if score else 1]
        before = [] if initial is None else [factor * initial]
        values = [None if value is None else factor * value for value in run.rounds[column].to_pylist()]
        labels = ["before fine-tuning"] * len(before) + [
            f"round {n}" for n in run.rounds["round"].to_pylist()
        ]
        figure.add_scatter(
            x=[0.0] * len(before) + [end_s / unit_s for end_s in run.ends_s], y=before + values, text=labels,
            name=run.name, mode="lines+markers", line={"color": colour, "dash": dash},
            hovertemplate=f"{html.escape(run.name)}, %{{text}}: %{{y:.4~g}} at %{{x:.4~g}} {unit}<extra></extra>",
        )  # fmt: skip
    figure.update_layout(
        xaxis={"title": f"mission time, {unit}", "rangemode": "tozero"},
        yaxis={"title": f"test {score}{suffix}"}
        if score
        else {"title": "test loss", **loss_range([y for trace in figure.data for y in trace.y])},
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom"},
        showlegend=True,
    )
    return figure


def _table(runs: Sequence[_Run], score: str) -> str:
    head = [
        "run",
        "state",
        score,
        "before",
        "worst satellite",
        "rounds",
        "mission time",
        *_COLUMNS.values(),
        "wall time",
    ]
    rows = []
    for run in runs:
        result = run.facts.get("result", {})
        took_s = result.get("mission_time_s", max(run.ends_s, default=0.0))
        totals = (run_total(run.facts, run.rounds, column) for column in _COLUMNS)
        rows.append(
            [
                run.name, run.facts["state"], spoken_score(score, score_in(result)),
                spoken_score(score, score_in(result, "initial_test")),
                spoken_score(score, score_in(result, "worst_satellite")), str(len(run.rounds)), spoken_time(took_s),
                *("–" if total is None else spoken_bytes(total) for total in totals),
                spoken_time(result["wall_time_s"]) if "wall_time_s" in result else "–",
            ]
        )  # fmt: skip
    return table(head, rows, "Figures of every run")


def _differences(runs: Sequence[_Run]) -> str:
    """A table of the keys of the scenarios that are not the same in all runs."""
    flat = [dict(dotted_keys(run.facts["scenario"])) for run in runs]
    keys = [key for key in dict.fromkeys(itertools.chain(*flat)) if key not in ("name", "description")]
    rows = [
        [key, *(json.dumps(each.get(key), ensure_ascii=False) for each in flat)]
        for key in keys
        if len({json.dumps(each.get(key)) for each in flat}) > 1
    ]
    if not rows:
        return "<p>Their scenarios are the same.</p>"
    return table(["key", *(run.name for run in runs)], rows, "Keys in which the scenarios differ")
