"""Text from outside, made safe to show: a name or an error of a peer must not steer a terminal or forge a log line."""

from __future__ import annotations

import html


def is_node_name(text: str) -> bool:
    """Return whether a run, satellite or station may be called this; names of element files hold most characters."""
    return 1 <= len(text) <= 64 and text.isprintable() and text not in (".", "..")


def label(text: object) -> str:
    """Return `text` for a figure's labels, which read some markup: plain, and with `<`, `>`, `&` as entities."""
    return html.escape(plain(text), quote=False)


def plain(text: object, limit: int = 256) -> str:
    """Return `text` with everything unprintable written as an escape (``\\n``, ``\\x1b``), cut to `limit` characters.

    Line separators, control characters, bidirectional overrides and unpaired surrogates are all unprintable, so the
    result is always one line and can be encoded. Letters of any script and spaces stay.
    """
    text_of = str(text)
    cut = text_of[: limit + 1]
    safe = "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in cut)
    return safe if len(text_of) <= limit and len(safe) <= limit else safe[: limit - 1] + "…"
