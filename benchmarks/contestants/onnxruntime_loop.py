"""The peer that runs the same ONNX file in ONNX Runtime, driven by a straightforward rasterio loop."""

from __future__ import annotations

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from kda_edge.manifest import INPUT_NAME, OUTPUT_NAME

from .task import MappingTask
from .tile_loop import LoopPeer


def open_ort_loop(task: MappingTask) -> LoopPeer:
    """Open the task's ONNX with the defaults of ONNX Runtime but for the number of threads."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = task.threads
    path = str(task.model().path)
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def answer(tiles: NDArray[np.float32]) -> NDArray[np.float32]:
        (probability,) = session.run([OUTPUT_NAME], {INPUT_NAME: tiles})
        return np.asarray(probability, np.float32)

    engine = f"ONNX Runtime {onnxruntime.__version__}, CPUExecutionProvider, default session"
    return LoopPeer(task, answer, {"engine": engine})
