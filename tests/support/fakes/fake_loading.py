"""The loading part of the fake `tensorrt`: as much of the running side as the inspection of a new engine needs."""

from __future__ import annotations

import json
from typing import Any

import onnx
from recorded_bindings import Bound, require_init


class Runtime(Bound):
    def __init__(self, logger: Any) -> None:
        require_init(logger, self._trt.ILogger)
        self._logger, self.DLA_core = logger, -1

    def deserialize_cuda_engine(self, serialized_engine: bytes) -> Any:
        facts, _, model = bytes(serialized_engine).partition(b"\n")
        engine = self._trt.ICudaEngine()
        engine._facts, engine._onnx = json.loads(facts), model
        fits = engine._facts["version"] == self._trt.__version__ and engine._facts["dla"] == (self.DLA_core >= 0)
        if fits and self._trt._world.loads:
            return engine
        self._logger.log(self._trt.ILogger.Severity.ERROR, "The engine plan file is not compatible with this one.")
        return None


class ICudaEngine(Bound):
    """Has what an inspection needs: the inputs and their profile."""

    @property
    def num_io_tensors(self) -> int:
        graph = onnx.load_from_string(self._onnx).graph
        return len(graph.input) + len(graph.output)

    def get_tensor_name(self, index: int) -> str:
        graph = onnx.load_from_string(self._onnx).graph
        return str([*graph.input, *graph.output][index].name)

    def get_tensor_mode(self, name: str) -> Any:
        inputs = [tensor.name for tensor in onnx.load_from_string(self._onnx).graph.input]
        return self._trt.TensorIOMode.INPUT if name in inputs else self._trt.TensorIOMode.OUTPUT

    def get_tensor_profile_shape(self, name: str, profile_index: int) -> list[tuple[int, ...]]:
        shapes = self._facts["profile"].get(name)
        if shapes is None:  # a fixed shape
            tensor = next(one for one in onnx.load_from_string(self._onnx).graph.input if one.name == name)
            shapes = [[one.dim_value for one in tensor.type.tensor_type.shape.dim]] * 3
        return [tuple(shape) for shape in shapes]

    def create_execution_context(self) -> Any:
        context = self._trt.IExecutionContext()
        context._engine, context._shapes = self, {}
        return context

    def create_engine_inspector(self) -> Any:
        return self._trt.EngineInspector()


class IExecutionContext(Bound):
    def set_input_shape(self, name: str, shape: Any) -> bool:
        low, _, high = self._engine.get_tensor_profile_shape(name, 0)
        fits = all(least <= side <= most for least, side, most in zip(low, shape, high, strict=True))
        if fits:
            self._shapes[name] = tuple(shape)
        return fits


class EngineInspector(Bound):
    def __init__(self) -> None:
        self._context: Any = None

    @property
    def execution_context(self) -> Any:
        return self._context

    @execution_context.setter
    def execution_context(self, context: Any) -> None:
        self._context = context

    def get_engine_information(self, format: Any) -> str:  # noqa: A002 -- the bindings' name
        assert format == self._trt.LayerInformationFormat.JSON
        world = self._trt._world
        shapes = self._context._shapes if self._context is not None else {}
        world.inspected_shape = next(iter(shapes.values()), None)
        shapeless = world.layers if world.shapeless_layers is None else world.shapeless_layers
        return json.dumps({"Layers": world.layers if shapes else shapeless, "Bindings": []})
