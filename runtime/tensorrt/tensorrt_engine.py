"""TensorRT behind the core's one-call engine protocol: an engine built on this device, kept, checked and run.

The order is fixed: ask the driver, open TensorRT, take the engine from the cache or build it, hold it to the precision
that its graph is in, load it. An INT8 model whose latency nobody measured is timed against its fallback once.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Final, cast

import numpy as np
from numpy.typing import NDArray

from kda_edge.manifest import Manifest

from ..engines.artifact import Artifact
from ..engines.in_turns import example_tiles, side_by_side
from ..engines.int8_choice import decided, explanation, find_fallback, needs_proof
from ..engines.remembered import cache_folder
from ..hardware.cuda import Cuda, open_cuda
from ..hardware.gpu_probe import Device, probe
from .build import BuildOptions, Built, build_engine
from .engine_cache import Cached, cached_engine, record
from .engine_key import EngineKey, engine_key
from .library import Library, open_library
from .precision_proof import Precision, require_precision
from .runner import TensorRTRunner

TIMINGS: Final = "timings"  # below the cache's folder; shortens the next build

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Surroundings:
    """What opening an engine asks of the machine; tests bring their own.

    Attributes:
        find_gpu: the driver's GPU, or a `DeviceError`.
        open_library: TensorRT for it.
        open_cuda: CUDA on the GPU of an index.
        build: `build_engine`, or what takes its arguments.
        clock: in seconds.
    """

    find_gpu: Callable[[], Device] = probe
    open_library: Callable[[Device], Library] = open_library
    open_cuda: Callable[[int], Cuda] = open_cuda
    build: Callable[..., Built] = build_engine
    clock: Callable[[], float] = time.perf_counter


class TensorRTEngine:
    """A model on the device: raw pixels (N, 3, T, T) to landslide probability (N, 1, T, T); one thread at a time.

    Attributes:
        manifest: of the model that runs: where INT8 gave way to its fallback, that of the fallback.
        notes: what a person should know of the choice, a sentence each.
        from_cache: the engine was built before.
        build_s: seconds that its build took, now or then.
    """

    def __init__(
        self, runner: TensorRTRunner, manifest: Manifest, *, notes: tuple[str, ...], from_cache: bool, build_s: float
    ) -> None:
        self._runner = runner
        self.manifest = manifest
        self.notes = notes
        self.from_cache = from_cache
        self.build_s = build_s

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
        EngineError: the engine can't be loaded, or fails while it is timed.
    """
    around = Surroundings() if surroundings is None else surroundings
    device = around.find_gpu()
    options = BuildOptions() if options is None else options
    if options.timing_cache is None:
        options = replace(options, timing_cache=(cache_folder() if root is None else root) / TIMINGS)
    library = around.open_library(device)
    around.open_cuda(device.index).close()  # what is missing or broken shows before minutes of building
    shop = _Shop(device, library, options, root, around)
    given = Artifact(model, manifest, graph_sha256)
    if not needs_proof(manifest):
        return shop.opened(given)
    fallback = find_fallback(model, manifest)
    if isinstance(fallback, Artifact):
        return _opened_faster(shop, given, fallback)
    _log.warning("%s: %s", model, fallback)
    return shop.opened(given, notes=(fallback,))


@dataclass(frozen=True)
class _Shop:
    """Where engines are made and loaded."""

    device: Device
    library: Library
    options: BuildOptions
    root: Path | None
    around: Surroundings

    def key(self, artifact: Artifact) -> EngineKey:
        return engine_key(artifact.graph_sha256, self.device, self.library.version, self.options)

    def prepared(self, artifact: Artifact) -> Cached:
        """Return a model's engine, from the cache or built, held to the precision of its graph."""

        def build() -> Built:
            _log.warning("%s: building an engine for %s, once; this takes minutes", artifact.path, self.device.name)
            return self.around.build(artifact.path, device=self.device, options=self.options, library=self.library)

        cached = cached_engine(self.key(artifact), build, root=self.root)
        require_precision(cached.layers, cast(Precision, artifact.manifest.precision))
        return cached

    def opened(
        self, artifact: Artifact, cached: Cached | None = None, *, notes: tuple[str, ...] = ()
    ) -> TensorRTEngine:
        """Return a model on the device."""
        cached = self.prepared(artifact) if cached is None else cached
        runner = TensorRTRunner(
            cached.plan,
            self.library,
            self.around.open_cuda(self.device.index),
            tile_px=artifact.manifest.tile_px,
            dla_core=self.options.dla_core,
        )
        return TensorRTEngine(
            runner, artifact.manifest, notes=notes, from_cache=cached.from_cache, build_s=cached.build_s
        )


def _opened_faster(shop: _Shop, given: Artifact, fallback: Artifact) -> TensorRTEngine:
    """Return the INT8 model, or its fallback where that is not clearly slower; timed once, then remembered."""
    other = fallback.manifest.precision
    cached = shop.prepared(given)
    latency_ms = dict(cached.latency_ms)
    if decided(latency_ms, other) is None:
        _log.warning("%s: timing INT8 against %s, once on this device", given.path, other.upper())
        with shop.opened(given, cached) as first, shop.opened(fallback) as second:
            tiles = example_tiles(given.manifest, shop.options.opt_batch)
            latency_ms["int8"], latency_ms[other] = side_by_side(first, second, tiles, clock=shop.around.clock)
        record(shop.key(given), latency=latency_ms, root=shop.root)
    note = explanation(latency_ms, other, fallback.path.name)
    _log.warning("%s: %s", given.path, note)
    if decided(latency_ms, other):
        return shop.opened(given, cached, notes=(note,))
    return shop.opened(fallback, notes=(note,))
