"""GPUs that compute an ONNX graph rightly, or wrongly in the ways that GPUs were seen to: see `FAULTS`.

Right is ONNX Runtime's CPU. The models of `sampling_model` have a GridSample, so that a fault in that operator shows,
and is gone where the sampling is written as gathers.
"""

from __future__ import annotations

import base64
import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from fake_cuda import SimulatedGpu
from fake_cuda_libraries import FakeRuntime
from fake_tensorrt_run import FakeLogger, FakeTensorrt, plan_of
from onnx import helper, numpy_helper

from kda_edge.artifact_bytes import graph_digest
from kda_edge.manifest import METADATA_KEY, Manifest
from kda_edge.runtime.engines.artifact import read_artifact
from kda_edge.runtime.engines.model_engine import ModelEngine
from kda_edge.runtime.engines.onnxruntime_engine import open_onnxruntime
from kda_edge.runtime.hardware.cuda_bindings import CudaBindings
from kda_edge.runtime.hardware.gpu_probe import Device
from kda_edge.runtime.tensorrt.build import BuildOptions, Built
from kda_edge.runtime.tensorrt.device_engines import Surroundings
from kda_edge.runtime.tensorrt.library import Library
from kda_edge.runtime.tensorrt.precision_proof import LayerCounts
from kda_edge.runtime.tensorrt.tensorrt_engine import TensorRTEngine, open_tensorrt

Computes = Callable[[bytes, np.ndarray], np.ndarray]  # an ONNX graph, tiles (N, 3, T, T) -> (N, 1, T, T)
ORIN = Device(0, "Orin", (8, 7), "12.6", 8 << 30)
LAYERS = {"fp32": LayerCounts(float32=9), "fp16": LayerCounts(half=9)}


