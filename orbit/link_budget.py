"""Link rate from a link budget: EIRP, G/T and bandwidth over a slant path → bits a second.

C/N₀ = EIRP + G/T − path loss − attenuation + 228.6 dB (Maral & Bousquet, Satellite Communications Systems,
ch. 5).
"""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import Literal

import numpy as np

from orbit.motion.frames import LIGHT_KM_S

BOLTZMANN_DBW_HZ_K = -228.599

# Needed Es/N0 [dB] at a packet error rate of 1e-7 and spectral efficiency [bit/symbol] of DVB-S2 with
# normal frames, ETSI EN 302 307-1 V1.4.1, table 13; only the modes that no other beats.
DVB_S2 = np.array(
    [
        (-2.35, 0.490243),  # QPSK 1/4
        (-1.24, 0.656448),
        (-0.30, 0.789412),
        (1.00, 0.988858),
        (2.23, 1.188304),
        (3.10, 1.322253),
        (4.03, 1.487473),
        (4.68, 1.587196),
        (5.18, 1.654663),
        (5.50, 1.779991),  # 8PSK 3/5
        (6.62, 1.980636),
        (7.91, 2.228124),
        (8.97, 2.637201),  # 16APSK 2/3
        (10.21, 2.966728),
        (11.03, 3.165623),
        (11.61, 3.300184),
        (12.73, 3.703295),  # 32APSK 3/4
        (13.64, 3.951571),
        (14.28, 4.119540),
        (15.69, 4.397854),
        (16.05, 4.453027),  # 32APSK 9/10
    ]
)


class LinkBudgetError(ValueError):
    """A link budget that cannot be; the message names the field."""


@dataclass(frozen=True)
class LinkBudget:
    """One direction of a space-ground link.

    ``zenith_attenuation_db`` is the clear-air loss straight up, which grows with 1 / sin(elevation) (ITU-R
    P.676); ``rain_margin_db`` and ``margin_db`` are subtracted at any elevation.  ``coding`` turns the
    signal-to-noise ratio into bits: Shannon's capacity of the bandwidth, or the best DVB-S2 mode at a
    symbol rate of bandwidth / (1 + ``roll_off``).

    Raises ``LinkBudgetError`` naming the field that is out of range.
    """

    frequency_hz: float
    bandwidth_hz: float
    _: KW_ONLY
    eirp_dbw: float
    g_over_t_db_k: float
    margin_db: float = 3.0
    zenith_attenuation_db: float = 0.0
    rain_margin_db: float = 0.0
    coding: Literal["shannon", "dvb-s2"] = "shannon"
    roll_off: float = 0.2

    def __post_init__(self) -> None:
        for field, low, high in (
            ("frequency_hz", 1e8, 1e15),
            ("bandwidth_hz", 1.0, 1e12),
            ("eirp_dbw", -60.0, 150.0),
            ("g_over_t_db_k", -60.0, 150.0),
            ("margin_db", 0.0, 60.0),
            ("zenith_attenuation_db", 0.0, 60.0),
            ("rain_margin_db", 0.0, 100.0),
            ("roll_off", 0.0, 1.0),
        ):
            value = getattr(self, field)
            if not low <= value <= high:
                raise LinkBudgetError(f"{field}: found {value!r}, allowed is {low:g} to {high:g}")
        if self.coding not in ("shannon", "dvb-s2"):
            raise LinkBudgetError(f"coding: found {self.coding!r}, allowed are shannon and dvb-s2")

    def snr_db(self, range_km: np.ndarray, elevation_deg: np.ndarray) -> np.ndarray:
        """Signal-to-noise ratio in the bandwidth after all margins [dB], of the shape of the arguments."""
        path_loss_db = 20 * np.log10(4 * np.pi * range_km * self.frequency_hz / LIGHT_KM_S)
        # Below five degrees the path no longer grows with the cosecant; hold it there.
        air_db = self.zenith_attenuation_db / np.sin(np.radians(np.maximum(elevation_deg, 5.0)))
        carrier_db_hz = self.eirp_dbw + self.g_over_t_db_k - path_loss_db - air_db - BOLTZMANN_DBW_HZ_K
        return carrier_db_hz - 10 * np.log10(self.bandwidth_hz) - self.margin_db - self.rain_margin_db

    def rate_bps(self, range_km: np.ndarray, elevation_deg: np.ndarray) -> np.ndarray:
        """The rate the link carries [bit/s], of the shape of the arguments; 0 where no DVB-S2 mode closes."""
        snr_db = self.snr_db(range_km, elevation_deg)
        if self.coding == "shannon":
            return self.bandwidth_hz * np.log2(1 + 10 ** (snr_db / 10))
        # Es/N0 is measured in the symbol rate, which is narrower than the bandwidth.
        mode = np.searchsorted(DVB_S2[:, 0], snr_db + 10 * np.log10(1 + self.roll_off), side="right")
        efficiency = np.concatenate([[0.0], DVB_S2[:, 1]])[mode]
        return efficiency * self.bandwidth_hz / (1 + self.roll_off)
