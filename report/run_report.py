"""``report.html``: what a run did, as one page that opens offline.

Everything is read from the run directory, so that a page can be made again at any time, also of a run under way.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from mission.orbits import constellation_of, epoch_of, stations_of
from mission.record import read_run, write_text
from mission.scenario import ScenarioError, scenario_from_json
from mission.text.quantities import spoken_bytes, spoken_time
from mission.text.spoken_scores import ACCURACY, before_training, score_in, score_name, spoken_score
from orbit.contact_plan import ContactPlan
from orbit.files.contact_plan_files import load, to_rows
from report.again import again_markup
from report.charts.figures import bytes_figure, learning_figure, measured_figure, seconds_figure, waits_figure
from report.charts.gantt import gantt_figure, thinned, windows_in_use
from report.charts.globe import globe_figure
from report.charts.ground_map import SPAN_S, map_figure
from report.charts.link_use import link_uses, links_figure, links_table, read_transfer_records
from report.charts.predicted_tiles import FILE, tiles_markup
from report.charts.score_figures import confusion_figure, score_bars
from report.page import Section, View, page, sections_view, table
from report.pages.comparison_page import cases_table, missions_figure, missions_table, rounds_figure
from report.story import run_total, story
from report.totals import BYTES, by_round, read_activities, read_rounds, round_ends_s
from strategies.analysis.cases import ANSWERS, ONBOARD_HEAD
from strategies.analysis.summary import summary_lines

_MOST_WINDOWS = 2_000
_MOST_VIEWS = 24  # a longer list is not read
_TOTALS = {  # of all rounds and, where it was flown, what came before
    "downlink_bytes": "planned down",
    "uplink_bytes": "planned up",
    "split_up_bytes": "sent over the split",
    "split_down_bytes": "and back",
}
_TABLE = {  # column of `by_round`: heading, factor, format
    "round": ("round", 1, "d"),
    "end_s": ("planned end, s", 1, ".1f"),
    "measured_end_s": ("measured end, s", 1, ".1f"),
    "test_score": ("test score", 1, ".3f"),
    "test_accuracy": ("test accuracy, %", 100, ".1f"),
    "test_loss": ("test loss", 1, ".3f"),
    "compute_s": ("computing, s", 1, ".2f"),
    "isl_s": ("ISL, s", 1, ".2f"),
    "sgl_s": ("SGL, s", 1, ".2f"),
    "waiting_s": ("waiting, s", 1, ".2f"),
    "idle_s": ("idle, s", 1, ".2f"),
    "isl_bytes": ("ISL, MB", 1e-6, ".2f"),
    "downlink_bytes": ("down, MB", 1e-6, ".2f"),
    "uplink_bytes": ("up, MB", 1e-6, ".2f"),
    "split_up_bytes": ("sent over the split, MB", 1e-6, ".2f"),
    "split_down_bytes": ("… and back, MB", 1e-6, ".2f"),
}


def write_report(directory: Path) -> Path:
    """Write the page of a run and return its path.

    Raises:
        FileNotFoundError: The directory holds no run.
    """
    write_text(directory / "report.html", page(report_view(directory)))
    return directory / "report.html"


def report_view(directory: Path) -> View:
    """Return the present content of a run's page.

    Raises:
        FileNotFoundError: The directory holds no run.
    """
    run = read_run(directory)
    rounds = by_round(read_rounds(directory))
    compared = _comparison(directory)
    return sections_view(
        title=f"SkySplit: {run['scenario']['name']}",
        description=run["scenario"]["description"],
        facts=_facts(run, rounds),
        sections=list(_sections(directory, run, rounds, compared)),
        ending=again_markup(run),
        story=story(run, rounds, compared[1] if compared else None),
    )


def run_story(directory: Path) -> tuple[str, ...]:
    """Return the sentences that sum up a run (:func:`report.story.story`).

    Raises:
        FileNotFoundError: The directory holds no run.
    """
    compared = _comparison(directory)
    return story(read_run(directory), by_round(read_rounds(directory)), compared[1] if compared else None)


def _sections(
    directory: Path,
    run: Mapping[str, Any],
    rounds: pa.Table,
    compared: tuple[str, dict[str, Any]] | None,
) -> Iterator[Section]:
    activities = read_activities(directory)
    path = directory / "contacts.parquet"
    contacts = _contacts(path, path.stat().st_mtime_ns) if path.exists() else None
    transfer_records = read_transfer_records(directory)
    end_s = pc.max(rounds["end_s"]).as_py() or 0.0
    if len(rounds):
        yield from _learning_sections(directory, run, rounds, activities, compared)
        done_s = _done_s(directory)
        end_s = max([end_s, *(time_s for _, time_s in done_s)])
        is_measured = bool(done_s or transfer_records)
        yield Section(
            "gantt", "What each satellite did",
            says=f"As planned{', with what was measured laid over it' if is_measured else ''}. Drag to zoom, "
            "double-click to see all; by keyboard: Tab to a chart, then arrows, + and -, 0.",
            content=gantt_figure(
                run.get("satellites", []), to_rows(contacts) if contacts else [], activities, end_s,
                setup_s=run["scenario"]["ground"]["setup_s"], transfer_records=transfer_records, done_s=done_s,
            ),
            views=windows_in_use(activities, end_s, _MOST_VIEWS),
        )  # fmt: skip
    revolutions = max(1, math.ceil(end_s / SPAN_S))
    yield from _orbit_sections(json.dumps(run["scenario"]), contacts, revolutions * SPAN_S)
    if len(rounds):
        yield from _round_sections(directory, rounds, activities, transfer_records)
    if compared:
        model, comparison = compared
        yield Section(
            "ablation", "How long a round takes",
            says="A round of each case: median of starts, up to the 95th percentile; marked: the lower bound. "
            "Logarithmic.",
            content=rounds_figure({model: comparison}),
        )  # fmt: skip
        yield Section(
            "cases",
            f"Every case with {model}",
            says="",
            content=missions_table(comparison) + cases_table(comparison),
        )


def _learning_sections(
    directory: Path,
    run: Mapping[str, Any],
    rounds: pa.Table,
    activities: Sequence[Mapping[str, Any]],
    compared: tuple[str, dict[str, Any]] | None,
) -> Iterator[Section]:
    """What was learnt, what the score is made of, and what the mission would have taken otherwise."""
    ends_s = round_ends_s(rounds, activities)
    end_s = max(ends_s, default=0.0)
    used = [(row["start_s"], row["end_s"]) for row in activities if row["link"] == "downlink"]
    windows = thinned({"": used}, end_s, _MOST_WINDOWS)[""]
    name = score_name(run)
    yield Section(
        "curve", f"{_capital(name)} over mission time",
        says="Scored on the test images when a round is over: when what was averaged is back, and the next can begin.",
        content=learning_figure(
            rounds, ends_s, windows=windows, score=name, before=before_training(run), beside=_beside(compared)
        ),
    )  # fmt: skip
    yield from _score_sections(directory, run)
    if compared:
        answer, *rest = summary_lines(compared[1]) or ["No answer."]
        yield Section(
            "missions", "The same mission done otherwise",
            says=f"{answer} {' '.join(rest)} Planned from the same start, for as many rounds.",
            content=missions_figure(compared[1]),
        )  # fmt: skip


def _round_sections(
    directory: Path,
    rounds: pa.Table,
    activities: Sequence[Mapping[str, Any]],
    transfer_records: Sequence[Mapping[str, Any]],
) -> Iterator[Section]:
    """Bytes and seconds of every round, planned and measured."""
    if any(rounds[column].null_count < len(rounds) for column in BYTES):
        yield Section(
            "bytes", "Bytes over the links",
            says="A tensor counts once on every link it crosses; the split counts it once.",
            content=bytes_figure(rounds),
        )  # fmt: skip
    yield Section(
        "seconds", "Where the time goes",
        says="Of a satellite, as planned: computing hides transfers, space-ground links hide inter-satellite links.",
        content=seconds_figure(rounds),
    )  # fmt: skip
    yield Section(
        "waits", "What the rounds waited for",
        says="A bar per satellite, all rounds together, as planned: a round is over when its last satellite is done; "
        "the others idle until then.",
        content=waits_figure(read_rounds(directory)),
    )  # fmt: skip
    if _is_measured(rounds):
        yield Section(
            "measured", "Planned against measured", says="Length of a round, until the last satellite is done.",
            content=measured_figure(rounds),
        )  # fmt: skip
    start_s = dict(zip(rounds["round"].to_pylist(), rounds["start_s"].to_pylist(), strict=True))
    if uses := link_uses(activities, transfer_records, start_s):
        yield Section(
            "links", "Planned against measured, by link",
            says="A mark per link and round: its seconds from the first byte to the last, and its bytes. "
            "Above the dotted line: more than planned.",
            content=links_figure(uses),
        )  # fmt: skip
        yield Section(
            "uses", "What crossed the links",
            says="Seconds are from the first byte on a link in a round to the last, added up. "
            "Latest: the last byte of a round against its plan, where that is worst. "
            "–: nothing of it passed through the relays.",
            content=links_table(uses),
        )  # fmt: skip
    yield Section("table", "Every round in figures", says="", content=_table(rounds))


def _comparison(directory: Path) -> tuple[str, dict[str, Any]] | None:
    """The model's name and what was found in comparison, where the run has been compared."""
    path = directory / "comparison.json"
    if not path.exists():
        return None
    [(model, comparison)] = json.loads(path.read_text(encoding="utf-8")).items()
    # An older version compared with on-board LoRA, whatever the split trains.
    names = {case["name"] for case in comparison["cases"]} - {ONBOARD_HEAD}
    return model, {"headline": [name for name in ANSWERS if name in names], **comparison}


