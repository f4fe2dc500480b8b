"""Check the health of this machine's relay: `python -m relay.operation.health NODE.json` exits 0 if it serves.

The question is that of the gRPC health protocol, asked over the relay's own socket. A check every few seconds must cost
next to nothing, and to import a gRPC library takes many times as long as to ask: so the frames of HTTP/2 (RFC 9113) are
written here.
"""

from __future__ import annotations

import json
import os
import socket
import struct
import sys

ANSWER_S = 3.0
_SOCKET = "relay.sock"  # relay.wire.service.SOCKET, which is not imported for the time that it takes
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _SETTINGS, _PING, _GOAWAY = 0, 1, 4, 6, 7
_END_STREAM, _END_HEADERS, _ACK, _PADDED = 1, 4, 1, 8
_ASK_ALL = b"\0\0\0\0\0"  # not compressed, no byte: a HealthCheckRequest for the server as a whole
_SERVING = b"\0\0\0\0\x02\x08\x01"  # the same for a HealthCheckResponse whose status is SERVING
_ASKED = {
    ":method": "POST",
    ":scheme": "http",
    ":path": "/grpc.health.v1.Health/Check",
    ":authority": "localhost",
    "content-type": "application/grpc",
    "te": "trailers",
}


def serves(path: str) -> bool:
    """Ask a relay by the gRPC health protocol.

    Args:
        path: Of its socket.
    """
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(ANSWER_S)
            connection.connect(path)
            headers = b"".join(b"\0" + _literal(name) + _literal(value) for name, value in _ASKED.items())
            question = [_frame(_SETTINGS, 0, 0, b""), _frame(_HEADERS, _END_HEADERS, 1, headers)]
            connection.sendall(_PREFACE + b"".join(question) + _frame(_DATA, _END_STREAM, 1, _ASK_ALL))
            return _answer(connection) == _SERVING
    except OSError:
        return False


def socket_of(file: str) -> str:
    """Return the path of the socket of the relay that was started from a file."""
    with open(file, encoding="utf-8") as opened:
        folder = json.load(opened)["folder"]
    return os.path.join(os.path.realpath(os.path.join(os.path.dirname(file), folder)), _SOCKET)


def _answer(connection: socket.socket) -> bytes:
    """Read frames up to the end of the answer and return its data."""
    answer = b""
    with connection.makefile("rb") as frames:
        while len(head := frames.read(9)) == 9:
            length, kind, flags = int.from_bytes(head[:3], "big"), head[3], head[4]
            payload = frames.read(length)
            if kind == _DATA:
                answer += payload[1 : len(payload) - payload[0]] if flags & _PADDED else payload
            elif kind == _SETTINGS and not flags & _ACK:
                connection.sendall(_frame(_SETTINGS, _ACK, 0, b""))
            elif kind == _PING and not flags & _ACK:
                connection.sendall(_frame(_PING, _ACK, 0, payload))
            if kind == _GOAWAY or (kind in (_DATA, _HEADERS) and flags & _END_STREAM):
                break
    return answer


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def _literal(text: str) -> bytes:
    """A string of HPACK (RFC 7541), not compressed."""
    return bytes([len(text)]) + text.encode()


def main() -> None:
    """Exit with 0 if the relay serves, else with 1."""
    if len(sys.argv) != 2:
        raise SystemExit(
            "usage: python -m relay.operation.health NODE.json, the file that the relay was started from"
        )
    raise SystemExit(not serves(socket_of(sys.argv[1])))


if __name__ == "__main__":
    main()
