"""ONNX Runtime behind the core's one-call engine protocol: on the CPU, or on a GPU by one of its providers.

A provider that can't be had is left out by ONNX Runtime without a word, and the model then runs on the CPU. Here that
is an error, before a tile is computed and while tiles are.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from kda_edge.errors import ArtifactError, EngineError, ProviderFellBack, UsageError
from kda_edge.manifest import Manifest

from .artifact import EXPORT
from .device_probe import Device, probe
from .engine_cache import cache_folder

INPUT: Final = "image"
OUTPUT: Final = "probability"
CPU: Final = "CPUExecutionProvider"
CUDA: Final = "CUDAExecutionProvider"
TENSORRT: Final = "TensorrtExecutionProvider"
# Each before those that take the operators which it leaves.
PROVIDERS: Final = {"cpu": (CPU,), "cuda": (CUDA, CPU), "tensorrt": (TENSORRT, CUDA, CPU)}
LIBRARIES: Final = {"cuda": "CUDA and cuDNN", "tensorrt": "TensorRT, CUDA and cuDNN"}
_ERRORS_ONLY_RAISED: Final = 4  # ONNX Runtime's log level "fatal": errors reach us as exceptions, not on stderr

_log = logging.getLogger(__name__)


class OnnxRuntimeEngine:
    """A model in ONNX Runtime: raw pixels (N, 3, T, T) to landslide probability (N, 1, T, T).

    Attributes:
        manifest: what the file says of itself.
        provider: what runs it, one of `PROVIDERS`.
    """

    def __init__(self, session: Any, manifest: Manifest, provider: str = "cpu") -> None:
        self._session = session
        self.manifest = manifest
        self.provider = provider

    def __call__(self, tiles: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the probability of each tile's pixels.

        Raises:
            EngineError: ONNX Runtime refused or failed, or the engine is closed.
        """
        if self._session is None:
            raise EngineError("the engine is closed; open it again")
        try:
            (probability,) = self._session.run([OUTPUT], {INPUT: tiles})
        except Exception as error:  # the runtime's own classes share no public base
            raise EngineError(f"ONNX Runtime failed ({_reason(error)}); export the model again") from error
        return np.asarray(probability, np.float32)

    def close(self) -> None:
        """Let go of the model and of what it holds on a device; closing twice is no error."""
        self._session = None


def session_options(ort: Any = onnxruntime) -> Any:
    """Return how this project sets ONNX Runtime up: deterministic, and silent but for exceptions."""
    options = ort.SessionOptions()
    options.log_severity_level = _ERRORS_ONLY_RAISED
    options.use_deterministic_compute = True
    return options


def open_onnxruntime(
    path: Path,
    manifest: Manifest,
    *,
    provider: str = "cpu",
    ort: Any = onnxruntime,
    find_gpu: Callable[[], Device] = probe,
) -> OnnxRuntimeEngine:
    """Open a model file whose manifest was read, and hold the graph to it.

    Args:
        path: of the `.onnx` file.
        manifest: what the file says of itself.
        provider: one of `PROVIDERS`.
        ort: the module onnxruntime.
        find_gpu: raises `DeviceError` where there is none; asked for the GPU's providers alone.

    Raises:
        UsageError: there is no such provider.
        ArtifactError: no ONNX model, or not what its manifest says.
        DeviceError: there is no GPU or no driver.
        ProviderFellBack: ONNX Runtime would run the model without the provider.
    """
    if provider not in PROVIDERS:
        raise UsageError(f"there is no provider {provider!r}; give one of {', '.join(PROVIDERS)}")
    if provider != "cpu":
        find_gpu()
        _require_offered(provider, ort)
    chosen = [(name, _provider_options(name, manifest)) for name in PROVIDERS[provider]]
    try:
        session = ort.InferenceSession(str(path), session_options(ort), providers=chosen, enable_fallback=0)
    except Exception as error:  # the runtime's own classes share no public base
        raise ArtifactError(f"{path} is no ONNX model that can be opened ({_reason(error)}); {EXPORT}") from error
    session.disable_fallback()  # or a failure on the GPU is printed and the CPU goes on
    if PROVIDERS[provider][0] not in session.get_providers():
        raise ProviderFellBack(
            f"ONNX Runtime {ort.__version__} could not load its provider for {provider} and would run on the CPU; "
            f"install {LIBRARIES[provider]} in the versions that this onnxruntime-gpu was built for "
            "(https://onnxruntime.ai/docs/execution-providers), or use --engine cpu"
        )
    tile_px = manifest.tile_px
    _require_port(path, "input", session.get_inputs(), INPUT, (3, tile_px, tile_px))
    _require_port(path, "output", session.get_outputs(), OUTPUT, (1, tile_px, tile_px))
    return OnnxRuntimeEngine(session, manifest, provider)


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
        return {}
    options = {
        "trt_fp16_enable": str(manifest.precision in ("fp16", "int8")),
        "trt_int8_enable": str(manifest.precision == "int8"),
    }
    kept = cache_folder() / "onnxruntime"
    try:
        kept.mkdir(mode=0o700, parents=True, exist_ok=True)  # what lies there is run
    except OSError as error:
        _log.warning("ONNX Runtime's engines can't be kept in %s (%s); set KDA_EDGE_CACHE", kept, error.strerror)
        return options
    return options | {"trt_engine_cache_enable": "True", "trt_engine_cache_path": str(kept)}


def _require_port(path: Path, role: str, ports: list[Any], name: str, shape: tuple[int, int, int]) -> None:
    """Hold the graph to what its manifest says; a size that the graph leaves open is checked with every tile."""
    found = [(port.name, port.type, tuple(port.shape)) for port in ports]
    if len(found) == 1 and found[0][:2] == (name, "tensor(float)") and len(found[0][2]) == 4:
        batch, *rest = found[0][2]
        open_batch = not isinstance(batch, int) or batch == 1
        if open_batch and all(not isinstance(a, int) or a == b for a, b in zip(rest, shape, strict=True)):
            return
    ports_found = ", ".join(f"{n} {kind} {list(s)}" for n, kind, s in found)
    raise ArtifactError(
        f"{path} has the {role} {ports_found} where its manifest asks for {name} tensor(float) "
        f"[N, {', '.join(map(str, shape))}]; {EXPORT}"
    )


def _reason(error: Exception) -> str:
    lines = str(error).splitlines()
    return lines[0][:200] if lines else type(error).__name__
