"""Whether the relay of this machine serves: `python -m relay.health NODE.json` exits 0, as health checks want it."""

from __future__ import annotations

import argparse
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from relay.settings import local_relay

ANSWER_S = 3.0


def serves(address: str) -> bool:
    """Ask a relay by the gRPC health protocol."""
    with grpc.insecure_channel(address) as channel:
        try:
            answer = health_pb2_grpc.HealthStub(channel).Check(
                health_pb2.HealthCheckRequest(), timeout=ANSWER_S
            )
        except grpc.RpcError:
            return False
    return answer.status == health_pb2.HealthCheckResponse.SERVING


def main() -> None:
    """Exit with 0 if the relay serves, else with 1."""
    parser = argparse.ArgumentParser(prog="python -m relay.health", description="Whether a relay serves.")
    parser.add_argument("file", type=Path, help="the file that the relay was started from")
    raise SystemExit(not serves(local_relay(parser.parse_args().file).address))


if __name__ == "__main__":
    main()
