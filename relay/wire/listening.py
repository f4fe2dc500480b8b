"""What keeps a listening port from being exhausted by strangers, before any certificate has been seen.

A connection that says nothing stays in the kernel (TCP_DEFER_ACCEPT) and costs the process no descriptor; one that
begins a handshake and does not end it is closed by gRPC; and gRPC closes what comes beyond a number of connections
that the process has descriptors for.
"""

from __future__ import annotations

import contextlib
import os
import resource
import socket
import stat
from pathlib import Path

CONNECTIONS = 512
SILENCE_S = 120  # how long the kernel keeps a connection that has sent nothing
HANDSHAKE_S = 5.0
IDLE_S = 600.0  # how long a connection without calls is kept; whoever needs it again dials again
_OTHER_FILES = 256  # spool, libraries, logs, sockets to nowhere in particular
_DESCRIPTORS = Path("/proc/self/fd")


class FilesLimit(RuntimeError):
    """This process may not have as many files open as it needs."""


def host_port(host: str, port: int) -> str:
    """Return an address as gRPC reads it: an IPv6 address stands in brackets."""
    return f"[{host}]:{port}" if ":" in host and not host.startswith("[") else f"{host}:{port}"


def connections_for(nodes: int) -> int:
    """Return how many connections a relay of a mission of so many nodes takes: twice what they could need."""
    return max(CONNECTIONS, 2 * nodes)


def raise_files_limit(nodes: int) -> int:
    """Raise the limit of open files to what a relay needs, and return it.

    Raises FilesLimit where that is not allowed.
    """
    needed = connections_for(nodes) + nodes + _OTHER_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    infinite = resource.RLIM_INFINITY
    if soft != infinite and soft < needed:
        if hard != infinite and hard < needed:
            raise FilesLimit(
                f"a relay of {nodes} nodes may need {needed} open files; found a limit of {hard} (`ulimit -Hn`), which "
                f"an administrator raises: LimitNOFILE={needed} in systemd, ulimits in Compose"
            )
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
        soft = needed
    return soft


def server_limits(connections: int = CONNECTIONS) -> list[tuple[str, int | str]]:
    """Return gRPC's options for a port that strangers can reach."""
    return [
        ("grpc.max_allowed_incoming_connections", connections),
        ("grpc.server_handshake_timeout_ms", int(HANDSHAKE_S * 1000)),
        ("grpc.max_connection_idle_ms", int(IDLE_S * 1000)),
    ]


def leave_silent_connections_to_the_kernel(port: int) -> bool:
    """Set TCP_DEFER_ACCEPT on this process's sockets that listen on `port`: clients of TLS and HTTP/2 speak first.

    Returns whether it could be done; elsewhere than on Linux the other limits must do.
    """
    option = getattr(socket, "TCP_DEFER_ACCEPT", None)
    if option is None or not _DESCRIPTORS.is_dir():
        return False
    done = False
    for name in os.listdir(_DESCRIPTORS):
        with contextlib.suppress(OSError):  # closed meanwhile
            if stat.S_ISSOCK(os.fstat(int(name)).st_mode):
                # The same socket, by a descriptor of our own.
                with socket.socket(fileno=os.dup(int(name))) as listener:
                    if _listens(listener, port):
                        listener.setsockopt(socket.IPPROTO_TCP, option, SILENCE_S)
                        done = True
    return done


def _listens(listener: socket.socket, port: int) -> bool:
    if listener.family not in (socket.AF_INET, socket.AF_INET6) or listener.type != socket.SOCK_STREAM:
        return False
    accepts = listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    return bool(accepts) and listener.getsockname()[1] == port
