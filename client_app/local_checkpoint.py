"""A satellite's state on disk, beside its relay: what a new process goes on from where one died in mid-round.

A SuperNode keeps ``Context.state`` in its memory, and only what a finished message has left there.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection
from pathlib import Path

from flwr.app import ArrayRecord, ConfigRecord, MetricRecord, RecordDict
from safetensors import safe_open
from safetensors.torch import save_file


class LocalCheckpoint:
    """The newest state of a satellite in one run; that of earlier runs is removed.

    It is two files, because a round's progress changes with every step, and the caches, which may be large, do not.

    Args:
        folder: The satellite's own; made if needed.
        run: Name of the run.
        caches: Names of the records that are caches: they may be newer than the progress, and never older.
    """

    def __init__(self, folder: Path, run: str, *, caches: Collection[str]) -> None:
        self._caches_path, self._progress_path = (
            folder / f"{run}.{part}.safetensors" for part in ("caches", "progress")
        )
        self._caches = caches
        self._kept: dict[Path, RecordDict] = {}
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for other in folder.glob("*.safetensors"):
            if other not in (self._caches_path, self._progress_path):
                other.unlink()

    def write(self, state: RecordDict) -> None:
        """Keep all records, in place of those kept before."""
        self._keep(self._caches_path, {name: state[name] for name in state if name in self._caches})
        self._keep(self._progress_path, {name: state[name] for name in state if name not in self._caches})

    def recall(self, state: RecordDict) -> None:
        """Put what is kept in place of what ``state`` holds; nothing where nothing is kept."""
        files = [path for path in (self._caches_path, self._progress_path) if path.exists()]
        if files:
            state.clear()
        for path in files:
            self._kept[path] = _read(path)
            state.update(self._kept[path])

    def _keep(self, path: Path, records: dict) -> None:
        part = RecordDict(records)
        if part != self._kept.get(path, RecordDict()):
            _write(path, part)
            self._kept[path] = part


def _write(path: Path, records: RecordDict) -> None:
    tensors = {
        f"{name}/{key}": tensor.contiguous()
        for name, record in records.array_records.items()
        for key, tensor in record.to_torch_state_dict().items()
    }
    contents = {
        "arrays": list(records.array_records),
        "metrics": {name: dict(record) for name, record in records.metric_records.items()},
        "configs": {name: dict(record) for name, record in records.config_records.items()},
    }
    temporary = path.with_suffix(".tmp")
    temporary.unlink(missing_ok=True)
    os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))  # features are in it
    save_file(tensors, temporary, {"records": json.dumps(contents)})
    temporary.replace(path)


def _read(path: Path) -> RecordDict:
    records = RecordDict()
    with safe_open(path, framework="pt") as kept:
        contents = json.loads(kept.metadata()["records"])
        for name in contents["arrays"]:
            keys = [key for key in kept.keys() if key.startswith(f"{name}/")]  # noqa: SIM118
            records[name] = ArrayRecord({key.removeprefix(f"{name}/"): kept.get_tensor(key) for key in keys})
    for name, metrics in contents["metrics"].items():
        records[name] = MetricRecord(metrics)
    for name, config in contents["configs"].items():
        records[name] = ConfigRecord(config)
    return records
