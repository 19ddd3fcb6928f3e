"""What the heads of Table IV promise: the paper's size, any image size, and the arithmetic that they cite."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from kda_edge.errors import UsageError
from kda_edge.hamburger import EPSILON, Hamburger, NonNegativeFactorization
from kda_edge.heads import HEADS
from kda_edge.pyramid_pooling import GRIDS, PyramidPooling, pooled_by_maximum, stretched
from kda_edge.student import VARIANTS, Student

NANO = VARIANTS["nano"].dims
BASE = VARIANTS["base"].dims

each_head = pytest.mark.parametrize("name", HEADS)


def maps_of(size_hw: tuple[int, int], batch: int = 1, seed: int = 0) -> list[Tensor]:
    """Random maps such as the nano encoder gives for an image of this size."""
    generator = torch.Generator().manual_seed(seed)
    return [
        torch.randn(batch, channels, size_hw[0] // stride, size_hw[1] // stride, generator=generator)
        for channels, stride in zip(NANO, (4, 8, 16, 32), strict=True)
    ]


def head_of(name: str, seed: int = 0) -> nn.Module:
    """A head at nano size through which signals pass at full strength, and whose biases and norms matter."""
    torch.manual_seed(seed)
    head = HEADS[name](NANO).eval()
    for parameter in head.parameters():
        if parameter.ndim > 1:
            nn.init.kaiming_normal_(parameter)
        else:
            nn.init.uniform_(parameter, 0.0, 1.0)
    return head


@pytest.fixture(scope="module")
def base_encoder() -> nn.Module:
    return Student("base").encoder


# Parameters in millions and GFLOPs of the whole model. Ours are those of the published code to the last digit; the
# paper's own table rounds them, and has one figure, U-Net's GFLOPs, that the published code does not give either.
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
@pytest.mark.parametrize(
    ("name", "parameters_m", "gflops", "paper_parameters_m", "paper_gflops"),
    [
        ("unet", 12.156, 33.04, 12.16, None),  # the paper: 35.52
        ("segformer", 0.758, 24.07, 0.76, 24.08),
        ("segnext", 3.868, 28.10, 3.87, 28.09),
        ("upernet", 0.973, 23.03, 0.97, 23.04),
    ],
)
def test_base_counts_as_table_iv_counts(
    name: str,
    parameters_m: float,
    gflops: float,
    paper_parameters_m: float,
    paper_gflops: float | None,
    base_encoder: nn.Module,
) -> None:
    calflops = pytest.importorskip("calflops", reason="calflops counts operations as the paper does")
    head = HEADS[name](BASE)
    flops, _, _ = calflops.calculate_flops(
        nn.Sequential(base_encoder, head).eval(),
        (1, 3, 224, 224),
        print_results=False,
        print_detailed=False,
        output_as_string=False,
    )
    counted = sum(parameter.numel() for parameter in head.parameters()) / 1e6
    assert round(counted, 3) == parameters_m
    assert round(counted, 2) == paper_parameters_m
    assert round(flops / 1e9, 2) == gflops
    assert paper_gflops is None or gflops == pytest.approx(paper_gflops, abs=0.011)


@each_head
@pytest.mark.parametrize("size_hw", [(32, 32), (224, 224), (512, 512), (96, 160), (64, 32)], ids=str)
def test_the_logit_has_the_size_of_the_image(name: str, size_hw: tuple[int, int]) -> None:
    with torch.inference_mode():
        logit = head_of(name)(maps_of(size_hw))
    assert logit.shape == (1, 1, *size_hw)
    assert logit.isfinite().all()


@each_head
@pytest.mark.parametrize("size", ["large", "xlarge"])  # nano and base are used throughout; tiny and huge are as wide
def test_a_head_fits_the_wider_students(name: str, size: str) -> None:
    dims = VARIANTS[size].dims
    with torch.device("meta"):
        head = HEADS[name](dims).eval()
    with torch.inference_mode():
        logit = head.to_empty(device="cpu")([torch.zeros(1, c, 16 >> k, 8 >> k) for k, c in enumerate(dims)])
    assert logit.shape == (1, 1, 64, 32)


@each_head
def test_a_student_takes_a_head_by_name_and_sees_the_image_through_it(name: str) -> None:
    torch.manual_seed(0)
    student = Student(f"nano+{name}").eval()
    image = torch.randn(1, 3, 64, 96)
    with torch.inference_mode():
        logit, other = student(image), student(image.flip(3))
    assert logit.shape == (1, 1, 64, 96)
    assert not torch.allclose(logit, other)
    assert type(student.decoder) is HEADS[name]


def test_an_unknown_head_is_named() -> None:
    with pytest.raises(UsageError, match="no head 'fcn'; choose one of unet, segformer, segnext, upernet"):
        Student("nano+fcn")


@each_head
def test_the_logit_is_landslide_minus_background_of_both_classes_brought_to_the_image(name: str) -> None:
    head = head_of(name)
    classes: list[Tensor] = []
    classify = head.get_submodule("classify")
    assert isinstance(classify, nn.Conv2d)
    classify.register_forward_hook(lambda module, given, result: classes.append(result))
    with torch.inference_mode():
        logit = head(maps_of((64, 96)))
        assert classes[0].shape[1] == 2
        plain = F.interpolate(classes[0], size=(64, 96), mode="bilinear", align_corners=False)
        torch.testing.assert_close(logit, plain[:, 1:] - plain[:, :1], rtol=1e-5, atol=1e-5)
        nn.init.zeros_(classify.weight)
        classify.get_parameter("bias").copy_(torch.tensor([1.0, 4.0]))
        torch.testing.assert_close(head(maps_of((64, 64))), torch.full((1, 1, 64, 64), 3.0))


@each_head
def test_what_lies_where_in_the_maps_lies_there_in_the_logit(name: str) -> None:
    """Maps that are flipped and transposed give that of the logit, once the kernels, which look both ways, do too."""
    head = head_of(name)
    with torch.no_grad():
        for parameter in head.parameters():
            if parameter.ndim == 4:
                kernel = (parameter + parameter.mT) / 2
                kernel = (kernel + kernel.flip(2)) / 2
                parameter.copy_((kernel + kernel.flip(3)) / 2)
    maps = maps_of((64, 96))
    with torch.inference_mode():
        logit = head(maps)
        turned = head([x.mT.flip(2) for x in maps])
    torch.testing.assert_close(turned, logit.mT.flip(2), rtol=1e-3, atol=1e-3)
    assert float((logit - logit.flip(3)).abs().max()) > 0.05


@each_head
def test_the_answer_is_a_function_of_the_maps_and_the_checkpoint_alone(name: str) -> None:
    head, other = head_of(name, seed=1), HEADS[name](NANO).eval()
    other.load_state_dict(head.state_dict())
    maps = maps_of((64, 64), batch=2)
    with torch.inference_mode():
        logit = head(maps)
        torch.manual_seed(9)
        assert torch.equal(head(maps), logit)
        assert torch.equal(other(maps), logit)
        alone = head([x[1:] for x in maps])
    torch.testing.assert_close(alone, logit[1:], rtol=1e-4, atol=1e-4)


@each_head
def test_gradients_reach_every_parameter(name: str) -> None:
    """In eval mode: in training a bias before a batch norm has no say, and only rounding errors for a gradient."""
    head = head_of(name)
    maps = [x.requires_grad_() for x in maps_of((64, 64), batch=2)]
    head(maps).square().mean().backward()
    assert [key for key, p in head.named_parameters() if p.grad is None or not p.grad.any()] == []
    used = [x.grad is not None and bool(x.grad.any()) for x in maps]
    assert used == [name != "segnext", True, True, True]


@each_head
def test_training_moves_the_running_statistics_of_every_batch_norm_and_no_other_buffer(name: str) -> None:
    head = head_of(name).train()
    norms = {key for key, module in head.named_modules() if isinstance(module, nn.BatchNorm2d)}
    before = {key: value.clone() for key, value in head.named_buffers()}
    logit = head(maps_of((64, 64), batch=2))
    logit.mean().backward()
    assert logit.isfinite().all()
    moved = {key for key, value in head.named_buffers() if not torch.equal(value, before[key])}
    kinds = ("running_mean", "running_var", "num_batches_tracked")
    assert moved == {f"{norm}.{kind}" for norm in norms for kind in kinds}
    assert norms


@each_head
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_a_traced_head_takes_any_batch(name: str) -> None:
    """Nothing in it depends on the data, and no size but the batch is left open."""
    head = head_of(name).requires_grad_(False)
    batch = torch.export.Dim("batch")
    program = torch.export.export(head, (maps_of((64, 96), batch=2),), dynamic_shapes=([{0: batch}] * 4,))
    maps = maps_of((64, 96), batch=3, seed=1)
    torch.testing.assert_close(program.module()(maps), head(maps), rtol=1e-4, atol=1e-4)


def slow_factorization(pixels: NDArray[np.float64], bases: NDArray[np.float64], steps: int) -> NDArray[np.float64]:
    """Lee and Seung's updates, one entry after the other, from the rebuilt map as it stands; pixels are (C, N)."""
    channels, count = pixels.shape
    rank = bases.shape[1]
    bases = bases.copy()
    likeness = np.exp(pixels.T @ bases)
    codes = likeness / likeness.sum(axis=1, keepdims=True)

    def update_codes() -> None:
        rebuilt = bases @ codes.T
        for n in range(count):
            for r in range(rank):
                wanted = sum(pixels[c, n] * bases[c, r] for c in range(channels))
                codes[n, r] *= wanted / (sum(rebuilt[c, n] * bases[c, r] for c in range(channels)) + EPSILON)

    for _ in range(steps):
        update_codes()
        rebuilt = bases @ codes.T
        for c in range(channels):
            for r in range(rank):
                wanted = sum(pixels[c, n] * codes[n, r] for n in range(count))
                bases[c, r] *= wanted / (sum(rebuilt[c, n] * codes[n, r] for n in range(count)) + EPSILON)
    update_codes()
    result: NDArray[np.float64] = bases @ codes.T
    return result


