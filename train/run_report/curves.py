"""Curves of a judged split: precision, recall and IoU by threshold, and how well probabilities are calibrated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from kda_edge.metrics import HISTOGRAM_BINS, ProbabilityHistogram, mean_iou_at

CALIBRATION_BINS: Final = 10
THRESHOLDS: Final = tuple(k / 100 for k in range(5, 96))  # those that `best_threshold` chooses among

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class ThresholdCurve:
    """Metrics of landslide by threshold, over all judged pixels of a split.

    Attributes:
        thresholds: 0.05 to 0.95.
        precision: 0..1; NaN where no pixel is claimed.
        recall: 0..1; NaN where there is no landslide.
        iou: 0..1.
        mean_iou: over the sources with landslide, 0..1: what a threshold is chosen by.
    """

    thresholds: Floats
    precision: Floats
    recall: Floats
    iou: Floats
    mean_iou: Floats


@dataclass(frozen=True)
class Calibration:
    """Observed share of landslide by predicted probability, in bins of equal width.

    Attributes:
        predicted: mean probability of each bin, 0..1, known to a thousandth; NaN where the bin is empty.
        observed: share of its pixels that are landslide, 0..1; NaN where it is empty.
        pixels: in each bin.
        expected_error: mean distance of the two, each bin weighed by its pixels; NaN without pixels.

    Source of the error: Naeini et al. 2015, "Obtaining Well Calibrated Probabilities Using Bayesian Binning".
    """

    predicted: Floats
    observed: Floats
    pixels: NDArray[np.int64]
    expected_error: float


def threshold_curve(sources: Sequence[ProbabilityHistogram]) -> ThresholdCurve:
    """Return the curve of a split.

    Args:
        sources: the histogram of each source.
    """
    together = merged(sources)
    counts = [together.counts_at(threshold) for threshold in THRESHOLDS]
    return ThresholdCurve(
        np.asarray(THRESHOLDS),
        np.asarray([one.precision for one in counts]),
        np.asarray([one.recall for one in counts]),
        np.asarray([one.iou for one in counts]),
        np.asarray([mean_iou_at(sources, threshold) for threshold in THRESHOLDS]),
    )


def precision_recall(histogram: ProbabilityHistogram) -> tuple[Floats, Floats]:
    """Return precision and recall at every threshold of a thousandth from 0 up at which any pixel is claimed."""
    found = np.cumsum(histogram.landslide[::-1])[::-1]
    claimed = found + np.cumsum(histogram.background[::-1])[::-1]
    some = claimed > 0
    total = max(int(histogram.landslide.sum()), 1)
    return found[some] / claimed[some], found[some] / total


def average_precision(histogram: ProbabilityHistogram) -> float:
    """Return the area below the precision-recall curve as a sum of steps, 0..1; NaN without landslide."""
    if not histogram.landslide.any():
        return float("nan")
    precision, recall = precision_recall(histogram)
    return float(-(np.diff(np.append(recall, 0.0)) * precision).sum())


def calibration(histogram: ProbabilityHistogram) -> Calibration:
    """Return how well the probabilities of a histogram agree with what was there."""
    fine = histogram.landslide + histogram.background
    # A fine bin holds the probabilities from its number to the next; the last one holds 1 alone.
    middle = np.minimum((np.arange(HISTOGRAM_BINS + 1) + 0.5) / HISTOGRAM_BINS, 1.0)
    bins = np.minimum(np.arange(HISTOGRAM_BINS + 1) * CALIBRATION_BINS // HISTOGRAM_BINS, CALIBRATION_BINS - 1)
    pixels, slides, sums = (
        np.bincount(bins, weights, CALIBRATION_BINS) for weights in (fine, histogram.landslide, fine * middle)
    )
    with np.errstate(invalid="ignore"):
        predicted, observed = sums / pixels, slides / pixels
    total = pixels.sum()
    error = float(np.nansum(pixels * np.abs(predicted - observed)) / total) if total else float("nan")
    return Calibration(predicted, observed, pixels.astype(np.int64), error)


def merged(histograms: Sequence[ProbabilityHistogram]) -> ProbabilityHistogram:
    """Return the counts of several histograms together."""
    together = ProbabilityHistogram()
    for one in histograms:
        together.merge(one)
    return together
