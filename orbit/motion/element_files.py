"""Which satellites a file of elements holds: each object once, without those that are left out on purpose.

Catalogues repeat objects, hold messages instead of elements, and elements of what has come down meanwhile.
Whatever is not flown as the file has it is said by an ``ElementsWarning``.
"""

from __future__ import annotations

import re
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from astropy.time import Time

from orbit.motion.elements import (
    ElementsError,
    ElementSet,
    ElementsWarning,
    MeanElements,
    catalogue_number,
    mean_elements,
    tle_sets,
)
from orbit.motion.frames import joined_julian_date, split_julian_date
from orbit.motion.omm import looks_like_omm, omm_sets

NAMED = 5  # objects that a warning names, of however many
QUOTED = 160  # characters of a message that is there instead of elements

OnError = Literal["error", "skip"]


@dataclass(frozen=True, eq=False)
class ElementFile:
    """N satellites of a file, each once: unique ``names``, what identifies them, and their mean elements."""

    names: tuple[str, ...]
    catalogue_number: tuple[int, ...]  # 0 where there is none
    _: KW_ONLY
    designator: tuple[str, ...]  # "" where there is none
    elements: MeanElements

    def take(self, indices: np.ndarray) -> ElementFile:
        """Some of the satellites, in the order of ``indices``."""
        chosen = indices.tolist()
        return ElementFile(
            tuple(self.names[i] for i in chosen),
            tuple(self.catalogue_number[i] for i in chosen),
            designator=tuple(self.designator[i] for i in chosen),
            elements=self.elements.take(indices),
        )


def read_element_file(
    path: Path | str,
    *,
    epoch: Time | None = None,
    skip: Sequence[str | int] = (),
    on_error: OnError = "error",
) -> ElementFile:
    """The satellites of a file of TLEs or OMMs (JSON, XML, KVN or CSV), told by content.

    Of several sets of one catalogue number, the one nearest to ``epoch`` is taken, or else the newest.  ``skip``
    names objects (by name or catalogue number) that are not even read; with ``on_error="skip"`` sets that cannot
    be read are left out, too.

    Raises ``ElementsError`` naming file and line (or record and key) of the first fault, ``OSError`` without the
    file.
    """
    every, used = _read_sets(Path(path), skip, on_error)
    sets = _once_each(every, str(path), epoch)
    names = _unique_names(sets)
    if skip:  # also by what a name became that is not the only one
        left_out = [is_skipped([name], skip) for name in names]
        kept = [k for k, words in enumerate(left_out) if not words]
        sets, names = [sets[k] for k in kept], [names[k] for k in kept]
        used = used.union(*left_out)
        if unused := [str(word) for word in skip if word not in used]:
            _warn(f"{path}: constellation.skip names {listed(unused)}, which is not in the file")
    if not sets:
        raise ElementsError(f"{path}: found no element set, or all are skipped")
    without_drag = [element_set for element_set in sets if not element_set.has_bstar]
    if without_drag:
        named = listed([_called(element_set) for element_set in without_drag])
        _warn(
            f"{path}: {len(without_drag)} of {len(sets)} satellites have no B* ({named}) and fly without drag: in low "
            "orbits they are off by up to hundreds of kilometres in a week"
        )
    return ElementFile(
        tuple(names),
        tuple(element_set.catalogue_number for element_set in sets),
        designator=tuple(element_set.designator for element_set in sets),
        elements=mean_elements(sets),
    )


def is_skipped(labels: Iterable[str], skip: Iterable[str | int]) -> set[str | int]:
    """The words of ``skip`` that are one of the ``labels``: names in any case, numbers with or without Alpha-5."""
    plain = {_plain(label) for label in labels if label.strip()}
    return {word for word in skip if _plain(str(word)) in plain}


def _plain(label: str) -> str:
    try:
        return str(catalogue_number("", label))
    except ElementsError:
        return label.strip().casefold()


def _read_sets(
    path: Path, skip: Sequence[str | int], on_error: OnError
) -> tuple[list[ElementSet], set[str | int]]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ElementsError(
            f"{path}: byte {error.start} is not UTF-8 text; allowed are TLE and OMM files"
        ) from None
    _refuse_message(text, str(path))
    sets: list[ElementSet] = []
    faults: list[str] = []
    used: set[str | int] = set()
    for element_set in (omm_sets if looks_like_omm(text) else tle_sets)(text, str(path)):
        if skip and (words := is_skipped(element_set.labels, skip)):
            used |= words
            continue
        try:
            sets.append(element_set.read())
        except ElementsError as error:
            if on_error == "error":
                raise
            faults.append(f"{next((label for label in element_set.labels if label), 'one')} ({error})")
    if faults:
        _warn(f"{path}: left out {len(faults)} of {len(faults) + len(sets)} element sets: {listed(faults)}")
    return sets, used


