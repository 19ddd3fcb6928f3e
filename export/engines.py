"""What is compared, as engines: a student in PyTorch, and a graph in memory in ONNX Runtime."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort
import torch
from numpy.typing import NDArray

from kda_edge.errors import ExportError
from kda_edge.manifest import InputContract
from kda_edge.network import Network
from kda_edge.predict import Engine
from kda_edge.runtime.engine_onnxruntime import session_options

from .lint import INPUT_NAME, OUTPUT_NAME
from .to_onnx import raw_pixel_student


def engine_from_graph(graph: onnx.ModelProto) -> Engine:
    """Return an engine for a graph without a manifest, set up as the runtime sets up ONNX Runtime.

    The runtime itself refuses a file that was never verified, so it can't be asked before; it is asked afterwards.

    Raises:
        ExportError: ONNX Runtime refuses the graph.
    """
    try:
        session = ort.InferenceSession(graph.SerializeToString(), session_options(), providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's own classes share no public base
        raise ExportError(f"ONNX Runtime {ort.__version__} refuses the graph: {str(error).splitlines()[0]}") from error

    def probability(tiles: NDArray[np.float32]) -> NDArray[np.float32]:
        (answer,) = session.run([OUTPUT_NAME], {INPUT_NAME: tiles})
        return np.asarray(answer, np.float32)

    return probability


def engine_from_student(student: Network, contract: InputContract) -> Engine:
    """Return PyTorch's answer in float32 on the CPU as an engine; `student` stays as it is."""
    module = raw_pixel_student(student, contract)

    @torch.inference_mode()
    def probability(tiles: NDArray[np.float32]) -> NDArray[np.float32]:
        answer: NDArray[np.float32] = module(torch.from_numpy(tiles)).numpy()
        return answer

    return probability
