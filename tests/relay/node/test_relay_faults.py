"""Faults on the way: each ends with nothing lost and nothing counted twice."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from relay.client.message_link import LinkTimeout, dial
from relay.client.relay_link import RelayLink
from relay.clock.paced_clock import PacedClock
from relay.clock.timed_link import Window
from relay.node.outgoing import Faults, Outage
from relay.wire import service
from relay.wire import wire_pb2 as pb
from relay.wire.certificates import write_certificates
from relay.wire.identity import NodeIdentity, node_folder
from relay.wire.listening import host_port
from relay.wire.manifest import Limits, MessageKind


def values(bundle):
    return np.frombuffer(bundle.payload, "<f4")


def deliver_once(relays, fleet, data, timeout_s=60):
    """Send from sat-0, receive on the ground, check the bytes and that they come once; mission time of arrival."""
    with relays.link("sat-0") as satellite, relays.link("ground") as ground:
        satellite.send(*fleet.tensor(data, "sat-0", "ground"))
        bundle = ground.receive(timeout_s)
        arrived_s = relays.clocks["ground"].now_s
        assert np.array_equal(values(bundle), data)
        with pytest.raises(LinkTimeout):
            ground.receive(0.1)
    assert relays.until("ground", lambda status: status.delivered_transfers == 1)
    assert relays.until("sat-0", lambda status: status.queued_transfers == 0)
    return arrived_s


DATA = np.arange(500_000, dtype="<f4")  # 2 MB


def test_chunks_lost_at_random_are_sent_again(fleet):
    relays = fleet(
        fleet.both_ways(
            ("sat-0", "sat-1"), ("sat-1", "ground"), windows=(Window(0, 1e5, rate_bps=1e8, owlt_s=0.002),)
        ),
        faults=Faults(loss=0.1, seed=3),
    )
    deliver_once(relays, fleet, DATA)
    assert relays.status("sat-0").links[0].resent_bytes > 0


def test_a_link_cut_in_mid_chunk_resumes_at_the_acknowledged_offset(fleet):
    cut = Outage("sat-0", "ground", start_s=0.51, end_s=1.2)
    relays = fleet(
        fleet.both_ways(("sat-0", "ground"), windows=(Window(0.3, 1e5, rate_bps=4e7, owlt_s=0.005),)),
        faults=Faults(outages=(cut,)),
    )
    arrived_s = deliver_once(relays, fleet, DATA)  # 0.4 s of link: 0.2 s before the cut, 0.2 s behind it
    assert arrived_s > 1.2
    assert relays.status("sat-0").links[0].resent_bytes <= 0.1 * DATA.nbytes


def test_a_missed_window_costs_the_wait_for_the_next_one_only(fleet):
    windows = (Window(0.2, 0.6, rate_bps=4e7, owlt_s=0.002), Window(1.0, 5.0, rate_bps=4e7, owlt_s=0.002))
    relays = fleet(
        fleet.both_ways(("sat-0", "ground"), windows=windows),
        faults=Faults(outages=(Outage("sat-0", "ground", start_s=0.0, end_s=0.8),)),
    )
    assert 1.4 < deliver_once(relays, fleet, DATA) < 2.4


@pytest.mark.parametrize("skew_s", [-2.0, 2.0])
def test_clocks_that_differ_by_two_seconds_lose_nothing(fleet, skew_s):
    windows = (Window(3.0, 5.0, rate_bps=1e8, owlt_s=0.002), Window(8.0, 1e5, rate_bps=1e8, owlt_s=0.002))
    clocks = {"sat-0": PacedClock(2.5 + skew_s), "ground": PacedClock(2.5)}
    relays = fleet(fleet.both_ways(("sat-0", "ground"), windows=windows), clocks=clocks)
    deliver_once(relays, fleet, DATA)


def test_a_relay_that_was_away_takes_up_what_it_held(fleet):
    slow = (Window(0, 1e5, rate_bps=2e7, owlt_s=0.0),)
    links = {**fleet.both_ways(("sat-0", "sat-1")), **fleet.both_ways(("sat-1", "ground"), windows=slow)}
    relays = fleet(links)
    with relays.link("sat-0") as satellite, relays.link("ground") as ground:
        satellite.send(*fleet.tensor(DATA, "sat-0", "ground"))
        relays.until("ground", lambda status: status.received_bytes > 300_000)
        relays.stop("sat-1")
        relays.start("sat-1")
        assert np.array_equal(values(ground.receive(60)), DATA)
    assert relays.until("ground", lambda status: status.delivered_transfers == 1)


def test_a_bundle_without_a_payload_survives_the_end_of_its_stream(fleet):
    relays = fleet(
        fleet.both_ways(("sat-0", "ground"), windows=(Window(0.0, 1e5, rate_bps=1e9, owlt_s=0.5),))
    )
    with relays.link("sat-0") as satellite:
        satellite.send(*fleet.tensor([], "sat-0", "ground"))
        link = relays.nodes["sat-0"]._forwarding.links["ground"]
        relays.until("sat-0", lambda _: link._on_line)  # for half a second of light
        relays.stop("ground")
        relays.start("ground")
        with relays.link("ground") as ground:
            assert ground.receive(60).manifest.total_bytes == 0


def test_what_began_over_one_gateway_ends_over_another_without_starting_again(fleet):
    """The ground has a part of it when sat-0 loses its contact; the rest, and only that, goes over sat-1."""
    slower = (Window(0.0, 1e5, rate_bps=1.8e7, owlt_s=0.0),)
    relays = fleet(
        {
            **fleet.both_ways(("sat-0", "sat-1")),
            **fleet.both_ways(("sat-0", "ground"), windows=(Window(0.0, 1e5, rate_bps=2e7, owlt_s=0.0),)),
            **fleet.both_ways(("sat-1", "ground"), windows=slower),
        },
        clocks={name: PacedClock(10.0) for name in ("sat-0", "sat-1", "ground")},
        faults=Faults(outages=(Outage("sat-0", "ground", start_s=11.0, end_s=9e4),)),
    )
    while relays.clocks["sat-0"].now_s < 10.6:
        time.sleep(0.01)
    deliver_once(relays, fleet, DATA)
    over = {
        name: {link.peer: link.sent_bytes for link in relays.status(name).links}
        for name in ("sat-0", "sat-1")
    }
    direct, relayed = over["sat-0"]["ground"], over["sat-1"]["ground"]
    assert direct > 0.2 * DATA.nbytes
    assert direct + relayed <= 1.1 * DATA.nbytes
    assert over["sat-0"]["sat-1"] <= 1.1 * relayed


class Process:
    """A relay as a real process, which can be killed."""

    def __init__(self, folder, name, address, environment):
        self.name, self.address = name, address
        self._command = [sys.executable, "-m", "relay", str(folder / f"{name}.json")]
        self._environment = environment
        self.start()

    def start(self):
        self.process = subprocess.Popen(
            self._command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=self._environment
        )
        assert self.process.stdout.readline() == f"{self.name} listens on {self.address}\n"

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(60)
        self.process.stdout.close()


WINDOWS = (Window(0, 1e5, rate_bps=2e7, owlt_s=0.002),)


@pytest.fixture
def chain(request, tmp_path, fleet):
    """sat-0 → sat-1 → ground as processes with certificates, 20 Mbit/s and 2 ms per hop, at a host (an indirect
    parameter; IPv4's loopback)."""
    host = getattr(request, "param", "127.0.0.1")
    nodes = ("sat-0", "sat-1", "ground")
    network = fleet.network_of(
        fleet.both_ways(
            ("sat-0", "sat-1"), ("sat-1", "ground"), windows=(Window(0, 1e5, rate_bps=2e7, owlt_s=0.002),)
        )
    )
    (tmp_path / "network.json").write_text(network.to_json())
    write_certificates(tmp_path / "certificates", nodes)
    addresses = {name: host_port(host, port) for name, port in zip(nodes, fleet.free_ports(3), strict=True)}
    processes = {}
    try:
        for name in nodes:
            config = {
                "name": name,
                "network": "network.json",
                "peers": addresses,
                "folder": f"{name}.spool",
                "host": host,
                "port": int(addresses[name].rpartition(":")[2]),
                "identity": str(node_folder(tmp_path / "certificates", name)),
            }
            (tmp_path / f"{name}.json").write_text(json.dumps(config))
            processes[name] = Process(tmp_path, name, addresses[name], dict(os.environ))
        yield (
            processes,
            {name: NodeIdentity.load(node_folder(tmp_path / "certificates", name)) for name in nodes},
        )
    finally:
        for process in processes.values():
            process.kill()


def status_of(process, identity):
    with dial(process.address, process.name, identity, Limits()) as channel:
        return channel.unary_unary(
            service.path(service.STATUS),
            request_serializer=pb.Nothing.SerializeToString,
            response_deserializer=pb.NodeStatus.FromString,
        )(pb.Nothing(), timeout=60, wait_for_ready=True)


@pytest.mark.parametrize(
    ("chain", "victim"),
    [
        pytest.param(
            "127.0.0.1", "sat-0", marks=pytest.mark.slow
        ),  # what it sends first, every relay sends so
        ("::1", "sat-1"),
        ("127.0.0.1", "ground"),
    ],
    indirect=["chain"],
)
def test_any_relay_killed_in_mid_transfer_resumes_and_delivers_once(fleet, chain, victim):
    processes, identities = chain
    data = np.arange(750_000, dtype="<f4")  # 3 MB, 1.2 s per hop
    with RelayLink(processes["sat-0"].address, "sat-0", identity=identities["sat-0"]) as satellite:
        satellite.send(*fleet.tensor(data, "sat-0", "ground"))
    deadline = time.monotonic() + 60
    while status_of(processes["ground"], identities["ground"]).received_bytes < 600_000:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    processes[victim].kill()
    processes[victim].start()
    with RelayLink(processes["ground"].address, "ground", identity=identities["ground"]) as ground:
        bundle = ground.receive(60)
        assert np.array_equal(values(bundle), data)
        with pytest.raises(LinkTimeout):
            ground.receive(0.3)
    sent = [status_of(processes[name], identities[name]) for name in ("sat-0", "sat-1")]
    assert all(status.queued_transfers == 0 for status in sent)
    for status in sent:  # counters are lost with a killed process; a survivor has sent little twice
        assert sum(link.resent_bytes for link in status.links) <= 0.1 * data.nbytes


def test_an_application_killed_before_it_settles_finds_its_bundle_again(fleet, chain):
    processes, identities = chain
    with RelayLink(processes["sat-0"].address, "sat-0", identity=identities["sat-0"]) as satellite:
        satellite.send(*fleet.tensor([1.0, 2.0], "sat-0", "ground", kind=MessageKind.AGGREGATE))
    script = (
        "import sys, os, pathlib; from relay.client.relay_link import RelayLink; "
        "from relay.wire.identity import NodeIdentity; "
        "link = RelayLink(sys.argv[1], 'ground', identity=NodeIdentity.load(pathlib.Path(sys.argv[2])));"
        "link.receive(60); os.kill(os.getpid(), 9)"
    )
    folder = str(identities["ground"].folder)
    victim = subprocess.run([sys.executable, "-c", script, processes["ground"].address, folder], timeout=120)
    assert victim.returncode == -signal.SIGKILL
    with RelayLink(processes["ground"].address, "ground", identity=identities["ground"]) as ground:
        assert values(ground.receive(60)).tolist() == [1.0, 2.0]


def test_a_relay_that_cannot_start_says_why_in_one_line(tmp_path):
    for config, expected in [
        ({"name": "a"}, "network: Field required"),
        (
            {"name": "a", "network": "n.json", "peers": {}, "folder": "f", "port": 0, "x": 1},
            "x: Extra inputs",
        ),
        ({"name": "a", "network": "n.json", "peers": {}, "folder": "f", "port": 0}, "n.json"),
    ]:
        (tmp_path / "node.json").write_text(json.dumps(config))
        done = subprocess.run(
            [sys.executable, "-m", "relay", str(tmp_path / "node.json")],
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode != 0
        assert expected in done.stderr
        assert len(done.stderr.splitlines()) == 1
