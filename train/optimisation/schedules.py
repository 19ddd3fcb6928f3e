"""Schedules of learning rate, weight average and crop side: pure functions of the step or the epoch."""

from __future__ import annotations

import math


def cosine_rate(step: int, *, total_steps: int, warmup_steps: int, first: float, last: float) -> float:
    """Return the learning rate of a step: a linear rise to `first`, then half a cosine down to `last`.

    The paper names only the two ends ("5e-6 -> 5e-9"); the cosine between them is our choice.

    Args:
        step: from 0.
        total_steps: 1 or more; later steps keep `last`.
        warmup_steps: 0 or more.
        first: highest rate.
        last: final rate.
    """
    if step < warmup_steps:
        return first * (step + 1) / warmup_steps
    progress = min(1.0, (step - warmup_steps) / max(1, total_steps - 1 - warmup_steps))
    return last + (first - last) * 0.5 * (1 + math.cos(math.pi * progress))


def ema_decay(step: int, *, final: float) -> float:
    """Return how much of the averaged weights survives a step: little at first, `final` in the long run.

    Source: the warm-up of TensorFlow's ExponentialMovingAverage, min(decay, (1 + n) / (10 + n)).
    """
    return min(final, (1 + step) / (10 + step))


def crop_side_px(epoch: int, *, epochs: int, crop_px: int, finish_px: int, finish_epochs: int) -> int:
    """Return the side of the training crops: `crop_px`, and `finish_px` for the last `finish_epochs` epochs.

    Small crops cost less; a few epochs at the size of use adapt the position embeddings and the statistics.
    Source: Touvron et al. 2019, "Fixing the train-test resolution discrepancy", arXiv:1906.06423.
    """
    return finish_px if epoch >= epochs - finish_epochs else crop_px
