"""What satellites keep of the images that they take: how many are on board at a time, and which are dropped."""

from __future__ import annotations

import enum
import math
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass

import numpy as np
from numpy.typing import NDArray

from orbit.contact_plan import LinkKind
from orbit.imaging.numbered_images import ImageRange
from orbit.imaging.taken_images import TakenImages
from strategies.problem.network import PlanningError
from strategies.problem.plan import Kind, Plan
from strategies.problem.workload import Mode, Workload

_SAME = 1e-9  # of an image: what rounding leaves of a whole one


class Drop(enum.StrEnum):
    """The image that gives way where storage is full; one that a round trains on never does."""

    OLDEST = "oldest"
    NEWEST = "newest"
    REFUSE = "refuse"


@dataclass(frozen=True, eq=False)
class StorageCourse:
    """A satellite's storage in a round.

    Attributes:
        time_s: When an image comes or leaves, and the ends of the round, shape (M,).
        images: On board from then on, shape (M,).
        arrived: Images that come in the round.
        dropped: Images that were dropped in it.
    """

    time_s: NDArray[np.float64]
    images: NDArray[np.int64]
    _: KW_ONLY
    arrived: int
    dropped: int

    @property
    def peak(self) -> int:
        """Return the number of images on board when they are most."""
        return int(self.images.max())


@dataclass(frozen=True, eq=False)
class Storage:
    """Storage for images, the same on every satellite.

    Attributes:
        taken: Images that each satellite takes.
        image_bytes: Of an image on board, with what is kept of it.
        capacity_bytes: Of the storage; infinite without a limit.
        drop: What happens to images for which there is no room.
        at_epoch: Images that are on board at mission time 0.

    Raises:
        PlanningError: The storage has no room for these.
    """

    taken: TakenImages
    image_bytes: float
    _: KW_ONLY
    capacity_bytes: float = math.inf
    drop: Drop = Drop.OLDEST
    at_epoch: int = 0

    def __post_init__(self) -> None:
        if self.at_epoch > self.room:
            raise PlanningError(
                f"imaging.on_board: found {self.at_epoch} images of {self.image_bytes:.0f} bytes, allowed: at most "
                f"{self.room:.0f}, which imaging.storage_gb = {self.capacity_bytes / 1e9:g} has room for"
            )

    @property
    def room(self) -> float:
        """Return the number of images that there is room for: a whole one, or infinite."""
        if math.isinf(self.capacity_bytes):
            return math.inf
        return math.floor(self.capacity_bytes / self.image_bytes + _SAME)

    def came(self, satellite: int, time_s: float) -> int:
        """Return how many images a satellite has had by a time, those at the epoch among them."""
        return self.at_epoch + math.floor(self.taken.by(satellite, time_s) + _SAME)

    def on_board(self, satellite: int, time_s: float) -> int:
        """Return how many images are on board where none has left."""
        return int(min(self.came(satellite, time_s), self.room))

    def newest(self, satellite: int, time_s: float, most: int) -> ImageRange:
        """Return the newest ``most`` images on board, where none has left."""
        last = self._last(satellite, time_s)
        count = min(most, self.on_board(satellite, time_s))
        return last - count, count

    def dropped(self, satellite: int, time_s: float) -> int:
        """Return how many images have been dropped by a time where none has left."""
        return self.came(satellite, time_s) - self.on_board(satellite, time_s)

    def full_s(self, satellite: int) -> float:
        """Return when a storage from which nothing leaves is full; infinite where it never is."""
        if math.isinf(self.room):
            return math.inf
        if self.room <= self.at_epoch:
            return 0.0
        return float(self.taken.reached_s(satellite, np.array([self.room - self.at_epoch]))[0])

    def samples_at(self, time_s: float, most: Sequence[int]) -> list[int]:
        """Return how many images each satellite trains on in a round that begins then: all on board, or ``most``.

        Raises:
            PlanningError: There is none on any satellite.
        """
        samples = [min(count, self.on_board(satellite, time_s)) for satellite, count in enumerate(most)]
        if any(samples):
            return samples
        first_s = min(
            (
                float(self.taken.reached_s(satellite, np.array([1.0]))[0])
                for satellite, count in enumerate(most)
                if count
            ),
            default=math.inf,
        )
        when = (
            "none is taken within the horizon" if math.isinf(first_s) else f"the first is at {first_s:.0f} s"
        )
        raise PlanningError(
            f"imaging: no satellite has an image at {time_s:.0f} s; {when}; allowed: a round that begins later, or "
            "imaging.on_board above 0"
        )

    def course(
        self, satellite: int, start_s: float, end_s: float, left_s: NDArray[np.float64] | None = None
    ) -> StorageCourse:
        """Return the storage of a satellite over a round.

        Args:
            satellite: Whose.
            start_s: Start of the round, before which no image has left.
            end_s: End of the round.
            left_s: When images leave, shape (n,); one that comes at the same time has their room.
        """
        before, after = self.came(satellite, start_s), self.came(satellite, end_s)
        numbers = np.arange(before + 1, after + 1, dtype=np.float64) - self.at_epoch
        came_s = np.minimum(self.taken.reached_s(satellite, numbers), end_s)
        went_s = np.empty(0) if left_s is None else left_s
        time_s = np.concatenate([[start_s], went_s, came_s, [end_s]])
        change = np.concatenate([[0], -np.ones(len(went_s)), np.ones(len(came_s)), [0]]).astype(np.int64)
        order = np.argsort(time_s, kind="stable")
        gained = np.cumsum(change[order])
        start = self.on_board(satellite, start_s)
        # As a queue with a full buffer: what comes when it is full is lost, whichever image that is.
        lost = np.maximum(start + np.maximum.accumulate(gained) - min(self.room, start + len(came_s)), 0)
        return StorageCourse(
            time_s[order],
            (start + gained - lost).astype(np.int64),
            arrived=len(came_s),
            dropped=int(lost[-1]),
        )

    def oldest_s(self, satellite: int, time_s: float, trained: int) -> float:
        """Return when the oldest of the ``trained`` newest images on board at a time came; 0 for those at the epoch."""
        number = self._last(satellite, time_s) - trained + 1 - self.at_epoch
        return 0.0 if number <= 0 else float(self.taken.reached_s(satellite, np.array([float(number)]))[0])

    def _last(self, satellite: int, time_s: float) -> int:
        """Return how many images had come with the newest of those on board, which it is among them."""
        return self.came(satellite, time_s) if self.drop is Drop.OLDEST else self.on_board(satellite, time_s)


def course_in(plan: Plan, workload: Workload, storage: Storage, satellite: int) -> StorageCourse:
    """Return the storage of a satellite over a planned round; in mode ``downlink`` what is on the ground leaves it."""
    left = [np.empty(0)]
    if workload.mode is Mode.DOWNLINK:
        rows = plan.of_kind(Kind.FEATURES)
        rows = rows[(rows["link"] == LinkKind.DOWNLINK) & (rows["satellite"] == satellite)]
        left.append(np.repeat(rows["end_s"], rows["end_sample"] - rows["first_sample"]))
    return storage.course(satellite, plan.start_s, max(plan.end_s, plan.start_s), np.concatenate(left))
