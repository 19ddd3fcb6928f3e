"""ONNX Runtime behind the core's one-call engine protocol: on the CPU, or on a GPU by one of its providers.

A provider that can't be had is left out by ONNX Runtime without a word, and the model then runs on the CPU. Here that
is an error, before a tile is computed and while tiles are.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from kda_edge.errors import ArtifactError, EngineError, ProviderFellBack, UsageError, one_line
from kda_edge.manifest import INPUT_NAME, OUTPUT_NAME, Manifest
from kda_edge.opening_process import OpeningProcess
from kda_edge.paths import cache_folder

from ..hardware.gpu_probe import Device, probe
from ..hardware.usable_cores import thread_count
from .artifact import EXPORT
from .graph_ports import FLOAT, Port, require_ports

CPU: Final = "CPUExecutionProvider"
CUDA: Final = "CUDAExecutionProvider"
TENSORRT: Final = "TensorrtExecutionProvider"
# In order of preference: what one provider leaves, the next one takes.
PROVIDERS: Final = {"cpu": (CPU,), "cuda": (CUDA, CPU), "tensorrt": (TENSORRT, CUDA, CPU)}
# Float32 in float32: by itself the provider takes TF32, which keeps no more of a number than float16 does.
CUDA_OPTIONS: Final = MappingProxyType({"use_tf32": "0"})
LIBRARIES: Final = {"cuda": "CUDA and cuDNN", "tensorrt": "TensorRT, CUDA and cuDNN"}
_ERRORS_ONLY_RAISED: Final = 4  # ONNX Runtime's log level "fatal": errors reach us as exceptions, not on stderr

_log = logging.getLogger(__name__)


class OnnxRuntimeEngine:
    """A model in ONNX Runtime: raw pixels (N, 3, T, T) to landslide probability (N, 1, T, T).

    Attributes:
        manifest: what the file says of itself.
        provider: what runs it, one of `PROVIDERS`.
        max_batch: most tiles a call; None: any number.
    """

    def __init__(
        self, session: Any, manifest: Manifest, provider: str = "cpu", *, max_batch: int | None = None
    ) -> None:
        self._session = session
        self.manifest = manifest
        self.provider = provider
        self.max_batch = max_batch
        self._process = OpeningProcess(self)

    def __call__(self, tiles: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the probability of each tile's pixels.

        Raises:
            EngineError: ONNX Runtime refused or failed, or the engine is closed.
            UsageError: this is a fork of the process that opened the engine.
        """
        self._process.require("the engine")
        if self._session is None:
            raise EngineError("the engine is closed; open it again")
        try:
            (probability,) = self._session.run([OUTPUT_NAME], {INPUT_NAME: tiles})
        except Exception as error:  # the runtime's own classes share no public base
            raise EngineError(f"ONNX Runtime failed ({one_line(error)}); export the model again") from error
        return np.asarray(probability, np.float32)

    def close(self) -> None:
        """Let go of the model and of what it holds on a device; closing twice, or in a fork, is no error."""
        if self._process.is_this:
            self._session = None


def session_options(ort: Any = onnxruntime, *, threads: int = 0, spinning: bool = False) -> Any:
    """Return how this project sets ONNX Runtime up: deterministic, and silent but for exceptions.

    Args:
        ort: the module onnxruntime.
        threads: on the CPU; 0 takes as many as suit this process (`usable_cores.thread_count`).
        spinning: threads that wait for work keep their cores busy, as is ONNX Runtime's default. Off: what reads,
            blends and writes needs those cores, and so does a battery. What it gains or costs was not measured yet.

    Raises:
        UsageError: fewer threads than 0.
    """
    options = ort.SessionOptions()
    options.log_severity_level = _ERRORS_ONLY_RAISED
    options.use_deterministic_compute = True
    options.intra_op_num_threads = thread_count(threads)
    options.add_session_config_entry("session.intra_op.allow_spinning", str(int(spinning)))
    return options


