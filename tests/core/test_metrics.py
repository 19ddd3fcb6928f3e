"""Metrics equal torchmetrics', and the histogram equals a threshold applied pixel by pixel."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from kda_edge.metrics import ConfusionCounts, ProbabilityHistogram, best_threshold, mean_iou_at


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
    jaccard = classification.multiclass_jaccard_index(prediction, target, num_classes=2, average=None)
    expected = {
        "iou": classification.binary_jaccard_index(prediction, target),
        "precision": classification.binary_precision(prediction, target),
        "recall": classification.binary_recall(prediction, target),
        "f1": classification.binary_f1_score(prediction, target),
        "mean_iou": jaccard.mean(),
        "mean_precision": classification.multiclass_precision(prediction, target, num_classes=2, average="macro"),
        "mean_f1": classification.multiclass_f1_score(prediction, target, num_classes=2, average="macro"),
        "overall_accuracy": classification.binary_accuracy(prediction, target),
    }
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


def test_best_threshold_gives_each_histogram_the_same_say() -> None:
    """Against every hundredth, pixel by pixel, on two worlds of different size and brightness."""
    rng = np.random.default_rng(2)
    worlds, histograms = [], []
    for side, level in ((100, 0.25), (30, 0.6)):
        truth = rng.random((side, side)) < 0.2
        probability = np.clip(level + 0.2 * truth + 0.1 * rng.standard_normal((side, side)), 0, 1).astype(np.float32)
        histogram = ProbabilityHistogram()
        histogram.add(probability, truth, np.ones_like(truth))
        worlds.append((probability, truth))
        histograms.append(histogram)
    for chosen in ([0], [1], [0, 1]):
        means = {
            k / 100: sum(_slow_counts(*worlds[i], k / 100).iou for i in chosen) / len(chosen) for k in range(5, 96)
        }
        found = best_threshold([histograms[i] for i in chosen])
        assert means[found] == pytest.approx(max(means.values()))
        assert mean_iou_at([histograms[i] for i in chosen], found) == pytest.approx(means[found])
    empty = ProbabilityHistogram()
    assert mean_iou_at([*histograms, empty], 0.4) == mean_iou_at(histograms, 0.4)


def test_undefined_metrics_are_left_out_instead_of_being_perfect_or_zero() -> None:
    nothing = ConfusionCounts(tn=10)
    assert math.isnan(nothing.iou)
    assert nothing.as_dict() == {"overall_accuracy": 1.0}
    assert ConfusionCounts(fn=5, tn=5).as_dict()["iou"] == 0.0
    assert best_threshold([ProbabilityHistogram()]) == 0.5
    assert math.isnan(mean_iou_at([ProbabilityHistogram()], 0.5))
