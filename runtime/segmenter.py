"""The class that people embed: a model, asked about images in memory or scenes on disk."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from kda_edge.errors import EngineError, KdaEdgeError, OutputError, UsageError
from kda_edge.manifest import Manifest
from kda_edge.predict import ArraySource, Engine, Progress, predict
from kda_edge.tiles import TileGrid

from .engines import open_engine
from .gdal import GDAL_ERRORS, gdal_session, one_line
from .gsd import ground_sampling_m, gsd_note
from .mapping import MapSummary, write_map
from .outputs import output_paths, staged
from .picture import write_picture
from .polygons import PolygonSummary, write_polygons
from .radiometry import with_values_mapped
from .results import Prediction, SceneResult
from .scene import Scene, open_scene

OVERLAP_SHARE: Final = 4  # tiles overlap by a quarter of their side unless told otherwise; a choice, unmeasured

_log = logging.getLogger(__name__)


class Segmenter:
    """Finds landslides in images and scenes with one model. Prints nothing; logs to `kda_edge.runtime`.

    Attributes:
        manifest: what the model says of itself: pixels it takes, tile, threshold, accuracy.
        notes: what a person should know of the model on this engine, a sentence each.
    """

    def __init__(self, engine: Engine, manifest: Manifest, notes: tuple[str, ...] = ()) -> None:
        """Use an engine of one's own; `open` is the usual way in.

        Args:
            engine: raw pixels (N, 3, T, T) to landslide probability (N, 1, T, T), T the manifest's tile_px.
            manifest: of the model behind the engine.
            notes: about the model on this engine, a sentence each; every scene's result carries them.
        """
        self._engine: Engine | None = engine
        self.manifest = manifest
        self.notes = notes

    @classmethod
    def open(
        cls, model: str | Path | None = None, *, engine: str = "auto", allow_unverified: bool = False
    ) -> Segmenter:
        """Open a model file made by `kda-export`; None opens the bundled student.

        Args:
            model: the file.
            engine: what runs it, one of `kda_edge.runtime.engine_choice.ENGINES`.
            allow_unverified: take a model without valid evidence too; `notes` then say so.

        Raises:
            ArtifactError: the file is missing, no ONNX model, or none of ours.
            Unverified: its certificate is missing, fails, or is of another graph.
            ManifestError: its manifest does not fit.
            MissingDependency: the engine's library is not installed.
            DeviceError: the engine can't run on this device.
        """
        opened = open_engine(None if model is None else Path(model), engine=engine, allow_unverified=allow_unverified)
        return cls(opened, opened.manifest, opened.notes)

    def __enter__(self) -> Segmenter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the model and what it holds on a device; the segmenter can't be used afterwards."""
        close = getattr(self._engine, "close", None)
        self._engine = None
        if close is not None:
            close()

    def predict(self, image: NDArray[Any]) -> Prediction:
        """Find landslides in an image in memory, tiled and blended as a scene would be.

        Args:
            image: (H, W, 3), the model's bands (red, green, blue) in its order, sides of 1 px or more, of the
                manifest's pixel type (uint8 for the bundled student), every pixel valid.

        Raises:
            UsageError: wrong shape or pixel type, or a NaN or an infinity inside.
            EngineError: the engine failed on a tile: there is no way to mark it here, so nothing is returned.
        """
        contract, tile_px = self.manifest.input, self.manifest.tile_px
        shape, dtype = np.shape(image), getattr(image, "dtype", None)
        if len(shape) != 3 or shape[2] != 3 or 0 in shape:
            raise UsageError(f"an image must be height x width x 3, not {' x '.join(map(str, shape)) or 'a number'}")
        if dtype != np.dtype(contract.pixel_type):
            raise UsageError(
                f"the model takes {contract.pixel_type} pixels from {contract.value_range[0]:g} to "
                f"{contract.value_range[1]:g}, not {dtype or type(image).__name__}; convert the image, scaled to these"
            )
        if not np.isfinite(image).all():
            raise UsageError("the image holds NaN or infinity; fill them first, or use predict_scene, which masks them")
        engine = with_values_mapped(self._opened(), contract, None)
        grid = TileGrid(shape[0], shape[1], tile_px, tile_px // OVERLAP_SHARE)
        bands = list(predict(ArraySource(image), grid, engine))
        failures = [failure for band in bands for failure in band.failures]
        if failures:
            raise EngineError(
                f"the engine failed on {len(failures)} of {len(grid)} tiles ({failures[0].reason}); "
                "try again, or use predict_scene, which maps the rest"
            )
        probability = np.concatenate([band.probability for band in bands])
        return Prediction(probability, (probability >= np.float32(self.manifest.threshold)).astype(np.uint8))

    def predict_scene(
        self,
        path: str | Path,
        out_dir: str | Path | None = None,
        *,
        bands: tuple[int, int, int] | None = None,
        value_range: tuple[float, float] | None = None,
        min_area: float = 0.0,
        overlap_px: int | None = None,
        progress: Progress | None = None,
    ) -> SceneResult:
        """Map the landslides of a raster file; write map, polygons and picture, all three or none.

        Args:
            path: of the scene.
            out_dir: folder of the outputs, created if missing; None writes beside the scene.
            bands: 1-based numbers of the model's bands (red, green, blue), in its order; None asks the file.
            value_range: least and largest value that the scene can hold, mapped linearly onto the model's; None
                demands the model's own pixel type.
            min_area: smaller polygons are left out, m2; pixels where the scene has no known place on Earth.
            overlap_px: least overlap of neighbouring tiles; None is a quarter of a tile.
            progress: called with tiles done and tiles in all.

        Returns:
            What was written. Where `failed_tiles` is above 0 the map holds what is known: its qa band marks the rest.

        Raises:
            SceneError: the scene can't be read, or is not what the model takes.
            UsageError: an argument that can't be right.
            EngineError: the engine answered not one tile.
            OutputError: the outputs can't be written.
        """
        if not 0 <= min_area < float("inf"):
            raise UsageError(f"the least area must be 0 or more, not {min_area:g}")
        scene_path, start = Path(path), time.perf_counter()
        contract, tile_px = self.manifest.input, self.manifest.tile_px
        final = output_paths(scene_path, None if out_dir is None else Path(out_dir))
        engine = with_values_mapped(self._opened(), contract, value_range)
        overlap_px = tile_px // OVERLAP_SHARE if overlap_px is None else overlap_px
        with (
            gdal_session(),
            open_scene(scene_path, contract, bands=bands, value_range=value_range) as scene,
            staged(final, scene_path) as hidden,
        ):
            summary = write_map(scene, engine, self.manifest, hidden.map, overlap_px=overlap_px, progress=progress)
            with _as_output_error(hidden.map.parent):
                polygons = write_polygons(hidden.map, hidden.polygons, min_area=min_area)
                write_picture(scene_path, hidden.map, hidden.picture, bands=scene.bands)
            notes = (*_notes(scene, self.manifest, summary, polygons, min_area), *self.notes)
        _log.info("%s: mapped to %s", scene_path, final.map)
        return SceneResult(
            scene_path=scene_path,
            map_path=final.map,
            polygons_path=final.polygons,
            picture_path=final.picture,
            height_px=scene.height_px,
            width_px=scene.width_px,
            valid_px=summary.valid_px,
            landslide_px=summary.landslide_px,
            polygons=polygons.count,
            area_m2=polygons.area_m2,
            tiles=summary.tiles,
            failed_tiles=summary.failed_tiles,
            seconds=time.perf_counter() - start,
            notes=notes,
        )

    def _opened(self) -> Engine:
        if self._engine is None:
            raise UsageError("the segmenter is closed; open it again with Segmenter.open")
        return self._engine


def _notes(
    scene: Scene, manifest: Manifest, summary: MapSummary, polygons: PolygonSummary, min_area: float
) -> Iterator[str]:
    if summary.first_failure is not None:
        yield (
            f"{summary.failed_tiles} of {summary.tiles} tiles failed ({summary.first_failure.reason}); the map holds "
            f"what is known, {summary.unknown_px} px are unknown, and qa bit 8 marks where"
        )
    if scene.warnings:
        yield f"part of the scene may be damaged, GDAL warned while it was read ({'; '.join(scene.warnings)})"
    if summary.valid_px == 0:
        yield "the scene has no valid pixel"
    if polygons.area_m2 is None:
        why = "has no CRS" if scene.crs is None or scene.transform is None else "lies where longitudes are not defined"
        yield f"the scene {why}, so its polygons are in pixel coordinates"
        if min_area > 0:
            yield f"the least area {min_area:g} was counted in pixels"
    note = gsd_note(
        ground_sampling_m(scene.crs, scene.transform, scene.height_px, scene.width_px), manifest.input.gsd_m
    )
    if note is not None:
        yield note


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
