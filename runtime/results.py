"""Results of images and scenes: plain values, nothing that holds a file open."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kda_edge.tiling.tile_stream import TileFailure


@dataclass(frozen=True)
class Prediction:
    """What a model says of an image.

    Attributes:
        probability: of landslide, (H, W), 0..1; NaN where the image has no data or no tile was answered.
        mask: (H, W), 1 where the probability reaches the model's threshold, 255 where it is NaN, else 0.
        tiles: that the image was cut into.
        failures: tiles that the engine did not answer, twice; none in what `Segmenter.predict` returns.
        seconds: that the whole call took.
        engine_seconds: spent in the engine, waiting for other threads' turns included.
    """

    probability: NDArray[np.float32]
    mask: NDArray[np.uint8]
    tiles: int = 1
    failures: tuple[TileFailure, ...] = ()
    seconds: float = 0.0
    engine_seconds: float = 0.0


@dataclass(frozen=True)
class SceneResult:
    """What was made of a scene.

    Attributes:
        scene_path: the scene; of an address what may be said of it, without passwords and queries.
        map_path: GeoTIFF with the bands class, probability and qa.
        polygons_path: GeoJSON.
        picture_path: PNG.
        height_px: rows of the map: the scene's, unless it is read at another resolution.
        width_px: columns of the map, likewise.
        valid_px: pixels of the map with data in the scene.
        landslide_px: pixels of class 1.
        polygons: how many were written, those below the least area left out.
        area_m2: their ground area, or that in the CRS's own metres; None where nobody knows.
        tiles: in all.
        failed_tiles: tiles that the engine did not answer; where above 0, the map holds what is known.
        seconds: from opening the scene to the last file in place.
        notes: what a person should know before using the map, a sentence each.
        resumed_rows: rows that were not computed now, but taken from an earlier run's journal or from shards.
        engine: what ran the model, such as `openvino`; never `auto`.
        quicklook: it is a quicklook, not the full map.
    """

    scene_path: Path | str
    map_path: Path
    polygons_path: Path
    picture_path: Path
    height_px: int
    width_px: int
    valid_px: int
    landslide_px: int
    polygons: int
    area_m2: float | None
    tiles: int
    failed_tiles: int
    seconds: float
    notes: tuple[str, ...]
    resumed_rows: int = 0
    engine: str = ""
    quicklook: bool = False


@dataclass(frozen=True)
class ShardResult:
    """What was made of one shard of a scene.

    Attributes:
        scene_path: the scene; of an address what may be said of it, without passwords and queries.
        rows_path: the shard's finished rows. From the files of all shards `kda-infer merge` makes a map.
        shard: such as `2/7`.
        first_row: of the scene, that is in it.
        end_row: behind the last one; equal to `first_row` where there were more shards than rows of blocks.
        tiles: that begin in these rows.
        failed_tiles: tiles among them without an answer; merging marks where they lie.
        resumed_rows: rows that were not computed now, but taken from an earlier run's journal.
        seconds: from opening the scene to the file in place.
        notes: what a person should know before using the rows, a sentence each.
    """

    scene_path: Path | str
    rows_path: Path
    shard: str
    first_row: int
    end_row: int
    tiles: int
    failed_tiles: int
    resumed_rows: int
    seconds: float
    notes: tuple[str, ...]
