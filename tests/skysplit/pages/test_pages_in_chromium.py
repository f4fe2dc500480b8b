"""Pages in a real browser: every chart is drawn, the console stays empty, keys move a chart, a live page follows."""

from __future__ import annotations

import importlib.resources
import itertools
import json
import os
import queue
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from mission.record import read_run, write_table, write_text
from report.pages.comparison_page import comparison_page
from report.pages.cuts_page import cuts_page
from report.pages.runs_page import runs_page
from skysplit.cli import app
from skysplit.live.live_page import LivePage
from skysplit.sweeps.page import sweep_page
from strategies.problem.plan import SPLIT_COLUMNS

ROOT = Path(__file__).parents[3]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")

QUIET = "--no-first-run --disable-background-networking --disable-component-update --disable-sync --disable-extensions"
# The globe has WebGL, computed without a GPU; all else is drawn without WebGL, which takes half the CPU time. Smooth
# edges, which nothing here looks at, would take twelve CPU-seconds more.
SOFTWARE_GL = (
    "--disable-gpu --enable-unsafe-swiftshader --webgl-antialiasing-mode=none --webgl-msaa-sample-count=0"
)
DRAWN = "[...document.querySelectorAll('.js-plotly-plot[tabindex]')].map(chart => chart.id)"


AXE = importlib.resources.files("axe_core_python").joinpath("axe.min.js")
SERIOUS = """axe.run(%s, { resultTypes: ["violations"], %s }).then(({ violations }) => violations
  .filter(({ impact }) => impact === "serious" || impact === "critical")
  .flatMap(({ id, nodes }) => nodes.map(node => `${id}: ${node.target} ${node.failureSummary}`)))"""
SAYS = ("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded")
# Elements with more in them than they are wide, charts higher than their place, and text of a drawing beyond the
# drawing; what scrolls may hold more, and what is a pixel wide is there for those who listen.
OVERFLOWS = """(() => {
  const scrolls = element => /auto|scroll/.test(getComputedStyle(element).overflowX);
  const isBlock = element => element.clientWidth > 1 && !(element instanceof SVGElement);
  const wide = [...document.querySelectorAll("body, body *")].filter(element =>
    isBlock(element) && element.scrollWidth > element.clientWidth + 1 && !scrolls(element));
  const cut = [...document.querySelectorAll("svg text")].filter(text => {
    const box = text.getBoundingClientRect(), { left, right, top, bottom } = outermost(text).getBoundingClientRect();
    return box.width && (box.left < left - 1 || box.right > right + 1 || box.top < top - 1 || box.bottom > bottom + 1);
  });
  const high = [...document.querySelectorAll(".main-svg")].map(drawing => [drawing, drawing.closest(".figure")])
    .filter(([drawing, chart]) => drawing.clientHeight > chart.clientHeight + 1).map(([drawing]) => drawing);
  function outermost(element) {
    while (element.parentElement.closest("svg")) element = element.parentElement.closest("svg");
    return element;
  }
  return [...wide, ...high, ...cut].map(element =>
    `${element.tagName} ${element.closest("[id]")?.id} ${element.textContent.slice(0, 40)}`);
})()"""
ADVICE = '"source": "rendering"'  # how plotly could read the canvas of its marker symbols faster


