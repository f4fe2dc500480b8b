"""The documentation builds without a warning, says what the schema says, and its command blocks are run by a script."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import typer.cli
from typer.testing import CliRunner

from mission.record import ROUNDS, read_run
from skysplit.reference import preset_reference
from skysplit.reference.scenario_keys import scenario_keys
from skysplit.reference.scenario_reference import reference
from strategies.problem.plan import Kind

ROOT = Path(__file__).resolve().parents[3]
WALK = ROOT / "tests" / "walk_pages.py"


def walked(*pages: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(WALK), *map(str, pages)],
        env=os.environ | variables, capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("key", "allowed"),
    [
        ("split.onboard_blocks", 'whole number or "auto"'),
        ("ground.stations.mask_profile_deg", "list of [number, number]"),
        ("ground.stations.blocked_by_month", "list of numbers, ≥ 0, < 1"),
        ("imaging.areas", "list of [number, number, number, number]"),
        ("constellation.skip", "list of texts or whole numbers"),
    ],
)
def test_what_a_key_allows_is_said_of_lists_pairs_and_choices(key: str, allowed: str) -> None:
    assert {of.dotted: of.allowed for of in scenario_keys()}.get(key) == allowed


def test_the_page_of_scenario_keys_is_that_of_the_schema() -> None:
    written = (ROOT / "docs" / "scenario-keys.md").read_text(encoding="utf-8")
    assert written == "\n".join(reference()) + "\n", (
        "write it anew: python -m skysplit.reference.scenario_reference > docs/scenario-keys.md"
    )


def test_the_page_of_presets_is_that_of_their_file() -> None:
    written = (ROOT / "docs" / "presets.md").read_text(encoding="utf-8")
    assert written == "\n".join(preset_reference.reference()) + "\n", (
        "write it anew: python -m skysplit.reference.preset_reference > docs/presets.md"
    )


def test_the_page_of_commands_is_that_of_the_commands() -> None:
    done = CliRunner().invoke(typer.cli.app, ["skysplit.cli", "utils", "docs", "--name", "skysplit"])
    said = done.stdout
    written = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    assert written.strip() == said.strip(), (
        "write it anew: typer skysplit.cli utils docs --name skysplit --output docs/commands.md"
    )


def test_the_page_of_the_run_directory_names_every_key_that_a_run_writes(simulated_run: Path) -> None:
    page = (ROOT / "docs" / "run-directory.md").read_text(encoding="utf-8")
    plan = (simulated_run / "plan.jsonl").read_text(encoding="utf-8")
    activity = json.loads(plan.partition("\n")[0])
    kinds = [kind.name.lower() for kind in Kind]
    for name in (*ROUNDS.names, *read_run(simulated_run), *activity, *kinds):
        assert f"`{name}`" in page, f"docs/run-directory.md does not say what {name} is"


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md"])
def test_links_of_pages_outside_the_site_lead_somewhere(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    links = re.findall(r"\]\((?!https?:)([^)#]+)", text) + re.findall(
        r"`((?:docs|tests)/[\w/.-]+\.\w+)`", text
    )
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


@pytest.mark.skipif(
    not all(map(importlib.util.find_spec, ("material", "mkdocstrings"))),
    reason="the extra docs is not installed",
)
def test_the_site_builds_strictly(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "-q", "-d", str(tmp_path / "site")],
        cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    api = (tmp_path / "site" / "api" / "index.html").read_text(encoding="utf-8")
    for documented in (
        "skysplit.notebook.Mission.compare",
        "orbit.contact_plan.ContactPlan.between",
        "strategies.planner.round_planner.plan_round",
        "strategies.checker.check.check_plan",
        "strategies.bound.lower_bound.RoundBounds",
    ):
        assert f'id="{documented}"' in api
    assert "overridden" in (tmp_path / "site" / "scenario-keys" / "index.html").read_text(encoding="utf-8")
    index = json.loads((tmp_path / "site" / "search" / "search_index.json").read_text(encoding="utf-8"))
    for word, page in {
        "plugin": "how-to-own-strategy/",
        "cite": "citing/",
        "changelog": "changelog/",
        "multispectral": "how-to-own-data/",
        "svalbard": "presets/",
    }.items():
        found = [doc["location"] for doc in index["docs"] if word in f"{doc['title']} {doc['text']}".lower()]
        assert any(location.startswith(page) for location in found), word


def test_readme_and_quick_start_show_the_same_lines_of_the_first_run() -> None:
    shown = [
        re.search(r"```text\n(Reached: .*?)```", (ROOT / page).read_text(encoding="utf-8"), re.DOTALL)
        for page in ("README.md", "docs/quick-start.md")
    ]
    assert all(shown)
    assert len({block[1] for block in shown if block}) == 1


def test_the_round_of_the_api_page_is_planned_and_checked(capsys: pytest.CaptureFixture[str]) -> None:
    blocks = re.findall(
        r"```python\n(.*?)```", (ROOT / "docs" / "api.md").read_text(encoding="utf-8"), re.DOTALL
    )
    exec(blocks[-1], {})
    length_s, bound_s = map(int, re.findall(r"(\d+) s", capsys.readouterr().out))
    assert length_s >= bound_s > 0


def test_every_drawing_of_the_site_has_colours_for_the_dark() -> None:
    drawings = sorted((ROOT / "docs").rglob("*.svg"))
    assert drawings
    assert [
        one.name for one in drawings if "prefers-color-scheme:dark" not in one.read_text(encoding="utf-8")
    ] == []


def test_a_page_is_walked_in_one_clean_clone_to_the_first_block_that_fails(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "```bash\necho one > made\n```\n\n<!-- not run: needs a rocket -->\n```bash\nexit 7\n```\n\n"
        "```python\nexit(8)\n```\n\n```bash\ncat made; git status --short; skysplit scenarios --format json\n```\n"
        "\n```bash\nfalse | true\n```\n\n```bash\necho never\n```\n"
    )
    done = walked(page)
    assert done.returncode == 1, done.stderr
    assert "not run, needs a rocket" in done.stdout
    assert "\none\n" in done.stdout
    assert "?? made\n" in done.stdout
    assert " M " not in done.stdout
    assert '"name": "demo"' in done.stdout
    assert f'"file": "{ROOT}' not in done.stdout
    assert "this block failed with exit status 1" in done.stderr
    assert "never" not in done.stdout


def test_a_page_whose_blocks_all_end_well_is_walked_to_its_end(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    script = runpy.run_path(str(WALK))
    page = tmp_path / "page.md"
    page.write_text("```bash\necho well > made\n```\n\n```bash\ncat made\n```\n")
    monkeypatch.setitem(script["walk"].__globals__, "clone_into", Path.mkdir)
    assert script["main"]([page]) == 0


def test_a_block_that_needs_docker_is_passed_over_where_no_engine_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    docker, blocks = tmp_path / "docker", runpy.run_path(str(WALK))["blocks"]
    page = "<!-- needs Docker -->\n```bash\necho sailed > made; cat made\n```\n"
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    for status in (0, 1):
        docker.write_text(f'#!/bin/sh\n[ "$1" = compose ] || exit {status}\n')
        docker.chmod(0o755)
        [block] = blocks(page)
        assert block.builds_image
        assert block.not_run is None if not status else block.not_run.startswith("no Docker engine answers")


@pytest.mark.slow
@pytest.mark.parametrize("page", runpy.run_path(str(WALK))["pages"](), ids=lambda page: page.stem)
def test_every_command_of_a_page_runs_in_a_clean_clone(page: Path) -> None:
    done = walked(page)
    assert done.returncode == 0, done.stdout + done.stderr