@pytest.mark.parametrize("steps", [1, 2, 6])
def test_the_factorization_equals_an_entry_by_entry_version(steps: int) -> None:
    torch.manual_seed(0)
    layer = NonNegativeFactorization(5, rank=3, steps=steps)
    x = torch.rand(2, 5, 3, 4) * torch.tensor([1.0, 20.0]).reshape(2, 1, 1, 1)
    found = layer(x)
    for image in range(2):
        pixels = x[image].reshape(5, 12).double().numpy()
        expected = slow_factorization(pixels, layer.bases.double().numpy(), steps)
        np.testing.assert_allclose(found[image].reshape(5, 12).numpy(), expected, rtol=2e-4, atol=1e-6)


def test_each_step_of_the_factorization_brings_it_nearer_to_the_map() -> None:
    """Lee and Seung's theorem: the squared error never rises."""
    torch.manual_seed(1)
    x = torch.rand(1, 8, 5, 5)
    layer = NonNegativeFactorization(8, rank=4, steps=1)
    errors = []
    for steps in (1, 2, 4, 8, 16, 300):
        layer.steps = steps
        errors.append(float((layer(x) - x).square().sum()))
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.8 * errors[0]


def test_a_map_of_low_rank_is_rebuilt_and_one_of_zeros_stays_zero() -> None:
    torch.manual_seed(2)
    layer = NonNegativeFactorization(6, rank=4, steps=2000)
    x = (torch.rand(6, 2) @ torch.rand(2, 20)).reshape(1, 6, 4, 5)
    torch.testing.assert_close(layer(x), x, rtol=0.02, atol=0.02)
    nothing = torch.zeros(1, 6, 4, 5, requires_grad=True)
    rebuilt = layer(nothing)
    rebuilt.sum().backward()
    assert not rebuilt.any()
    assert nothing.grad is not None
    assert nothing.grad.isfinite().all()


