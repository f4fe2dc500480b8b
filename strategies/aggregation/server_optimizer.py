"""Server optimisers: what to do with the mean of the satellites' weights (Reddi et al. 2021, arXiv 2003.00295).

The arithmetic is Flower's; only its state is made accessible here, so that a run can be resumed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from flwr.app import Array, ArrayRecord, Message, MessageType, MetricRecord, RecordDict
from flwr.serverapp.strategy import FedAdagrad, FedAdam, FedAvgM, FedYogi
from numpy.typing import NDArray

Name = Literal["fedavg", "fedavgm", "fedadam", "fedyogi", "fedadagrad"]
_ADAPTIVE = {"fedadam": FedAdam, "fedyogi": FedYogi, "fedadagrad": FedAdagrad}
_MOMENTUM = 0.9  # of FedAvgM, as in Hsu et al. 2019, arXiv 1909.06335


class ServerOptimizer:
    """Turns the mean of a round into the next round's weights; ``fedavg`` is the mean itself.

    Args:
        name: Which.
        learning_rate: Of the server.
    """

    def __init__(self, name: Name, learning_rate: float) -> None:
        self._rule: FedAvgM | FedAdam | FedYogi | FedAdagrad | None = None
        if name == "fedavgm":
            self._rule = FedAvgM(server_learning_rate=learning_rate, server_momentum=_MOMENTUM)
        elif name != "fedavg":
            self._rule = _ADAPTIVE[name](eta=learning_rate)

    def step(self, number: int, sent: ArrayRecord, mean: ArrayRecord) -> ArrayRecord:
        """The weights of the next round.

        Args:
            number: The round, from 1.
            sent: What the satellites started from.
            mean: What they came to, averaged.
        """
        if self._rule is None:
            return mean
        sent = ArrayRecord({key: sent[key] for key in mean})  # FedAvgM goes by their order
        # The rules average replies before they step. There is one reply here: the mean, which the plan's order made.
        metrics = MetricRecord({self._rule.weighted_by_key: 1})
        told = Message(RecordDict(), 0, MessageType.TRAIN)
        reply = Message(RecordDict({self._rule.arrayrecord_key: mean, "metrics": metrics}), reply_to=told)
        self._rule.current_arrays = sent if isinstance(self._rule, FedAvgM) else _ndarrays(sent)
        stepped, _ = self._rule.aggregate_train(number, [reply])
        assert stepped is not None
        return ArrayRecord(
            {key: Array(stepped[key].numpy().astype(array.dtype)) for key, array in sent.items()}
        )

    def state(self) -> dict[str, NDArray]:
        """What it remembers of earlier rounds, by name; see :meth:`load_state`."""
        if self._rule is None:
            return {}
        if isinstance(self._rule, FedAvgM):
            return {f"momentum.{n}": vector for n, vector in enumerate(self._rule.momentum_vector or [])}
        moments = {"m": self._rule.m_t or {}, "v": self._rule.v_t or {}}
        return {f"{kind}.{key}": value for kind, values in moments.items() for key, value in values.items()}

    def load_state(self, state: Mapping[str, NDArray]) -> None:
        """Take over what :meth:`state` gave."""
        if self._rule is None or not state:
            return
        if isinstance(self._rule, FedAvgM):
            self._rule.momentum_vector = [state[f"momentum.{n}"] for n in range(len(state))]
        else:
            self._rule.m_t, self._rule.v_t = (
                {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
                for prefix in ("m.", "v.")
            )


def _ndarrays(arrays: ArrayRecord) -> dict[str, NDArray]:
    return {key: array.numpy() for key, array in arrays.items()}
