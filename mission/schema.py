"""The schema of a scenario file: every key with its type, unit, range and default.

The models are frozen pydantic classes; the description of a field is its documentation. Reading,
overriding and error reporting live in :mod:`mission.scenario`.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

from mission.entry_points import (
    AGGREGATION,
    CODECS,
    DECODERS,
    HEADS,
    IMAGERY,
    INTER_ORBIT,
    INTRA_ORBIT,
    LINKS,
    PARTITIONS,
    ROUND_PLANNERS,
    SPACE_GROUND,
    OursOrRegistered,
    registered_function,
)

Positive = Annotated[float, Field(gt=0.0)]
NotNegative = Annotated[float, Field(ge=0.0)]
GrazingAltitude = Annotated[float, Field(ge=0.0, le=1000.0, description="lowest height of the line of sight")]
SlewRate = Annotated[
    float, Field(ge=0.0, description="fastest turn of a terminal in the satellite's frame; 0 is no limit")
]
Decibel = Annotated[float, Field(ge=-60.0, le=150.0)]
Azimuth = Annotated[float, Field(ge=0.0, le=360.0)]
Elevation = Annotated[
    float, Field(ge=-5.0, lt=90.0)
]  # a mask: below 0 where a station looks down from a height
PartOfTime = Annotated[float, Field(ge=0.0, lt=1.0)]
# Of a shared adapter, by accuracy per mission hour: docs/concepts.md, "Joint steps".
SATELLITES_PER_STEP = 24
CodecName = Annotated[str, AfterValidator(OursOrRegistered(CODECS, ("fp32", "bf16", "fp16", "int8", "int4")))]
HEAD_KINDS = ("linear",)
DECODER_KINDS = ("linear", "convolution")
DecoderName = Annotated[str, AfterValidator(OursOrRegistered(DECODERS, DECODER_KINDS))]
HeadName = Annotated[str, AfterValidator(OursOrRegistered(HEADS, HEAD_KINDS))]
IMAGE_SOURCES = ("synthetic", "synthetic-clouds", "eurosat", "parquet", "folder")
ImageSourceName = Annotated[str, AfterValidator(OursOrRegistered(IMAGERY, IMAGE_SOURCES))]
SERVER_OPTIMIZERS = ("fedavg", "fedavgm", "fedadam", "fedyogi", "fedadagrad")
ServerOptimizerName = Annotated[str, AfterValidator(OursOrRegistered(AGGREGATION, SERVER_OPTIMIZERS))]
RateModelName = Annotated[str, AfterValidator(OursOrRegistered(LINKS, ("given",)))]
PartitionName = Annotated[
    str,
    AfterValidator(
        OursOrRegistered(PARTITIONS, ("iid", "dirichlet", "pathological", "orbit", "sensor", "column"))
    ),
]
IntraOrbitName = Annotated[
    str, AfterValidator(OursOrRegistered(INTRA_ORBIT, ("sequential", "parallel", "all-gather")))
]
SpaceGroundName = Annotated[
    str,
    AfterValidator(
        OursOrRegistered(
            SPACE_GROUND, ("own-window", "first-contact", "nearest", "longest-window", "topology-aware")
        )
    ),
]
InterOrbitName = Annotated[
    str, AfterValidator(OursOrRegistered(INTER_ORBIT, ("none", "nearest", "grid", "min-latency")))
]
PlannerName = Annotated[str, AfterValidator(OursOrRegistered(ROUND_PLANNERS, ("ours",)))]


def _text_or_pairs(value: object) -> object:
    """Refuse what is neither text nor a list of pairs of text in one sentence, not in one for each of the two."""
    if isinstance(value, str):
        return value
    if isinstance(value, tuple | list) and all(
        isinstance(pair, tuple | list) and len(pair) == 2 and all(isinstance(name, str) for name in pair)
        for pair in value
    ):
        return tuple(tuple(pair) for pair in value)  # lists in JSON, which is strict of tuples
    raise ValueError("allowed: [[name, name], …], a file, or same-slot")


class Table(BaseModel):
    """A table of the scenario file: unknown keys, infinities and NaN are errors, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class ConstellationSettings(Table):
    """The satellites: a Walker shell, or real element sets."""

    kind: Literal["walker", "tle", "omm"] = Field("walker", description="Walker shell, TLE file or OMM file")
    propagator: Literal["sgp4", "j2", "cowell-j2"] = Field(
        "sgp4", description="sgp4; j2: secular rates, faster; cowell-j2: numerical, by boinor (extra boinor)"
    )
    pattern: Literal["delta", "star"] = Field(
        "delta", description="planes spread over 360° (delta) or 180° (star)"
    )
    satellites: int = Field(12, ge=1, le=10_000, description="T of i: T/P/F (walker)")
    planes: int = Field(2, ge=1, le=1_000, description="P of i: T/P/F (walker)")
    phasing: int = Field(1, ge=0, description="F of i: T/P/F (walker)")
    inclination_deg: float = Field(53.0, ge=0.0, le=180.0, description="inclination (walker)")
    altitude_km: float = Field(550.0, ge=160.0, le=36_000.0, description="height above 6378.137 km (walker)")
    mean_motion_rev_day: float = Field(
        0.0,
        ge=0.0,
        le=17.0,
        description="revolutions a day, instead of the altitude; 0 is by altitude (walker)",
    )
    raan_deg: float = Field(
        0.0, ge=-360.0, le=360.0, description="right ascension of the first plane (walker)"
    )
    train_spacing_deg: float = Field(
        0.0, ge=0.0, lt=360.0, description="spacing along the plane (walker); 0 spreads evenly"
    )
    half_slot_shift: bool = Field(
        False, description="every second plane leads by half a slot, instead of the phasing F (walker)"
    )
    plane_phase_deg: tuple[float, ...] = Field(
        (), description="by how much each plane leads, instead of the phasing F; empty is by F (walker)"
    )
    frame: Literal["TEME", "GCRS"] = Field("TEME", description="frame that the shell is given in (walker)")
    theory: Literal["mean", "osculating"] = Field(
        "mean", description="the shell is given in SGP4 mean elements, or as the motion at the epoch (walker)"
    )
    path: str = Field("", description="element file (tle, omm); $NAME is replaced from the environment")
    limit: int = Field(0, ge=0, description="use only the first so many satellites of the file; 0 is all")
    skip: tuple[str | int, ...] = Field(
        (), description="satellites that are left out, by name or by catalogue number"
    )
    on_error: Literal["error", "skip"] = Field(
        "error",
        description="element sets that cannot be read or flown over the horizon: end with an error, or leave them out",
    )

    @model_validator(mode="after")
    def _consistent(self) -> ConstellationSettings:
        if self.kind == "walker":
            if self.satellites % self.planes:
                raise ValueError(
                    f"planes: {self.satellites} satellites do not divide into {self.planes} equal planes"
                )
            if self.phasing >= self.planes:
                raise ValueError(
                    f"phasing: found {self.phasing}, allowed 0 to planes - 1 = {self.planes - 1}"
                )
            in_plane = self.satellites // self.planes
            if self.train_spacing_deg * in_plane > 360.0:
                raise ValueError(
                    f"train_spacing_deg: {in_plane} satellites {self.train_spacing_deg}° apart "
                    "overrun the circle"
                )
            if self.plane_phase_deg and len(self.plane_phase_deg) != self.planes:
                raise ValueError(
                    f"plane_phase_deg: found {len(self.plane_phase_deg)} values, "
                    f"allowed one per plane, {self.planes}"
                )
            for key, value in {"path": self.path, "limit": self.limit}.items():
                if value:
                    raise ValueError(
                        f'{key}: found {value!r} with kind = "walker", allowed with kind = "tle" or "omm"'
                    )
            if self.plane_phase_deg and self.half_slot_shift:
                raise ValueError("plane_phase_deg: found beside half_slot_shift, allowed is one of them")
        elif not self.path:
            raise ValueError(f'path: needed for kind = "{self.kind}", found ""')
        return self


