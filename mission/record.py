"""What a run leaves behind: one directory, readable at every moment.

``run.json``
    Scenario as resolved, seeds, versions, state and – at the end – ``result`` (or ``error``).
``rounds.parquet``
    A row per round and satellite (:data:`ROUNDS`); rewritten after every round.
``plan.jsonl``
    A line per planned activity, appended when a round is planned.
``transfer_records.parquet``
    In an emulation, a row per transfer and link that it has passed over (:data:`TRANSFER_RECORDS`).
``contacts.parquet``
    The contact plan over the horizon, as the report draws it.
``checkpoints/``, ``final/``
    Trained adapters and head.

Every file but ``plan.jsonl`` is written to a temporary name and renamed.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import time
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import Any, Self

import pyarrow as pa
import pyarrow.parquet as pq

from mission.run_lock import RECORD, RunLock, left_by_the_dead
from mission.scenario import scenario_from_json, scenario_to_dict
from mission.schema import Scenario

ROUNDS = pa.schema(
    [
        ("round", pa.int32()),
        ("satellite", pa.string()),
        ("plane", pa.int32()),
        ("gateway", pa.string()),
        (
            "rounds_late",
            pa.int32(),
        ),  # how old what it delivers in this round is; null where it delivers nothing
        ("samples", pa.int64()),
        ("steps", pa.int64()),
        ("start_s", pa.float64()),
        ("end_s", pa.float64()),
        ("measured_start_s", pa.float64()),  # in an emulation, whose rounds may begin late; else null
        ("measured_end_s", pa.float64()),  # in an emulation; else null
        ("compute_s", pa.float64()),
        ("isl_s", pa.float64()),
        ("sgl_s", pa.float64()),
        ("waiting_s", pa.float64()),
        ("idle_s", pa.float64()),
        ("isl_bytes", pa.int64()),
        ("downlink_bytes", pa.int64()),
        ("uplink_bytes", pa.int64()),
        ("split_up_bytes", pa.int64()),  # over the split as sent, not as planned
        ("split_down_bytes", pa.int64()),
        ("train_loss", pa.float64()),
        ("train_accuracy", pa.float64()),
        ("test_loss", pa.float64()),
        ("test_accuracy", pa.float64()),
        ("own_test_accuracy", pa.float64()),  # on test images weighted as the satellite sees their classes
        ("test_score", pa.float64()),  # of the task: accuracy, mean average precision, R², mean IoU
        (
            "own_test_score",
            pa.float64(),
        ),  # on test images weighted as the satellite sees their classes, or sensors
    ]
)

TRANSFER_RECORDS = pa.schema(
    [
        ("round", pa.int32()),
        ("link", pa.string()),  # "downlink", "uplink", "intra_isl" or "inter_isl"
        ("node", pa.string()),  # where it was measured: the ground, or the satellite that received it
        ("peer", pa.string()),  # the satellite at the other end
        ("satellite", pa.string()),  # whose tensor it is
        ("kind", pa.string()),  # of relay.wire.manifest.MessageKind, in lower case
        ("step", pa.int32()),
        ("micro_batch", pa.int32()),
        ("bytes", pa.int64()),
        ("start_s", pa.float64()),
        ("end_s", pa.float64()),
    ]
)

_PACKAGES = (
    "skysplit",
    "flwr",
    "torch",
    "transformers",
    "peft",
    "astropy",
    "sgp4",
    "numpy",
    "grpcio",
    "ray",
)


def transfer_records_path(directory: Path) -> Path:
    """Return the file of what relays measured; runs of versions before 0.2 call it ``passages.parquet``."""
    old = directory / "passages.parquet"
    return old if old.exists() else directory / "transfer_records.parquet"


class RunRecord:
    """The run directory of one run.

    Args:
        directory: Where to write; made if needed.
        scenario: The resolved scenario.
        command: The command that repeats the run.

    Raises:
        FileExistsError: The directory holds a run already.
        mission.run_lock.RunBusyError: Another process has begun one there.
    """

    def __init__(self, directory: Path, scenario: Scenario, *, command: str) -> None:
        require_no_run(directory)
        self._lock = RunLock(directory, RECORD)
        self._lock.take()
        self.directory = directory
        self._rounds: list[dict[str, Any]] = []
        self._started = time.monotonic()
        (directory / "checkpoints").mkdir(parents=True, exist_ok=True)
        self._run: dict[str, Any] = {
            "format": 1,
            "state": "running",
            "started": datetime.now(UTC).isoformat(timespec="seconds"),
            "command": command,
            "scenario": scenario_to_dict(scenario),
            "seeds": {"run": scenario.seed},
            "versions": {name: _version(name) for name in _PACKAGES},
        }
        self._write_run()

    @classmethod
    def reopen(cls, directory: Path) -> Self:
        """The record of a run that ended or was ended before its time, to go on with.

        Raises:
            FileNotFoundError: The directory holds no run.
            FileExistsError: The run is complete.
            mission.run_lock.RunBusyError: It goes on, in another process.
        """
        run = unfinished_run(directory)
        record = cls.__new__(cls)
        record._lock = RunLock(directory, RECORD)
        record._lock.take()
        record.directory = directory
        record._rounds = []
        if (directory / "rounds.parquet").exists():
            record._rounds = pq.read_table(directory / "rounds.parquet").to_pylist()
        record._started = time.monotonic() - run.get("progress", {}).get("wall_time_s", 0.0)
        record._run = run | {"state": "running", "resumed": run.get("resumed", 0) + 1}
        record._run.pop("result", None)
        record._write_run()
        return record

    @cached_property
    def scenario(self) -> Scenario:
        """See :func:`scenario_of`."""
        return scenario_of(self._run)

    @property
    def features(self) -> Path:
        """The file in which the ground keeps features that have crossed, while the run lasts."""
        return self.directory / "features.safetensors"

    def forget_after(self, number: int) -> None:
        """Drop what was recorded of rounds after ``number``."""
        self._rounds = [row for row in self._rounds if row["round"] <= number]
        write_table(self.directory / "rounds.parquet", pa.Table.from_pylist(self._rounds, schema=ROUNDS))
        transfer_records = transfer_records_path(self.directory)
        if transfer_records.exists():
            write_table(transfer_records, pq.read_table(transfer_records, filters=[("round", "<=", number)]))
        plan = self.directory / "plan.jsonl"
        kept = (
            line for line in plan.read_text(encoding="utf-8").splitlines(keepends=True) if line.endswith("\n")
        )
        write_text(plan, "".join(line for line in kept if json.loads(line)["round"] <= number))
        for checkpoint in (self.directory / "checkpoints").iterdir():
            if checkpoint.name.startswith(".") or checkpoint.name > checkpoint_name(number):
                shutil.rmtree(checkpoint)

    @property
    def band_statistics(self) -> dict[str, list[float]] | None:
        """Mean and deviation of the bands, as the satellites have computed them, if they have."""
        return self._run.get("band_statistics")

    def note(self, **facts: Any) -> None:
        """Add facts to ``run.json`` (the constellation, the model, the samples per satellite …)."""
        self._run.update(facts)
        self._write_run()

    def add_activities(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Append planned activities, a JSON object a line."""
        with (self.directory / "plan.jsonl").open("a", encoding="utf-8") as file:
            file.writelines(json.dumps(row, separators=(",", ":")) + "\n" for row in rows)

    def add_transfer_records(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Add what was measured on the links in a round (:data:`TRANSFER_RECORDS`)."""
        path = transfer_records_path(self.directory)
        before = [pq.read_table(path)] if path.exists() else []
        measured = pa.Table.from_pylist([dict(row) for row in rows], schema=TRANSFER_RECORDS)
        try:  # what an older version has not measured is null
            together = pa.concat_tables([*before, measured], promote_options="default")
        except pa.ArrowException as error:
            raise ValueError(
                f"{path}: was written by another version, so nothing can be added ({error})"
            ) from None
        write_table(path, together.select(TRANSFER_RECORDS.names))

    def add_round(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Add a round's rows (:data:`ROUNDS`), one a satellite."""
        self._rounds.extend(dict(row) for row in rows)
        write_table(self.directory / "rounds.parquet", pa.Table.from_pylist(self._rounds, schema=ROUNDS))

    def prune_checkpoints(self, keep: int) -> None:
        """Remove all but the newest checkpoints."""
        for old in sorted((self.directory / "checkpoints").iterdir())[:-keep]:
            shutil.rmtree(old)

    def finish(self, **result: Any) -> None:
        """Record the result of a completed run; wall time and peak memory are added."""
        self._end("completed", result=result | self._costs())

    def fail(self, error: str) -> None:
        """Record why the run failed."""
        self._end("failed", result={"error": error} | self._costs())

    def interrupt(self) -> None:
        """Record that the run was ended from outside, before its time."""
        self._end("interrupted")

    def _end(self, state: str, **facts: Any) -> None:
        self._run["state"] = state
        self._run["ended"] = datetime.now(UTC).isoformat(timespec="seconds")
        self.note(**facts)
        self._lock.release()

    def wall_time_s(self) -> float:
        """Since the start; what a resumed run took before it was ended is counted up to its last finished round."""
        return time.monotonic() - self._started

    def _costs(self) -> dict[str, Any]:
        peak_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return {"wall_time_s": self.wall_time_s(), "peak_memory_bytes": peak_kib * 1024}

    def _write_run(self) -> None:
        write_text(self.directory / "run.json", json.dumps(self._run, indent=2) + "\n")


def new_run_directory(out: str, scenario: str) -> Path:
    """``out`` itself where it is given, else ``runs/TIME-SCENARIO`` below the working directory.

    Raises:
        FileExistsError: ``out`` holds a run already.
    """
    if out:
        directory = Path(out).expanduser().resolve()
        require_no_run(directory)
        return directory
    stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    base = Path("runs").resolve() / f"{stamp}-{scenario}"
    suffix = 1
    directory = base
    while directory.exists():
        suffix += 1
        directory = base.with_name(f"{base.name}-{suffix}")
    return directory


def make_run_directory(out: str, scenario: str) -> Path:
    """Make the :func:`new_run_directory`; of several processes that do so in the same second each gets its own.

    Raises:
        FileExistsError: ``out`` holds a run already.
        OSError: It cannot be made.
    """
    while True:
        directory = new_run_directory(out, scenario)
        try:
            directory.mkdir(parents=True, exist_ok=bool(out))
        except FileExistsError:
            if out:
                raise
        else:
            return directory


def require_no_run(directory: Path) -> None:
    """Raise FileExistsError if the directory holds a run already."""
    if (directory / "run.json").exists():
        raise FileExistsError(f"{directory}: holds a run already; name another directory")


def checkpoint_name(number: int) -> str:
    """Return the name of the checkpoint of a round."""
    return f"round-{number:05d}"


def read_run(directory: Path) -> dict[str, Any]:
    """The ``run.json`` of a run directory; where the process that recorded it was killed, its state is interrupted.

    Raises:
        FileNotFoundError: The directory holds no run.
        ValueError: The file is no record of a run.
    """
    run = _recorded(directory / "run.json")
    if run["state"] == "running" and left_by_the_dead(directory):
        run["state"] = "interrupted"
    return run


def record_end(directory: Path, error: str = "") -> None:
    """Write into ``run.json`` how a run ended whose process could not record it: failed for a reason, or interrupted.

    Nothing is done where it goes on, has ended, or where there is none.
    """
    try:
        run = _recorded(directory / "run.json")
    except (FileNotFoundError, NotADirectoryError):
        return
    if run["state"] == "running" and left_by_the_dead(directory):
        run["state"] = "failed" if error else "interrupted"
        run["ended"] = datetime.now(UTC).isoformat(timespec="seconds")
        if error:
            run["result"] = {"error": error}
        write_text(directory / "run.json", json.dumps(run, indent=2) + "\n")
        (directory / RECORD).unlink(missing_ok=True)


def unfinished_run(directory: Path) -> dict[str, Any]:
    """The ``run.json`` of a run that may be resumed.

    Raises:
        FileNotFoundError: The directory holds no run.
        FileExistsError: The run is complete.
    """
    run = read_run(directory)
    if run["state"] == "completed":
        raise FileExistsError(f"{directory}: the run is complete, so there is nothing to resume")
    return run


def completed_run(directory: Path) -> dict[str, Any]:
    """The ``run.json`` of a run that has ended well.

    Raises:
        FileNotFoundError: The directory holds no run.
        ValueError: The run is not completed.
    """
    run = read_run(directory)
    if run["state"] != "completed":
        raise ValueError(f"{directory}: found a run that is {run['state']}, allowed: a completed one")
    return run


def scenario_of(run: Mapping[str, Any]) -> Scenario:
    """The resolved scenario of a ``run.json``.

    Raises:
        mission.scenario.ScenarioError: It was recorded by another version.
    """
    return scenario_from_json(json.dumps(run["scenario"]))


def write_text(path: Path, text: str) -> None:
    """Write a file under a temporary name, then rename it."""
    temporary = path.with_name(path.name + ".tmp")
    try:
        temporary.write_text(text, encoding="utf-8")
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_table(path: Path, table: pa.Table) -> None:
    """Write a Parquet file under a temporary name, then rename it."""
    temporary = path.with_name(path.name + ".tmp")
    pq.write_table(table, temporary)
    os.replace(temporary, path)


def _recorded(path: Path) -> dict[str, Any]:
    try:
        run = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: is not the record of a run ({error})") from None
    if not isinstance(run, dict) or "state" not in run:
        raise ValueError(f"{path}: is not the record of a run (it has no state)")
    return run


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"
