"""Which images train and which score: by the words that people use, else drawn by seed."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from splitmodel.imagery.errors import ImageryError

TRAIN, VALIDATION, TEST = "train", "validation", "test"
# As the Hugging Face hub recognises them in names of files and folders.
_WORDS = {
    **dict.fromkeys(("train", "training"), TRAIN),
    **dict.fromkeys(("validation", "valid", "val", "dev"), VALIDATION),
    **dict.fromkeys(("test", "testing", "eval", "evaluation"), TEST),
}
ALLOWED = "train, validation (or val, valid, dev) and test, in upper or lower case"


def composed(name: str) -> str:
    """Return a name in Unicode's composed form (NFC): macOS writes names of files decomposed."""
    return unicodedata.normalize("NFC", name)


def subset_called(word: str) -> str | None:
    """Return the subset that a word names, ``None`` where it names none."""
    return _WORDS.get(word.strip().casefold())


def subset_in(name: str) -> str | None:
    """Return the subset that a word of a file's or folder's name names: ``train-00000-of-00002``."""
    words = re.split(r"[^a-z]+", name.casefold())
    return next((_WORDS[word] for word in words if word in _WORDS), None)


def subsets_in_column(values: Sequence[str | None], where: str, column: str) -> list[str]:
    """Return the subset that each row of a column names.

    Raises:
        ImageryError: A row names none; it is named.
    """
    known = {value: subset_called(value) if value is not None else None for value in set(values)}
    for row, value in enumerate(values):
        if known[value] is None:
            raise ImageryError(f"{where}: row {row}: {column} is {value!r}; allowed: {ALLOWED}")
    return [subset for value in values if (subset := known[value])]


def divide(
    subsets: Sequence[str | None], seed: int, where: str
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the rows that train and those that score.

    The test subset scores, without one the validation subset. Where no row is named, a fifth is drawn by seed.

    Raises:
        ImageryError: Subsets are named and none is to train on, or only some rows are named.
    """
    count = len(subsets)
    named = np.array([subset or "" for subset in subsets])
    if not (named != "").any():
        order = np.random.default_rng([seed, count]).permutation(count)
        return np.sort(order[count // 5 :]), np.sort(order[: count // 5])
    if not (named == TRAIN).any():
        listed = ", ".join(sorted(set(named) - {""}))
        raise ImageryError(
            f"{where}: holds no training images; found only the subset {listed}; allowed: {ALLOWED}"
        )
    scored = TEST if (named == TEST).any() else VALIDATION
    return np.flatnonzero(named == TRAIN), np.flatnonzero(named == scored)