class Station(Table):
    """A ground station, WGS-84."""

    name: str = Field(min_length=1, max_length=64)
    lat_deg: float = Field(ge=-90.0, le=90.0, description="geodetic latitude, north positive")
    lon_deg: float = Field(ge=-180.0, le=360.0, description="longitude, east positive")
    height_m: float = Field(0.0, ge=-500.0, le=9_000.0, description="above the ellipsoid")
    mask_deg: Elevation = Field(10.0, description="elevation mask")
    mask_profile_deg: tuple[tuple[Azimuth, Elevation], ...] = Field(
        (),
        description="the mask as [azimuth from north over east, elevation], linear in between, instead of mask_deg",
    )
    max_range_km: NotNegative = Field(0.0, description="longest slant range; 0 is no limit")
    down_mbps: NotNegative = Field(
        0.0, description="satellite to this station; 0 is as links.sgl says for all stations"
    )
    up_mbps: NotNegative = Field(
        0.0, description="this station to a satellite; 0 is as links.sgl says for all stations"
    )
    backhaul_ms: float = Field(
        0.0,
        ge=0.0,
        le=60_000.0,
        description="delay each way between the station and the ground's computers, beside the light time",
    )
    beams: int = Field(
        0, ge=0, le=64, description="satellites that this station serves at a time; 0 is as ground.beams says"
    )
    receive_only: bool = Field(False, description="the station hears satellites and sends nothing")
    cost_per_min: NotNegative = Field(
        0.0, description="price of a minute of antenna, in a currency of yours; 0 is unknown"
    )
    blocked: PartOfTime = Field(
        0.0, description="part of the time in which rain or clouds block its links (uncertainty)"
    )
    blocked_by_month: tuple[PartOfTime, ...] = Field(
        (), description="the same in each month, January first, instead of blocked; empty is blocked all year"
    )

    @field_validator("blocked_by_month")
    @classmethod
    def _a_year(cls, parts: tuple[float, ...]) -> tuple[float, ...]:
        if len(parts) not in (0, 12):
            raise ValueError(f"found {len(parts)} values, allowed: 12, one per month, or none")
        return parts

    @model_validator(mode="after")
    def _sends_or_not(self) -> Station:
        if self.receive_only and self.up_mbps:
            raise ValueError(
                f"up_mbps: found {self.up_mbps:g} with receive_only = true, allowed is one of them"
            )
        if self.blocked and self.blocked_by_month:
            raise ValueError("blocked: found beside blocked_by_month, allowed is one of them")
        return self

    @field_validator("mask_profile_deg")
    @classmethod
    def _one_mask_each(cls, profile: tuple[tuple[float, float], ...]) -> tuple[tuple[float, float], ...]:
        if len({azimuth for azimuth, _ in profile}) < len(profile):
            raise ValueError("in which one azimuth appears twice")
        return profile


class Ground(Table):
    """The ground segment: its stations, pooled by fibre to one backbone."""

    stations: tuple[Station, ...] = Field(min_length=1)
    beams: int = Field(
        1,
        ge=1,
        le=64,
        description="satellites that a station serves at a time, unless it has beams of its own",
    )
    setup_s: float = Field(10.0, ge=0.0, le=600.0, description="antenna set-up before a contact carries data")

    @field_validator("stations")
    @classmethod
    def _distinct(cls, stations: tuple[Station, ...]) -> tuple[Station, ...]:
        names = [station.name for station in stations]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"two stations are called {', '.join(twice)}")
        return stations


class LinkBudgetSettings(Table):
    """Rate of one direction of a space-ground link by power, noise and path: of each pass, the mean over it."""

    enabled: bool = Field(False, description="take this instead of the constant rate")
    frequency_ghz: float = Field(8.2, ge=0.1, le=1e6, description="carrier")
    bandwidth_mhz: float = Field(100.0, ge=1e-3, le=1e6, description="noise bandwidth")
    eirp_dbw: Decibel = Field(15.0, description="radiated power of the transmitter")
    g_over_t_db_k: Decibel = Field(31.0, description="figure of merit of the receiver")
    margin_db: float = Field(3.0, ge=0.0, le=60.0, description="implementation and pointing")
    zenith_attenuation_db: float = Field(
        0.0, ge=0.0, le=60.0, description="clear air straight up; grows as 1 / sin(elevation)"
    )
    rain_margin_db: float = Field(0.0, ge=0.0, le=100.0, description="held back for rain")
    coding: Literal["shannon", "dvb-s2"] = Field("shannon", description="capacity, or the best DVB-S2 mode")
    roll_off: float = Field(0.2, ge=0.0, le=1.0, description="of the pulse shape (dvb-s2)")


class UplinkBudget(LinkBudgetSettings):
    """The same for the uplink, in S band."""

    frequency_ghz: float = Field(2.05, ge=0.1, le=1e6, description="carrier")
    bandwidth_mhz: float = Field(5.0, ge=1e-3, le=1e6, description="noise bandwidth")
    eirp_dbw: Decibel = Field(50.0, description="radiated power of the transmitter")
    g_over_t_db_k: Decibel = Field(-20.0, description="figure of merit of the receiver")


class SpaceGroundSettings(Table):
    """Space-ground link (SGL): constant rates, or a link budget each way."""

    down_mbps: Positive = Field(200.0, description="satellite to ground")
    up_mbps: Positive = Field(
        50.0, description="ground to satellite; small satellites have 0.25 to 2 in S band: set yours"
    )
    down_budget: LinkBudgetSettings = LinkBudgetSettings()
    up_budget: UplinkBudget = UplinkBudget()
    down_model: RateModelName = Field(
        "given", description="the rate or the budget that is given, or a function of range and elevation"
    )
    up_model: RateModelName = Field("given", description="the same for the uplink")

    @model_validator(mode="after")
    def _one_model_each(self) -> SpaceGroundSettings:
        for way, budget in {"down": self.down_budget, "up": self.up_budget}.items():
            model = getattr(self, f"{way}_model")
            if model != "given" and budget.enabled:
                raise ValueError(
                    f'{way}_model: found "{model}" beside {way}_budget.enabled, allowed is one of them'
                )
        return self


