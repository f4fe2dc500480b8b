"""What a satellite names instead of sending it again."""

from __future__ import annotations

import numpy as np

from client_app.cached_features import CachedFeatures
from mission.run_config import STEPS_AHEAD
from splitmodel.training import Batch

NAMES = np.arange(1, 33, dtype=np.uint8).reshape(2, 16)
BOTH = Batch(np.array([0, 2]), np.array([1, 0]))


def test_a_step_names_what_was_kept_before_its_features_may_have_been_sent_ahead() -> None:
    """Features of step n + 5 cannot be sent before the answer to step n; those of step n + 4 may have been."""
    kept = CachedFeatures(3, 2, key_salt=b"")
    kept.put(BOTH, NAMES, 7)
    assert not kept.names_of(BOTH, 7 + STEPS_AHEAD).any()
    np.testing.assert_array_equal(kept.names_of(BOTH, 8 + STEPS_AHEAD), NAMES)
    kept.put(BOTH, NAMES, 9)  # crossed again meanwhile
    np.testing.assert_array_equal(kept.names_of(BOTH, 8 + STEPS_AHEAD), NAMES)


def test_what_is_kept_at_the_start_of_a_round_is_named_from_its_first_step_on() -> None:
    kept = CachedFeatures(3, 2, key_salt=b"")
    kept.put(BOTH, NAMES, 7)
    again = CachedFeatures(3, 2, key_salt=b"", names=kept.names, since=kept.since)
    assert not again.names_of(BOTH, 0).any()
    again.begin_round()
    np.testing.assert_array_equal(again.names_of(BOTH, 0), NAMES)
    assert not again.names_of(Batch(np.array([0, 1]), np.array([0, 0])), 0).any()


def test_what_the_ground_has_lost_is_sent_again() -> None:
    kept = CachedFeatures(3, 2, key_salt=b"")
    kept.put(BOTH, NAMES, 0)
    kept.begin_round()
    kept.invalidate()
    assert not kept.names_of(BOTH, 100).any()
    kept.put(BOTH, NAMES, 3)
    assert not kept.names_of(BOTH, 3 + STEPS_AHEAD).any()
    assert kept.names_of(BOTH, 4 + STEPS_AHEAD).all()
