"""Write tests/orbit/orekit_windows.json: contact windows as Orekit finds them, the reference of the contact
finder.

    python -m benchmarks.make_orekit_windows

Needs ``orekit-jpype`` (and a Java runtime) beside astropy and sgp4, best in an environment of its own;
about two minutes.  Orekit propagates with its own SGP4, turns TEME into ITRF with the same table of the
Earth's orientation that is installed with astropy, and detects the crossings of the mask with a check every
2 s to 1e-6 s.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import astropy
import astropy_iers_data
import numpy as np
import orekit_jpype
from astropy.time import Time

from benchmarks.orbit_cases import HORIZON_S, MASK_DEG, REFERENCE_EPOCH, STATIONS, walker_case
from orbit.constellation import Constellation

OUT = Path(__file__).parent.parent / "tests" / "orbit" / "orekit_windows.json"


def start_orekit() -> None:
    """Start the virtual machine and give Orekit astropy's leap seconds and Earth orientation."""
    orekit_jpype.initVM()
    from java.io import File
    from org.orekit.data import DataContext, DirectoryCrawler

    folder = Path(tempfile.mkdtemp())
    (folder / "finals2000A.all").write_bytes(Path(astropy_iers_data.IERS_A_FILE).read_bytes())
    (folder / "tai-utc.dat").write_text(_leap_seconds())
    DataContext.getDefault().getDataProvidersManager().addProvider(DirectoryCrawler(File(str(folder))))


def _leap_seconds() -> str:
    """The leap seconds since 1972 in the form of the USNO's tai-utc.dat."""
    months = ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"]
    lines = []
    for line in Path(astropy_iers_data.IERS_LEAP_SECOND_FILE).read_text().splitlines():
        if line.strip() and not line.startswith("#"):
            mjd, day, month, year, tai_utc = line.split()
            lines.append(
                f" {year} {months[int(month) - 1]} {int(day):2d} =JD {float(mjd) + 2400000.5:.1f}  TAI-UTC= "
                f"{float(tai_utc):9.7f}       S + (MJD - 41317.) X 0.0      S"
            )
    return "\n".join(lines) + "\n"


def orekit_windows(constellation: Constellation) -> list[list[float]]:
    """[satellite, station, AOS, LOS] of every window that begins and ends within the horizon, or is cut by
    it."""
    from org.orekit.bodies import GeodeticPoint, OneAxisEllipsoid
    from org.orekit.frames import FramesFactory, TopocentricFrame
    from org.orekit.propagation.analytical.tle import TLE, TLEPropagator
    from org.orekit.propagation.events import ElevationDetector, EventsLogger
    from org.orekit.propagation.events.handlers import ContinueOnEvent
    from org.orekit.time import AbsoluteDate, TimeScalesFactory
    from org.orekit.utils import Constants, IERSConventions

    earth = OneAxisEllipsoid(
        Constants.WGS84_EARTH_EQUATORIAL_RADIUS,
        Constants.WGS84_EARTH_FLATTENING,
        FramesFactory.getITRF(IERSConventions.IERS_2010, True),
    )
    tops = [
        TopocentricFrame(
            earth,
            GeodeticPoint(float(np.radians(s.lat_deg)), float(np.radians(s.lon_deg)), s.height_m),
            s.name,
        )
        for s in STATIONS
    ]
    utc = TimeScalesFactory.getUTC()
    epoch = AbsoluteDate(REFERENCE_EPOCH, utc)
    e = constellation.elements
    windows = []
    for k in range(len(constellation)):
        tle = TLE(
            k + 1, "U", 2026, 1, "A", 0, 1, epoch, float(e.mean_motion_rad_min[k] / 60.0), 0.0, 0.0, float(e.ecc[k]),
            float(e.inc_rad[k]), float(e.argp_rad[k]), float(e.raan_rad[k]), float(e.mean_anomaly_rad[k]), 1,
            float(e.bstar[k]),
        )  # fmt: skip
        propagator = TLEPropagator.selectExtrapolator(tle)
        loggers = []
        for top in tops:
            detector = ElevationDetector(2.0, 1e-6, top).withConstantElevation(float(np.radians(MASK_DEG)))
            logger = EventsLogger()
            propagator.addEventDetector(logger.monitorDetector(detector.withHandler(ContinueOnEvent())))
            loggers.append(logger)
        propagator.propagate(epoch, epoch.shiftedBy(HORIZON_S))
        for number, logger in enumerate(loggers):
            start = 0.0
            open_window = False
            for event in logger.getLoggedEvents():
                time = float(event.getState().getDate().durationFrom(epoch))
                if event.isIncreasing():
                    start, open_window = time, True
                else:
                    windows.append([k, number, round(start, 6), round(time, 6)])
                    start, open_window = 0.0, False
            if open_window:
                windows.append([k, number, round(start, 6), HORIZON_S])
        print(f"satellite {k + 1} of {len(constellation)}", end="\r", flush=True)
    return windows


def main() -> None:
    start_orekit()
    cases = {name: orekit_windows(walker_case(name)) for name in ("24/4/1", "72/6/1")}
    OUT.write_text(
        json.dumps(
            {
                "source": f"Orekit through orekit-jpype, TLEPropagator, ITRF (IERS 2010), check 2 s, "
                f"astropy {astropy.__version__} data, made by benchmarks/make_orekit_windows.py",
                "epoch": Time(REFERENCE_EPOCH).isot,
                "windows": cases,
            },
            separators=(",", ":"),
        ).replace("],[", "],\n[")
    )
    print({name: len(windows) for name, windows in cases.items()})


if __name__ == "__main__":
    main()