class IntraOrbitSettings(Table):
    """Laser links between neighbours of one plane; a link exists only where they see each other."""

    enabled: bool = True
    mbps: Positive = Field(1000.0, description="each way")
    grazing_altitude_km: GrazingAltitude = 80.0
    max_range_km: NotNegative = Field(0.0, description="longest link; 0 is no limit")
    max_slew_deg_s: SlewRate = 0.0
    acquisition_s: NotNegative = Field(0.0, description="taken off the start of every window")


class InterOrbitSettings(Table):
    """Laser links between planes."""

    topology: Literal["none", "grid", "all"] = Field("grid", description="which pairs may link")
    pairs: Annotated[str | tuple[tuple[str, str], ...], BeforeValidator(_text_or_pairs)] = Field(
        "",
        description="the grid: [[name, name], …], a file of two names or numbers a line, or same-slot; "
        "empty matches neighbouring planes by phase",
    )
    terminals: int = Field(2, ge=1, le=16, description="lasers a satellite has for other planes")
    mbps: Positive = Field(500.0, description="each way")
    grazing_altitude_km: GrazingAltitude = 80.0
    max_range_km: Positive = Field(5000.0, description="longest link")
    max_slew_deg_s: SlewRate = 0.0
    acquisition_s: NotNegative = Field(10.0, description="pointing and acquisition before data flow")

    @model_validator(mode="after")
    def _pairs_are_a_grid(self) -> InterOrbitSettings:
        if self.pairs and self.topology != "grid":
            raise ValueError(
                f'pairs: found with topology = "{self.topology}", allowed with topology = "grid"'
            )
        return self


class LinkSettings(Table):
    """All link classes, and what satellites hold on its way over them."""

    buffer_gb: NotNegative = Field(
        0.0,
        description="what a satellite holds of others' features until it passes them on, in plans; 0 is no limit",
    )
    sgl: SpaceGroundSettings = SpaceGroundSettings()
    intra_orbit: IntraOrbitSettings = IntraOrbitSettings()
    inter_orbit: InterOrbitSettings = InterOrbitSettings()


class ContactColumns(Table):
    """Names of the columns of a CSV of intervals; empty takes what analysis tools call them."""

    source: str = Field("", description="one end: source, from, satellite, …")
    target: str = Field("", description="the other end: target, to, station, observer, …")
    start: str = Field("", description="UTC or seconds after the epoch: start, Start Time (UTCG), …")
    end: str = Field("", description="UTC or seconds after the epoch: end, Stop Time (UTCG), …")
    rate: str = Field(
        "", description="bit/s, or as its unit says, from source to target: rate_bps, rate (Mbit/s), …"
    )
    light_time: str = Field("", description="seconds one way: owlt_s, …")


class GivenContacts(Table):
    """Contacts that were computed elsewhere and take the place of those of the orbits."""

    path: str = Field(
        "",
        description="a contact plan of ION (.ion, .ionrc), HDTN (.json) or SkySplit (.csv, .parquet, .npz), or a table "
        "of intervals (.csv, .txt); $NAME from the environment; empty computes all contacts",
    )
    links: tuple[Literal["sgl", "intra_orbit", "inter_orbit"], ...] = Field(
        ("sgl", "intra_orbit", "inter_orbit"),
        min_length=1,
        description="the links that it gives; others of it are left out, others of the mission are computed",
    )
    nodes: tuple[str, ...] = Field(
        (),
        description='whom it calls otherwise: ["theirs = ours", …]; numbers count satellites, then stations, from 1',
    )
    columns: ContactColumns = ContactColumns()

    @model_validator(mode="after")
    def _says_who_is_meant(self) -> GivenContacts:
        for entry in self.nodes:
            theirs, equals, ours = (part.strip() for part in entry.partition("="))
            if not (theirs and equals and ours):
                raise ValueError(f'nodes: found {entry!r}, allowed: "theirs = ours"')
        columns = [name for name in self.columns.model_dump().values() if name]
        if not self.path and (self.nodes or columns):
            raise ValueError('path: needed for nodes and columns, found ""')
        return self

    @property
    def called(self) -> dict[str, str]:
        """Map the file's name of a node to the mission's name."""
        pairs = (entry.partition("=") for entry in self.nodes)
        return {theirs.strip(): ours.strip() for theirs, _, ours in pairs}


class Compute(Table):
    """Effective (sustained, not peak) compute rates, which the virtual clock uses."""

    satellite_tflops: Positive = Field(0.5, description="one satellite's accelerator, TFLOP/s sustained")
    ground_tflops: Positive = Field(100.0, description="the ground segment's, TFLOP/s sustained")
    message_s: float = Field(
        0.0,
        ge=0.0,
        le=60.0,
        description="software time of one message of a step at each end, beside link and arithmetic, s",
    )


class Power(Table):
    """What satellites have power for in the shadow of the Earth, and what they draw: energy of a mission is told for
    what is given."""

    compute: Literal["always", "sunlight"] = Field(
        "always", description="embedding and on-board training: at any time, or in sunlight only"
    )
    downlink: Literal["always", "sunlight"] = Field(
        "always", description="sending to stations: at any time, or in sunlight only"
    )
    compute_w: NotNegative = Field(
        0.0, description="what a satellite's computer draws while it computes; 0 is unknown"
    )
    radio_w: NotNegative = Field(
        0.0, description="what its radio draws while it sends to a station; 0 is unknown"
    )
    isl_w: NotNegative = Field(
        0.0, description="what a laser or radio draws while it sends to another satellite; 0 is unknown"
    )
    battery_wh: NotNegative = Field(
        0.0, description="what a full battery holds, as it is at the epoch; 0 sets no limit"
    )
    lowest_charge: float = Field(
        0.7,
        ge=0.0,
        lt=1.0,
        description="share of the battery that is always left: 0.7 is a depth of discharge of 30 %",
    )
    solar_w: NotNegative = Field(
        0.0, description="what panels that follow the Sun give in sunlight (battery)"
    )
    idle_w: NotNegative = Field(
        0.0, description="what a satellite draws at all times, beside computing and sending (battery)"
    )

    @model_validator(mode="after")
    def _charges_what_is_drawn(self) -> Power:
        for key, needed in {"solar_w": "to charge it", "compute_w": "to plan when to compute"}.items():
            if self.battery_wh and not getattr(self, key):
                raise ValueError(f"{key}: found 0 with battery_wh = {self.battery_wh:g}; needed {needed}")
        if not self.battery_wh and (self.solar_w or self.idle_w):
            raise ValueError("battery_wh: found 0 beside solar_w or idle_w; needed with them")
        return self