_TAGS = re.compile(r"<(style|script)\b.*?</\1>|<[^>]*>", re.IGNORECASE | re.DOTALL)
# What a file of each form holds somewhere when it holds elements; what stands in messages is another matter.
_JSON_KEY = re.compile(r'"(EPOCH|MEAN_MOTION|OBJECT_NAME|OBJECT_ID|NORAD_CAT_ID)"\s*:')
_XML_TAG = re.compile(r"<(\w+:)?(ndm|omm|segment|EPOCH)\b|<!ENTITY", re.IGNORECASE)
_TLE_LINE = re.compile(r"[12] .{59}", re.MULTILINE)


def _refuse_message(text: str, source: str) -> None:
    """Raise ``ElementsError`` that quotes the file when it holds what a server says instead of elements."""
    begins = text.lstrip()[:1]
    if begins in ("{", "["):
        holds_elements, content = bool(_JSON_KEY.search(text)), text
    elif begins == "<":
        holds_elements, content = bool(_XML_TAG.search(text)), _TAGS.sub(" ", text)
    else:
        holds_elements, content = looks_like_omm(text) or bool(_TLE_LINE.search(text)), text
    if holds_elements or not content.strip():
        return
    quoted = " ".join(content.split())
    quoted = quoted if len(quoted) <= QUOTED else f"{quoted[:QUOTED]}…"
    raise ElementsError(f'{source}: found no element set but a message: "{quoted}"')


def _once_each(sets: list[ElementSet], source: str, epoch: Time | None) -> list[ElementSet]:
    """One set of each catalogue number, in the order in which objects come first in the file."""
    by_number: dict[int, list[int]] = defaultdict(list)
    for index, element_set in enumerate(sets):
        by_number[element_set.catalogue_number or -1 - index].append(
            index
        )  # without a number each is its own
    if len(by_number) == len(sets):
        return sets
    jd, fraction = (
        (3e6, 0.0) if epoch is None else split_julian_date(epoch)
    )  # nearest to the year 3501: the newest
    chosen, several = [], []
    for indices in by_number.values():
        # The later one in the file of two that are as near corrects the earlier one.
        best = min(
            reversed(indices), key=lambda i: abs((jd - sets[i].values[0]) + (fraction - sets[i].values[1]))
        )
        chosen.append(sets[best])
        if len(indices) > 1:
            date = joined_julian_date(*(np.array(value) for value in sets[best].values[:2])).isot[:16]
            several.append(f"{_called(sets[best])}: {len(indices)} sets, that of {date} is flown")
    which = "newest" if epoch is None else f"nearest to {epoch.utc.isot[:16]}"
    _warn(
        f"{source}: {len(several)} objects have several element sets, the {which} counts: {listed(several)}"
    )
    return chosen


def _called(element_set: ElementSet) -> str:
    """The name of an object, or else its number, its designator or its place in the file."""
    return (
        element_set.name
        or str(element_set.catalogue_number or "")
        or element_set.designator
        or element_set.where
    )


def _unique_names(sets: Sequence[ElementSet]) -> Sequence[str]:
    """A name each; repeated ones ("OBJECT A") are told apart by designator or number, which stay with the object
    whatever else is in the file."""
    names = [_called(element_set) for element_set in sets]
    identities: tuple[Callable[[ElementSet], str], ...] = (
        lambda element_set: element_set.designator,
        lambda element_set: str(element_set.catalogue_number or ""),
    )
    for identity in identities:
        repeated = _repeated(names)
        names = [
            f"{element_set.name} ({identity(element_set)})"
            if name in repeated and name == element_set.name and identity(element_set)
            else name
            for name, element_set in zip(names, sets, strict=True)
        ]
    return numbered(names)


def _repeated(names: Sequence[str]) -> set[str]:
    return {name for name, count in Counter(names).items() if count > 1}


def numbered(names: Sequence[str]) -> tuple[str, ...]:
    """The names, the repeated ones told apart by their count."""
    count: dict[str, int] = {}
    unique, given = [], set(names)
    for name in names:
        count[name] = count.get(name, 0) + 1
        while count[name] > 1 and f"{name} #{count[name]}" in given:
            count[name] += 1
        unique.append(name if count[name] == 1 else f"{name} #{count[name]}")
    return tuple(unique)


def listed(words: Sequence[str]) -> str:
    """The first words, and how many more there are."""
    more = f", and {len(words) - NAMED} more" if len(words) > NAMED else ""
    return "; ".join(words[:NAMED]) + more


def _warn(message: str) -> None:
    warnings.warn(message, ElementsWarning, stacklevel=3)
