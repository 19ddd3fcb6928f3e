"""OpenVINO behind the core's one-call engine protocol: on the CPU, in float32 or, where it is asked for, in bfloat16.

The graph is compiled for one tile, and a few of a batch's tiles are computed at once, see `openvino_requests`: a tile's
answer depends on nothing but the tile.

Left to itself OpenVINO computes in bfloat16 on every CPU that has it, and quantises activations of its own accord;
here the precision is demanded, and asked for again once the graph is compiled. Its own cache of compiled graphs stays
off; `compiled_graphs` looks at what it takes.
"""

from __future__ import annotations

import io
import logging
import sys
import threading
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from kda_edge.errors import ArtifactError, DeviceError, EngineError, MissingDependency, TooOld, one_line
from kda_edge.manifest import Manifest
from kda_edge.opening_process import OpeningProcess
from kda_edge.paths import cache_folder

from ..cache.compiled_graphs import CompiledGraph
from ..hardware.usable_cores import thread_count
from .artifact import EXPORT
from .graph_ports import FLOAT, Port, require_ports
from .openvino_requests import Requests, stream_count

OLDEST: Final = (2024, 4)
TELEMETRY: Final = "openvino_telemetry"
KINDS: Final = {"f32": FLOAT}

_log = logging.getLogger(__name__)


