"""Opens a model file as an engine: which library runs it here, and what to tell about that."""

from __future__ import annotations

import logging
import platform
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Final

import numpy as np
from numpy.typing import NDArray

from kda_edge.errors import UsageError
from kda_edge.manifest import Manifest
from kda_edge.tiling.tile_answers import EngineFacts

from .engines.artifact import Artifact, read_artifact
from .engines.cpu_engines import CpuEngines, open_agreeing, open_fastest
from .engines.engine_names import ENGINES, GPU_ENGINES, OPENVINO, best_engine
from .engines.model_engine import ModelEngine, Timed
from .engines.onnxruntime_engine import open_onnxruntime
from .hardware.usable_cores import thread_count
from .parity.device_parity import DeviceParity
from .parity.provider_engines import GpuProviders, open_compared

# Measured by tests/runtime/engines/test_batch_invariance.py. A model that was made for TensorRT leaves its sums to the
# engine, and in ONNX Runtime their bytes depend on batch and threads. OpenVINO computes each tile by itself; in
# bfloat16 its answers differ between one thread and several.
INVARIANT: Final = ("cpu", "openvino")
MEASURED_ON: Final = "x86_64"

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class OpenedEngine:
    """A model behind the library that runs it: raw pixels (N, 3, T, T) to landslide probability (N, 1, T, T).

    Attributes:
        runs: the model in its library.
        facts: what the engine says of itself; its name is one of `ENGINES` but `auto`.
        notes: what a person should know of this model on this engine, a sentence each.
        timed: answers as a call does, and tells what copying and computing took; None: it can't tell.
    """

    runs: ModelEngine
    facts: EngineFacts
    notes: tuple[str, ...] = ()
    timed: Timed | None = None

    @property
    def manifest(self) -> Manifest:
        """What the file says of itself; where an INT8 model gave way to another, that of the other."""
        return self.runs.manifest

    @property
    def name(self) -> str:
        """What runs the model, one of `ENGINES` but `auto`."""
        return self.facts.name

    def __call__(self, tiles: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the probability of each tile's pixels.

        Raises:
            EngineError: the engine refused or failed.
        """
        return self.runs(tiles)

    def close(self) -> None:
        """Free what the engine holds on its device; it can't be used afterwards."""
        self.runs.close()

    def __enter__(self) -> OpenedEngine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def open_engine(
    model: str | Path | None = None,
    *,
    engine: str = "auto",
    allow_unverified: bool = False,
    threads: int = 0,
    on_cpu: CpuEngines | None = None,
    on_gpu: GpuProviders | None = None,
) -> OpenedEngine:
    """Open a model file, its manifest and certificate checked.

    Args:
        model: an `.onnx` file made by `kda-export`; None opens the bundled student.
        engine: `cpu` (ONNX Runtime), `openvino` and `openvino-bf16` (OpenVINO in float32, and in bfloat16, which
            answers otherwise), `cuda` and `ort-tensorrt` (ONNX Runtime's GPU providers), `tensorrt` (an engine built
            on this device, kept for the next time); `auto` is `tensorrt` where a GPU and the library are, else the
            faster of `openvino` and `cpu`, timed once on this machine; what was chosen is the answer's name.
        allow_unverified: open a model whose certificate is missing, fails or is of another graph, and say so.
        threads: that the CPU's engines use; 0 takes as many as suit this process.
        on_cpu: what there is for the CPU; None: what is installed.
        on_gpu: what ONNX Runtime has for the GPU; None: what is installed.

    Raises:
        UsageError: no such engine, or fewer threads than 0.
        ArtifactError: no such file, no ONNX model, none of ours, or not what its manifest says.
        Unverified: the certificate is missing, fails, or is of another graph.
        ManifestError: the file's manifest does not fit its schema.
        MissingDependency: the engine's library is not installed.
        DeviceError: the engine can't run on this device, or answers otherwise than the certificate allows
            (`WrongAnswers`: on a GPU).
    """
    if engine not in ENGINES:
        raise UsageError(f"there is no engine {engine!r}; give one of {', '.join(ENGINES)}")
    artifact = read_artifact(model, allow_unverified=allow_unverified)
    chosen = best_engine() if engine == "auto" else engine
    runs: ModelEngine
    more: tuple[str, ...] = ()
    timed: Timed | None = None
    parity: DeviceParity | None = None
    graph_sha256 = artifact.graph_sha256
    if chosen == "tensorrt":
        from .tensorrt.tensorrt_engine import open_tensorrt

        built = open_tensorrt(artifact.path, artifact.manifest, artifact.graph_sha256)
        runs, more, timed, parity, graph_sha256 = built, built.notes, built.timed, built.parity, built.graph_sha256
    elif chosen in GPU_ENGINES:
        found = open_compared(artifact, chosen, threads=threads, around=on_gpu)
        runs, more, parity, graph_sha256 = found.runs, found.notes, found.parity, found.graph_sha256
    elif chosen in OPENVINO:
        runs, more = open_agreeing(artifact, chosen, threads=threads, around=on_cpu)
    elif engine == "auto":
        runs, chosen = open_fastest(artifact, threads=threads, around=on_cpu)
    else:
        runs = open_onnxruntime(artifact.path, artifact.manifest, threads=threads)
    notes = (*_notes(artifact, chosen), *more)
    _log.info("%s: runs on %s", artifact.path, chosen)
    for note in notes:
        _log.info("%s: %s", artifact.path, note)
    facts = facts_of(chosen, runs.max_batch, graph_sha256, thread_count(threads), target=artifact.manifest.target)
    if parity is not None:
        facts = replace(facts, measured=parity.to_json())
    return OpenedEngine(runs, facts, notes, timed)


def facts_of(
    name: str,
    max_batch: int | None,
    graph_sha256: str,
    threads: int,
    *,
    target: str = "any",
    machine: str | None = None,
) -> EngineFacts:
    """Return what an engine may say of itself, as far as it was measured.

    Where its answers depend on the batch a map may do so too, by one step of 1/254 at most; batches of one tile help.

    Args:
        name: one of `ENGINES` but `auto`.
        max_batch: of the model in the engine's library.
        graph_sha256: digest of the graph that runs.
        threads: that an engine on the CPU was told to use; 0: its own choice.
        target: the engines that the model was made for, as in its manifest.
        machine: kind of processor, such as `x86_64`; None asks the machine.
    """
    machine = platform.machine() if machine is None else machine
    has_ordered_sums = target != "tensorrt" or name in OPENVINO
    is_measured = name in INVARIANT and machine == MEASURED_ON and has_ordered_sums
    return EngineFacts(
        name=name,
        graph_sha256=graph_sha256,
        max_batch=max_batch,
        batch_invariant=name in OPENVINO or is_measured,
        threads=None if name in GPU_ENGINES or is_measured else threads,
    )


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
