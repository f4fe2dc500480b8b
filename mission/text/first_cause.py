"""The one line of an error that names its cause, out of what Ray and Flower wrap around it."""

from __future__ import annotations

import re

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_BY_FLOWER = re.compile(r"Exception (\S+) occurred\. Message: ?(.+)")
_RAISED = re.compile(
    r"^(?:[\w]+\.)*(\w*(?:Error|Exception|Exit|Interrupt|Timeout)(?:\(\w+\))?): (.+)$", re.MULTILINE
)
_WRAPPED = re.compile(r"<class '|Traceback \(most recent call last\)|ray::\w+|\n")
_BACK_END_GONE = re.compile(r"cannot schedule new futures after (?:interpreter )?shutdown")
BACK_END_GONE = "Flower's simulation back end ended before the run did"


def cause_of(text: str) -> str:
    """Return an error's text without the tracebacks of others: on one line, what raised it and why.

    Text without a traceback comes back as it is.
    """
    text = _COLOUR.sub("", text).strip()
    if _BACK_END_GONE.search(text):
        return BACK_END_GONE
    if "Traceback (most recent call last)" not in text and "<class '" not in text and "ray::" not in text:
        return text
    causes = _BY_FLOWER.findall(text) or _RAISED.findall(text)
    if causes:
        kind, message = causes[-1]
        cause = f"{kind}: {message}"
    else:
        cause = text.splitlines()[-1]
    cause = cause.strip().removesuffix("'>").rstrip()
    before = _WRAPPED.split(text, maxsplit=1)[0].strip(" :<'")
    return f"{before}: {cause}" if before and before not in cause else cause


_FATAL = re.compile(
    r"No space left on device|AF_UNIX path|Read-only file system|Cannot allocate memory|OutOfMemoryError"
    r"|has been marked dead|raylet\S* (?:has )?(?:died|terminated)|Could not connect to|failed to connect to GCS"
    r"|^(?:[\w]+\.)*\w*(?:Error|Exception): ",
    re.IGNORECASE,
)


def cause_in_log(log: str) -> str:
    """Return the first line of a log that names a fault nothing goes on after, else nothing."""
    for line in _COLOUR.sub("", log).splitlines():
        if _FATAL.search(line) and not _BACK_END_GONE.search(line):
            return line.strip()
    return ""
