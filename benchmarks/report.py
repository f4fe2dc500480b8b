"""The report of a long run: how soon a browser has drawn it.

    python -m benchmarks.report

72 satellites × 20 rounds of `walker-72`, planned (not trained), opened in headless Chromium: the time from navigation
until the first chart is drawn, as the page's own clock has it, and until all are, though a page draws them only as they
come into view. The globe is left out, since there is no GPU to draw it. Every run starts a browser of its own, and the
soonest of five counts: whatever else the machine does only adds. Bars: 1 s for the first, 2 s for all, and sooner
than a page that draws each activity as a bar of its own, with the same library in the same browser.

Beside that stands the CPU time of the page's main thread at the same two moments, which other work on the machine
changes less: what a page takes where a core is free for it.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import KW_ONLY, dataclass, fields
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
# Chromium prints the page before it tells what is in view, so that charts are asked for.
_CLOCK = """<script>
near.disconnect();
const flat = names().filter(name => !figures[name].frames), drawn = () => performance.mark("drawn").startTime;
(async () => {
  await draw(flat[0]);
  const first = drawn();
  for (const name of flat.slice(1)) await draw(name);
  document.title = `drawn ${first} ${drawn()}`;
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
class Opened:
    """When a page's first chart was drawn and when all were: seconds, and CPU seconds of the page's main thread."""

    first_s: float
    all_s: float
    _: KW_ONLY
    first_cpu_s: float
    all_cpu_s: float


def opened(page: str, folder: Path) -> Opened:
    """Open a page in a browser of its own and return when it was drawn, counted from the navigation."""
    assert _CHROMIUM
    timed, trace = folder / "timed.html", folder / "trace.json"
    timed.write_text(page.replace("</body>", _CLOCK))
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
    title = re.search(r"<title>drawn ([\d.]+) ([\d.]+)</title>", done.stdout)
    if not title:
        raise RuntimeError("the page was not drawn within a minute")
    events = json.loads(trace.read_text(encoding="utf-8"))["traceEvents"]
    first_cpu_s, all_cpu_s = sorted(event["tts"] / 1e6 for event in events if event["name"] == "drawn")
    first_s, all_s = (float(milliseconds) / 1e3 for milliseconds in title.groups())
    return Opened(first_s, all_s, first_cpu_s=first_cpu_s, all_cpu_s=all_cpu_s)


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
    soonest = {each.name: min(getattr(ours, each.name) for ours, _ in times) for each in fields(Opened)}
    peer_s, peer_cpu_s = min(peer.first_s for _, peer in times), min(peer.first_cpu_s for _, peer in times)
    bars.note("activities", sum(len(plan.activities) for plan in plans))
    bars.note("page [MB]", len(report) / 1e6)
    bars.note("written in [s]", write_s)
    bars.at_most("first chart drawn in [s]", soonest["first_s"], FIRST_S)
    bars.at_most("all flat charts drawn in [s]", soonest["all_s"], ALL_S)
    bars.at_least("a bar per activity ÷ our first chart", peer_s / soonest["first_s"], 1.0, f"{peer_s:.2f} s")
    bars.note(
        "CPU of the page until the first chart [s]", soonest["first_cpu_s"], f"a bar each: {peer_cpu_s:.2f} s"
    )
    bars.note("CPU of the page until all flat charts [s]", soonest["all_cpu_s"])
    bars.finish()


if __name__ == "__main__":
    main()