def _beside(compared: tuple[str, dict[str, Any]] | None) -> dict[str, list[float]]:
    """When the rounds end where satellites train on board what the split trains: that it is to be measured against."""
    if compared is None:
        return {}
    _, comparison = compared
    return {
        case["title"]: case["mission"]["round_ends_s"]
        for case in comparison["cases"]
        if case["name"].startswith("onboard") and case["name"] in comparison["headline"] and case["mission"]
    }


def _score_sections(directory: Path, run: Mapping[str, Any]) -> Iterator[Section]:
    """What the newest score is made of."""
    scores = run.get("result", {}).get("scores") or run.get("progress", {}).get("scores")
    if not scores:
        return
    task, called = run.get("task", {}), score_name(run)
    names = task.get("outputs", list(scores["by_class"]))
    is_dense = task.get("kind") in ("segmentation", "pixel-regression")
    if (directory / FILE).exists():
        yield Section(
            "tiles", "Predicted tiles",
            says="A few test images as the final model sees them; nothing of them was trained on.",
            content=tiles_markup(directory / FILE, names),
        )  # fmt: skip
    if scores["by_class"]:
        by = "recall" if called == ACCURACY else called.removeprefix("mean ")
        yield Section(
            "classes",
            f"{_capital(by)} by class",
            says="Newest model.",
            content=score_bars(scores["by_class"], by),
        )
    if scores["by_group"]:
        yield Section(
            "sensors", f"{_capital(called)} by sensor", says="Newest model, on the test images of each sensor.",
            content=score_bars(scores["by_group"], called),
        )  # fmt: skip
    if scores["confusion"]:
        what = "pixels" if is_dense else "images"
        yield Section(
            "confusion", "Which class is taken for which",
            says=f"Share of the test {what} of each true class, in per cent.",
            content=confusion_figure(scores["confusion"], names, what),
        )  # fmt: skip


