"""What a comparison says in sentences: one answer, of planned missions alone, and where it turns.

The closed form (:mod:`strategies.analysis.closed_form`) stands at the end, as an explanation, with what it leaves out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from mission.text.quantities import spoken_bytes, spoken_time
from strategies.analysis.cases import FEATURES_DOWN, IMAGES_DOWN, ONBOARD_HEAD, ONBOARD_LORA, SPLIT
from strategies.analysis.sensitivity import winner_of

_CALLED = {
    SPLIT: "the split",
    ONBOARD_LORA: "on-board LoRA",
    ONBOARD_HEAD: "training the head on board",
    IMAGES_DOWN: "bringing the images down",
    FEATURES_DOWN: "bringing features and labels down once",
}
_WITHOUT_LABELS = ("features and labels down", "features down")
_LEVEL = 1.05  # missions less than 5 % apart are called level
_AGREES = 1.25  # the closed form explains a plan that is no further from it
_ORDER = ("downlink", "uplink", "isl", "satellite_tflops", "ground_tflops", "image_bytes", "stations", "beams",
          "satellites")  # fmt: skip


def summary_lines(comparison: Mapping[str, Any]) -> list[str]:
    """Return what ``compare`` found, as sentences; nothing without the split and the same trained on board."""
    cases = {case["name"]: case for case in comparison["cases"]}
    missions = {name: cases[name].get("mission") for name in comparison.get("headline", ())}
    on_board = next((name for name in missions if name.startswith("onboard")), None)
    if SPLIT not in missions or on_board is None:
        return []
    length_s = {name: mission["length_s"] for name, mission in missions.items() if mission}
    first = winner_of(length_s)
    if first is None:
        return ["No answer: no mission ends within the contact plan. Plan for longer, with horizon_h."]
    lines = [_answer(missions, length_s, first, comparison["rounds"]), *_interpolated(missions)]
    ground_has_labels = comparison.get("ground_has_labels", False)
    lines += _of_the_split(length_s, first, on_board, ground_has_labels=ground_has_labels)
    if SPLIT in length_s:
        lines += [_bytes(missions), f"What binds the split is {missions[SPLIT]['binds']}."]
    lines += (
        _break_evens(comparison["break_evens"])
        if "break_evens" in comparison
        else ["With --sensitivity, `skysplit compare` also says where the answer turns."]
    )
    lines += _closed_form(comparison.get("rho"), on_board)
    return [line.replace(*_WITHOUT_LABELS) for line in lines] if ground_has_labels else lines


def _answer(missions: Mapping[str, Any], length_s: Mapping[str, float], first: str, rounds: int) -> str:
    others = sorted((name for name in length_s if name != first), key=length_s.__getitem__)
    spoken = [f"{_CALLED[name]} {spoken_time(length_s[name])}" for name in others]
    spoken += [
        f"{_CALLED[name]} does not end within the contact plan" for name in missions if not missions[name]
    ]
    pays = "The split pays here" if first == SPLIT else f"{_capital(_CALLED[first])} finishes first here"
    number = f"{rounds} round{'s' * (rounds > 1)} take{'s' * (rounds == 1)} {spoken_time(length_s[first])}"
    level = [name for name in others if length_s[name] < _LEVEL * length_s[first]]
    close = f" Less than 5 % apart: {_listed([_CALLED[name] for name in (first, *level)])}." if level else ""
    return f"{pays}: {number}" + (f"; {', '.join(spoken)}" if spoken else "") + f".{close}"


def _interpolated(missions: Mapping[str, Any]) -> Iterator[str]:
    """Say of which missions some rounds are interpolated."""
    for name, mission in missions.items():
        if mission and mission["planned"] < mission["rounds"]:
            yield (
                f"{_capital(_CALLED[name])}: {mission['planned']} of {mission['rounds']} rounds are planned, the "
                "others interpolated between them."
            )


def _of_the_split(
    length_s: Mapping[str, float], first: str, on_board: str, *, ground_has_labels: bool
) -> Iterator[str]:
    """Say whether the split pays if images must stay on board, or images and labels."""
    if first == SPLIT:
        return
    if SPLIT not in length_s:
        yield "The split does not end within the contact plan: plan for longer, with horizon_h."
        return
    yield f"The split takes {_times_as_long(length_s[SPLIT] / length_s[first])}."
    if first == on_board:
        return
    left = {name: length for name, length in length_s.items() if name != IMAGES_DOWN}
    kept, also = "images", ""
    if (next_best := winner_of(left)) == FEATURES_DOWN:
        if first == IMAGES_DOWN:
            yield (
                f"Where the images must stay on board, {_CALLED[FEATURES_DOWN]} finishes first, in "
                f"{spoken_time(left[FEATURES_DOWN])}."
            )
        if ground_has_labels:
            yield "The ground has the labels, so that what the split sends down is enough for it to train alone."
            return
        kept, also = "labels", ", too" * (first == IMAGES_DOWN)
        del left[FEATURES_DOWN]
        next_best = winner_of(left)
    if on_board not in left:
        against = f"{_CALLED[on_board]} does not end within the contact plan"
    else:
        against = f"{spoken_time(left[SPLIT])} against {spoken_time(left[on_board])} for {_CALLED[on_board]}"
        if max(left[SPLIT], left[on_board]) < _LEVEL * min(left[SPLIT], left[on_board]):
            against += ", less than 5 % apart"
    pays = "pays" if next_best == SPLIT else "does not pay either"
    yield f"Where the {kept} must stay on board{also}, the split {pays}: {against}."


def _bytes(missions: Mapping[str, Any]) -> str:
    split, images = missions[SPLIT], missions.get(IMAGES_DOWN)
    sentence = (
        f"It brings down {spoken_bytes(split['down_bytes'])} and sends up {spoken_bytes(split['up_bytes'])}"
    )
    if not images:
        return f"{sentence}."
    ratio = split["down_bytes"] / images["down_bytes"]
    if _factor(ratio) == "1":
        more = "as much"
    else:
        more = f"{_factor(ratio)} times as much" if ratio > 1.0 else f"{100 * ratio:.3g} % as much"
    return (
        f"{sentence}; the images once are {spoken_bytes(images['down_bytes'])}: the split brings down {more}."
    )


def _break_evens(break_evens: list[Mapping[str, Any]]) -> Iterator[str]:
    """A sentence a number: as far as which value the answer stays, and which is the answer beyond."""
    for knob in _ORDER:
        of_knob = [break_even for break_even in break_evens if break_even["knob"] == knob]
        if not of_knob:
            continue
        parts = map(_turn, sorted(of_knob, key=lambda break_even: break_even["above"]))
        now = _with_unit(of_knob[0]["value"], of_knob[0]["unit"])
        yield f"{_capital(of_knob[0]['title'])} (now {now}): {'; '.join(parts)}."


def _turn(break_even: Mapping[str, Any]) -> str:
    """Where the answer turns in one direction, and as far as which value the next answer was planned."""
    value, until = (_with_unit(break_even[key], break_even["unit"]) for key in ("break_even", "until"))
    if not break_even["turns"]:
        return f"{'up' if break_even['above'] else 'down'} to {value} the answer stays"
    if break_even["unit"]:
        number = until.removesuffix(f" {break_even['unit']}")
        where = f"{'above' if break_even['above'] else 'below'} {value} (planned to {number})"
    elif break_even["above"]:
        where = f"from {value} on"
    else:
        where = (
            f"at {value} or fewer" if break_even["until"] == 1 < break_even["break_even"] else f"at {value}"
        )
    if break_even["winner"] is None:
        return f"{where} no mission ends within the contact plan"
    return f"{where} {_CALLED[break_even['winner']]} finishes first"


def _with_unit(value: float, unit: str) -> str:
    return f"{value:.3g} {unit}" if unit else f"{value:.0f}"


def _closed_form(rho: Mapping[str, Any] | None, on_board: str) -> Iterator[str]:
    if rho is None:
        return
    law, planned = rho["law"], rho["planned"]
    sentence = (
        f"By the closed form, the first round of the split takes {_times_as_long(law, 2)} as one of "
        f"{_CALLED[on_board]} ({_bound_by(rho)}). By the plan it takes {_times_as_long(planned, 2)}"
    )
    sentence += f", and the mission {_times_as_long(rho['mission'], 2)}." if rho["mission"] else "."
    if max(law / planned, planned / law) > _AGREES:
        sentence += (
            " The closed form ignores waiting for contacts, set-up, the uplink, round trips and the return of "
            "averages, so it does not hold here."
        )
    yield sentence


def _bound_by(rho: Mapping[str, Any]) -> str:
    return "bound by the downlink" if rho["bound_by"] == "transfer" else "bound by computing on the ground"


def _times_as_long(ratio: float, digits: int = 3) -> str:
    """A ratio of two lengths in words."""
    factor = _factor(ratio, digits)
    return "as long" if factor == "1" else f"{factor} times as long"


def _factor(ratio: float, digits: int = 3) -> str:
    """A ratio with so many digits, in full where there are more before the point."""
    return f"{ratio:,.0f}" if ratio >= 10.0**digits - 0.5 else f"{ratio:.{digits}g}"


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]
