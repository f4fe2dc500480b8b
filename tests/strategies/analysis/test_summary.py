"""No sentence of a summary contradicts another, or the figures that it is made of."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strategies.analysis.cases import FEATURES_DOWN, IMAGES_DOWN, ONBOARD_HEAD, ONBOARD_LORA, SPLIT
from strategies.analysis.summary import summary_lines

HEADLINE = (SPLIT, ONBOARD_LORA, IMAGES_DOWN, FEATURES_DOWN)
CALLED = {
    "The split": SPLIT,
    "On-board LoRA": ONBOARD_LORA,
    "Bringing the images down": IMAGES_DOWN,
    "Bringing features and labels down once": FEATURES_DOWN,
}
UNITS_S = {"s": 1.0, "min": 60.0, "h": 3600.0, "d": 86_400.0}


def mission(length_s: float | None, size: float = 1e9) -> dict | None:
    if length_s is None:
        return None
    sizes = {"down_bytes": size, "up_bytes": size / 50}
    return {"length_s": length_s, **sizes, "binds": "the downlink", "planned": 20, "rounds": 20}


def comparison(lengths: dict[str, float | None], **more: object) -> dict:
    cases = [{"name": name, "title": name, "mission": mission(length)} for name, length in lengths.items()]
    headline = list(lengths)
    return {"cases": cases, "headline": headline, "rounds": 20, "starts": 1, "break_evens": [], **more}


lengths = st.fixed_dictionaries(
    {name: st.one_of(st.none(), st.floats(1.0, 1e6)) for name in HEADLINE}
).filter(lambda found: any(found.values()))


@given(lengths)
def test_the_first_sentence_names_what_is_over_first_and_whether_the_split_pays(
    found: dict[str, float | None],
) -> None:
    first, *rest = summary_lines(comparison(found))
    ended = {name: length for name, length in found.items() if length}
    shortest = min(ended.values())
    called, pays, number, unit = re.match(
        r"(.*?) (pays|finishes first) here: 20 rounds take ([\d.]+) (s|min|h|d)", first
    ).groups()
    assert ended[CALLED[called]] == shortest
    assert (pays == "pays") == (CALLED[called] == SPLIT)
    assert abs(float(number) * UNITS_S[unit] - shortest) <= 0.006 * shortest + 0.5 * UNITS_S[unit] * 0.1
    said = " ".join(rest)
    if pays == "pays":
        assert "times as long" not in said
        assert "not pay" not in said
    elif found[SPLIT]:
        spoken = re.search(r"The split takes (?:([\d.,]+) times )?as long\.", said)[1]
        factor = float((spoken or "1").replace(",", ""))
        assert abs(factor - found[SPLIT] / shortest) <= 0.01 * factor
    for kept, pays in re.findall(
        r"Where the (\w+) must stay on board[, to]*, the split (pays|does not pay)", said
    ):
        allowed = {SPLIT, ONBOARD_LORA} | ({FEATURES_DOWN} if kept == "images" else set())
        best = min((name for name in allowed if name in ended), key=ended.__getitem__)
        assert (best == SPLIT) == (pays == "pays") or found[SPLIT] == ended[best]
    if "bringing features and labels down once finishes first, in" in said:
        assert shortest == found[IMAGES_DOWN]
        assert min(ended[name] for name in ended if name != IMAGES_DOWN) == found[FEATURES_DOWN]


def test_images_that_stay_on_board_leave_features_and_labels_which_may_be_sooner_than_the_split() -> None:
    hours = {SPLIT: 5.86, ONBOARD_LORA: 9.84, IMAGES_DOWN: 1.67, FEATURES_DOWN: 4.34}
    lengths_s = {name: 3600.0 * hour for name, hour in hours.items()}
    _, ratio, images, labels, *_ = summary_lines(comparison(lengths_s))
    assert ratio == "The split takes 3.51 times as long."
    assert images == (
        "Where the images must stay on board, bringing features and labels down once finishes first, in 4.34 h."
    )
    assert labels.startswith(
        "Where the labels must stay on board, too, the split pays: 5.86 h against 9.84 h"
    )
    said = " ".join(summary_lines(comparison(lengths_s, ground_has_labels=True)))
    assert "The ground has the labels" in said
    assert "and labels" not in said
    assert "the split pays" not in said


def test_beside_a_split_that_trains_a_head_the_answer_on_board_is_a_head() -> None:
    lengths_s = {SPLIT: 5.0, ONBOARD_HEAD: 4.0, IMAGES_DOWN: 9.0, FEATURES_DOWN: 8.0}
    rho = {"law": 0.2, "planned": 1.3, "mission": 1250.0, "bound_by": "transfer"}
    said = summary_lines(comparison(lengths_s, rho=rho))
    assert said[0].startswith(
        "Training the head on board finishes first here: 20 rounds take 4.00 s; the split"
    )
    assert "as one of training the head on board" in said[-1]
    assert said[-1].count("1,250 times") == 1
    assert "LoRA" not in " ".join(said)


def test_missions_that_are_interpolated_in_part_are_named() -> None:
    found = comparison({SPLIT: 5.0, ONBOARD_LORA: 4.0})
    assert "interpolated" not in " ".join(summary_lines(found))
    found["cases"][0]["mission"]["planned"] = 6
    assert summary_lines(found)[1].startswith(
        "The split: 6 of 20 rounds are planned, the others interpolated"
    )


def test_missions_that_take_about_as_long_are_said_to() -> None:
    lengths_s = {SPLIT: 419.0, ONBOARD_LORA: 418.0, IMAGES_DOWN: 100.0, FEATURES_DOWN: 417.0}
    rho = {"law": 1.0, "planned": 0.999, "mission": 1.002, "bound_by": "transfer"}
    said = " ".join(summary_lines(comparison(lengths_s, rho=rho)))
    assert "6.98 min against 6.97 min for on-board LoRA, less than 5 % apart." in said
    assert "1 times" not in said
    assert "takes as long as one of on-board LoRA (" in said
    assert "By the plan it takes as long, and the mission as long." in said


@given(lengths)
def test_what_does_not_end_is_said_so(found: dict[str, float | None]) -> None:
    said = " ".join(summary_lines(comparison(found)))
    for called, name in CALLED.items():
        if not found[name]:
            assert re.search(f"(?i){called} does not end within the contact plan", said)


@pytest.mark.parametrize(
    ("images", "more"),
    [(0.5e9, "2 times as much."), (1.0001e9, "brings down as much."), (4e9, "25 % as much.")],
)
def test_bytes_are_compared_with_those_of_the_images(images: float, more: str) -> None:
    found = comparison(dict.fromkeys(HEADLINE, 10.0))
    [sent] = [case for case in found["cases"] if case["name"] == IMAGES_DOWN]
    sent["mission"] |= {"down_bytes": images}
    assert more in " ".join(summary_lines(found))


def test_without_a_mission_that_ends_there_is_no_answer_but_advice() -> None:
    [said] = summary_lines(comparison(dict.fromkeys(HEADLINE)))
    assert "Plan for longer, with horizon_h" in said
    assert summary_lines({"cases": [{"name": SPLIT}]}) == []


def test_an_edge_is_a_value_with_its_unit_and_the_answer_beyond_it() -> None:
    base = {"title": "the downlink of each antenna", "knob": "downlink", "unit": "Mbit/s", "value": 20.0}
    counted = {"title": "the number of stations", "knob": "stations", "unit": "", "value": 4.0}
    beams = counted | {"title": "the number of antennas at each station", "knob": "beams"}
    break_evens = [
        base | {"break_even": 7.85, "above": False, "turns": True, "winner": ONBOARD_LORA, "until": 5.0},
        base | {"break_even": 80.0, "above": True, "turns": False, "winner": SPLIT, "until": 80.0},
        counted | {"break_even": 2, "above": False, "turns": True, "winner": None, "until": 1},
        beams | {"break_even": 2, "above": False, "turns": True, "winner": IMAGES_DOWN, "until": 2},
    ]
    said = summary_lines(comparison(dict.fromkeys(HEADLINE, 100.0) | {SPLIT: 10.0}, break_evens=break_evens))
    assert (
        "The downlink of each antenna (now 20 Mbit/s): below 7.85 Mbit/s (planned to 5) on-board LoRA finishes first; "
        "up to 80 Mbit/s the answer stays."
    ) in said
    assert (
        "The number of antennas at each station (now 4): at 2 bringing the images down finishes first."
        in said
    )
    assert "The number of stations (now 4): at 2 or fewer no mission ends within the contact plan." in said


def test_where_the_closed_form_does_not_hold_it_says_so() -> None:
    rho = {"law": 0.2, "planned": 0.21, "mission": None, "bound_by": "transfer"}
    [*_, said] = summary_lines(comparison(dict.fromkeys(HEADLINE, 1.0), rho=rho))
    assert "bound by the downlink" in said
    assert "does not hold here" not in said
    [*_, said] = summary_lines(comparison(dict.fromkeys(HEADLINE, 1.0), rho=rho | {"planned": 0.9}))
    assert "does not hold here" in said


def test_missions_that_are_nearly_as_long_are_called_so() -> None:
    said, *_ = summary_lines(
        comparison({SPLIT: 100.0, ONBOARD_LORA: 300.0, IMAGES_DOWN: 103.0, FEATURES_DOWN: 200.0})
    )
    assert said.endswith("Less than 5 % apart: the split and bringing the images down.")
