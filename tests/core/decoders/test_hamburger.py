"""The hamburger of the SegNeXt head: its factorization is the arithmetic that the head cites."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import nn

from kda_edge.decoders.hamburger import EPSILON, Hamburger, NonNegativeFactorization


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
