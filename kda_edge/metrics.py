"""Segmentation metrics from pixel counts, for two classes: background and landslide.

The paper's tables mix landslide values with means over both classes; here every name says which it is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

HISTOGRAM_BINS: Final = 1000


@dataclass(frozen=True)
class ConfusionCounts:
    """Pixels by truth and prediction; counts of images add up with `+`.

    Attributes:
        tp: landslide found.
        fp: background called landslide.
        fn: landslide missed.
        tn: background left alone.
    """

    tp: int = 0
    fp: int = 0
    fn: int = 0
    tn: int = 0

    def __add__(self, other: ConfusionCounts) -> ConfusionCounts:
        return ConfusionCounts(self.tp + other.tp, self.fp + other.fp, self.fn + other.fn, self.tn + other.tn)

    @property
    def pixels(self) -> int:
        """All that were judged."""
        return self.tp + self.fp + self.fn + self.tn

    @property
    def iou(self) -> float:
        """Intersection over union of landslide; NaN where there is none and none was claimed."""
        return _ratio(self.tp, self.tp + self.fp + self.fn)

    @property
    def background_iou(self) -> float:
        """Intersection over union of background."""
        return _ratio(self.tn, self.tn + self.fp + self.fn)

    @property
    def precision(self) -> float:
        """Share of the claimed landslide that is landslide; NaN where none was claimed."""
        return _ratio(self.tp, self.tp + self.fp)

    @property
    def recall(self) -> float:
        """Share of the landslide that was found; NaN where there is none."""
        return _ratio(self.tp, self.tp + self.fn)

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall of landslide."""
        return _ratio(2 * self.tp, 2 * self.tp + self.fp + self.fn)

    @property
    def mean_iou(self) -> float:
        """Mean of the IoU of landslide and of background (the paper's mIoU)."""
        return (self.iou + self.background_iou) / 2

    @property
    def mean_precision(self) -> float:
        """Mean of the precision of landslide and of background; NaN where one of the classes was not claimed."""
        return (self.precision + _ratio(self.tn, self.tn + self.fn)) / 2

    @property
    def mean_f1(self) -> float:
        """Mean of the F1 of landslide and of background."""
        return (self.f1 + _ratio(2 * self.tn, 2 * self.tn + self.fp + self.fn)) / 2

    @property
    def overall_accuracy(self) -> float:
        """Share of all pixels that are right (the paper's OA)."""
        return _ratio(self.tp + self.tn, self.pixels)

    def as_dict(self) -> dict[str, float]:
        """Return the metrics that are defined, by name, each 0..1."""
        values = {
            "iou": self.iou,
            "precision": self.precision,
            "recall": self.recall,
            "f1": self.f1,
            "mean_iou": self.mean_iou,
            "mean_precision": self.mean_precision,
            "mean_f1": self.mean_f1,
            "overall_accuracy": self.overall_accuracy,
        }
        return {name: value for name, value in values.items() if math.isfinite(value)}


class ProbabilityHistogram:
    """Counts of probability by truth, from which the confusion at any threshold follows."""

    def __init__(self) -> None:
        self.landslide = np.zeros(HISTOGRAM_BINS + 1, np.int64)
        self.background = np.zeros(HISTOGRAM_BINS + 1, np.int64)

    def add(self, probability: NDArray[np.float32], landslide: NDArray[np.bool_], judged: NDArray[np.bool_]) -> None:
        """Count the pixels of an image.

        Args:
            probability: of landslide, (H, W), 0..1 where judged.
            landslide: the truth, (H, W).
            judged: which pixels count, (H, W).
        """
        # Bin k holds probabilities from k / BINS: a threshold of k / BINS then cuts between bins, never through one.
        # float32 stores some of these thresholds up to 3e-8 too low; they belong to their own bin all the same.
        bins = np.floor((probability[judged].astype(np.float64) + 6e-8) * HISTOGRAM_BINS).astype(np.int64)
        truth = landslide[judged]
        self.landslide += np.bincount(bins[truth], minlength=HISTOGRAM_BINS + 1)
        self.background += np.bincount(bins[~truth], minlength=HISTOGRAM_BINS + 1)

    def merge(self, other: ProbabilityHistogram) -> None:
        """Add the counts of another histogram."""
        self.landslide += other.landslide
        self.background += other.background

    def counts_at(self, threshold: float) -> ConfusionCounts:
        """Return the confusion where a pixel is landslide from `threshold` on, rounded to a thousandth."""
        first = round(threshold * HISTOGRAM_BINS)
        return ConfusionCounts(
            tp=int(self.landslide[first:].sum()),
            fp=int(self.background[first:].sum()),
            fn=int(self.landslide[:first].sum()),
            tn=int(self.background[:first].sum()),
        )


def mean_iou_at(histograms: Sequence[ProbabilityHistogram], threshold: float) -> float:
    """Return the mean over the histograms of landslide IoU, 0..1; those without landslide are left out; NaN if all are.

    With one histogram a data set, each has the same say, however many pixels it has.
    """
    ious = [histogram.counts_at(threshold).iou for histogram in histograms if histogram.landslide.any()]
    return sum(ious) / len(ious) if ious else math.nan


def best_threshold(histograms: Sequence[ProbabilityHistogram]) -> float:
    """Return the threshold with the highest `mean_iou_at`, a hundredth from 0.05 to 0.95; 0.5 where no landslide is."""
    if not any(histogram.landslide.any() for histogram in histograms):
        return 0.5
    return max((k / 100 for k in range(5, 96)), key=lambda threshold: mean_iou_at(histograms, threshold))


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else math.nan
