"""A timed call of an engine: raw pixels made ready, then the engine's answer, with what each part took."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kda_edge.manifest import Manifest
from kda_edge.runtime.engines.model_engine import Timed
from kda_edge.tiling.fill_nodata import fill_nodata, pad_to_tile
from kda_edge.tiling.tile_answers import Engine


def example_images(manifest: Manifest, batch: int, *, seed: int = 0) -> list[NDArray[Any]]:
    """Return raw images (T, T, 3) of the model's pixel type: noise over its range of values, from a seed.

    What a network computes does not depend on what its pixels show, so that noise is as good as a scene.
    """
    low, high = manifest.input.value_range
    shape = (manifest.tile_px, manifest.tile_px, 3)
    rng = np.random.default_rng(seed)
    return [rng.uniform(low, high, shape).astype(manifest.input.pixel_type) for _ in range(batch)]


def prepared(images: list[NDArray[Any]], tile_px: int) -> NDArray[np.float32]:
    """Return images as the tensor (N, 3, T, T) that an engine takes, by the steps of a scene's tiles."""
    valid = np.ones((tile_px, tile_px), np.bool_)
    whole = [pad_to_tile(fill_nodata(image, valid), tile_px) for image in images]
    return np.stack([np.ascontiguousarray(image.transpose(2, 0, 1), dtype=np.float32) for image in whole])


def call_of(
    engine: Engine,
    images: list[NDArray[Any]],
    tile_px: int,
    *,
    timed: Timed | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> Callable[[], Mapping[str, float]]:
    """Return one unit of work, from raw pixels to probability on the host, that tells its phases in ms.

    `prepare` makes the tensor; `engine` is the call, copies to a device and back included.

    Args:
        engine: that is called.
        images: raw, (T, T, 3) each.
        tile_px: side of the model's tile.
        timed: the engine's call where it tells its own phases; they stand in the place of `engine`.
        clock: in seconds.
    """

    def work() -> Mapping[str, float]:
        start = clock()
        tiles = prepared(images, tile_px)
        ready = clock()
        if timed is not None:
            _, parts = timed(tiles)
            return {"prepare": (ready - start) * 1e3, **parts}
        engine(tiles)
        return {"prepare": (ready - start) * 1e3, "engine": (clock() - ready) * 1e3}

    return work
