"""From a model file to an engine that answers: which library runs it here, and what to tell about that."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from kda_edge.errors import UsageError
from kda_edge.manifest import Manifest

from .artifact import Artifact, read_artifact
from .engine_choice import ENGINES, GPU_ENGINES, PROVIDERS, best_engine
from .engine_onnxruntime import open_onnxruntime

_log = logging.getLogger(__name__)


class _Runs(Protocol):
    """What each engine module offers."""

    def __call__(self, tiles: NDArray[np.float32]) -> NDArray[np.float32]: ...

    @property
    def manifest(self) -> Manifest: ...


@dataclass(frozen=True)
class OpenedEngine:
    """A model behind the library that runs it: raw pixels (N, 3, T, T) to landslide probability (N, 1, T, T).

    Attributes:
        runs: of one of the `engine_*` modules.
        name: one of `ENGINES` but `auto`.
        notes: what a person should know of this model on this engine, a sentence each.
    """

    runs: _Runs
    name: str
    notes: tuple[str, ...] = ()

    @property
    def manifest(self) -> Manifest:
        """What the file says of itself; where an INT8 model gave way to another, that of the other."""
        return self.runs.manifest

    def __call__(self, tiles: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the probability of each tile's pixels.

        Raises:
            EngineError: the engine refused or failed.
        """
        return self.runs(tiles)

    def close(self) -> None:
        """Free what the engine holds on its device; it can't be used afterwards."""
        close = getattr(self.runs, "close", None)
        if close is not None:
            close()

    def __enter__(self) -> OpenedEngine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def open_engine(model: Path | None = None, *, engine: str = "auto", allow_unverified: bool = False) -> OpenedEngine:
    """Open a model file, its manifest and certificate checked.

    Args:
        model: an `.onnx` file made by `kda-export`; None opens the bundled student.
        engine: `cpu` (ONNX Runtime), `cuda` and `ort-tensorrt` (its GPU providers), `tensorrt` (an engine built on
            this device, kept for the next time); `auto` is `tensorrt` where a GPU and the library are, else `cpu`.
        allow_unverified: open a model whose certificate is missing, fails or is of another graph, and say so.

    Raises:
        UsageError: no such engine.
        ArtifactError: no such file, no ONNX model, none of ours, or not what its manifest says.
        Unverified: the certificate is missing, fails, or is of another graph.
        ManifestError: the file's manifest does not fit its schema.
        MissingDependency: the engine's library is not installed.
        DeviceError: the engine can't run on this device.
    """
    if engine not in ENGINES:
        raise UsageError(f"there is no engine {engine!r}; give one of {', '.join(ENGINES)}")
    artifact = read_artifact(model, allow_unverified=allow_unverified)
    if engine == "auto":
        engine = best_engine()
    notes = tuple(_notes(artifact, engine))
    for note in notes:
        _log.info("%s: %s", artifact.path, note)
    if engine in PROVIDERS:
        return OpenedEngine(
            open_onnxruntime(artifact.path, artifact.manifest, provider=PROVIDERS[engine]), engine, notes
        )
    from .engine_tensorrt import open_tensorrt

    runs = open_tensorrt(artifact.path, artifact.manifest, artifact.graph_sha256)
    return OpenedEngine(runs, engine, (*notes, *runs.notes))


def _notes(artifact: Artifact, engine: str) -> list[str]:
    manifest = artifact.manifest
    notes = []
    if artifact.doubt:
        notes.append(f"the model is not verified: {artifact.doubt}")
    on_gpu = engine in GPU_ENGINES
    if manifest.target == "tensorrt" and not on_gpu:
        notes.append(
            f"the model was made for TensorRT ({manifest.precision}) and runs on the CPU, slower than one exported "
            "with --target cpu would"
        )
    if manifest.target == "cpu" and on_gpu:
        notes.append(
            f"the model was made for the CPU ({manifest.precision}) and runs on a GPU, slower than one exported "
            "with --target tensorrt would"
        )
    return notes
