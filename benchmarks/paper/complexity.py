"""Parameters and GFLOPs of a network, counted as the paper counts them."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

from torch import Tensor, nn

from kda_edge.decoders.dcf import DcfDecoder
from kda_edge.errors import MissingDependency
from kda_edge.networks.by_name import network_from_name
from kda_edge.networks.student import Student


@dataclass(frozen=True)
class Complexity:
    """Counts of a network.

    Attributes:
        decoder_parameters_m: learned numbers of the decoder, millions.
        parameters_m: of the whole network.
        gflops: of a forward pass on one image, as calflops counts: a multiplication and an addition are two. DCF is
            counted in its published order of steps, as in the paper; the one that runs saves a little (docs/adr/0003).
    """

    decoder_parameters_m: float
    parameters_m: float
    gflops: float


def complexity_of(name: str, image_px: int = 224) -> Complexity:
    """Count a network, by the name that `network_from_name` takes, on a square image.

    Raises:
        MissingDependency: calflops is not installed.
    """
    # calflops and what it imports warn about their own future.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            from calflops import calculate_flops
        except ModuleNotFoundError as error:
            raise MissingDependency(error.name or "calflops", extra="paper") from error
        network = network_from_name(name).eval()
        counted: nn.Module = network
        if isinstance(network, Student) and isinstance(network.decoder, DcfDecoder):
            counted = _PublishedOrder(network).eval()
        flops, _, _ = calculate_flops(
            counted, (1, 3, image_px, image_px), print_results=False, print_detailed=False, output_as_string=False
        )
    decoder = sum(parameter.numel() for parameter in network.decoder.parameters())
    whole = sum(parameter.numel() for parameter in network.parameters())
    return Complexity(decoder / 1e6, whole / 1e6, float(flops) / 1e9)


class _PublishedOrder(nn.Module):
    """A student with DCF, its steps in the published order."""

    def __init__(self, student: Student) -> None:
        super().__init__()
        self.student = student

    def forward(self, image: Tensor) -> Tensor:
        """(B, 3, H, W) -> both class logits, (B, 2, H, W)."""
        return self.student.forward_plain(image)
