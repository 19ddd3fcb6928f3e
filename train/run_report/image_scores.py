"""Scores of single images: which of a split were mapped best and worst, at any threshold that may be chosen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kda_edge.metrics import ConfusionCounts, ProbabilityHistogram

from ..data.sources import Sample
from .curves import THRESHOLDS


@dataclass(frozen=True)
class RankedImages:
    """Images of a split that are worth a look; none is in two lists.

    Attributes:
        worst: with the lowest IoU among those that show landslide, the lowest first.
        best: with the highest, the highest first.
        alarms: with the largest share of false alarms among those that show none, the largest first.
    """

    worst: list[tuple[Sample, ConfusionCounts]]
    best: list[tuple[Sample, ConfusionCounts]]
    alarms: list[tuple[Sample, ConfusionCounts]]


class ImageScores:
    """Confusion of each image at all thresholds that may be chosen: a histogram an image would fill the memory.

    Args:
        threshold: one more, which need not be a hundredth.
    """

    def __init__(self, threshold: float) -> None:
        self._thresholds = sorted({*THRESHOLDS, threshold})
        self._rows: list[tuple[Sample, NDArray[np.int64]]] = []

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, sample: Sample, histogram: ProbabilityHistogram) -> None:
        """Take an image in."""
        counts = (histogram.counts_at(threshold) for threshold in self._thresholds)
        self._rows.append((sample, np.asarray([[one.tp, one.fp, one.fn, one.tn] for one in counts])))

    def at(self, threshold: float) -> list[tuple[Sample, ConfusionCounts]]:
        """Return each image with its confusion at one of the thresholds."""
        index = self._thresholds.index(threshold)
        return [(sample, ConfusionCounts(*map(int, rows[index]))) for sample, rows in self._rows]

    def with_landslide(self) -> int:
        """Return how many images show landslide."""
        return sum(bool(rows[0, 0] + rows[0, 2]) for _, rows in self._rows)

    def ranked(self, threshold: float, count: int) -> RankedImages:
        """Return at most `count` images of each kind, equal ones in their order in the split."""
        scored = self.at(threshold)
        slides = sorted((one for one in scored if one[1].tp + one[1].fn), key=lambda one: one[1].iou)
        worst = slides[: min(count, -(-len(slides) // 2))]
        best = slides[len(worst) :][::-1][:count]
        bare = [one for one in scored if not one[1].tp + one[1].fn and one[1].fp]
        alarms = sorted(bare, key=lambda one: -one[1].fp / one[1].pixels)[:count]
        return RankedImages(worst, best, alarms)


def groups_worth_a_row(names: Sequence[str], samples: Sequence[Sample]) -> list[str]:
    """Return the names of groups and sources without the groups of sources whose every image is a group.

    Args:
        names: as `Evaluation.counts` has them: `source/group`, `source`, `all`.
        samples: that were judged.
    """
    images: dict[str, int] = {}
    groups: dict[str, set[str]] = {}
    for sample in samples:
        images[sample.source.name] = images.get(sample.source.name, 0) + 1
        groups.setdefault(sample.source.name, set()).add(sample.group)
    single = {source for source, own in groups.items() if 1 < len(own) == images[source]}
    return [name for name in names if "/" not in name or name.split("/")[0] not in single]
