"""MSCAN and SegNeXt: the published sizes, names and steps."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from kda_edge.decoders.light_hamburger import DECODER_WIDTHS, GroupNorm, LightHamburger
from kda_edge.networks.mscan import MSCANS, MapDropPath, Mscan, StripAttention


def count(*modules: nn.Module) -> int:
    return sum(weight.numel() for module in modules for weight in module.parameters())


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


# Published totals (arXiv:2209.08575, table 2), millions, for 150 classes.
@pytest.mark.parametrize(("size", "millions"), [("tiny", 4.3), ("small", 13.9), ("base", 27.6), ("large", 48.9)])
def test_segnext_has_the_published_number_of_parameters(size: str, millions: float) -> None:
    with torch.device("meta"):
        encoder = Mscan(MSCANS[size])
        decoder = LightHamburger(encoder.dims, DECODER_WIDTHS[size], classes=150)
    unused_norm = 2 * encoder.dims[0]  # behind stage 1: published, and read by nobody
    assert (count(encoder, decoder) + unused_norm) / 1e6 == pytest.approx(millions, abs=0.05)


def test_mscan_gives_four_maps_and_has_the_published_names() -> None:
    torch.manual_seed(0)
    encoder = Mscan(MSCANS["tiny"]).eval()
    with torch.inference_mode():
        shapes = [tuple(x.shape) for x in encoder(noise(1, 3, 64, 96))]
    assert shapes == [(1, 32, 16, 24), (1, 64, 8, 12), (1, 160, 4, 6), (1, 256, 2, 3)]
    published = {
        "patch_embed1.proj.0.weight": (16, 3, 3, 3),
        "patch_embed1.proj.4.running_var": (32,),
        "patch_embed3.proj.weight": (160, 64, 3, 3),
        "patch_embed3.norm.bias": (160,),
        "block1.2.layer_scale_1": (32,),
        "block1.0.norm1.running_mean": (32,),
        "block2.1.attn.proj_1.weight": (64, 64, 1, 1),
        "block2.1.attn.spatial_gating_unit.conv0.weight": (64, 1, 5, 5),
        "block3.4.attn.spatial_gating_unit.conv0_1.weight": (160, 1, 1, 7),
        "block3.4.attn.spatial_gating_unit.conv1_2.weight": (160, 1, 11, 1),
        "block3.4.attn.spatial_gating_unit.conv2_2.bias": (160,),
        "block4.1.attn.spatial_gating_unit.conv3.weight": (256, 256, 1, 1),
        "block4.1.attn.proj_2.bias": (256,),
        "block4.1.mlp.fc1.weight": (1024, 256, 1, 1),
        "block4.1.mlp.dwconv.dwconv.weight": (1024, 1, 3, 3),
        "block1.1.mlp.fc2.weight": (32, 256, 1, 1),
        "norm4.weight": (256,),
    }
    state = encoder.state_dict()
    assert {key: tuple(state[key].shape) for key in published} == published
    assert not any(key.startswith("norm1.") for key in state)


def box_sum(image: Tensor, side_px: int) -> Tensor:
    """Sum over a square around each pixel, pixel by pixel; zero outside."""
    half = side_px // 2
    height, width = image.shape
    rows = [image[max(0, i - half) : i + half + 1] for i in range(height)]
    return torch.stack(
        [torch.stack([row[:, max(0, j - half) : j + half + 1].sum() for j in range(width)]) for row in rows]
    )


def test_strip_attention_looks_as_far_as_its_strips_and_weighs_each_pixel() -> None:
    """With all weights one, strips of 1 x n behind n x 1 sum over squares: an exact reference."""
    attention = StripAttention(1)
    for name, weight in attention.named_parameters():
        nn.init.zeros_(weight) if name.endswith("bias") else nn.init.ones_(weight)
    image = noise(1, 1, 13, 27)
    near = box_sum(image[0, 0], 5)
    expected = (near + sum(box_sum(near, side_px) for side_px in (7, 11, 21))) * image[0, 0]
    torch.testing.assert_close(attention(image)[0, 0], expected, rtol=1e-4, atol=1e-3)


def test_stochastic_depth_drops_whole_maps_and_keeps_the_mean() -> None:
    torch.manual_seed(0)
    kept = MapDropPath(0.25).train()(torch.ones(4000, 2, 3, 1))
    assert all(len(one.unique()) == 1 for one in kept[:50])
    assert float(kept.mean()) == pytest.approx(1.0, abs=0.03)
    assert torch.equal(MapDropPath(0.25).eval()(kept), kept)


def test_the_group_norm_is_torchs() -> None:
    ours, theirs = GroupNorm(4, 8), nn.GroupNorm(4, 8)
    nn.init.normal_(theirs.weight)
    nn.init.normal_(theirs.bias)
    ours.load_state_dict(theirs.state_dict())
    image = 5.0 + 3.0 * noise(2, 8, 5, 7)
    torch.testing.assert_close(ours(image), theirs(image), rtol=1e-4, atol=1e-4)