def sampling_model(path: Path, manifest: Manifest) -> Path:
    """Write a model whose probability is the red band, sampled from a grid that pulls it apart; budgets as told."""
    side = manifest.tile_px
    low, high = manifest.input.value_range
    centres = (np.arange(side, dtype=np.float32) * 2 + 1) / side - 1
    grid = np.stack(np.meshgrid(centres * 0.93, centres * 1.04), axis=-1)[None].astype(np.float32)
    constants = {
        "band": np.array([0]),
        "none": np.float32(0),
        "grid": grid,
        "low": np.float32(low),
        "range": np.float32(high - low),
    }
    nodes = [
        helper.make_node("Gather", ["image", "band"], ["red"], axis=1),
        helper.make_node("ReduceMax", ["red"], ["most"], axes=[1, 2, 3], keepdims=1, name="up/ReduceMax"),
        helper.make_node("Mul", ["most", "none"], ["nothing"], name="up/Mul"),  # which gives the grid its batch
        helper.make_node("Add", ["nothing", "grid"], ["positions"], name="up/Add"),
        helper.make_node("GridSample", ["red", "positions"], ["sampled"], name="up/GridSample", padding_mode="border"),
        helper.make_node("Sub", ["sampled", "low"], ["from_low"]),
        helper.make_node("Div", ["from_low", "range"], ["probability"]),
    ]
    graph = helper.make_graph(
        nodes,
        "sampling",
        [helper.make_tensor_value_info("image", onnx.TensorProto.FLOAT, ["N", 3, side, side])],
        [helper.make_tensor_value_info("probability", onnx.TensorProto.FLOAT, ["N", 1, side, side])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    assert manifest.certificate is not None
    digest = graph_digest(model.SerializeToString(deterministic=True))
    certificate = dataclasses.replace(manifest.certificate, graph_sha256=digest)
    helper.set_model_props(model, {METADATA_KEY: dataclasses.replace(manifest, certificate=certificate).to_json()})
    path.write_bytes(model.SerializeToString(deterministic=True))
    return path


@functools.cache
def _session(graph: bytes) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


def right(graph: bytes, tiles: np.ndarray) -> np.ndarray:
    return np.asarray(_session(graph).run(None, {"image": tiles})[0])


@functools.cache
def half_a_pixel_on(graph: bytes) -> bytes:
    """Return a graph whose GridSamples read half a pixel further to the right and down."""
    model = onnx.load_from_string(graph)
    for node in [node for node in model.graph.node if node.op_type == "GridSample"]:
        side = model.graph.input[0].type.tensor_type.shape.dim[3].dim_value
        model.graph.initializer.append(numpy_helper.from_array(np.full(2, 1 / side, np.float32), "half_a_pixel"))
        at = list(model.graph.node).index(node)
        model.graph.node.insert(at, helper.make_node("Add", [node.input[1], "half_a_pixel"], ["moved"]))
        model.graph.node[at + 1].input[1] = "moved"
    return bytes(model.SerializeToString())


def sampling_in(graph: bytes) -> str:
    """Return how a graph samples, by its operators."""
    operators = {node.op_type for node in onnx.load_from_string(graph).graph.node}
    return "gridsample" if "GridSample" in operators else "gather"


def shifted_sampling(graph: bytes, tiles: np.ndarray) -> np.ndarray:
    return right(half_a_pixel_on(graph), tiles)


def constant(graph: bytes, tiles: np.ndarray) -> np.ndarray:
    return np.full_like(right(graph, tiles), 0.3)


def nothing_but_background(graph: bytes, tiles: np.ndarray) -> np.ndarray:
    return np.zeros_like(right(graph, tiles))


def not_a_number(graph: bytes, tiles: np.ndarray) -> np.ndarray:
    return np.full_like(right(graph, tiles), np.nan)


def wrong_in_batches(graph: bytes, tiles: np.ndarray) -> np.ndarray:
    """Give each tile of a batch its neighbour's answer."""
    return np.roll(right(graph, tiles), 1, axis=0)


def wrong_on_half_nodata(graph: bytes, tiles: np.ndarray) -> np.ndarray:
    answer = right(graph, tiles).copy()
    half_px = tiles.shape[-1] // 2
    left, rest = ((part == 0).all(axis=(1, 2, 3)) for part in (tiles[..., :half_px], tiles[..., half_px:]))
    answer[left & ~rest, :, :, :half_px] += np.float32(0.3)
    return answer


class AnsweringGpu:
    """A device whose TensorRT computes what it is told to; `release` and `cuda` are those of its driver."""

    def __init__(self, computes: Computes = right, *, release: str = "560.35", cuda: str = "12.6") -> None:
        self.gpu = SimulatedGpu()
        self.runtime = FakeRuntime(self.gpu)
        trt = FakeTensorrt(self.gpu, self.runtime, "10.3.0")
        self.library = Library(trt, "10.3.0", FakeLogger())
        self.device = dataclasses.replace(ORIN, driver_version=cuda)
        self.release = release
        self.builds: list[str] = []
        self.compared = 0
        trt.computes = computes

    def build(self, onnx: Path | bytes, *, device: Device, options: BuildOptions, library: Library) -> Built:
        graph = onnx if isinstance(onnx, bytes) else onnx.read_bytes()
        self.builds.append(sampling_in(graph))
        batches = [1, options.opt_batch, options.max_batch]
        plan = plan_of(32, graph=base64.b64encode(graph).decode(), batches=batches)
        return Built(plan, self.layers, 1.0, library.version)

    def open_cpu(self, path: Path, manifest: Manifest) -> ModelEngine:
        self.compared += 1
        return open_onnxruntime(path, manifest, threads=1)

    def open(self, model: Path, root: Path, **options: Any) -> TensorRTEngine:
        artifact = read_artifact(model)
        self.layers = LAYERS[artifact.manifest.precision]
        around = Surroundings(
            lambda: self.device,
            lambda _: self.library,
            lambda index: CudaBindings(self.runtime, index),
            self.build,
            open_cpu=self.open_cpu,
            driver_release=lambda: self.release,
        )
        chosen = BuildOptions(**options)
        return open_tensorrt(
            model, artifact.manifest, artifact.graph_sha256, options=chosen, root=root, surroundings=around
        )
