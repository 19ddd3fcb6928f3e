"""MFFENet: the published layers, and what its forks do."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kda_edge.decoders.mffenet import STRIDES_PX, MffenetDecoder, TriangleFork
from kda_edge.networks.peers import peer_from_name


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("level", [0, 1, 2])
def test_a_fork_of_mffenet_stays_at_its_stride_and_sees_all_four_maps(level: int) -> None:
    torch.manual_seed(0)
    channels, width = (4, 5, 6, 7), 6
    fork = TriangleFork(level, channels, width)
    sides_px = [64 // stride for stride in STRIDES_PX]
    maps = [noise(2, c, side, side, seed=c).requires_grad_() for c, side in zip(channels, sides_px, strict=True)]
    joined = fork(maps)
    assert joined.shape == (2, 4 * width, sides_px[level], sides_px[level])
    joined.square().sum().backward()
    assert all(x.grad is not None and bool(x.grad.any()) for x in maps)


def test_the_gate_of_a_fork_weighs_coarser_and_finer_maps_apart() -> None:
    """With its two weights forced, one group of maps comes through whole and the other not at all."""
    torch.manual_seed(0)
    fork = TriangleFork(1, (4, 4, 4, 4), 6).eval()
    nn.init.zeros_(fork.refine[-1].weight)
    last_norm = fork.weigh[-2]
    with torch.no_grad():
        last_norm.weight.zero_()
        last_norm.bias.copy_(torch.tensor([50.0, -50.0]))  # through the sigmoid: 1 and 0
    maps = [noise(1, 4, 64 // stride, 64 // stride, seed=stride) for stride in STRIDES_PX]
    with torch.inference_mode():
        _, coarser, finer = fork(maps).split((6, 12, 6), dim=1)
        coarsest = fork.reduce["3"](maps[3])
        expected = F.interpolate(coarsest, size=(16, 16), mode="bilinear", align_corners=False)
    torch.testing.assert_close(coarser[:, :6], expected)
    assert float(finer.abs().max()) < 1e-12


def test_mffenets_decoder_has_the_weights_of_the_published_one() -> None:
    """Counted from the layers of the authors' code, as (in, out, kernel), without the biases in front of norms."""
    pyramid = [(2048, 256, 1), *[(2048, 256, 3)] * 3, (2048, 256, 1), (1280, 256, 1)]
    forks = [
        # guide, own, share; three reductions; weights; bottleneck
        *[(256, 192, 1), (512, 192, 1), (192, 1, 1), (256, 192, 1), (256, 192, 1), (64, 192, 1), (576, 288, 3)],
        *[(288, 2, 1), (768, 256, 1), (256, 256, 3), (256, 768, 1)],
        *[(512, 96, 1), (256, 96, 1), (96, 1, 1), (256, 96, 1), (512, 96, 1), (64, 96, 1), (288, 144, 3)],
        *[(144, 2, 1), (384, 128, 1), (128, 128, 3), (128, 384, 1)],
        *[(256, 48, 1), (64, 48, 1), (48, 1, 1), (256, 48, 1), (512, 48, 1), (256, 48, 1), (144, 72, 3)],
        *[(72, 1, 1), (192, 64, 1), (64, 64, 3), (64, 192, 1)],
    ]
    rise = [(1024, 256, 3), (896, 256, 3), (960, 256, 3), (1024, 256, 3), (256, 256, 3), (256, 2, 1)]
    with torch.device("meta"):
        decoder = MffenetDecoder((64, 256, 512, 2048))
    found = sorted(
        (module.in_channels, module.out_channels, module.kernel_size[0])
        for module in decoder.modules()
        if isinstance(module, nn.Conv2d)
    )
    assert found == sorted(pyramid + forks + rise)


def test_mffenets_encoder_ends_at_stride_16_with_growing_dilations() -> None:
    with torch.device("meta"):
        encoder: Any = peer_from_name("mffenet").encoder
    assert [block.conv2.dilation for block in encoder.layer4] == [(2, 2), (4, 4), (8, 8)]
    assert [block.conv2.stride for block in encoder.layer4] == [(1, 1)] * 3
    assert encoder.output_stride == 16
