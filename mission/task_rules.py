"""What a scenario may ask for depends on what its model is trained for, which its images may say."""

from __future__ import annotations

from mission.scenario import ScenarioError
from mission.schema import DECODER_KINDS, Scenario

DENSE_KINDS = ("segmentation", "pixel-regression")  # whose head answers at every pixel


def require_task_fits(scenario: Scenario, kind: str) -> None:
    """Raise ScenarioError for a key that this kind of task has not.

    Args:
        scenario: The resolved scenario.
        kind: As ``task.kind`` names it; not ``auto``.
    """
    if scenario.training.head_rows == "by-class" and kind != "classification":
        raise ScenarioError(
            f'training.head_rows: found "by-class" with {kind}; allowed: "by-images", except with classification, '
            "whose images are of one class each"
        )
    if scenario.task.head != "linear":
        if kind in DENSE_KINDS:
            raise ScenarioError(
                f'task.head: found "{scenario.task.head}" with {kind}, whose head answers at every pixel; allowed: '
                '"linear", and task.decoder'
            )
        if scenario.training.head_rows == "by-class":
            raise ScenarioError(
                f'training.head_rows: found "by-class" with task.head = "{scenario.task.head}", which has no row for '
                'each class; allowed: "by-images"'
            )
    if scenario.split.bottleneck and kind in DENSE_KINDS and scenario.task.decoder not in DECODER_KINDS:
        raise ScenarioError(
            f'split.bottleneck: found {scenario.split.bottleneck} with task.decoder = "{scenario.task.decoder}", whose '
            "first layer nobody knows; allowed: 0"
        )
    if scenario.split.bottleneck and kind not in DENSE_KINDS:
        raise ScenarioError(
            f"split.bottleneck: found {scenario.split.bottleneck} with {kind}, of which one state per image returns; "
            f"allowed: 0, except with {', '.join(DENSE_KINDS)}"
        )
