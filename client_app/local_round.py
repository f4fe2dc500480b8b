"""One satellite's part of a round: the weights as sent, or as a suspended round left them, and the reply."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, field
from typing import Any

from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from torch import nn

from client_app import state
from client_app.exchange.plane_exchange import PlaneExchange
from client_app.labels_on_board import head_on_board, in_units, state_shape
from client_app.onboard import OnBoard, Progress, RoundTask
from client_app.satellite import Satellite
from splitmodel.crossing.scaling import SplitScaling
from splitmodel.dense_heads import TrainedHead
from splitmodel.lora.adapters import exchanged_parts, load_trainable_state, trainable_state


@dataclass(eq=False)
class LocalRound:
    """A round on board, under way or finished.

    Attributes:
        message: What the ground sent.
        context: Flower's, whose state outlives a message.
        satellite: Who trains.
        on_board: Its images, what they are labelled for, and the embedding.
        task: Number, seed and settings of the round.
        scaling: How tensors are scaled where they cross.
        head: The head on board.
        progress: Where the round stands.
        parts: What is exchanged with the other satellites.
        suspended: Whether the ground could not serve the next step.
        facts: Metrics of the reply beside those of every mode.
    """

    message: Message
    context: Context
    _: KW_ONLY
    satellite: Satellite
    on_board: OnBoard
    task: RoundTask
    scaling: SplitScaling
    head: TrainedHead
    progress: Progress
    parts: nn.ModuleDict
    suspended: bool = False
    facts: dict[str, int | float] = field(default_factory=dict)

    @classmethod
    def of(cls, message: Message, context: Context, satellite: Satellite) -> LocalRound:
        """Read what the ground sent; the head has no weights of the round yet, see :meth:`load_weights`."""
        constants = message.content.array_records["constants"].to_torch_state_dict()
        scaling = SplitScaling.from_state(constants)
        on_board = in_units(satellite.on_board, constants)
        head = head_on_board(on_board, scaling)
        config = message.content.config_records["config"]
        taken: Any = config.get("images", [])
        turns: Any = config.get("turns", [])
        task = RoundTask(
            int(config["round"]),  # type: ignore[arg-type]
            satellite.scenario.seed,
            satellite=satellite.index,
            training=satellite.training,
            taken=tuple(zip(taken[::2], taken[1::2], strict=True)),
            turns=tuple(turns),
        )
        return cls(
            message,
            context,
            satellite=satellite,
            on_board=on_board,
            task=task,
            scaling=scaling,
            head=head,
            progress=Progress(),
            parts=exchanged_parts(head),
        )

    @property
    def state_shape(self) -> tuple[int, ...]:
        """The shape of what the head reads of an image."""
        return state_shape(self.on_board, self.scaling)

    @property
    def plane_exchange(self) -> PlaneExchange | None:
        """Return the exchange in which the plane sums its weights, or ``None`` if each satellite sends its own."""
        return PlaneExchange.from_config(self.message.content.config_records["config"])

    def load_weights(self) -> None:
        """Set what is exchanged to the weights that the ground sent."""
        load_trainable_state(self.parts, self.message.content.array_records["arrays"].to_torch_state_dict())

    def resume(self) -> bool:
        """Take over the round where it was suspended or its process died; return whether it was begun before."""
        run = self.satellite.run_config.run
        progress = state.load_progress(self.context, run, self.task.number, self.head)
        if progress is None:
            return False
        self.progress = progress
        return True

    def save(self) -> None:
        """Keep where the round stands in Flower's state."""
        run = self.satellite.run_config.run
        state.save_progress(self.context, run, self.task.number, self.progress, self.head)

    def reply(self) -> Message:
        """Return the plane's sum where there is one, else what was trained here, or that the round is suspended."""
        progress, seen = self.progress, max(1, self.progress.seen)
        metrics: dict[str, int | float | list[int] | list[float]] = {
            "num-examples": len(self.task.images(len(self.on_board.images))),
            "steps": progress.step,
            "suspended": int(self.suspended),
            "train-loss": progress.loss_sum / seen,
            "train-accuracy": progress.right / seen,
            "bytes-up": 0,
            "bytes-down": 0,
        }
        content = RecordDict({"metrics": MetricRecord({**metrics, **self.facts})})
        if progress.plane_sum is not None:
            content["plane"] = ArrayRecord({"sum": progress.plane_sum})
        elif not self.suspended:
            content["arrays"] = ArrayRecord(trainable_state(self.parts))
        return Message(content=content, reply_to=self.message)
