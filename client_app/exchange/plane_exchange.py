"""The end of a round in an emulation: the satellites of a plane add up what they have trained, over their relays."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import KW_ONLY, dataclass
from typing import Any, Self

import torch
from torch import Tensor, nn

from mission.client_update import client_update
from relay.client.allreduce import all_reduce
from relay.client.message_link import BundleLink, LinkError
from relay.wire.manifest import Bundle
from splitmodel.lora.adapters import trainable_state

TIMEOUT_S = 1800.0  # for those who still train; then the ground does it

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PlaneExchange:
    """The ground's orders to a satellite for the sum of its plane.

    Attributes:
        members: The satellites of the plane, as :func:`relay.client.allreduce.all_reduce` wants them.
        ring: Whether the sum goes round, rather than along a chain.
        counts: What this satellite's weights count, see :func:`mission.client_update.client_update`.
    """

    members: tuple[str, ...]
    ring: bool
    _: KW_ONLY
    counts: tuple[float, ...]

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self | None:
        """Read what :class:`strategies.federated.SplitFederatedStrategy` tells; ``None`` where each sends its own."""
        if "plane" not in config:
            return None
        return cls(tuple(config["plane"]), bool(config["ring"]), counts=tuple(config["counts"]))

    def sum(
        self,
        parts: nn.Module,
        link: BundleLink,
        satellite: str,
        *,
        run: str,
        number: int,
        early: Iterable[Bundle],
    ) -> Tensor | None:
        """The sum of the plane's weights in round ``number``, one vector; ``None`` where it is left to the ground.

        Args:
            parts: What was trained here.
            link: To the satellite's relay.
            satellite: Its name.
            run: Name of the run.
            number: The round.
            early: What has come for the sum while the satellite trained.
        """
        arrays = {name: tensor.numpy() for name, tensor in trainable_state(parts).items()}
        try:
            total = all_reduce(
                link,
                self.members,
                satellite,
                client_update(arrays, self.counts),
                ring=self.ring,
                run=run,
                round=number,
                timeout_s=TIMEOUT_S,
                early=early,
            )
        except LinkError as error:
            log.warning("%s", error)
            return None
        return torch.from_numpy(total.copy())