def test_the_factorization_has_the_gradient_of_its_last_update_alone() -> None:
    """With bases D and codes C found, the result is D (C * (X' D) / (C D'D + e))', linear in X: its exact Jacobian."""
    torch.manual_seed(3)
    layer = NonNegativeFactorization(5, rank=3, steps=4)
    x = torch.rand(1, 5, 2, 3, requires_grad=True)
    seen = torch.randn(1, 5, 2, 3)
    layer(x).backward(seen)
    with torch.no_grad():
        bases, codes = (value[0] for value in layer.factorize(x.detach().flatten(2)))
        gain = codes / (codes @ (bases.T @ bases) + EPSILON)
        jacobian = torch.einsum("cr,nr,kr->nck", bases, gain, bases)  # of pixel n: result channel c by given channel k
        expected = torch.einsum("nck,cn->kn", jacobian, seen[0].flatten(1))
    assert x.grad is not None
    torch.testing.assert_close(x.grad[0].flatten(1), expected, rtol=1e-4, atol=1e-5)


def test_the_factorization_keeps_float32_inside_and_the_type_it_was_given_outside() -> None:
    torch.manual_seed(4)
    layer = NonNegativeFactorization(8, rank=4)
    x = torch.rand(1, 8, 6, 6)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        from_float, from_bfloat = layer(x), layer(x.bfloat16())
    assert torch.equal(from_float, layer(x))
    assert torch.equal(from_bfloat, layer(x.bfloat16().float()).bfloat16())


