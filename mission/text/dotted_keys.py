"""Tables inside tables, as keys with dots."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


def dotted_keys(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every value that is no table, with its key: ``links.sgl.up_mbps``, in the order of the tables."""
    for key, value in table.items():
        if isinstance(value, Mapping):
            yield from dotted_keys(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value
