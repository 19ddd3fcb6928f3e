"""A scene request: its path, options and cancel; and the model that answers it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from kda_edge.errors import Cancelled
from kda_edge.manifest import InputContract, Manifest
from kda_edge.tiling.predict import Progress
from kda_edge.tiling.tile_answers import Engine, EngineFacts

from ..geo.raster_names import RasterName, raster_named
from ..scene_options import DEFAULT_OPTIONS, SceneOptions
from ..scenes.scene import Scene, open_scene

Cancel: TypeAlias = threading.Event | Callable[[], bool]


@dataclass(frozen=True)
class Model:
    """A model on an engine.

    Attributes:
        engine: takes the model's raw pixels.
        manifest: of the model behind it.
        facts: what the engine says of itself.
        notes: what a person should know of both, a sentence each.
    """

    engine: Engine
    manifest: Manifest
    facts: EngineFacts
    notes: tuple[str, ...]


@dataclass(frozen=True)
class SceneRequest:
    """A scene to map, and how.

    Attributes:
        path: of the scene, or its address.
        out_dir: folder of the outputs; None writes beside the scene.
        options: how it is mapped.
        progress: called with tiles done and tiles in all.
        cancel: an event, or a function that says whether to stop.
    """

    path: RasterName
    out_dir: Path | None = None
    options: SceneOptions = DEFAULT_OPTIONS
    progress: Progress | None = None
    cancel: Cancel | None = None

    @classmethod
    def of(
        cls,
        path: str | RasterName,
        out_dir: str | Path | None,
        options: SceneOptions,
        progress: Progress | None = None,
        cancel: Cancel | None = None,
    ) -> SceneRequest:
        """Return the request of a caller whose paths may be texts.

        Raises:
            UsageError: an address that GDAL has no way to.
        """
        return cls(raster_named(path), None if out_dir is None else Path(out_dir), options, progress, cancel)

    def opened(self, contract: InputContract, *, checked: bool = False) -> AbstractContextManager[Scene]:
        """Open the scene, in the thread that reads it and within its GDAL session; `checked`: it was opened before."""
        options = self.options
        return open_scene(
            self.path,
            contract,
            bands=options.bands,
            value_range=options.value_range,
            resample=options.resample,
            quicklook=options.quicklook,
            any_gsd=options.any_gsd,
            checked=checked,
        )

    def check(self) -> None:
        """Raise `Cancelled` if the caller has asked to stop."""
        asked = self.cancel.is_set if isinstance(self.cancel, threading.Event) else self.cancel
        if asked is not None and asked():
            raise Cancelled(f"{self.path}: stopped as asked; it has no map")
