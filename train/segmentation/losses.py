"""The losses of phase 2, on the landslide logit.

With two classes, softmax cross-entropy of both logits is binary cross-entropy of their difference, so one logit
a pixel is enough. Pixels labelled `IGNORED` take no part.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from kda_edge.errors import UsageError

from ..data.labels import IGNORED, LANDSLIDE


@dataclass(frozen=True)
class LossWeights:
    """How the terms are added; the defaults are the paper's.

    Attributes:
        cross_entropy: weight of cross-entropy.
        focal: weight of the focal loss.
        dice: weight of the soft Dice loss; not in the paper.
        focal_gamma: how strongly easy pixels are played down; the paper gives none, 2 is Lin et al.'s.
        landslide_weight: of a landslide pixel in cross-entropy and focal loss, where one of background has 1.
    """

    cross_entropy: float = 0.4
    focal: float = 0.6
    dice: float = 0.0
    focal_gamma: float = 2.0
    landslide_weight: float = 1.0

    def __post_init__(self) -> None:
        if self.landslide_weight <= 0:
            raise UsageError(f"landslide_weight must be above 0, not {self.landslide_weight:g}")


def segmentation_loss(
    logit: Tensor, labels: Tensor, weights: LossWeights, *, gather: Callable[[Tensor], Tensor] = lambda sums: sums
) -> Tensor:
    """Return the weighted sum of cross-entropy, focal and soft Dice loss over the judged pixels of a batch.

    Cross-entropy and focal loss are means over pixels, weighted by class where `landslide_weight` is not 1.

    Args:
        logit: landslide minus background, (B, 1, H, W).
        labels: 0 background, 1 landslide, 255 not judged, (B, H, W).
        weights: of the terms.
        gather: adds up sums (6,) over the processes that share the batch; the default is for one.

    Returns:
        Scalar; 0 with a gradient of 0 where no pixel is judged.

    Source: KDA, doi 10.1109/LGRS.2025.3597685, section II-C (0.4 cross-entropy + 0.6 focal); focal: Lin et al. 2017,
    arXiv:1708.02002, Eq. (4) without alpha; Dice: Milletari et al. 2016, arXiv:1606.04797, over the whole batch.
    """
    flat = logit[:, 0].float()
    judged = labels != IGNORED
    truth = (labels == LANDSLIDE).float()
    cross_entropy = F.binary_cross_entropy_with_logits(flat, truth, reduction="none") * judged
    focal = (1 - torch.exp(-cross_entropy)) ** weights.focal_gamma * cross_entropy
    probability = torch.sigmoid(flat) * judged
    weight = judged * (1 + (weights.landslide_weight - 1) * truth)
    here = (weight, weight * cross_entropy, weight * focal, probability * truth, probability, truth * judged)
    pixels, entropy_sum, focal_sum, overlap, predicted, true = gather(torch.stack([one.float().sum() for one in here]))
    count = pixels.clamp(min=1)
    dice = 1 - (2 * overlap + 1) / (predicted + true + 1)
    loss: Tensor = (weights.cross_entropy * entropy_sum + weights.focal * focal_sum) / count + weights.dice * dice
    return loss
