"""The base class of every segmentation network: an encoder, a decoder, and one landslide logit a pixel.

The checkpoint, training, evaluation and export take any `Network`; the student is one, and so is each model that it
is compared with.
"""

from __future__ import annotations

import copy

from torch import Tensor, nn


class Network(nn.Module):
    """A landslide segmentation network.

    Attributes:
        variant: the name that `kda_edge.networks.by_name.network_from_name` builds it from.
        encoder: learns at the backbone's rate.
        decoder: learns at the decoder's rate; together with `encoder` it holds every weight.
    """

    variant: str
    encoder: nn.Module
    decoder: nn.Module

    def forward(self, image: Tensor) -> Tensor:
        """Return the landslide logit (landslide minus background), (B, 1, H, W).

        Args:
            image: normalised, (B, 3, H, W), both sides multiples of 32.

        Raises:
            UnsupportedSize: a side is no multiple of 32.
        """
        raise NotImplementedError

    def at_size(self, height_px: int, width_px: int) -> Network:
        """Return a copy for one image size, with whatever depends on the size made constant."""
        return copy.deepcopy(self)
