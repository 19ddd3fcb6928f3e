"""Metrics equal torchmetrics', and the histogram equals a threshold applied pixel by pixel."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from kda_edge.metrics import ConfusionCounts, ProbabilityHistogram


def _case(seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.random((37, 53), dtype=np.float32), rng.random((37, 53)) < 0.3


def _slow_counts(probability: np.ndarray, truth: np.ndarray, threshold: float) -> ConfusionCounts:
    found = probability >= threshold
    return ConfusionCounts(
        int((found & truth).sum()),
        int((found & ~truth).sum()),
        int((~found & truth).sum()),
        int((~found & ~truth).sum()),
    )


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::UserWarning")
@pytest.mark.parametrize("seed", range(5))
def test_metrics_equal_torchmetrics(seed: int) -> None:
    classification = pytest.importorskip(
        "torchmetrics.functional.classification", reason="torchmetrics is the reference"
    )
    probability, truth = _case(seed)
    counts = _slow_counts(probability, truth, 0.4)
    prediction, target = torch.from_numpy(probability >= 0.4).long(), torch.from_numpy(truth).long()
    both = {"task": "multiclass", "num_classes": 2}
    jaccard = classification.multiclass_jaccard_index(prediction, target, num_classes=2, average=None)
    expected = {
        "iou": classification.binary_jaccard_index(prediction, target),
        "precision": classification.binary_precision(prediction, target),
        "recall": classification.binary_recall(prediction, target),
        "f1": classification.binary_f1_score(prediction, target),
        "mean_iou": jaccard.mean(),
        "overall_accuracy": classification.binary_accuracy(prediction, target),
    }
    assert both["num_classes"] == len(jaccard)
    assert counts.background_iou == pytest.approx(float(jaccard[0]), abs=1e-6)
    assert counts.as_dict() == pytest.approx({name: float(value) for name, value in expected.items()}, abs=1e-6)


@pytest.mark.parametrize("threshold", [0.05, 0.29, 0.3, 0.5, 0.57, 0.999])
def test_histogram_cuts_where_the_threshold_cuts(threshold: float) -> None:
    """Also for probabilities that lie on the threshold itself."""
    probability, truth = _case(9)
    probability.flat[:200] = np.float32(threshold)
    histogram = ProbabilityHistogram()
    for half in (slice(None, 20), slice(20, None)):
        part = ProbabilityHistogram()
        part.add(probability[half], truth[half], np.ones_like(truth[half]))
        histogram.merge(part)
    # float32(0.57) lies a hair below or above 0.57: both sides of the comparison use the same number.
    assert histogram.counts_at(threshold) == _slow_counts(probability, truth, float(np.float32(threshold)))


def test_pixels_that_are_not_judged_do_not_count() -> None:
    probability, truth = _case(1)
    judged = np.zeros_like(truth)
    judged[:10] = True
    probability[10:] = np.nan
    histogram = ProbabilityHistogram()
    histogram.add(probability, truth, judged)
    assert histogram.counts_at(0.5) == _slow_counts(probability[:10], truth[:10], 0.5)


def test_best_threshold_is_the_best_of_all_hundredths() -> None:
    rng = np.random.default_rng(2)
    truth = rng.random((100, 100)) < 0.2
    probability = np.clip(0.25 + 0.2 * truth + 0.1 * rng.standard_normal((100, 100)), 0, 1).astype(np.float32)
    histogram = ProbabilityHistogram()
    histogram.add(probability, truth, np.ones_like(truth))
    ious = {k / 100: _slow_counts(probability, truth, k / 100).iou for k in range(5, 96)}
    assert ious[histogram.best_threshold()] == max(ious.values())


def test_undefined_metrics_are_left_out_instead_of_being_perfect_or_zero() -> None:
    nothing = ConfusionCounts(tn=10)
    assert math.isnan(nothing.iou)
    assert nothing.as_dict() == {"overall_accuracy": 1.0}
    assert ConfusionCounts(fn=5, tn=5).as_dict()["iou"] == 0.0
    assert ProbabilityHistogram().best_threshold() == 0.5
