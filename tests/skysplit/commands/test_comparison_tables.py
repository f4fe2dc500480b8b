"""Tables of a comparison on a terminal of 100 columns."""

from __future__ import annotations

import io
from typing import Any

import pytest

from skysplit.commands.comparisons import comparison_table
from skysplit.terminal import Terminal
from strategies.analysis.compare import headings_of, mission_rows, round_rows

BINDS = "inter-satellite links"


def comparison(starts: int) -> dict[str, Any]:
    """Two cases with the longest name there is, and figures that take most room."""
    sizes = {"down_bytes": 286e9, "up_bytes": 2.98e6, "isl_bytes": 518e9}
    mission = {"length_s": 9860.0, "ground_compute_s": 1180.0, "onboard_compute_s": 1021.0,
               "onboard_energy_j": 9e6, "binds": BINDS, "planned": 3, "rounds": 20, **sizes}  # fmt: skip
    cases = [
        {"name": name, "title": name, "starts": starts, "median_s": 397.0, "p95_s": 4608.0, "bound_s": 307.0,
         "gap_to_bound": 0.3, "mission": mission, "ratio_to": {"onboard-lora": 40.51, "images-down": 19.0}, **sizes}
        for name in ("onboard-full-own-window", "onboard-lora", "images-down")
    ]  # fmt: skip
    return {"cases": cases, "starts": starts, "headline": ["onboard-lora", "images-down"]}


@pytest.mark.parametrize("starts", [1, 12])
@pytest.mark.parametrize("rows_of", [mission_rows, round_rows])
def test_no_figure_is_cut_and_no_word_broken_at_100_columns(rows_of: Any, starts: int) -> None:
    rows, shown = rows_of(comparison(starts)), io.StringIO()
    console = Terminal(file=shown, width=100, force_terminal=True, color_system=None)
    console.print_table("one round", comparison_table(rows, console))
    text = shown.getvalue()
    assert max(map(len, text.splitlines())) <= 100
    assert "…" not in text
    for row in rows:
        assert all(part in text for heading in headings_of(rows) for part in row[heading].split())
        assert all(row[heading] in text for heading in headings_of(rows) if row[heading] != BINDS)


def test_missions_that_are_interpolated_in_part_are_marked() -> None:
    found = comparison(1)
    found["cases"][0]["mission"] = {**found["cases"][0]["mission"], "planned": 20}
    assert [row["mission"] for row in mission_rows(found)] == ["2.74 h", "≈ 2.74 h", "≈ 2.74 h"]


def test_one_start_has_no_95_per_cent_of_its_own() -> None:
    assert "p95" not in headings_of(round_rows(comparison(1)))
    assert "p95" in headings_of(round_rows(comparison(12)))
