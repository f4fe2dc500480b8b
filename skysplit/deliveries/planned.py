"""Plan the delivery of a run's files: their manifest, the passes that carry them, and both as JSON."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from mission.orbits import constellation_of, contact_plan_of
from mission.record import completed_run, scenario_of
from mission.schema import Scenario
from mission.text.quantities import utc_text
from orbit.contact_plan import ContactPlan
from relay.release.manifest import ReleaseManifest, manifest_of
from strategies.delivery import ReleaseDelivery, plan_delivery
from strategies.problem.workload import Resources

CHUNK_BYTES = 64 * 1024  # at 250 kbit/s two seconds, which is what a broken pass loses at most


class Content(StrEnum):
    """The files of a run that may be delivered."""

    ALL = "all"
    HEAD = "head"
    ADAPTER = "adapter"
    MODEL = "model"
    ONNX = "onnx"


_PREFIXES = {
    Content.HEAD: ("head.",),
    Content.ADAPTER: ("adapter/",),
    Content.MODEL: ("model/",),
    Content.ONNX: ("model.onnx",),
}


@dataclass(frozen=True, eq=False)
class PlannedDelivery:
    """A run's files on their way up.

    Attributes:
        scenario: Of the run.
        contact_plan: Its contacts, over a horizon that lets the files through.
        manifest: Files, sizes, digests.
        delivery: The passes.
        resources: Beams of the stations, and set-up.
    """

    scenario: Scenario
    contact_plan: ContactPlan
    _: KW_ONLY
    manifest: ReleaseManifest
    delivery: ReleaseDelivery
    resources: Resources

    def to_json(self) -> dict[str, Any]:
        """Return the delivery as JSON values, satellites and passes by name and time."""
        epoch, delivery = self.scenario.epoch, self.delivery
        names = [node.name for node in self.contact_plan.nodes]
        return {
            "release": self.manifest.release,
            "bytes": self.manifest.size,
            "chunk_bytes": self.manifest.chunk_bytes,
            "files": [dataclasses.asdict(file) for file in self.manifest.files],
            "starts_utc": utc_text(epoch, delivery.start_s),
            "ends_utc": utc_text(epoch, delivery.end_s),
            "length_s": delivery.end_s - delivery.start_s,
            "uplink_bytes": sum(part.end_byte - part.first_byte for part in delivery.parts),
            "passes": [
                {
                    "station": names[part.station],
                    "satellite": names[part.satellite],
                    "starts_utc": utc_text(epoch, part.start_s),
                    "ends_utc": utc_text(epoch, part.end_s),
                    "start_s": part.start_s,
                    "data_s": part.data_s,
                    "end_s": part.end_s,
                    "first_byte": part.first_byte,
                    "end_byte": part.end_byte,
                }
                for part in delivery.parts
            ],
            "satellites": [
                {
                    "satellite": names[index],
                    "passes": sum(part.satellite == index for part in delivery.parts),
                    "uplink_bytes": self._from_the_ground(index),
                    "isl_bytes": self.manifest.size - self._from_the_ground(index),
                    "delivered_s": float(delivery.delivered_s[index]),
                    "delivered_utc": utc_text(epoch, float(delivery.delivered_s[index])),
                }
                for index in self.contact_plan.satellites.tolist()
            ],
        }

    def _from_the_ground(self, satellite: int) -> int:
        parts = (part for part in self.delivery.parts if part.satellite == satellite)
        return sum(part.end_byte - part.first_byte for part in parts)


def planned_delivery(
    run: Path, *, content: Content = Content.ALL, at_s: float | None = None
) -> PlannedDelivery:
    """Plan how what a run has trained goes up, from its end on or from a mission time.

    Raises:
        FileNotFoundError: The directory holds no run.
        ValueError: The run has not ended, it has nothing of that kind, or the files do not get through.
    """
    record = completed_run(run)
    scenario = scenario_of(record)
    manifest = manifest_of(run / "final", _paths(run / "final", content), CHUNK_BYTES)
    start_s = record["result"]["mission_time_s"] if at_s is None else at_s
    contact_plan = _contacts_from(scenario, start_s)
    own_beams = tuple(
        (node, station.beams)
        for node, station in zip(contact_plan.stations.tolist(), scenario.ground.stations, strict=True)
        if station.beams
    )
    resources = Resources(scenario.ground.beams, scenario.ground.setup_s, own_beams=own_beams)
    delivery = plan_delivery(contact_plan, manifest.size, resources=resources, start_s=start_s)
    return PlannedDelivery(scenario, contact_plan, manifest=manifest, delivery=delivery, resources=resources)


def _paths(final: Path, content: Content) -> Sequence[str]:
    """The files of a kind below ``final``, the model card left out; all of them are those that were trained."""
    paths = [
        path.relative_to(final).as_posix()
        for path in sorted(final.rglob("*"))
        if path.is_file() and path.name != "README.md"
    ]
    if content is Content.ALL:
        return [path for path in paths if not path.startswith(_PREFIXES[Content.ONNX])]
    chosen = [path for path in paths if path.startswith(_PREFIXES[content])]
    if not chosen:
        kinds = [kind.value for kind, starts in _PREFIXES.items() if any(p.startswith(starts) for p in paths)]
        raise ValueError(
            f"--content: found {content}, of which {final} has nothing; allowed: {', '.join(kinds) or 'nothing'}"
        )
    return chosen


def _contacts_from(scenario: Scenario, start_s: float) -> ContactPlan:
    """The mission's contacts, as long after the delivery begins as its horizon is long."""
    longest_h = 24.0 * 62
    horizon_h = min(scenario.horizon_h + start_s / 3600.0, longest_h)
    longer = scenario.model_copy(update={"horizon_h": horizon_h})
    return contact_plan_of(longer, constellation_of(longer))
