"""The report of a long run: how soon a browser has drawn it.

    python -m benchmarks.report

72 satellites × 20 rounds of `walker-72`, planned (not trained), opened in headless Chromium. From navigation, by the
page's own clock: until the first chart is on the screen, as a still picture with the figures of the run; until every
flat chart has been on it, one after another; and until they answer the pointer, though a page lets them only as they
come into view. The globe is left out, since there is no GPU to draw it. Every run starts a browser of its own, and the
soonest of five counts: whatever else the machine does only adds. Bars: 1 s until the first is shown, 2 s until all are,
and an answer sooner than by a page that draws each activity as a bar of its own, with the same library in the same
browser.

Beside that stands the CPU time of the page's main thread at the same moments, which other work on the machine changes
less: what a page takes where a core is free for it.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import plotly.graph_objects as go

from benchmarks.measure import Bars, seconds
from mission.orbits import constellation_of, contact_plan_of
from mission.record import RunRecord
from mission.scenario import load_scenario
from orbit.files.contact_plan_files import save
from report.page import View, page
from report.run_report import write_report
from server_app.planning.round_planner import RoundPlanner
from splitmodel.costs.published import published
from strategies.problem.plan import SPLIT_COLUMNS, Plan

ROUNDS, IMAGES, MODEL = 20, 32, "Galileo-Nano (S2-RGB, 64px p8)"
FIRST_S, ALL_S, RUNS = 1.0, 2.0, 5
_CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
# The task after a frame runs when the frame is on the screen.
_SHOWN = """<script>
const frame = () => new Promise(done => requestAnimationFrame(() => setTimeout(done)));
const pictures = [...document.querySelectorAll(".still")];
frame().then(async () => {
  performance.mark("first shown");
  for (const picture of pictures) {
    picture.scrollIntoView();
    await frame();
  }
  performance.mark("all shown");
});
</script>"""
_LIBRARY = '<script type="text/plain" id="plotly">'  # with which a page goes on after its content
# Chromium prints the page before it tells what is in view, so that charts are asked for.
_CLOCK = """<script>
near.disconnect();
(async () => {
  const flat = names().filter(name => !figures[name].layout.scene);
  if (pictures.length && pictures.length !== flat.length) throw new Error("a flat chart without a picture");
  await draw(flat[0]);
  performance.mark("first answers");
  for (const name of flat.slice(1)) await draw(name);
  performance.mark("all answer");
  const marks = performance.getEntriesByType("mark").map(({ name, startTime }) => [name, startTime / 1e3]);
  document.title = `drawn ${JSON.stringify(Object.fromEntries(marks))}`;
})();
</script></body>"""


def record_run(directory: Path) -> list[Plan]:
    """A run directory of 20 planned rounds."""
    scenario = load_scenario("walker-72", {"training.rounds": ROUNDS})
    constellation = constellation_of(scenario)
    contacts = contact_plan_of(scenario, constellation)
    record = RunRecord(directory, scenario, command="skysplit run walker-72")
    save(contacts, directory / "contacts.parquet")
    record.note(satellites=constellation.names, planes=constellation.plane.tolist())
    planner = RoundPlanner(scenario, contacts, costs=published(MODEL), samples=[IMAGES] * len(constellation))
    plans: list[Plan] = []
    for number in range(1, ROUNDS + 1):
        plan = planner(number, plans[-1].end_s if plans else 0.0)
        plans.append(plan)
        record.add_activities({"round": number, **row} for row in plan.to_rows())
        split, score = (
            plan.time_split(),
            {"test_loss": 1.0 / number, "test_accuracy": 1.0 - 1.0 / (number + 1)},
        )
        record.add_round(
            {
                "round": number,
                "satellite": name,
                "start_s": plan.start_s,
                "end_s": float(plan.finish_s[k]),
                **score,
            }
            | dict(zip(SPLIT_COLUMNS, split[k].tolist(), strict=True))
            for k, name in enumerate(constellation.names)
        )
    record.finish(rounds=ROUNDS)
    return plans


def bar_by_bar(plans: list[Plan]) -> str:
    """The page of the activities as bars, one each."""
    rows = np.concatenate([plan.activities for plan in plans])
    figure = go.Figure(
        go.Bar(
            base=rows["start_s"],
            x=rows["end_s"] - rows["start_s"],
            y=rows["satellite"],
            orientation="h",
            width=0.8,
        )
    )
    return page(View("bars", '<div class="figure" id="bars"></div>', figures={"bars": figure}))


@dataclass(frozen=True)
class Moment:
    """A moment after the navigation: seconds, and CPU seconds of the page's main thread."""

    s: float
    cpu_s: float


