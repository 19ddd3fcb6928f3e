"""An image in memory, tiled and blended as a scene is."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kda_edge.errors import EngineError, UsageError
from kda_edge.manifest import InputContract, Manifest
from kda_edge.tiling.pixels import ArraySource, unmasked
from kda_edge.tiling.predict import predict
from kda_edge.tiling.tile_answers import Engine
from kda_edge.tiling.tile_grid import TileGrid, default_overlap_px
from kda_edge.tiling.tile_stream import TileFailure

from ..map_format import class_bytes
from ..results import Prediction
from .value_range import with_values_mapped


def predict_image(
    image: NDArray[Any],
    engine: Engine,
    manifest: Manifest,
    *,
    valid: NDArray[np.bool_] | None = None,
    overlap_px: int | None = None,
    batch: int = 1,
) -> Prediction:
    """Return what a model says of an image; where tiles failed, the rest of it.

    Args:
        image: (H, W, 3), bands, pixel type and range as the manifest says; may be a masked array.
        engine: takes raw pixels.
        manifest: of the model behind the engine.
        valid: (H, W), where the image has data; None: everywhere.
        overlap_px: least overlap of neighbouring tiles; None is a quarter of a tile.
        batch: most tiles a call of the engine.

    Raises:
        UsageError: the image, the mask or the overlap is not what the model takes.
        EngineError: not one tile was answered.
    """
    start_s = time.perf_counter()
    _require_image(image, valid, manifest.input)
    image, valid = unmasked(image, valid)
    _require_finite(image, valid)
    engine_seconds = 0.0

    def timed(tiles: NDArray[np.float32]) -> NDArray[np.float32]:
        nonlocal engine_seconds
        before_s = time.perf_counter()
        try:
            return engine(tiles)
        finally:
            engine_seconds += time.perf_counter() - before_s

    overlap_px = default_overlap_px(manifest.tile_px) if overlap_px is None else overlap_px
    grid = TileGrid(image.shape[0], image.shape[1], manifest.tile_px, overlap_px)
    probability = np.empty(image.shape[:2], np.float32)
    failures: list[TileFailure] = []
    mapped = with_values_mapped(timed, manifest.input, None)
    for band in predict(ArraySource(image, valid), grid, mapped, batch=batch):
        probability[band.row_px : band.row_px + len(band.probability)] = band.probability
        failures += band.failures
    return Prediction(
        probability=probability,
        mask=class_bytes(probability, manifest.threshold),
        tiles=len(grid),
        failures=tuple(failures),
        seconds=time.perf_counter() - start_s,
        engine_seconds=engine_seconds,
    )


def require_whole(prediction: Prediction) -> Prediction:
    """Return a prediction that lacks no tile: half an answer would be taken for a whole one.

    Raises:
        EngineError: it lacks some.
    """
    if prediction.failures:
        raise EngineError(
            f"the engine failed on {len(prediction.failures)} of {prediction.tiles} tiles "
            f"({prediction.failures[0].reason}); try again, or use predict_scene, which maps the rest"
        )
    return prediction


def _require_image(image: NDArray[Any], valid: NDArray[np.bool_] | None, contract: InputContract) -> None:
    shape, dtype = np.shape(image), getattr(image, "dtype", None)
    if len(shape) != 3 or shape[2] != 3 or 0 in shape:
        raise UsageError(f"an image must be height x width x 3, not {' x '.join(map(str, shape)) or 'a number'}")
    if dtype != np.dtype(contract.pixel_type):
        raise UsageError(
            f"the model takes {contract.pixel_type} pixels from {contract.value_range[0]:g} to "
            f"{contract.value_range[1]:g}, not {dtype or type(image).__name__}; convert the image, scaled to these"
        )
    if valid is not None and (np.shape(valid) != shape[:2] or getattr(valid, "dtype", None) != np.bool_):
        raise UsageError(
            f"valid must be a bool array of {shape[0]} x {shape[1]} like the image, not "
            f"{getattr(valid, 'dtype', type(valid).__name__)} of {' x '.join(map(str, np.shape(valid))) or 'no size'}"
        )


def _require_finite(image: NDArray[Any], valid: NDArray[np.bool_] | None) -> None:
    if image.dtype.kind == "f" and not np.isfinite(image if valid is None else image[valid]).all():
        raise UsageError("the image holds NaN or infinity; mark such pixels with valid, or fill them first")
