"""What satellites reach of a SuperLink: its fleet API through the gateway, and nothing of the control API."""

from __future__ import annotations

import asyncio
import os
import ssl
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from flwr.supercore.protobuf.constants import PROTOBUF_MEDIA_TYPE

from skysplit.deployment.certs import write_credentials
from skysplit.deployment.fleet_gateway import BODY_BYTES, FleetGateway
from skysplit.deployment.node_folders import superlink_options
from skysplit.launch.flower_run import start_superlink
from skysplit.launch.processes import Processes, free_ports

PROTOBUF = {"content-type": PROTOBUF_MEDIA_TYPE, "accept": PROTOBUF_MEDIA_TYPE}


@pytest.fixture(scope="module")
def addresses(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str, ssl.SSLContext]]:
    """A real SuperLink as it is deployed, the gateway before it, and the mission's authority."""
    folder = tmp_path_factory.mktemp("gateway")
    write_credentials(folder, ["sat-0"], "ground", ["localhost", "127.0.0.1", "::1"])
    with Processes(folder / "logs") as processes:
        options = superlink_options(str(folder / "superlink"))
        link = start_superlink(processes, "--isolation", "process", *options, authority=folder / "ca.crt")
        [port] = free_ports(1)
        command = [
            *(
                sys.executable,
                "-m",
                "skysplit.deployment.fleet_gateway",
                "--folder",
                str(folder / "gateway"),
            ),
            *("--superlink", link.address, "--port", str(port)),
        ]
        processes.start("gateway", command, os.environ)
        processes.wait_until_listening("gateway", port)
        context = ssl.create_default_context(cafile=str(folder / "ca.crt"))
        yield f"https://127.0.0.1:{port}", f"https://{link.address}", context


async def raw_status(address: str, context: ssl.SSLContext, head: bytes) -> int:
    """The status that this request gets, as it is: no client tidies its path up."""
    host, _, port = address.removeprefix("https://").rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port), ssl=context)
    writer.write(head + b"\r\nhost: x\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
    await writer.drain()
    line = await asyncio.wait_for(reader.readline(), 60)
    writer.close()
    return int(line.split()[1])


def test_the_fleet_api_answers_as_it_does_without_the_gateway(addresses: tuple) -> None:
    gateway, direct, context = addresses
    with httpx.Client(verify=context) as client:
        for method in ("activate-node", "pull-messages", "send-node-heartbeat"):
            over_ipv6 = gateway.replace("127.0.0.1", "[::1]")
            answers = [
                client.post(f"{base}/v1/fleet/{method}", headers=PROTOBUF)
                for base in (gateway, direct, over_ipv6)
            ]
            assert answers[2].content == answers[0].content
            assert answers[0].status_code == answers[1].status_code
            assert answers[0].status_code not in (404, 503)
            assert answers[0].content == answers[1].content


def test_the_control_api_is_open_behind_the_gateway_which_is_why_there_is_one(addresses: tuple) -> None:
    _, direct, context = addresses
    with httpx.Client(verify=context) as client:
        answer = client.post(f"{direct}/v1/control/list-runs", headers=PROTOBUF)
    assert answer.status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        "/v1/control/list-runs",
        "/v1/control/start-run",
        "/v1/runtime/pull-messages",
        "/v1/fleet/../control/list-runs",
        "/v1/fleet/%2e%2e/control/list-runs",
        "/v1/fleet/..%2fcontrol%2flist-runs",
        "/v1/fleet//../control/list-runs",
        "//v1/control/list-runs",
        "/v1/fleet/activate-node/../../control/list-runs",
        "/v1/fleet/activate-node;/../../control/list-runs",
        "/v1/fleet/activate-node?x=/v1/control/list-runs",
        "/v1/fleet/",
        "/v1/fleet/activate%2dnode",
        "/V1/CONTROL/list-runs",
        "https://127.0.0.1/v1/control/list-runs",
        "/health",
        "/docs",
        "/openapi.json",
        "*",
        "/",
    ],
)
async def test_whatever_else_is_asked_for_is_not_there(addresses: tuple, path: str) -> None:
    gateway, _, context = addresses
    assert await raw_status(gateway, context, f"POST {path} HTTP/1.1".encode()) in (400, 404)


@pytest.mark.parametrize("method", ["GET", "PUT", "OPTIONS", "CONNECT", "TRACE"])
async def test_only_what_flower_posts_is_passed_on(addresses: tuple, method: str) -> None:
    gateway, _, context = addresses
    assert await raw_status(gateway, context, f"{method} /v1/fleet/activate-node HTTP/1.1".encode()) in (
        400,
        404,
    )


async def status_of(app: FleetGateway, parts: list[bytes]) -> int:
    sent: list[dict] = []
    messages = iter([{"type": "http.request", "body": part, "more_body": True} for part in parts])

    async def receive() -> dict:
        return next(messages, {"type": "http.request", "body": b"", "more_body": False})

    async def send(message: dict) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "query_string": b"",
        "raw_path": b"/v1/fleet/push-object",
        "headers": [],
    }
    await app(scope, receive, send)
    return int(sent[0]["status"])


async def test_a_body_beyond_all_of_flowers_is_refused_and_a_superlink_that_is_away_is_said(
    addresses: tuple,
) -> None:
    _, direct, context = addresses
    part = bytes(8 << 20)
    assert await status_of(FleetGateway(direct, context), [part] * (BODY_BYTES // len(part) + 1)) == 413
    [port] = free_ports(1)
    assert await status_of(FleetGateway(f"https://127.0.0.1:{port}", context), [b"x"]) == 503


def test_the_gateways_certificate_is_for_the_hosts_of_the_superlink(tmp_path: Path) -> None:
    write_credentials(tmp_path, ["sat-0"], "ground", ["ground.example", "[::1]"])
    from relay.wire.certificates import hosts_of

    assert hosts_of(tmp_path / "gateway" / "server.crt") == ("gateway", "ground.example", "::1")