def _keyword_or_names(value: object) -> object:
    """Refuse what is neither a keyword nor a list of names in one sentence, not in one for each of the two."""
    keyword = isinstance(value, str) and value in _LORA_TARGETS
    is_list = (
        isinstance(value, tuple | list) and value and all(isinstance(name, str) and name for name in value)
    )
    if not (keyword or is_list):
        raise ValueError(f"allowed: {', '.join(_LORA_TARGETS)}, or [name, …]")
    return tuple(value) if isinstance(value, list) else value  # a list in JSON, which is strict of tuples


_LORA_TARGETS = ("auto", "attention", "all-linear")


class Model(Table):
    """The foundation model: a directory, or a hub name, of a family that `skysplit models` lists."""

    name: str = Field(
        "synthetic-vit", min_length=1, description="shipped model or hub name; ignored where path is set"
    )
    path: str = Field("", description="a model directory; $NAME from the environment")
    pooling: Literal["auto", "cls", "mean"] = Field("auto", description="what the head reads")
    random_init: bool = Field(False, description="start from random weights instead (for comparison)")
    bands: tuple[str, ...] = Field(
        (), description="bands of the images, in order (prithvi, galileo); empty is the model's own"
    )
    image_size: int = Field(
        0,
        ge=0,
        le=4096,
        description="side of the images, in pixels, where the model takes any; 0 is the model's own",
    )
    patch_size: int = Field(
        0, ge=0, le=256, description="side of a patch, in pixels (galileo); 0 is the model's own"
    )
    frames: int = Field(
        0, ge=0, le=64, description="images of different times in a sample (prithvi); 0 is one"
    )

    @property
    def image_options(self) -> dict[str, Any]:
        """Return the keys that choose the model's input images, as arguments of ``splitmodel.families.ModelInput``."""
        return self.model_dump(include={"bands", "image_size", "patch_size", "frames"})


class TaskKeys(Table):
    """What the model is trained for."""

    kind: Literal[
        "auto", "classification", "multi-label", "regression", "segmentation", "pixel-regression"
    ] = Field("auto", description="auto goes by what the images are labelled with")
    classes: tuple[str, ...] = Field(
        (),
        max_length=255,
        description="names of the classes of a mask's values 0, 1, … (segmentation); others are in the data",
    )
    ignore_index: int = Field(
        255, description="value of masks that is no class, and counts for nothing (segmentation)"
    )
    head: HeadName = Field(
        "linear", description="head that answers for the whole image (all other kinds): one linear layer"
    )
    decoder: DecoderName = Field(
        "linear",
        description="head that answers at every pixel (segmentation, pixel-regression): one linear layer for all "
        "patches, or three small convolutions of their grid",
    )

    @field_validator("classes")
    @classmethod
    def _distinct(cls, classes: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(classes)) < len(classes) or not all(classes):
            raise ValueError("allowed: names that differ, none empty")
        return classes

    @property
    def planned_kind(self) -> str:
        """The kind that is planned where no images say it: ``auto`` stands for classification."""
        return "classification" if self.kind == "auto" else self.kind


_MOST_BLOCKS = 1_000


class Split(Table):
    """Where the model is cut."""

    onboard_blocks: int | Literal["auto"] = Field(
        0,
        description="frozen blocks that run on board behind the embedding (head, lora): features leave them; auto "
        "chooses so many that the limits below are kept",
    )
    head_blocks: int = Field(
        0,
        ge=0,
        le=_MOST_BLOCKS,
        description="frozen blocks that run on board in front of the head (head, lora, with labels on board): with one "
        "or more, all tokens return instead of what the head reads",
    )
    leak_limit: float = Field(
        1.0,
        gt=0.0,
        le=1.0,
        description='onboard_blocks = "auto": part of the variance of pixels that a linear map recovers from features, '
        "at most; 1 is no limit",
    )
    round_limit_s: float = Field(
        0.0,
        ge=0.0,
        description='onboard_blocks = "auto": planned length of the first round, at most; 0 is no limit',
    )
    bottleneck: int = Field(
        0,
        ge=0,
        le=65_536,
        description="lora, where the head answers at every pixel: values that return of each patch, by a linear layer "
        "that the ground trains with the adapter; 0 returns all",
    )

    @field_validator("onboard_blocks", mode="before")
    @classmethod
    def _whole_or_auto(cls, value: object) -> object:
        is_count = isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MOST_BLOCKS
        if not is_count and value != "auto":
            raise ValueError(f'allowed: a whole number from 0 to {_MOST_BLOCKS}, or "auto"')
        return value

    @property
    def blocks_on_board(self) -> int:
        """Return the number of blocks that run on board, after the embedding.

        Raises:
            ValueError: It has not been chosen yet.
        """
        if self.onboard_blocks == "auto":
            raise ValueError(
                'split.onboard_blocks: found "auto", which skysplit run, emulate, plan and compare make a number; '
                "allowed here: a whole number"
            )
        return self.onboard_blocks

    @model_validator(mode="after")
    def _chooses_by_a_limit(self) -> Split:
        limits = {
            "leak_limit": (self.leak_limit, self.leak_limit < 1.0),
            "round_limit_s": (self.round_limit_s, self.round_limit_s > 0.0),
        }
        is_open = self.onboard_blocks == "auto"
        if is_open and not any(is_set for _, is_set in limits.values()):
            raise ValueError(
                'onboard_blocks: found "auto" without a limit; allowed with leak_limit below 1 or round_limit_s above '
                "0"
            )
        for key, (value, is_set) in limits.items():
            if is_set and not is_open:
                raise ValueError(
                    f"{key}: found {value:g} with onboard_blocks = {self.onboard_blocks}; allowed with "
                    'onboard_blocks = "auto"'
                )
        return self


