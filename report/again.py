"""Repeat a run on any machine: download its scenario, then run one command that needs only that file."""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Mapping
from typing import Any

from mission.record import scenario_of
from mission.scenario import ScenarioError
from mission.text.scenario_toml import FOLDER, scenario_toml


def again_markup(run: Mapping[str, Any]) -> str:
    """Return markup that repeats a run: the scenario to save, the command, and versions.

    Args:
        run: ``run.json``. Of a run of another version, whose scenario cannot be read, all values are shown instead.
    """
    versions = html.escape(", ".join(f"{name} {version}" for name, version in run["versions"].items()))
    made = f"<p>The same scenario and seed give the same curve on one machine. Made with {versions}.</p>"
    try:
        text, files = scenario_toml(scenario_of(run))
    except ScenarioError:
        values = html.escape(json.dumps(run["scenario"], indent=2))
        return (
            f"<h2>Do it again</h2><p>Another version of SkySplit made this run.</p>{made}<details>"
            f'<summary>The scenario as resolved</summary><pre tabindex="0">{values}</pre></details>'
        )
    name = f"{run['scenario']['name']}.toml"
    verb = "emulate" if run["command"].split()[1:2] == ["emulate"] else "run"
    command = f"skysplit {verb} {name}"
    needed = ""
    if files:
        command = f"export {FOLDER}=…\n{command}"
        needed = f" <code>{FOLDER}</code> is the folder that holds {html.escape(', '.join(files))}."
    content = base64.b64encode(text.encode()).decode()
    return (
        f'<h2>Do it again</h2><p>Save <a download="{html.escape(name)}" '
        f'href="data:application/toml;base64,{content}">{html.escape(name)}</a>, the whole scenario, then:{needed}</p>'
        f'<pre tabindex="0"><code>{html.escape(command)}</code></pre>{made}'
        f'<details><summary>The scenario</summary><pre tabindex="0">{html.escape(text)}</pre></details>'
    )
