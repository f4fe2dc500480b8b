"""What ION and HDTN do with a contact plan, as their sources have it; written for tests, from the published behaviour.

ION (nasa-jpl/ION-DTN, `ici/utils/ionadmin.c` and ionrc(5)): a command file is read into a buffer of 256 bytes, so that
a longer line goes on as the next; a line that begins with '#' is a comment; tokens are parted by white space, nine at
most; an added contact has a start, an end after it, two node numbers above 0 and a rate in whole bytes a second, kept
in 32 bits; '+' counts from the time of the last '@'; a start of 0 or -1 is a contact of another kind.

HDTN (nasa/HDTN, `module/router/src/router.cpp`): numbers are unsigned and whole; a rate of 0 is unlimited.
"""

from __future__ import annotations

import json
import re
from calendar import timegm
from dataclasses import dataclass
from time import strptime

BUFFER_BYTES = 256


@dataclass(frozen=True)
class IonContact:
    start_unix_s: int
    end_unix_s: int
    source: int
    target: int
    bytes_per_s: int


@dataclass(frozen=True)
class IonRange:
    start_unix_s: int
    end_unix_s: int
    source: int
    target: int
    light_s: int


class IonAdmin:
    """The contacts and ranges that ionadmin has after a command file, and the lines that it took for no command."""

    def __init__(self, text: str) -> None:
        self.contacts: list[IonContact] = []
        self.ranges: list[IonRange] = []
        self.refused: list[str] = []
        self._reference_s = 0
        for line in self._lines(text.encode()):
            self._process(line)

    @staticmethod
    def _lines(content: bytes) -> list[str]:
        lines = []
        for line in content.split(b"\n"):
            for first in range(0, max(len(line), 1), BUFFER_BYTES - 1):
                lines.append(line[first : first + BUFFER_BYTES - 1].decode(errors="replace"))
        return lines

    def _process(self, line: str) -> None:
        tokens = line.split()
        if not tokens or line.startswith("#"):
            return
        if len(tokens) > 9:
            self.refused.append(line)
        elif tokens[0][0] == "@" and len(tokens) == 2:
            self._reference_s = self._time_s(tokens[1])
        elif tokens[0][0] == "a" and tokens[1:2] == ["contact"] and len(tokens) == 7:
            start_s, end_s, source, target, rate = self._numbers(tokens)
            if tokens[2][0] in "0-" or not (end_s > start_s and source > 0 and target > 0):
                self.refused.append(line)
            self.contacts.append(IonContact(start_s, end_s, source, target, rate & 0xFFFFFFFF))
        elif tokens[0][0] == "a" and tokens[1:2] == ["range"] and len(tokens) == 7:
            start_s, end_s, source, target, light_s = self._numbers(tokens)
            if not (end_s > start_s and source > 0 and target > 0):
                self.refused.append(line)
            self.ranges.append(IonRange(start_s, end_s, source, target, light_s & 0xFFFFFFFF))
        else:
            self.refused.append(line)

    def _numbers(self, tokens: list[str]) -> tuple[int, int, int, int, int]:
        times = [self._time_s(token) for token in tokens[2:4]]
        return times[0], times[1], *(self._strtol(token) for token in tokens[4:7])

    @staticmethod
    def _strtol(token: str) -> int:
        """As C does it: digits up to the first other character."""
        match = re.match(r"[+-]?\d+", token)
        return int(match[0]) if match else 0

    def _time_s(self, token: str) -> int:
        if token.startswith("+"):
            return self._reference_s + self._strtol(token[1:])
        return timegm(strptime(token, "%Y/%m/%d-%H:%M:%S"))


@dataclass(frozen=True)
class HdtnContact:
    contact: int
    source: int
    dest: int
    start_s: int
    end_s: int
    rate_bps: int
    owlt_s: int


def hdtn_contacts(text: str) -> list[HdtnContact]:
    """The contacts of a plan; ``ValueError`` for a number that is not unsigned and whole in 64 bits."""

    def whole(value: object) -> int:
        if not (isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**64):
            raise ValueError(f"not an unsigned number: {value!r}")
        return value

    keys = ("contact", "source", "dest", "startTime", "endTime", "rateBitsPerSec", "owlt")
    return [HdtnContact(*(whole(one[key]) for key in keys)) for one in json.loads(text)["contacts"]]
