"""Draw the pictures of README and site from pages that commands have written: light and dark, as Chromium shows them.

    skysplit run demo --compare --out runs/pictured
    skysplit emulate demo --out runs/flown
    skysplit run demo-clouds --out runs/clouds
    skysplit sweep demo --grid ground.beams=1,2,3 --grid strategy.space_ground=nearest,topology-aware --out sweeps/beams
    skysplit cuts walker-12 --format html --out pages/cuts.html
    python docs/pictures.py report=runs/pictured/report.html measured=runs/flown/report.html#gantt \\
      tiles=runs/clouds/report.html#tiles comparison=runs/pictured/report.html#missions \\
      sweep=sweeps/beams/sweep.html#pareto cuts=pages/cuts.html#pareto

Each word is NAME=PAGE, a page from its top, or NAME=PAGE#SECTION, that section alone. Writes `docs/images/NAME.png` and
`docs/images/NAME-dark.png`, of 200 kB at most each; needs Chromium.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

IMAGES = Path(__file__).parent / "images"
WIDTH = 1280
TOP_HEIGHT = 840  # of a page from its top, down to the first chart
SECTION_HEIGHT = 640
SCHEMES = {"": "1", "-dark": "0"}  # Chromium's numbers for light and dark
MOST_BYTES, COLOURS = 200_000, 256
# Leaves of a page what belongs to one heading.
ALONE = """<script>
let shown = false;
for (const part of document.querySelector("main").children) {
  if (part.tagName === "H2") shown = part.id === "%s-title";
  if (!shown) part.style.display = "none";
}
for (const part of document.querySelectorAll("header, nav")) part.style.display = "none";
</script></body>"""


def draw(name: str, page: Path, section: str, chromium: str) -> None:
    """Draw a page, or one section of it, in both schemes; exits with a sentence where a picture is too large."""
    text = page.read_text(encoding="utf-8")
    if section and f'id="{section}-title"' not in text:
        sys.exit(f"{page}: has no section {section!r}")
    height = SECTION_HEIGHT if section else TOP_HEIGHT
    with tempfile.TemporaryDirectory() as folder:
        shown = Path(folder, "page.html")
        head, body, end = text.rpartition("</body>")
        shown.write_text(head + (ALONE % section if section else body) + end, encoding="utf-8")
        for suffix, scheme in SCHEMES.items():
            picture = IMAGES / f"{name}{suffix}.png"
            command = [
                chromium, "--headless", "--no-sandbox", "--hide-scrollbars", f"--user-data-dir={folder}/profile",
                f"--blink-settings=preferredColorScheme={scheme}", f"--window-size={WIDTH},{height}",
                "--virtual-time-budget=10000", f"--screenshot={picture}", shown.as_uri(),
            ]  # fmt: skip
            subprocess.run(command, check=True, capture_output=True, timeout=300)
            with Image.open(picture) as drawn:
                drawn.convert("RGB").quantize(COLOURS, kmeans=1).save(picture, optimize=True)
            if picture.stat().st_size > MOST_BYTES:
                sys.exit(f"{picture}: {picture.stat().st_size} bytes, allowed: {MOST_BYTES}")
            print(picture)


def main(words: list[str]) -> None:
    """Draw what the words ask for; exits with a sentence where Chromium or a page is missing."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        sys.exit("Chromium is not installed")
    for word in words:
        name, equals, place = word.partition("=")
        file, _, section = place.partition("#")
        if not equals or not Path(file).is_file():
            sys.exit(f"found {word!r}, allowed: NAME=PAGE or NAME=PAGE#SECTION, PAGE a file that there is")
        draw(name, Path(file), section, chromium)


if __name__ == "__main__":
    main(sys.argv[1:])
