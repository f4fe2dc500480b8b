"""The picture of a round in a terminal: every row where it belongs, within its width, with the signs it says."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from report.plan_picture import ASCII, MOST_ROWS, UNICODE, Signs, plan_picture


def activity(
    kind: str, start_s: float, end_s: float, link: str = "", node: str = "a", peer: str = ""
) -> dict[str, Any]:
    return {"kind": kind, "link": link, "node": node, "peer": peer, "start_s": start_s, "end_s": end_s}


def test_what_is_drawn_covers_its_time_and_links_cover_what_is_below() -> None:
    contacts = [{"kind": "downlink", "source": "a", "target": "Troll", "start_s": 0.0, "end_s": 49.9}]
    activities = [
        activity("embed", 20.0, 59.9),
        activity("features", 30.0, 39.9, "downlink", "a", "Troll"),
        activity("hidden", 70.0, 79.9, "uplink", "Troll", "b"),
        activity("gather", 80.0, 89.9, "intra_isl", "a", "b"),
    ]
    lines = plan_picture(["a", "b"], contacts, activities, (0.0, 100.0), width=12, signs=ASCII)
    assert lines[0] == "a ..c#cc  ="
    assert lines[1] == "b        #="
    assert lines[2] == "  0" + "100 s".rjust(9)
    assert lines[3] == "# to or from a station  = between satellites  c computing  . in sight"


def test_times_stand_below_the_cells_where_they_are_as_long_as_there_is_room() -> None:
    *_, scale, _ = plan_picture(["a"], [], [], (0.0, 7200.0 * 4), width=66)
    assert [scale.index(time) for time in ("0 ", "2.00 h", "4.00 h", "6.00 h")] == [2, 18, 34, 50]
    assert scale.endswith("8.00 h")
    assert len(scale) == 66


def test_a_contact_that_goes_on_after_the_round_ends_with_it() -> None:
    contacts = [{"kind": "downlink", "source": "a", "target": "Troll", "start_s": -50.0, "end_s": 500.0}]
    lines = plan_picture(["a"], contacts, [], (0.0, 100.0), width=22, signs=UNICODE)
    assert lines[0] == "a " + "·" * 20


SPANS = st.tuples(st.floats(0, 1000), st.floats(0, 400)).map(lambda span: (span[0], span[0] + span[1]))


@settings(max_examples=25)
@given(spans=st.lists(SPANS, max_size=10), width=st.integers(80, 100))
@pytest.mark.parametrize("signs", [ASCII, UNICODE])
def test_no_line_is_wider_than_asked_for_whatever_happens(
    signs: Signs, spans: list[tuple[float, float]], width: int
) -> None:
    activities = [
        activity("features", *span, "downlink", f"sat-{number}") for number, span in enumerate(spans)
    ]
    names = [f"sat-{number}-of-a-very-long-name" for number in range(MOST_ROWS + 5)]
    lines = plan_picture(names, [], activities, (100.0, 700.0), width=width, signs=signs)
    assert max(map(len, lines)) <= width
    assert "and 5 more satellites" in lines
    assert signs is UNICODE or all(line.isascii() for line in lines[MOST_ROWS:])
