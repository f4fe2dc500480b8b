"""Which certificates end soon, in words for `status` and `doctor`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from relay.wire.certificates import WARN_DAYS, days_left


def ending(folders: Iterable[Path], warn_days: float = WARN_DAYS) -> Iterator[str]:
    """Yield a sentence for each certificate directly in these folders that ends within `warn_days`, or has ended."""
    for path in sorted({path for folder in folders for path in folder.glob("*.crt")}):
        try:
            left = days_left(path)
        except (OSError, ValueError) as error:
            yield f"{path}: cannot be read as a certificate: {error}"
            continue
        if left < 0:
            yield f"{path}: ended {-left:.0f} days ago"
        elif left < warn_days:
            yield f"{path}: ends in {left:.0f} days"


RENEW = "skysplit certs SCENARIO --out FOLDER --renew (or --renew-authority for a ca.crt), then copy the folders again"