class Data(Table):
    """The imagery and how it is spread over the satellites."""

    source: ImageSourceName = Field(
        "synthetic",
        description="synthetic scenes, EuroSAT (hub, or a parquet at path), Parquet (a file or a folder), an image "
        "folder or the CSV that lists its images; synthetic-clouds: six bands of three sensors, with masks of clouds",
    )
    path: str = Field("", description="parquet, image folder or CSV; $NAME from the environment")
    image_column: str = Field(
        "", description="column that holds the images; empty is image (CSV: also file_name …)"
    )
    label_column: str = Field("", description="column that holds the labels; empty is label")
    split_column: str = Field(
        "", description="column that names train, val and test; empty is split where there is one"
    )
    image_pattern: str = Field(
        "", description="file names of images with masks, with one *, e.g. *_merged.tif; empty is any"
    )
    mask_pattern: str = Field(
        "",
        description="file names of masks, with one * that stands for what it does in the image's; empty is any",
    )
    bands: tuple[str | int, ...] = Field(
        (),
        description="bands that the model sees, in its order, by name or number from 1; empty goes by their names",
    )
    band_names: tuple[str, ...] = Field(
        (), description="names of the files' bands, in their order; empty takes those in the files"
    )
    sensor_column: str = Field(
        "",
        description="column that names each image's sensor; folder1, folder2 … is a folder on the way to it",
    )
    sensor_bands: tuple[str, ...] = Field(
        (), description='the same as band_names for the files of one sensor: ["S2 = B02, B03, B04", …]'
    )
    no_data: tuple[float, ...] = Field(
        (), description="values that stand for no measurement, beside what files declare and NaN"
    )
    statistics: Literal["model", "computed"] = Field(
        "model",
        description="mean and deviation of each band: the model's, or computed by the satellites together at enrolment",
    )
    partition: PartitionName = Field(
        "dirichlet", description="how labels, sensors or the values of a column are spread over satellites"
    )
    partition_column: str = Field(
        "",
        description="column that names each image's satellite or place (column); folder1 … as for sensor_column",
    )
    smallest_share: int = Field(
        1,
        ge=1,
        description="images that each satellite has at least; dirichlet and orbit are drawn again until it has",
    )
    alpha: Positive = Field(
        0.5, description="Dirichlet concentration (dirichlet: per satellite, orbit: per plane)"
    )
    classes_per_satellite: int = Field(2, ge=1, description="classes a satellite sees (pathological)")
    train_samples: int = Field(
        0, ge=0, description="cap on training images of the whole constellation; 0 is all (synthetic: 960)"
    )
    test_samples: int = Field(0, ge=0, description="cap on test images; 0 is all (synthetic: 400)")

    @model_validator(mode="after")
    def _names_what_it_uses(self) -> Data:
        for key, value in {
            "partition_column": self.partition_column if self.partition == "column" else "-",
            "sensor_column": self.sensor_column if self.partition == "sensor" or self.sensor_bands else "-",
        }.items():
            if not value:
                needed = "sensor_bands" if self.sensor_bands else f'partition = "{self.partition}"'
                raise ValueError(f'{key}: needed for {needed}, found ""')
        for entry in self.sensor_bands:
            sensor, equals, names = (part.strip() for part in entry.partition("="))
            if not (sensor and equals and all(name.strip() for name in names.split(","))):
                raise ValueError(f'sensor_bands: found {entry!r}, allowed: "sensor = band, band, …"')
        return self

    @property
    def own_source(self) -> Callable[..., Any] | None:
        """Return the function that a package registers as the source; ``None`` where the source is one of ours.

        Raises:
            mission.entry_points.EntryPointError: It cannot be imported.
        """
        if self.source in IMAGE_SOURCES:
            return None
        return registered_function(IMAGERY, self.source, IMAGE_SOURCES)

    @property
    def reading(self) -> dict[str, Any]:
        """Return the keys that say how to read the files, as arguments of ``splitmodel.imagery.Reading``."""
        pairs = (entry.partition("=") for entry in self.sensor_bands)
        return {
            "bands": self.bands,
            "band_names": self.band_names,
            "sensor_bands": {
                sensor.strip(): tuple(name.strip() for name in names.split(",")) for sensor, _, names in pairs
            },
            "no_data": self.no_data,
            "image_column": self.image_column,
            "label_column": self.label_column,
            "split_column": self.split_column,
            "sensor_column": self.sensor_column,
            "partition_column": self.partition_column,
            "image_pattern": self.image_pattern,
            "mask_pattern": self.mask_pattern,
        }


class Lora(Table):
    """LoRA adapters on the backbone (peft)."""

    rank: int = Field(8, ge=1, le=1024)
    alpha: Positive = Field(16.0, description="scaling is alpha / rank; of rslora alpha / √rank")
    dropout: float = Field(
        0.0, ge=0.0, lt=1.0, description="of the adapters' inputs, in training; drawn from the seed"
    )
    targets: Annotated[str | tuple[str, ...], BeforeValidator(_keyword_or_names)] = Field(
        "auto",
        description="linear layers of a block that are adapted: auto (query and value), attention, all-linear, "
        "or [name, …] as they or their paths are called",
    )
    variant: Literal["lora", "rslora", "dora"] = Field(
        "lora",
        description="rslora: rank-stabilised scaling; dora: magnitudes of the weights are trained, too",
    )

    @model_validator(mode="after")
    def _dora_drops_nothing(self) -> Lora:
        if self.variant == "dora" and self.dropout:
            raise ValueError(f'dropout: found {self.dropout} with variant = "dora", allowed: 0')
        return self


class CrossingSettings(Table):
    """How tensors are encoded when they cross the split."""

    features: CodecName = Field("int8", description="c1, features up")
    hidden: CodecName = Field(
        "fp16", description="c2, hidden states (pooled, or of every patch) down, and with them a shared head"
    )
    gradients: CodecName = Field(
        "int8", description="c3, gradients of these hidden states up, and of a shared head"
    )
    cache_gb: NotNegative = Field(
        8.0, description="features that the ground keeps, so that each crosses once (lora); 0 keeps none"
    )


