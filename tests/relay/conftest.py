"""A fleet of relays in this process, on one event loop in a thread of its own."""

import asyncio
import contextlib
import threading
import time

import numpy as np
import pytest
import uvloop

from relay.client.relay_link import RelayLink
from relay.clock.paced_clock import PacedClock
from relay.clock.timed_link import LinkSchedule, Network, Window
from relay.node.relay_node import RelayNode
from relay.node.settings import RelaySettings
from relay.wire.manifest import Manifest, MessageKind
from skysplit.launch.processes import free_ports

ALWAYS = (Window(0.0, 1e5, rate_bps=1e9, owlt_s=0.0),)


def network_of(links):
    nodes = tuple(dict.fromkeys(node for link in links for node in link))
    return Network(nodes, {link: LinkSchedule(tuple(windows)) for link, windows in links.items()})


def both_ways(*pairs, windows=ALWAYS):
    return {link: windows for a, b in pairs for link in ((a, b), (b, a))}


def tensor(values, source, destination, step=0, kind=MessageKind.FEATURES, **changes):
    payload = np.asarray(values, "<f4").tobytes()
    manifest = Manifest.describe(
        payload,
        run="run",
        kind=kind,
        source=source,
        destination=destination,
        dtype="float32",
        shape=(len(values),),
        step=step,
        **changes,
    )
    return manifest, payload


def hidden(request, values):
    """The ground's answer to a message: its manifest and payload."""
    payload = np.asarray(values, "<f4").tobytes()
    return Manifest.describe(
        payload,
        run=request.run,
        kind=MessageKind.HIDDEN,
        source="ground",
        destination=request.source,
        dtype="float32",
        shape=(len(values),),
        step=request.step,
    ), payload


class Fleet:
    def __init__(self, folder, links, *, identities=None, clocks=None, **settings):
        self.network = network_of(links)
        self.folder = folder
        self.identities = identities or {}
        ports = free_ports(len(self.network.nodes))
        self.addresses = {
            node: f"127.0.0.1:{port}" for node, port in zip(self.network.nodes, ports, strict=True)
        }
        self.settings = settings
        self.nodes = {}
        self.clocks = clocks or {}
        self.loop = uvloop.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()
        for name in self.network.nodes:
            self.start(name)

    def run(self, coroutine, timeout_s=60):
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(timeout_s)

    def start(self, name, **changes):
        config = {
            "name": name,
            "network": self.network,
            "peers": {peer: address for peer, address in self.addresses.items() if peer != name},
            "folder": self.folder / name,
            "port": int(self.addresses[name].rpartition(":")[2]),
        }
        settings = RelaySettings(**{**config, **self.settings, **changes})

        async def begin():
            clock = self.clocks.setdefault(name, PacedClock())
            node = RelayNode(settings, identity=self.identities.get(name), clock=clock)
            await node.start()
            return node

        self.nodes[name] = self.run(begin())

    def stop(self, name):
        self.run(self.nodes.pop(name).stop())

    def link(self, name, **changes):
        return RelayLink(self.addresses[name], name, identity=self.identities.get(name), **changes)

    def status(self, name):
        async def ask():
            return self.nodes[name].status()

        return self.run(ask())

    def until(self, name, holds, timeout_s=60):
        """Wait until the status of a node fulfils a condition, and return it."""
        deadline = time.monotonic() + timeout_s
        while not holds(status := self.status(name)):
            assert time.monotonic() < deadline, f"still, after {timeout_s} s: {status}"
            time.sleep(0.02)
        return status

    def probes(self, count, timeout_s=60):
        """Wait until the time authority has asked all nodes so often what they do."""
        [authority] = filter(None, (node._authority for node in self.nodes.values()))
        last, deadline = authority._probe + count, time.monotonic() + timeout_s
        while authority._probe <= last:
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def close(self):
        for name in list(self.nodes):
            self.stop(name)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(60)
        self.loop.close()


@pytest.fixture
def fleet(tmp_path, monkeypatch):
    monkeypatch.setattr("relay.clock.paced_clock.PROBE_S", 0.03)  # so many the sooner does mission time jump
    with contextlib.ExitStack() as stack:

        def start(links, **settings):
            started = Fleet(tmp_path, links, **settings)
            stack.callback(started.close)
            return started

        start.both_ways = both_ways
        start.tensor = tensor
        start.network_of = network_of
        start.free_ports = free_ports
        yield start
