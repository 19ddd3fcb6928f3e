"""The class that people embed: a model, asked about images in memory or scenes on disk."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from math import inf
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kda_edge.errors import EngineError
from kda_edge.manifest import Manifest
from kda_edge.tiling.predict import Progress
from kda_edge.tiling.tile_answers import Engine

from .engines.shared_engine import SharedEngine
from .mapping.image_in_memory import predict_image
from .open_engine import open_engine
from .results import Prediction, SceneResult, ShardResult
from .runs.request import Cancel, Model, Order
from .runs.scene_run import map_scene, map_shard
from .runs.shards import Shard
from .scenes.scene import Resample
from .streams.frame_reader import StreamOptions
from .streams.frame_stream import FrameStream
from .streams.open_frames import Frames, open_frames


class Segmenter:
    """Finds landslides in images, scenes and video with one model. Prints nothing; logs to `kda_edge.runtime`.

    Any number of threads may call one segmenter at once. The engine takes one call at a time, whatever the threads;
    the work around it is shared by all.

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
        self._engine = SharedEngine(engine)
        self._engine_name = str(getattr(engine, "name", "custom"))
        self._graph_sha256 = str(getattr(engine, "graph_sha256", ""))
        self._best_batch = int(getattr(engine, "max_batch", None) or 1)
        self._batch_invariant = bool(getattr(engine, "batch_invariant", True))
        self._threads = None if getattr(engine, "thread_invariant", True) else int(getattr(engine, "threads", 0))
        self.manifest = manifest
        self.notes = notes

    @classmethod
    def open(
        cls,
        model: str | Path | None = None,
        *,
        engine: str = "auto",
        allow_unverified: bool = False,
        threads: int = 0,
    ) -> Segmenter:
        """Open a model file made by `kda-export`; None opens the bundled student.

        Args:
            model: the file.
            engine: what runs it, one of `engines.engine_names.ENGINES`; `auto` takes the fastest of those
                that are installed and agree with the model's certificate, see `open_engine`.
            allow_unverified: take a model without valid evidence too; `notes` then say so.
            threads: that an engine on the CPU uses; 0 takes as many as suit this process.

        Raises:
            UsageError: there is no such engine, or fewer threads than 0.
            ArtifactError: the file is missing, no ONNX model, or none of ours.
            Unverified: its certificate is missing, fails, or is of another graph.
            ManifestError: its manifest does not fit.
            MissingDependency: the engine's library is not installed.
            DeviceError: the engine can't run on this device.
        """
        path = None if model is None else Path(model)
        opened = open_engine(path, engine=engine, allow_unverified=allow_unverified, threads=threads)
        return cls(opened, opened.manifest, opened.notes)

    def __enter__(self) -> Segmenter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the model and what it holds on a device, once the calls that go on in other threads are over.

        The segmenter can't be used afterwards; closing twice is no error.

        Raises:
            UsageError: called from inside one of its own calls, such as from a progress callback.
        """
        self._engine.close()

    @property
    def engine_name(self) -> str:
        """What runs the model, such as `cpu` or `tensorrt`; where `auto` was asked for, what it took."""
        return self._engine_name

    def warm_up(self) -> float:
        """Run the model once, so that the first image does not pay for what engines put off; return the seconds.

        Raises:
            EngineError: the engine failed.
        """
        contract, tile_px = self.manifest.input, self.manifest.tile_px
        middle = sum(contract.value_range) / 2
        return self.predict(np.full((tile_px, tile_px, 3), middle, contract.pixel_type)).seconds

    def predict(
        self, image: NDArray[Any], *, valid: NDArray[np.bool_] | None = None, overlap_px: int | None = None
    ) -> Prediction:
        """Find landslides in an image in memory, tiled and blended as a scene would be.

        Args:
            image: (H, W, 3), the model's bands (red, green, blue) in its order, sides of 1 px or more, of the
                manifest's pixel type (uint8 for the bundled student). Of a NumPy masked array, a pixel that is masked
                in any band has no data.
            valid: (H, W), True where the image has data; None: everywhere. Where it is False, or the image is masked,
                the probability is NaN and the mask 255.
            overlap_px: least overlap of neighbouring tiles; None is a quarter of a tile.

        Raises:
            UsageError: wrong shape, pixel type, mask or overlap, or a NaN or an infinity where there should be data.
            EngineError: the engine failed on a tile: half an answer would be taken for a whole one.
        """
        with self._engine.used() as engine:
            prediction = predict_image(
                image, engine, self.manifest, valid=valid, overlap_px=overlap_px, batch=self._best_batch
            )
        if prediction.failures:
            raise EngineError(
                f"the engine failed on {len(prediction.failures)} of {prediction.tiles} tiles "
                f"({prediction.failures[0].reason}); try again, or use predict_scene, which maps the rest"
            )
        return prediction

    def predict_scene(
        self,
        path: str | Path,
        out_dir: str | Path | None = None,
        *,
        bands: tuple[int, int, int] | None = None,
        value_range: tuple[float, float] | None = None,
        resample: Resample = None,
        any_gsd: bool = False,
        min_area: float = 0.0,
        overlap_px: int | None = None,
        polygons: str = "geojson",
        max_memory_bytes: int | None = None,
        strict: bool = False,
        restart: bool = False,
        progress: Progress | None = None,
        cancel: Cancel | None = None,
    ) -> SceneResult:
        """Map the landslides of a raster file; write map, polygons and picture, all three or none.

        Finished rows are recorded on disk, hidden beside the outputs. A run that was cut off, by whatever, goes on from
        there when it is called again with the same scene, model, engine and settings, and ends with the same bytes.

        Args:
            path: of the scene.
            out_dir: folder of the outputs, created if missing; None writes beside the scene.
            bands: 1-based numbers of the model's bands (red, green, blue), in its order; None asks the file.
            value_range: least and largest value that the scene can hold, mapped linearly onto the model's; None
                demands the model's own pixel type.
            resample: ground sampling distance to read the scene and make the map at, metres; `trained` is the nearest
                that the model learned from; None is the scene's own.
            any_gsd: map also a scene whose pixels are far finer or coarser than any that the model learned from.
            min_area: smaller polygons are left out, m2; pixels where the scene has no known place on Earth.
            overlap_px: least overlap of neighbouring tiles; None is a quarter of a tile.
            polygons: their format, `geojson` or `gpkg`.
            max_memory_bytes: most memory that the process may take; None: what is fastest.
            strict: stop at the first failed tile instead of marking it.
            restart: forget what a run that was cut off has finished.
            progress: called with tiles done and tiles in all, in the calling thread.
            cancel: an event that another thread sets, or a function that says whether to stop; asked at each tile.

        Returns:
            What was written. Where `failed_tiles` is above 0 the map holds what is known: its qa band marks the rest.

        Raises:
            SceneError: the scene can't be read, is not what the model takes, or was changed while it was mapped.
            UsageError: an argument that can't be right.
            EngineError: the engine answered not one tile; with `strict`, a tile failed.
            OutputError: the outputs can't be written, or another run is writing them.
            JournalError: the rows recorded are of another scene, model, engine or setting.
            Cancelled: `cancel` said so.
        """
        order = Order(
            path=Path(path),
            out_dir=None if out_dir is None else Path(out_dir),
            bands=bands,
            value_range=value_range,
            resample=resample,
            any_gsd=any_gsd,
            min_area=min_area,
            overlap_px=overlap_px,
            polygons=polygons,
            max_memory_bytes=max_memory_bytes,
            strict=strict,
            restart=restart,
            progress=progress,
            cancel=cancel,
        )
        with self._model() as model:
            return map_scene(order, model)

    def predict_shard(
        self,
        path: str | Path,
        shard: Shard,
        out_dir: str | Path | None = None,
        *,
        bands: tuple[int, int, int] | None = None,
        value_range: tuple[float, float] | None = None,
        resample: Resample = None,
        any_gsd: bool = False,
        overlap_px: int | None = None,
        max_memory_bytes: int | None = None,
        strict: bool = False,
        restart: bool = False,
        progress: Progress | None = None,
        cancel: Cancel | None = None,
    ) -> ShardResult:
        """Compute one share of a scene's rows, for `merge_shards` to make a map of all.

        Goes on where it was cut off and raises as `predict_scene` does. Each machine needs a whole copy of the scene.

        Args:
            path: of the scene.
            shard: which share of how many.
            out_dir: folder for the file of rows; None writes beside the scene.
            bands: as in `predict_scene`, and so on.
            value_range: the same for all shards.
            resample: the same for all shards.
            any_gsd: as in `predict_scene`.
            overlap_px: the same for all shards.
            max_memory_bytes: most memory that the process may take.
            strict: stop at the first failed tile.
            restart: forget what a run that was cut off has finished.
            progress: called with tiles done and tiles in all, of those that touch these rows.
            cancel: says whether to stop.
        """
        order = Order(
            path=Path(path),
            out_dir=None if out_dir is None else Path(out_dir),
            bands=bands,
            value_range=value_range,
            resample=resample,
            any_gsd=any_gsd,
            overlap_px=overlap_px,
            max_memory_bytes=max_memory_bytes,
            strict=strict,
            restart=restart,
            progress=progress,
            cancel=cancel,
        )
        with self._model() as model:
            return map_shard(order, shard, model)

    def stream(
        self,
        frames: Frames,
        *,
        drop: bool | None = None,
        every: int = 1,
        max_side_px: int | None = None,
        overlap_px: int | None = None,
        reconnect_s: float = 30.0,
        seconds: float = inf,
        cancel: Cancel | None = None,
    ) -> FrameStream:
        """Find landslides in frames as they come; iterate over what is returned, and close it to stop.

        Args:
            frames: an iterable of arrays as `predict` takes them; a folder or a pattern (`shots/*.jpg`) of image files,
                in the order in which people count; a video file; the number of a camera or its device; the address of
                a stream such as `rtsp://host/path`.
            drop: leave out frames for which newer ones came, so that the latency is bounded by the time of one frame.
                None: of cameras and addresses, not of recordings and arrays. Arrays that may be dropped are asked for
                by a thread of the stream, and copied.
            every: look at each `every`-th frame only.
            max_side_px: make frames smaller first, so that the longer side has at most so many pixels; the model then
                sees coarser ground, so that this changes what it finds.
            overlap_px: least overlap of neighbouring tiles; None is a quarter of a tile.
            reconnect_s: how long to try to find a lost live source again; `math.inf` for ever.
            seconds: end at this time of the recording, of live sources so long after the start.
            cancel: an event that another thread sets, or a function that says whether to stop; asked at each frame.

        Raises:
            UsageError: an argument that can't be right; later, a frame that the model does not take.
            VideoError: a source that can't be opened; later, one that can't be read, or was not found again.
            EngineError: later: the engine answered no tile of a frame. Of single tiles, `FrameResult` tells.
        """
        options = StreamOptions(drop, every, max_side_px, reconnect_s, seconds, cancel)

        def predict_frame(image: NDArray[Any]) -> Prediction:
            with self._engine.used() as engine:
                return predict_image(image, engine, self.manifest, overlap_px=overlap_px, batch=self._best_batch)

        return FrameStream(open_frames(frames, self.manifest.input.bands, drop=drop), predict_frame, options)

    @contextmanager
    def _model(self) -> Iterator[Model]:
        """Yield the model on its engine, held open."""
        with self._engine.used() as engine:
            yield Model(
                engine,
                self.manifest,
                self._engine_name,
                self._graph_sha256,
                self.notes,
                self._best_batch,
                self._batch_invariant,
                self._threads,
            )