class Training(Table):
    """What is trained, and how."""

    mode: Literal["head", "lora", "onboard-head", "onboard-lora", "onboard-full", "downlink"] = Field(
        "lora",
        description="over the split: head, lora; as baselines: onboard-… by satellites that hold the whole model, "
        "downlink on the ground with all images",
    )
    labels: Literal["on-board", "ground", "uplinked"] = Field(
        "on-board",
        description="on-board: they are there from the start; uplinked: they are made on the ground and go up before "
        "round 1 (all modes but downlink); ground (lora, head): they cross with the features, once; then the ground "
        "trains alone, keeps all features, and sends the head up at the end",
    )
    adapted_blocks: int = Field(
        0,
        ge=0,
        le=1_000,
        description="onboard-lora: the last so many blocks of the backbone are adapted, and nothing below is "
        "differentiated; 0 is all",
    )
    onboard_cache: bool = Field(
        False,
        description="onboard-lora: what leaves the frozen part, the embedding and the blocks that are not adapted, is "
        "computed once per image and view and kept on board (always so for the pooled states of onboard-head)",
    )
    adapter: Literal["shared", "per-satellite"] = Field(
        "shared", description="lora: one adapter for all, or one each, averaged after every round"
    )
    head: Literal["per-satellite", "shared"] = Field(
        "per-satellite",
        description="lora: one each, averaged after every round; or, with a shared adapter, one for all: it comes with "
        "the pooled states of every step, and its gradient goes back",
    )
    rounds: int = Field(10, ge=1, le=100_000)
    local_epochs: int = Field(
        1,
        ge=1,
        le=1_000,
        description="passes over a satellite's images in a round (default in modes head and onboard-head: 5)",
    )
    batch_size: int = Field(16, ge=1, le=65_536)
    micro_batches: int = Field(
        1,
        ge=1,
        le=1_024,
        description="parts of a batch that cross on their own, while others are computed (lora)",
    )
    satellites_per_step: int = Field(
        SATELLITES_PER_STEP,
        ge=1,
        le=10_000,
        description="lora with a shared adapter: satellites whose batches form one optimiser step, with the root of "
        "their number times the learning rate and moments that forget as many times as fast (default elsewhere: 1)",
    )
    gradient_delay: int = Field(
        0,
        ge=0,
        le=1_000,
        description="lora with a shared adapter: optimiser steps that the adapter of a forward pass lacks, so that so "
        "many round trips overlap",
    )
    learning_rate: Positive = Field(
        3e-3, description="AdamW, adapters (default in mode onboard-full, of the whole model: 0.0003)"
    )
    head_learning_rate: Positive = Field(
        0.03,
        description="AdamW, head: high, as the average moves by the mean of what a few steps on each satellite came to "
        "(default for a shared head, for labels on the ground and in modes downlink and onboard-full: 0.003)",
    )
    weight_decay: NotNegative = 0.0
    clip_update: NotNegative = Field(
        1.0,
        description="how far a step may move the adapter (or the whole backbone), and the head by itself: root mean "
        "square, in learning rates; a longer step is shortened; 0 shortens none (default without a shared adapter: 0)",
    )
    proximal: NotNegative = Field(
        0.0, description="FedProx (Li et al. 2020): pull of a satellite's weights towards those it was sent"
    )
    head_rows: Literal["by-images", "by-class"] = Field(
        "by-images",
        description="what a satellite's row of the head for a class weighs in the average: all its images (FedAvg), or "
        "its images of that class, better where satellites see few classes",
    )
    server_optimizer: ServerOptimizerName = Field(
        "fedavg", description="what makes the next round's heads (or whole models) of the satellites' mean"
    )
    server_learning_rate: Positive = Field(0.1, description="of fedavgm (default there: 1), fedadam, …")
    target_accuracy: float = Field(
        0.0,
        ge=0.0,
        le=1.0,
        description="end after the round whose score on the test images (accuracy, mean average precision, R² or mean "
        "IoU) reaches it; 0 runs all rounds",
    )
    schedule: Literal["constant", "cosine"] = Field("cosine", description="learning rate over the run")
    augment: Literal["none", "dihedral", "token-dihedral"] = Field(
        "token-dihedral",
        description="dihedral: the eight flips and rotations of pixels; token-dihedral: images cross once and the "
        "ground turns their tokens (mode lora, or labels on the ground, without blocks on board; default elsewhere: "
        "dihedral)",
    )
    device: str = Field(
        "auto", min_length=1, description="auto, cpu, cuda, cuda:N, mps: where the backbone runs"
    )
    precision: Literal["auto", "fp32", "bf16"] = Field(
        "auto",
        description="of the backbone's matrix products; auto: bf16 on GPUs that have it, fp32 elsewhere",
    )
    enrolment_timeout_s: Positive = Field(
        600.0,
        description="wall time in which every satellite answers before the first round, with model and images",
    )
    round_timeout_s: Positive = Field(
        3600.0,
        description="wall time in which every satellite answers in a round, which an emulation flies in real time, "
        "gaps aside",
    )
    activations_gb: Positive = Field(
        4.0, description="what the backbone keeps for backward passes; beyond it passes are made twice (lora)"
    )

    @model_validator(mode="before")
    @classmethod
    def _defaults_of_choices(cls, values: object) -> object:
        """In mode head, say, pooled states stay on board, so that more passes cost next to nothing."""
        if not isinstance(values, dict):
            return values
        on_ground = values.get("labels") == "ground"
        if on_ground or values.get("mode", "lora") != "lora" or values.get("adapter", "shared") != "shared":
            values = {"satellites_per_step": 1, "clip_update": 0.0} | values
        if not on_ground and values.get("mode", "lora") != "lora":
            values = {"augment": "dihedral"} | values
        if on_ground:
            values = {"head_learning_rate": 3e-3} | values
        match values.get("mode", "lora"):
            case "lora" if values.get("adapter", "shared") == values.get("head") == "shared":
                values = {"head_learning_rate": 3e-3} | values
            case "head" | "onboard-head":
                values = {"local_epochs": 5} | values
            case "downlink":
                values = {"head_learning_rate": 3e-3} | values
            case "onboard-full":
                values = {"learning_rate": 3e-4, "head_learning_rate": 3e-3} | values
        if values.get("server_optimizer") == "fedavgm":
            values = {"server_learning_rate": 1.0} | values
        return values

    @model_validator(mode="after")
    def _joins_steps_of_a_shared_adapter(self) -> Training:
        if not self.shares_adapter:
            for key, allowed in {"satellites_per_step": 1, "gradient_delay": 0}.items():
                if (value := getattr(self, key)) != allowed:
                    raise ValueError(
                        f'{key}: found {value} in mode {self.mode} with adapter = "{self.adapter}" and labels = '
                        f'"{self.labels}"; allowed {allowed}, except in mode lora with adapter = "shared" and labels '
                        "on board, whose steps form one sequence"
                    )
        return self

    @model_validator(mode="after")
    def _keeps_to_its_mode(self) -> Training:
        """Keys that one mode alone has are left at their defaults in the others."""
        if self.labels == "ground":
            if self.mode not in ("head", "lora"):
                raise ValueError(
                    f'labels: found "ground" in mode {self.mode}; allowed in modes head and lora, else "on-board"'
                )
            for key, allowed in {
                "adapter": "shared",
                "proximal": 0.0,
                "head_rows": "by-images",
                "server_optimizer": "fedavg",
            }.items():
                if (value := getattr(self, key)) != allowed:
                    raise ValueError(
                        f'{key}: found {value} with labels = "ground"; allowed {allowed}, as the ground trains one '
                        "model and nothing is averaged"
                    )
        if self.labels == "uplinked" and self.mode == "downlink":
            raise ValueError(
                'labels: found "uplinked" in mode downlink, where nobody trains on board; allowed "on-board"'
            )
        if self.head == "shared" and not self.shares_adapter:
            raise ValueError(
                f'head: found "shared" in mode {self.mode} with adapter = "{self.adapter}" and labels = '
                f'"{self.labels}"; allowed "per-satellite", except in mode lora with adapter = "shared" and labels on '
                "board, whose steps form one sequence"
            )
        if self.mode != "onboard-lora":
            for key, off in {"adapted_blocks": 0, "onboard_cache": False}.items():
                if (value := getattr(self, key)) != off:
                    raise ValueError(
                        f"{key}: found {str(value).lower()} in mode {self.mode}; allowed {str(off).lower()}, except in "
                        "mode onboard-lora"
                    )
        return self

    @model_validator(mode="after")
    def _turns_tokens_on_the_ground(self) -> Training:
        if self.augment == "token-dihedral" and not self.ground_takes_each_step:
            raise ValueError(
                f'augment: found "token-dihedral" in mode {self.mode} with labels = "{self.labels}"; allowed "none", '
                '"dihedral", except in mode lora or with labels = "ground", where the ground turns tokens in every step'
            )
        return self

    @model_validator(mode="after")
    def _averages_nothing_that_is_shared(self) -> Training:
        if self.shares_head:
            for key, allowed in {
                "proximal": 0.0,
                "head_rows": "by-images",
                "server_optimizer": "fedavg",
            }.items():
                if (value := getattr(self, key)) != allowed:
                    raise ValueError(
                        f'training.{key}: found {value} with head = "shared"; allowed {allowed}, as nothing is averaged'
                    )
        return self

    @property
    def shares_adapter(self) -> bool:
        """Whether one adapter is trained by all satellites' steps."""
        return self.mode == "lora" and self.adapter == "shared" and not self.on_ground

    @property
    def on_ground(self) -> bool:
        """Whether the ground trains by itself: on images, or on features with their labels."""
        return self.mode == "downlink" or self.labels == "ground"

    @property
    def ground_takes_each_step(self) -> bool:
        """Whether the ground runs the backbone in every training step, so that it can turn the tokens each time."""
        return self.mode == "lora" or self.labels == "ground"

    @property
    def shares_head(self) -> bool:
        """Whether one head is trained by all satellites' steps, as the shared adapter is."""
        return self.shares_adapter and self.head == "shared"

    @property
    def trains_on_board(self) -> bool:
        """Whether satellites hold the whole model and nothing but weights leaves them."""
        return self.mode.startswith("onboard")


