"""A relay as a process: its log, its figures, its health, and what runs beside it."""

import json
import os
import signal
import subprocess
import sys
import urllib.request

import pytest

from relay.client.message_link import dial
from relay.node.pre_launch import START_S, pre_launch_network
from relay.wire.manifest import Limits
from relay.wire.service import PUT, local_address, path


@pytest.fixture
def relay(tmp_path, fleet):
    """Start a lone relay, and a command beside it; ends what is left of it."""
    processes = []

    def start(*command, **changes):
        (tmp_path / "network.json").write_text(pre_launch_network([], "ground").to_json())
        config = {
            "name": "ground",
            "network": "network.json",
            "peers": {},
            "folder": "spool",
            "port": 0,
            "start_s": START_S,
            **changes,
        }
        (tmp_path / "relay.json").write_text(json.dumps(config))
        process = subprocess.Popen(
            [sys.executable, "-m", "relay", str(tmp_path / "relay.json"), *command],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        processes.append(process)
        assert process.stdout.readline().startswith("ground listens on 127.0.0.1:")
        return process

    yield start
    for process in processes:
        process.kill()
        process.communicate()


def healthy(tmp_path):
    return subprocess.run(
        [sys.executable, "-m", "relay.operation.health", str(tmp_path / "relay.json")],
        timeout=120,
        check=False,
    ).returncode


def test_health_says_whether_it_serves(relay, tmp_path):
    process = relay()
    assert healthy(tmp_path) == 0
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0
    assert healthy(tmp_path) == 1


def test_prometheus_reads_mission_time_and_queue(relay, fleet):
    [port] = fleet.free_ports(1)
    relay(metrics_port=port)
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=60) as answer:
        lines = answer.read().decode().splitlines()
    figures = dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    assert START_S <= float(figures["skysplit_mission_seconds"]) < START_S + 60.0
    assert float(figures["skysplit_queued_transfers"]) == 0.0
    assert "# TYPE skysplit_received_bytes_total counter" in lines


def test_a_command_beside_it_ends_with_it(relay, tmp_path):
    process = relay(sys.executable, "-c", "import os, time; print(os.getpid(), flush=True); time.sleep(60)")
    beside = int(process.stdout.readline())
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0
    with pytest.raises(ProcessLookupError):
        os.kill(beside, 0)


def test_it_ends_with_the_command_beside_it_and_with_its_exit_status(relay):
    process = relay(sys.executable, "-c", "raise SystemExit(3)")
    assert process.wait(60) == 3


def test_its_log_is_json_with_mission_time(relay, tmp_path):
    process = relay()
    with dial(local_address(tmp_path / "spool"), "ground", None, Limits()) as channel:
        put = channel.stream_stream(path(PUT))
        with pytest.raises(Exception, match="neither manifest nor chunk"):
            list(put(iter([b"nonsense"]), timeout=60))
    config = json.loads(process.stderr.readline())
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0
    assert config["node"] == "ground"
    assert config["level"] == "warning"
    assert START_S <= config["mission_s"] < START_S + 60.0
    assert "neither manifest nor chunk" in config["text"]
