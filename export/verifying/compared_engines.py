"""Engines that are compared: a student in PyTorch, and a graph in memory in the engines of a CPU."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import TypeAlias

import numpy as np
import onnx
import onnxruntime as ort
import torch
from numpy.typing import NDArray

from kda_edge.errors import DeviceError, ExportError, MissingDependency, one_line
from kda_edge.manifest import INPUT_NAME, OUTPUT_NAME, InputContract
from kda_edge.networks.network import Network
from kda_edge.runtime.engines.model_engine import BatchedEngine
from kda_edge.runtime.engines.onnxruntime_engine import session_options
from kda_edge.runtime.engines.openvino_engine import cpu_settings, load_openvino, reason_of
from kda_edge.runtime.engines.openvino_requests import Requests
from kda_edge.tiling.tile_answers import Engine

from ..graphs.to_onnx import raw_pixel_student

ToEngine: TypeAlias = Callable[[onnx.ModelProto], Engine]
ToBatchedEngine: TypeAlias = Callable[[onnx.ModelProto], BatchedEngine]


class GraphInMemory:
    """A graph without a manifest in ONNX Runtime: raw pixels (N, 3, T, T) to landslide probability (N, 1, T, T).

    Attributes:
        max_batch: None: any number of tiles is taken.
    """

    max_batch: int | None = None

    def __init__(self, session: ort.InferenceSession) -> None:
        self._session = session

    def __call__(self, tiles: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the probability of each tile's pixels."""
        (answer,) = self._session.run([OUTPUT_NAME], {INPUT_NAME: tiles})
        return np.asarray(answer, np.float32)


def engine_from_graph(graph: onnx.ModelProto) -> GraphInMemory:
    """Return an engine for a graph without a manifest, set up as the runtime sets up ONNX Runtime.

    The runtime itself refuses a file that was never verified, so it can't be asked before; it is asked afterwards.

    Raises:
        ExportError: ONNX Runtime refuses the graph.
    """
    try:
        session = ort.InferenceSession(graph.SerializeToString(), session_options(), providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's own classes share no public base
        raise ExportError(f"ONNX Runtime {ort.__version__} refuses the graph: {one_line(error)}") from error
    return GraphInMemory(session)


def openvino_engine_from_graph(graph: onnx.ModelProto) -> Requests:
    """Return an engine for a graph without a manifest, set up as the runtime sets up OpenVINO.

    Raises:
        MissingDependency, DeviceError: OpenVINO is not installed, too old, or can't be loaded.
        ExportError: it refuses the graph.
    """
    ov = load_openvino()
    core = ov.Core()
    dims = [dim.dim_value for dim in graph.graph.input[0].type.tensor_type.shape.dim]
    try:
        model = core.read_model(graph.SerializeToString(), b"")
        model.reshape([1, *dims[1:]])
        settings = cpu_settings()
        return Requests(core.compile_model(model, "CPU", settings), settings["NUM_STREAMS"])
    except Exception as error:  # OpenVINO raises bare RuntimeError and worse
        raise ExportError(f"OpenVINO {ov.__version__} refuses the graph: {reason_of(error)}") from error


def engines_on_cpu() -> dict[str, ToBatchedEngine]:
    """Return what `kda-infer` may run a graph with on a CPU like this one, by name and version."""
    found: dict[str, ToBatchedEngine] = {f"ONNX Runtime {ort.__version__}, CPU": engine_from_graph}
    with suppress(MissingDependency, DeviceError):
        found[f"OpenVINO {load_openvino().__version__}, CPU"] = openvino_engine_from_graph
    return found


def engine_from_student(student: Network, contract: InputContract) -> Engine:
    """Return PyTorch's answer in float32 on the CPU as an engine; `student` stays as it is."""
    module = raw_pixel_student(student, contract)

    @torch.inference_mode()
    def probability(tiles: NDArray[np.float32]) -> NDArray[np.float32]:
        answer: NDArray[np.float32] = module(torch.from_numpy(tiles)).numpy()
        return answer

    return probability
