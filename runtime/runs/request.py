"""What is asked of a scene, and the model that is asked."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from kda_edge.errors import Cancelled, UsageError
from kda_edge.manifest import InputContract, Manifest
from kda_edge.tiling.tile_answers import Engine
from kda_edge.tiling.predict import Progress

from ..scenes.scene import Resample, Scene, open_scene

Cancel: TypeAlias = threading.Event | Callable[[], bool]


@dataclass(frozen=True)
class Model:
    """A model on an engine.

    Attributes:
        engine: takes the model's raw pixels.
        manifest: of the model behind it.
        engine_name: such as `cpu`.
        graph_sha256: of the model's file; empty where there is none.
        notes: what a person should know of both, a sentence each.
        best_batch: tiles a call that the engine is fastest with.
        batch_invariant: a tile's answer has the same bits whatever tiles are in its batch.
        threads: of the engine, where the bits depend on them.
    """

    engine: Engine
    manifest: Manifest
    engine_name: str
    graph_sha256: str
    notes: tuple[str, ...]
    best_batch: int = 1
    batch_invariant: bool = True
    threads: int | None = None


@dataclass(frozen=True)
class Order:
    """What is asked of a scene, as `Segmenter.predict_scene` explains it."""

    path: Path
    out_dir: Path | None = None
    bands: tuple[int, int, int] | None = None
    value_range: tuple[float, float] | None = None
    resample: Resample = None
    any_gsd: bool = False
    min_area: float = 0.0
    overlap_px: int | None = None
    polygons: str = "geojson"
    max_memory_bytes: int | None = None
    strict: bool = False
    restart: bool = False
    progress: Progress | None = None
    cancel: Cancel | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.min_area < float("inf"):
            raise UsageError(f"the least area must be 0 or more, not {self.min_area:g}")

    def opened(self, contract: InputContract, *, checked: bool = False) -> AbstractContextManager[Scene]:
        """Open the scene, in the thread that reads it and within its GDAL session; `checked`: not for the first time."""
        return open_scene(
            self.path,
            contract,
            bands=self.bands,
            value_range=self.value_range,
            resample=self.resample,
            any_gsd=self.any_gsd,
            checked=checked,
        )

    def check(self) -> None:
        """Raise `Cancelled` if the caller has asked to stop."""
        asked = self.cancel.is_set if isinstance(self.cancel, threading.Event) else self.cancel
        if asked is not None and asked():
            raise Cancelled(f"{self.path}: stopped as asked; it has no map")
