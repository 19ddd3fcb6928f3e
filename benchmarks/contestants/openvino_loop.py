"""The peer that runs the same ONNX file in OpenVINO, driven by a straightforward rasterio loop."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from kda_edge.runtime.engines.openvino_engine import load_openvino

from .task import MappingTask
from .tile_loop import LoopPeer


def open_openvino(task: MappingTask) -> LoopPeer:
    """Compile the task's ONNX for the CPU, in float32, set up for latency.

    Raises:
        MissingDependency: OpenVINO is not installed.
        DeviceError: it is, and can't be loaded or is too old.
    """
    openvino = load_openvino()
    wanted: dict[str, str | int] = {
        "INFERENCE_NUM_THREADS": task.threads,
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32",
    }
    core = openvino.Core()
    model = core.compile_model(core.read_model(str(task.model().path)), "CPU", wanted)

    def answer(tiles: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.array(model(tiles)[0], np.float32)

    engine = f"OpenVINO {openvino.__version__}, CPU"
    return LoopPeer(task, answer, {"engine": engine} | {name.lower(): value for name, value in wanted.items()})
