"""How long computing takes by the plan's rates: what an emulation has it take, however fast its machines are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, astuple, dataclass
from typing import Self


@dataclass(frozen=True)
class ComputeTimes:
    """Seconds for one image and pass.

    Attributes:
        embedding_s: On board, of its features.
        head_s: On board, of a step of the head.
        tail_s: On board in mode ``head``, of the frozen blocks between what returns and the head.
        forward_s, backward_s: On the ground, of the backbone.
        message_s: Of the software for one message of a step, at each end.
    """

    embedding_s: float = 0.0
    head_s: float = 0.0
    _: KW_ONLY
    tail_s: float = 0.0
    forward_s: float = 0.0
    backward_s: float = 0.0
    message_s: float = 0.0

    def to_list(self) -> list[float]:
        """As a Flower ``ConfigRecord`` takes them."""
        return list(astuple(self))

    @classmethod
    def from_list(cls, values: Sequence[float]) -> Self:
        """Read what :meth:`to_list` wrote."""
        embedding_s, head_s, tail_s, forward_s, backward_s, message_s = values
        return cls(
            embedding_s,
            head_s,
            tail_s=tail_s,
            forward_s=forward_s,
            backward_s=backward_s,
            message_s=message_s,
        )
