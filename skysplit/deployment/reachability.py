"""Whether the addresses of a deployment can be dialled from here, and who answers."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import KW_ONLY, dataclass
from itertools import repeat
from pathlib import Path

from relay.wire.identity import node_host
from skysplit.deployment.addresses import split_address
from skysplit.deployment.certs import SUPERLINK

_DIAL_S = 10.0
_MAX_CONCURRENCY = 32


@dataclass(frozen=True)
class Reached:
    """The result of dialling one node.

    Attributes:
        node: Its name.
        address: ``host:port``.
        seconds: How long it took; ``None`` where it failed.
        last_error: Why it failed; empty where it did not.
    """

    node: str
    address: str
    _: KW_ONLY
    seconds: float | None
    last_error: str = ""


def dial_all(addresses: Mapping[str, str], authority: Path) -> list[Reached]:
    """Dial every address, with TLS, and see that the one who answers has the certificate of the node.

    Args:
        addresses: ``host:port`` by node; under ``superlink`` that of the gateway.
        authority: The certificate of the authority.
    """
    with ThreadPoolExecutor(_MAX_CONCURRENCY) as together:
        return list(together.map(_dial, addresses, addresses.values(), repeat(authority)))


def _dial(node: str, address: str, authority: Path) -> Reached:
    host, port = split_address(address, node)
    context = ssl.create_default_context(cafile=str(authority))
    context.set_alpn_protocols(["h2"])
    began_s = time.monotonic()
    try:
        with (
            socket.create_connection((host, port), timeout=_DIAL_S) as connection,
            context.wrap_socket(connection, server_hostname=host if node == SUPERLINK else node_host(node)),
        ):
            return Reached(node, address, seconds=time.monotonic() - began_s)
    except ssl.SSLCertVerificationError as error:
        return Reached(
            node, address, seconds=None, last_error=f"somebody else answers: {error.verify_message}"
        )
    except ssl.SSLError as error:
        return Reached(node, address, seconds=None, last_error=f"no TLS: {error.reason or error}")
    except socket.gaierror as error:
        return Reached(
            node, address, seconds=None, last_error=f"the name is not known here: {error.strerror}"
        )
    except TimeoutError:
        return Reached(
            node,
            address,
            seconds=None,
            last_error=f"no answer within {_DIAL_S:.0f} s: is a firewall on the way?",
        )
    except OSError as error:
        return Reached(node, address, seconds=None, last_error=error.strerror or str(error))
