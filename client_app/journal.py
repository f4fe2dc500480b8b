"""A satellite's state on disk, beside its relay: what a new process goes on from where one died in mid-round.

A SuperNode keeps ``Context.state`` in its memory, and only what a finished message has left there.
"""

from __future__ import annotations

import json
from pathlib import Path

from flwr.app import ArrayRecord, ConfigRecord, MetricRecord, RecordDict
from safetensors import safe_open
from safetensors.torch import save_file


class Journal:
    """The newest state of a satellite in one run; that of earlier runs is removed.

    Args:
        folder: The satellite's own; made if needed.
        run: Name of the run.
    """

    def __init__(self, folder: Path, run: str) -> None:
        self._path = folder / f"{run}.safetensors"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for other in folder.glob("*.safetensors"):
            if other != self._path:
                other.unlink()

    def write(self, state: RecordDict) -> None:
        """Keep all records, in place of those kept before."""
        tensors = {
            f"{name}/{key}": tensor.contiguous()
            for name, record in state.array_records.items()
            for key, tensor in record.to_torch_state_dict().items()
        }
        told = {
            "arrays": list(state.array_records),
            "metrics": {name: dict(record) for name, record in state.metric_records.items()},
            "configs": {name: dict(record) for name, record in state.config_records.items()},
        }
        temporary = self._path.with_suffix(".tmp")
        save_file(tensors, temporary, {"records": json.dumps(told)})
        temporary.replace(self._path)

    def recall(self, state: RecordDict) -> None:
        """Put what is kept in place of what ``state`` holds; nothing where nothing is kept."""
        if not self._path.exists():
            return
        state.clear()
        with safe_open(self._path, framework="pt") as kept:
            told = json.loads(kept.metadata()["records"])
            for name in told["arrays"]:
                keys = [key for key in kept.keys() if key.startswith(f"{name}/")]  # noqa: SIM118
                state[name] = ArrayRecord(
                    {key.removeprefix(f"{name}/"): kept.get_tensor(key) for key in keys}
                )
        for name, metrics in told["metrics"].items():
            state[name] = MetricRecord(metrics)
        for name, config in told["configs"].items():
            state[name] = ConfigRecord(config)
