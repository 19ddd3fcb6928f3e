"""Hamburger: global context as what is left of a map after a low-rank, non-negative factorisation.

Source: Geng et al. 2021, "Is Attention Better Than Matrix Decomposition?", arXiv:2109.04553; the updates are those of
Lee and Seung 2000, "Algorithms for Non-negative Matrix Factorization", for the squared error.
"""

from __future__ import annotations

from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kda_edge.decoders.decoder_layers import convolution_norm_relu

RANK: Final = 64  # with STEPS, the defaults of the paper's code
STEPS: Final = 6
EPSILON: Final = 1e-6  # keeps an update finite where a map is zero everywhere


class NonNegativeFactorization(nn.Module):
    """Rebuild a non-negative map from `rank` bases over its channels, found for each image by multiplicative updates.

    **Where the updates start.** The paper's code draws the bases at random for every image, in evaluation too, so the
    same image would give two answers. Here they are drawn once, with the weights, and kept as a buffer that no step
    ever changes: training, evaluation and the exported graph start from the same bases, and the result is a function
    of the map and the checkpoint. The coefficients start as the softmax of the map's products with the bases.

    **Gradient.** The one-step gradient of the paper: the updates see a detached map, and gradients flow through one
    more update of the coefficients, in which the bases and coefficients found are constants. Memory and time of the
    backward pass then do not grow with the steps.

    **Precision.** float32 whatever autocast says: sums of squares over all pixels leave half precision's range.

    Args:
        channels: of the map.
        rank: number of bases.
        steps: updates of coefficients and bases, above 0.
    """

    bases: Tensor

    def __init__(self, channels: int, rank: int = RANK, steps: int = STEPS) -> None:
        super().__init__()
        self.steps = steps
        self.register_buffer("bases", F.normalize(torch.rand(channels, rank), dim=0))

    def factorize(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Return bases (B, C, R) and coefficients (B, N, R) with pixels (B, C, N) about bases @ coefficients^T."""
        bases = self.bases.float()
        coefficients = (pixels.transpose(1, 2) @ bases).softmax(dim=-1)
        for _ in range(self.steps):
            coefficients = _updated_coefficients(pixels, bases, coefficients)
            overlap = coefficients.transpose(1, 2) @ coefficients
            bases = bases * ((pixels @ coefficients) / (bases @ overlap + EPSILON))
        return bases, coefficients

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W), 0 or above -> its rebuilt self, the same shape and type, 0 or above."""
        with torch.autocast(x.device.type, enabled=False):
            pixels = x.float().flatten(2)
            bases, coefficients = self.factorize(pixels.detach())
            coefficients = _updated_coefficients(pixels, bases, coefficients)
            rebuilt = bases @ coefficients.transpose(1, 2)
        return rebuilt.reshape(-1, *x.shape[1:]).to(x.dtype)


def _updated_coefficients(pixels: Tensor, bases: Tensor, coefficients: Tensor) -> Tensor:
    overlap = bases.transpose(-2, -1) @ bases
    return coefficients * ((pixels.transpose(1, 2) @ bases) / (coefficients @ overlap + EPSILON))


class Hamburger(nn.Module):
    """The factorisation between two 1 x 1 convolutions, with a 3 x 3 convolution behind it, around a shortcut.

    Args:
        channels: of the map and of everything inside.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.lower = nn.Sequential(nn.Conv2d(channels, channels, kernel_size=1), nn.ReLU(inplace=True))
        self.ham = NonNegativeFactorization(channels)
        self.cheese = convolution_norm_relu(channels, channels, kernel_px=3, bias=False)
        self.upper = nn.Conv2d(channels, channels, kernel_size=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W), 0 or above."""
        context = self.upper(self.cheese(self.ham(self.lower(x))))
        return F.relu(x + context)
