"""TensorRT engines of a device: built or from the cache, held to their graph's precision and the CPU's answers."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, cast

from ..engines.artifact import Artifact
from ..engines.model_engine import ModelEngine
from ..engines.onnxruntime_engine import open_onnxruntime
from ..hardware.cuda import Cuda, open_cuda
from ..hardware.gpu_probe import Device, driver_release, probe
from ..parity.agreeing_form import Agreed, Form, agreeing_form
from ..parity.depends_on import depends_on
from ..parity.device_parity import DeviceParity, parity_with_cpu
from ..parity.kept_parity import keep_parity, kept_parity
from .build import BuildOptions, Built, build_engine
from .engine_cache import Cached, cached_engine
from .engine_key import EngineKey, engine_key
from .library import Library, open_library
from .precision_proof import Precision, require_precision
from .runner import TensorRTRunner

PARITY: Final = "parity.json"  # beside the engine: how far its answers lie from the CPU's

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
        open_cpu: `open_onnxruntime`, or what takes its arguments; what engines are compared with.
        driver_release: of the driver, empty where nobody knows.
    """

    find_gpu: Callable[[], Device] = probe
    open_library: Callable[[Device], Library] = open_library
    open_cuda: Callable[[int], Cuda] = open_cuda
    build: Callable[..., Built] = build_engine
    clock: Callable[[], float] = time.perf_counter
    open_cpu: Callable[..., ModelEngine] = open_onnxruntime
    driver_release: Callable[[], str] = driver_release


@dataclass(frozen=True)
class DeviceEngines:
    """TensorRT engines of a device: built once, compared once, loaded at each start.

    Attributes:
        device: that they are for.
        library: TensorRT.
        options: batches, memory, accelerator.
        root: of the cache; None is `cache_folder()`.
        around: what is asked of the machine.
    """

    device: Device
    library: Library
    options: BuildOptions
    root: Path | None
    around: Surroundings
    _prepared: dict[str, Cached] = field(default_factory=dict)

    def agreed(self, artifact: Artifact) -> Agreed:
        """Return the form of a model whose engine answers as the CPU does; compared once, then remembered.

        Raises:
            WrongAnswers: none does.
            DeviceError: no engine of this graph, or one in another precision.
            EngineError: the engine can't be loaded, or fails while it is compared.
        """
        said = f"TensorRT {self.library.version} on {self.device.name}"
        return agreeing_form(artifact, self.parity, said=said)

    def key(self, form: Form) -> EngineKey:
        """Return the key of a form's engine in the cache."""
        return engine_key(form.artifact.graph_sha256, self.device, self.library.version, self.options)

    def prepared(self, form: Form) -> Cached:
        """Return a form's engine, from the cache or built, held to the precision of the graph.

        Raises:
            DeviceError: no engine of this graph, or one in another precision.
        """
        artifact = form.artifact
        if artifact.graph_sha256 in self._prepared:  # where it can't be kept, it is built once all the same
            return self._prepared[artifact.graph_sha256]

        def build() -> Built:
            _log.warning("%s: building an engine for %s, once; this takes minutes", artifact.path, self.device.name)
            graph = artifact.path if form.graph is None else form.graph
            return self.around.build(graph, device=self.device, options=self.options, library=self.library)

        cached = cached_engine(self.key(form), build, root=self.root)
        require_precision(cached.layers, cast(Precision, artifact.manifest.precision))
        self._prepared[artifact.graph_sha256] = cached
        return cached

    def runner(self, form: Form) -> TensorRTRunner:
        """Load a form's engine on the device.

        Raises:
            DeviceError: no engine of this graph, or one in another precision.
            EngineError: the engine can't be loaded.
        """
        plan = self.prepared(form).plan
        return TensorRTRunner(
            plan,
            self.library,
            self.around.open_cuda(self.device.index),
            tile_px=form.artifact.manifest.tile_px,
            dla_core=self.options.dla_core,
        )

    def parity(self, form: Form) -> DeviceParity:
        """Return how far an engine's answers lie from the CPU's, as the cache has it or as it is measured now.

        Raises:
            NoAnswer: the engine has no answer to a tile, or one that is no probability.
            DeviceError: no engine of this graph, or one in another precision.
            EngineError: the engine can't be loaded.
        """
        artifact, manifest, cached = form.artifact, form.artifact.manifest, self.prepared(form)
        needs = depends_on(
            "tensorrt",
            artifact.graph_sha256,
            manifest,
            self.device,
            self.around.driver_release(),
            tensorrt=self.library.version,
            engine_sha256=hashlib.sha256(cached.plan).hexdigest(),
        )
        kept = None if cached.folder is None else cached.folder / PARITY
        known = None if kept is None else kept_parity(kept, needs)
        if known is not None:
            return known
        _log.warning("%s: comparing its engine with ONNX Runtime on the CPU, once on this device", artifact.path)
        with closing(self.around.open_cpu(artifact.path, manifest)) as cpu, self.runner(form) as runner:
            found = parity_with_cpu(cpu, runner, manifest, engine="tensorrt", sampling=form.sampling, depends_on=needs)
        if kept is not None:
            keep_parity(kept, found)
        return found
