"""Codecs in other packages, found by their entry points: they encode the rows of a tensor as bytes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from mission.entry_points import CODECS, EntryPointError, registered_class, registered_object

ROW_MARGIN_BYTES = 64  # that a row may take beyond float32; relays know the same number


class CodecError(ValueError):
    """A tensor that a codec cannot carry, or bytes that no codec of ours wrote."""


class Codec(ABC):
    """Encode rows of numbers as bytes, and decode them: the base class of codecs in other packages.

    A row is what crosses of one image (or of one class, where a shared head crosses). Rows are cut apart, kept and put
    together again while they are encoded, so each is packed by itself, and all of a length take equally many bytes.
    Planner, satellites and ground each make an object of their own, without arguments: it keeps nothing between calls.

    Attributes:
        quantises: Whether an element's error depends on others of its row: channels then cross with mean 0 and
            deviation 1.
    """

    quantises: ClassVar[bool] = True

    @abstractmethod
    def row_bytes(self, elements: int) -> int:
        """Return how many bytes a row of so many elements takes, at least 1 and at most 4 an element and 64 more."""

    @abstractmethod
    def pack(self, values_RE: NDArray[np.float32]) -> NDArray[np.uint8]:
        """Return the bytes of each row, shape (rows, bytes of a row). All values are finite."""

    @abstractmethod
    def unpack(self, packed_RB: NDArray[np.uint8], elements: int) -> NDArray[np.float32]:
        """Return the values of each row, shape (rows, elements); the inverse of :meth:`pack`, but for its error."""


@dataclass(frozen=True)
class CheckedCodec:
    """A codec of another package, each of whose answers is checked.

    Attributes:
        words: Which one it is, for messages.
        codec: An object of its class.
    """

    words: str
    codec: Codec

    @property
    def quantises(self) -> bool:
        """Return whether each channel is standardised before it is encoded."""
        return bool(self.codec.quantises)

    def scale_bytes(self, elements: int) -> int:
        """Return 0: nothing stands before all rows."""
        return 0

    def bytes_of(self, elements: int) -> int:
        """Return the bytes of a row, 0 of one without elements.

        Raises:
            CodecError: The codec fails, or its answer is not allowed.
        """
        if not elements:
            return 0
        size = self._asked("row_bytes", self.codec.row_bytes, elements)
        most = 4 * elements + ROW_MARGIN_BYTES
        if not isinstance(size, int | np.integer) or not 1 <= size <= most:
            raise CodecError(
                f"{self.words}: row_bytes({elements}) gave {size!r}; allowed: a whole number from 1 to {most}"
            )
        return int(size)

    def pack(self, values_RE: NDArray[np.float32]) -> NDArray[np.uint8]:
        """Return the bytes of each row, shape (rows, bytes of a row)."""
        rows, elements = values_RE.shape
        values = values_RE.view()
        values.flags.writeable = False  # it may be the caller's own memory
        packed: NDArray[np.uint8] = self._asked("pack", self.codec.pack, values)
        self._require("pack", packed, np.uint8, (rows, self.bytes_of(elements)))
        return packed

    def unpack(self, packed_RB: NDArray[np.uint8], elements: int) -> NDArray[np.float32]:
        """Return the values of each row, shape (rows, elements)."""
        values: NDArray[np.float32] = self._asked("unpack", self.codec.unpack, packed_RB, elements)
        self._require("unpack", values, np.float32, (len(packed_RB), elements))
        if not np.isfinite(values).all():
            raise CodecError(f"{self.words}: unpack gave values that are not finite")
        return values

    def _asked(self, method: str, function: Callable[..., Any], *given: Any) -> Any:
        try:
            return function(*given)
        except Exception as error:  # whatever a package's code does
            raise CodecError(f"{self.words}: {method} failed: {type(error).__name__}: {error}") from error

    def _require(self, method: str, value: Any, dtype: type, shape: tuple[int, ...]) -> None:
        if not isinstance(value, np.ndarray) or value.dtype != dtype or value.shape != shape:
            is_a = (
                f"{value.dtype} of shape {value.shape}"
                if isinstance(value, np.ndarray)
                else f"a {type(value).__name__}"
            )
            raise CodecError(
                f"{self.words}: {method} gave {is_a}; allowed: {dtype.__name__} of shape {shape}"
            )


@cache
def registered_codec(name: str, ours: tuple[str, ...]) -> CheckedCodec:
    """Return the codec that a package registers under a name.

    Args:
        name: As a scenario or a manifest has it.
        ours: Names that are taken.

    Raises:
        CodecError: There is none, or several; or it cannot be imported, or is no :class:`Codec`.
    """
    try:
        where, _ = registered_object(CODECS, name, ours)
        kind = registered_class(CODECS, name, Codec, ours)
    except EntryPointError as error:
        raise CodecError(str(error)) from error
    try:
        return CheckedCodec(f"codec {name!r} ({where})", kind())
    except Exception as error:  # whatever a package's code does
        raise CodecError(
            f"entry point {CODECS}: {where} cannot be made: {type(error).__name__}: {error}"
        ) from error
