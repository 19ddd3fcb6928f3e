"""Losses and schedules equal their formulas, written out."""

from __future__ import annotations

import itertools

import pytest
import torch
import torch.nn.functional as F

from kda_edge.errors import UsageError
from kda_edge.train.optimisation.schedules import cosine_rate, crop_side_px, ema_decay
from kda_edge.train.segmentation.losses import LossWeights, segmentation_loss


def _two_class_reference(logits: torch.Tensor, labels: torch.Tensor, gamma: float) -> tuple[float, float]:
    """Cross-entropy and focal loss of two class logits, pixel by pixel, ignoring 255."""
    cross_entropy, focal, count = 0.0, 0.0, 0
    for b, row, col in torch.argwhere(labels != 255).tolist():
        log_probability = torch.log_softmax(logits[b, :, row, col], 0)[int(labels[b, row, col])]
        cross_entropy -= float(log_probability)
        focal -= float((1 - log_probability.exp()) ** gamma * log_probability)
        count += 1
    return cross_entropy / count, focal / count


@pytest.mark.parametrize("gamma", [0.0, 2.0])
def test_the_papers_loss_on_one_logit_equals_two_class_softmax(gamma: float) -> None:
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(2, 2, 5, 6, generator=generator)
    labels = torch.randint(0, 2, (2, 5, 6), generator=generator).to(torch.uint8)
    labels[0, :2] = 255
    cross_entropy, focal = _two_class_reference(logits, labels, gamma)
    found = segmentation_loss(logits[:, 1:] - logits[:, :1], labels, LossWeights(focal_gamma=gamma))
    assert float(found) == pytest.approx(0.4 * cross_entropy + 0.6 * focal, rel=1e-5)
    library = F.cross_entropy(logits, labels.long(), ignore_index=255)
    assert cross_entropy == pytest.approx(float(library), rel=1e-5)


@pytest.mark.parametrize("weight", [0.25, 1.0, 7.5])
def test_a_weight_of_landslide_is_that_of_the_librarys_class_weights(weight: float) -> None:
    generator = torch.Generator().manual_seed(1)
    logits = 3 * torch.randn(2, 2, 5, 6, generator=generator)
    labels = torch.randint(0, 2, (2, 5, 6), generator=generator).to(torch.uint8)
    labels[0, :2] = 255
    classes = torch.tensor([1.0, weight])
    logit = logits[:, 1:] - logits[:, :1]
    found = segmentation_loss(logit, labels, LossWeights(1, 0, landslide_weight=weight))
    library = F.cross_entropy(logits, labels.long(), weight=classes, ignore_index=255)
    assert float(found) == pytest.approx(float(library), rel=1e-5)
    # Each pixel of the focal loss has the weight of its class, too.
    one = F.cross_entropy(logits, labels.long(), ignore_index=255, reduction="none")
    each = torch.where(labels == 255, 0.0, classes[(labels == 1).long()])
    focal = ((1 - torch.exp(-one)) ** 2 * one * each).sum() / each.sum()
    found = segmentation_loss(logit, labels, LossWeights(0, 1, landslide_weight=weight))
    assert float(found) == pytest.approx(float(focal), rel=1e-5)


def test_a_weight_of_nothing_is_refused() -> None:
    with pytest.raises(UsageError, match="landslide_weight must be above 0"):
        LossWeights(landslide_weight=0.0)


def test_dice_is_zero_for_a_perfect_answer_and_one_for_a_wrong_one() -> None:
    labels = torch.zeros(1, 64, 64, dtype=torch.uint8)
    labels[:, :32] = 1
    sure = torch.where(labels == 1, 50.0, -50.0)[:, None]
    only_dice = LossWeights(0, 0, 1)
    assert float(segmentation_loss(sure, labels, only_dice)) == pytest.approx(0, abs=1e-4)
    assert float(segmentation_loss(-sure, labels, only_dice)) == pytest.approx(1, abs=1e-3)


def test_pixels_that_are_not_judged_have_no_gradient() -> None:
    logit = torch.randn(1, 1, 4, 4, requires_grad=True)
    labels = torch.ones(1, 4, 4, dtype=torch.uint8)
    labels[0, 0] = 255
    segmentation_loss(logit, labels, LossWeights(0.4, 0.6, 0.5)).backward()
    assert logit.grad is not None
    assert not logit.grad[0, 0, 0].any()
    assert logit.grad[0, 0, 1:].all()


def test_a_batch_without_judged_pixels_costs_nothing_and_moves_nothing() -> None:
    logit = torch.randn(1, 1, 4, 4, requires_grad=True)
    loss = segmentation_loss(logit, torch.full((1, 4, 4), 255, dtype=torch.uint8), LossWeights(0.4, 0.6, 0.5))
    loss.backward()
    assert float(loss.detach()) == 0.0
    assert logit.grad is not None
    assert not logit.grad.any()


def test_the_rate_rises_then_falls_from_first_to_last() -> None:
    rates = [cosine_rate(s, total_steps=100, warmup_steps=10, first=1.0, last=0.01) for s in range(120)]
    assert rates[:10] == pytest.approx([0.1 * (s + 1) for s in range(10)])
    assert rates[10] == pytest.approx(1.0)
    assert all(a >= b for a, b in itertools.pairwise(rates[10:]))
    assert rates[99:] == pytest.approx([0.01] * 21)
    halfway = cosine_rate(50, total_steps=101, warmup_steps=0, first=1.0, last=0.0)
    assert halfway == pytest.approx(0.5)


def test_the_average_takes_much_in_at_first_and_little_later() -> None:
    assert ema_decay(0, final=0.99) == pytest.approx(0.1)
    assert ema_decay(10_000, final=0.99) == 0.99


def test_only_the_last_epochs_use_the_finishing_size() -> None:
    sides = [crop_side_px(e, epochs=5, crop_px=192, finish_px=256, finish_epochs=2) for e in range(5)]
    assert sides == [192, 192, 192, 256, 256]
    assert crop_side_px(4, epochs=5, crop_px=192, finish_px=256, finish_epochs=0) == 192
