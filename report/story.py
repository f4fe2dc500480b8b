"""A run in three sentences, written from its figures: what was reached, what it cost, what others would have cost."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from mission.text.quantities import spoken_bytes, spoken_time
from mission.text.spoken_scores import score_in, score_name, spoken_score
from strategies.analysis.cases import SPLIT

_LINKS = {"downlink_bytes": "down", "uplink_bytes": "up", "isl_bytes": "between satellites"}


def story(
    run: Mapping[str, Any], rounds: pa.Table, comparison: Mapping[str, Any] | None = None
) -> tuple[str, ...]:
    """Return the sentences of a completed run; none for another.

    Args:
        run: ``run.json``.
        rounds: Its rounds (:func:`report.totals.by_round`).
        comparison: What :func:`strategies.analysis.compare.compare` says of its mission, where it was asked.
    """
    result = run.get("result", {})
    if score_in(result) is None:
        return ()
    sentences = (_reached(run), _cost(run, rounds))
    return sentences if comparison is None else (*sentences, _otherwise(comparison))


def link_totals(run: Mapping[str, Any], rounds: pa.Table) -> dict[str, int]:
    """Return planned bytes of a run by column: those of its rounds and, where it was flown, of what came before."""
    return {column: run_total(run, rounds, column) or 0 for column in _LINKS}


def run_total(run: Mapping[str, Any], rounds: pa.Table, column: str) -> int | None:
    """Return what all rounds and, where it was flown, what came before have in a column; None without rounds.

    An emulation enrols before the launch, over no link of the mission, and has its labels by then.
    """
    of_rounds = pc.sum(rounds[column]).as_py()
    if of_rounds is None:
        return None
    before = (run.get("enrolment", {}), run.get("labels", {}))
    return of_rounds + sum(part.get(column, 0) * part.get("flown", True) for part in before)


def _reached(run: Mapping[str, Any]) -> str:
    result, called = run["result"], score_name(run)
    worst = ""
    if result.get("worst_satellite") and score_in(result, "worst_satellite") is not None:
        value = spoken_score(called, score_in(result, "worst_satellite"))
        worst = f"; {value} on images such as {result['worst_satellite']} sees, which is served worst"
    number = result["rounds"]
    return (
        f"Reached: {called} {spoken_score(called, score_in(result))} after {number} round{'s' * (number != 1)}, "
        f"{spoken_score(called, score_in(result, 'initial_test'))} before fine-tuning{worst}."
    )


def _cost(run: Mapping[str, Any], rounds: pa.Table) -> str:
    crossed = ", ".join(
        f"{spoken_bytes(size)} {_LINKS[column]}" for column, size in link_totals(run, rounds).items() if size
    )
    result = run["result"]
    return (
        f"Cost: {spoken_time(result['mission_time_s'])} of mission time"
        f"{f', {crossed}' if crossed else ''}; {spoken_time(result['wall_time_s'])} on this machine."
    )


def _otherwise(comparison: Mapping[str, Any]) -> str:
    """Say how long the same mission takes in the other ways between which the answer lies, and what it brings down."""
    others = []
    for case in comparison["cases"]:
        totals = case["mission"]
        if case["name"] == SPLIT or case["name"] not in comparison["headline"]:
            continue
        took = (
            "does not end within the contact plan"
            if totals is None
            else f"{spoken_time(totals['length_s'])}, {spoken_bytes(totals['down_bytes'])} down"
        )
        others.append(f"{case['title']}: {took}")
    return f"The same mission otherwise, as planned: {'; '.join(others)}."
