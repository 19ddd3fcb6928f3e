"""A TensorRT engine from an ONNX graph, on the device that will run it; the same calls for TensorRT 10.3 to 11.

The precision is in the graph: the network is strongly typed (a flag that TensorRT 10 needs and 11 knows), there are no
precision flags and no calibrator. TF32 is switched off: it keeps no more of a number than float16 does, and a graph
that holds its sampling positions in float32 means it.
"""

from __future__ import annotations

import logging
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from kda_edge.errors import BuildRefused, DeviceError, OutOfDeviceMemory, one_line

from ..hardware.gpu_probe import Device
from .build_progress import Progress, progress_monitor
from .library import MESSAGE_CHARS, Library, open_library
from .precision_proof import LayerCounts, inspect_engine
from .timing_cache import load_timings, save_timings

OTHER_BACKEND: Final = "use another model, or --engine cpu"
NAMED_ERRORS: Final = 3  # of the parser's, in a message of one line
# TensorRT tells why a build failed by its log alone.
OUT_OF_MEMORY: Final = re.compile(
    r"out ?of ?memory|insufficient memory|memory allocation fail|bad_alloc", re.IGNORECASE
)

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class BuildOptions:
    """What an engine is built for; the precision is in the graph.

    Attributes:
        opt_batch: tiles a call that the engine is tuned for.
        max_batch: most tiles a call that it takes; from 1 on.
        workspace_bytes: device memory that a layer may use for itself; None leaves it to TensorRT.
        timing_cache: file of measured timings that shorten the next build; None keeps none.
        dla_core: core of a Jetson's deep learning accelerator to use, with the GPU for what it can't do; None: the
            GPU alone. Such an engine takes `max_batch` tiles at each call and no fewer. Not measured.
    """

    opt_batch: int = 1
    max_batch: int = 1
    workspace_bytes: int | None = None
    timing_cache: Path | None = None
    dla_core: int | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.opt_batch <= self.max_batch:
            raise ValueError(f"batches of 1 <= opt <= max are needed, not {self.opt_batch} and {self.max_batch}")
        if self.workspace_bytes is not None and self.workspace_bytes <= 0:
            raise ValueError(f"the workspace must have some bytes, not {self.workspace_bytes}")
        if self.dla_core is not None and self.dla_core < 0:
            raise ValueError(f"there is no DLA core {self.dla_core}")


@dataclass(frozen=True)
class Built:
    """A new engine.

    Attributes:
        plan: its serialised bytes, for this device and this TensorRT alone.
        layers: what its layers compute in.
        build_s: seconds that it took.
        tensorrt_version: what built it.
    """

    plan: bytes
    layers: LayerCounts
    build_s: float
    tensorrt_version: str


def build_engine(
    onnx: bytes | Path,
    *,
    device: Device,
    options: BuildOptions,
    progress: Progress | None = None,
    library: Library | None = None,
) -> Built:
    """Build an engine; that takes minutes on a Jetson, and Ctrl-C ends it.

    Args:
        onnx: the graph's bytes or its file; one input (batch, 3, T, T), the batch fixed or symbolic.
        device: from `probe`; the CUDA device in use must be this one.
        options: batches, memory, timings, accelerator.
        progress: is told of each step; what it raises ends the build and is raised here.
        library: from `open_library`; None opens it.

    Raises:
        BuildRefused: the parser or the builder refuses the graph, it would sample GridSample by nearest neighbour, or
            the device has not the accelerator that was asked for.
        OutOfDeviceMemory: the device's memory does not suffice to build.
        DeviceError: TensorRT does not start.
    """
    library = open_library(device) if library is None else library
    trt, started_s = library.trt, time.perf_counter()
    library.logger.errors.clear()
    try:
        builder = trt.Builder(library.logger)
    except (TypeError, RuntimeError) as error:  # the bindings' way to say that there is none
        reason = library.last_error or one_line(error, MESSAGE_CHARS)
        raise DeviceError(
            f"TensorRT {library.version} does not start on {device.name} ({reason})"
            "; update the driver or TensorRT so that they fit, or use --engine cpu"
        ) from error
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, library.logger)
    _parse(parser, onnx, library)
    _require_bilinear(trt, network, library)
    config = builder.create_builder_config()
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED  # or the inspector tells names alone
    config.clear_flag(trt.BuilderFlag.TF32)
    if options.workspace_bytes is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, options.workspace_bytes)
    if options.dla_core is not None:
        _use_dla(builder, config, options.dla_core, device=device, library=library)
    _add_profile(builder, network, config, options)
    if options.timing_cache is not None:
        load_timings(config, options.timing_cache, device=device, version=library.version)
    _log.info("building an engine with TensorRT %s for %s", library.version, device.name)
    plan = _build(builder, network, config, progress=progress, device=device, library=library)
    if options.timing_cache is not None:
        save_timings(config, options.timing_cache, device=device, version=library.version)
    layers = _inspect(plan, _quantised(trt, network), options=options, device=device, library=library)
    return Built(plan, layers, time.perf_counter() - started_s, library.version)


