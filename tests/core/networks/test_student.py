"""What the student promises at every size, beyond parity with the published model."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from kda_edge.decoders.dysample import GROUPS, STATIC_SCOPE, DySample
from kda_edge.errors import UnsupportedSize, UsageError
from kda_edge.networks.student import Student


@pytest.fixture(scope="module")
def nano() -> Student:
    torch.manual_seed(0)
    student = Student("nano").eval()
    for parameter in student.parameters():  # fresh offsets and biases are near 0 and would hide mistakes
        torch.nn.init.normal_(parameter, std=0.1)
    return student


@pytest.mark.parametrize(
    "size_hw", [(32, 32), (224, 224), (448, 448), (896, 896), (224, 896), (112 + 16, 448), (96, 32)]
)
def test_folded_head_equals_the_published_order(nano: Student, size_hw: tuple[int, int]) -> None:
    image = torch.randn(2, 3, *size_hw, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        logit = nano(image)
        plain = nano.forward_plain(image)
    assert logit.shape == (2, 1, *size_hw)
    torch.testing.assert_close(logit, plain[:, 1:] - plain[:, :1], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("size_hw", [(224, 224), (448, 448), (896, 896), (128, 448), (896, 224)])
def test_position_embedding_of_each_stage_follows_its_own_grid(nano: Student, size_hw: tuple[int, int]) -> None:
    """The published code compares every stage with stage 1's token count: crashes at 448, scrambles at 112 x 448."""
    for stage, stride in enumerate((4, 8, 16, 32)):
        grid_hw = (size_hw[0] // stride, size_hw[1] // stride)
        side = 224 // stride
        learned = nano.encoder.get_parameter(f"pos_embed{stage + 1}")[:, -side * side :]
        image = learned.reshape(1, side, side, -1).permute(0, 3, 1, 2)
        expected = (
            F.interpolate(image, grid_hw, mode="bilinear", align_corners=False)
            if side != grid_hw[0] or side != grid_hw[1]
            else image
        )
        found = nano.encoder.position_embedding(stage, grid_hw)
        torch.testing.assert_close(found, expected.permute(0, 2, 3, 1).reshape(1, -1, learned.shape[2]))


@pytest.mark.parametrize("size_hw", [(224, 230), (31, 64), (0, 32), (100, 100)])
def test_other_sizes_are_refused_with_the_size_to_pad_to(nano: Student, size_hw: tuple[int, int]) -> None:
    with pytest.raises(UnsupportedSize, match=r"multiples of 32 px, not \d+ x \d+; pad the image to \d+ x \d+ px"):
        nano(torch.zeros(1, 3, *size_hw))


def test_at_size_changes_nothing_but_the_stored_grid(nano: Student) -> None:
    image = torch.randn(1, 3, 160, 96, generator=torch.Generator().manual_seed(2))
    before = {key: value.clone() for key, value in nano.state_dict().items()}
    fixed = nano.at_size(160, 96)
    with torch.inference_mode():
        torch.testing.assert_close(fixed(image), nano(image), rtol=0, atol=0)
    assert fixed.encoder.position_grids_hw == [(40, 24), (20, 12), (10, 6), (5, 3)]
    assert all(torch.equal(value, nano.state_dict()[key]) for key, value in before.items())


def test_gradients_reach_every_weight() -> None:
    """Over several draws of the weights: in `nano` a gate has two hidden units, which one draw may all switch off."""
    without: set[str] | None = None
    for seed in range(6):
        torch.manual_seed(seed)
        student = Student("nano").eval()
        for parameter in student.parameters():
            torch.nn.init.normal_(parameter, std=0.1)
        student(torch.randn(2, 3, 64, 64)).square().mean().backward()
        still = {name for name, p in student.named_parameters() if p.grad is None or not p.grad.any()}
        without = still if without is None else without & still
    assert without == set()


def test_an_unknown_variant_is_named() -> None:
    with pytest.raises(UsageError, match="no student 'mini'; choose one of nano, tiny, base"):
        Student("mini")


@pytest.mark.parametrize("scale", [2, 4])
def test_dysample_equals_a_pixel_by_pixel_version(scale: int) -> None:
    """Each output pixel: centre of its input pixel + sub-pixel centre + learned offset, bilinear, border clamped."""
    torch.manual_seed(3)
    channels, height, width = 8, 3, 5
    layer = DySample(channels, scale)
    torch.nn.init.normal_(layer.offset.weight, std=1.0)
    x = torch.randn(1, channels, height, width)
    with torch.inference_mode():
        found = layer(x)[0]
        learned = layer.offset(x)[0].reshape(2, GROUPS, scale, scale, height, width) * STATIC_SCOPE
    for group in range(GROUPS):
        part = x[0, group * 2 : group * 2 + 2]
        for row in range(height * scale):
            for col in range(width * scale):
                i, sub_i, j, sub_j = row // scale, row % scale, col // scale, col % scale
                x_px = j + ((1 - scale) / 2 + sub_j) / scale + float(learned[0, group, sub_i, sub_j, i, j])
                y_px = i + ((1 - scale) / 2 + sub_i) / scale + float(learned[1, group, sub_i, sub_j, i, j])
                expected = _bilinear(part, y_px, x_px)
                torch.testing.assert_close(found[group * 2 : group * 2 + 2, row, col], expected, rtol=1e-4, atol=1e-4)


def _bilinear(image: Tensor, row: float, col: float) -> Tensor:
    height, width = image.shape[1:]
    row, col = min(max(row, 0.0), height - 1.0), min(max(col, 0.0), width - 1.0)
    top, left = min(int(row), max(height - 2, 0)), min(int(col), max(width - 2, 0))
    dy, dx = row - top, col - left
    upper = image[:, top, left] * (1 - dx) + image[:, top, left + 1] * dx
    lower = image[:, top + 1, left] * (1 - dx) + image[:, top + 1, left + 1] * dx
    return upper * (1 - dy) + lower * dy


def test_stochastic_depth_rests_in_eval_mode_and_keeps_the_mean_in_training() -> None:
    from kda_edge.networks.pvt import DropPath

    drop = DropPath(0.25)
    x = torch.ones(20_000, 1, 1)
    torch.manual_seed(4)
    kept = drop.train()(x)
    torch.testing.assert_close(kept.unique(), torch.tensor([0.0, 4 / 3]))
    assert float(kept.mean()) == pytest.approx(1.0, abs=0.02)
    assert torch.equal(drop.eval()(x), x)


def test_blocks_that_are_run_again_give_the_same_loss_and_gradients() -> None:
    """Stochastic depth included: the second run of a block drops what the first one dropped."""
    student = Student("nano").train()
    image = torch.randn(4, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    gradients = []
    for recompute in (False, True):
        student.encoder.recompute = recompute
        student.zero_grad()
        torch.manual_seed(5)
        student(image).square().mean().backward()
        gradients.append({key: p.grad.clone() for key, p in student.named_parameters() if p.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    for key, value in gradients[0].items():
        assert torch.equal(gradients[1][key], value), key
    assert "encoder.block1.0.norm1.weight" in gradients[0]
