"""The curves of a report are those that counting pixel by pixel gives."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from torch import from_numpy
from torchmetrics.functional.classification import binary_average_precision, binary_calibration_error

from kda_edge.metrics import ProbabilityHistogram
from kda_edge.train.run_report.curves import (
    average_precision,
    calibration,
    merged,
    precision_recall,
    threshold_curve,
)


def pixels(seed: int, count: int = 3000) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Probabilities in the middle of a histogram's bins, and a truth that has to do with them."""
    rng = np.random.default_rng(seed)
    bins = rng.integers(0, 1000, count)
    return ((bins + 0.5) / 1000).astype(np.float32), rng.random(count) < (bins / 1000) ** 2


def histogram_of(probability: NDArray[np.float32], truth: NDArray[np.bool_]) -> ProbabilityHistogram:
    histogram = ProbabilityHistogram()
    histogram.add(probability, truth, np.ones(truth.shape, np.bool_))
    return histogram


def test_the_area_below_precision_and_recall_is_the_librarys() -> None:
    probability, truth = pixels(0)
    expected = binary_average_precision(from_numpy(probability), from_numpy(truth.astype(np.int64)))
    assert average_precision(histogram_of(probability, truth)) == pytest.approx(float(expected), abs=1e-6)


def test_precision_and_recall_are_those_of_every_threshold_of_a_thousandth() -> None:
    probability, truth = pixels(1, count=200)
    precision, recall = precision_recall(histogram_of(probability, truth))
    expected = []
    for k in range(1001):
        claimed = probability >= k / 1000
        if claimed.any():
            expected.append(((claimed & truth).sum() / claimed.sum(), (claimed & truth).sum() / truth.sum()))
    assert np.allclose(np.stack([precision, recall], axis=1), expected)


def test_the_error_of_calibration_is_the_librarys() -> None:
    probability, truth = pixels(2)
    found = calibration(histogram_of(probability, truth))
    expected = binary_calibration_error(from_numpy(probability), from_numpy(truth.astype(np.int64)), n_bins=10)
    assert found.expected_error == pytest.approx(float(expected), abs=1e-5)
    inside = (probability >= 0.3) & (probability < 0.4)
    assert found.pixels[3] == inside.sum()
    assert found.observed[3] == pytest.approx(truth[inside].mean())
    assert found.predicted[3] == pytest.approx(probability[inside].mean())


def test_probabilities_of_0_and_1_lie_in_the_first_and_the_last_bin() -> None:
    found = calibration(histogram_of(np.asarray([0, 1], np.float32), np.asarray([False, True])))
    assert (found.pixels[0], found.pixels[9], found.pixels.sum()) == (1, 1, 2)
    assert found.expected_error < 1e-3
    assert np.isnan(found.predicted[1:9]).all()


def test_each_source_has_the_same_say_in_the_curve_that_a_threshold_is_chosen_by() -> None:
    large, small = pixels(3, count=5000), pixels(4, count=50)
    curve = threshold_curve([histogram_of(*large), histogram_of(*small)])
    for k in (0, 45, 90):
        ious = []
        for probability, truth in (large, small):
            claimed = probability >= curve.thresholds[k]
            ious.append((claimed & truth).sum() / (claimed | truth).sum())
        assert curve.mean_iou[k] == pytest.approx(np.mean(ious))
    probability, truth = (np.concatenate(both) for both in zip(large, small, strict=True))
    claimed = probability >= 0.5
    assert curve.iou[45] == pytest.approx((claimed & truth).sum() / (claimed | truth).sum())
    assert curve.recall[45] == pytest.approx((claimed & truth).sum() / truth.sum())
    assert curve.precision[45] == pytest.approx((claimed & truth).sum() / claimed.sum())


def test_without_landslide_or_pixels_nothing_is_claimed_of_them() -> None:
    bare = histogram_of(np.asarray([0.2], np.float32), np.asarray([False]))
    assert math.isnan(average_precision(bare))
    assert calibration(bare).observed[2] == 0
    assert math.isnan(calibration(merged([])).expected_error)
