"""Downlinks that are used in sunlight only, for satellites whose transmitter needs what the solar panels give."""

from __future__ import annotations

import dataclasses

import numpy as np

from orbit.contact_plan import ContactPlan, LinkKind


def downlinks_in_sunlight(plan: ContactPlan, eclipses: np.ndarray) -> ContactPlan:
    """The contact plan without the parts of downlinks in which the satellite is in the shadow of the Earth.

    Each part that is left keeps the rate of its contact.  ``eclipses`` as
    :func:`orbit.search.eclipse.find_eclipses` gives them, over the horizon of the plan: by satellite and time.
    """
    contacts = plan.contacts
    down = contacts[contacts["kind"] == LinkKind.DOWNLINK]
    span_s = 2.0 * plan.horizon_s  # longer than any time: satellites one after the other on one axis
    count = len(plan.satellites)
    first_s = np.concatenate([np.arange(count) * span_s, eclipses["satellite"] * span_s + eclipses["end_s"]])
    last_s = np.concatenate(
        [np.arange(count) * span_s + plan.horizon_s, eclipses["satellite"] * span_s + eclipses["start_s"]]
    )
    first_s, last_s = np.sort(first_s), np.sort(last_s)  # of the n-th stretch in sunlight
    from_s, to_s = (down["source"] * span_s + down[edge] for edge in ("start_s", "end_s"))
    begin = np.searchsorted(last_s, from_s, side="right")
    stretches = np.maximum(np.searchsorted(first_s, to_s, side="left") - begin, 0)
    which = np.repeat(np.arange(len(down)), stretches)
    stretch = np.arange(len(which)) - np.repeat(np.cumsum(stretches) - stretches, stretches) + begin[which]
    parts = down[which]
    start_s = np.maximum(from_s[which], first_s[stretch]) - parts["source"] * span_s
    end_s = np.minimum(to_s[which], last_s[stretch]) - parts["source"] * span_s
    parts["open_start"] &= start_s == parts["start_s"]
    parts["open_end"] &= end_s == parts["end_s"]
    parts["start_s"], parts["end_s"] = start_s, end_s
    kept = np.concatenate([contacts[contacts["kind"] != LinkKind.DOWNLINK], parts[end_s > start_s]])
    return dataclasses.replace(plan, contacts=kept)
