"""Flower's Grid, which also tells whose answers a round still waits for."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from flwr.app import Message
from flwr.serverapp import Grid

_TELL_S = 2.0


class WatchedGrid(Grid):
    """A Grid that passes everything on, and reports the nodes that have not answered yet.

    Args:
        grid: What it passes on to.
        names: Satellites by their node.
        on_change: Called with the names of those who are awaited, in the order of ``names``, at most every two seconds
            and whenever nobody is any more.
    """

    def __init__(
        self, grid: Grid, names: Mapping[int, str], *, on_change: Callable[[list[str]], None]
    ) -> None:
        self._grid = grid
        self._names = names
        self._on_change = on_change
        self._awaited: dict[str, int] = {}  # node by message
        self._reported: list[str] = []
        self._reported_s = 0.0

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """See :class:`flwr.serverapp.Grid`."""
        sent = list(messages)
        ids = list(self._grid.push_messages(sent))
        for identifier, message in zip(ids, sent, strict=True):
            if identifier:  # else Flower has refused it
                self._awaited[identifier] = message.metadata.dst_node_id
        return ids

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """See :class:`flwr.serverapp.Grid`."""
        replies = list(self._grid.pull_messages(message_ids))
        for reply in replies:
            self._awaited.pop(reply.metadata.reply_to_message_id, None)
        self._tell()
        return replies

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterable[Message]:
        """See :class:`flwr.serverapp.Grid`."""
        return self._grid.send_and_receive(messages, timeout=timeout)

    def get_node_ids(self) -> Iterable[int]:
        """See :class:`flwr.serverapp.Grid`."""
        return self._grid.get_node_ids()

    def get_nodes(self) -> Iterable[Any]:
        """See :class:`flwr.serverapp.Grid`."""
        return self._grid.get_nodes()

    def set_run(self, run: Any) -> None:
        """See :class:`flwr.serverapp.Grid`."""
        self._grid.set_run(run)

    @property
    def run(self) -> Any:
        """See :class:`flwr.serverapp.Grid`."""
        return self._grid.run

    def create_message(self, *args: Any, **kwargs: Any) -> Message:
        """See :class:`flwr.serverapp.Grid`."""
        return self._grid.create_message(*args, **kwargs)

    def _tell(self) -> None:
        nodes = set(self._awaited.values())
        awaited = [name for node, name in self._names.items() if node in nodes]
        now_s = time.monotonic()
        if awaited != self._reported and (not awaited or now_s - self._reported_s >= _TELL_S):
            self._reported, self._reported_s = awaited, now_s
            self._on_change(awaited)
