"""The report of a long run: how soon a browser has drawn it.

    python -m benchmarks.report

72 satellites × 20 rounds of `walker-72`, planned (not trained), opened in headless Chromium: the time from navigation
until the first chart is drawn, as the page's own clock has it, and until all are, though a page draws them only as they
come into view. The globe is left out, since there is no GPU to draw it. Every run starts a browser of its own, and the
soonest of five counts: whatever else the machine does only adds. Bars: 1 s for the first, 2 s for all, and sooner
than a page that draws each activity as a bar of its own, with the same library in the same browser.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
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
FIRST_S, ALL_S, RUNS = 1.0, 2.0, 3
_CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
# Chromium prints the page before it tells what is in view, so that charts are asked for.
_CLOCK = """<script>
const flat = names().filter(name => !figures[name].frames), clock = () => performance.now();
(async () => {
  await draw(flat[0]);
  const first = clock();
  await Promise.all(flat.map(draw));
  document.title = `drawn ${first} ${clock()}`;
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


def opened_s(page: str, folder: Path) -> tuple[float, float]:
    """Seconds from navigation until the first chart is drawn, and until all are."""
    assert _CHROMIUM
    timed = folder / "timed.html"
    timed.write_text(page.replace("</body>", _CLOCK))
    quiet = (
        "--headless --no-sandbox --disable-gpu --no-first-run --disable-sync --disable-background-networking"
    )
    command = [
        _CHROMIUM,
        *quiet.split(),
        f"--user-data-dir={folder}/profile",
        "--timeout=60000",
        "--dump-dom",
    ]
    done = subprocess.run([*command, timed.as_uri()], capture_output=True, text=True, timeout=120, check=True)
    found = re.search(r"<title>drawn ([\d.]+) ([\d.]+)</title>", done.stdout)
    if not found:
        raise RuntimeError("the page was not drawn within a minute")
    return float(found[1]) / 1000.0, float(found[2]) / 1000.0


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
        times = [(*opened_s(report, folder), *opened_s(peer, folder)) for _ in range(RUNS)]
    first_s, all_s, peer_s, _ = np.median(times, axis=0).tolist()
    bars.note("activities", sum(len(plan.activities) for plan in plans))
    bars.note("page [MB]", len(report) / 1e6)
    bars.note("written in [s]", write_s)
    bars.at_most("first chart drawn in [s]", first_s, FIRST_S)
    bars.at_most("all flat charts drawn in [s]", all_s, ALL_S)
    bars.at_least("a bar per activity ÷ our first chart", peer_s / first_s, 1.0, f"{peer_s:.2f} s")
    bars.finish()


if __name__ == "__main__":
    main()
