"""Inequalities of a linear program, written a whole block of rows at a time."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, field

import numpy as np
from scipy.sparse import csr_array


@dataclass
class LinearRows:
    """Rows ``sum of coefficient times variable <= limit``; terms of one row and variable add up."""

    count: int = 0
    _row: list[np.ndarray] = field(default_factory=list)
    _: KW_ONLY
    _variable: list[np.ndarray] = field(default_factory=list)
    _coefficient: list[np.ndarray] = field(default_factory=list)
    _limit: list[np.ndarray] = field(default_factory=list)

    def add(self, limit: np.ndarray, *terms: tuple[np.ndarray, np.ndarray, np.ndarray | float]) -> None:
        """Append ``len(limit)`` rows; a term is (row of this block, variable, coefficient), arrays of one length."""
        for row, variable, coefficient in terms:
            self._row.append(np.asarray(row, np.int64) + self.count)
            self._variable.append(np.asarray(variable, np.int64))
            self._coefficient.append(np.broadcast_to(np.asarray(coefficient, float), np.shape(row)))
        self._limit.append(np.asarray(limit, float))
        self.count += len(limit)

    def matrix(self, variables: int) -> tuple[csr_array, np.ndarray]:
        """Return the coefficients, shape ``(rows, variables)``, and the limits."""
        ends = (np.concatenate(self._row), np.concatenate(self._variable))
        shape = (self.count, variables)
        return csr_array((np.concatenate(self._coefficient), ends), shape=shape), np.concatenate(self._limit)
