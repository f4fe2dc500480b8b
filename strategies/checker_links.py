"""Rules of the checker for what is scarce: contacts, antennas, lasers, links, processors, buffers."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from orbit.contact_plan import LinkKind
from strategies.checker_rules import Rules, Violation
from strategies.intervals import inside, lateness_s, most_at_once, parts, served
from strategies.plan import Kind

_EARTH = -1  # where features and answers of the ground are: all stations are one


class LinkRules(Rules):
    """Nothing is used that is not there, or by more than it can serve."""

    def windows(self) -> Iterator[Violation]:
        """Every transfer lies inside one contact of its link."""
        inside = self._contact_of(self.moving) >= 0
        for row in self.moving[~inside][:10]:
            yield Violation("window", f"{self.transfer(row)} is outside the contacts of that link")

    def antennas(self) -> Iterator[Violation]:
        """Beams per station, one antenna per satellite, set-up before data, no data outside a session."""
        sessions = self.rows[self.rows["kind"] == Kind.SESSION]
        for column, limit in (("peer", self.resources.beams), ("node", 1)):
            for node in np.unique(sessions[column]):
                most, when_s = most_at_once(sessions[sessions[column] == node])
                if most > limit:
                    yield Violation(
                        "antenna", f"{self.name(node)} serves {most} at {when_s:.3f} s, allowed is {limit}"
                    )
        data = self.moving[np.isin(self.moving["link"], (LinkKind.DOWNLINK, LinkKind.UPLINK))]
        down = data["link"] == LinkKind.DOWNLINK
        satellite, station = (
            np.where(down, data["node"], data["peer"]),
            np.where(down, data["peer"], data["node"]),
        )
        held = inside(
            satellite, station, data["start_s"] - self.resources.setup_s, data["end_s"],
            sessions["node"], sessions["peer"], sessions["start_s"], sessions["end_s"],
        )  # fmt: skip
        for row in data[held < 0][:10]:
            yield Violation("session", f"{self.transfer(row)} has no session, or cuts into its set-up")

    def lasers(self) -> Iterator[Violation]:
        """Side terminals per satellite, acquisition before data."""
        holds = self.rows[self.rows["kind"] == Kind.LASER]
        both = np.concatenate([holds, holds])
        both["node"][len(holds) :] = holds["peer"]
        for node in np.unique(both["node"]):
            most, when_s = most_at_once(both[both["node"] == node])
            if most > self.resources.side_terminals:
                yield Violation("laser", f"{self.name(node)} points {most} side terminals at {when_s:.3f} s")
        data = self.moving[self.moving["link"] == LinkKind.INTER_ISL]
        low, high = np.minimum(data["node"], data["peer"]), np.maximum(data["node"], data["peer"])
        held = inside(
            low, high, data["start_s"] - self.resources.acquisition_s, data["end_s"],
            np.minimum(holds["node"], holds["peer"]), np.maximum(holds["node"], holds["peer"]),
            holds["start_s"], holds["end_s"],
        )  # fmt: skip
        for row in data[held < 0][:10]:
            yield Violation("laser", f"{self.transfer(row)} is not between acquisition and the end of a link")

    def links(self) -> Iterator[Violation]:
        """Each directed link serves all its windows at its rate."""
        contacts = self.contact_plan.contacts
        of_row = self._contact_of(self.moving)
        rows, of_row = self.moving[of_row >= 0], of_row[of_row >= 0]
        work_s = rows["bytes"] * 8.0 / contacts["rate_bps"][of_row]
        slack_s = 0.05 + 4.0 * self._micro_batch_bytes() * 8.0 / contacts["rate_bps"][of_row]
        order = np.argsort(of_row, kind="stable")
        for part in parts(of_row[order]):
            mine = order[part]
            late_s = lateness_s(rows["start_s"][mine], rows["end_s"][mine], work_s[mine])
            if late_s > slack_s[mine[0]]:
                yield Violation(
                    "capacity", f"{self.transfer(rows[mine[0]])} and others: the link is {late_s:.3f} s late"
                )

    def processors(self) -> Iterator[Violation]:
        """Each satellite, and the ground, computes all its windows at its rate."""
        rows = self.rows[self.rows["flops"] > 0]
        for node in np.unique(rows["node"]):
            mine = rows[rows["node"] == node]
            rate = self.rates.ground_flops if node == _EARTH else self.rates.satellite_flops
            start_s, end_s = (self._powered_s(node, mine[edge]) for edge in ("start_s", "end_s"))
            # The head's steps need no sunlight: they are a trifle, which is left out where it is the condition.
            lit = self.resources.sunlight is not None and node != _EARTH
            heavy = ~(lit & (mine["kind"] == Kind.HEAD))
            late_s = lateness_s(start_s[heavy], end_s[heavy], mine["flops"][heavy] / rate)
            if late_s > 1e-3:
                yield Violation("compute", f"{self.name(node)} is {late_s:.3f} s late with its computation")

    def _powered_s(self, node: int, time_s: np.ndarray) -> np.ndarray:
        """How long a computer has had power by a time: always, or while its satellite was in sunlight."""
        if self.resources.sunlight is None or node == _EARTH:
            return time_s
        lit_s = self.resources.sunlight.lit_s[node]
        return (np.clip(time_s[:, None], lit_s[:, 0], lit_s[:, 1]) - lit_s[:, 0]).sum(axis=1)

    def buffers(self) -> Iterator[Violation]:
        """What has come to a satellite and not yet left it fits its buffer."""
        if not np.isfinite(self.resources.buffer_bytes):
            return
        rows = self.rows[(self.rows["kind"] == Kind.FEATURES) & (self.rows["peer"] >= 0)]
        copied = self.rows[self.rows["kind"] == Kind.GATHER]
        for node in np.unique(np.concatenate([rows["peer"][rows["peer"] < self.satellites], copied["peer"]])):
            copies = copied[copied["peer"] == node]  # kept: what leaves from them frees nothing
            came = np.concatenate([rows[rows["peer"] == node], copies])
            went = rows[(rows["node"] == node) & (rows["satellite"] != node)]
            went = went[~np.isin(went["satellite"], copies["satellite"])]
            time_s = np.unique(
                np.concatenate([came["start_s"], came["end_s"], went["start_s"], went["end_s"]])
            )
            held = served(came, time_s) - served(went, time_s)
            if held.max(initial=0.0) > self.resources.buffer_bytes * (1.0 + 1e-6) + 1.0:
                yield Violation("buffer", f"{self.name(node)} holds {held.max():.0f} bytes of others")

    def _contact_of(self, rows: np.ndarray) -> np.ndarray:
        """Index of the contact in which each transfer lies, -1 where there is none."""
        contacts = self.contact_plan.contacts
        nodes = len(self.contact_plan.nodes)
        kinds = len(LinkKind)
        return inside(
            rows["node"].astype(np.int64) * nodes + rows["peer"], rows["link"].astype(np.int64),
            rows["start_s"], rows["end_s"],
            contacts["source"].astype(np.int64) * nodes + contacts["target"], contacts["kind"].astype(np.int64),
            contacts["start_s"], contacts["end_s"], factor=kinds,
        )  # fmt: skip

    def _micro_batch_bytes(self) -> float:
        return self.workload.micro_batch * max(self.workload.c3_bytes, self.workload.up_bytes)