def test_a_hamburger_adds_its_context_to_the_map() -> None:
    torch.manual_seed(5)
    burger = Hamburger(8).eval()
    x = torch.randn(1, 8, 4, 4)
    with torch.inference_mode():
        lowered = F.relu(burger.lower.get_submodule("0")(x))
        context = burger.upper(burger.cheese(burger.ham(lowered)))
        torch.testing.assert_close(burger(x), F.relu(x + context))
        assert float(context.abs().max()) > 1e-3
        nn.init.zeros_(burger.upper.weight)
        assert torch.equal(burger(x), F.relu(x))


def slow_pool(image: Tensor, grid: int) -> Tensor:
    """Pixel by pixel: a pixel belongs to each cell that it overlaps, with cells of equal real-valued sides."""
    channels, height, width = image.shape
    pooled = torch.full((channels, grid, grid), -math.inf)
    for i in range(grid):
        for j in range(grid):
            for row in range(height):
                for col in range(width):
                    inside_rows = row + 1 > i * height / grid and row < (i + 1) * height / grid
                    inside_cols = col + 1 > j * width / grid and col < (j + 1) * width / grid
                    if inside_rows and inside_cols:
                        pooled[:, i, j] = torch.maximum(pooled[:, i, j], image[:, row, col])
    return pooled


@pytest.mark.parametrize("size_hw", [(1, 1), (2, 3), (7, 7), (16, 16), (5, 12)], ids=str)
@pytest.mark.parametrize("grid", GRIDS)
def test_pooling_equals_a_pixel_by_pixel_version_and_stretching_is_bilinear(
    grid: int, size_hw: tuple[int, int]
) -> None:
    x = torch.randn(2, 3, *size_hw, generator=torch.Generator().manual_seed(grid))
    pooled = pooled_by_maximum(x, grid)
    assert torch.equal(pooled, torch.stack([slow_pool(image, grid) for image in x]))
    assert torch.equal(pooled, F.adaptive_max_pool2d(x, grid))
    expected = F.interpolate(pooled, size=size_hw, mode="bilinear", align_corners=False)
    torch.testing.assert_close(stretched(pooled, *size_hw), expected, rtol=1e-5, atol=1e-5)


def test_pyramid_pooling_keeps_the_map_behind_its_pooled_selves() -> None:
    torch.manual_seed(6)
    layer = PyramidPooling(4, 2)
    x = torch.randn(1, 4, 7, 5)
    with torch.inference_mode():
        found = layer(x)
        assert found.shape == (1, layer.out_channels, 7, 5)
        assert torch.equal(found[:, -4:], x)
        for k, (grid, branch) in enumerate(zip(GRIDS, layer.branches, strict=True)):
            small = branch(F.adaptive_max_pool2d(x, grid))
            expected = F.interpolate(small, size=(7, 5), mode="bilinear", align_corners=False)
            torch.testing.assert_close(found[:, 2 * k : 2 * k + 2], expected, rtol=1e-5, atol=1e-5)
