"""Heat maps of networks as numbers: similarity of features, Grad-CAM, and how well a map tells landslide apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from kda_edge.errors import UsageError
from kda_edge.networks.network import Network

STAGES: Final = (1, 2, 3, 4)  # of an encoder, finest first


def overlap_shares(source_px: int, target_px: int) -> Tensor:
    """Return what share of each of `target_px` cells each of `source_px` pixels covers on one side, (target, source).

    Both divide the same length evenly. Each row sums to 1.
    """
    source = torch.arange(source_px + 1, dtype=torch.float64) / source_px
    target = torch.arange(target_px + 1, dtype=torch.float64) / target_px
    ends = torch.minimum(target[1:, None], source[None, 1:])
    starts = torch.maximum(target[:-1, None], source[None, :-1])
    return (ends - starts).clamp(min=0) * target_px


def shares_on_grid(mask: Tensor, grid_hw: tuple[int, int]) -> Tensor:
    """Return the mean of a mask, (H, W), over the area of each cell of a grid, (h, w) float64; exact for any sizes."""
    down = overlap_shares(mask.shape[0], grid_hw[0]).to(mask.device)
    across = overlap_shares(mask.shape[1], grid_hw[1]).to(mask.device)
    return down @ mask.double() @ across.T


def mean_feature(features: Tensor, weights: Tensor) -> Tensor:
    """Return the weighted mean over the positions, (C,).

    Args:
        features: (C, h, w).
        weights: (h, w), 0 or more, not all 0.
    """
    total = weights.sum()
    assert float(total) > 0
    return ((features.double() * weights).sum(dim=(1, 2)) / total).to(features.dtype)


def feature_at(features: Tensor, x_px: int, y_px: int, size_hw: tuple[int, int]) -> Tensor:
    """Return the feature of the cell that the centre of an image's pixel lies in, (C,).

    Args:
        features: (C, h, w), spread over the whole image.
        x_px: column, from 0.
        y_px: row, from 0.
        size_hw: of the image.
    """
    row = (2 * y_px + 1) * features.shape[1] // (2 * size_hw[0])
    col = (2 * x_px + 1) * features.shape[2] // (2 * size_hw[1])
    return features[:, row, col]


def similarity_map(features: Tensor, reference: Tensor) -> Tensor:
    """Return the cosine of the angle between each position's feature and a reference, (h, w), -1..1.

    A feature of length 0 is similar to nothing: 0.

    Args:
        features: (C, h, w).
        reference: (C,).
    """
    return F.cosine_similarity(features.double(), reference.double()[:, None, None], dim=0).clamp(-1, 1).float()


def centred(features: Tensor) -> Tensor:
    """Return features, (C, h, w), without their mean over the positions.

    What all positions share brings every cosine near 1, however well the rest tells them apart: the last map of a
    transformer without a final norm is such a case.

    Source: Mu and Viswanath 2018, "All-but-the-Top", arXiv:1702.01417, section 2, for word vectors.
    """
    return features - features.mean(dim=(1, 2), keepdim=True)


def encoder_maps(output: Any, image_hw: tuple[int, int]) -> list[Tensor]:
    """Return the feature maps that an encoder hands on, finest first.

    Encoders of some libraries hand on the image itself and empty placeholders as well; these are left out.

    Args:
        output: a map or a sequence of maps, (B, C, h, w).
        image_hw: of the encoder's input.
    """
    maps: Sequence[Tensor] = [output] if isinstance(output, Tensor) else output
    return [one for one in maps if one.shape[1] > 0 and tuple(one.shape[2:]) != tuple(image_hw)]


def grad_cam(network: Network, image: Tensor, stage: int, target: Tensor) -> Tensor:
    """Return where the evidence for landslide lies in one map of the encoder, (h, w), 0 or more.

    The score y is the mean landslide logit, weighted by `target`. With the maps A^k of a stage, one a channel:
    a_k = mean over positions of dy / dA^k (Eq. 1), and the result is ReLU(sum over k of a_k A^k) (Eq. 2). The
    derivative is the total one: a map acts on y through the decoder and through the later stages.

    Source: Selvaraju et al. 2017, "Grad-CAM", arXiv:1610.02391, Eq. 1 and 2; a mean of logits over pixels as the score
    of a segmentation network follows Vinogradova et al. 2020, arXiv:2002.11434, Eq. 2 (there a sum).

    Args:
        network: in eval mode; its parameters and their gradients stay as they are.
        image: normalised, (1, 3, H, W), sides that the network takes.
        stage: of `STAGES`; 4 is the encoder's last map.
        target: weight of each pixel, (H, W), 0 or more, not all 0.

    Raises:
        UsageError: no such stage in this network.
    """
    assert float(target.sum()) > 0
    seen: list[Any] = []
    hook = network.encoder.register_forward_hook(lambda _module, _inputs, output: seen.append(output))
    try:
        with torch.enable_grad():
            logit = network(image.detach().clone().requires_grad_())
            maps = encoder_maps(seen[0], (image.shape[2], image.shape[3]))
            if stage not in STAGES or len(maps) <= STAGES[-1] - stage:
                first = STAGES[-1] - min(len(maps), STAGES[-1]) + 1
                raise UsageError(f"{network.variant} has no stage {stage} to look at; choose --stage {first} to 4")
            chosen = maps[stage - STAGES[-1] - 1]
            score = (logit[0, 0] * target).sum() / target.sum()
            (gradient,) = torch.autograd.grad(score, chosen)
    finally:
        hook.remove()
    weights = gradient.mean(dim=(2, 3), keepdim=True)
    return F.relu((weights * chosen.detach()).sum(dim=1))[0]


def upsampled(heat: Tensor, size_hw: tuple[int, int]) -> NDArray[np.float32]:
    """Return a map, (h, w), bilinearly at the image's size, (H, W); both cover the same ground."""
    large = F.interpolate(heat[None, None].float(), size=size_hw, mode="bilinear", align_corners=False)
    values: NDArray[np.float32] = large[0, 0].cpu().numpy()
    return values


@dataclass(frozen=True)
class Separation:
    """How well the values of a map tell landslide from the rest.

    Attributes:
        inside: mean over the landslide.
        outside: mean over the rest.
        auc: probability that a pixel of the landslide has a higher value than one of the rest, 0..1; ties count half;
            0.5 is chance.
    """

    inside: float
    outside: float
    auc: float

    @property
    def difference(self) -> float:
        """Inside minus outside."""
        return self.inside - self.outside

    def as_dict(self) -> dict[str, float]:
        """Return the figures by name."""
        return {"inside": self.inside, "outside": self.outside, "difference": self.difference, "auc": self.auc}


def separation(values: NDArray[np.float32], inside: NDArray[np.bool_], outside: NDArray[np.bool_]) -> Separation | None:
    """Compare the values inside with those outside, (H, W) each; None where one of the two is empty.

    The area under the ROC curve comes from the ranks, as the Mann-Whitney statistic.

    Source: Hanley and McNeil 1982, doi 10.1148/radiology.143.1.7063747.
    """
    high, low = values[inside].astype(np.float64), values[outside].astype(np.float64)
    if not high.size or not low.size:
        return None
    _, place, counts = np.unique(np.concatenate([high, low]), return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[place.reshape(-1)]
    wins = ranks[: high.size].sum() - high.size * (high.size + 1) / 2
    return Separation(float(high.mean()), float(low.mean()), float(wins / (high.size * low.size)))
