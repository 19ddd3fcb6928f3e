"""From an open scene to a finished map file, row by row."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kda_edge import __version__
from kda_edge.manifest import Manifest
from kda_edge.predict import Engine, Progress, TileFailure, predict
from kda_edge.tiles import TileGrid

from .map_writer import class_bytes, map_writer, probability_bytes
from .qa import halo_rows, qa_rows
from .scene import Scene

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class MapSummary:
    """What a map holds.

    Attributes:
        landslide_px: pixels of class 1.
        valid_px: pixels with data in the scene.
        unknown_px: pixels with data for which no tile answered.
        tiles: in all.
        failed_tiles: tiles that the engine did not answer.
        first_failure: the first of these, or None.
    """

    landslide_px: int
    valid_px: int
    unknown_px: int
    tiles: int
    failed_tiles: int
    first_failure: TileFailure | None


def write_map(
    scene: Scene,
    engine: Engine,
    manifest: Manifest,
    map_path: Path,
    *,
    overlap_px: int,
    progress: Progress | None = None,
) -> MapSummary:
    """Predict a scene and write its map: class, probability and qa.

    Memory is that of a few rows of tiles, whatever the scene's height.

    Args:
        scene: open.
        engine: takes the scene's raw pixels.
        manifest: of the model behind the engine.
        map_path: to write to; what is there after an error is worthless.
        overlap_px: least overlap of neighbouring tiles.
        progress: called with tiles done and tiles in all.

    Raises:
        SceneError: the scene can't be read.
        EngineError: not one tile was answered.
        OutputError: the map can't be written.
        UsageError: overlap_px does not fit the model's tile.
    """
    grid = TileGrid(scene.height_px, scene.width_px, manifest.tile_px, overlap_px)
    landslide_px = valid_px = unknown_px = 0
    failures: list[TileFailure] = []
    failed_tiles = 0
    with map_writer(map_path, scene, _tags(manifest)) as writer:
        for band in predict(scene, grid, engine, progress=progress):
            row0, row1 = band.row_px, band.row_px + len(band.failed)
            mask0, mask1 = halo_rows(row0, row1, scene.height_px)
            mask = scene.valid(mask0, mask1)
            valid = mask[row0 - mask0 : row1 - mask0]
            classes = class_bytes(band.probability, manifest.threshold)
            qa = qa_rows(mask, band.failed, row0, scene.height_px)
            writer.write(np.stack([classes, probability_bytes(band.probability), qa]))

            landslide_px += int(np.count_nonzero(classes == 1))
            valid_px += int(np.count_nonzero(valid))
            unknown_px += int(np.count_nonzero(valid & np.isnan(band.probability)))
            failed_tiles += len(band.failures)
            failures = failures or list(band.failures[:1])
            for failure in band.failures:
                _log.warning("%s: tile at row %d, column %d failed: %s", scene.path, *_facts(failure))
        writer.finish()
    first = failures[0] if failures else None
    return MapSummary(landslide_px, valid_px, unknown_px, len(grid), failed_tiles, first)


def _facts(failure: TileFailure) -> tuple[int, int, str]:
    return failure.row_px, failure.col_px, failure.reason


def _tags(manifest: Manifest) -> dict[str, str]:
    """Return what the map says of its making; equal runs give equal files, so no date."""
    return {
        "TIFFTAG_SOFTWARE": f"kda-edge {__version__}",
        "model": f"{manifest.variant} {manifest.checkpoint_sha256[:12]}",
        "checkpoint_sha256": manifest.checkpoint_sha256,
        "threshold": repr(manifest.threshold),
        "probability_scale": "0..254 stands for 0..1, 255 is nodata",
        "qa_bits": "1 nodata, 2 scene edge, 4 near nodata, 8 failed tile",
    }