class Browser:
    """Headless Chromium with one page, told what to do by the DevTools protocol over a pipe.

    Attributes:
        console: What the page, and the browser about it, have said.
        shown: The page whose charts are drawn, and whether with its globe; the next test may look at it, too.
    """

    def __init__(self, profile: Path) -> None:
        assert CHROMIUM
        (orders, self._tell), (self._hear, said) = os.pipe(), os.pipe()
        words = (
            f"--headless --no-sandbox {QUIET} {SOFTWARE_GL} --remote-debugging-pipe --user-data-dir={profile}"
        )
        self._process = subprocess.Popen(
            ["bash", "-c", f'exec "$0" "$@" 3<&{orders} 4>&{said}', CHROMIUM, *words.split(), "about:blank"],
            pass_fds=(orders, said), stderr=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(orders)
        os.close(said)
        self.console: list[str] = []
        self.shown: tuple[Path, bool] | None = None
        self._answers: queue.Queue[dict[str, Any]] = queue.Queue()
        self._session: dict[str, str] = {}
        self._count = 0
        threading.Thread(target=self._listen, daemon=True).start()
        [page] = [one for one in self.send("Target.getTargets")["targetInfos"] if one["type"] == "page"]
        attached = self.send("Target.attachToTarget", targetId=page["targetId"], flatten=True)
        self._session = {"sessionId": attached["sessionId"]}
        for domain in ("Page", "Runtime", "Log"):
            self.send(f"{domain}.enable")

    def send(self, method: str, **params: Any) -> dict[str, Any]:
        """A command's result."""
        self._count += 1
        message = {"id": self._count, "method": method, "params": params, **self._session}
        os.write(self._tell, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._answers.get(timeout=180)
            if answer["id"] == self._count:
                assert "result" in answer, answer
                return answer["result"]

    def open(self, address: str, *, width: int = 1280, height: int = 900) -> None:
        """Open an address in a window of this size."""
        self.shown = None
        self.resize(width, height)
        self.send("Page.navigate", url=address)
        self.until("document.readyState === 'complete'")

    def resize(self, width: int = 1280, height: int = 900) -> None:
        """Give the window a size."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.send("Emulation.setDeviceMetricsOverride", **size)

    def prefer(self, scheme: str, media: str = "") -> None:
        """Let the page know that its reader likes it light or dark, or has it on paper."""
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.send("Emulation.setEmulatedMedia", media=media, features=features)

    def ask(self, expression: str) -> Any:
        """What a JavaScript expression is."""
        asked = self.send("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in asked, asked["result"]["description"]
        return asked["result"].get("value")

    def until(self, expression: str, within_s: float = 180.0) -> None:
        """Wait until an expression is true."""
        end = time.monotonic() + within_s
        while not self.ask(expression):
            assert time.monotonic() < end, f"never: {expression}"
            time.sleep(0.1)

    def press(self, key: str, **how: Any) -> None:
        """Press and release a key where the focus is."""
        for kind in ("keyDown", "keyUp"):
            self.send("Input.dispatchKeyEvent", type=kind, key=key, **how)

    def close(self) -> None:
        """End it."""
        self._process.terminate()
        self._process.wait(timeout=30)
        os.close(self._tell)

    def _listen(self) -> None:
        with os.fdopen(self._hear, "rb") as stream:
            rest = b""
            while content := stream.read1(1 << 20):
                *messages, rest = (rest + content).split(b"\0")
                for message in map(json.loads, messages):
                    if "id" in message:
                        self._answers.put(message)
                    elif message["method"] in SAYS and ADVICE not in (said := json.dumps(message["params"])):
                        self.console.append(said)


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """One browser for all tests of this module."""
    found = Browser(tmp_path_factory.mktemp("profile"))
    yield found
    found.close()


@pytest.fixture
def browser(chromium: Browser) -> Browser:
    """The browser in the light scheme, with the page of the test before, and nothing said yet."""
    chromium.prefer("light")
    chromium.console.clear()
    return chromium


def open_and_draw(browser: Browser, page: Path, *, globe: bool = True, **window: int) -> list[str]:
    """Show a page with all charts drawn, in view or not; their names. It is opened unless it is shown already.

    Without a GPU, a globe takes most of the time.
    """
    if browser.shown == (page, globe):
        browser.resize(**window)
    else:
        browser.open(page.as_uri(), **window)
        if not globe:
            browser.ask("document.getElementById('globe')?.remove(), delete figures.globe")
        browser.ask("Promise.all(names().map(draw)).then(() => true)")
        browser.shown = page, globe
    return browser.ask(DRAWN)


def look_at(browser: Browser, page: Path, chart: str, **window: int) -> None:
    """Show a page without its globe, scrolled to a chart."""
    open_and_draw(browser, page, globe=False, **window)
    browser.ask(f"document.getElementById('{chart}').scrollIntoView()")


@pytest.mark.parametrize(
    ("words", "charts"),
    [
        (["constellation", "demo"], ["map"]),
        (["plan", "walker-12", "--format", "gantt", "--set", "planning.profile=DOFA-base",
          "--set", "planning.samples=8", "--set", "horizon_h=4"], ["gantt"]),
        (
            ["compare", "paper", "--starts", "1", "--format", "html", "--set", "planning.samples=8",
             "--set", "constellation.satellites=6", "--set", "constellation.planes=1",
             "--set", "constellation.phasing=0", "--set", "constellation.altitude_km=1150",
             "--set", "horizon_h=12", "--set", "training.rounds=1"],
            ["rounds", "time0"],
        ),
    ],
)  # fmt: skip
def test_pages_of_other_commands_are_drawn_without_a_console_message(
    words: list[str], charts: list[str], tmp_path: Path, browser: Browser, headline_cases: None
) -> None:
    page = tmp_path / "page.html"
    done = CliRunner().invoke(app, [*words, "--out", str(page)])
    assert done.exit_code == 0, done.stderr
    assert open_and_draw(browser, page) == charts
    assert browser.console == []


def test_without_scripts_a_page_shows_still_pictures_of_its_flat_charts(
    simulated_page: Path, browser: Browser
) -> None:
    browser.send("Emulation.setScriptExecutionDisabled", value=True)
    browser.open(simulated_page.as_uri())
    pictured = "[...document.querySelectorAll('.still')].map(one => one.parentElement.id)"
    assert browser.ask(pictured) == ["curve", "gantt", "map", "bytes", "seconds", "waits"]
    outside = """[...document.querySelectorAll(".still")].filter(still => {
      const { top, bottom, left, right } = still.parentElement.getBoundingClientRect();
      return [still.querySelector("svg"), ...still.querySelectorAll("b")].some(part => {
        const box = part.getBoundingClientRect();
        return box.width && (box.left < left || box.right > right || box.top < top || box.bottom > bottom);
      }) || still.querySelector("svg").clientHeight < 100;
    }).map(still => still.parentElement.id)"""
    for width in (1280, 390):
        browser.resize(width)
        assert browser.ask(outside) == [], f"{width} px"
    browser.send("Emulation.setScriptExecutionDisabled", value=False)
    assert set(open_and_draw(browser, simulated_page, globe=False)) > {"curve", "gantt"}
    assert browser.ask(pictured) == []
    assert browser.console == []


def hover_text(browser: Browser, chart: str, trace: str, point: int) -> str:
    """What a chart says under the pointer at a point of a trace, which a condition on it chooses."""
    place = browser.ask(
        f"(chart => {{ const trace = chart._fullData.find(trace => {trace}), box = chart.getBoundingClientRect();"
        f" const {{ xaxis, yaxis, _size }} = chart._fullLayout, x = trace.x.at({point}), y = trace.y.at({point});"
        " return { x: box.left + _size.l + xaxis.l2p(x),"
        " y: box.top + _size.t + yaxis.l2p(yaxis.type === 'category' ? yaxis.d2c(y) : y)"
        f" }}; }})(document.getElementById('{chart}'))"
    )
    label = f"document.querySelector('#{chart} .hoverlayer .hovertext')"
    # Off the chart first: what was said of another point stays until the page has time to look again.
    browser.send("Input.dispatchMouseEvent", type="mouseMoved", x=0, y=0)
    browser.until(f"{label} === null")
    browser.send("Input.dispatchMouseEvent", type="mouseMoved", **place)
    browser.until(f"{label} !== null")
    return browser.ask(f"document.querySelector('#{chart} .hoverlayer').textContent")


def test_the_pointer_over_a_bar_tells_who_with_whom_when_how_much_and_how_fast(
    emulated_page: Path, browser: Browser
) -> None:
    look_at(browser, emulated_page, "gantt", height=1400)
    says = hover_text(
        browser, "gantt", "trace.text && trace.hovertemplate?.includes('space-ground link<')", 0
    )
    assert re.search(r"space-ground link.*sat-\d-\d\d – \w+.* to .*[kM]?B at .* Mbit/s", says), says
    # The last window, at whose first an antenna is being set up in the same place.
    says = hover_text(browser, "gantt", "trace.text && trace.hovertemplate?.includes('in sight')", -1)
    assert re.search(r"in sight of a station.*sat-\d-\d\d – \w+.*could carry .*B at .* Mbit/s", says), says
    assert browser.console == []


def test_the_pointer_over_a_satellites_bar_tells_what_it_waited_for(
    emulated_page: Path, browser: Browser
) -> None:
    look_at(browser, emulated_page, "waits")
    says = hover_text(browser, "waits", "trace.name === 'computing'", 0)
    assert re.search(r"sat-\d-\d\d: .* (s|min|h); done last in \d of 2 rounds", says), says


def test_the_map_plays_and_stops(emulated_page: Path, browser: Browser) -> None:
    look_at(browser, emulated_page, "map")
    button, slider = ("document.querySelector('#map-when " + tag + "')" for tag in ("button", "input"))
    browser.ask(f"{button}.click()")
    browser.until(f"+{slider}.value >= 2")
    browser.ask(f"{button}.click()")
    browser.until(f"{button}.textContent === 'play' && !{button}.busy")
    stopped = browser.ask(f"{slider}.value")
    browser.ask("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    assert browser.ask(f"{slider}.value") == stopped
    assert browser.ask("document.querySelector('#map-when output').textContent") != "0.0 min"
    assert browser.console == []


def test_names_of_satellites_are_on_a_wide_map_and_under_the_pointer_on_a_narrow_one(
    emulated_page: Path, browser: Browser
) -> None:
    look_at(browser, emulated_page, "map")
    labels = "[...document.querySelectorAll('#map .textpoint')].map(one => one.textContent).sort()"
    every = browser.ask(labels)
    stations = [name for name in every if not name.startswith("sat-")]
    assert len(stations) == 4 < len(every)
    browser.resize(390)
    browser.ask("draw('map').then(() => true)")
    assert browser.ask(labels) == stations
    # Where a satellite is on a line of its ground track, the pointer may find the line.
    under = (hover_text(browser, "map", "trace.meta === 'named if wide'", point) for point in range(4))
    assert any(said.startswith("sat-") for said in under)
    browser.resize()
    browser.ask("draw('map').then(() => true)")
    assert browser.ask(labels) == every
    assert browser.console == []


def test_one_zooms_to_a_window_by_its_name_and_back(emulated_page: Path, browser: Browser) -> None:
    look_at(browser, emulated_page, "gantt")
    choose = "(place => (document.getElementById('gantt-views').selectedIndex = place, " + (
        "document.getElementById('gantt-views').dispatchEvent(new Event('change', { bubbles: true }))))"
    )
    shown = "document.getElementById('gantt')._fullLayout.xaxis.range"
    whole, window = (f"JSON.parse(document.getElementById('gantt-views').options[{k}].value)" for k in (0, 1))
    for place, range_ in ((1, window), (0, whole)):
        browser.ask(f"{choose}({place})")
        browser.until(f"{shown}.every((at, k) => Math.abs(at - {range_}[k]) < 1e-6)")
    assert browser.console == []


@pytest.mark.parametrize(
    ("scheme", "ink"), [pytest.param("light", "#1b1b1f", marks=pytest.mark.slow), ("dark", "#e8e9ec")]
)
def test_what_was_measured_is_drawn_in_the_colour_of_the_text(
    scheme: str, ink: str, emulated_page: Path, browser: Browser
) -> None:
    look_at(browser, emulated_page, "gantt")
    browser.prefer(scheme)
    trace = "document.getElementById('gantt')._fullData.find(one => one.name === 'done, measured')"
    browser.until(f"{trace}.marker.line.color === '{ink}'")
    assert browser.console == []


def test_a_chart_is_zoomed_from_the_keyboard_and_back(emulated_page: Path, browser: Browser) -> None:
    look_at(browser, emulated_page, "curve")
    span = "(axis => axis.range[1] - axis.range[0])(document.getElementById('curve')._fullLayout.xaxis)"
    before = browser.ask(f"document.getElementById('curve').focus(), {span}")
    browser.press("+", text="+")
    browser.until(f"Math.abs({span} / {before} - 2 / 3) < 1e-6")
    browser.press("0", text="0")
    browser.until(f"Math.abs({span} / {before} - 1) < 1e-6")
    assert browser.console == []


def test_on_paper_a_page_is_light_and_no_chart_wider_or_higher_than_the_paper(
    emulated_page: Path, browser: Browser
) -> None:
    open_and_draw(browser, emulated_page, globe=False)
    browser.prefer("dark")
    layouts = f"{DRAWN}.map(name => document.getElementById(name)._fullLayout)"
    inks = f"[...new Set({layouts}.map(({{ font }}) => font.color))].join()"
    browser.until(f"{inks} === '#e8e9ec'")
    browser.prefer("dark", media="print")
    browser.resize(703, 1031)  # A4 at 96 pixels an inch, without its margins of 12 mm
    browser.ask("dispatchEvent(new Event('beforeprint'))")
    browser.until(f"{inks} === '#1b1b1f'")
    assert browser.ask(f"{layouts}.every(({{ width, height }}) => width <= 703 && height <= 1031)")
    assert browser.ask("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert browser.ask("document.documentElement.scrollWidth") <= 703
    cut = "chart.scrollHeight > chart.clientHeight + 1"
    assert (
        browser.ask(f"[...document.querySelectorAll('.figure')].filter(chart => {cut}).map(({{ id }}) => id)")
        == []
    )
    browser.prefer("dark")
    browser.ask("dispatchEvent(new Event('afterprint'))")
    browser.until(f"{inks} === '#e8e9ec'")
    assert browser.console == []


RELAYS = [
    {"node": "sat-0-00", "answers": True, "mission_s": 90.0, "queued_transfers": 3, "queued_bytes": 12_000,
     "received_bytes": 7_000_000, "delivered_transfers": 41,
     "links": [{"peer": "ground", "open": True, "sent_bytes": 2_500_000, "last_error": "not there"}],
     "newest_transfers": [{"round": 1, "step": 2, "kind": "grad_hidden", "from": "ground", "to": "sat-0-00",
                           "bytes": 512, "start_s": 80.0, "end_s": 81.5}],
     "arriving_transfers": [{"round": 1, "step": 3, "kind": "features", "from": "sat-0-01", "to": "sat-0-00",
                             "bytes": 4096, "arrived_bytes": 1024, "start_s": 89.0, "end_s": 90.0}]},
    {"node": "ground", "answers": False},
]  # fmt: skip


NOW = "{ include: [['#now']] }"  # of a live page: what alone has changed


def made_up_comparison() -> dict[str, Any]:
    """Three cases with long names."""
    times = dict.fromkeys(("median_s", "p95_s", "bound_s", *SPLIT_COLUMNS), 5400.0)
    sizes = {"down_bytes": 286e9, "up_bytes": 2.98e9, "isl_bytes": 518e9}
    mission = {"length_s": 9860.0, "ground_compute_s": 1180.0, "onboard_compute_s": 7e5, "onboard_energy_j": 9e6,
               "binds": "computing on the ground", "planned": 3, "rounds": 20, **sizes}  # fmt: skip
    title = "on-board LoRA in the last 6 blocks, the others computed once"
    cases = [
        {"name": name, "title": f"{title}, {name}", "mission": mission, "starts": 1, "gap_to_bound": 0.02,
         "ratio_to": {}, **times, **sizes}
        for name in ("onboard-full-own-window", "onboard-lora-truncated", "split-topology-aware")
    ]  # fmt: skip
    return {"cases": cases, "starts": 1, "rounds": 20, "headline": ["onboard-lora-truncated"]}


@pytest.fixture(scope="module")
def pages(
    emulated_page: Path, simulated_run: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """A page of each kind, by what it is of."""
    folder = tmp_path_factory.mktemp("pages")
    sweep = [
        {"a": a, "b": b, "state": "planned", "makespan_s": 10.0 * a + b, "lower_bound_s": 9.0, "gap_to_bound": 0.1,
         "down_bytes": 1e6 * b, "up_bytes": 1e5, "isl_bytes": 0.0, "case": f"{a}{b}"}
        for a, b in itertools.product((1, 2), (3, 4))
    ]  # fmt: skip
    cuts = [
        {"onboard_blocks": blocks, "head_blocks": 0, "round_s": 90.0 - blocks, "pixels_recovered": 0.9 / (1 + blocks),
         "onboard_flops": 1e9 * (1 + blocks), "down_bytes": 4e3, "up_bytes": 2e3}
        for blocks in range(3)
    ]  # fmt: skip
    texts = {
        "comparison": comparison_page("paper", "every case", {"a model": made_up_comparison()}),
        "sweep": sweep_page("sweep", "rounds", sweep, ["a", "b"]),
        "cuts": cuts_page("cuts", "of a model", cuts, ["cut", "round s"], [["0+0", "90.0"]]),
        "runs": runs_page([emulated_page.parent, simulated_run]),
    }
    for name, text in texts.items():
        write_text(folder / f"{name}.html", text)
    return {"report": emulated_page} | {name: folder / f"{name}.html" for name in texts}


def serious_findings(browser: Browser, *schemes: str, part: str = "document") -> list[str]:
    """What axe-core holds against the page or a part of it; in the dark, where colours alone differ, by their rule."""
    if not browser.ask("'axe' in window"):
        browser.ask(f"{AXE.read_text(encoding='utf-8')}; 1")
    found = []
    for scheme in schemes:
        browser.prefer(scheme)
        found += browser.ask(SERIOUS % (part, "runOnly: ['color-contrast']" if scheme == "dark" else ""))
    return found


@pytest.fixture(scope="module", params=["report", "sweep", "cuts", "runs", "comparison"])
def page(request: pytest.FixtureRequest, pages: dict[str, Path]) -> Path:
    """A page of each kind in turn, so that those who look at the same one do so one after another."""
    return pages[request.param]


def test_axe_finds_nothing_serious_on_a_page_in_the_light_and_in_the_dark(
    page: Path, browser: Browser
) -> None:
    open_and_draw(browser, page, globe=False)
    assert serious_findings(browser, "light", "dark") == []
    assert browser.console == []


def test_nothing_on_a_page_is_wider_than_its_place_and_no_text_of_a_chart_is_cut_off(
    page: Path, browser: Browser
) -> None:
    fits = "[...document.querySelectorAll('.figure')].every(chart => chart.clientWidth === chart._fullLayout?.width)"
    for width, scheme in ((390, "light"), (1280, "dark")):
        open_and_draw(browser, page, globe=False, width=width)
        browser.prefer(scheme)
        browser.ask("Promise.all(names().map(draw)).then(() => true)")
        browser.until(fits)
        assert browser.ask(OVERFLOWS) == [], f"{width} px, {scheme}"
        assert browser.ask("document.documentElement.scrollWidth") <= width
    browser.resize(800)
    browser.prefer("light")
    browser.until(fits)
    assert browser.ask(OVERFLOWS) == [], "in a window that was wider"
    assert browser.console == []


@pytest.mark.parametrize("width", [390, 921, 1280])
def test_a_comparison_fits_its_window_and_no_label_touches_another(
    width: int, pages: dict[str, Path], browser: Browser
) -> None:
    open_and_draw(browser, pages["comparison"], globe=False, width=width)
    browser.until(
        "document.getElementById('time0').clientWidth === document.getElementById('time0')._fullLayout.width"
    )
    assert browser.ask("document.documentElement.scrollWidth") <= width
    tables = "[...document.querySelectorAll('.table')]"
    assert browser.ask(f"{tables}.filter(table => table.scrollWidth > table.clientWidth + 1).length") == 0
    labels = "[...document.querySelectorAll('#time0 .ytick')].map(label => label.getBoundingClientRect())"
    boxes = browser.ask(f"{labels}.map(box => [box.top, box.bottom]).sort((one, other) => one[0] - other[0])")
    assert len(boxes) == len(made_up_comparison()["cases"])
    assert all(above[1] <= below[0] for above, below in itertools.pairwise(boxes))


def test_axe_finds_nothing_serious_on_a_live_page_with_relays_and_with_an_error(
    simulated_run: Path, tmp_path: Path, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("skysplit.live.live_status.relay_states", lambda files: RELAYS)
    shown = "document.getElementById('now').textContent"
    write_text(tmp_path / "run.json", json.dumps(read_run(simulated_run)))
    with LivePage(tmp_path, "") as live:
        browser.open(live.address)
        for facts, words, part in (
            ({"state": "running", "awaited": ["sat-0-00"]}, "Newest transfers", "document"),
            ({"state": "failed", "result": {"error": "sat-0-00 is gone"}}, "sat-0-00 is gone", NOW),
        ):
            write_text(tmp_path / "run.json", json.dumps(read_run(simulated_run) | facts))
            browser.until(f"{shown}.includes('{words}')")
            assert serious_findings(browser, "light", "dark", part=part) == []
        browser.open("about:blank")  # a page that asks on finds nobody


def test_a_live_page_follows_a_run_through_a_reload_to_its_end(
    simulated_run: Path, tmp_path: Path, browser: Browser
) -> None:
    directory = tmp_path / "run"
    title = "document.querySelector('h1').textContent"
    rows = "document.querySelectorAll('tbody tr').length"
    with LivePage(directory, "to come") as live:
        browser.open(live.address)
        assert browser.ask(title) == "to come"
        begin(directory, simulated_run, rounds=1)
        browser.until(f"{rows} === 1")
        browser.until(f"{DRAWN}.includes('curve')")
        curve = "document.getElementById('curve')"
        browser.ask(f"{curve}.focus(), (window.before = {curve}).id")
        begin(directory, simulated_run, rounds=2)
        browser.until(f"{rows} === 2 && {curve}._fullData[1].x.length === 2")
        assert browser.ask(f"document.activeElement === {curve} && window.before === {curve}")
        browser.send("Page.reload")
        browser.until(f"window.before === undefined && {rows} === 2")
        browser.until("document.getElementById('live')?.textContent === 'This page follows the run.'")
        assert browser.console == []
        shutil.copy(simulated_run / "run.json", directory / "run.json")
    browser.until("document.getElementById('live').textContent === 'The run is over.'")
    assert browser.ask("document.querySelector('dd').textContent") == "completed"
    assert all("ERR_CONNECTION_REFUSED" in line for line in browser.console)  # a slow page asks once more


def begin(directory: Path, run: Path, rounds: int) -> None:
    """Make a run's directory what it was after so many rounds."""
    directory.mkdir(exist_ok=True)
    for name in ("plan.jsonl", "contacts.parquet"):
        shutil.copy(run / name, directory / name)
    table = pq.read_table(run / "rounds.parquet")
    write_table(directory / "rounds.parquet", table.filter(pc.less_equal(table["round"], rounds)))
    said = read_run(run) | {"state": "running", "phase": "training"}
    del said["result"]
    write_text(directory / "run.json", json.dumps(said))


def test_every_chart_of_a_report_is_drawn_without_a_console_message(
    emulated_page: Path, browser: Browser
) -> None:
    names = open_and_draw(browser, emulated_page, width=400, height=500)
    assert names == ["curve", "gantt", "map", "globe", "bytes", "seconds", "waits", "measured", "links"]
    assert (
        browser.ask("document.querySelectorAll('#gantt .js-fill').length") >= 5
    )  # bars of a label are one path
    assert browser.ask("document.querySelector('#globe canvas').width") > 100
    assert browser.ask("document.documentElement.scrollWidth") <= 400
    assert browser.console == []


def test_the_globe_is_turned_and_its_time_chosen_from_the_keyboard(
    emulated_page: Path, browser: Browser
) -> None:
    open_and_draw(browser, emulated_page, width=400, height=500)
    assert serious_findings(browser, "light", part="{ include: [['#globe'], ['#globe-when']] }") == []
    globe = "document.getElementById('globe')"
    eye = f"JSON.stringify({globe}._fullLayout.scene.camera.eye)"
    before = browser.ask(f"{globe}.focus(), {eye}")
    browser.press("ArrowLeft")
    browser.until(f"{eye} !== {json.dumps(before)}")
    place = f"{globe}._fullData[3].x[0]"
    began = browser.ask(f"document.querySelector('#globe-when input').focus(), {place}")
    browser.press("ArrowRight", code="ArrowRight", windowsVirtualKeyCode=39)
    browser.until(f"{place} !== {began}")
    assert browser.ask("document.querySelector('#globe-when output').textContent") != "0.0 min"
    assert browser.console == []


@pytest.mark.slow
def test_no_paragraph_of_the_documentation_is_wider_than_its_column(tmp_path: Path, browser: Browser) -> None:
    subprocess.run([sys.executable, "-m", "mkdocs", "build", "-q", "-d", str(tmp_path)], cwd=ROOT, check=True)
    too_wide = """[...document.querySelectorAll("article :is(p, ul, ol, li, h1, h2, h3)")]
        .filter(element => element.scrollWidth > element.clientWidth + 1).map(element => element.textContent)"""
    pages = sorted(tmp_path.rglob("index.html"))
    assert len(pages) > 20
    for page, width in itertools.product(pages, (390, 1280)):
        browser.open(page.as_uri(), width=width)
        assert browser.ask(too_wide) == [], f"{page.parent.name}, {width} px"
