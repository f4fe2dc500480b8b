"""The inter-satellite links that a round may use, as its switches allow, and what they join."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import KW_ONLY, dataclass, replace
from functools import cached_property

import numpy as np

from orbit.contact_plan import ContactPlan, LinkKind
from strategies.inter_orbit import plan_inter_plane_isls
from strategies.problem.network import groups_of
from strategies.problem.plan import activities
from strategies.problem.routes import Routes
from strategies.problem.workload import InterOrbit, IntraOrbit, Resources, StrategyConfig


@dataclass(frozen=True, eq=False)
class SpaceLinks:
    """``contacts`` (dtype ``CONTACT``) carry data, ``lasers`` are the activities that hold the ISL terminals.

    ``plane`` and ``group`` label satellites, shape ``(N,)``: those of one group reach each other.
    """

    contacts: np.ndarray
    lasers: np.ndarray
    _: KW_ONLY
    plane: np.ndarray
    acquired_s: np.ndarray  # of each laser: from then on it carries data
    message_bits: float  # for which paths are to be quick

    @cached_property
    def group(self) -> np.ndarray:
        """Label of each satellite's group."""
        return groups_of(self.contacts, len(self.plane))

    @cached_property
    def routes(self) -> Routes:
        """Paths over the links."""
        return Routes(self.contacts, len(self.plane), message_bits=self.message_bits)

    @property
    def groups(self) -> int:
        """Return the number of groups."""
        return int(self.group.max()) + 1

    def open_at(self, time_s: float) -> SpaceLinks:
        """Only the links that are open at ``time_s``, the lasers as they are."""
        is_open = (self.contacts["start_s"] <= time_s) & (self.contacts["end_s"] > time_s)
        return replace(self, contacts=self.contacts[is_open])

    def lasers_until(self, end_s: float) -> np.ndarray:
        """The lasers that are pointed before ``end_s``, let go then."""
        held = self.lasers[self.lasers["start_s"] < end_s].copy()
        held["end_s"] = np.minimum(held["end_s"], end_s)
        return held

    def pointed_at(self, end_s: float) -> frozenset[tuple[int, int]]:
        """Pairs whose lasers are on each other at a time, acquisition over."""
        pairs = zip(self.lasers["node"].tolist(), self.lasers["peer"].tolist(), strict=True)
        standing = (self.acquired_s <= end_s) & (self.lasers["end_s"] > end_s)
        return frozenset(pair for pair, stands in zip(pairs, standing.tolist(), strict=True) if stands)


def space_links(
    contact_plan: ContactPlan,
    strategy_config: StrategyConfig,
    resources: Resources,
    start_s: float,
    end_s: float,
    *,
    pointed: Collection[tuple[int, int]] = (),
    message_bits: float = 0.0,
) -> SpaceLinks:
    """The links in ``[start_s, end_s]``, lasers between planes pointed from ``start_s`` on.

    Pairs in ``pointed`` have their lasers on each other at ``start_s``.
    """
    parts = [np.empty(0, contact_plan.contacts.dtype)]
    if strategy_config.intra_orbit is not IntraOrbit.NONE:
        parts.append(contact_plan.of_kind(LinkKind.INTRA_ISL))
    lasers, acquired_s = activities(0), np.zeros(0)
    if strategy_config.inter_orbit is not InterOrbit.NONE:
        side = plan_inter_plane_isls(
            contact_plan, strategy_config.inter_orbit, resources, start_s, end_s, pointed=pointed
        )
        parts.append(side.contacts)
        lasers, acquired_s = side.lasers, side.acquired_s
    links = np.concatenate(parts)
    links = links[(links["rate_bps"] > 0) & (links["end_s"] > start_s) & (links["start_s"] < end_s)]
    plane = np.array([contact_plan.nodes[index].plane for index in contact_plan.satellites])
    return SpaceLinks(links, lasers, plane=plane, acquired_s=acquired_s, message_bits=message_bits)
