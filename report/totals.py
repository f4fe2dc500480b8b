"""``rounds.parquet`` read back: every column of today's schema, and what the rows of a round add up to."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from mission.record import ROUNDS
from strategies.problem.plan import SPLIT_COLUMNS

BYTES = ("downlink_bytes", "uplink_bytes", "isl_bytes", "split_up_bytes", "split_down_bytes")
_SAME_IN_A_ROUND = ("test_loss", "test_accuracy", "test_score")


def read_rounds(directory: Path) -> pa.Table:
    """The rows of a run so far; columns that an older version did not record are null.

    Args:
        directory: The run directory; without ``rounds.parquet`` there are no rows.
    """
    path = directory / "rounds.parquet"
    recorded = pq.read_table(path) if path.exists() else ROUNDS.empty_table()
    return pa.table(
        [
            recorded[field.name].cast(field.type)
            if field.name in recorded.column_names
            else pa.nulls(len(recorded), field.type)
            for field in ROUNDS
        ],
        schema=ROUNDS,
    )


def read_activities(directory: Path) -> list[dict[str, Any]]:
    """Read the activities of a run's plans, rows of ``plan.jsonl``; of a run that goes on the last may be torn."""
    path = directory / "plan.jsonl"
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.endswith("\n")]


def round_ends_s(rounds: pa.Table, activities: Iterable[Mapping[str, Any]]) -> list[float]:
    """Return when each round is over, mission time: when what is averaged is back and the next can begin.

    A round of an emulation that was measured to end later than planned is over then.

    Args:
        rounds: As :func:`by_round` adds them up; its ``end_s`` is the last step, before weights travel.
        activities: As :func:`read_activities` returns them; where a round has none, its ``end_s`` stands.
    """
    ends_s: dict[int, float] = dict(
        zip(rounds["round"].to_pylist(), rounds["end_s"].to_pylist(), strict=True)
    )
    for row in activities:
        if row["round"] in ends_s and (row["bytes"] or row["flops"]):
            ends_s[row["round"]] = max(ends_s[row["round"]], row["end_s"])
    measured_s = pc.coalesce(rounds["measured_end_s"], rounds["end_s"]).to_pylist()
    return [max(ends) for ends in zip(ends_s.values(), measured_s, strict=True)]


def by_round(rounds: pa.Table) -> pa.Table:
    """A row per round: ``satellites``, start, ends, scores, the sum of bytes, the mean of seconds per satellite.

    ``end_s`` and ``measured_end_s`` are those of the satellite that is done last. Sums and means over nothing but
    nulls are null.
    """
    wanted = {
        "satellites": ("satellite", "count"),
        "start_s": ("start_s", "min"),
        "end_s": ("end_s", "max"),
        "measured_start_s": ("measured_start_s", "min"),
        "measured_end_s": ("measured_end_s", "max"),
        **{column: (column, "max") for column in _SAME_IN_A_ROUND},
        **{column: (column, "mean") for column in ("train_loss", *SPLIT_COLUMNS)},
        **{column: (column, "sum") for column in BYTES},
    }
    grouped = rounds.group_by("round").aggregate(list(wanted.values())).sort_by("round")
    columns = {"round": grouped["round"]}
    columns |= {name: grouped[f"{column}_{how}"] for name, (column, how) in wanted.items()}
    # Runs of older versions do not tell when a round began: as planned.
    columns["measured_start_s"] = pc.coalesce(columns["measured_start_s"], columns["start_s"])
    columns["test_score"] = pc.coalesce(
        columns["test_score"], columns["test_accuracy"]
    )  # they only classified
    return pa.table(columns)
