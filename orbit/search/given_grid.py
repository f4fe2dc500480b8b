"""A grid of links between planes that the user gives: which satellite is paired with which, by name or from a file."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from orbit.constellation import Constellation
from orbit.search.intersatellite import plane_neighbours


class GridError(ValueError):
    """A grid that cannot be; the message names the pair, or the file and the line."""


def read_pairs(path: Path, names: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """The pairs of satellites in a file, a line each: two names or two numbers, with a comma or a space between.

    Numbers count the satellites from 0, as the grids of Hypatia do; they are taken as names where all of them are
    names.  Empty lines and those that begin with '#' are skipped.

    Raises ``GridError`` naming the line, ``OSError`` without the file.
    """
    rows: list[tuple[int, str, str]] = []
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise GridError(f"{path}: byte {error.start} is not UTF-8 text") from None
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        words = next(csv.reader([line], skipinitialspace=True)) if "," in line else line.split()
        if len(words) != 2:
            raise GridError(
                f"{path}, line {number}: found {line[:40]!r}, expected two satellites, with a comma between "
                "where their names have spaces"
            )
        rows.append((number, words[0].strip(), words[1].strip()))
    if not rows:
        raise GridError(f"{path}: found no pair of satellites")
    known = set(names)
    by_number = not all(word in known for _, *words in rows for word in words) and all(
        word.isascii() and word.isdecimal() for _, *words in rows for word in words
    )
    pairs = []
    for number, *words in rows:
        for word in words:
            if by_number and int(word) >= len(names):
                raise GridError(
                    f"{path}, line {number}: found satellite {word}, allowed are 0 to {len(names) - 1}"
                )
            if not by_number and word not in known:
                raise GridError(f"{path}, line {number}: found {word!r}, which is no satellite's name")
        first, second = (names[int(word)] if by_number else word for word in words)
        pairs.append((first, second))
    return tuple(pairs)


def given_grid(
    constellation: Constellation, pairs: Sequence[tuple[str, str]], *, terminals: int, rings: bool
) -> np.ndarray:
    """The given pairs (K, 2) as indices, each once, in order.

    Neighbours in a plane may be among them where links within planes (``rings``) join them anyway, and are left out.

    Raises ``GridError`` for a name that no satellite has, a satellite paired with itself, a pair within one plane,
    and a satellite with more partners than ``terminals``.
    """
    index = {name: number for number, name in enumerate(constellation.names)}
    ring = {tuple(sorted(pair)) for pair in plane_neighbours(constellation).tolist()} if rings else set()
    chosen: set[tuple[int, int]] = set()
    for pair in pairs:
        spoken = " and ".join(repr(name) for name in pair)
        for name in pair:
            if name not in index:
                raise GridError(f"inter_orbit.pairs: {spoken}: found {name!r}, which is no satellite's name")
        first, second = sorted(index[name] for name in pair)
        if first == second:
            raise GridError(f"inter_orbit.pairs: {spoken}: a link joins two different satellites")
        if constellation.plane[first] != constellation.plane[second]:
            chosen.add((first, second))
        elif (first, second) not in ring:
            raise GridError(
                f"inter_orbit.pairs: {spoken}: both fly in plane {constellation.plane[first]}, "
                "allowed are satellites of different planes"
            )
    grid = np.array(sorted(chosen), np.int64).reshape(-1, 2)
    partners = np.bincount(grid.ravel(), minlength=len(constellation))
    if partners.max(initial=0) > terminals:
        most = int(np.argmax(partners))
        raise GridError(
            f"inter_orbit.pairs: {constellation.names[most]!r} has {partners[most]} partners, "
            f"allowed is {terminals} (inter_orbit.terminals)"
        )
    return grid