class Strategy(Table):
    """The paper's three switches, each with its baselines, and the planner; of all, packages may register others."""

    intra_orbit: IntraOrbitName = Field("parallel", description="how a plane brings its data together (S1)")
    space_ground: SpaceGroundName = Field(
        "topology-aware", description="which satellite talks to which station, and when (S2)"
    )
    inter_orbit: InterOrbitName = Field("none", description="how planes reach each other (S3)")
    planner: PlannerName = Field("ours", description="what makes the plan of a round with these three")
    planes_per_round: int = Field(
        0,
        ge=0,
        description="a round ends when so many planes have delivered, the others count in a later one; 0 waits for all",
    )
    staleness_exponent: NotNegative = Field(
        0.5,
        description="a of (1 + s)^-a, the weight of what started s rounds ago (FedAsync, Xie et al. 2019)",
    )

    staleness_limit: int = Field(
        0,
        ge=0,
        description="planes_per_round: a plane that started so many rounds ago is waited for; 0 waits for none",
    )

    averaging: Literal["rounds", "buffered-satellites", "buffered-planes", "slots", "plane-rounds"] = Field(
        "rounds",
        description="when satellites average: all once a round; of every buffer_updates that satellites, or planes, "
        "deliver in their own time (FedBuff); or in slots chosen by predicted contacts (FedSpace): in these three, "
        "training.rounds counts averages; or planes by themselves, and all after every plane_rounds (AutoFLSat)",
    )
    plane_rounds: int = Field(
        10,
        ge=1,
        le=1_000,
        description="averaging = plane-rounds: rounds of a plane between two averages over all",
    )
    buffer_updates: int = Field(10, ge=1, description="averaging: updates that make an average")

    @model_validator(mode="after")
    def _limits_what_is_late(self) -> Strategy:
        if self.staleness_limit and not self.planes_per_round:
            raise ValueError(
                f"staleness_limit: found {self.staleness_limit} with planes_per_round = 0, which waits for all planes; "
                "allowed: 0"
            )
        return self


class Planning(Table):
    """What `plan` and `compare` assume where no run has counted it."""

    profile: str = Field(
        "", description="a published model's sizes (skysplit models) instead of the model's own"
    )
    samples: int = Field(0, ge=0, description="images per satellite and round; 0 counts the scenario's data")
    image_bytes: NotNegative = Field(
        0.0,
        description="one raw image, for the downlink baseline; 0 counts it: bands × pixels × bytes of a value, in the "
        "scenario's data or as the published model takes it",
    )


Degrees = Annotated[float, Field(ge=-180.0, le=180.0)]


class Imaging(Table):
    """Images that satellites take as they fly, and where they keep them: rounds train on what is on board when they
    begin (`plan`, `sweep`, `run`, `emulate`, `contacts --summary`)."""

    images_per_min: NotNegative = Field(
        0.0, description="images that a satellite takes while its camera works; 0 goes by swath_km"
    )
    swath_km: NotNegative = Field(
        0.0, description="width of the strip of ground that it takes, instead of images_per_min"
    )
    image_km2: NotNegative = Field(0.0, description="ground that one image shows (swath_km)")
    duty_cycle: float = Field(
        1.0, gt=0.0, le=1.0, description="part of the time in which its camera may work that it does"
    )
    lowest_sun_deg: float = Field(
        0.0,
        ge=-90.0,
        le=90.0,
        description="the camera works where the Sun is so high over the ground below; -90 is day and night",
    )
    areas: tuple[tuple[Degrees, Degrees, Degrees, Degrees], ...] = Field(
        (),
        description="boxes over which the camera works, [[west, south, east, north], …] in degrees, east less than "
        "west across 180°; empty is everywhere",
    )
    on_board: int = Field(0, ge=0, description="images that each satellite has at the epoch")
    storage_gb: NotNegative = Field(
        0.0,
        description="a satellite's storage for images (planning.image_bytes) and what is kept of them; 0 is no limit",
    )
    drop: Literal["oldest", "newest", "refuse"] = Field(
        "oldest",
        description="what gives way where storage is full: the oldest image that no round trains on, the newest, or "
        "none, so that such rounds are refused",
    )

    @property
    def enabled(self) -> bool:
        """Return True if the satellites have a camera."""
        return self.images_per_min + self.swath_km > 0.0

    @model_validator(mode="after")
    def _takes_images_one_way(self) -> Imaging:
        if self.images_per_min and self.swath_km:
            raise ValueError(
                f"swath_km: found {self.swath_km:g} beside images_per_min, allowed is one of them"
            )
        if self.swath_km and not self.image_km2:
            raise ValueError(f"image_km2: found 0 with swath_km = {self.swath_km:g}; allowed: above 0")
        for place, (_, south, _, north) in enumerate(self.areas):
            if not -90.0 <= south < north <= 90.0:
                raise ValueError(
                    f"areas.{place}: found south {south:g} and north {north:g}, allowed: -90 to 90, south below north"
                )
        return self


class Uncertainty(Table):
    """Outages that no plan knows before they happen; `run` and `--draws` of `plan` and `compare` fly through them."""

    station_outage: PartOfTime = Field(
        0.0, description="part of the time in which a station is out of service, weather aside"
    )
    station_outage_h: Positive = Field(4.0, description="mean length of such an outage")
    isl_outage: PartOfTime = Field(
        0.0, description="part of the time in which a link between two satellites is out of service"
    )
    isl_outage_min: Positive = Field(5.0, description="mean length of such an outage")
    blocked_h: Positive = Field(
        1.0, description="mean length of a spell of weather that blocks a station (ground.stations: blocked)"
    )
    notice_s: NotNegative = Field(
        60.0, description="from when a transfer is interrupted until a plan that knows it is followed"
    )


