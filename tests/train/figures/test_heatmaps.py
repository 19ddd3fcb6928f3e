"""Heat maps: their numbers are what slow, obvious computations give."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from kda_edge.errors import UsageError
from kda_edge.networks.network import Network
from kda_edge.train.figures.heatmaps import (
    centred,
    encoder_maps,
    feature_at,
    grad_cam,
    mean_feature,
    separation,
    shares_on_grid,
    similarity_map,
)

# --- maps as numbers


@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 9), st.integers(1, 9), st.integers(0, 99))
def test_a_mask_is_brought_to_a_grid_by_exact_area(height: int, width: int, rows: int, cols: int, seed: int) -> None:
    mask = np.random.default_rng(seed).random((height, width)) < 0.5
    tall, wide = math.lcm(height, rows), math.lcm(width, cols)
    fine = np.kron(mask, np.ones((tall // height, wide // width)))  # each pixel as whole small ones
    expected = fine.reshape(rows, tall // rows, cols, wide // cols).mean(axis=(1, 3))
    assert np.allclose(shares_on_grid(torch.from_numpy(mask), (rows, cols)).numpy(), expected)


def test_similarity_is_the_cosine_of_every_position_with_the_reference() -> None:
    rng = np.random.default_rng(0)
    features, weights = rng.normal(size=(5, 3, 4)), rng.random((3, 4))
    features[:, 1, 2] = 0
    reference = sum(weights[i, j] * features[:, i, j] for i in range(3) for j in range(4)) / weights.sum()
    found = mean_feature(torch.from_numpy(features), torch.from_numpy(weights))
    assert np.allclose(found.numpy(), reference)
    heat = similarity_map(torch.from_numpy(features), found).numpy()
    for i in range(3):
        for j in range(4):
            length = np.linalg.norm(features[:, i, j]) * np.linalg.norm(reference)
            assert heat[i, j] == pytest.approx(features[:, i, j] @ reference / length if length else 0, abs=1e-6)


def test_a_shared_direction_hides_what_tells_positions_apart_until_it_is_centred() -> None:
    own = torch.randn(4, 6, 6, generator=torch.Generator().manual_seed(0))
    hidden = own + 1000
    assert float(similarity_map(hidden, hidden[:, 0, 0]).min()) > 0.99
    shown = similarity_map(centred(hidden), centred(hidden)[:, 0, 0])
    assert torch.allclose(shown, similarity_map(centred(own), centred(own)[:, 0, 0]), atol=1e-3)
    assert float(shown.min()) < 0


@given(st.integers(1, 6), st.integers(1, 6), st.integers(1, 12), st.integers(1, 12), st.data())
def test_a_pixel_has_the_feature_of_the_cell_that_its_centre_lies_in(
    rows: int, cols: int, height: int, width: int, data: Any
) -> None:
    x, y = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
    features = torch.arange(rows * cols, dtype=torch.float32).reshape(1, rows, cols)
    cell = int(feature_at(features, x, y, (height, width))[0])
    assert cell // cols <= (y + 0.5) * rows / height < cell // cols + 1
    assert cell % cols <= (x + 0.5) * cols / width < cell % cols + 1


@given(st.lists(st.tuples(st.integers(0, 4), st.sampled_from([0, 1, 2])), min_size=1, max_size=30))
def test_the_figures_of_a_map_are_those_of_all_pairs_of_pixels(pixels: list[tuple[int, int]]) -> None:
    values = np.array([[value for value, _ in pixels]], np.float32)
    place = np.array([[where for _, where in pixels]])
    found = separation(values, place == 1, place == 0)
    high, low = values[place == 1], values[place == 0]
    if not high.size or not low.size:
        assert found is None
        return
    assert found is not None
    wins = [float(a > b) + 0.5 * float(a == b) for a in high for b in low]
    assert found.auc == pytest.approx(np.mean(wins))
    assert (found.inside, found.outside) == pytest.approx((high.mean(), low.mean()))
    assert found.difference == pytest.approx(high.mean() - low.mean())


# --- Grad-CAM


class Linear(Network):
    """Maps of 2 x 2 averages, each channel with its own weight in the logit."""

    def __init__(self, weights: list[float]) -> None:
        super().__init__()
        self.variant = "linear"
        self.encoder = nn.AvgPool2d(2)
        self.decoder = nn.Conv2d(3, 1, 1, bias=False)
        self.decoder.weight.data[:] = torch.tensor(weights).reshape(1, 3, 1, 1)

    def forward(self, image: Tensor) -> Tensor:
        return self.decoder(self.encoder(image)).repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)


class Staged(Network):
    """Two stages, the second one made from the first; both reach the logit."""

    def __init__(self) -> None:
        super().__init__()
        self.variant = "staged"
        torch.manual_seed(0)
        self.first, self.second = nn.Conv2d(3, 4, 2, stride=2), nn.Conv2d(4, 5, 2, stride=2)
        outer = self

        class Encoder(nn.Module):
            def forward(self, image: Tensor) -> list[Tensor]:
                one = outer.first(image).tanh()
                return [image, image.new_empty(1, 0, 4, 4), one, outer.second(one).tanh()]

        self.encoder = Encoder()
        self.decoder = nn.Identity()

    def head(self, one: Tensor) -> Tensor:
        """The logit from the first map."""
        two = self.second(one).tanh()
        coarse = two.square().sum(1, keepdim=True).repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
        return (one.sum(1, keepdim=True) * coarse).repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)

    def forward(self, image: Tensor) -> Tensor:
        one, two = self.encoder(image)[2:]
        coarse = two.square().sum(1, keepdim=True).repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
        return (one.sum(1, keepdim=True) * coarse).repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)


def test_grad_cam_of_a_linear_network_is_what_a_hand_computes() -> None:
    """y = sum over the target's pixels of sum_k w_k A^k / their number: dy/dA^k has the mean w_k / positions."""
    weights = [2.0, -1.0, 0.5]
    image = torch.randn(1, 3, 6, 8, generator=torch.Generator().manual_seed(1))
    target = torch.zeros(6, 8)
    target[2:5, 1:7] = 1
    maps = image[0].reshape(3, 3, 2, 4, 2).mean(dim=(2, 4))
    expected = sum(weight / 12 * one for weight, one in zip(weights, maps, strict=True)).clamp(min=0)
    assert float(expected.max()) > 0
    assert float(expected.min()) == 0
    network = Linear(weights)
    found = grad_cam(network, image, 4, target)
    assert torch.allclose(found, expected, atol=1e-6)
    assert torch.allclose(found, grad_cam(network, image, 4, 7 * target), atol=1e-6)  # weights, not their sum, count
    assert network.decoder.weight.grad is None
    assert not network.encoder._forward_hooks


