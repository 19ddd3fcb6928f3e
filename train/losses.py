"""The losses of phase 2, on the landslide logit.

With two classes, softmax cross-entropy of both logits is binary cross-entropy of their difference, so one logit
a pixel is enough. Pixels labelled `IGNORED` take no part.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from .imagery import IGNORED, LANDSLIDE


@dataclass(frozen=True)
class LossWeights:
    """How the terms are added; the defaults are the paper's.

    Attributes:
        cross_entropy: 0 or more.
        focal: 0 or more.
        dice: 0 or more; not in the paper.
        focal_gamma: how strongly easy pixels are played down; the paper gives none, 2 is Lin et al.'s.
    """

    cross_entropy: float = 0.4
    focal: float = 0.6
    dice: float = 0.0
    focal_gamma: float = 2.0


def segmentation_loss(logit: Tensor, labels: Tensor, weights: LossWeights) -> Tensor:
    """Return the weighted sum of cross-entropy, focal and soft Dice loss over the judged pixels of a batch.

    Args:
        logit: landslide minus background, (B, 1, H, W).
        labels: 0 background, 1 landslide, 255 not judged, (B, H, W).
        weights: of the terms.

    Returns:
        Scalar; 0 with a gradient of 0 where no pixel is judged.

    Source: KDA, doi 10.1109/LGRS.2025.3597685, section II-C (0.4 cross-entropy + 0.6 focal); focal: Lin et al. 2017,
    arXiv:1708.02002, Eq. (4) without alpha; Dice: Milletari et al. 2016, arXiv:1606.04797, over the whole batch.
    """
    flat = logit[:, 0].float()
    judged = labels != IGNORED
    truth = (labels == LANDSLIDE).float()
    count = judged.sum().clamp(min=1)
    cross_entropy = F.binary_cross_entropy_with_logits(flat, truth, reduction="none") * judged
    loss = weights.cross_entropy * cross_entropy.sum() / count
    if weights.focal:
        probability_of_truth = torch.exp(-cross_entropy)
        loss = loss + weights.focal * ((1 - probability_of_truth) ** weights.focal_gamma * cross_entropy).sum() / count
    if weights.dice:
        probability = torch.sigmoid(flat) * judged
        overlap = 2 * (probability * truth).sum() + 1
        loss = loss + weights.dice * (1 - overlap / (probability.sum() + (truth * judged).sum() + 1))
    return loss