def _capital(words: str) -> str:
    return words[:1].upper() + words[1:]


@lru_cache(maxsize=1)  # a live page asks again after every round
def _orbit_sections(scenario: str, contacts: ContactPlan | None, span_s: float) -> tuple[Section, ...]:
    """Map and globe; none where the scenario is another version's or its element file is elsewhere."""
    try:
        read = scenario_from_json(scenario)
        mission = constellation_of(read), stations_of(read), epoch_of(read)
    except ScenarioError:
        return ()
    ground_map = Section(
        "map", "Ground tracks and stations",
        says="The first 95 minutes. Dots: satellites at the time of the slider. Dotted: what a station sees above its "
        "mask.",
        content=map_figure(*mission), wide=True,
    )  # fmt: skip
    if contacts is None:
        return (ground_map,)
    globe = Section(
        "globe", "Links in space",
        says="Open links at a time that the slider chooses. Drag to turn the globe; by keyboard: arrows, + and -, 0.",
        content=globe_figure(*mission, contacts, span_s), wide=True,
    )  # fmt: skip
    return ground_map, globe


@lru_cache(maxsize=1)
def _contacts(path: Path, written_ns: int) -> ContactPlan:
    """The contact plan as it was written then."""
    return load(path)


def _table(rounds: pa.Table) -> str:
    shown = {key: title for key, title in _TABLE.items() if rounds[key].null_count < len(rounds)}
    rows = [
        [
            "" if row[key] is None else format(row[key] if form == "d" else row[key] * factor, form)
            for key, (_, factor, form) in shown.items()
        ]
        for row in rounds.select(list(shown)).to_pylist()
    ]
    head = [heading for heading, _, _ in shown.values()]
    return (
        f"<details><summary>Show the table</summary>{table(head, rows, 'Figures of every round')}</details>"
    )


