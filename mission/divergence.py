"""When training has diverged, and what to lower then."""

from __future__ import annotations

import math
import re

LARGEST_LOSS = 1e5  # a guess that is sure and wrong in every image comes nowhere near


# Of splitmodel.crossing.codecs and relay.wire.frames, which import nothing of each other;
# the error may have come over the wire.
_NOT_CARRIED = re.compile(r"carries finite values up to|a value is not finite|NaN, infinite values")


class DivergenceError(ArithmeticError):
    """Losses or states of the model have become infinite, or senseless; the message names the key to lower."""


def require_sensible_loss(loss: float, round_number: int, mode: str) -> None:
    """Raise DivergenceError if a batch's mean loss says that training has diverged.

    Args:
        loss: Mean cross-entropy of a batch.
        round_number: From 1.
        mode: Of ``training.mode``, which says what learning rates there are.
    """
    if not math.isfinite(loss) or loss > LARGEST_LOSS:
        raise DivergenceError(
            f"round {round_number}: training has diverged, the loss is {loss:.3g}; {advice(mode)}"
        )


def require_finite_cause(error: Exception, round_number: int, mode: str) -> None:
    """Raise DivergenceError if an error is of a tensor whose values a codec or the wire cannot carry any more."""
    if _NOT_CARRIED.search(str(error)):
        raise DivergenceError(
            f"round {round_number}: training has diverged, {error}; {advice(mode)}"
        ) from error


def advice(mode: str) -> str:
    """Return which keys to lower."""
    keys = ["training.head_learning_rate"]
    if mode not in ("head", "onboard-head"):
        keys.append("training.learning_rate")
    return f"lower {' or '.join(keys)}"
