"""TensorRT behind the core's one-call engine protocol: an engine built on this device, kept, checked and run.

The order is fixed: ask the driver, open TensorRT, take the engine from the cache or build it, hold it to the precision
that its graph is in and to the answers of ONNX Runtime on the CPU, load it. An INT8 model whose latency nobody measured
is timed against its fallback once.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Final

import numpy as np
from numpy.typing import NDArray

from kda_edge.manifest import Manifest
from kda_edge.paths import cache_folder

from ..engines.artifact import Artifact
from ..engines.in_turns import example_tiles, side_by_side
from ..engines.int8_choice import decided, explanation, find_fallback, needs_proof
from ..parity.agreeing_form import Agreed
from ..parity.device_parity import DeviceParity
from .build import BuildOptions
from .device_engines import DeviceEngines, Surroundings
from .engine_cache import record
from .runner import TensorRTRunner

TIMINGS: Final = "timings"  # below the cache's folder; shortens the next build

_log = logging.getLogger(__name__)


class TensorRTEngine:
    """A model on the device: raw pixels (N, 3, T, T) to landslide probability (N, 1, T, T); one thread at a time.

    Attributes:
        manifest: of the model that runs: where INT8 gave way to its fallback, that of the fallback.
        notes: what a person should know of the choice, a sentence each.
        from_cache: the engine was built before.
        build_s: seconds that its build took, now or then.
        graph_sha256: digest of the graph that it was built from; empty: nobody knows.
        parity: how far its answers lie from the CPU's; None: they were not compared.
    """

    def __init__(
        self,
        runner: TensorRTRunner,
        manifest: Manifest,
        *,
        notes: tuple[str, ...],
        from_cache: bool,
        build_s: float,
        graph_sha256: str = "",
        parity: DeviceParity | None = None,
    ) -> None:
        self._runner = runner
        self.manifest = manifest
        self.notes = notes
        self.from_cache = from_cache
        self.build_s = build_s
        self.graph_sha256 = graph_sha256
        self.parity = parity

    @property
    def max_batch(self) -> int:
        """Most tiles that the engine computes at once; larger batches are split."""
        return self._runner.max_batch

    def __call__(self, tiles: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the probability of each tile's pixels.

        Raises:
            EngineError: the tiles are not what the engine takes, the device failed, or the engine is closed.
        """
        return self._runner(tiles)

    def map(self, batches: Iterable[NDArray[np.float32]]) -> Iterator[NDArray[np.float32]]:
        """Yield the answer to each batch, in order, copies overlapped with computing; see `TensorRTRunner.map`."""
        return self._runner.map(batches)

    def timed(self, tiles: NDArray[np.float32]) -> tuple[NDArray[np.float32], dict[str, float]]:
        """Return the answer and ms of `copy_in`, `compute` and `copy_out` on the device; see `TensorRTRunner.timed`."""
        return self._runner.timed(tiles)

    def close(self) -> None:
        """Give back all that the engine holds on the device; closing twice is no error."""
        self._runner.close()

    def __enter__(self) -> TensorRTEngine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def open_tensorrt(
    model: Path,
    manifest: Manifest,
    graph_sha256: str,
    *,
    options: BuildOptions | None = None,
    root: Path | None = None,
    surroundings: Surroundings | None = None,
) -> TensorRTEngine:
    """Open a model with an engine of this device, built now if the cache has none; that takes minutes on a Jetson.

    Args:
        model: the `.onnx` file, its manifest and certificate checked before.
        manifest: what the file says of itself.
        graph_sha256: digest of the file without its metadata.
        options: batches, memory, accelerator; None: one tile at a time. Without a file for timings, the cache has one.
        root: of the cache; None is `cache_folder()`.
        surroundings: what to ask of the machine; None: what is there.

    Raises:
        MissingDependency: TensorRT or cuda-bindings is not installed.
        DeviceError: no GPU, no driver, too old, no engine of this graph, or one in another precision.
        WrongAnswers: the engine answers otherwise than ONNX Runtime on the CPU, with its sampling as gathers too.
        EngineError: the engine can't be loaded, or fails while it is compared or timed.
    """
    around = Surroundings() if surroundings is None else surroundings
    device = around.find_gpu()
    options = BuildOptions() if options is None else options
    if options.timing_cache is None:
        options = replace(options, timing_cache=(cache_folder() if root is None else root) / TIMINGS)
    library = around.open_library(device)
    around.open_cuda(device.index).close()  # what is missing or broken shows before minutes of building
    engines = DeviceEngines(device, library, options, root, around)
    given = Artifact(model, manifest, graph_sha256)
    if not needs_proof(manifest):
        return _opened(engines, given)
    fallback = find_fallback(model, manifest)
    if isinstance(fallback, Artifact):
        return _opened_faster(engines, given, fallback)
    _log.warning("%s: %s", model, fallback)
    return _opened(engines, given, notes=(fallback,))


def _opened(engines: DeviceEngines, artifact: Artifact, *, notes: tuple[str, ...] = ()) -> TensorRTEngine:
    """Return a model on the device, its answers compared."""
    return _loaded(engines, engines.agreed(artifact), notes=notes)


def _loaded(engines: DeviceEngines, agreed: Agreed, *, notes: tuple[str, ...] = ()) -> TensorRTEngine:
    """Return a form that was compared on the device."""
    cached, artifact = engines.prepared(agreed.form), agreed.form.artifact
    return TensorRTEngine(
        engines.runner(agreed.form),
        artifact.manifest,
        notes=(*agreed.notes, *notes),
        from_cache=cached.from_cache,
        build_s=cached.build_s,
        graph_sha256=artifact.graph_sha256,
        parity=agreed.parity,
    )


def _opened_faster(engines: DeviceEngines, given: Artifact, fallback: Artifact) -> TensorRTEngine:
    """Return the INT8 model, or its fallback where that is not clearly slower; timed once, then remembered."""
    other = fallback.manifest.precision
    int8 = engines.agreed(given)
    latency_ms = dict(engines.prepared(int8.form).latency_ms)
    if decided(latency_ms, other) is None:
        _log.warning("%s: timing INT8 against %s, once on this device", given.path, other.upper())
        with _loaded(engines, int8) as first, _opened(engines, fallback) as second:
            tiles = example_tiles(given.manifest, engines.options.opt_batch)
            latency_ms["int8"], latency_ms[other] = side_by_side(first, second, tiles, clock=engines.around.clock)
        record(engines.key(int8.form), latency=latency_ms, root=engines.root)
    note = explanation(latency_ms, other, fallback.path.name)
    _log.warning("%s: %s", given.path, note)
    if decided(latency_ms, other):
        return _loaded(engines, int8, notes=(note,))
    return _opened(engines, fallback, notes=(note,))
