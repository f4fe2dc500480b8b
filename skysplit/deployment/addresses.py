"""Addresses as people write them: ``HOST:PORT``."""

from __future__ import annotations

from skysplit.deployment.certs import SUPERLINK


def split_address(address: str, node: str = SUPERLINK) -> tuple[str, int]:
    """Return the host and port of ``host:port``; an IPv6 address stands in brackets. Raises ValueError."""
    host, colon, port = address.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    number = int(port) if port.isascii() and port.isdecimal() else 0
    if not colon or not host or not 0 < number < 65536 or (":" in host and not bracketed):
        raise ValueError(
            f"found {node}={address}; allowed: HOST:PORT, an IPv6 address in brackets ([::1]:8000)"
        )
    return host.removeprefix("[").removesuffix("]"), number
