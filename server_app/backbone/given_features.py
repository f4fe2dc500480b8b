"""Features and labels that satellites have given away: the ground keeps all of them, encoded as they came.

Which image under which view a row belongs to follows from seeds and counters that both sides know, as the batches of
split training do; nothing names it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import KW_ONLY, dataclass, field
from itertools import accumulate

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mission.schema import Scenario
from relay.wire.manifest import Buffer, Manifest, MessageKind
from server_app.backbone.feature_assembler import Arrived, UnexpectedBundle
from server_app.backbone.given_images import require_targets
from server_app.backbone.mixed_batches import own_batches
from server_app.backbone.service import BackboneService
from splitmodel.crossing import codec_sizes, codecs
from splitmodel.dense_heads import PatchGrid
from splitmodel.parts import SplitModel
from splitmodel.tasks import Task
from splitmodel.token_views import TokenViews
from splitmodel.training import VIEWS_THAT_CROSS, Batch, as_they_cross, new_batches


@dataclass(eq=False)
class _Share:
    """What a satellite has given.

    Attributes:
        index: Its position in the constellation.
        known: Of which images and views the features are here, shape (samples, views that cross).
        rows: Those, encoded, shape (samples, views that cross, bytes).
        labels: Targets by image.
        due: What comes next, in order; of each, whether its features are here and its labels are due.
    """

    index: int
    known: NDArray[np.bool_]
    _: KW_ONLY
    rows: NDArray[np.uint8]
    labels: NDArray
    due: list[Batch] = field(default_factory=list)
    label_due: bool = False


class GivenFeatures:
    """Features with labels, of ``training.labels = "ground"``.

    Args:
        scenario: The resolved scenario.
        row_shape: Tokens and hidden size.
        enrolment: Knows how what crosses is scaled.
        token_views: Turn features, where images cross under one view alone.
    """

    kind, what = MessageKind.FEATURES, "features"

    def __init__(
        self,
        scenario: Scenario,
        row_shape: tuple[int, int],
        *,
        enrolment: BackboneService,
        token_views: TokenViews | None = None,
    ) -> None:
        self._scenario = scenario
        self._row_shape = row_shape
        self._enrolment = enrolment
        self._token_views = token_views
        self._codec = scenario.crossings.features
        self._task: Task
        self._grid: PatchGrid
        self._shares: dict[str, _Share] = {}
        self._firsts: NDArray[np.int64]  # of each satellite's images among all

    def configure(self, model: SplitModel, task: Task, samples: Mapping[str, int]) -> None:
        """Features of so many images of each satellite, for this model."""
        views = VIEWS_THAT_CROSS[self._scenario.training.augment]
        row_bytes = codec_sizes.encoded_bytes((1, *self._row_shape), self._codec)
        self._task, self._grid = task, model.embedding.grid
        self._firsts = np.array([0, *accumulate(samples.values())])
        self._shares = {
            name: _Share(
                index,
                np.zeros((count, views), bool),
                rows=np.zeros((count, views, row_bytes), np.uint8),  # takes no memory before it is filled
                labels=np.zeros((count, *task.target_shape(model.embedding.grid)), task.target_dtype),
            )
            for index, (name, count) in enumerate(samples.items())
        }

    def begin_round(self, number: int) -> None:
        """From here on the features come that are new in this round.

        A ground that has lost all, as in a resumed run, is given them in the batches of the earlier rounds, so that
        their roundings are the same.
        """
        size = self._scenario.training.batch_size
        for share in self._shares.values():
            expected = share.known.copy()
            first = number if expected.any() else 1
            for earlier in range(first, number + 1):
                for batch in new_batches(self._own_batches(share, earlier), expected, size):
                    expected[batch.indices, batch.views] = True
                    share.due.append(batch)

    def take(self, satellite: str, manifest: Manifest, payload: Buffer) -> None:
        """Take features, or the labels of those that came last.

        Raises:
            UnexpectedBundle: They are not what comes next, or none that can be trained on.
        """
        share = self._shares[satellite]
        if not share.due or share.label_due is not (manifest.kind is MessageKind.LABELS):
            raise UnexpectedBundle(
                f"{satellite} sends {manifest.kind.name}, and {_next_of(share)} come next in this round"
            )
        batch = share.due[0]
        if manifest.kind is MessageKind.LABELS:
            labels = np.frombuffer(payload, manifest.dtype).reshape(manifest.shape)
            require_targets(satellite, labels, self._task, self._grid)
            if len(labels) != len(batch.indices):
                raise UnexpectedBundle(
                    f"{satellite} sends {len(labels)} labels of {len(batch.indices)} images"
                )
            share.labels[batch.indices] = labels
            share.known[batch.indices, batch.views] = True
            del share.due[0]
        else:
            allowed = (len(batch.indices), *self._row_shape)
            if (manifest.codec, manifest.shape) != (self._codec, allowed):
                raise UnexpectedBundle(
                    f"{satellite} sends {manifest.codec} features of shape {manifest.shape}; "
                    f"allowed: {self._codec} of shape {allowed}"
                )
            share.rows[batch.indices, batch.views] = codecs.to_rows(payload, self._codec, manifest.shape)
        share.label_due = not share.label_due

    def end_round(self) -> Tensor:
        """The labels of all images, in the order of the satellites, now that what the round needs is here.

        Raises:
            UnexpectedBundle: Some is missing.
        """
        for name, share in self._shares.items():
            if share.due:
                missing = sum(len(batch.indices) for batch in share.due)
                raise UnexpectedBundle(f"{name}: features or labels of {missing} images are missing")
        return torch.from_numpy(np.concatenate([share.labels for share in self._shares.values()]))

    def features(self, batch: Batch) -> Tensor:
        """Features of a batch, shape (B, tokens, hidden), as they crossed or turned."""
        (crossed,) = as_they_cross([batch], self._scenario.training.augment)
        rows = np.stack(list(self._rows_of(crossed)))
        payload = codecs.from_rows(rows, self._codec, self._row_shape[0] * self._row_shape[1])
        features_BTD = self._enrolment.decoded(
            Arrived(payload, self._codec, shape=(len(rows), *self._row_shape))
        )
        return features_BTD if self._token_views is None else self._token_views(features_BTD, batch.views)

    def _rows_of(self, batch: Batch) -> Iterator[NDArray[np.uint8]]:
        shares = list(self._shares.values())
        owners = np.searchsorted(self._firsts, batch.indices, side="right") - 1
        for owner, index, under in zip(owners, batch.indices, batch.views, strict=True):
            yield shares[owner].rows[index - self._firsts[owner], under]

    def _own_batches(self, share: _Share, number: int) -> list[Batch]:
        """The batches of a satellite's own in a round: they say which views are new, and when."""
        scenario = self._scenario
        own = own_batches(scenario.training, scenario.seed, share.index, len(share.known), number)
        return as_they_cross(own, scenario.training.augment)


def _next_of(share: _Share) -> str:
    if not share.due:
        return "neither features nor labels"
    return f"{'labels' if share.label_due else 'features'} of {len(share.due[0].indices)} images"
