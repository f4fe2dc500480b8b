"""The health check speaks gRPC's own protocol to gRPC's own server, and costs next to nothing."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import HealthServicer

from relay.operation import health
from relay.wire import service

Status = health_pb2.HealthCheckResponse.ServingStatus
CHECK_EVERY_S = 20.0  # as in skysplit.deployment.compose


@pytest.fixture
def servicer(tmp_path: Path) -> Iterator[HealthServicer]:
    """The health service of a server at the socket of a relay's folder."""
    (tmp_path / "relay.json").write_text(json.dumps({"name": "a", "folder": "spool"}))
    (tmp_path / "spool").mkdir()
    server = grpc.server(ThreadPoolExecutor(1))
    found = HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(found, server)
    server.add_insecure_port(service.local_address(tmp_path / "spool"))
    server.start()
    yield found
    server.stop(None)


@pytest.mark.parametrize("status", [Status.SERVING, Status.NOT_SERVING, Status.UNKNOWN])
def test_only_what_serves_is_healthy(servicer: HealthServicer, tmp_path: Path, status: int) -> None:
    servicer.set("", status)
    assert health.serves(health.socket_of(str(tmp_path / "relay.json"))) == (status == Status.SERVING)


def test_a_server_without_a_health_service_and_no_server_at_all_are_not_healthy(tmp_path: Path) -> None:
    server = grpc.server(ThreadPoolExecutor(1))
    server.add_insecure_port(f"unix:{tmp_path / 's'}")
    server.start()
    try:
        assert not health.serves(str(tmp_path / "s"))
    finally:
        server.stop(None)
    assert not health.serves(str(tmp_path / "nothing"))


def test_a_check_costs_less_than_a_hundredth_of_a_core(servicer: HealthServicer, tmp_path: Path) -> None:
    def used_s() -> float:
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        return usage.ru_utime + usage.ru_stime

    words = [sys.executable, "-m", "relay.operation.health", str(tmp_path / "relay.json")]
    costs_s = []
    for _ in range(3):
        before_s = used_s()
        assert subprocess.run(words, check=False, timeout=60).returncode == 0
        costs_s.append(used_s() - before_s)
    assert min(costs_s) / CHECK_EVERY_S <= 0.01
