"""Names of spectral bands: those of a model, and what else they are called."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from splitmodel.families.errors import ModelLoadError


def resolve_bands(wanted: Sequence[str], known: Sequence[str], common: Mapping[str, str]) -> list[str]:
    """The model's names of the bands that are wanted, in their order.

    Case, leading zeros (`B02`, `B2`) and separators (`NIR_Narrow`) make no difference.

    Args:
        wanted: As a user names them.
        known: The model's names.
        common: Common name of a band → the model's.

    Raises:
        ModelLoadError: One is unknown, or named twice.
    """
    names = {_plain(name): name for name in known}
    names |= {_plain(name): of for name, of in common.items() if of in known}
    resolved = []
    for name in wanted:
        if _plain(name) not in names:
            also = ", ".join(name for name, of in common.items() if of in known)
            raise ModelLoadError(
                f"model.bands: found {name!r}; allowed: {', '.join(known)}; or by name: {also}"
            )
        if names[_plain(name)] in resolved:
            raise ModelLoadError(f"model.bands: found {name!r} twice; allowed: each band once")
        resolved.append(names[_plain(name)])
    return resolved


def _plain(name: str) -> str:
    return re.sub(r"(?<=\D)0+(?=\d)", "", re.sub(r"[\s_-]", "", name.casefold()))
