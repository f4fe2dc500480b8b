"""Pages opened in a real browser: every chart is drawn, the console stays empty, keys move a chart."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner

from server_app.report import write_report
from skysplit.cli import app

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")

# Zooms the curve with the keyboard once it takes keys, and says how much of the axis is left.
PRESS_PLUS = """<script>
const wait = setInterval(() => {
  const chart = document.getElementById("curve");
  if (!chart.hasAttribute("tabindex")) return;
  clearInterval(wait);
  const span = () => chart._fullLayout.xaxis.range[1] - chart._fullLayout.xaxis.range[0];
  const before = span();
  chart.focus();
  chart.dispatchEvent(new KeyboardEvent("keydown", { key: "+", bubbles: true }));
  setTimeout(() => { document.title = `${document.activeElement.id} ${(span() / before).toFixed(3)}`; }, 200);
}, 50);
</script>"""


def opened(page: Path, profile: Path) -> tuple[str, list[str]]:
    """The page's markup after its scripts ran, and the lines of its console."""
    assert CHROMIUM
    quiet = "--no-first-run --disable-quic --disable-background-networking --disable-component-update --disable-sync"
    how = f"--headless --no-sandbox --disable-gpu {quiet} --enable-logging=stderr --virtual-time-budget=10000"
    tall = "--window-size=1280,9000"  # all charts in view
    command = [CHROMIUM, *how.split(), tall, "--dump-dom", f"--user-data-dir={profile}", page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=110, check=True)
    return done.stdout, [line for line in done.stderr.splitlines() if ":CONSOLE" in line]


def drawn(markup: str) -> list[str]:
    """Names of the charts that plotly has drawn; all that the page has."""
    charts = re.findall(r'<div class="(figure[^"]*)" id="(\w+)"', markup)
    assert markup.count('class="plot-container plotly"') == len(charts)
    return [name for style, name in charts if "js-plotly-plot" in style]


@pytest.mark.parametrize(
    ("words", "charts"),
    [
        (["constellation", "demo"], ["map"]),
        (
            ["compare", "demo", "--starts", "1", "--format", "html", "--set", "planning.samples=8",
             "--set", "planning.profile=DOFA-base", "--set", "horizon_h=4"],
            ["rounds", "time0"],
        ),
    ],
)  # fmt: skip
def test_pages_of_other_commands_are_drawn_without_a_console_message(
    words: list[str], charts: list[str], tmp_path: Path
) -> None:
    page = tmp_path / "page.html"
    done = CliRunner().invoke(app, [*words, "--out", str(page)])
    assert done.exit_code == 0, done.stderr
    markup, console = opened(page, tmp_path / "profile")
    assert console == []
    assert drawn(markup) == charts


def test_every_chart_of_a_report_is_drawn_without_a_console_message(
    emulated_run: Path, tmp_path: Path
) -> None:
    markup, console = opened(write_report(emulated_run), tmp_path / "profile")
    assert console == []
    names = [
        name
        for tag, name in re.findall(r'(<div class="figure[^>]*id="(\w+)"[^>]*>)', markup)
        if "plotly" in tag
    ]
    assert names == ["curve", "gantt", "map", "bytes", "seconds", "measured"]
    assert markup.count('class="plot-container plotly"') == len(names)
    gantt = markup[markup.index('id="gantt"') : markup.index('id="map"')]
    assert len(re.findall(r'class="js-fill"', gantt)) >= 5  # bars of a label are one path


def test_a_chart_is_zoomed_from_the_keyboard(simulated_run: Path, tmp_path: Path) -> None:
    page = write_report(simulated_run).read_text(encoding="utf-8")
    pressed = tmp_path / "pressed.html"
    pressed.write_text(page.replace("</body>", PRESS_PLUS + "</body>"), encoding="utf-8")
    markup, console = opened(pressed, tmp_path / "profile")
    assert console == []
    assert "<title>curve 0.667</title>" in markup
