"""The passes of two Walker shells over ten stations in a day, against Orekit's (committed in
orekit_windows.json)."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from astropy.time import Time

from benchmarks.orbit_cases import HORIZON_S, REFERENCE_EPOCH, STATIONS, walker_case
from orbit.search.contacts import find_passes

REFERENCE = json.loads((Path(__file__).parents[1] / "orekit_windows.json").read_text())


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("pattern", ["24/4/1", "72/6/1"])
def test_no_window_is_missing_none_is_extra_and_each_begins_and_ends_with_orekits(
    pattern: str, compiled: bool
) -> None:
    if compiled:
        pytest.importorskip("numba", reason="the extra [fast] is not installed")
    epoch = Time(REFERENCE_EPOCH)
    assert REFERENCE["epoch"] == epoch.isot
    reference = np.array(REFERENCE["windows"][pattern])
    reference = reference[np.lexsort(reference.T[2::-1])]
    passes = find_passes(walker_case(pattern), STATIONS, epoch=epoch, horizon_s=HORIZON_S, compiled=compiled)
    assert passes["satellite"].tolist() == reference[:, 0].tolist()
    assert passes["station"].tolist() == reference[:, 1].tolist()
    for field, column in (("start_s", 2), ("end_s", 3)):
        off_s = np.abs(passes[field] - reference[:, column])
        assert np.median(off_s) <= 0.001
        assert np.percentile(off_s, 95) <= 0.002
        assert off_s.max() <= 0.050
