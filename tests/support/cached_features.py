"""Small feature caches, and the features of crops that follow from a seed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kda_edge.train.distillation.feature_cache import FeatureCache, pixels_digest

SHAPES = [(3, 4, 5), (2, 1, 1)]
SLOTS = 6
ROW_BYTES = 2 * (3 * 4 * 5 + 2)


def open_cache(folder: Path, **other: Any) -> FeatureCache:
    return FeatureCache(folder, **{"teacher": "a", "shapes": SHAPES, "slots": SLOTS, **other})


def crop(seed: int) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(3, 8, 8)).astype(np.float32))


def maps_of(seeds: list[int]) -> list[Tensor]:
    """Features over 15 orders of magnitude: float16's own range and its subnormal numbers below."""
    rng = [np.random.default_rng(seed) for seed in seeds]
    values = [[r.normal(size=shape) * 10 ** r.uniform(-10, 4) for r in rng] for shape in SHAPES]
    return [torch.from_numpy(np.stack(each).astype(np.float32)).clamp(-65504, 65504) for each in values]


def digests_of(seeds: list[int]) -> list[bytes]:
    return [pixels_digest(crop(seed)) for seed in seeds]


def holds(found: list[Tensor] | None, seeds: list[int]) -> bool:
    """Whether what was found is what was put, but for float16: 11 bits, or steps of 2^-24 near 0."""
    if found is None:
        return False
    for got, put in zip(found, maps_of(seeds), strict=True):
        assert got.dtype == torch.float32
        assert got.shape == put.shape
    pairs = [(got.double(), put.double()) for got, put in zip(found, maps_of(seeds), strict=True)]
    return all(bool(((got - put).abs() <= put.abs() * 2**-11 + 2**-25).all()) for got, put in pairs)
