"""What the ServerApp was asked to do: a run, its record, and where its satellites are."""

from __future__ import annotations

import contextlib
import json
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import KW_ONLY, dataclass
from logging import INFO
from pathlib import Path

from flwr.app import Context
from flwr.common.logger import log

from mission.record import RunRecord, make_run_directory
from mission.scenario import ScenarioError, load_scenario, scalar_keys
from mission.schema import Scenario
from mission.text.first_cause import cause_of
from relay.node.settings import LocalRelay, local_relay
from server_app.checkpoint import Checkpoint, newest
from server_app.planning.imaging import require_trainable
from server_app.planning.uncertainty import require_flyable


@dataclass(frozen=True, eq=False)
class ServerRun:
    """One run of a scenario.

    Attributes:
        record: Its directory, and the resolved scenario.
        name: Of the run on the wire.
        address: ``host:port`` of the backbone service; port 0 takes a free one.
        relay: The ground's relay, in an emulation: satellites reach the backbone over it instead.
        resume: Whether to continue after the newest checkpoint of the record.
        max_concurrency: Satellites that Flower runs at the same time, where that is known.
    """

    record: RunRecord
    name: str
    _: KW_ONLY
    address: str = "127.0.0.1:0"
    relay: LocalRelay | None = None
    resume: bool = False
    max_concurrency: int | None = None

    def __post_init__(self) -> None:
        """Raise ScenarioError for what no run does, or only a simulation."""
        require_trainable(self.scenario)
        require_flyable(self.scenario)
        if self.relay is not None:
            require_emulable(self.scenario)

    @property
    def scenario(self) -> Scenario:
        """The resolved scenario."""
        return self.record.scenario

    def restore(self) -> Checkpoint | None:
        """Load the newest checkpoint and drop what was recorded after it; return ``None`` for a new run."""
        if not self.resume:
            return None
        checkpoint = Checkpoint.load(newest(self.record.directory / "checkpoints"))
        self.record.forget_after(checkpoint.round)
        return checkpoint


@contextlib.contextmanager
def recorded_run(context: Context) -> Iterator[ServerRun]:
    """Open or reopen the run that ``context.run_config`` names, and record how it ends if it fails."""
    config = context.run_config
    if config["resume"]:
        record = RunRecord.reopen(Path(str(config["resume"])))
    else:
        overrides = {key: config[key] for key, _ in scalar_keys() if config.get(key, "") != ""}
        scenario = load_scenario(str(config["scenario"]), overrides, given_as="--run-config ")
        directory = make_run_directory(str(config["out"]), scenario.name)
        record = RunRecord(directory, scenario, command=_command(str(config["scenario"]), overrides))
        if config["cut"]:
            record.note(cut=json.loads(str(config["cut"])))
    log(INFO, "Run directory: %s", record.directory.resolve())
    try:
        yield ServerRun(
            record,
            name=f"run-{context.run_id}",
            address=str(config["backbone-address"]),
            relay=local_relay(Path(str(config["relay"]))) if config["relay"] else None,
            resume=bool(config["resume"]),
            max_concurrency=int(config["max-concurrency"]) or None,
        )
    except Exception as error:
        with contextlib.suppress(OSError):  # a full disk, which is the error then
            record.fail(cause_of(f"{type(error).__name__}: {error}"))
        raise
    except BaseException:  # ended from outside
        record.interrupt()
        raise


def require_emulable(scenario: Scenario) -> None:
    """Raise ScenarioError for what only a simulation can do."""
    if scenario.training.labels == "ground":
        raise ScenarioError(
            'training.labels: found "ground"; an emulation moves the tensors of the split, allowed: "on-board"'
        )
    if scenario.training.mode not in ("head", "lora"):
        raise ScenarioError(
            f"training.mode: found {scenario.training.mode!r}; an emulation moves the tensors of the split, "
            "allowed: head, lora"
        )
    if scenario.strategy.planes_per_round:
        raise ScenarioError(
            f"strategy.planes_per_round: found {scenario.strategy.planes_per_round}; an emulation waits for every "
            "satellite, allowed: 0"
        )


def _command(scenario: str, overrides: Mapping[str, object]) -> str:
    """The command that repeats the run."""
    settings = [f"--set={key}={value}" for key, value in overrides.items()]
    return shlex.join(["skysplit", "run", scenario, *settings])
