"""Rows of a map into its three files, wherever they come from: an engine, a journal, the shards of other machines."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from kda_edge import __version__
from kda_edge.errors import EngineError, KdaEdgeError, OutputError
from kda_edge.manifest import Manifest
from kda_edge.tiling.tile_stream import TileFailure

from ..geo.gdal import GDAL_ERRORS, MOST_WARNINGS, gdal_session, one_line
from ..geo.raster_names import said
from ..mapping.mapped_rows import MappedRows
from ..polygons.polygon_writer import FORMATS, PolygonSummary, PolygonWriter, facts_of
from ..results import SceneResult
from ..scenes.scene import Scene
from .map_geotiff import map_writer
from .map_owner import SCENE_TAG
from .output_files import OutputPaths
from .picture import write_picture

ROWS_WAITING: Final = 1  # bands that are handed over and not written yet


@dataclass
class Tally:
    """Sums over the rows of a map that have gone by."""

    valid_px: int = 0
    landslide_px: int = 0
    unknown_px: int = 0
    tiles: int = 0
    asked_tiles: int = 0
    answered_tiles: int = 0
    failed_tiles: int = 0
    first_failure: TileFailure | None = None
    warnings: list[str] = field(default_factory=list)

    def add(self, rows: MappedRows) -> None:
        """Count further rows."""
        self.valid_px += rows.valid_px
        self.landslide_px += rows.landslide_px
        self.unknown_px += rows.unknown_px
        self.tiles += rows.tiles
        self.asked_tiles += rows.asked_tiles
        self.answered_tiles += rows.answered_tiles
        self.failed_tiles += len(rows.failures)
        self.first_failure = self.first_failure or next(iter(rows.failures), None)
        new = [warning for warning in rows.warnings if warning not in self.warnings]
        self.warnings += new[: MOST_WARNINGS - len(self.warnings)]

    def require_an_answer(self) -> None:
        """Make sure that the engine works at all.

        Raises:
            EngineError: it answered not one tile.
        """
        if self.asked_tiles and not self.answered_tiles:
            reason = self.first_failure.reason if self.first_failure else "no reason given"
            raise EngineError(
                f"the engine failed on all {self.asked_tiles} tiles ({reason}); export the model again with kda-export"
            )


def assemble(
    rows: Iterable[MappedRows],
    scene: Scene,
    manifest: Manifest,
    final: OutputPaths,
    hidden: OutputPaths,
    *,
    min_area: float,
    digest: Callable[[], str],
    notes: tuple[str, ...] = (),
    check: Callable[[], None] = lambda: None,
) -> SceneResult:
    """Write map, polygons and picture of rows; map and polygons in a thread, while the next rows are made.

    While the map is completed and read back, the scene is read for the picture.

    Args:
        rows: all of the scene's, from top to bottom, however they are cut.
        scene: open.
        manifest: of the model that made them.
        final: names that the files will have.
        hidden: names to write to; what is there after an error is worthless.
        min_area: smaller polygons are left out, m2.
        digest: of the scene, by which the map is known as its own; asked when the first rows are written.
        notes: about the model, for the result.
        check: called between the steps; what it raises ends them.

    Returns:
        The result, without what only the caller knows: `seconds` and `resumed_rows`.

    Raises:
        EngineError: not one tile was answered.
        SceneError: the scene can't be read for the picture.
        OutputError: a file can't be written.
    """
    tally = Tally()
    with _files(scene, map_tags(manifest), digest, hidden, min_area) as files:
        for part in rows:
            tally.add(part)
            files.add(part.layers)
        tally.require_an_answer()
        check()
        completing = files.finish()
        with _as_output_error(hidden.map.parent):
            values = write_picture(scene, hidden.map, hidden.picture, wait_for_map=completing.result)
        polygons = completing.result()
    check()
    return SceneResult(
        scene_path=said(scene.path),
        map_path=final.map,
        polygons_path=final.polygons,
        picture_path=final.picture,
        height_px=scene.height_px,
        width_px=scene.width_px,
        valid_px=tally.valid_px,
        landslide_px=tally.landslide_px,
        polygons=polygons.count,
        area_m2=polygons.area_m2,
        tiles=tally.tiles,
        failed_tiles=tally.failed_tiles,
        seconds=0.0,
        notes=(
            *failure_notes(tally),
            *_map_notes(scene, tally, polygons, min_area),
            *scene.notes(values),
            *_older_notes(final),
            *notes,
        ),
    )


_Writing: TypeAlias = Generator[None, "NDArray[np.uint8] | None", PolygonSummary]


class _Files:
    """A thread that writes what it is given, at most `ROWS_WAITING` bands behind; nothing else touches its files."""

    def __init__(self, thread: ThreadPoolExecutor, writing: _Writing) -> None:
        self._thread, self._writing = thread, writing
        self._waiting: deque[Future[None]] = deque([thread.submit(next, writing)])
        self._wait_for(0)

    def add(self, layers: NDArray[np.uint8]) -> None:
        """Have rows written after those before them; raises what went wrong with these."""
        self._waiting.append(self._thread.submit(self._writing.send, layers))
        self._wait_for(ROWS_WAITING)

    def finish(self) -> Future[PolygonSummary]:
        """Have the files completed, and go on meanwhile."""
        self._wait_for(0)
        return self._thread.submit(self._last)

    def _wait_for(self, most: int) -> None:
        while len(self._waiting) > most:
            self._waiting.popleft().result()

    def _last(self) -> PolygonSummary:
        try:
            self._writing.send(None)
        except StopIteration as stop:
            summary: PolygonSummary = stop.value
            return summary
        raise AssertionError


@contextmanager
def _files(
    scene: Scene, tags: dict[str, str], digest: Callable[[], str], hidden: OutputPaths, min_area: float
) -> Iterator[_Files]:
    writing = _writing(scene, tags, digest, hidden, min_area)
    with ThreadPoolExecutor(1, "kda-edge-write") as thread:
        try:
            yield _Files(thread, writing)
        finally:
            thread.submit(writing.close)  # in the thread that has opened the files; waited for below


def _writing(
    scene: Scene, tags: dict[str, str], digest: Callable[[], str], hidden: OutputPaths, min_area: float
) -> _Writing:
    """Write the layers that are sent, (3, h, W), and complete the files at None; returns what polygons there are."""
    with (
        gdal_session(),
        map_writer(hidden.map, scene, tags, late_tags=lambda: {SCENE_TAG: digest()}) as pixels,
        PolygonWriter(hidden.polygons, scene, facts=facts_of(tags), min_area=min_area) as polygons,
    ):
        while (layers := (yield)) is not None:
            pixels.write(layers)
            polygons.add(layers)
        pixels.finish()
        return polygons.finish()


def failure_notes(tally: Tally) -> Iterator[str]:
    """Yield what a person should know of the rows, a sentence each, failed tiles first."""
    if tally.first_failure is not None:
        yield (
            f"{tally.failed_tiles} of {tally.tiles} tiles failed ({tally.first_failure.reason}); the map holds "
            f"what is known, {tally.unknown_px} px are unknown, and qa bit 8 marks where"
        )
    if tally.warnings:
        yield f"part of the scene is damaged ({'; '.join(tally.warnings)}); copy it again and map it again"


def _map_notes(scene: Scene, tally: Tally, polygons: PolygonSummary, min_area: float) -> Iterator[str]:
    if tally.valid_px == 0:
        yield "the scene has no valid pixel"
    if polygons.area_m2 is None:
        why = "has no CRS" if scene.crs is None or scene.transform is None else "lies where longitudes are not defined"
        yield f"the scene {why}, so its polygons are in pixel coordinates"
        if min_area > 0:
            yield f"the least area {min_area:g} was counted in pixels"


def _older_notes(final: OutputPaths) -> Iterator[str]:
    """Name polygons in other formats: they lie beside the map and are not of it."""
    for suffix in sorted(FORMATS):
        older = final.polygons.with_suffix(suffix)
        if older != final.polygons and older.exists():
            yield f"{older.name} is of an earlier map; remove it"


def map_tags(manifest: Manifest) -> dict[str, str]:
    """Return what the map says of its making; equal runs give equal files, so no date."""
    return {
        "TIFFTAG_SOFTWARE": f"kda-edge {__version__}",
        "model": f"{manifest.variant} {manifest.checkpoint_sha256[:12]}",
        "checkpoint_sha256": manifest.checkpoint_sha256,
        "threshold": repr(manifest.threshold),
        "probability_scale": "0..254 stands for 0..1, 255 is nodata",
        "qa_bits": "1 nodata, 2 scene edge, 4 near nodata, 8 failed tile",
    }


@contextmanager
def _as_output_error(folder: Path) -> Iterator[None]:
    try:
        yield
    except KdaEdgeError:
        raise
    except (*GDAL_ERRORS, OSError) as error:
        raise OutputError(
            f"polygons and picture can't be written to {folder} ({one_line(error)}); free some space there"
        ) from error
