"""Scores for one satellite's mix of classes."""

from __future__ import annotations

import math

import numpy as np
import pytest

from splitmodel.tasks import Score

SCORE = Score(0.5, 0.45, accuracy=0.45, confusion_KK=np.array([[8, 2, 0], [9, 1, 0], [0, 0, 0]]))


def test_a_satellite_that_sees_one_class_meets_that_class_accuracy() -> None:
    assert SCORE.accuracy_for([5, 0, 0]) == pytest.approx(0.8)
    assert SCORE.accuracy_for([30, 10, 0]) == pytest.approx(0.625)


def test_classes_that_are_not_tested_do_not_count() -> None:
    assert SCORE.accuracy_for([0, 4, 40]) == pytest.approx(0.1)
    assert math.isnan(SCORE.accuracy_for([0, 0, 7]))