def opened(page: str, folder: Path) -> dict[str, Moment]:
    """Open a page in a browser of its own and return when its charts were shown, and when they answered the pointer."""
    assert _CHROMIUM
    timed, trace = folder / "timed.html", folder / "trace.json"
    timed.write_text(page.replace(_LIBRARY, _SHOWN + _LIBRARY).replace("</body>", _CLOCK))
    quiet = (
        "--headless --no-sandbox --disable-gpu --no-first-run --disable-sync --disable-background-networking "
        "--trace-startup=blink.user_timing --trace-startup-duration=0 --trace-startup-format=json"
    )
    command = [
        _CHROMIUM,
        *quiet.split(),
        f"--trace-startup-file={trace}",
        f"--user-data-dir={folder}/profile",
        "--timeout=60000",
        "--dump-dom",
    ]
    done = subprocess.run([*command, timed.as_uri()], capture_output=True, text=True, timeout=120, check=True)
    title = re.search(r"<title>drawn ({.*})</title>", done.stdout)
    if not title:
        raise RuntimeError("the page was not drawn within a minute")
    events = json.loads(trace.read_text(encoding="utf-8"))["traceEvents"]
    cpu_s = {event["name"]: event["tts"] / 1e6 for event in events if "tts" in event}
    return {name: Moment(s, cpu_s[name]) for name, s in json.loads(title[1]).items()}


def main() -> None:
    """Print the table, and the figures as a line of JSON."""
    if _CHROMIUM is None:
        sys.exit("no Chromium on this machine")
    bars = Bars(f"report of 72 satellites × {ROUNDS} rounds")
    with tempfile.TemporaryDirectory(prefix="skysplit-report-") as name:
        folder = Path(name)
        plans = record_run(folder / "run")
        write_s, path = seconds(lambda: write_report(folder / "run"))
        report, peer = path.read_text(encoding="utf-8"), bar_by_bar(plans)
        times = [(opened(report, folder), opened(peer, folder)) for _ in range(RUNS)]
    ours, peers = (soonest(every) for every in zip(*times, strict=True))
    first_s, peer_s = ours["first answers"].s, peers["first answers"].s
    bars.note("activities", sum(len(plan.activities) for plan in plans))
    bars.note("page [MB]", len(report) / 1e6)
    bars.note("written in [s]", write_s)
    bars.at_most("first chart shown in [s]", ours["first shown"].s, FIRST_S)
    bars.at_most("all flat charts shown in [s]", ours["all shown"].s, ALL_S)
    bars.note("first chart answers the pointer in [s]", first_s)
    bars.note("all flat charts answer the pointer in [s]", ours["all answer"].s)
    bars.at_least("a bar per activity ÷ our first that answers", peer_s / first_s, 1.0, f"{peer_s:.2f} s")
    for name, moment in ours.items():
        peer = f"a bar each: {peers[name].cpu_s:.2f} s" if name == "first answers" else ""
        bars.note(f"CPU of the page, {name} [s]", moment.cpu_s, peer)
    bars.finish()


def soonest(every: Sequence[Mapping[str, Moment]]) -> dict[str, Moment]:
    """Return the least of the seconds and the least of the CPU seconds of several openings."""
    return {
        name: Moment(min(each[name].s for each in every), min(each[name].cpu_s for each in every))
        for name in every[0]
    }


if __name__ == "__main__":
    main()
