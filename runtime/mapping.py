"""From an open scene to a finished map file, row by row."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from kda_edge import __version__
from kda_edge.manifest import Manifest
from kda_edge.predict import Engine, Progress, Source, TileFailure, predict
from kda_edge.tiles import TileGrid

from .map_writer import NODATA_BYTE, class_bytes, map_writer, probability_bytes
from .qa import halo_rows, qa_rows
from .scene import Scene

_log = logging.getLogger(__name__)


class RowSource(Source, Protocol):
    """A source that says how large it is and what it complained of."""

    @property
    def height_px(self) -> int:
        """Rows."""
        ...

    @property
    def width_px(self) -> int:
        """Columns."""
        ...

    @property
    def warnings(self) -> Sequence[str]:
        """What was odd about the pixels so far, a sentence each."""
        ...


OpenSource: TypeAlias = Callable[[], AbstractContextManager[RowSource]]


@dataclass(frozen=True)
class MappedRows:
    """Finished rows of a map, over its whole width.

    Sums over the rows of a scene are the same however it was cut: a tile counts where its first row lies.

    Attributes:
        row_px: the first row.
        layers: class, probability and qa, (3, h, W).
        valid_px: pixels with data.
        landslide_px: pixels of class 1.
        unknown_px: pixels that could not be read, or have data and no tile that answered.
        tiles: that begin in these rows, those without data included.
        asked_tiles: of these, those that the engine was given.
        answered_tiles: of these, those that it answered; none of a scene's is an engine that does not work.
        failures: tiles without an answer, because of the engine or of pixels that could not be read.
        warnings: what the source complained of since the rows before, a sentence each.
    """

    row_px: int
    layers: NDArray[np.uint8]
    valid_px: int
    landslide_px: int
    unknown_px: int
    tiles: int
    asked_tiles: int
    answered_tiles: int
    failures: tuple[TileFailure, ...]
    warnings: tuple[str, ...] = ()


def mapped_rows(
    open_source: OpenSource,
    grid: TileGrid,
    engine: Engine,
    manifest: Manifest,
    *,
    first_row: int = 0,
    end_row: int | None = None,
    batch: int = 1,
    readers: int = 1,
    progress: Progress | None = None,
) -> Iterator[MappedRows]:
    """Yield the map of some rows of a scene, from top to bottom, bit for bit as a run over the whole scene has them.

    Only tiles that touch these rows are computed. Close the generator to stop early.

    Args:
        open_source: opens the scene; called once in each reader's thread, within a GDAL session.
        grid: where the tiles of the whole scene lie.
        engine: takes the scene's raw pixels; called in the thread that iterates.
        manifest: of the model behind the engine.
        first_row: of the rows that are wanted.
        end_row: one past the last; None is the scene's height.
        batch: most tiles a call of the engine.
        readers: threads that read, each with a handle of its own.
        progress: called with tiles done and tiles in all, of those that touch these rows.

    Raises:
        SceneError: the scene can't be read.
        EngineError: the rows are the whole scene, and the engine answered not one tile. Of a part, `answered_tiles`
            tells.
        UsageError: no such rows.
    """
    end_row = grid.height_px if end_row is None else end_row
    with open_source() as source:
        for band in predict(source, grid, engine, batch=batch, progress=progress):
            row0, row1 = band.row_px, band.row_px + len(band.failed)
            mask0, mask1 = halo_rows(row0, row1, grid.height_px)
            mask = source.read(mask0, mask1, 0, grid.width_px).valid
            kept = slice(max(first_row - row0, 0), max(end_row - row0, 0))
            valid = mask[row0 - mask0 : row1 - mask0][kept]
            classes = class_bytes(band.probability, manifest.threshold)
            qa = qa_rows(mask, band.failed, row0, grid.height_px)
            layers = np.stack([classes, probability_bytes(band.probability), qa])[:, kept]
            if not layers.size:
                continue
            counted = first_row <= row0 < end_row
            yield MappedRows(
                row_px=row0 + kept.start,
                layers=layers,
                valid_px=int(np.count_nonzero(valid)),
                landslide_px=int(np.count_nonzero(layers[0] == 1)),
                unknown_px=int(np.count_nonzero(valid & (layers[1] == NODATA_BYTE))),
                tiles=len(grid.cols) if counted else 0,
                asked_tiles=len(grid.cols) if counted else 0,
                answered_tiles=len(grid.cols) - len(band.failures) if counted else 0,
                failures=band.failures if counted else (),
            )


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