def _is_measured(rounds: pa.Table) -> bool:
    return bool(pc.any(pc.is_valid(rounds["measured_end_s"])).as_py())


def _done_s(directory: Path) -> list[tuple[str, float]]:
    """When each satellite was done in each round, as measured."""
    rows = read_rounds(directory)
    rows = rows.filter(pc.is_valid(rows["measured_end_s"]))
    return list(zip(rows["satellite"].to_pylist(), rows["measured_end_s"].to_pylist(), strict=True))


def _facts(run: Mapping[str, Any], rounds: pa.Table) -> dict[str, str]:
    result = run.get("result", {})
    state = run["state"] if run["state"] != "running" else f"running: {run.get('phase', 'starting')}"
    facts = {"state": state, "mode": run["scenario"]["training"]["mode"]}
    if "error" in result:
        facts["error"] = result["error"]
    called = score_name(run)
    if score_in(result) is not None:
        facts |= {
            f"test {called}": spoken_score(called, score_in(result)),
            "before fine-tuning": spoken_score(called, score_in(result, "initial_test")),
            "worst satellite": spoken_score(called, score_in(result, "worst_satellite")),
            "rounds": str(result["rounds"]),
            "mission time": spoken_time(result["mission_time_s"]),
            "wall time": spoken_time(result["wall_time_s"]),
        }
    elif progress := run.get("progress"):
        facts |= {
            f"test {called}": spoken_score(called, score_in(progress)),
            "rounds": f"{progress['round']} of {run['scenario']['training']['rounds']}",
            "mission time": spoken_time(progress["mission_time_s"]),
        }
    enrolment = run.get("enrolment", {})
    if enrolment:
        where = "" if enrolment["flown"] else ", planned; done before the launch"
        facts["enrolment"] = (
            f"{spoken_time(enrolment['end_s'] - enrolment['start_s'])} before round 1, "
            f"{spoken_bytes(enrolment['downlink_bytes'])} down{where}"
        )
    if labels := run.get("labels"):
        where = "" if labels["flown"] else ", planned; there before the launch"
        facts["labels"] = (
            f"{spoken_time(labels['end_s'] - labels['start_s'])} before round 1, "
            f"{spoken_bytes(labels['uplink_bytes'])} up{where}"
        )
    for column, name in _TOTALS.items():
        total = run_total(run, rounds, column)
        if total is not None:
            facts[name] = spoken_bytes(total)
    facts |= {"satellites": str(len(run.get("satellites", []))), "seed": str(run["scenario"]["seed"])}
    if run["scenario"]["data"]["source"].startswith("synthetic"):
        facts["imagery"] = "synthetic scenes"
    return facts