class OpenVinoEngine:
    """A model in OpenVINO: raw pixels (N, 3, T, T) to landslide probability (N, 1, T, T); threads take turns.

    Attributes:
        manifest: what the file says of itself.
        max_batch: tiles a call that it is fastest with; more are taken, and bring nothing.
    """

    max_batch: int | None

    def __init__(self, compiled: Any, manifest: Manifest, streams: int) -> None:
        requests = Requests(compiled, streams)
        self._requests: Requests | None = requests
        self._turn = threading.Lock()
        self._process = OpeningProcess(self)
        self.manifest, self.max_batch = manifest, requests.max_batch

    def __call__(self, tiles: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the probability of each tile's pixels.

        Raises:
            EngineError: the tiles are not what the graph takes, OpenVINO failed, or the engine is closed.
            UsageError: this is a fork of the process that opened the engine.
        """
        self._process.require("the engine")
        tile_px = self.manifest.tile_px
        if tiles.ndim != 4 or tiles.shape[1:] != (3, tile_px, tile_px):
            raise EngineError(f"the engine takes tiles (N, 3, {tile_px}, {tile_px}), not {tiles.shape}")
        with self._turn:
            if self._requests is None:
                raise EngineError("the engine is closed; open it again")
            try:
                return self._requests(tiles)
            except Exception as error:  # OpenVINO raises bare RuntimeError and worse
                raise EngineError(f"OpenVINO failed ({reason_of(error)}); use --engine cpu") from error

    def close(self) -> None:
        """Let go of the model; closing twice, or in a fork, is no error."""
        if self._process.is_this:
            with self._turn:
                self._requests = None


def load_openvino() -> Any:
    """Import OpenVINO without the telemetry that its package, once imported, sends to its makers.

    Where the package that sends is missing OpenVINO does without, so that it is kept out while OpenVINO is imported.
    Whoever has imported OpenVINO before has decided for himself.

    Raises:
        MissingDependency: it is not installed.
        DeviceError: it is, and can't be loaded.
        TooOld: it is older than 2024.4.
    """
    barred = TELEMETRY not in sys.modules
    if barred:
        sys.modules[TELEMETRY] = None  # type: ignore[assignment]  # Python's way to say: can't be imported
    try:
        import openvino
    except ModuleNotFoundError as error:
        raise MissingDependency("openvino", extra="openvino") from error
    except ImportError as error:  # a library of the system that is missing or too old
        raise DeviceError(f"OpenVINO can't be loaded here ({reason_of(error)}); use --engine cpu") from error
    finally:
        if barred:
            del sys.modules[TELEMETRY]
    version = openvino.__version__
    if tuple(int(part) for part in version.split("-")[0].split(".")[:2]) < OLDEST:
        raise TooOld(f"OpenVINO {version} is older than 2024.4; run: pip install -U 'kda-edge[openvino]'")
    return openvino


def open_openvino(
    path: Path, manifest: Manifest, *, bfloat16: bool = False, threads: int = 0, ov: Any = None
) -> OpenVinoEngine:
    """Open a model file whose manifest was read, and hold the graph to it.

    Args:
        path: of the `.onnx` file.
        manifest: what the file says of itself.
        bfloat16: compute in bfloat16, and answer otherwise than in float32.
        threads: 0 takes as many as suit this process.
        ov: the module openvino; None imports it.

    Raises:
        MissingDependency: OpenVINO is not installed.
        ArtifactError: the graph is none that OpenVINO takes, or not what its manifest says.
        DeviceError: OpenVINO has no CPU here, the CPU has no bfloat16, or another precision would be used.
        UsageError: fewer threads than 0.
    """
    ov = load_openvino() if ov is None else ov
    settings = cpu_settings(bfloat16=bfloat16, threads=threads)
    core = ov.Core()
    if bfloat16:
        _require_bfloat16(core)
    kept = CompiledGraph(path, settings, str(ov.__version__), root=cache_folder())
    compiled = imported = _imported(core, kept, path, manifest, settings)
    if compiled is None:
        try:
            compiled = _compiled(core, path, manifest, settings)
        except ArtifactError:
            raise
        except Exception as error:  # OpenVINO raises bare RuntimeError and worse
            raise ArtifactError(
                f"OpenVINO {ov.__version__} does not take {path} ({reason_of(error)}); use --engine cpu, or {EXPORT}"
            ) from error
    asked, got = "bf16" if bfloat16 else "f32", compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
    if got != asked:
        raise DeviceError(f"OpenVINO {ov.__version__} would compute in {got}, not in {asked}; use --engine cpu")
    if imported is None:
        _export(compiled, kept)
    return OpenVinoEngine(compiled, manifest, settings["NUM_STREAMS"])


def _compiled(core: Any, path: Path, manifest: Manifest, settings: dict[str, Any]) -> Any:
    tile_px = manifest.tile_px
    model = core.read_model(str(path))
    require_ports(path, manifest, _ports(model.inputs), _ports(model.outputs))
    model.reshape([1, 3, tile_px, tile_px])
    require_ports(path, manifest, _ports(model.inputs), _ports(model.outputs))  # an open side may have got a size
    return core.compile_model(model, "CPU", settings)


def _imported(core: Any, kept: CompiledGraph, path: Path, manifest: Manifest, settings: dict[str, Any]) -> Any:
    """Return the graph that was compiled before; None: there is none, or OpenVINO does not take it."""
    graph = kept.read()
    if graph is None:
        return None
    try:
        compiled = core.import_model(io.BytesIO(graph), "CPU", settings)
        require_ports(path, manifest, _ports(compiled.inputs), _ports(compiled.outputs))
    except Exception as error:  # OpenVINO raises bare RuntimeError and worse
        kept.discard(reason_of(error))
        return None
    return compiled


def _export(compiled: Any, kept: CompiledGraph) -> None:
    try:
        graph = compiled.export_model()
    except Exception as error:  # OpenVINO raises bare RuntimeError and worse
        _log.warning("the compiled graph can't be kept (%s)", reason_of(error))
        return
    kept.keep(graph if isinstance(graph, bytes) else graph.getvalue())  # older versions give a stream


def cpu_settings(*, bfloat16: bool = False, threads: int = 0) -> dict[str, Any]:
    """Return how this project sets OpenVINO up.

    Args:
        bfloat16: instead of float32.
        threads: 0 takes as many as suit this process.

    Raises:
        UsageError: fewer threads than 0.
    """
    precision = (
        {"INFERENCE_PRECISION_HINT": "bf16"}
        if bfloat16
        else {"INFERENCE_PRECISION_HINT": "f32", "EXECUTION_MODE_HINT": "ACCURACY"}
    )
    threads = thread_count(threads)
    streams = stream_count(threads, alike=bfloat16)
    return {
        **precision,
        "PERFORMANCE_HINT": "LATENCY" if streams == 1 else "THROUGHPUT",
        "NUM_STREAMS": streams,
        "INFERENCE_NUM_THREADS": threads,
        "ENABLE_CPU_PINNING": False,  # or two processes on one machine are pinned to the same cores
    }


def _require_bfloat16(core: Any) -> None:
    try:
        capabilities = core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    except Exception as error:  # OpenVINO raises bare RuntimeError and worse
        raise DeviceError(f"OpenVINO has no CPU here ({reason_of(error)}); use --engine cpu") from error
    if "BF16" not in capabilities:
        raise DeviceError("this CPU does not compute in bfloat16; use --engine openvino")


def _ports(found: Any) -> list[Port]:
    return [
        Port(
            "/".join(sorted(port.get_names())),
            KINDS.get(kind := port.get_element_type().get_type_name(), kind),
            [side.get_length() if side.is_static else "any" for side in port.get_partial_shape()],
        )
        for port in found
    ]


def reason_of(error: Exception) -> str:
    """Return the last line of an error of OpenVINO that is not about its own source."""
    lines = [line.strip() for line in str(error).splitlines()]
    said = [line for line in lines if line and not line.startswith("Exception from")]
    return one_line(said[-1] if said else type(error).__name__)
