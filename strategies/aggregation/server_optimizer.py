"""Server optimisers: what to do with the mean of the satellites' weights (Reddi et al. 2021, arXiv 2003.00295).

The arithmetic is Flower's; only its state is made accessible here, so that a run can be resumed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

import numpy as np
from flwr.app import Array, ArrayRecord, Message, MessageType, MetricRecord, RecordDict
from flwr.serverapp.strategy import FedAdagrad, FedAdam, FedAvgM, FedYogi
from numpy.typing import NDArray

from mission.schema import SERVER_OPTIMIZERS
from strategies.aggregation.averages import AggregationError
from strategies.aggregation.rule import AggregationRule, aggregation_rule

_ADAPTIVE = {"fedadam": FedAdam, "fedyogi": FedYogi, "fedadagrad": FedAdagrad}
_Answer = TypeVar("_Answer")
_MOMENTUM = 0.9  # of FedAvgM, as in Hsu et al. 2019, arXiv 1909.06335


class ServerOptimizer:
    """Turns the mean of a round into the next round's weights; ``fedavg`` is the mean itself.

    Args:
        name: Which, of ours or as a package registers it under ``skysplit.aggregation``.
        learning_rate: Of the server.

    Raises:
        AggregationError: The rule of another package cannot be used.
    """

    def __init__(self, name: str, learning_rate: float) -> None:
        self._name = name
        self._rule: FedAvgM | FedAdam | FedYogi | FedAdagrad | None = None
        self._own: AggregationRule | None = None
        if name not in SERVER_OPTIMIZERS:
            rule = aggregation_rule(name)
            self._own = self._asked("made", lambda: rule(learning_rate))
        elif name == "fedavgm":
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
        if self._own is not None:
            return self._own_step(self._own, number, sent, mean)
        if self._rule is None:
            return mean
        sent = ArrayRecord({key: sent[key] for key in mean})  # FedAvgM goes by their order
        # The rules average replies before they step. There is one reply here: the mean, which the plan's order made.
        metrics = MetricRecord({self._rule.weighted_by_key: 1})
        message = Message(RecordDict(), 0, MessageType.TRAIN)
        reply = Message(RecordDict({self._rule.arrayrecord_key: mean, "metrics": metrics}), reply_to=message)
        self._rule.current_arrays = sent if isinstance(self._rule, FedAvgM) else _ndarrays(sent)
        stepped, _ = self._rule.aggregate_train(number, [reply])
        assert stepped is not None
        return ArrayRecord(
            {key: Array(stepped[key].numpy().astype(array.dtype)) for key, array in sent.items()}
        )

    def state(self) -> dict[str, NDArray]:
        """Return the state kept from earlier rounds, by name; see :meth:`load_state`."""
        if (own := self._own) is not None:
            state = self._asked("asked for its state", lambda: dict(own.state()))
            return {key: np.asarray(value) for key, value in state.items()}
        if self._rule is None:
            return {}
        if isinstance(self._rule, FedAvgM):
            return {f"momentum.{n}": vector for n, vector in enumerate(self._rule.momentum_vector or [])}
        moments = {"m": self._rule.m_t or {}, "v": self._rule.v_t or {}}
        return {f"{kind}.{key}": value for kind, values in moments.items() for key, value in values.items()}

    def load_state(self, state: Mapping[str, NDArray]) -> None:
        """Take over what :meth:`state` gave."""
        if (own := self._own) is not None:
            self._asked("resumed", lambda: own.load_state(state))
        if self._rule is None or not state:
            return
        if isinstance(self._rule, FedAvgM):
            self._rule.momentum_vector = [state[f"momentum.{n}"] for n in range(len(state))]
        else:
            self._rule.m_t, self._rule.v_t = (
                {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
                for prefix in ("m.", "v.")
            )

    def _own_step(
        self, rule: AggregationRule, number: int, sent: ArrayRecord, mean: ArrayRecord
    ) -> ArrayRecord:
        means = _ndarrays(mean)
        before = {key: sent[key].numpy() for key in means}
        copies = [{key: array.copy() for key, array in arrays.items()} for arrays in (before, means)]
        stepped = self._asked(f"asked in round {number}", lambda: dict(rule.step(number, *copies)))
        if stepped.keys() != means.keys():
            raise AggregationError(
                f"training.server_optimizer {self._name!r}: gave weights called {', '.join(map(str, stepped))}; "
                f"allowed: {', '.join(means)}"
            )
        weights = {}
        for key, value in means.items():
            array = np.asarray(stepped[key])
            if array.shape != value.shape or not np.isfinite(array.astype(float)).all():
                raise AggregationError(
                    f"training.server_optimizer {self._name!r}: gave {key} in shape {array.shape}"
                    f"{'' if array.shape != value.shape else ', not all of it finite'}; allowed: finite values in "
                    f"shape {value.shape}"
                )
            weights[key] = Array(array.astype(value.dtype))
        return ArrayRecord(weights)

    def _asked(self, when: str, ask: Callable[[], _Answer]) -> _Answer:
        try:
            return ask()
        except Exception as error:  # whatever a package's code does
            raise AggregationError(
                f"training.server_optimizer {self._name!r}: failed when {when}: {type(error).__name__}: {error}"
            ) from error


def _ndarrays(arrays: ArrayRecord) -> dict[str, NDArray]:
    return {key: array.numpy() for key, array in arrays.items()}
