"""What the ground tells every satellite about the run, as Flower messages carry it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, astuple, dataclass, field, fields
from typing import Any, Self

from mission.scenario import scenario_from_json, scenario_to_json
from mission.schema import Scenario

GROUND = "ground"  # its name on the wire
ENROLMENT_IMAGES = 32  # whose features each satellite sends before training, at most
FEATURE_NAME_BYTES = 16  # a name of features that the ground keeps
# How many steps a satellite's features may run ahead of the step whose gradient it owes. Features do not depend on
# steps, so the link need not idle during a step's round trip: over a few hops that takes 0.1 to 0.4 s, and the features
# of 16 images 0.1 s (ViT-B, int8, 200 Mbit/s). More would only fill the ground's memory.
STEPS_AHEAD = 4


@dataclass(frozen=True)
class ComputeTimes:
    """Planned compute time per image and pass, in seconds.

    An emulation charges these times, however fast its machines are.

    Attributes:
        embedding_s: On board, of its features.
        head_s: On board, of a step of the head.
        tail_s: On board in mode ``head``, of the frozen blocks between what returns and the head.
        forward_s, backward_s: On the ground, of the backbone.
        message_s: Of the software for one message of a step, at each end.
    """

    embedding_s: float = 0.0
    head_s: float = 0.0
    _: KW_ONLY
    tail_s: float = 0.0
    forward_s: float = 0.0
    backward_s: float = 0.0
    message_s: float = 0.0

    def to_list(self) -> list[float]:
        """As a Flower ``ConfigRecord`` takes them."""
        return list(astuple(self))

    @classmethod
    def from_list(cls, values: Sequence[float]) -> Self:
        """Read what :meth:`to_list` wrote."""
        names = [field_.name for field_ in fields(cls)]
        return cls(**dict(zip(names, values, strict=True)))


@dataclass(frozen=True)
class RunConfig:
    """The run, as every satellite must know it.

    Attributes:
        scenario: The resolved scenario.
        satellites: Names, in the order of the constellation; a node's ``partition-id`` is its position here.
        planes: Plane of each satellite.
        run: Name of the run on the wire.
        ground: Name of the ground on the wire.
        backbone: ``host:port`` of the backbone service.
        band_means, band_deviations: Of the raw values of each of the model's bands, where the satellites have computed
            them together; empty takes the model's own.
        secret: Of the run: who knows it may reach the backbone service.
        keeps_features: Whether the ground keeps features, so that those which have crossed are only named again.
        compute_times: What the plan has computing take.
    """

    scenario: Scenario
    satellites: tuple[str, ...]
    _: KW_ONLY
    planes: tuple[int, ...]
    run: str
    ground: str
    backbone: str
    keeps_features: bool
    band_means: tuple[float, ...] = ()
    band_deviations: tuple[float, ...] = ()
    secret: str = field(default="", repr=False)
    compute_times: ComputeTimes = field(default_factory=ComputeTimes)

    def to_config(self) -> dict[str, Any]:
        """As the values that a Flower ``ConfigRecord`` takes."""
        return {
            "scenario": scenario_to_json(self.scenario),
            "satellites": list(self.satellites),
            "planes": list(self.planes),
            "run": self.run,
            "ground": self.ground,
            "backbone": self.backbone,
            "keeps-features": self.keeps_features,
            "band-means": list(self.band_means),
            "band-deviations": list(self.band_deviations),
            "secret": self.secret,
            "compute-times": self.compute_times.to_list(),
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> RunConfig:
        """Read what :meth:`to_config` wrote.

        Raises:
            mission.scenario.ScenarioError: The scenario is of another version.
        """
        return cls(
            scenario=scenario_from_json(config["scenario"]),
            satellites=tuple(config["satellites"]),
            planes=tuple(config["planes"]),
            run=config["run"],
            ground=config["ground"],
            backbone=config["backbone"],
            keeps_features=config["keeps-features"],
            band_means=tuple(config["band-means"]),
            band_deviations=tuple(config["band-deviations"]),
            secret=config["secret"],
            compute_times=ComputeTimes.from_list(config["compute-times"]),
        )