class Scenario(Table):
    """A whole mission, resolved: what a run did, together with its seeds."""

    name: str = Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    description: str = ""
    epoch: datetime = Field(description="start of mission time, UTC")
    horizon_h: float = Field(
        24.0, gt=0.0, le=24.0 * 62, description="how far contacts are computed from the epoch"
    )
    seed: int = Field(
        0,
        ge=0,
        le=2**31 - 1,
        description="data order, partition, initial head and adapters, draws of outages",
    )
    constellation: ConstellationSettings = ConstellationSettings()
    ground: Ground
    links: LinkSettings = LinkSettings()
    contacts: GivenContacts = GivenContacts()
    compute: Compute = Compute()
    power: Power = Power()
    model: Model = Model()
    task: TaskKeys = TaskKeys()
    split: Split = Split()
    data: Data = Data()
    lora: Lora = Lora()
    crossings: CrossingSettings = CrossingSettings()
    training: Training = Field(Training(), validate_default=True)
    strategy: Strategy = Strategy()
    planning: Planning = Planning()
    imaging: Imaging = Imaging()
    uncertainty: Uncertainty = Uncertainty()

    @field_validator("training")
    @classmethod
    def _turns_pixels_before_blocks_on_board(cls, training: Training, info: ValidationInfo) -> Training:
        """Make the default what can be: tokens cannot be turned behind blocks."""
        split = info.data.get("split")
        if split is None or not split.onboard_blocks or "augment" in training.model_fields_set:
            return training
        return training.model_copy(update={"augment": "dihedral"})

    @field_validator("epoch", mode="before")
    @classmethod
    def _read_epoch(cls, value: object) -> object:
        if isinstance(value, str):
            try:
                return datetime.fromisoformat(value)
            except ValueError:
                raise ValueError("allowed: a UTC time like 2026-01-01T00:00:00Z") from None
        return value

    @field_validator("epoch")
    @classmethod
    def _utc(cls, value: datetime) -> datetime:
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)

    @model_validator(mode="after")
    def _cuts_what_is_split(self) -> Scenario:
        split, training = self.split, self.training
        for key in ("onboard_blocks", "head_blocks"):
            if getattr(split, key) and training.mode not in ("head", "lora"):
                raise ValueError(
                    f"split.{key}: found {getattr(split, key)} in mode {training.mode}, allowed in modes head and lora"
                )
        if split.head_blocks and training.on_ground:
            raise ValueError(
                f'split.head_blocks: found {split.head_blocks} with training.labels = "ground", where nothing returns; '
                'allowed: 0, or training.labels = "on-board"'
            )
        if split.head_blocks and split.bottleneck:
            raise ValueError(
                f"split.bottleneck: found {split.bottleneck} with split.head_blocks = {split.head_blocks}, whose "
                "blocks take whole tokens; allowed: 0, or split.head_blocks = 0"
            )
        return self

    @model_validator(mode="after")
    def _narrows_what_returns(self) -> Scenario:
        training, kind = self.training, self.task.kind
        if self.split.bottleneck and (
            training.mode != "lora"
            or training.on_ground
            or kind not in ("auto", "segmentation", "pixel-regression")
        ):
            raise ValueError(
                f"split.bottleneck: found {self.split.bottleneck} in mode {training.mode} with labels = "
                f'"{training.labels}" and task.kind = "{kind}"; allowed in mode lora with labels on board and a head '
                "that answers at every pixel (segmentation, pixel-regression), whose states return"
            )
        return self

    @model_validator(mode="after")
    def _averages_what_is_late(self) -> Scenario:
        needed, training = self.strategy.planes_per_round, self.training
        if self.constellation.kind == "walker" and needed > self.constellation.planes:
            raise ValueError(
                f"strategy.planes_per_round: found {needed}, allowed 1 to {self.constellation.planes} planes, or 0"
            )
        averaged = not training.on_ground and (
            training.mode == "head" or (training.mode == "lora" and training.adapter == "per-satellite")
        )
        if needed and not averaged:
            raise ValueError(
                f"strategy.planes_per_round: found {needed} in mode {training.mode} with "
                f'adapter = "{training.adapter}" and labels = "{training.labels}"; allowed in mode head, or lora with '
                'adapter = "per-satellite", with labels on board, where what comes late is averaged'
            )
        return self

    @model_validator(mode="after")
    def _has_rounds_where_it_needs_them(self) -> Scenario:
        strategy = self.strategy
        if strategy.averaging == "rounds":
            return self
        if not self.training.mode.startswith("onboard"):
            raise ValueError(
                f"strategy.averaging: found {strategy.averaging} in mode {self.training.mode}, allowed in the modes "
                "onboard-full, onboard-lora and onboard-head, which ask nothing of the ground between averages"
            )
        ours: list[tuple[str, int | str]] = [("planes_per_round", 0), ("planner", "ours")]
        if strategy.averaging == "plane-rounds":
            self._require_plain_averages()
        else:
            ours.append(("inter_orbit", "none"))
        for key, needed in ours:
            if (value := getattr(strategy, key)) != needed:
                raise ValueError(
                    f"strategy.{key}: found {value} with averaging = {strategy.averaging}, allowed: {needed}"
                )
        return self

    def _require_plain_averages(self) -> None:
        """Raise ``ValueError`` for what makes something else of an average than planes by themselves can."""
        for key, needed in (("server_optimizer", "fedavg"), ("target_accuracy", 0.0)):
            if (value := getattr(self.training, key)) != needed:
                raise ValueError(
                    f"training.{key}: found {value} with averaging = plane-rounds, whose planes average without the "
                    f"ground; allowed: {needed}"
                )

    @model_validator(mode="after")
    def _takes_given_contacts_as_they_are(self) -> Scenario:
        if self.contacts.path and "sgl" in self.contacts.links:
            for place, station in enumerate(self.ground.stations):
                for key in ("down_mbps", "up_mbps", "backhaul_ms", "receive_only"):
                    if value := getattr(station, key):
                        raise ValueError(
                            f"ground.stations.{place}.{key}: found {str(value).lower()} with contacts.path, whose "
                            "contacts with stations are taken as they are; allowed without, or with contacts.links "
                            "other than sgl"
                        )
        return self

    @model_validator(mode="after")
    def _reads_what_it_is_given(self) -> Scenario:
        if self.data.source.startswith("synthetic") and self.data.path:
            raise ValueError(
                f'data.path: found {self.data.path!r} with source = "{self.data.source}", whose scenes are made; '
                'allowed with source = "folder", "parquet" or "eurosat"'
            )
        return self

    @property
    def horizon_s(self) -> float:
        """Length of the planned horizon, seconds of mission time."""
        return self.horizon_h * 3600.0
