"""What satellites reach of a SuperLink: Flower's fleet API, and nothing else.

A SuperLink serves three APIs on one port. Two of them are for the operator's side: who reaches the control API may run
code of their own on the ground and on every satellite, and register SuperNodes. So the SuperLink listens where only the
operator and the ground reach it, and this gateway stands where satellites do: it passes on what is asked of
`/v1/fleet/…`, where SuperNodes prove themselves by their keys, and answers all else with 404.

`python -m skysplit.deployment.fleet_gateway --folder FOLDER --superlink HOST:PORT`, where the folder holds
`ca.crt`, `server.crt`, `server.key`.
"""

from __future__ import annotations

import argparse
import re
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any

import httpx
import uvicorn

from relay.wire.certificates import SERVER_CERTIFICATE, SERVER_KEY
from relay.wire.identity import AUTHORITY
from relay.wire.listening import raise_files_limit

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

ALLOWED = re.compile(
    rb"/v1/fleet/[a-z]+(-[a-z]+)*"
)  # the path as it came: nothing encoded, no dots, no slashes
BODY_BYTES = 64 << 20  # of a request; Flower cuts what is larger into objects of 5 MiB
MAX_CONCURRENCY = 256  # requests; more are told to come again
ANSWER_S = 120.0
# Of this connection, not of the message.
_HOP = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authorization",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
        b"host",
    }
)


class BodyTooLarge(ValueError):
    """A request longer than any of Flower's."""


class FleetGateway:
    """An ASGI application that forwards to the SuperLink at `base_url`."""

    def __init__(self, base_url: str, verify: ssl.SSLContext | bool) -> None:
        limits = httpx.Limits(max_connections=MAX_CONCURRENCY)
        self._client = httpx.AsyncClient(
            base_url=base_url, verify=verify, timeout=ANSWER_S, limits=limits, trust_env=False
        )

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] != "http":
            await send({"type": "websocket.close"})
        elif scope["method"] != "POST" or scope["query_string"] or not ALLOWED.fullmatch(scope["raw_path"]):
            await _answer(send, 404)
        else:
            await self._forward(scope, receive, send)

    async def _live(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.shutdown":
                await self._client.aclose()
            await send({"type": f"{message['type']}.complete"})
            if message["type"] == "lifespan.shutdown":
                return

    async def _forward(self, scope: Message, receive: Receive, send: Send) -> None:
        headers = [(name, value) for name, value in scope["headers"] if name.lower() not in _HOP]
        request = self._client.build_request(
            "POST", scope["raw_path"].decode("ascii"), headers=headers, content=_body(receive)
        )
        try:
            response = await self._client.send(request, stream=True)
        except BodyTooLarge:
            await _answer(send, 413)
            return
        except httpx.HTTPError:  # Flower's clients try again
            await _answer(send, 503)
            return
        try:
            kept = [(name, value) for name, value in response.headers.raw if name.lower() not in _HOP]
            await send({"type": "http.response.start", "status": response.status_code, "headers": kept})
            async for part in response.aiter_raw():
                await send({"type": "http.response.body", "body": part, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            await response.aclose()


async def _body(receive: Receive) -> AsyncIterator[bytes]:
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise httpx.ReadError("the caller has gone")
        part = message.get("body", b"")
        size += len(part)
        if size > BODY_BYTES:
            raise BodyTooLarge(f"more than {BODY_BYTES} bytes")
        if part:
            yield part
        if not message.get("more_body", False):
            return


async def _answer(send: Send, status: int) -> None:
    headers = [(b"content-length", b"0")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b""})


def main() -> None:
    """Serve until told to end."""
    parser = argparse.ArgumentParser(
        prog="python -m skysplit.deployment.fleet_gateway", description=__doc__.split("\n")[0]
    )
    parser.add_argument("--folder", type=Path, required=True, help="ca.crt, server.crt and server.key")
    parser.add_argument("--superlink", required=True, metavar="HOST:PORT", help="where the SuperLink listens")
    parser.add_argument("--host", default=None, help="address to listen on (default: all, IPv6 and IPv4)")
    parser.add_argument("--port", type=int, default=8000)
    arguments = parser.parse_args()
    raise_files_limit(MAX_CONCURRENCY)
    trusted = ssl.create_default_context(cafile=str(arguments.folder / AUTHORITY))
    config = uvicorn.Config(
        FleetGateway(f"https://{arguments.superlink}", trusted),
        ssl_certfile=arguments.folder / SERVER_CERTIFICATE,
        ssl_keyfile=str(arguments.folder / SERVER_KEY),
        limit_concurrency=MAX_CONCURRENCY,
        timeout_keep_alive=30,
        server_header=False,
        proxy_headers=False,
        access_log=False,
        log_level="warning",
    )
    try:
        listener = _listener(arguments.host, arguments.port)
    except OSError as error:
        parser.error(f"--host {arguments.host}, --port {arguments.port}: {error}")
    with listener:
        uvicorn.Server(config).run([listener])


def _listener(host: str | None, port: int) -> socket.socket:
    """Return a socket that listens on a host, or on all addresses of this machine, IPv6 and IPv4."""
    if host is None and socket.has_dualstack_ipv6():
        return socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True)
    host = host or "0.0.0.0"
    return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)


if __name__ == "__main__":
    main()
