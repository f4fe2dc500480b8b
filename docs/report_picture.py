"""Draw the pictures of README and site from a run of `demo`: light and dark, as Chromium shows its report.

    skysplit run demo --compare --out runs/pictured
    python docs/report_picture.py runs/pictured

Writes `docs/images/report.png` and `docs/images/report-dark.png`; needs Chromium.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

IMAGES = Path(__file__).parent / "images"
SIZE = "1280,840"  # down to the whole first chart
SCHEMES = {"report.png": "1", "report-dark.png": "0"}  # Chromium's numbers for light and dark


def main(run: Path) -> None:
    """Draw the report of a run; exits with a sentence where Chromium or the report is missing."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    report = (run / "report.html").resolve()
    if chromium is None:
        sys.exit("Chromium is not installed")
    if not report.exists():
        sys.exit(f"{run}: holds no report.html; allowed is the directory of a run that has ended")
    for name, scheme in SCHEMES.items():
        with tempfile.TemporaryDirectory() as profile:
            subprocess.run(
                [
                    chromium,
                    "--headless",
                    "--no-sandbox",
                    "--hide-scrollbars",
                    f"--user-data-dir={profile}",
                    f"--blink-settings=preferredColorScheme={scheme}",
                    f"--window-size={SIZE}",
                    "--virtual-time-budget=10000",
                    f"--screenshot={IMAGES / name}",
                    report.as_uri(),
                ],
                check=True,
                capture_output=True,
                timeout=120,
            )
        print(IMAGES / name)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
