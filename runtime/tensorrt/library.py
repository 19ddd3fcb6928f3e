"""The TensorRT library: one code path for 10.3 (JetPack 6) to 11, and the list of every name of it that we touch.

TensorRT 11 has no precision flags, no calibrators and no implicit typing, and JetPack 6 can't have TensorRT 11. Only
what both have is used: `USED` is that list, and a test holds our code to it and it to the recorded bindings of
10.3.0, 10.13.3, 10.16.1 and 11.4.0. So that the test can follow them, objects of the bindings go by the names in
`HANDLES`, with an underscore before them at most, and by no others.
"""

from __future__ import annotations

import functools
import importlib
import logging
import re
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from kda_edge.errors import DeviceError, MissingDependency, TooOld, one_line

from ..hardware.gpu_probe import Device

OLDEST: Final = (10, 3)  # JetPack 6.1 and 6.2
KEPT_ERRORS: Final = 20  # of TensorRT's last messages, for ours
MESSAGE_CHARS: Final = 300  # of one of them: some quote a whole graph

HANDLES: Final = {
    "trt": "tensorrt",
    "builder": "Builder",
    "network": "INetworkDefinition",
    "parser": "OnnxParser",
    "parser_error": "ParserError",
    "config": "IBuilderConfig",
    "profile": "IOptimizationProfile",
    "timings": "ITimingCache",
    "memory": "IHostMemory",
    "layer": "ILayer",
    "grid_sample": "IGridSampleLayer",
    "tensor": "ITensor",
    "runtime": "Runtime",
    "engine": "ICudaEngine",
    "context": "IExecutionContext",
    "inspector": "EngineInspector",
}

USED: Final[dict[str, frozenset[str]]] = {
    name: frozenset(attributes.split())
    for name, attributes in {
        "tensorrt": """
            __version__ Builder BuilderFlag DataType DeviceType ExecutionContextAllocationStrategy IGridSampleLayer
            ILogger IProgressMonitor InterpolationMode LayerInformationFormat LayerType MemoryPoolType
            NetworkDefinitionCreationFlag OnnxParser ProfilingVerbosity Runtime TensorIOMode""",
        "Builder": """
            build_serialized_network create_builder_config create_network create_optimization_profile num_DLA_cores""",
        "IBuilderConfig": """
            DLA_core add_optimization_profile clear_flag create_timing_cache default_device_type get_timing_cache
            profiling_verbosity progress_monitor set_flag set_memory_pool_limit set_timing_cache""",
        "INetworkDefinition": "get_input get_layer num_inputs num_layers",
        "IOptimizationProfile": "set_shape",
        "OnnxParser": "get_error num_errors parse parse_from_file",
        "ParserError": "desc node_name node_operator",
        "ILayer": "get_input get_output num_inputs num_outputs type",
        "IGridSampleLayer": "interpolation_mode name",
        "ITensor": "name shape",
        "ITimingCache": "serialize",
        "IHostMemory": "",
        "ILogger": "Severity __init__",
        "ILogger.Severity": "ERROR INTERNAL_ERROR WARNING",
        "IProgressMonitor": "__init__",
        "Runtime": "DLA_core deserialize_cuda_engine",
        "ICudaEngine": """
            create_engine_inspector create_execution_context device_memory_size_v2 get_tensor_dtype get_tensor_mode
            get_tensor_name get_tensor_profile_shape get_tensor_shape num_io_tensors""",
        "IExecutionContext": "execute_async_v3 get_tensor_shape set_device_memory set_input_shape set_tensor_address",
        "EngineInspector": "execution_context get_engine_information",
        "BuilderFlag": "GPU_FALLBACK TF32",
        "DataType": "FLOAT",
        "DeviceType": "DLA",
        "ExecutionContextAllocationStrategy": "USER_MANAGED",
        "InterpolationMode": "LINEAR",
        "LayerInformationFormat": "JSON",
        "LayerType": "CONVOLUTION DECONVOLUTION DEQUANTIZE GRID_SAMPLE MATRIX_MULTIPLY",
        "MemoryPoolType": "WORKSPACE",
        "NetworkDefinitionCreationFlag": "STRONGLY_TYPED",
        "ProfilingVerbosity": "DETAILED",
        "TensorIOMode": "INPUT",
    }.items()
}
CALLED_BACK: Final = {  # what TensorRT calls on objects of ours
    "ILogger": ("log",),
    "IProgressMonitor": ("phase_start", "step_complete", "phase_finish"),
}

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Library:
    """TensorRT, opened after the driver has answered.

    Attributes:
        trt: the module.
        version: of it, such as "10.3.0".
        logger: the process's one logger for it; its `errors` are TensorRT's last errors, the newest last.
    """

    trt: Any
    version: str
    logger: Any

    @property
    def last_error(self) -> str:
        """What TensorRT complained of last, on one line; empty if of nothing."""
        errors: deque[str] = self.logger.errors
        return errors[-1] if errors else ""


