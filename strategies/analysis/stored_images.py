"""Images that come and go while a round lasts: of each satellite, in all, and in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mission.text.quantities import spoken_bytes, spoken_time
from strategies.problem.plan import Plan
from strategies.problem.planning_problem import PlanningProblem
from strategies.problem.storage import Storage, course_in


def storage_figures(plan: Plan, problem: PlanningProblem) -> list[dict[str, Any]]:
    """Return what the storage of each satellite sees of a round, as JSON values; empty without storage.

    ``on_board`` when the round begins, ``trained`` of them, ``oldest_age_s`` (of those, at the start; null where none
    is trained), ``arrived`` and ``dropped`` until its end, ``dropped_before`` it, ``peak_images`` and ``peak_bytes``.
    """
    storage = problem.storage
    if storage is None:
        return []
    figures = []
    for satellite, trained in enumerate(problem.workload.samples):
        course = course_in(plan, problem.workload, storage, satellite)
        age_s = plan.start_s - storage.oldest_s(satellite, plan.start_s, trained) if trained else None
        figures.append(
            {
                "satellite": plan.names[satellite],
                "on_board": storage.on_board(satellite, plan.start_s),
                "trained": trained,
                "oldest_age_s": age_s,
                "arrived": course.arrived,
                "dropped": course.dropped,
                "dropped_before": storage.dropped(satellite, plan.start_s),
                "peak_images": course.peak,
                "peak_bytes": course.peak * storage.image_bytes,
            }
        )
    return figures


def storage_totals(figures: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the figures of all satellites together: the images added up, and the fullest storage."""
    if not figures:
        return {}
    sums = {
        f"images_{name}": sum(row[name] for row in figures)
        for name in ("on_board", "trained", "arrived", "dropped", "dropped_before")
    }
    return {**sums, "storage_peak_bytes": max(row["peak_bytes"] for row in figures)}


def storage_facts(totals: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The totals as pairs of text."""
    dropped = f"{totals['images_dropped']:,}, and {totals['images_dropped_before']:,} before it"
    return [
        ("images on board", f"{totals['images_on_board']:,}, {totals['images_trained']:,} are trained on"),
        ("images that arrive", f"{totals['images_arrived']:,}"),
        ("images dropped", dropped),
        ("fullest storage", spoken_bytes(totals["storage_peak_bytes"])),
    ]


def storage_rows(figures: Sequence[Mapping[str, Any]]) -> list[tuple[str, ...]]:
    """A row per satellite: its name, images on board, trained, age of the oldest of these, arrived, dropped, peak."""
    return [
        (
            row["satellite"],
            f"{row['on_board']:,}",
            f"{row['trained']:,}",
            "–" if row["oldest_age_s"] is None else spoken_time(row["oldest_age_s"]),
            f"{row['arrived']:,}",
            f"{row['dropped'] + row['dropped_before']:,}",
            spoken_bytes(row["peak_bytes"]),
        )
        for row in figures
    ]


def camera_figures(names: Sequence[str], storage: Storage, horizon_s: float) -> list[dict[str, Any]]:
    """Return what each satellite takes over a horizon when nothing leaves it, as JSON values.

    ``images_per_day``, ``gb_per_day`` (as they are kept on board), ``full_s`` (mission time; null where the storage
    never is) and ``dropped`` by the end of the horizon.
    """
    figures = []
    for satellite, name in enumerate(names):
        taken, full_s = storage.taken.by(satellite, horizon_s), storage.full_s(satellite)
        per_day = taken / horizon_s * 86_400.0
        figures.append(
            {
                "satellite": name,
                "images_per_day": per_day,
                "gb_per_day": per_day * storage.image_bytes / 1e9,
                "full_s": full_s if full_s <= horizon_s else None,
                "dropped": storage.dropped(satellite, horizon_s),
            }
        )
    return figures
