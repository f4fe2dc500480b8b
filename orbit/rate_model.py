"""Rates of space-ground links by a function of somebody else's, in place of a constant or our link budget."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


class RateModelError(ValueError):
    """A rate model fails, or gives what is no rate; the message names it."""


@dataclass(frozen=True)
class RateModel:
    """One direction of a space-ground link.

    Attributes:
        name: For messages.
        function: Called with slant ranges [km] and elevations [deg], arrays of one shape; returns bit/s of that shape,
            0 where the link does not close.
    """

    name: str
    function: Callable[[NDArray[np.float64], NDArray[np.float64]], NDArray[np.float64]]

    def rate_bps(self, range_km: np.ndarray, elevation_deg: np.ndarray) -> np.ndarray:
        """The rate the link carries [bit/s], of the shape of the arguments.

        Raises:
            RateModelError: The function fails, or returns another shape, a rate below 0, NaN or infinity.
        """
        try:
            rates = np.asarray(self.function(range_km.copy(), elevation_deg.copy()), float)
        except Exception as error:  # whatever a package's code does
            raise RateModelError(f"{self.name}: failed: {type(error).__name__}: {error}") from error
        if rates.shape != range_km.shape:
            raise RateModelError(
                f"{self.name}: gave rates of shape {rates.shape}; allowed: {range_km.shape}, as the ranges have"
            )
        wrong = ~(np.isfinite(rates) & (rates >= 0))
        if wrong.any():
            raise RateModelError(
                f"{self.name}: gave {rates[wrong][0]} bit/s at {range_km[wrong][0]:.0f} km, "
                f"{elevation_deg[wrong][0]:.1f}°; allowed: finite rates from 0"
            )
        return rates