def _parse(parser: Any, onnx: bytes | Path, library: Library) -> None:
    if parser.parse(onnx) if isinstance(onnx, bytes) else parser.parse_from_file(str(onnx)):
        return
    found = []
    for index in range(parser.num_errors):
        parser_error = parser.get_error(index)
        node = " ".join(filter(None, (parser_error.node_operator(), parser_error.node_name())))
        reason = one_line(parser_error.desc(), MESSAGE_CHARS)
        found.append(f"{node}: {reason}" if node else reason)
    more = f", and {len(found) - NAMED_ERRORS} more" if len(found) > NAMED_ERRORS else ""
    reasons = "; ".join(dict.fromkeys(found[:NAMED_ERRORS])) or library.last_error or "it gives no reason"
    raise BuildRefused(f"TensorRT {library.version} does not take this graph ({reasons}{more}); {OTHER_BACKEND}")


def _require_bilinear(trt: Any, network: Any, library: Library) -> None:
    """Refuse a graph whose GridSample the parser made a nearest-neighbour one, which TensorRT 10 does in silence."""
    for index in range(network.num_layers):
        layer = network.get_layer(index)
        if layer.type != trt.LayerType.GRID_SAMPLE:
            continue
        # The bindings hand out every layer as the base class; this is their way to its own fields.
        layer.__class__ = trt.IGridSampleLayer
        grid_sample = layer
        if grid_sample.interpolation_mode != trt.InterpolationMode.LINEAR:
            raise BuildRefused(
                f"TensorRT {library.version} reads {grid_sample.name} as nearest-neighbour sampling, as it does from "
                "opset 20 on, which would coarsen the map; export the model again with this kda-edge (opset 19)"
            )


def _use_dla(builder: Any, config: Any, core: int, *, device: Device, library: Library) -> None:
    trt = library.trt
    cores = builder.num_DLA_cores
    if core >= cores:
        which = f"has no DLA core {core}, only 0 to {cores - 1}" if cores else "has no DLA that this TensorRT can use"
        raise BuildRefused(
            f"{device.name} {which} (TensorRT {library.version}; on Jetsons 10.7 was the last of 10 with one); "
            "leave the DLA out"
        )
    config.default_device_type = trt.DeviceType.DLA
    config.DLA_core = core
    config.set_flag(trt.BuilderFlag.GPU_FALLBACK)


def _add_profile(builder: Any, network: Any, config: Any, options: BuildOptions) -> None:
    """Tell which batches the engine must take."""
    tensor = network.get_input(0) if network.num_inputs == 1 else None
    shape = () if tensor is None else tuple(tensor.shape)
    if tensor is None or len(shape) != 4 or min(shape[1:]) <= 0:
        raise BuildRefused(
            f"the graph has {network.num_inputs} inputs, the first of shape {shape or 'unknown'}, and one of "
            "(batch, 3, T, T) is needed; export the model again"
        )
    if shape[0] != -1:
        if options.max_batch != shape[0]:
            raise BuildRefused(
                f"the graph takes {shape[0]} tiles a call and an engine for {options.max_batch} was asked for; "
                f"use a batch of {shape[0]}, or export the model again"
            )
        return
    # The accelerator takes one batch only.
    batches = (1, options.opt_batch, options.max_batch) if options.dla_core is None else (options.max_batch,) * 3
    profile = builder.create_optimization_profile()
    profile.set_shape(tensor.name, *((batch, *shape[1:]) for batch in batches))
    config.add_optimization_profile(profile)


def _build(
    builder: Any, network: Any, config: Any, *, progress: Progress | None, device: Device, library: Library
) -> bytes:
    monitor = progress_monitor(library.trt, progress)
    config.progress_monitor = monitor
    memory = builder.build_serialized_network(network, config)
    if monitor.error is not None:
        raise monitor.error
    if memory is None:
        raise _refused("makes no engine of this graph", device, library)
    return bytes(memory)


def _inspect(plan: bytes, quantised: int, *, options: BuildOptions, device: Device, library: Library) -> LayerCounts:
    trt = library.trt
    runtime = trt.Runtime(library.logger)
    if options.dla_core is not None:
        runtime.DLA_core = options.dla_core
    engine = runtime.deserialize_cuda_engine(plan)
    if engine is None:
        raise _refused("does not take back the engine that it has built", device, library)
    return inspect_engine(trt, engine, quantised=quantised)


def _quantised(trt: Any, network: Any) -> int:
    """Count the convolutions and matrix products that take dequantised values."""
    multiplies = (trt.LayerType.CONVOLUTION, trt.LayerType.DECONVOLUTION, trt.LayerType.MATRIX_MULTIPLY)
    dequantised, taken = set(), []
    for index in range(network.num_layers):
        layer = network.get_layer(index)
        if layer.type == trt.LayerType.DEQUANTIZE:
            dequantised |= {layer.get_output(at).name for at in range(layer.num_outputs)}
        elif layer.type in multiplies:
            tensors = [layer.get_input(at) for at in range(layer.num_inputs)]
            taken.append({tensor.name for tensor in tensors if tensor is not None})
    return sum(1 for names in taken if names & dequantised)


def _refused(what: str, device: Device, library: Library) -> DeviceError:
    said = library.last_error or "it gives no reason"
    if any(OUT_OF_MEMORY.search(error) for error in library.logger.errors):
        return OutOfDeviceMemory(
            f"the memory of {device.name} ({device.memory_bytes / 2**30:.1f} GiB) does not suffice to build an engine "
            f"({said}); close what else uses it, or ask for smaller batches"
        )
    return BuildRefused(f"TensorRT {library.version} {what} on {device.name} ({said}); {OTHER_BACKEND}")
