"""A relay's figures for Prometheus, served over HTTP at `/metrics`."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from wsgiref.simple_server import WSGIServer

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from relay.node.relay_node import RelayNode
from relay.wire import wire_pb2 as pb

ANSWER_S = 5.0


class NodeCollector:
    """Reads a node's status whenever it is asked; `loop` is the one that the node runs in."""

    def __init__(self, node: RelayNode, loop: asyncio.AbstractEventLoop) -> None:
        self._node = node
        self._loop = loop

    def collect(self) -> Iterator[Metric]:
        """The node's figures now."""
        status = asyncio.run_coroutine_threadsafe(self._status(), self._loop).result(ANSWER_S)
        for name, text, value in (
            ("mission_seconds", "Mission time", status.mission_s),
            ("queued_transfers", "Transfers on disk", status.queued_transfers),
            ("queued_bytes", "Bytes on disk, or promised room", status.queued_bytes),
            ("quota_bytes", "Room on disk", status.quota_bytes),
        ):
            yield GaugeMetricFamily(f"skysplit_{name}", text, value)
        ends = self._node.certificate_ends
        if ends is not None:
            text = "When the certificate expires, or the authority's, Unix time"
            yield GaugeMetricFamily("skysplit_certificate_expiry_seconds", text, ends.timestamp())
        for name, text, value in (
            (
                "received_bytes",
                "Bytes taken in, those of the own application included",
                status.received_bytes,
            ),
            (
                "delivered_transfers",
                "Transfers that the own application has taken",
                status.delivered_transfers,
            ),
            ("rejected_transfers", "Transfers that will never arrive", status.rejected_transfers),
        ):
            yield CounterMetricFamily(f"skysplit_{name}", text, value)
        is_open = GaugeMetricFamily(
            "skysplit_link_open", "Whether the contact plan has it open", labels=["peer"]
        )
        sent = CounterMetricFamily(
            "skysplit_link_sent_bytes", "Bytes sent, resent ones included", labels=["peer"]
        )
        resent = CounterMetricFamily("skysplit_link_resent_bytes", "Bytes sent again", labels=["peer"])
        for link in status.links:
            is_open.add_metric([link.peer], link.open)
            sent.add_metric([link.peer], link.sent_bytes)
            resent.add_metric([link.peer], link.resent_bytes)
        yield from (is_open, sent, resent)

    async def _status(self) -> pb.NodeStatus:
        return self._node.status()


def serve_metrics(node: RelayNode, host: str, port: int) -> WSGIServer:
    """Serve a node's figures from a thread of its own; call in the node's loop. Raises OSError for a port in use."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(NodeCollector(node, asyncio.get_running_loop()))
    server, _ = start_http_server(port, addr=host, registry=registry)
    return server
