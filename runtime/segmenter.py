"""`Segmenter`, the class that people embed: a model, asked about images in memory or scenes on disk."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from math import inf
from pathlib import Path
from typing import Any, Final, NoReturn

import numpy as np
from numpy.typing import NDArray

from kda_edge.errors import UsageError
from kda_edge.manifest import Manifest
from kda_edge.tiling.predict import Progress
from kda_edge.tiling.tile_answers import Engine, EngineFacts

from .engines.shared_engine import SharedEngine
from .geo.raster_names import RasterName
from .mapping.image_in_memory import predict_image, require_whole
from .opened_engine import open_engine
from .results import Prediction, SceneResult, ShardResult
from .runs.request import Cancel, Model, SceneRequest
from .runs.scene_run import map_scene, map_shard
from .runs.shards import Shard
from .scene_options import DEFAULT_OPTIONS, SceneOptions
from .streams.frame_reader import StreamOptions
from .streams.frame_stream import FrameStream
from .streams.open_frames import Frames, open_frames

UNKNOWN: Final = EngineFacts()  # of an engine that says nothing of itself


class Segmenter:
    """Finds landslides in images, scenes and video with one model. Prints nothing; logs to `kda_edge.runtime`.

    Any number of threads may call it at once. The engine takes one call at a time; the work around it is shared by all.
    A segmenter is of the process that opened it: in a fork every call raises `UsageError`; open one in each worker.

    Attributes:
        manifest: what the model says of itself: pixels it takes, tile, threshold, accuracy.
        notes: what a person should know of the model on this engine, a sentence each.
    """

    def __init__(
        self,
        engine: Engine,
        manifest: Manifest,
        facts: EngineFacts = UNKNOWN,
        notes: tuple[str, ...] = (),
        *,
        close: Callable[[], None] | None = None,
    ) -> None:
        """Use an engine of one's own; `open` is the usual way in.

        Args:
            engine: raw pixels (N, 3, T, T) to landslide probability (N, 1, T, T), T the manifest's tile_px.
            manifest: of the model behind the engine.
            facts: what the engine says of itself: its name, the tiles a call that suit it, what its bytes depend on.
            notes: about the model on this engine, a sentence each; every scene's result carries them.
            close: ends the engine, called once by `Segmenter.close`; None: whoever made the engine ends it.

        Raises:
            UsageError: `facts` are none.
        """
        if not isinstance(facts, EngineFacts):
            raise UsageError(f"facts must be EngineFacts, not {type(facts).__name__}; give notes as notes=")
        self._engine = SharedEngine(engine, close)
        self._facts = facts
        self.manifest = manifest
        self.notes = notes

    @classmethod
    def open(
        cls, model: str | Path | None = None, *, engine: str = "auto", allow_unverified: bool = False, threads: int = 0
    ) -> Segmenter:
        """Open a model file made by `kda-export`; None opens the bundled student.

        Args:
            model: the file.
            engine: what runs it, one of those that `open_engine` explains; `auto` takes the fastest that suits.
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
        opened = open_engine(model, engine=engine, allow_unverified=allow_unverified, threads=threads)
        return cls(opened, opened.manifest, opened.facts, opened.notes, close=opened.close)

    def __enter__(self) -> Segmenter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the model and what it holds on a device, once the calls that go on in other threads are over.

        The segmenter can't be used afterwards; closing twice is no error. In a fork of the process that opened it,
        where it can't be used either, this does nothing.

        Raises:
            UsageError: called from inside one of its own calls, such as from a progress callback.
        """
        self._engine.close()

    @property
    def engine_name(self) -> str:
        """What runs the model, such as `cpu` or `tensorrt`; where `auto` was asked for, what it took."""
        return self._facts.name

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
                manifest's pixel type (uint8 for the bundled student); masked pixels of a masked array have no data.
            valid: (H, W), True where the image has data; None: everywhere. Elsewhere probability is NaN, the mask 255.
            overlap_px: least overlap of neighbouring tiles; None is a quarter of a tile.

        Raises:
            UsageError: wrong shape, pixel type, mask or overlap, or a NaN or an infinity where there should be data.
            EngineError: the engine failed on a tile: half an answer would be taken for a whole one.
        """
        with self._engine.used() as engine:
            prediction = predict_image(
                image, engine, self.manifest, valid=valid, overlap_px=overlap_px, batch=self._facts.batch
            )
        return require_whole(prediction)

    def predict_scene(
        self,
        path: str | RasterName,
        out_dir: str | Path | None = None,
        options: SceneOptions = DEFAULT_OPTIONS,
        *,
        quicklook: bool = False,
        progress: Progress | None = None,
        cancel: Cancel | None = None,
        **keywords: NoReturn,
    ) -> SceneResult:
        """Map the landslides of a raster file; write map, polygons and picture, all three or none.

        Finished rows are recorded on disk, hidden beside the outputs. A run that was cut off, by whatever, goes on from
        there when it is called again with the same scene, model, engine and settings, and ends with the same bytes.
        Where the result's `failed_tiles` is above 0 the map holds what is known: its qa band marks the rest.

        Args:
            path: of the scene, or its address as GDAL reads it, such as `https://host/scene.tif`.
            out_dir: folder of the outputs, created if missing; None writes beside the scene.
            options: how it is mapped; `SceneOptions` explains each.
            quicklook: map a quarter of the resolution first, into files of its own: `options.quicklook`, said here.
            progress: called with tiles done and tiles in all, in the calling thread.
            cancel: an event that another thread sets, or a function that says whether to stop; asked at each tile.
            **keywords: options one by one, as they were given before; warned of, and refused by type checkers.

        Raises:
            SceneError: the scene can't be read, is not what the model takes, or was changed while it was mapped.
            UsageError: an argument that can't be right.
            EngineError: the engine answered not one tile; with `strict`, a tile failed.
            OutputError: the outputs can't be written, another run is writing them, or they are another scene's.
            JournalError: the rows recorded are of another scene, model, engine or setting.
            Cancelled: `cancel` said so.
        """
        options = options.changed_by(keywords)
        if quicklook:
            options = replace(options, quicklook=True)
        request = SceneRequest.of(path, out_dir, options, progress, cancel)
        with self._model() as model:
            return map_scene(request, model)

    def predict_shard(
        self,
        path: str | RasterName,
        shard: Shard,
        out_dir: str | Path | None = None,
        options: SceneOptions = DEFAULT_OPTIONS,
        *,
        progress: Progress | None = None,
        cancel: Cancel | None = None,
        **keywords: NoReturn,
    ) -> ShardResult:
        """Compute one share of a scene's rows, for `merge_shards` to make a map of all.

        Goes on where it was cut off and raises as `predict_scene` does. Each machine needs a whole copy of the scene.

        Args:
            path: of the scene.
            shard: which share of how many.
            out_dir: folder for the file of rows; None writes beside the scene.
            options: those that change pixels the same for all shards; `min_area` and `polygons` are `merge_shards`'.
            progress: called with tiles done and tiles in all, of those that touch these rows.
            cancel: says whether to stop.
            **keywords: as for `predict_scene`.
        """
        request = SceneRequest.of(path, out_dir, options.changed_by(keywords), progress, cancel)
        with self._model() as model:
            return map_shard(request, shard, model)

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
            frames: arrays as `predict` takes them; a folder or pattern (`shots/*.jpg`) of image files, in the order in
                which people count; a video file; a camera's number or device; an address such as `rtsp://host/path`.
            drop: leave out frames for which newer ones came, so that the latency is bounded by the time of one frame;
                None: of live sources only. Arrays that may be dropped are asked for by a thread, and copied.
            every: look at each `every`-th frame only.
            max_side_px: make longer sides so long first; the model sees coarser ground, which changes what it finds.
            overlap_px: least overlap of neighbouring tiles; None is a quarter of a tile.
            reconnect_s: how long to try to find a lost live source again; `math.inf` for ever.
            seconds: end at this time of the recording, of live sources so long after the start.
            cancel: an event that another thread sets, or a function that says whether to stop; asked at each frame.

        Raises:
            UsageError: an argument that can't be right; later, a frame that the model does not take.
            VideoError: a source that can't be opened; later, one that can't be read, or was not found again.
            EngineError: later: the engine answered no tile of a frame. Of single tiles, `FrameResult` tells.
        """
        self._engine.require_opening_process()
        options = StreamOptions(drop, every, max_side_px, reconnect_s, seconds, cancel)

        def predict_frame(image: NDArray[Any]) -> Prediction:
            with self._engine.used() as engine:
                return predict_image(image, engine, self.manifest, overlap_px=overlap_px, batch=self._facts.batch)

        return FrameStream(open_frames(frames, self.manifest.input.bands, drop=drop), predict_frame, options)

    @contextmanager
    def _model(self) -> Iterator[Model]:
        """Yield the model on its engine, held open."""
        with self._engine.used() as engine:
            yield Model(engine, self.manifest, self._facts, self.notes)