def open_onnxruntime(
    path: Path,
    manifest: Manifest,
    *,
    provider: str = "cpu",
    threads: int = 0,
    graph: bytes | None = None,
    ort: Any = onnxruntime,
    find_gpu: Callable[[], Device] = probe,
) -> OnnxRuntimeEngine:
    """Open a model file whose manifest was read, and hold the graph to it.

    Args:
        path: of the `.onnx` file.
        manifest: what the file says of itself.
        provider: one of `PROVIDERS`.
        threads: on the CPU; 0 takes as many as suit this process.
        graph: to run in the place of the file's, such as its gather form.
        ort: the module onnxruntime.
        find_gpu: raises `DeviceError` where there is none; asked for the GPU's providers alone.

    Raises:
        UsageError: there is no such provider, or fewer threads than 0.
        ArtifactError: no ONNX model, or not what its manifest says.
        DeviceError: there is no GPU or no driver.
        ProviderFellBack: ONNX Runtime would run the model without the provider.
    """
    if provider not in PROVIDERS:
        raise UsageError(f"there is no provider {provider!r}; give one of {', '.join(PROVIDERS)}")
    if provider != "cpu":
        find_gpu()
        _require_offered(provider, ort)
        load_cuda(ort)
    chosen = [(name, _provider_options(name, manifest)) for name in PROVIDERS[provider]]
    options = session_options(ort, threads=threads)
    try:
        session = ort.InferenceSession(
            str(path) if graph is None else graph, options, providers=chosen, enable_fallback=0
        )
    except Exception as error:  # the runtime's own classes share no public base
        raise ArtifactError(f"{path} is no ONNX model that can be opened ({one_line(error)}); {EXPORT}") from error
    session.disable_fallback()  # or a failure on the GPU is printed and the CPU goes on
    if PROVIDERS[provider][0] not in session.get_providers():
        raise ProviderFellBack(
            f"ONNX Runtime {ort.__version__} could not load its provider for {provider} and would run on the CPU; "
            f"install {LIBRARIES[provider]} in the versions that this onnxruntime-gpu was built for "
            "(https://onnxruntime.ai/docs/execution-providers), or use --engine cpu"
        )
    max_batch = require_ports(path, manifest, _ports(session.get_inputs()), _ports(session.get_outputs()))
    return OnnxRuntimeEngine(session, manifest, provider, max_batch=max_batch)


def load_cuda(ort: Any = onnxruntime) -> None:
    """Have CUDA and cuDNN of Python's packages found, as PyTorch brings them: by itself ONNX Runtime looks elsewhere.

    What can't be loaded is told when the provider is opened.
    """
    preload = getattr(ort, "preload_dlls", None)  # from 1.21 on
    if preload is None:
        return
    with redirect_stdout(io.StringIO()) as said:  # stdout is for results
        preload()
    if said.getvalue():
        _log.debug("loading CUDA for ONNX Runtime: %s", one_line(said.getvalue(), 1000))


def _require_offered(provider: str, ort: Any) -> None:
    name = PROVIDERS[provider][0]
    if name not in ort.get_available_providers():
        raise ProviderFellBack(
            f"this ONNX Runtime ({ort.__version__}) has no provider for {provider} ({name}) and would run on the CPU; "
            "run: pip uninstall onnxruntime, then pip install onnxruntime-gpu (on a Jetson: the build for its "
            "JetPack), or use --engine cpu"
        )


def _provider_options(name: str, manifest: Manifest) -> dict[str, str]:
    """Return a provider's settings; TensorRT may use the precisions that are in the graph, and keeps its engines."""
    if name != TENSORRT:
        return dict(CUDA_OPTIONS) if name == CUDA else {}
    options = {
        "trt_fp16_enable": str(manifest.precision in ("fp16", "int8")),
        "trt_int8_enable": str(manifest.precision == "int8"),
    }
    kept = cache_folder() / "onnxruntime"
    try:
        kept.mkdir(mode=0o700, parents=True, exist_ok=True)  # what lies there is run
    except OSError as error:
        _log.warning("ONNX Runtime's engines can't be kept in %s (%s); set KDA_EDGE_CACHE", kept, one_line(error))
        return options
    return options | {"trt_engine_cache_enable": "True", "trt_engine_cache_path": str(kept)}


def _ports(found: list[Any]) -> list[Port]:
    return [Port(port.name, FLOAT if port.type == "tensor(float)" else port.type, port.shape) for port in found]
