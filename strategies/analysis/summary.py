"""What a comparison says in sentences: one answer, of planned missions alone, and where it turns.

The closed form (:mod:`strategies.analysis.closed_form`) stands at the end, as an explanation, with what it leaves out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from mission.text.quantities import spoken_bytes, spoken_time
from strategies.analysis.cases import FEATURES_DOWN, HEADLINE, IMAGES_DOWN, ONBOARD_LORA, SPLIT
from strategies.analysis.sensitivity import winner_of

_CALLED = {
    SPLIT: "the split",
    ONBOARD_LORA: "on-board LoRA",
    IMAGES_DOWN: "bringing the images down",
    FEATURES_DOWN: "bringing features and labels down once",
}
_LEVEL = 1.05  # missions less than 5 % apart are called level
_AGREES = 1.25  # the closed form explains a plan that is no further from it
_ORDER = ("downlink", "uplink", "isl", "satellite_tflops", "ground_tflops", "image_bytes", "stations", "beams",
          "satellites")  # fmt: skip


def summary_lines(comparison: Mapping[str, Any]) -> list[str]:
    """Return what ``compare`` found, as sentences; nothing without the split and on-board LoRA."""
    cases = {case["name"]: case for case in comparison["cases"]}
    if not {SPLIT, ONBOARD_LORA} <= cases.keys():
        return []
    missions = {name: cases[name].get("mission") for name in HEADLINE if name in cases}
    length_s = {name: mission["length_s"] for name, mission in missions.items() if mission}
    first = winner_of(length_s)
    if first is None:
        return ["No answer: no mission ends within the contact plan. Plan for longer, with horizon_h."]
    lines = [_answer(missions, length_s, first, comparison["rounds"])]
    lines += _of_the_split(length_s, first)
    if SPLIT in length_s:
        lines += [_bytes(missions), f"What binds the split is {missions[SPLIT]['binds']}."]
    lines += (
        _break_evens(comparison["break_evens"])
        if "break_evens" in comparison
        else ["With --sensitivity, `skysplit compare` also says where the answer turns."]
    )
    lines += _closed_form(comparison.get("rho"))
    return lines


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


def _of_the_split(length_s: Mapping[str, float], first: str) -> Iterator[str]:
    """Whether it pays where something else finishes first, but may not be allowed."""
    if first == SPLIT:
        return
    if SPLIT not in length_s:
        yield "The split does not end within the contact plan: plan for longer, with horizon_h."
        return
    yield f"The split takes {length_s[SPLIT] / length_s[first]:.3g} times as long."
    if first == ONBOARD_LORA:
        return
    onboard_s = length_s.get(ONBOARD_LORA)
    kept = "images" if first == IMAGES_DOWN else "labels"
    if onboard_s is None:
        against = "on-board LoRA does not end within the contact plan"
    else:
        against = f"{spoken_time(length_s[SPLIT])} against {spoken_time(onboard_s)} for on-board LoRA"
    pays = onboard_s is None or length_s[SPLIT] < onboard_s
    yield f"Where the {kept} must stay on board, the split {'pays' if pays else 'does not pay either'}: {against}."


def _bytes(missions: Mapping[str, Any]) -> str:
    split, images = missions[SPLIT], missions.get(IMAGES_DOWN)
    sentence = (
        f"It brings down {spoken_bytes(split['down_bytes'])} and sends up {spoken_bytes(split['up_bytes'])}"
    )
    if not images:
        return f"{sentence}."
    ratio = split["down_bytes"] / images["down_bytes"]
    if f"{ratio:.3g}" == "1":
        more = "as much"
    else:
        more = f"{ratio:.3g} times as much" if ratio > 1.0 else f"{100 * ratio:.3g} % as much"
    return (
        f"{sentence}; the images once are {spoken_bytes(images['down_bytes'])}: the split brings down {more}."
    )


def _break_evens(break_evens: list[Mapping[str, Any]]) -> Iterator[str]:
    """A sentence a number: as far as which value the answer stays, and which is the answer beyond."""
    for knob in _ORDER:
        of_knob = [break_even for break_even in break_evens if break_even["knob"] == knob]
        if not of_knob:
            continue
        unit, counts = of_knob[0]["unit"], not of_knob[0]["unit"]
        parts = []
        for break_even in sorted(of_knob, key=lambda break_even: break_even["above"]):
            value = f"{break_even['break_even']:.0f}" if counts else f"{break_even['break_even']:.3g} {unit}"
            if not break_even["turns"]:
                parts.append(f"{'up' if break_even['above'] else 'down'} to {value} the answer stays")
            else:
                beyond = _CALLED[break_even["winner"]] if break_even["winner"] else "no mission"
                what = "finishes first" if break_even["winner"] else "ends within the contact plan"
                word = (
                    ("from" if break_even["above"] else "at")
                    if counts
                    else ("above" if break_even["above"] else "below")
                )
                less = (
                    " or fewer" if counts and not break_even["above"] and break_even["break_even"] > 1 else ""
                )
                more = " on" if counts and break_even["above"] else ""
                parts.append(f"{word} {value}{less}{more} {beyond} {what}")
        now = f"{of_knob[0]['value']:.0f}" if counts else f"{of_knob[0]['value']:.3g} {unit}"
        yield f"{_capital(of_knob[0]['title'])} (now {now}): {'; '.join(parts)}."


def _closed_form(rho: Mapping[str, Any] | None) -> Iterator[str]:
    if rho is None:
        return
    law, planned = rho["law"], rho["planned"]
    sentence = (
        f"By the closed form, a round of the split takes {law:.2g} times as long as one of on-board LoRA "
        f"({_bound_by(rho)}). By the plan it takes {planned:.2g} times as long."
    )
    if max(law / planned, planned / law) > _AGREES:
        sentence += (
            " The closed form ignores waiting for contacts, set-up, round trips and the return of averages, "
            "so it does not hold here."
        )
    yield sentence


def _bound_by(rho: Mapping[str, Any]) -> str:
    return "bound by the downlink" if rho["bound_by"] == "transfer" else "bound by computing on the ground"


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]