def open_library(device: Device, *, import_module: Callable[[str], Any] = importlib.import_module) -> Library:
    """Import TensorRT and check its version.

    Args:
        device: what `probe` returned: without a driver the bindings would crash the process.
        import_module: gives the module of a name, and raises ImportError where there is none.

    Raises:
        MissingDependency: the package is not installed.
        DeviceError: it is installed and does not load.
        TooOld: it is older than 10.3.
    """
    try:
        trt = import_module("tensorrt")
    except ModuleNotFoundError as error:
        if error.name != "tensorrt":  # its bindings or its libraries, each a package of its own
            raise _does_not_load(error) from error
        missing = MissingDependency("tensorrt", extra="tensorrt")
        missing.msg = (
            f"{missing.msg}; on a Jetson it comes with JetPack: "
            "make the virtual environment with python3 -m venv --system-site-packages"
        )
        raise missing from error
    except (ImportError, OSError) as error:
        raise _does_not_load(error) from error
    version = str(getattr(trt, "__version__", ""))
    numbers = re.match(r"(\d+)\.(\d+)", version)
    if numbers is None:
        raise DeviceError(
            f"the package tensorrt is not NVIDIA's or is incomplete (its version is {version!r}); "
            "install it again: pip install --force-reinstall tensorrt"
        )
    if (int(numbers[1]), int(numbers[2])) < OLDEST:
        raise TooOld(
            f"TensorRT {version} is older than {OLDEST[0]}.{OLDEST[1]}, the oldest that is supported; "
            "update it (on a Jetson: JetPack 6.1 or later), or use --engine cpu"
        )
    _log.info("TensorRT %s on %s", version, device.name)
    return Library(trt, version, _logger_of(trt))


@functools.cache
def _logger_of(trt: Any) -> Any:
    """Return the logger of this module of bindings; TensorRT takes the first of a process and ignores later ones."""
    severity_of = trt.ILogger.Severity
    severe = (severity_of.INTERNAL_ERROR, severity_of.ERROR)

    class Logger(trt.ILogger):  # type: ignore[misc]  # the bindings ship no types
        """Passes messages on, below the level that is shown unasked: what matters of them is in our own errors."""

        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.errors: deque[str] = deque(maxlen=KEPT_ERRORS)

        def log(self, severity: object, msg: str) -> None:
            message = one_line(msg, MESSAGE_CHARS)
            if severity in severe:
                self.errors.append(message)
            _log.log(logging.INFO if severity in (*severe, severity_of.WARNING) else logging.DEBUG, "%s", message)

    return Logger()


def _does_not_load(error: BaseException) -> DeviceError:
    return DeviceError(
        f"TensorRT is installed and does not load ({one_line(error, MESSAGE_CHARS)}); "
        "install it again: pip install --force-reinstall tensorrt (on a Jetson: apt reinstall python3-libnvinfer)"
    )
