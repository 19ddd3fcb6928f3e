"""The losses of phase 1: how far the student's features and scores lie from the teacher's."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def feature_divergence(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Return the Kullback-Leibler divergence of the student's channel distribution from the teacher's.

    At each position the channels are made a distribution by a softmax; the mean is over positions and batch.

    Args:
        student: (B, C, h, w).
        teacher: (B, C, h, w), detached.
        temperature: above 0; the result is rescaled by its square.

    Returns:
        Scalar, nats a position times the squared temperature, 0 or more.

    Source: KDA, doi 10.1109/LGRS.2025.3597685, Eq. (3), temperature 5; the rescaling, which the paper does not
    mention, is that of Hinton et al. 2015, arXiv:1503.02531, section 2.
    """
    log_student = F.log_softmax(student.float() / temperature, dim=1)
    log_teacher = F.log_softmax(teacher.float() / temperature, dim=1)
    divergence = (log_teacher.exp() * (log_teacher - log_student)).sum(dim=1)
    return divergence.mean() * temperature**2


def aligned_divergence(student: Sequence[Tensor], teacher: Sequence[Tensor], temperature: float) -> Tensor:
    """Return the mean of `feature_divergence` over pairs of maps, all levels alike.

    Source: hints from intermediate layers: Romero et al. 2015, "FitNets", arXiv:1412.6550; here with the divergence
    of Eq. (3) instead of their L2.
    """
    pairs = [feature_divergence(s, t, temperature) for s, t in zip(student, teacher, strict=True)]
    return torch.stack(pairs).mean()


def score_distance(teacher: Tensor, student: Tensor) -> Tensor:
    """Return the mean squared difference of the discriminator's scores, which it maximises and the student minimises.

    Args:
        teacher: scores of the teacher's maps, (B,), 0..1.
        student: scores of the student's maps, (B,), 0..1.

    Returns:
        Scalar, 0..1.

    Source: KDA, doi 10.1109/LGRS.2025.3597685, Eq. (2) and (3).
    """
    return F.mse_loss(student, teacher)


def balanced_score_weight(
    divergence_norm: float, distance_norm: float, *, weights: tuple[float, float], largest: float = 1e4
) -> float:
    """Return the weight of the score distance at which the two gradients stand in the ratio of `weights`.

    Args:
        divergence_norm: norm of the divergence's gradient at the student's last feature map.
        distance_norm: norm of the score distance's gradient there.
        weights: of divergence and distance, above 0.
        largest: of the result; a discriminator that is sure of itself has hardly a gradient.

    Source: Esser et al. 2021, "Taming Transformers", arXiv:2012.09841, Eq. (7), which balances an adversarial term so.
    """
    return min(largest, weights[1] * divergence_norm / max(distance_norm, 1e-12))
