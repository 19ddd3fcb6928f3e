"""A map's three files assembled from rows, wherever these come from: an engine, a journal, other machines' shards."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from kda_edge import __version__
from kda_edge.errors import KdaEdgeError, OutputError
from kda_edge.ground.ground import NoGround, locate
from kda_edge.manifest import Manifest
from kda_edge.paths import exists
from kda_edge.tiling.predict import no_answer
from kda_edge.tiling.tile_stream import TileFailure

from ..geo.gdal import GDAL_ERRORS, MOST_WARNINGS, one_line
from ..geo.raster_names import said
from ..map_format import QUICKLOOK_FACTOR
from ..mapping.rows import Counts, MappedRows
from ..polygons.polygon_writer import FORMATS, PolygonSummary
from ..results import SceneResult
from ..scenes.scene import Scene
from .map_files import MapFiles
from .output_files import OutputPaths
from .picture import Sketch, write_picture


@dataclass
class Tally:
    """Sums over the rows of a map that have gone by."""

    counts: Counts = field(default_factory=Counts)
    failed_tiles: int = 0
    first_failure: TileFailure | None = None
    warnings: list[str] = field(default_factory=list)

    def add(self, rows: MappedRows) -> None:
        """Count further rows."""
        self.counts += rows.counts
        self.failed_tiles += len(rows.failures)
        self.first_failure = self.first_failure or next(iter(rows.failures), None)
        new = [warning for warning in rows.warnings if warning not in self.warnings]
        self.warnings += new[: MOST_WARNINGS - len(self.warnings)]

    def require_an_answer(self) -> None:
        """Make sure that the engine works at all.

        Raises:
            EngineError: it answered not one tile.
        """
        asked_tiles = self.counts.asked_tiles
        if asked_tiles and not self.counts.answered_tiles:
            reason = self.first_failure.reason if self.first_failure else "no reason given"
            raise no_answer(asked_tiles, reason)


def assemble(
    rows: Iterable[MappedRows],
    scene: Scene,
    manifest: Manifest,
    final: OutputPaths,
    hidden: OutputPaths,
    *,
    sketch: Sketch,
    min_area: float,
    digest: Callable[[], str],
    notes: tuple[str, ...] = (),
    measured: Iterable[str] = (),
    check: Callable[[], None] = lambda: None,
) -> SceneResult:
    """Write map, polygons and picture of rows; map and polygons in a thread, while the next rows are made.

    While the map is completed and read back, the picture is drawn.

    Args:
        rows: all of the scene's, from top to bottom, however they are cut.
        scene: open.
        manifest: of the model that made them.
        final: names that the files will have.
        hidden: names to write to; what is there after an error is worthless.
        sketch: of the picture, to which the rows are added.
        min_area: smaller polygons are left out, m2.
        digest: of the scene, by which the map is known as its own; asked when the first rows are written.
        notes: about the model, for the result.
        measured: how far the answers of each engine at work lay from a CPU's, as JSON; for the map's tags.
        check: called between the steps; what it raises ends them.

    Returns:
        The result, without what only the caller knows: `seconds` and `resumed_rows`.

    Raises:
        EngineError: not one tile was answered.
        SceneError: the scene can't be read for the picture.
        OutputError: a file can't be written.
    """
    tally = Tally()
    tags = map_tags(manifest, measured) | _quicklook_tags(scene)
    with closing(MapFiles(scene, tags, digest, hidden, cells=sketch.cells, min_area=min_area)) as files:
        for part in rows:
            tally.add(part)
            files.write(part.layers)
        tally.require_an_answer()
        check()
        completing = files.finish()
        with _as_output_error(hidden.map.parent):
            values = write_picture(scene, sketch, hidden.picture)
        polygons = completing.result()
    check()
    return SceneResult(
        scene_path=said(scene.path),
        map_path=final.map,
        polygons_path=final.polygons,
        picture_path=final.picture,
        height_px=scene.height_px,
        width_px=scene.width_px,
        valid_px=tally.counts.valid_px,
        landslide_px=tally.counts.landslide_px,
        polygons=polygons.count,
        area_m2=polygons.area_m2,
        tiles=tally.counts.tiles,
        failed_tiles=tally.failed_tiles,
        seconds=0.0,
        quicklook=scene.quicklook_from is not None,
        notes=(
            *failure_notes(tally),
            *_map_notes(scene, tally, polygons, min_area),
            *scene.notes(values, sketch.partly_valid_px),
            *_older_notes(final),
            *notes,
        ),
    )


def failure_notes(tally: Tally) -> Iterator[str]:
    """Yield what a person should know of the rows, a sentence each, failed tiles first."""
    if tally.first_failure is not None:
        yield (
            f"{tally.failed_tiles} of {tally.counts.tiles} tiles failed ({tally.first_failure.reason}); the map holds "
            f"what is known, {tally.counts.unknown_px} px are unknown, and qa bit 8 marks where"
        )
    if tally.warnings:
        yield f"part of the scene is damaged ({'; '.join(tally.warnings)}); copy it again and map it again"


def _map_notes(scene: Scene, tally: Tally, polygons: PolygonSummary, min_area: float) -> Iterator[str]:
    if tally.counts.valid_px == 0:
        yield "the scene has no valid pixel"
    located = locate(scene)
    if isinstance(located, NoGround):
        own = "; areas are in its CRS's own metres" if located.pixel_m2 is not None else ""
        whose = "" if scene.quicklook_from is None else f" of the quicklook, {QUICKLOOK_FACTOR} px of the scene each"
        yield f"{located.reason}, so its polygons are in pixel coordinates{whose}{own}"
    if polygons.area_m2 is None and min_area > 0:
        yield f"the least area {min_area:g} was counted in pixels"


def _older_notes(final: OutputPaths) -> Iterator[str]:
    """Name polygons in other formats: they lie beside the map and are not of it."""
    for suffix in sorted(FORMATS):
        older = final.polygons.with_suffix(suffix)
        if older != final.polygons and exists(older):
            yield f"{older.name} is of an earlier map; remove it"


def map_tags(manifest: Manifest, measured: Iterable[str] = ()) -> dict[str, str]:
    """Return what the map says of its making; equal runs give equal files, so no date.

    Args:
        manifest: of the model.
        measured: JSON of how far each engine at work lies from a CPU; nothing, or empty, where none was compared.
    """
    compared = [text for text in dict.fromkeys(measured) if text]
    parity = {"engine_parity": f"[{', '.join(compared)}]"} if compared else {}
    return parity | {
        "TIFFTAG_SOFTWARE": f"kda-edge {__version__}",
        "model": f"{manifest.variant} {manifest.checkpoint_sha256[:12]}",
        "checkpoint_sha256": manifest.checkpoint_sha256,
        "threshold": repr(manifest.threshold),
        "probability_scale": "0..254 stands for 0..1, 255 is nodata",
        "qa_bits": "1 nodata, 2 scene edge, 4 near nodata, 8 failed tile",
    }


def _quicklook_tags(scene: Scene) -> dict[str, str]:
    """Return what the map of a quicklook says of itself; nothing of a full map."""
    if scene.quicklook_from is None:
        return {}
    return {"quicklook": f"1/{QUICKLOOK_FACTOR} of the scene's resolution, from {scene.quicklook_from}"}


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
