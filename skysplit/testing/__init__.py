"""Test kits for parts of other packages."""

from skysplit.testing.parts import (
    check_aggregation_rule,
    check_codec,
    check_decoder,
    check_head,
    check_imagery_source,
    check_link_model,
)
from strategies.testing import check_round_planner

__all__ = [
    "check_aggregation_rule",
    "check_codec",
    "check_decoder",
    "check_head",
    "check_imagery_source",
    "check_link_model",
    "check_round_planner",
]