def test_grad_cam_of_an_early_stage_counts_what_it_does_through_later_ones() -> None:
    network = Staged().double()
    image = torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    target = torch.rand(8, 8, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    with torch.no_grad():
        one = network.encoder(image)[2]
        slopes = torch.zeros_like(one)
        for index in np.ndindex(*one.shape):
            step = torch.zeros_like(one)
            step[index] = 1e-5
            up, down = (((network.head(one + s * step) * target).sum() / target.sum()) for s in (1, -1))
            slopes[index] = (up - down) / 2e-5
        expected = (slopes.mean(dim=(2, 3), keepdim=True) * one).sum(dim=1)[0].clamp(min=0)
    assert float(expected.max()) > 0
    assert torch.allclose(grad_cam(network, image, 3, target), expected, atol=1e-8)
    assert grad_cam(network, image, 4, target).shape == (2, 2)


def test_a_stage_that_a_network_has_not_is_refused_by_name() -> None:
    with pytest.raises(UsageError, match=r"staged has no stage 2 .* --stage 3 to 4"):
        grad_cam(Staged(), torch.rand(1, 3, 8, 8), 2, torch.ones(8, 8))


def test_images_and_placeholders_that_encoders_hand_on_are_no_maps() -> None:
    maps = [torch.zeros(1, 3, 8, 8), torch.zeros(1, 0, 4, 4), torch.zeros(1, 5, 2, 2)]
    assert [tuple(one.shape) for one in encoder_maps(maps, (8, 8))] == [(1, 5, 2, 2)]
    assert len(encoder_maps(maps[-1], (8, 8))) == 1
