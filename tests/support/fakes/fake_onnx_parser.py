"""The parser's part of the fake `tensorrt`: a network that has one layer for each node of a real ONNX graph."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
from recorded_bindings import Bound, require_init

LAYER_TYPES = {
    "Conv": "CONVOLUTION",
    "ConvTranspose": "DECONVOLUTION",
    "MatMul": "MATRIX_MULTIPLY",
    "Gemm": "MATRIX_MULTIPLY",
    "GridSample": "GRID_SAMPLE",
    "QuantizeLinear": "QUANTIZE",
    "DequantizeLinear": "DEQUANTIZE",
}


class INetworkDefinition(Bound):
    def __init__(self) -> None:
        self._tensors: list[Any] = []
        self._layers: list[Any] = []
        self._flags = 0
        self._onnx = b""

    @property
    def num_inputs(self) -> int:
        return len(self._tensors)

    @property
    def num_layers(self) -> int:
        return len(self._layers)

    def get_input(self, index: int) -> Any:
        return self._tensors[index]

    def get_layer(self, index: int) -> Any:
        return self._layers[index]


class ITensor(Bound):
    def __init__(self, name: str, shape: tuple[int, ...] = ()) -> None:
        self.name, self.shape = name, shape


class ILayer(Bound):
    """Of any kind: the bindings do not tell which by the class."""

    @property
    def type(self) -> Any:
        return self._trt.LayerType[LAYER_TYPES.get(self._node.op_type, "ELEMENTWISE")]

    @property
    def name(self) -> str:
        return str(self._node.name)

    @property
    def num_inputs(self) -> int:
        return len(self._node.input)

    @property
    def num_outputs(self) -> int:
        return len(self._node.output)

    def get_input(self, index: int) -> Any:
        name = self._node.input[index]
        return self._trt.ITensor(name) if name else None

    def get_output(self, index: int) -> Any:
        return self._trt.ITensor(self._node.output[index])


class IGridSampleLayer(ILayer):
    @property
    def interpolation_mode(self) -> Any:
        """Linear, or nearest from opset 20 on: the defect of TensorRT 10's parser, whose word is "bilinear"."""
        mode = next((entry.s.decode() for entry in self._node.attribute if entry.name == "mode"), "bilinear")
        return self._trt.InterpolationMode.LINEAR if mode == "bilinear" else self._trt.InterpolationMode.NEAREST


class OnnxParser(Bound):
    def __init__(self, network: Any, logger: Any) -> None:
        require_init(logger, self._trt.ILogger)
        self._network, self._logger, self._errors = network, logger, []

    @property
    def num_errors(self) -> int:
        return len(self._errors)

    def get_error(self, index: int) -> Any:
        return self._errors[index]

    def parse_from_file(self, model: str) -> bool:
        assert isinstance(model, str)
        return self.parse(Path(model).read_bytes())

    def parse(self, model: bytes, path: str | None = None) -> bool:
        try:
            proto = onnx.load_from_string(model)
        except Exception:
            proto = onnx.ModelProto()
        if not proto.graph.node:
            self._refuse("", "", "Assertion failed: Failed to parse\nthe ONNX model.")
            return False
        network, trt = self._network, self._trt
        for node in proto.graph.node:
            if node.op_type in trt._world.refused:
                self._refuse(node.name, node.op_type, "No importer registered for op.")
            layer = trt.ILayer()
            layer._node = node
            network._layers.append(layer)
        for tensor in proto.graph.input:
            shape = tuple(
                one.dim_value if one.HasField("dim_value") else -1 for one in tensor.type.tensor_type.shape.dim
            )
            network._tensors.append(trt.ITensor(tensor.name, shape))
        network._onnx = model
        return not self._errors

    def _refuse(self, name: str, operator: str, why: str) -> None:
        error = self._trt.ParserError()
        error._facts = (name, operator, why)
        self._errors.append(error)
        self._logger.log(self._trt.ILogger.Severity.ERROR, f"In node {name}: {why}")


class ParserError(Bound):
    def node_name(self) -> str:
        return str(self._facts[0])

    def node_operator(self) -> str:
        return str(self._facts[1])

    def desc(self) -> str:
        return str(self._facts[2])
